"""Everything of an organization goes out and comes in again, the same on every database."""

import json
from pathlib import Path
from typing import Any

import pytest

from log10_server.services import completions, feedback, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import Listed
from log10_server.settings import Limits
from log10_server.store.database import Database
from log10_server.store.feedback import Filters
from log10_server.web.transfer.importing import Refused
from tests.conftest import KINDS, Organization, new_organization
from tests.moving import exported, fill, fresh, in_tx, lines_of, taken
from tests.services.test_ungraded import assert_kept


def parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def kinds(lines: list[bytes]) -> list[str]:
    return [str(line["type"]) for line in parsed(lines)]


def reason(refused: list[Refused]) -> str:
    assert len(refused) == 1, refused
    return refused[0].reason


# Out and in


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_moved_to_another_database_is_exported_as_the_same_bytes(
    database: Database, organization: Organization, kind: str, postgres_urls: dict[str, str], tmp_path: Path
) -> None:
    fill(database, organization.id, 2500)
    first = exported(database, organization.id)

    with fresh(postgres_urls, kind, tmp_path) as other:
        there = new_organization(other)
        tally, refused = taken(other, there.id, b"".join(first))

        assert refused == []
        assert (tally.stored, tally.unchanged) == (len(first), 0)
        assert exported(other, there.id) == first
        with in_tx(other, there.id) as tx:
            assert_kept(tx)


def test_an_import_that_is_repeated_stores_nothing_new(database: Database, organization: Organization) -> None:
    fill(database, organization.id)
    lines = exported(database, organization.id)
    there = new_organization(database)
    taken(database, there.id, b"".join(lines))

    tally, refused = taken(database, there.id, b"".join(lines))

    assert refused == []
    assert (tally.stored, tally.unchanged) == (0, len(lines))
    assert exported(database, there.id) == lines


def test_what_a_line_refers_to_stands_before_it(database: Database, organization: Organization) -> None:
    fill(database, organization.id)

    lines = exported(database, organization.id)

    order = list(dict.fromkeys(kinds(lines)))
    assert order == ["session", "feedback_task", "completion", "feedback", "test_run"]
    by_kind = {kind: [line for line in parsed(lines) if line["type"] == kind] for kind in order}
    for rows in by_kind.values():
        places = [(row["created_at"], row["id"]) for row in rows]
        assert places == sorted(places)
    ids = {row["id"] for row in by_kind["completion"]}
    assert {id for row in by_kind["feedback"] for id in row["matched_completion_ids"]} <= ids


def test_nothing_of_another_organization_is_exported(database: Database, organization: Organization) -> None:
    fill(database, new_organization(database).id, 30)

    assert exported(database, organization.id) == []


def test_two_organizations_take_the_same_export_unknown_to_each_other(
    database: Database, organization: Organization
) -> None:
    fill(database, organization.id, 60)
    lines = exported(database, organization.id)
    others = [new_organization(database), new_organization(database)]

    for other in others:
        taken(database, other.id, b"".join(lines))

    assert [exported(database, one.id) for one in (organization, *others)] == [lines] * 3


def test_what_stands_in_no_row_is_left_out_and_a_secret_never_goes_out(
    database: Database, organization: Organization
) -> None:
    fill(database, organization.id, 30)

    lines = exported(database, organization.id)

    bare = next(line for line in parsed(lines) if line["id"] == "bare")
    assert bare.keys() == {"type", "id", "created_at"}
    assert not [line for line in lines if b"null" in line and b'"n":null' not in line]
    assert not [line for line in lines if b"d" * 64 in line or b"upload" in line and b"uploaded_at" not in line]


def test_a_payload_that_has_ends_of_lines_is_one_line(database: Database, organization: Organization) -> None:
    with in_tx(database, organization.id) as tx:
        completions.record(tx, [Entry("c", {"request": '{\r\n  "a": "\\n",\n "b": 1}'})])

    (line,) = exported(database, organization.id)

    assert b'"request":{    "a": "\\n",  "b": 1}' in line


