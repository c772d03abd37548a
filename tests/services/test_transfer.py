"""Everything of an organization goes out and comes in again, the same on every database."""

import json
from pathlib import Path
from typing import Any

import pytest

from log10_server.db.database import Database
from log10_server.services import completions, feedback, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import CompletionList
from log10_server.web.transfer.importing import BATCH_LINKS, RefusedLine
from tests.conftest import KINDS, Organization, completion_of, new_organization
from tests.moving import OLD_FEEDBACK, exported, fill, fresh, import_lines, in_tx, lines_of
from tests.services.test_ungraded import assert_kept


def parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def kinds(lines: list[bytes]) -> list[str]:
    return [str(line["type"]) for line in parsed(lines)]


def reason(refused: list[RefusedLine]) -> str:
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
        target = new_organization(other)
        tally, refused = import_lines(other, target.id, b"".join(first))

        assert refused == []
        assert (tally.stored, tally.unchanged) == (len(first), 0)
        assert exported(other, target.id) == first
        with in_tx(other, target.id) as tx:
            assert_kept(tx)


def test_an_import_that_is_repeated_stores_nothing_new(database: Database, organization: Organization) -> None:
    fill(database, organization.id)
    lines = exported(database, organization.id)
    target = new_organization(database)
    import_lines(database, target.id, b"".join(lines))

    tally, refused = import_lines(database, target.id, b"".join(lines))

    assert refused == []
    assert (tally.stored, tally.unchanged) == (0, len(lines))
    assert exported(database, target.id) == lines


def test_feedback_on_many_completions_is_imported_in_parts(
    database: Database, organization: Organization, postgres_urls: dict[str, str], tmp_path: Path
) -> None:
    ids = [f"c-{number:04}" for number in range(2 * BATCH_LINKS + 10)]
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, NewFeedbackTask("t", "t", "", "{}", ()))
        completions.record_all(tx, [Entry(completion_id, {}) for completion_id in ids])
        feedback.record(tx, [NewFeedback("f", "t", "{}", "", CompletionList(tuple(ids[::-1])))])
    data = b"".join(exported(database, organization.id))

    with fresh(postgres_urls, "sqlite", tmp_path) as other:
        owner = new_organization(other).id
        tally, refused = import_lines(other, owner, data)
        again, _ = import_lines(other, owner, data)

        assert (tally.stored, refused, again.stored) == (len(ids) + 2, [], 0)
        assert b"".join(exported(other, owner)) == data


def test_what_a_line_refers_to_stands_before_it(database: Database, organization: Organization) -> None:
    fill(database, organization.id)

    lines = exported(database, organization.id)

    order = list(dict.fromkeys(kinds(lines)))
    assert order == ["session", "feedback_task", "completion", "feedback", "test_run"]
    by_kind = {kind: [line for line in parsed(lines) if line["type"] == kind] for kind in order}
    for rows in by_kind.values():
        places = [(row["created_at"] if row["type"] != "session" else "", row["id"]) for row in rows]
        assert places == sorted(places)
    ids = {row["id"] for row in by_kind["completion"]}
    assert {completion_id for row in by_kind["feedback"] for completion_id in row["matched_completion_ids"]} <= ids


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
        import_lines(database, other.id, b"".join(lines))

    assert [exported(database, owner.id) for owner in (organization, *others)] == [lines] * 3


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
    new = NewFeedback("f", "t", '{"a":1.0}', "", CompletionList(("c",)))
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, task)
        feedback_tasks.change(tx, "t", feedback_tasks.FeedbackTaskChanges(name="another"))
        completions.record(tx, [Entry("c", {})])
        feedback.record(tx, [new])
        completions.delete(tx, "c")
    target = new_organization(database)

    import_lines(database, target.id, b"".join(exported(database, organization.id)))

    with in_tx(database, target.id) as tx:
        assert feedback_tasks.create(tx, task).name == "another"
        (outcome,) = feedback.record(tx, [new._replace(json_values='{"a":1}')])
    assert isinstance(outcome, feedback.StoredFeedback)
    assert outcome.completion_ids == []


# Repeats and other content


def test_a_completion_is_merged_into_what_is_stored(database: Database, organization: Organization) -> None:
    with in_tx(database, organization.id) as tx:
        completions.record(tx, [Entry("c", {"status": "finished", "request": '{"a":1}', "tags": ["x"]})])
        before = completion_of(tx, "c").created_at
    line = {
        "type": "completion",
        "id": "c",
        "created_at": "2024-01-01T00:00:00+00:00",
        "status": "started",
        "tags": ["y"],
    }

    tally, _ = import_lines(database, organization.id, lines_of(line, {**line, "kind": "prompt"}))

    assert (tally.stored, tally.unchanged) == (1, 1)
    with in_tx(database, organization.id) as tx:
        row = completion_of(tx, "c")
    assert (row.created_at, row.status, row.tags, row.kind) == (before, "finished", '["x"]', "prompt")


