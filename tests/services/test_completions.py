"""Recording many rows at once equals recording them one after the other, and what is derived stays true."""

import json
from collections.abc import Callable
from itertools import permutations, product
from random import Random
from typing import Any, cast

import pytest
from sqlalchemy import text

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound, Refusal
from log10_server.services import completions, feedback_tasks, provider_payloads
from log10_server.services.completions import Entry
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.merging import CompletionFields, DerivedFields
from log10_server.store.completions import CompletionRow, Cursor, Filters
from tests.conftest import Organization, completion_of, new_organization

OPENING: CompletionFields = {"status": "started", "request": '{"a":1}', "tags": ["x", "y"], "session_id": "s"}
CLOSING: CompletionFields = {"status": "finished", "response": '{"b":1}', "duration": 1.5}
CLEARING: CompletionFields = {"tags": [], "status": "failed", "failure_kind": "k", "failure_reason": "é\x01"}


def recorded(tx: Tx, *entries: Entry) -> list[CompletionRow]:
    rows = completions.record(tx, entries)
    assert not any(isinstance(row, Refusal) for row in rows)
    return [row for row in rows if isinstance(row, CompletionRow)]


def without_owner_and_time(row: CompletionRow) -> tuple[Any, ...]:
    """All but whose it is and when it came."""
    return row.id, *row[3:]


def table(tx: Tx, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in tx.connection.execute(text(statement), {"mine": tx.organization_id})]


def stored(tx: Tx) -> dict[str, Any]:
    """Everything that completions leave in the database, without keys and times that differ between organizations."""
    return {
        "completions": table(
            tx,
            "SELECT id, session_id, kind, status, model, input_tokens, output_tokens, duration, failure_kind, "
            "failure_reason, tags, request, response, stacktrace FROM completion WHERE organization_id = :mine ORDER BY id",
        ),
        "order": table(tx, "SELECT id FROM completion WHERE organization_id = :mine ORDER BY created_at"),
        "tags": table(
            tx,
            "SELECT t.completion_id, tag.name, t.created_at - c.created_at FROM completion_tag t JOIN tag ON "
            "tag.organization_id = t.organization_id AND tag.id = t.tag_id JOIN completion c ON c.organization_id = "
            "t.organization_id AND c.id = t.completion_id WHERE t.organization_id = :mine ORDER BY t.completion_id, tag.name",
        ),
        "ungraded": table(
            tx,
            "SELECT completion_id, task_id FROM ungraded WHERE organization_id = :mine ORDER BY completion_id, task_id",
        ),
        "sessions": table(tx, "SELECT id FROM session WHERE organization_id = :mine ORDER BY id"),
    }


def assert_indexed(tx: Tx) -> None:
    """The index over tags holds what the completions say, each tag at its completion's time."""
    tables = stored(tx)
    expected = sorted((row[0], tag, 0) for row in tables["completions"] for tag in json.loads(row[10] or "[]"))
    assert sorted(tables["tags"]) == expected


def random_entries(random: Random, ids: int, count: int) -> list[Entry]:
    entries = []
    for _ in range(count):
        fields: CompletionFields = {}
        if random.random() < 0.6:
            fields["status"] = random.choice(["started", "finished", "failed"])
        if random.random() < 0.6:
            fields["tags"] = random.choices(["x", "y", "z", "é", "", "x" * 8192], k=random.randint(0, 4))
        if random.random() < 0.4:
            fields["session_id"] = random.choice(["s", "t", "S"])
        if random.random() < 0.5:
            fields["duration"] = random.choice([0.0, 1.0, 0.1, 1e300])
        if random.random() < 0.5:
            fields["response"] = random.choice(['{"a":null}', "{}", '{"\\ud83d":1e400}'])
        derived: DerivedFields = {}
        if random.random() < 0.3:
            derived = {"model": random.choice("mn"), "input_tokens": random.choice([0, 1, 40_000, 2**31, 2**63 - 1])}
        entries.append(Entry(f"c{random.randrange(ids)}", fields, derived=derived))
    return entries