def test_a_large_page_is_cut_by_its_size(database: Database, organization: Organization) -> None:
    with in_tx(database, organization.id) as tx:
        large = '{"a":"' + "x" * 3_000_000 + '"}'
        completions.record(tx, [Entry(f"c-{number}", {"request": large}) for number in range(7)])

    assert [line["id"] for line in parsed(exported(database, organization.id))] == [f"c-{n}" for n in range(7)]


def test_a_moved_upload_can_still_be_repeated(database: Database, organization: Organization) -> None:
    """The digest of what a feedback and a task were made with goes along."""
    task = NewFeedbackTask("t", "name", "", "{}", ("x",))
    new = NewFeedback("f", "t", '{"a":1.0}', "", Listed(("c",)))
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, task)
        feedback_tasks.change(tx, "t", feedback_tasks.Changes(name="another"))
        completions.record(tx, [Entry("c", {})])
        feedback.record(tx, [new])
        completions.delete(tx, "c")
    there = new_organization(database)

    taken(database, there.id, b"".join(exported(database, organization.id)))

    with in_tx(database, there.id) as tx:
        assert feedback_tasks.create(tx, task).name == "another"
        (given,) = feedback.record(tx, [new._replace(json_values='{"a":1}')])
    assert isinstance(given, feedback.Matched)
    assert given.completion_ids == []


# What `log10` downloaded

