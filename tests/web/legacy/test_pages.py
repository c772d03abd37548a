"""The two lists in the envelope that `log10-io` pages through (docs/api.md, "The calls of log10-io", "Envelopes")."""

import re
from typing import Any

import pytest

from tests.conftest import Api, paths, problem

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


def page(api: Api, path: str, **query: Any) -> dict[str, Any]:
    """What a call whose query names an organization is answered."""
    answer = api.get(path, params={"organization_id": "", **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def uploaded(api: Api) -> list[dict[str, Any]]:
    """Feedback 4 to 0, newest first: the even ones for the task `even`, the odd ones for `odd`."""
    for task_id in ("even", "odd"):
        api.task(["a"], id=task_id, name=f"The {task_id} ones")
    for task_id in ("c0", "c1"):
        api.completion(id=task_id, tags=["a"])
    uploads = [api.upload(["even", "odd"][n % 2], id=str(n), completion_ids=[f"c{n % 2}"]) for n in range(5)]
    return uploads[::-1]


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["data"]]


def test_naming_an_organization_in_the_query_gives_the_envelope(
    api: Api, uploaded: list[Any], subtests: pytest.Subtests
) -> None:
    for path in ["/feedback", "/feedback_task"]:
        for named in ["", " ", "None", "ID", "SLUG"]:
            with subtests.test(path=path, named=named):
                named = named.replace("ID", api.organization.id).replace("SLUG", api.organization.slug)

                answer = page(api, path, organization_id=named)

                assert list(answer) == ["data", "total", "offset", "limit"]


def test_any_other_call_gets_the_documents_shape(
    api: Api, uploaded: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    for query in ["", "?offset=0&limit=50", "?Organization_id=x", "?task_id=&organization="]:
        with subtests.test(query=query):
            assert api.get("/feedback" + query).json() == {"feedback": uploaded}
            assert [task["id"] for task in api.get("/feedback_task" + query).json()] == ["odd", "even"]


def test_feedback_in_the_envelope_also_names_its_task(api: Api, uploaded: list[dict[str, Any]]) -> None:
    names = {"even": "The even ones", "odd": "The odd ones"}

    assert page(api, "/feedback")["data"] == [{**item, "task_name": names[item["task_id"]]} for item in uploaded]


def test_a_task_that_was_renamed_has_its_new_name(api: Api, uploaded: list[Any]) -> None:
    api.patch("/feedback_task/odd", json={"name": "new"})

    assert {item["task_name"] for item in page(api, "/feedback", task_id="odd")["data"]} == {"new"}


def test_the_total_of_feedback_is_what_remains_from_the_offset_on(
    api: Api, uploaded: list[Any], subtests: pytest.Subtests
) -> None:
    cases: list[tuple[dict[str, Any], list[str], int, int, int]] = [
        ({}, ["4", "3", "2", "1", "0"], 5, 0, 50),
        ({"offset": 0, "limit": 2}, ["4", "3"], 5, 0, 2),
        ({"offset": 2, "limit": 2}, ["2", "1"], 3, 2, 2),
        ({"offset": 4, "limit": 25}, ["0"], 1, 4, 25),
        ({"offset": 5}, [], 0, 5, 50),
        ({"offset": 9}, [], 0, 9, 50),
        ({"limit": 5000}, ["4", "3", "2", "1", "0"], 5, 0, 1000),
        ({"task_id": ""}, ["4", "3", "2", "1", "0"], 5, 0, 50),
        ({"task_id": "even"}, ["4", "2", "0"], 3, 0, 50),
        ({"task_id": "even", "offset": 1, "limit": 1}, ["2"], 2, 1, 1),
        ({"task_id": "nobody"}, [], 0, 0, 50),
        ({"completion_id": "c1"}, ["3", "1"], 2, 0, 50),
    ]

    for query, listed, total, offset, limit in cases:
        with subtests.test(query=query, listed=listed, total=total, offset=offset, limit=limit):
            answer = page(api, "/feedback", **query)

            assert ids(answer) == listed
            assert (answer["total"], answer["offset"], answer["limit"]) == (total, offset, limit)


def test_the_total_of_tasks_is_what_remains_from_the_offset_on(
    api: Api, uploaded: list[Any], subtests: pytest.Subtests
) -> None:
    for query, listed, total in [
        ({}, ["odd", "even"], 2),
        ({"limit": 1}, ["odd"], 2),
        ({"offset": 1}, ["even"], 1),
        ({"offset": 3}, [], 0),
    ]:
        with subtests.test(query=query, listed=listed, total=total):
            answer = page(api, "/feedback_task", **query)

            assert (ids(answer), answer["total"]) == (listed, total)


def test_paging_as_the_client_does_gives_each_feedback_once(api: Api, uploaded: list[Any]) -> None:
    """It asks for pages of two from its offset on, until it has as many as the first answer's `total`."""
    first = page(api, "/feedback", offset=1, limit=2)

    listed = ids(first)
    while len(listed) < first["total"]:
        listed += ids(page(api, "/feedback", offset=1 + len(listed), limit=2))

    assert listed == ["3", "2", "1", "0"]


def test_a_query_that_cannot_be_read_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for path in ["/feedback", "/feedback_task"]:
        for query in [{"limit": "0"}, {"limit": "x"}, {"offset": "-1"}]:
            with subtests.test(path=path, query=query):
                answer = api.get(path, params={"organization_id": "", **query})

                assert paths(answer) == ["/query/" + next(iter(query))]


@pytest.mark.parametrize("path", ["/feedback", "/feedback_task"])
def test_another_organization_in_the_query_is_refused(api: Api, other_api: Api, path: str) -> None:
    answer = api.get(path, params={"organization_id": other_api.organization.id})

    problem(answer, 403, "wrong_organization")


def test_a_body_narrows_the_envelope_too(api: Api, uploaded: list[Any]) -> None:
    """`GET /api/v1/feedback` takes its fields in a JSON body as well, whatever the envelope (docs/api.md, "The versioned API")."""
    answer = api.request("GET", "/feedback", params={"organization_id": ""}, json={"task_id": "odd", "limit": 1})

    assert ids(answer.json()) == ["3"]
    assert answer.json()["total"] == 2


def test_another_organization_in_the_body_is_refused_under_the_envelope_too(api: Api, other_api: Api) -> None:
    body = {"organization_id": other_api.organization.id}

    problem(api.request("GET", "/feedback", params={"organization_id": ""}, json=body), 403, "wrong_organization")


def test_a_task_says_when_it_was_made_in_full(api: Api, uploaded: list[Any]) -> None:
    for task in page(api, "/feedback_task")["data"]:
        assert MOMENT.fullmatch(task["created_at"])


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ("{}", '{"required":[]}'),
        ("{ }", '{"required":[]}'),
        ('{"type":"object"}', '{"type":"object","required":[]}'),
        (
            '{"properties":{"required":{"type":"string"}}}',
            '{"properties":{"required":{"type":"string"}},"required":[]}',
        ),
        ('{"required":["a"],"multi":null}', '{"required":["a"],"multi":null}'),
        ('{"title":"}","default":1.00}', '{"title":"}","default":1.00,"required":[]}'),
    ],
)
def test_a_schema_shows_required_in_the_envelope_alone(api: Api, schema: str, shown: str) -> None:
    made = api.post("/feedback_task", content=f'{{"name":"n","json_schema":{schema}}}')

    assert f'"json_schema":{shown},' in api.get("/feedback_task?organization_id=").text
    assert f'"json_schema":{schema},' in api.get("/feedback_task").text
    assert api.get(f"/feedback_task/{made.json()['id']}").text == made.text


def test_tasks_in_the_envelope_keep_their_fields(api: Api, uploaded: list[Any]) -> None:
    plain = api.get("/feedback_task").json()

    shown = page(api, "/feedback_task")["data"]

    assert [{**task, "json_schema": {"required": []}} for task in plain] == [
        {name: value for name, value in task.items() if name != "created_at"} for task in shown
    ]


def test_archived_tasks_are_in_the_envelope(api: Api, uploaded: list[Any]) -> None:
    api.patch("/feedback_task/odd", json={"archived": True})

    assert ids(page(api, "/feedback_task")) == ["odd", "even"]