@pytest.mark.parametrize(
    "other",
    [{"json_values": {"grade": 5}}, {"comment": "x"}, {"matched_completion_ids": []}, {"task_id": "another"}],
)
def test_feedback_whose_id_is_taken_by_other_content_is_refused(
    database: Database, organization: Organization, other: dict[str, Any]
) -> None:
    import_lines(database, organization.id, lines_of(OLD_FEEDBACK))

    tally, refused = import_lines(database, organization.id, lines_of(OLD_FEEDBACK, {**OLD_FEEDBACK, **other}))

    assert (tally.unchanged, tally.refused) == (1, 1)
    assert refused[0].number == 2
    assert "'old-feedback' already exists, with other content" in reason(refused)


def test_a_task_whose_id_is_taken_by_other_content_is_refused(database: Database, organization: Organization) -> None:
    task = {"type": "feedback_task", "id": "t", "name": "n", "json_schema": {}}

    _, refused = import_lines(database, organization.id, lines_of(task, {**task, "name": "m"}))

    assert "'t' already exists" in reason(refused)


def test_a_decision_is_taken_over_and_never_taken_back(database: Database, organization: Organization) -> None:
    task = NewFeedbackTask("t", "n", "", "{}", ("x",))
    with in_tx(database, organization.id) as tx:
        feedback_tasks.create(tx, task)
        completions.record(tx, [Entry("c", {"tags": ["x"]})])
        feedback.record(tx, [NewFeedback("f", "t", '{"a":1}', "", CompletionList(("c",)), "proposed")])
    before = b"".join(exported(database, organization.id))
    with in_tx(database, organization.id) as tx:
        feedback.accept(tx, "f", '{"a":2}')
    after = b"".join(exported(database, organization.id))
    target = new_organization(database)
    import_lines(database, target.id, before)

    taking_over, _ = import_lines(database, target.id, after)
    once_more, _ = import_lines(database, target.id, before)

    assert (taking_over.stored, taking_over.refused) == (1, 0)
    assert (once_more.stored, once_more.refused) == (0, 0)
    with in_tx(database, target.id) as tx:
        row = feedback.get(tx, "f").feedback
        assert (row.state, row.json_values) == ("accepted", '{"a":2}')
        assert_kept(tx)


def test_a_report_that_has_come_since_is_taken_over(database: Database, organization: Organization) -> None:
    bare = {"type": "test_run", "id": "r", "name": "n", "created_at": "2024-01-01T00:00:00+00:00"}
    reported = {**bare, "uploaded_at": "2024-01-02T00:00:00+00:00", "summary": {"passed": 1}, "report": {"tests": []}}

    tally, refused = import_lines(
        database, organization.id, lines_of(bare, reported, bare, reported, {**bare, "name": "m"})
    )

    assert (tally.stored, tally.unchanged) == (2, 2)
    assert "'r' already exists" in reason(refused)
    assert parsed(exported(database, organization.id)) == [
        {
            **reported,
            "created_at": bare["created_at"].replace("+00", ".000000+00"),
            "uploaded_at": "2024-01-02T00:00:00.000000+00:00",
        }
    ]


def test_an_import_only_fills_gaps_of_what_has_been_logged_here_since(
    database: Database, organization: Organization
) -> None:
    """Going on with an import after programs have moved over must not put old rows over new ones."""
    line = b'{"type":"completion","id":"one","created_at":"2026-01-01T00:00:00.000000+00:00","tags":["old"],'
    line += b'"status":"failed","failure_kind":"from the file"}\n'
    with in_tx(database, organization.id) as tx:
        completions.record(tx, [Entry("one", {"tags": ["new"], "status": "finished"})])

    tally, refused = import_lines(database, organization.id, line)
    again, _ = import_lines(database, organization.id, line)

    with in_tx(database, organization.id) as tx:
        row = completion_of(tx, "one")
    assert refused == []
    assert (tally.stored, again.unchanged) == (1, 1)
    assert (row.tags, row.status, row.failure_kind) == ('["new"]', "finished", "from the file")


def test_a_refused_line_of_feedback_makes_no_task(database: Database, organization: Organization) -> None:
    first = b'{"type":"feedback","id":"one","task_id":"there","json_values":{"a":1},"comment":""}\n'
    other = b'{"type":"feedback","id":"one","task_id":"ghost","json_values":{"a":2},"comment":""}\n'
    import_lines(database, organization.id, first)

    _, refused = import_lines(database, organization.id, other)

    with in_tx(database, organization.id) as tx:
        tasks = [task.id for task in feedback_tasks.list_newest(tx, None, 0, 10)]
    assert "already exists" in reason(refused)
    assert tasks == ["there"]