OLD_COMPLETION = {
    "id": "0b4f9a80-8ef7-4a1c-9be2-1b2c3d4e5f60",
    "organization_id": "the-old-one",
    "created_at": "2024-03-01T12:34:56.789Z",
    "status": "finished",
    "kind": "completion",
    "request": {"model": "davinci", "prompt": "Say é", "z": 1, "a": None},
    "response": {"choices": [{"text": "é"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
    "stacktrace": None,
    "duration": 1500,
    "session_id": "old-session",
    "tags": ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "550e8400-e29b-41d4-a716-446655440000"],
    "tagResolved": [{"id": "7c9e", "name": "b"}, {"id": "550e", "name": "a"}],
    "failure_kind": None,
    "failure_reason": None,
    "likes": 3,
}
OLD_FEEDBACK = {
    "id": "old-feedback",
    "organization_id": "the-old-one",
    "created_at_ms": 1709296500123,
    "task_id": "old-task",
    "task_name": "Old task",
    "json_values": {"grade": 4},
    "matched_completion_ids": ["gone", OLD_COMPLETION["id"]],
    "comment": None,
    "completions_summary": "",
}


def test_old_completions_keep_id_time_tags_in_their_order_and_payloads(
    database: Database, organization: Organization
) -> None:
    tally, refused = taken(database, organization.id, lines_of(OLD_COMPLETION))

    assert refused == []
    assert (tally.read, tally.stored) == (1, 1)
    session, completion = parsed(exported(database, organization.id))
    assert session == {"type": "session", "id": "old-session", "created_at": "2024-03-01T12:34:56.789000+00:00"}
    assert completion == {
        "type": "completion",
        "id": OLD_COMPLETION["id"],
        "created_at": "2024-03-01T12:34:56.789000+00:00",
        "session_id": "old-session",
        "kind": "prompt",
        "status": "finished",
        "tags": ["b", "a"],
        "duration": 1.5,
        "model": "davinci",
        "input_tokens": 2,
        "output_tokens": 1,
        "request": OLD_COMPLETION["request"],
        "response": OLD_COMPLETION["response"],
    }


def test_old_feedback_makes_an_archived_task_and_leaves_out_completions_that_are_gone(
    database: Database, organization: Organization
) -> None:
    _, refused = taken(database, organization.id, lines_of(OLD_COMPLETION, OLD_FEEDBACK))

    assert refused == []
    task, given = [line for line in parsed(exported(database, organization.id)) if line["type"].startswith("feedback")]
    task.pop("content_digest"), given.pop("content_digest")
    at = "2024-03-01T12:35:00.123000+00:00"
    assert task == {
        "type": "feedback_task",
        "id": "old-task",
        "created_at": at,
        "name": "Old task",
        "json_schema": {},
        "completion_tags_selector": [],
        "archived": True,
    }
    assert given == {
        "type": "feedback",
        "id": "old-feedback",
        "created_at": at,
        "task_id": "old-task",
        "state": "accepted",
        "json_values": {"grade": 4},
        "matched_completion_ids": [OLD_COMPLETION["id"]],
        "completions_summary": "",
    }


def test_feedback_that_comes_before_its_completions_is_linked_when_it_comes_again(
    database: Database, organization: Organization
) -> None:
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, NewFeedbackTask("old-task", "n", "", "{}", ("a",)))
    later = {**OLD_FEEDBACK, "matched_completion_ids": ["other", OLD_COMPLETION["id"]]}
    taken(database, organization.id, lines_of(later, OLD_COMPLETION))

    tally, refused = taken(database, organization.id, lines_of({**OLD_COMPLETION, "id": "other"}, later, later))

    assert refused == []
    assert (tally.stored, tally.unchanged) == (2, 1)
    with in_tx(database, organization.id) as tx:
        assert feedback.get(tx, "old-feedback").completion_ids == ["other", OLD_COMPLETION["id"]]
        assert_kept(tx)


def test_feedback_filtered_by_graphql_has_no_time_and_no_comment(
    database: Database, organization: Organization
) -> None:
    kept = ("id", "json_values", "task_id", "task_name", "matched_completion_ids")

    _, refused = taken(database, organization.id, lines_of({name: OLD_FEEDBACK[name] for name in kept}))

    assert refused == []
    with in_tx(database, organization.id) as tx:
        assert feedback.get(tx, "old-feedback").feedback.completions_summary == "no completions"


def test_payloads_as_text_and_what_is_unset_as_null_are_read_too(
    database: Database, organization: Organization
) -> None:
    old = {
        **dict.fromkeys(OLD_COMPLETION),
        "id": "c",
        "status": "started",
        "request": '{"a": 1.50}',
        "response": "",
        "tagResolved": None,
        "tags": ["by name"],
    }

    _, refused = taken(database, organization.id, lines_of(old))

    assert refused == []
    (line,) = exported(database, organization.id)
    assert b'"tags":["by name"],"request":{"a": 1.50}}' in line


# Repeats and other content


def test_a_completion_is_merged_into_what_is_stored(database: Database, organization: Organization) -> None:
    with in_tx(database, organization.id) as tx:
        completions.record(tx, [Entry("c", {"status": "finished", "request": '{"a":1}', "tags": ["x"]})])
        before = completions.get(tx, "c").created_at
    line = {
        "type": "completion",
        "id": "c",
        "created_at": "2024-01-01T00:00:00+00:00",
        "status": "started",
        "tags": ["y"],
    }

    tally, _ = taken(database, organization.id, lines_of(line, {**line, "kind": "prompt"}))

    assert (tally.stored, tally.unchanged) == (1, 1)
    with in_tx(database, organization.id) as tx:
        row = completions.get(tx, "c")
    assert (row.created_at, row.status, row.tags, row.kind) == (before, "finished", '["x"]', "prompt")


@pytest.mark.parametrize(
    "other",
    [{"json_values": {"grade": 5}}, {"comment": "x"}, {"matched_completion_ids": []}, {"task_id": "another"}],
)
def test_feedback_whose_id_is_taken_by_other_content_is_refused(
    database: Database, organization: Organization, other: dict[str, Any]
) -> None:
    taken(database, organization.id, lines_of(OLD_FEEDBACK))

    tally, refused = taken(database, organization.id, lines_of(OLD_FEEDBACK, {**OLD_FEEDBACK, **other}))

    assert (tally.unchanged, tally.refused) == (1, 1)
    assert refused[0].number == 2
    assert "'old-feedback' is there already, with other content" in reason(refused)


def test_a_task_whose_id_is_taken_by_other_content_is_refused(database: Database, organization: Organization) -> None:
    task = {"type": "feedback_task", "id": "t", "name": "n", "json_schema": {}}

    _, refused = taken(database, organization.id, lines_of(task, {**task, "name": "m"}))

    assert "'t' is there already" in reason(refused)


def test_a_decision_is_taken_over_and_never_taken_back(database: Database, organization: Organization) -> None:
    task = NewFeedbackTask("t", "n", "", "{}", ("x",))
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, task)
        completions.record(tx, [Entry("c", {"tags": ["x"]})])
        feedback.record(tx, [NewFeedback("f", "t", '{"a":1}', "", Listed(("c",)), "proposed")])
    before = b"".join(exported(database, organization.id))
    with in_tx(database, organization.id) as tx:
        feedback.accept(tx, "f", '{"a":2}')
    after = b"".join(exported(database, organization.id))
    there = new_organization(database)
    taken(database, there.id, before)

    taking_over, _ = taken(database, there.id, after)
    once_more, _ = taken(database, there.id, before)

    assert (taking_over.stored, taking_over.refused) == (1, 0)
    assert (once_more.stored, once_more.refused) == (0, 0)
    with in_tx(database, there.id) as tx:
        row = feedback.get(tx, "f").feedback
        assert (row.state, row.json_values) == ("accepted", '{"a":2}')
        assert_kept(tx)


