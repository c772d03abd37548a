"""The author of feedback: who uploaded it, frozen at that moment."""

from collections.abc import Iterator

import pytest

from log10_server.db.database import Database
from log10_server.services import organizations
from tests.conftest import Api, Organization, Served
from tests.moving import exported, import_lines, lines_of


@pytest.fixture
def named_api(serving: Served, database: Database, organization: Organization) -> Iterator[Api]:
    """The same organization through a token named `nightly grader`."""
    with database.writing() as connection:
        issued = organizations.issue_token(connection, database.clock, organization.id, name="nightly grader")
    with Api(serving.url, Organization(organization.id, organization.slug, issued.value)) as client:
        yield client


def test_the_author_is_the_name_of_the_token_and_without_one_its_id(api: Api, named_api: Api) -> None:
    task = api.task(["a"])
    api.completion(tags=["a"])

    by_name = named_api.upload(task["id"], completion_tags_selector=["a"])
    by_id = api.upload(task["id"], completion_tags_selector=["a"])

    assert (by_name["author"], by_name["author_kind"]) == ("nightly grader", "program")
    assert by_name["author_id"] != by_id["author_id"] == by_id["author"]
    assert {item["author"] for item in api.get("/feedback").json()["feedback"]} == {
        "nightly grader",
        by_id["author_id"],
    }
    assert api.get(f"/feedback/{by_name['id']}").json() == by_name


def test_the_pages_of_log10_io_show_the_author_too(api: Api, named_api: Api) -> None:
    task = api.task(["a"])
    api.completion(tags=["a"])
    named_api.upload(task["id"], completion_tags_selector=["a"])

    (feedback,) = api.get("/feedback", params={"organization_id": ""}).json()["data"]

    assert (feedback["author"], feedback["author_kind"]) == ("nightly grader", "program")


def test_a_repeat_with_another_token_answers_what_is_stored(api: Api, named_api: Api) -> None:
    task = api.task(["a"])
    api.completion(tags=["a"])
    first = named_api.upload(task["id"], id="f", completion_tags_selector=["a"])

    assert api.upload(task["id"], id="f", completion_tags_selector=["a"]) == first


def test_feedback_from_before_there_were_authors_leaves_them_out(
    api: Api, database: Database, organization: Organization
) -> None:
    api.task(["a"], id="t")
    line = {"type": "feedback", "id": "old", "task_id": "t", "json_values": {}, "matched_completion_ids": []}
    import_lines(database, organization.id, lines_of(line))

    assert not {"author", "author_id", "author_kind"} & api.get("/feedback/old").json().keys()


def test_an_import_keeps_the_author_of_the_file(
    api: Api, other_api: Api, named_api: Api, database: Database, organization: Organization
) -> None:
    task = api.task(["a"])
    api.completion(tags=["a"])
    uploaded = named_api.upload(task["id"], id="f", completion_tags_selector=["a"])

    import_lines(database, other_api.organization.id, b"".join(exported(database, organization.id)))

    moved = other_api.get("/feedback/f").json()
    assert {name: moved[name] for name in moved if name.startswith("author")} == {
        name: uploaded[name] for name in uploaded if name.startswith("author")
    }


def test_a_proposal_keeps_its_author_when_another_token_accepts_it(api: Api, named_api: Api) -> None:
    task = api.task(["a"])
    api.completion(tags=["a"])
    proposal = named_api.upload(task["id"], completion_tags_selector=["a"], state="proposed")

    accepted = api.post(f"/feedback/{proposal['id']}/accept").json()

    assert accepted["author"] == "nightly grader"