@pytest.mark.parametrize("seed", range(8))
def test_many_at_once_equal_one_after_the_other(database: Database, organization: Organization, seed: int) -> None:
    random = Random(seed)
    batches = [random_entries(random, 6, random.choice([1, 2, 5, 40])) for _ in range(4)]
    other = new_organization(database)

    with database.writing() as connection:
        together, singly = (database.tx(connection, organization_id) for organization_id in (organization.id, other.id))
        for tx in (together, singly):
            for selector in (("x",), ("x", "y"), ("é", "")):
                feedback_tasks.create(tx, NewFeedbackTask("/".join(selector), "a task", "", "{}", selector))
        for batch in batches:
            at_once = recorded(together, *batch)
            one_by_one = [recorded(singly, entry)[0] for entry in batch]

            assert list(map(without_owner_and_time, at_once)) == list(map(without_owner_and_time, one_by_one))
            assert stored(together) == stored(singly)
            assert_indexed(together)


@pytest.mark.parametrize("before", [None, OPENING, CLOSING, CLEARING])
def test_one_id_several_times_in_a_batch_equals_its_rows_in_turn(
    database: Database, organization: Organization, before: CompletionFields | None
) -> None:
    with database.writing() as connection:
        for rows in permutations([OPENING, CLOSING, CLEARING]):
            tx = database.tx(connection, organization.id)
            names = ["".join(name) for name in product("ab", repeat=2)]
            if before is not None:
                recorded(tx, *(Entry(completion_id, before) for completion_id in ("at once", "in turn")))

            at_once = recorded(tx, *(Entry("at once", row) for row in rows), *(Entry(name, {}) for name in names))
            in_turn = [recorded(tx, Entry("in turn", row))[0] for row in rows]

            assert [row[3:] for row in at_once[:3]] == [row[3:] for row in in_turn]
            assert completion_of(tx, "at once")[3:] == completion_of(tx, "in turn")[3:]
            assert_indexed(tx)
            for completion_id in ("at once", "in turn"):
                completions.delete(tx, completion_id)


def test_rows_without_an_id_make_a_completion_each(tx: Tx) -> None:
    rows = recorded(tx, Entry(None, OPENING), Entry("c", {}), Entry(None, OPENING), Entry("c", CLOSING))

    assert len({row.id for row in rows}) == 3
    assert [row.id for row in rows][1::2] == ["c", "c"]
    assert [completion_of(tx, row.id) for row in rows[:3:2]] == rows[:3:2]


def test_recording_no_entries_gives_no_rows(tx: Tx) -> None:
    assert recorded(tx) == []


def test_the_first_in_a_batch_began_first(tx: Tx) -> None:
    rows = recorded(tx, *(Entry(completion_id, {}) for completion_id in "cab"))

    assert [row.id for row in sorted(rows, key=lambda row: row.created_at)] == ["c", "a", "b"]


def test_some_thousands_at_once_are_recorded(tx: Tx) -> None:
    entries = [
        Entry(f"c{number}", {"tags": [f"t{number % 700}"], "session_id": f"s{number % 90}"}) for number in range(2500)
    ]

    recorded(tx, *entries)
    recorded(tx, *(Entry(entry.completion_id, {"duration": 1.0, "tags": ["t0"]}) for entry in entries))

    assert table(tx, "SELECT count(*), sum(duration) FROM completion WHERE organization_id = :mine") == [(2500, 2500.0)]
    assert_indexed(tx)


def test_a_row_that_repeats_stored_values_changes_nothing(tx: Tx) -> None:
    (first,) = recorded(tx, Entry("c", {**OPENING, **CLOSING}))

    (again,) = recorded(tx, Entry("c", OPENING))

    assert again == first == completion_of(tx, "c")


def test_a_deleted_completion_comes_back_with_a_new_time_and_nothing_of_the_old(tx: Tx) -> None:
    (first,) = recorded(tx, Entry("c", {**OPENING, **CLOSING}))
    completions.delete(tx, "c")

    (anew,) = recorded(tx, Entry("c", {"tags": ["z"]}))

    assert anew.created_at > first.created_at
    assert (anew.request, anew.status, anew.tags) == (None, None, '["z"]')
    assert_indexed(tx)


@pytest.mark.parametrize("completion_id", ["c", "", "C", "é", "x" * 5000])
def test_what_is_not_there_is_not_found(tx: Tx, completion_id: str) -> None:
    with pytest.raises(NotFound):
        completions.get(tx, completion_id, 1000)
    with pytest.raises(NotFound):
        completions.delete(tx, completion_id)