def test_a_report_that_has_come_since_is_taken_over(database: Database, organization: Organization) -> None:
    bare = {"type": "test_run", "id": "r", "name": "n", "created_at": "2024-01-01T00:00:00+00:00"}
    reported = {**bare, "uploaded_at": "2024-01-02T00:00:00+00:00", "summary": {"passed": 1}, "report": {"tests": []}}

    tally, refused = taken(database, organization.id, lines_of(bare, reported, bare, reported, {**bare, "name": "m"}))

    assert (tally.stored, tally.unchanged) == (2, 2)
    assert "'r' is there already" in reason(refused)
    assert parsed(exported(database, organization.id)) == [
        {
            **reported,
            "created_at": bare["created_at"].replace("+00", ".000000+00"),
            "uploaded_at": "2024-01-02T00:00:00.000000+00:00",
        }
    ]


# Refused lines

GOOD: dict[str, Any] = {"type": "completion", "id": "c"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "Not JSON"),
        (b"nothing", "Not JSON"),
        (b"[1]", "object"),
        (b"\xff{}", "UTF-8"),
        (b'{"a":NaN}', "Not JSON"),
        (b"[" * 300 + b"]" * 300, "nested deeper"),
        (b"{}", "none of an export"),
        (b'{"type":"dataset","id":"d"}', "none of an export"),
        (lines_of({**GOOD, "id": "a/b"}), "/id: Must be an id"),
        (lines_of({"type": "completion"}), "/id: Field required"),
        (lines_of({**GOOD, "id": "x" * 256}), "/id: Must be at most 255 bytes"),
        (lines_of({**GOOD, "id": "\ud83d"}), "/id"),
        (lines_of({**GOOD, "tags": ["a", "b\0"]}), "/tags/1: Must not hold the character NUL"),
        (lines_of({**GOOD, "tags": ["\ud83d"]}), "/tags/0"),
        (lines_of({**GOOD, "tags": ["x" * 8193]}), "/tags/0: Must be at most 8192 bytes"),
        (lines_of({**GOOD, "failure_reason": "\0"}), "/failure_reason"),
        (lines_of({**GOOD, "session_id": "x" * 513}), "/session_id"),
        (lines_of({**GOOD, "created_at": "yesterday"}), "/created_at: Must be a time"),
        (lines_of({**GOOD, "created_at": 12}), "/created_at: Must be a time"),
        (lines_of({**GOOD, "created_at": "0001-01-01T00:00:00+14:00"}), "/created_at: Must be a time from 1970"),
        (lines_of({**GOOD, "status": "done"}), "/status"),
        (lines_of({**GOOD, "request": [1]}), "/request: Must be an object"),
        (lines_of({**GOOD, "input_tokens": -1}), "/input_tokens"),
        (lines_of({**GOOD, "output_tokens": 2**63}), "/output_tokens"),
        (lines_of({**OLD_COMPLETION, "tagResolved": [{"id": "x"}]}), "/tagResolved/0"),
        (lines_of({**OLD_COMPLETION, "request": "{"}), "/request: Holds text that is not JSON"),
        (lines_of({**OLD_FEEDBACK, "created_at_ms": "x"}), "/created_at_ms"),
        (lines_of({**OLD_FEEDBACK, "json_values": []}), "/json_values"),
        (lines_of({**OLD_FEEDBACK, "task_id": None}), "/task_id"),
        (lines_of({**OLD_FEEDBACK, "matched_completion_ids": ["\0"]}), "/matched_completion_ids/0"),
        (lines_of({**OLD_FEEDBACK, "matched_completion_ids": ["x"] * 10_001}), "at most 10000 items"),
        (lines_of({**OLD_FEEDBACK, "state": "perhaps"}), "/state"),
        (lines_of({**OLD_FEEDBACK, "content_digest": "x"}), "/content_digest"),
        (lines_of({"type": "feedback_task", "id": "t", "name": "n", "json_schema": {"type": 1}}), "/json_schema/type"),
        (lines_of({"type": "session", "id": ""}), "/id"),
        (lines_of({"type": "test_run", "id": "r"}), "/name"),
    ],
)
def test_a_line_that_can_not_be_taken_is_refused_with_its_number_and_reason(
    database: Database, organization: Organization, line: bytes, words: str
) -> None:
    data = (
        lines_of({**GOOD, "id": "before"})
        + b"\n  \r\n"
        + line.rstrip(b"\n")
        + b"\n"
        + lines_of({**GOOD, "id": "behind"})
    )

    tally, refused = taken(database, organization.id, data)

    assert words in reason(refused)
    assert (refused[0].file, refused[0].number) == ("file", 4)
    assert (tally.read, tally.stored, tally.refused) == (3, 2, 1)
    assert [line["id"] for line in parsed(exported(database, organization.id))] == ["before", "behind"]


