"""What single lines of an import say, of an export and of the downloads of `log10`; and which are refused, and why."""

import json
from typing import Any

from log10_server.db.database import Database
from log10_server.services import feedback, feedback_tasks
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.settings import Limits
from log10_server.store.feedback import Filters
from log10_server.web.transfer.importing import RefusedLine
from tests.conftest import Organization, new_organization
from tests.moving import OLD_COMPLETION, OLD_FEEDBACK, exported, import_lines, in_tx, lines_of
from tests.services.test_ungraded import assert_kept


def parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def reason(refused: list[RefusedLine]) -> str:
    assert len(refused) == 1, refused
    return refused[0].reason


# What `log10` downloaded


def test_old_completions_keep_id_time_tags_in_their_order_and_payloads(
    database: Database, organization: Organization
) -> None:
    tally, refused = import_lines(database, organization.id, lines_of(OLD_COMPLETION))

    assert refused == []
    assert (tally.read, tally.stored) == (1, 1)
    (completion,) = parsed(exported(database, organization.id))
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
    _, refused = import_lines(database, organization.id, lines_of(OLD_COMPLETION, OLD_FEEDBACK))

    assert refused == []
    task, feedback = [
        line for line in parsed(exported(database, organization.id)) if line["type"].startswith("feedback")
    ]
    task.pop("content_digest"), feedback.pop("content_digest")
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
    assert feedback == {
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
    import_lines(database, organization.id, lines_of(later, OLD_COMPLETION))

    tally, refused = import_lines(database, organization.id, lines_of({**OLD_COMPLETION, "id": "other"}, later, later))

    assert refused == []
    assert (tally.stored, tally.unchanged) == (2, 1)
    with in_tx(database, organization.id) as tx:
        assert feedback.get(tx, "old-feedback").completion_ids == ["other", OLD_COMPLETION["id"]]
        assert_kept(tx)


def test_feedback_filtered_by_graphql_has_no_time_and_no_comment(
    database: Database, organization: Organization
) -> None:
    kept = ("id", "json_values", "task_id", "task_name", "matched_completion_ids")

    _, refused = import_lines(database, organization.id, lines_of({name: OLD_FEEDBACK[name] for name in kept}))

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

    _, refused = import_lines(database, organization.id, lines_of(old))

    assert refused == []
    (line,) = exported(database, organization.id)
    assert b'"tags":["by name"],"request":{"a": 1.50}}' in line


# RefusedLine lines

GOOD: dict[str, Any] = {"type": "completion", "id": "c"}


BAD: list[tuple[bytes, str]] = [
    (b"{", "Not JSON"),
    (b"nothing", "Not JSON"),
    (b"[1]", "object"),
    (b"\xff{}", "UTF-8"),
    (b'{"a":NaN}', "Not JSON"),
    (b"[" * 300 + b"]" * 300, "nested deeper"),
    (b"{}", "neither from an export"),
    (b'{"type":"dataset","id":"d"}', "neither from an export"),
    (lines_of({**GOOD, "id": "a/b"}), "/id: Must be an id"),
    (lines_of({"type": "completion"}), "/id: Field required"),
    (lines_of({**GOOD, "id": "x" * 256}), "/id: Must be at most 255 bytes"),
    (lines_of({**GOOD, "id": "\ud83d"}), "/id"),
    (lines_of({**GOOD, "tags": ["a", "b\0"]}), "/tags/1: Must not contain the character NUL"),
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
]


def test_a_line_that_can_not_be_taken_is_refused_with_its_number_and_reason(
    database: Database, organization: Organization
) -> None:
    """Lines that are refused stand between lines that are taken, and after a blank one, which counts as a line."""
    data = lines_of({**GOOD, "id": "before"}) + b"\n  \r\n"
    for number, (line, _) in enumerate(BAD):
        data += line.rstrip(b"\n") + b"\n" + lines_of({**GOOD, "id": f"behind-{number:02}"})

    tally, refused = import_lines(database, organization.id, data)

    assert [(refusal.file, refusal.number) for refusal in refused] == [
        ("file", 4 + 2 * number) for number in range(len(BAD))
    ]
    for refusal, (line, words) in zip(refused, BAD, strict=True):
        assert words in refusal.reason, line[:100]
    assert (tally.read, tally.stored, tally.refused) == (2 * len(BAD) + 1, len(BAD) + 1, len(BAD))
    ids = [line["id"] for line in parsed(exported(database, organization.id))]
    assert ids == ["before", *(f"behind-{number:02}" for number in range(len(BAD)))]


def test_a_line_that_is_too_long_is_refused_and_the_next_is_read(
    database: Database, organization: Organization
) -> None:
    limits = Limits(body_bytes=1024)  # a line may always be as long as three of the largest bodies of earlier versions
    long = b"x" * ((96 << 20) + 1)

    tally, refused = import_lines(database, organization.id, long + b"\n" + lines_of(GOOD) + long, limits)

    assert [(refusal.number, refusal.reason) for refusal in refused] == [
        (1, "The line is longer than 100663296 bytes."),
        (3, "The line is longer than 100663296 bytes."),
    ]
    assert tally.stored == 1


def test_a_format_of_another_version_is_not_read(database: Database, organization: Organization) -> None:
    header = {"type": "header", "format": "log10-server", "version": 2}

    tally, refused = import_lines(database, organization.id, lines_of(header, GOOD))

    assert "reads version 1" in reason(refused)
    assert tally.stored == 0


def test_a_byte_order_mark_and_a_last_line_without_an_end_are_accepted(
    database: Database, organization: Organization
) -> None:
    tally, refused = import_lines(database, organization.id, b"\xef\xbb\xbf" + lines_of(GOOD).strip())

    assert refused == []
    assert tally.stored == 1


def test_an_import_into_one_organization_shows_nothing_to_another(
    database: Database, organization: Organization
) -> None:
    """The completions that a feedback lists are looked for in one's own organization only."""
    other = new_organization(database)
    import_lines(database, other.id, lines_of({**OLD_COMPLETION, "id": "theirs"}))

    import_lines(database, organization.id, lines_of({**OLD_FEEDBACK, "matched_completion_ids": ["theirs"]}))

    with in_tx(database, organization.id) as tx:
        assert feedback.list_page(tx, Filters(), None, 0, 10)[0].completion_ids == []
