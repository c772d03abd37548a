"""GraphQL as `log10-io` sends it, as an explorer does, and as nobody should (docs/api.md, "The calls of log10-io", "Tokens and organizations")."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from graphql import build_client_schema, get_introspection_query

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from log10_server.store.feedback import ACCEPTED, FeedbackRow, feedback
from log10_server.web.graphql.cost import MAX_FIELDS, MAX_LEVELS, MAX_TOKENS
from log10_server.web.graphql.resolvers import BUDGET, MAX_PAGE
from log10_server.web.graphql.routes import MAX_CHARACTERS
from tests.conftest import Api, Organization, Served, paths, problem, serve

# The three documents, as `log10-io` 0.16.1 holds them.
FEEDBACK = """
        query OrganizationFeedback($id: String!, $filter: String, $taskId: String, $page: Int, $limit: Int) {
            organization(id: $id) {
                id
                feedbackV2(filter: $filter, taskId: $taskId, page: $page, limit: $limit) {
                    pageInfo{
                        totalCount
                        currentPage
                    }
                    nodes {
                        id
                        jsonValues
                        task {
                            id
                            name
                        }
                        completions {
                            id
                        }
                    }
                }
            }
        }
        """
AUTO_FEEDBACK = """
    query OrganizationCompletion($orgId: String!, $id: String!) {
        organization(id: $orgId) {
            slug
            completion(id: $id) {
                id
                autoFeedback {
                    id
                    status
                    jsonValues
                    comment
                    task {
                        id
                        name
                    }
                }
            }
        }
    }
    """
CREATE_TEST_RUN = """
    mutation CreateTestRun($input: CreateTestRunInput!) {
      createTestRun(input: $input) {
        id
        name
        reportUploadUrl
        createdAt
        organization {
          slug
        }
      }
    }
    """


class Graph(httpx.Client):
    """GraphQL as `log10-io` calls it: its own client, and no header but the token's."""

    def __init__(self, url: str, organization: Organization) -> None:
        super().__init__(base_url=url, headers={"x-api-token": organization.token}, timeout=30)
        self.organization = organization

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> httpx.Response:
        return self.post("/graphql", json={"query": query, "variables": variables or {}})

    def body(self, query: str, **variables: Any) -> dict[str, Any]:
        """All that is answered with status 200."""
        answer = self.ask(query, variables)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        body: dict[str, Any] = answer.json()
        assert body.get("data", ...) is not None
        return body

    def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without faults."""
        body = self.body(query, **variables)
        assert "errors" not in body, body
        return dict(body["data"])

    def error(self, query: str, **variables: Any) -> dict[str, Any]:
        """The only fault of an answer."""
        [error] = self.body(query, **variables)["errors"]
        return dict(error)

    def feedback(self, **arguments: Any) -> dict[str, Any]:
        """What the document of the command line gives."""
        variables = {"id": self.organization.id, "taskId": "", "filter": None, "page": 1, "limit": 50, **arguments}
        return dict(self.data(FEEDBACK, **variables)["organization"]["feedbackV2"])

    def grades(self, filter_text: str, **arguments: Any) -> list[Any]:
        return [node["jsonValues"]["grade"] for node in self.feedback(filter=filter_text, **arguments)["nodes"]]


@pytest.fixture
def graph(serving: Served, api: Api) -> Iterator[Graph]:
    with Graph(serving.url, api.organization) as client:
        yield client


@pytest.fixture
def other_graph(serving: Served, other_api: Api) -> Iterator[Graph]:
    with Graph(serving.url, other_api.organization) as client:
        yield client


@pytest.fixture
def graded(api: Api) -> Api:
    """Ten completions `c0` … `c9`, each graded with its number, the last one newest."""
    task = api.task(["graded"], id="grading", name="Grading")
    for number in range(10):
        api.completion(id=f"c{number}", tags=["graded"])
        api.upload(task["id"], id=f"f{number}", json_values={"grade": number}, completion_ids=[f"c{number}"])
    return api


# The document of `log10 feedback list --filter`


def test_feedback_comes_newest_first_with_its_task_and_completions(graph: Graph, graded: Api) -> None:
    page = graph.feedback(limit=2)

    assert page["pageInfo"] == {"totalCount": 10, "currentPage": 1}
    assert page["nodes"] == [
        {
            "id": f"f{number}",
            "jsonValues": {"grade": number},
            "task": {"id": "grading", "name": "Grading"},
            "completions": [{"id": f"c{number}"}],
        }
        for number in (9, 8)
    ]


def test_pages_count_from_one_and_do_not_overlap(graph: Graph, graded: Api) -> None:
    pages = [[node["id"] for node in graph.feedback(page=page, limit=4)["nodes"]] for page in (1, 2, 3, 4)]

    assert pages == [["f9", "f8", "f7", "f6"], ["f5", "f4", "f3", "f2"], ["f1", "f0"], []]


def test_a_filter_narrows_the_nodes_and_the_total(graph: Graph, graded: Api) -> None:
    page = graph.feedback(filter="grade <= 5", limit=2, page=2)

    assert [node["id"] for node in page["nodes"]] == ["f3", "f2"]
    assert page["pageInfo"] == {"totalCount": 6, "currentPage": 2}


def test_a_filter_reads_past_the_first_rows_that_it_reads_at_once(
    graph: Graph, graded: Api, database: Database, organization: Organization
) -> None:
    """It reads 200 at a time, by time and id; none of those with the same time may be lost."""
    rows = [
        FeedbackRow(organization.id, f"old{number}", 7, "grading", '{"grade":-1}', "", "", "", ACCEPTED)
        for number in range(1203)
    ]
    with database.writing() as connection:
        database.tx(connection, organization.id).insert_many(feedback, rows)

    assert graph.feedback(filter="grade = -1")["pageInfo"]["totalCount"] == 1203
    assert graph.grades("grade = 0 or grade = 9") == [9, 0]
    ids = [node["id"] for node in graph.feedback(filter="grade = -1", limit=2000)["nodes"]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 1203


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_a_blank_filter_or_task_narrows_nothing(graph: Graph, graded: Api, nothing: str | None) -> None:
    task_id = None if nothing is None else ""

    assert graph.feedback(filter=nothing, taskId=task_id)["pageInfo"]["totalCount"] == 10


def test_the_task_narrows_with_and_without_a_filter(graph: Graph, graded: Api) -> None:
    other = graded.task([], id="other")
    graded.upload(other["id"], id="elsewhere", json_values={"grade": 1}, completion_ids=["c0"])

    assert [node["id"] for node in graph.feedback(taskId="other")["nodes"]] == ["elsewhere"]
    assert [node["id"] for node in graph.feedback(taskId="other", filter="grade = 1")["nodes"]] == ["elsewhere"]
    assert [node["id"] for node in graph.feedback(taskId="grading", filter="grade = 1")["nodes"]] == ["f1"]
    assert graph.feedback(taskId="unknown")["nodes"] == []


def test_only_accepted_feedback_is_listed(graph: Graph, graded: Api) -> None:
    graded.upload("grading", id="proposal", json_values={"grade": 3}, completion_ids=["c0"], state="proposed")

    assert graph.feedback()["pageInfo"]["totalCount"] == 10
    assert graph.grades("grade = 3") == [3]

    graded.post("/feedback/proposal/accept")

    assert graph.feedback()["pageInfo"]["totalCount"] == 11
    assert graph.grades("grade = 3") == [3, 3]


def test_a_wrong_filter_is_told_where_it_is_wrong_and_leaves_data_an_object(graph: Graph, graded: Api) -> None:
    body = graph.body(FEEDBACK, id=graph.organization.id, filter="grade <= 5 and )", page=1, limit=5)

    assert body["data"] == {"organization": None}
    [error] = body["errors"]
    assert "at character 16" in error["message"]
    assert error["extensions"] == {"code": "invalid_filter", "position": 15}
    assert error["path"] == ["organization", "feedbackV2"]


@pytest.mark.parametrize(("name", "wrong"), [("page", 0), ("page", -1), ("limit", 0), ("limit", -5)])
def test_a_page_or_limit_below_one_is_refused_by_name(graph: Graph, name: str, wrong: int) -> None:
    error = graph.error(FEEDBACK, id=graph.organization.id, **{name: wrong})

    assert name in error["message"]
    assert error["extensions"]["code"] == "invalid"


def test_a_limit_beyond_the_greatest_means_the_greatest(graph: Graph, graded: Api) -> None:
    assert len(graph.feedback(limit=2**31 - 1)["nodes"]) == 10
    assert graph.feedback(limit=2**31 - 1, page=2**31 - 1)["nodes"] == []


def test_fields_beyond_the_document_are_there_to_explore(graph: Graph, graded: Api) -> None:
    query = """{ organization { slug feedbackV2(limit: 3, filter: "grade > 2") {
        pageInfo { hasNextPage } nodes { comment createdAt task { instruction } } } } }"""

    organization = graph.data(query)["organization"]

    assert organization["slug"] == graph.organization.slug
    assert organization["feedbackV2"]["pageInfo"]["hasNextPage"] is True
    node = organization["feedbackV2"]["nodes"][0]
    assert node["comment"] == node["task"]["instruction"] == ""
    assert node["createdAt"].endswith("+00:00")
    assert datetime.fromisoformat(node["createdAt"]).utcoffset() is not None


EXACT = (
    '{"z":1, "a":null,"n":12345678901234567890.1234567890123456789,"b":[ 1E2,-0,0.10 ],'
    '"deep":{"y":null,"x":"\\u0000\\ud83d"},"é":"\\u00e9"}'
)


def test_values_come_back_as_the_text_that_came(graph: Graph, api: Api) -> None:
    api.task(["exact"], id="exact")
    api.completion(id="c", tags=["exact"])
    upload = '{"id":"f","task_id":"exact","completion_ids":["c"],"state":"%s","json_values":%s}'
    assert api.post("/feedback", content=upload % ("accepted", EXACT)).status_code == 200
    proposal = upload.replace('"f"', '"p"') % ("proposed", EXACT)
    assert api.post("/feedback", content=proposal).status_code == 200

    listed = graph.ask(FEEDBACK, {"id": graph.organization.id})
    proposed = graph.ask(AUTO_FEEDBACK, {"orgId": graph.organization.id, "id": "c"})

    assert f'"jsonValues":{EXACT}' in listed.text
    assert f'"jsonValues":{EXACT}' in proposed.text
    assert json.loads(listed.text)["data"]["organization"]["feedbackV2"]["nodes"][0]["jsonValues"]["a"] is None


# The document of `autofeedback`


def test_a_proposal_is_shown_until_it_is_decided_on(graph: Graph, graded: Api) -> None:
    graded.upload(
        "grading", id="p", json_values={"grade": 4}, completion_ids=["c1"], state="proposed", comment="by a program"
    )

    completion = graph.data(AUTO_FEEDBACK, orgId=graph.organization.slug, id="c1")["organization"]

    assert completion == {
        "slug": graph.organization.slug,
        "completion": {
            "id": "c1",
            "autoFeedback": {
                "id": "p",
                "status": "proposed",
                "jsonValues": {"grade": 4},
                "comment": "by a program",
                "task": {"id": "grading", "name": "Grading"},
            },
        },
    }

    graded.post("/feedback/p/reject")

    after = graph.data(AUTO_FEEDBACK, orgId=graph.organization.id, id="c1")
    assert after["organization"]["completion"] == {"id": "c1", "autoFeedback": None}


@pytest.mark.parametrize("completion_id", ["unknown", "", "a/b"])
def test_an_unknown_completion_is_null(graph: Graph, completion_id: str) -> None:
    data = graph.data(AUTO_FEEDBACK, orgId=graph.organization.id, id=completion_id)

    assert data["organization"]["completion"] is None


@pytest.mark.parametrize("completion_id", ["\0", "\ud83d"])
def test_an_id_that_no_database_can_look_up_is_an_error_of_that_field(graph: Graph, completion_id: str) -> None:
    # httpx would refuse the lone surrogate
    content = json.dumps({"query": AUTO_FEEDBACK, "variables": {"orgId": graph.organization.id, "id": completion_id}})

    answer = graph.post("/graphql", content=content)

    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["organization"]["completion"] is None
    assert answer.json()["errors"][0]["extensions"]["code"] == "invalid"


def test_a_completion_shows_what_it_is(graph: Graph, api: Api) -> None:
    api.completion(id="c", tags=["b", "a"], response={})

    query = '{ organization { completion(id: "c") { createdAt status tags } } }'
    completion = graph.data(query)["organization"]["completion"]

    assert completion["tags"] == ["b", "a"]
    assert completion["status"] == "finished"
    assert completion["createdAt"].endswith("+00:00")


# The document of `pytest --log10`


def test_a_test_run_is_made_with_an_absolute_address_for_its_report(graph: Graph, serving: Served, api: Api) -> None:
    run = graph.data(CREATE_TEST_RUN, input={"name": "nightly 🌙", "organizationId": graph.organization.id})[
        "createTestRun"
    ]

    assert run["name"] == "nightly 🌙"
    assert run["organization"] == {"slug": graph.organization.slug}
    assert run["reportUploadUrl"].startswith(f"{serving.url}/test_runs/{graph.organization.id}/{run['id']}/")
    [listed] = api.get("/test_runs").json()["test_runs"]
    assert listed["id"] == run["id"]


def test_the_address_is_the_public_one_where_that_is_set(migrated: Database, graph: Graph) -> None:
    for served in serve(migrated, Settings(public_url="https://log10.example.org/here/")):
        with Graph(served.url, graph.organization) as behind_proxy:
            run = behind_proxy.data(CREATE_TEST_RUN, input={"name": "n"})["createTestRun"]

    assert run["reportUploadUrl"].startswith("https://log10.example.org/here/test_runs/")


def test_the_address_has_the_host_that_the_caller_named(graph: Graph) -> None:
    body = {"query": CREATE_TEST_RUN, "variables": {"input": {"name": "n"}}}

    answer = graph.post("/graphql", json=body, headers={"Host": "log10.internal:8443"})

    url = answer.json()["data"]["createTestRun"]["reportUploadUrl"]
    assert url.startswith("http://log10.internal:8443/test_runs/")


@pytest.mark.parametrize("organization_id", [None, "", "None", "missing"])
def test_a_blank_organization_is_the_tokens(graph: Graph, organization_id: str | None) -> None:
    variables = {"name": "n"} if organization_id == "missing" else {"name": "n", "organizationId": organization_id}

    assert graph.data(CREATE_TEST_RUN, input=variables)["createTestRun"]["id"]


@pytest.mark.parametrize("name", ["\0", "x" * 4097])
def test_a_refused_run_is_null_and_leaves_nothing_behind(graph: Graph, api: Api, name: str) -> None:
    body = graph.body(CREATE_TEST_RUN, input={"name": name})

    assert body["data"] == {"createTestRun": None}
    assert body["errors"][0]["extensions"]["code"] == "invalid"
    assert "/input/name" in body["errors"][0]["message"]
    assert api.get("/test_runs").json()["test_runs"] == []


# Who may ask


@pytest.mark.parametrize("header", ["x-api-token", "X-Log10-Token"])
def test_both_headers_carry_the_token(serving: Served, api: Api, header: str) -> None:
    answer = httpx.post(
        f"{serving.url}/graphql", json={"query": "{organization{id}}"}, headers={header: api.organization.token}
    )

    assert answer.json() == {"data": {"organization": {"id": api.organization.id}}}


def test_no_or_an_unknown_token_is_401(serving: Served, subtests: pytest.Subtests) -> None:
    for headers in [{}, {"x-api-token": "unknown"}, {"X-Log10-Token": "unknown"}]:
        for method in ["GET", "POST", "PUT", "OPTIONS"]:
            with subtests.test(headers=headers, method=method):
                problem(httpx.request(method, f"{serving.url}/graphql", headers=headers), 401, "unauthorized")


def test_two_different_tokens_are_401(serving: Served, api: Api, other_api: Api) -> None:
    headers = {"x-api-token": api.organization.token, "X-Log10-Token": other_api.organization.token}

    problem(httpx.post(f"{serving.url}/graphql", json={"query": "{organization{id}}"}, headers=headers), 401)


def test_the_header_of_graphql_opens_nothing_else(serving: Served, api: Api) -> None:
    answer = httpx.get(f"{serving.url}/api/v1/feedback", headers={"x-api-token": api.organization.token})

    problem(answer, 401)


@pytest.mark.parametrize("by", ["id", "slug"])
def test_naming_another_organization_is_403(graph: Graph, other_api: Api, api: Api, by: str) -> None:
    another = getattr(other_api.organization, by)

    problem(graph.ask(FEEDBACK, {"id": another}), 403, "wrong_organization")
    problem(graph.ask(AUTO_FEEDBACK, {"orgId": another, "id": "c"}), 403, "wrong_organization")
    problem(graph.ask(CREATE_TEST_RUN, {"input": {"name": "n", "organizationId": another}}), 403, "wrong_organization")
    assert api.get("/test_runs").json()["test_runs"] == []
    assert other_api.get("/test_runs").json()["test_runs"] == []


def test_an_organization_that_is_not_there_looks_like_another(graph: Graph, other_api: Api) -> None:
    unknown = problem(graph.ask(FEEDBACK, {"id": "unknown"}), 403)
    another = problem(graph.ask(FEEDBACK, {"id": other_api.organization.id}), 403)

    assert unknown == another


def test_a_mutation_that_names_another_organization_anywhere_does_nothing(graph: Graph, api: Api) -> None:
    query = """mutation { a: createTestRun(input: {name: "mine"}) { id }
                          b: createTestRun(input: {name: "theirs", organizationId: "another"}) { id } }"""

    problem(graph.ask(query), 403)

    assert api.get("/test_runs").json()["test_runs"] == []


@pytest.mark.parametrize("header", ["X-Log10-Organization", "X-Log10-Organization-Id"])
def test_the_headers_of_an_organization_count_here_too(graph: Graph, header: str) -> None:
    answer = graph.post("/graphql", json={"query": "{organization{id}}"}, headers={header: "another"})

    problem(answer, 403)


def test_nothing_of_another_organization_is_seen(graph: Graph, other_graph: Graph, graded: Api) -> None:
    graded.upload("grading", id="p", json_values={"grade": 4}, completion_ids=["c1"], state="proposed")

    assert other_graph.feedback()["pageInfo"]["totalCount"] == 0
    assert other_graph.feedback(filter="grade >= 0", taskId="grading")["nodes"] == []
    data = other_graph.data(AUTO_FEEDBACK, orgId=other_graph.organization.id, id="c1")
    assert data["organization"]["completion"] is None


# What is no proper request


def test_a_wrong_document_gives_errors_and_no_data(graph: Graph) -> None:
    for query in (
        "{",
        "",
        "{ nothing }",
        "query($a: Int!) { organization { id } }",
        "fragment A on Query { __typename }",
    ):
        body = graph.body(query)

        assert "data" not in body, query
        assert all(error["message"] for error in body["errors"])
        assert all(error["extensions"]["code"] == "invalid_document" for error in body["errors"])


def test_a_variable_that_is_missing_or_of_the_wrong_type_gives_errors_and_no_data(graph: Graph) -> None:
    for variables in ({}, {"id": None}, {"id": 5}, {"id": "x", "page": "one"}, {"id": "x", "page": 2**31}):
        body = graph.body(FEEDBACK, **variables)

        assert "data" not in body
        assert body["errors"]


def test_the_operation_is_chosen_by_its_name(graph: Graph) -> None:
    query = "query A { organization { id } } query B { organization { slug } }"

    chosen = graph.post("/graphql", json={"query": query, "operationName": "B"})
    none = graph.post("/graphql", json={"query": query})

    assert chosen.json()["data"] == {"organization": {"slug": graph.organization.slug}}
    assert "data" not in none.json()


def test_bodies_are_read_as_everywhere(graph: Graph) -> None:
    query = b'{"query":"{organization{id}}"}'

    assert graph.post("/graphql", content=query).status_code == 200
    assert graph.post("/graphql", content=b"\xef\xbb\xbf" + query).status_code == 200
    problem(graph.post("/graphql", content=query, headers={"Content-Type": "application/graphql"}), 415)
    problem(graph.post("/graphql", content=b"{"), 400)
    assert paths(graph.post("/graphql", content=b"[]")) == [""]
    assert paths(graph.post("/graphql", content=b"{}")) == ["/query"]
    assert paths(graph.post("/graphql", json={"query": 5, "variables": "x", "operationName": []})) == [
        "/query",
        "/variables",
        "/operationName",
    ]
    assert graph.put("/graphql", content=query).headers["Allow"] == "GET, HEAD, POST"
    problem(graph.put("/graphql", content=query), 405)


def test_a_body_beyond_the_limit_is_413(migrated: Database, graph: Graph) -> None:
    for served in serve(migrated, Settings(limits=Limits(body_bytes=1024))):
        with Graph(served.url, graph.organization) as narrow:
            problem(narrow.ask("{organization{id}}" + " " * 1024), 413)


def test_get_asks_and_never_writes(graph: Graph, api: Api) -> None:
    variables = json.dumps({"id": graph.organization.id})

    query_answer = graph.get("/graphql", params={"query": FEEDBACK, "variables": variables})
    mutation_answer = graph.get("/graphql", params={"query": 'mutation { createTestRun(input: {name: "n"}) { id } }'})

    assert query_answer.json()["data"]["organization"]["id"] == graph.organization.id
    assert mutation_answer.headers["Allow"] == "POST"
    problem(mutation_answer, 405)
    assert api.get("/test_runs").json()["test_runs"] == []


def test_get_says_where_its_query_is_wrong(graph: Graph) -> None:
    assert paths(graph.get("/graphql")) == ["/query/query"]
    for wrong in ("{", "[]", "5"):
        answer = graph.get("/graphql", params={"query": "{organization{id}}", "variables": wrong})
        assert paths(answer) == ["/query/variables"]


def test_get_refuses_unreadable_variables_before_readable_ones(graph: Graph) -> None:
    """Only the last of several `variables` was read, so an unreadable one went unnoticed."""
    readable = json.dumps({"id": graph.organization.id})
    query = {"query": "query($id: String) {organization(id: $id) {id}}"}

    last_counts = graph.get("/graphql", params={**query, "variables": ['{"id": "unknown"}', readable]})

    assert last_counts.json()["data"]["organization"]["id"] == graph.organization.id
    for unreadable in ("{", "[]", "5"):
        answer = graph.get("/graphql", params={**query, "variables": [unreadable, readable]})
        assert paths(answer) == ["/query/variables"]


# Exploring


def test_the_schema_can_be_explored_and_everything_has_a_description(graph: Graph) -> None:
    schema = build_client_schema(graph.data(get_introspection_query()))  # type: ignore[arg-type]

    ours = [kind for name, kind in schema.type_map.items() if not name.startswith("__")]
    undescribed = [
        f"{kind.name}.{name}"
        for kind in ours
        for name, field in getattr(kind, "fields", {}).items()
        if not field.description or not all(argument.description for argument in getattr(field, "args", {}).values())
    ]
    assert undescribed == []
    assert [kind.name for kind in ours if not kind.description] == []


def test_every_root_field_may_be_null(graph: Graph) -> None:
    query = "{ __schema { queryType { fields { type { kind } } } mutationType { fields { type { kind } } } } }"

    schema = graph.data(query)["__schema"]

    fields = schema["queryType"]["fields"] + schema["mutationType"]["fields"]
    assert {field["type"]["kind"] for field in fields} == {"OBJECT"}


# What one request may cost


def test_a_list_of_the_greatest_length_with_all_its_fields_is_within_the_budget(graph: Graph, graded: Api) -> None:
    query = """query($filter: String) { organization { id slug feedbackV2(limit: 10000, filter: $filter) {
        pageInfo { totalCount currentPage hasNextPage }
        nodes { id jsonValues comment createdAt task { id name instruction } completions { id } } } } }"""

    assert len(graph.data(query)["organization"]["feedbackV2"]["nodes"]) == 10


@pytest.mark.parametrize(
    "inside",
    [
        " ".join(f"a{number}: feedbackV2(limit: {MAX_PAGE}) {{ nodes {{ id }} }}" for number in range(11)),
        f"feedbackV2(limit: {MAX_PAGE}) {{ nodes {{ {' '.join(f'a{number}: jsonValues' for number in range(20))} }} }}",
        " ".join(f'a{n}: feedbackV2(limit: 1, filter: "a = 1") {{ nodes {{ id }} }}' for n in range(4)),
        " ".join(f"a{n}: feedbackV2(limit: 1) {{ pageInfo {{ totalCount }} }}" for n in range(BUDGET // 5000 + 1)),
        f"feedbackV2(limit: {MAX_PAGE}) {{ nodes {{ ...many }} }}",
    ],
)
def test_a_query_that_is_too_costly_is_an_error_of_that_field(graph: Graph, inside: str) -> None:
    fragment = f"fragment many on Feedback {{ {' '.join(f'a{number}: id' for number in range(30))} }}"
    document = f"{{ organization {{ {inside} }} }}" + (fragment if "...many" in inside else "")

    body = graph.body(document)

    assert body["data"] == {"organization": None}
    assert body["errors"][0]["extensions"]["code"] == "too_costly"


def test_many_test_runs_at_once_are_too_costly(graph: Graph) -> None:
    runs = " ".join(f'a{number}: createTestRun(input: {{name: "n"}}) {{ id }}' for number in range(41))

    body = graph.body(f"mutation {{ {runs} }}")

    assert body["data"]["a40"] is None
    assert body["errors"][0]["extensions"]["code"] == "too_costly"


def test_a_document_that_is_too_large_is_not_executed(graph: Graph) -> None:
    deep = "{ __schema { types " + "{ fields { type " * MAX_LEVELS + "{ name" + " }" * (2 * MAX_LEVELS + 3)
    doubling = "".join(f"fragment f{n} on Organization {{ ...f{n + 1} a{n}: id ...f{n + 1} }} " for n in range(40))
    for query in (
        "{" + "organization { id } " * (MAX_TOKENS // 4) + "}",
        "{ organization { " + "id " * (MAX_FIELDS + 1) + "} }",
        "{" * 500,
        "{a" * 200 + "}" * 200,
        deep,
        doubling + "fragment f40 on Organization { id } { organization { ...f0 } }",
        "fragment A on Query { ...B } fragment B on Query { ...A } { ...A }",
    ):
        answer = graph.ask(query)

        assert answer.status_code == 200, answer.text
        assert "data" not in answer.json()
        assert answer.json()["errors"]
    assert paths(graph.ask(" " * (MAX_CHARACTERS + 1))) == ["/query"]


def test_no_error_tells_of_the_inside(graph: Graph, database: Database) -> None:
    for query, variables in (
        (FEEDBACK, {"id": graph.organization.id, "filter": "'"}),
        (AUTO_FEEDBACK, {"orgId": graph.organization.id, "id": "\0"}),
        ("{ organization(id: 5) { id } }", {}),
        ("{", {}),
    ):
        text = graph.ask(query, variables).text

        for inner in ("Traceback", "SELECT", "sqlite", "psycopg", ".py", "File "):
            assert inner not in text