def test_a_line_that_is_too_long_is_refused_and_the_next_is_read(
    database: Database, organization: Organization
) -> None:
    limits = Limits(body_bytes=1024)
    long = lines_of({**GOOD, "request": {"a": "x" * 4 * 1024}})

    tally, refused = taken(database, organization.id, long + lines_of(GOOD) + long.strip(), limits)

    assert [(one.number, one.reason) for one in refused] == [
        (1, "The line is longer than 3072 bytes."),
        (3, "The line is longer than 3072 bytes."),
    ]
    assert tally.stored == 1


def test_a_format_of_another_version_is_not_read(database: Database, organization: Organization) -> None:
    header = {"type": "header", "format": "log10-server", "version": 2}

    tally, refused = taken(database, organization.id, lines_of(header, GOOD))

    assert "reads version 1" in reason(refused)
    assert tally.stored == 0


def test_a_byte_order_mark_and_a_last_line_without_an_end_are_no_matter(
    database: Database, organization: Organization
) -> None:
    tally, refused = taken(database, organization.id, b"\xef\xbb\xbf" + lines_of(GOOD).strip())

    assert refused == []
    assert tally.stored == 1


def test_an_import_into_one_organization_shows_nothing_to_another(
    database: Database, organization: Organization
) -> None:
    """The completions that a feedback lists are looked for in one's own organization only."""
    other = new_organization(database)
    taken(database, other.id, lines_of({**OLD_COMPLETION, "id": "theirs"}))

    taken(database, organization.id, lines_of({**OLD_FEEDBACK, "matched_completion_ids": ["theirs"]}))

    with in_tx(database, organization.id) as tx:
        assert feedback.list_newest(tx, Filters(), 0, 10)[0].completion_ids == []