def log_row(status: str | None, request: str | None, response: str | None) -> CompletionFields:
    """A row as a dialect hands it to the service: without the fields that are null."""
    values = {"status": status, "request": request, "response": response}
    fields = {name: value for name, value in values.items() if value is not None}
    return cast(CompletionFields, fields)


ASKED, ANSWERED = '{"model":"gpt-4o"}', '{"model":"gpt-4o-2024","usage":{"prompt_tokens":9,"completion_tokens":3}}'
OTHER, SILENT = '{"model":"o1","usage":{"prompt_tokens":1,"completion_tokens":1}}', '{"choices":[]}'


@pytest.mark.parametrize(
    "rows",
    [
        [log_row("finished", ASKED, ANSWERED)],
        [log_row("started", ASKED, None), log_row("finished", None, ANSWERED)],
        [log_row("finished", None, ANSWERED), log_row("started", ASKED, None)],
        [log_row("finished", ASKED, OTHER), log_row("finished", None, ANSWERED)],
        [log_row("finished", ASKED, ANSWERED), log_row("started", OTHER, OTHER)],
        [log_row("finished", ASKED, ANSWERED), log_row("finished", None, SILENT)],
        [log_row("finished", ASKED, SILENT), log_row("started", None, ANSWERED)],
        [log_row("finished", ASKED, ANSWERED), log_row("finished", "{}", None)],
        [log_row(None, ASKED, None), log_row(None, OTHER, ANSWERED), log_row(None, None, SILENT)],
    ],
)
def test_model_and_counts_are_those_of_the_payloads_that_are_stored(tx: Tx, rows: list[CompletionFields]) -> None:
    """A closing row holds the answer only, and its model is not the one that was asked for; a later answer without
    `usage` must not keep the counts of the earlier one."""
    recorded(tx, *(Entry("at once", row) for row in rows))
    for row in rows:
        recorded(tx, Entry("in turn", row))

    for completion_id in ("at once", "in turn"):
        kept = completion_of(tx, completion_id)
        columns = {"model": kept.model, "input_tokens": kept.input_tokens, "output_tokens": kept.output_tokens}
        expected = provider_payloads.derive(kept.request, kept.response)
        assert columns == {name: expected.get(name) for name in columns}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_lose_and_repeat_nothing_where_rows_have_one_time(tx: Tx, limit: int) -> None:
    """Rows of an import often share their instant: then the id decides, in a list, by tags, and in a session."""
    ids = ["b", "D", "a", "é", "C"]
    completions.record(
        tx, [Entry(completion_id, {"tags": ["t"], "session_id": "s"}, created_at=1_000_000) for completion_id in ids]
    )

    def paged(page: Callable[[Cursor | None], tuple[list[str], Cursor | None]]) -> list[str]:
        listed, after = page(None)
        while after is not None:
            ids, after = page(after)
            listed += ids
        return listed

    newest = sorted(ids, reverse=True)
    assert paged(lambda after: completions.list_newest(tx, [], Filters(), after, limit)) == newest
    assert paged(lambda after: completions.list_newest(tx, ["t"], Filters(), after, limit)) == newest
    assert paged(lambda after: completions.list_of_session(tx, "s", after, limit)) == sorted(ids)


def test_an_import_with_fewer_counts_than_the_stored_row_removes_none(tx: Tx) -> None:
    """An older version may have stored a row, or exported it, with fewer counts than this version derives."""
    request, response = '{"messages":[]}', '{"model":"m","usage":{"prompt_tokens":5,"completion_tokens":7}}'
    fields: CompletionFields = {"status": "finished", "request": request, "response": response}
    (stored_row,) = recorded(tx, Entry("old", fields))
    tx.connection.execute(
        text("UPDATE completion SET model = NULL WHERE organization_id = :mine AND id = 'old'"),
        {"mine": tx.organization_id},
    )

    (imported,) = recorded(tx, Entry("old", fields, fills_gaps=True, derived={"model": "m"}))

    assert (imported.model, imported.input_tokens, imported.output_tokens) == ("m", 5, 7)
    assert imported == stored_row
