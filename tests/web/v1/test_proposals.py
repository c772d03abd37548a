"""Feedback as a proposal: it grades nothing until somebody accepts it (issue: autoFeedback)."""

from typing import Any

import pytest

from tests.conftest import Api, paths, problem

SCHEMA = {"type": "object", "properties": {"grade": {"type": "integer", "maximum": 5}}, "required": ["grade"]}


def proposed(api: Api, **fields: Any) -> dict[str, Any]:
    """Proposed feedback on the ungraded completion `one`."""
    api.completion(id="one", tags=["tag"])
    task = api.task(["tag"], SCHEMA, id="task")
    return api.upload(task["id"], completion_ids=["one"], json_values={"grade": 3}, state="proposed", **fields)


def listed(api: Api, **query: Any) -> list[str]:
    return [item["id"] for item in api.get("/feedback", params=query).json()["feedback"]]


def test_a_proposal_is_stored_and_grades_nothing(api: Api) -> None:
    proposal = proposed(api)

    assert proposal["state"] == "proposed"
    assert proposal["matched_completion_ids"] == ["one"]
    assert api.ungraded() == ["one"]


def test_feedback_is_accepted_unless_it_says_otherwise(api: Api) -> None:
    api.completion(id="one", tags=["tag"])
    task = api.task(["tag"])

    uploaded = api.upload(task["id"], completion_ids=["one"])

    assert uploaded["state"] == "accepted"
    assert api.ungraded() == []


def test_an_accepted_proposal_grades(api: Api) -> None:
    proposal = proposed(api)

    answer = api.post(f"/feedback/{proposal['id']}/accept")

    assert answer.status_code == 200
    assert answer.json() == {**proposal, "state": "accepted"}
    assert api.ungraded() == []


def test_a_proposal_is_accepted_with_edited_values(api: Api) -> None:
    proposal = proposed(api)

    answer = api.post(f"/feedback/{proposal['id']}/accept", json={"json_values": {"grade": 5}})

    assert answer.json()["json_values"] == {"grade": 5}
    assert api.get(f"/feedback/{proposal['id']}").json() == answer.json()


def test_edited_values_must_satisfy_the_schema(api: Api) -> None:
    proposal = proposed(api)

    answer = api.post(f"/feedback/{proposal['id']}/accept", json={"json_values": {"grade": 6}})

    assert paths(answer, 422, "values_refused") == ["/json_values/grade"]
    assert api.get(f"/feedback/{proposal['id']}").json() == proposal
    assert api.ungraded() == ["one"]


def test_a_rejected_proposal_is_kept_and_grades_nothing(api: Api) -> None:
    proposal = proposed(api)

    answer = api.post(f"/feedback/{proposal['id']}/reject")

    assert answer.json() == {**proposal, "state": "rejected"}
    assert api.ungraded() == ["one"]
    assert listed(api, state="rejected") == [proposal["id"]]


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_the_same_decision_again_changes_nothing(api: Api, decision: str) -> None:
    proposal = proposed(api)
    first = api.post(f"/feedback/{proposal['id']}/{decision}")

    again = api.post(f"/feedback/{proposal['id']}/{decision}")

    assert again.status_code == 200
    assert again.json() == first.json()


@pytest.mark.parametrize(("first", "then"), [("accept", "reject"), ("reject", "accept")])
def test_a_decision_on_a_proposal_is_final(api: Api, first: str, then: str) -> None:
    proposal = proposed(api)
    api.post(f"/feedback/{proposal['id']}/{first}")

    problem(api.post(f"/feedback/{proposal['id']}/{then}"), 409, "decided_already")


def test_accepted_values_are_not_edited(api: Api) -> None:
    proposal = proposed(api)
    api.post(f"/feedback/{proposal['id']}/accept")

    problem(api.post(f"/feedback/{proposal['id']}/accept", json={"json_values": {"grade": 1}}), 409, "decided_already")


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_what_is_not_there_is_not_decided_on(api: Api, decision: str) -> None:
    problem(api.post(f"/feedback/none/{decision}"), 404, "not_found")
    problem(api.post("/feedback/none/accept", json={"json_values": {}}), 404, "not_found")


def test_a_proposal_for_an_archived_task_is_not_accepted(api: Api) -> None:
    proposal = proposed(api)
    api.patch("/feedback_task/task", json={"archived": True})

    assert paths(api.post(f"/feedback/{proposal['id']}/accept"), 422, "task_archived") == ["/task_id"]


def test_a_list_holds_what_was_accepted_unless_it_is_asked_for_more(api: Api) -> None:
    proposal = proposed(api)
    accepted = api.upload("task", completion_ids=["one"], json_values={"grade": 1})

    assert listed(api) == [accepted["id"]]
    assert listed(api, state="proposed") == [proposal["id"]]
    assert listed(api, state="all") == [accepted["id"], proposal["id"]]


def test_deleting_a_proposal_leaves_its_completion_ungraded(api: Api) -> None:
    proposal = proposed(api)

    assert api.delete(f"/feedback/{proposal['id']}").status_code == 204

    assert api.ungraded() == ["one"]


def test_a_repeated_proposal_is_answered_as_it_is_decided(api: Api) -> None:
    proposed(api, id="mine")
    api.post("/feedback/mine/accept", json={"json_values": {"grade": 4}})

    again = api.upload("task", id="mine", completion_ids=["one"], json_values={"grade": 3}, state="proposed")

    assert again["state"] == "accepted"
    assert again["json_values"] == {"grade": 4}
