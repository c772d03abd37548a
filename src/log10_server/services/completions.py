"""Completions: recorded by rows that come in any order, read, listed and deleted (docs/api.md, "Completions")."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.runtime.context import Context
from log10_server.services import selectors, ungraded_index
from log10_server.services.merging import AllFields, CompletionFields, DerivedFields, merged
from log10_server.services.provider_payloads import derive
from log10_server.store.completion_tags import CompletionTagRow
from log10_server.store.completions import CompletionRow, Cursor, Filters
from log10_server.store.feedback_tasks import KnownTags
from log10_server.strict_json import value, written_texts


class Entry:
    """One row about a completion, with what is derived from its payloads. Without an id it makes a new completion.

    `created_at` is in microseconds and counts where the completion is new. Only an import gives it, and `fills_gaps`:
    its row is older than what is stored, and only sets what that leaves open. An import may also give `derived`: what
    was derived where the row comes from.
    """

    __slots__ = ("completion_id", "created_at", "fields", "fills_gaps")

    def __init__(
        self,
        completion_id: str | None,
        fields: CompletionFields,
        created_at: int | None = None,
        fills_gaps: bool = False,
        derived: DerivedFields | None = None,
    ) -> None:
        derived = derived or derive(fields.get("request"), fields.get("response"))
        self.completion_id = completion_id
        self.fields: AllFields = {**fields, **derived}
        self.created_at = created_at
        self.fills_gaps = fills_gaps


async def log(context: Context, completion_id: str | None, fields: CompletionFields) -> CompletionRow:
    """Record one row about a completion, and give what is known of it then. Without an id the completion is new."""
    entry = await context.compute(lambda: Entry(completion_id, fields))
    return await context.record(record, entry)


async def log_batch(context: Context, entries: Sequence[Entry]) -> list[str]:
    """Record many rows, all of them or none, and give the id of each row's completion, in their order."""
    alone = len(entries) > _MAX_SHARED_ROWS or context.size > _MAX_SHARED_BYTES
    return await context.write(lambda tx: record_all(tx, entries), alone=alone)


# A batch beyond these does not share its transaction with the writes of others, which would wait for it.
_MAX_SHARED_ROWS = 100
_MAX_SHARED_BYTES = 1 << 18


def record(tx: Tx, entries: Sequence[Entry]) -> list[CompletionRow]:
    """What is known of each completion after its entry; the entries count in their order.

    Many at once cost little more than one: whatever their number, each table is asked once.
    """
    known: dict[str, CompletionRow] = {}
    instants = tx.clock.several(len(entries))
    ids = [entry.completion_id or uuid7(at) for at, entry in zip(instants, entries, strict=True)]
    store.sessions.ensure(tx, {entry.fields["session_id"] for entry in entries if "session_id" in entry.fields})
    before = store.completions.find_many(
        tx, [entry.completion_id for entry in entries if entry.completion_id is not None]
    )
    results: list[CompletionRow] = []
    for id, at, entry in zip(ids, instants, entries, strict=True):
        row = known.get(id) or before.get(id)
        known[id] = (
            _new_row(tx, id, at, entry) if row is None else _changed_row(row, _merged_fields(_fields_of(row), entry))
        )
        results.append(known[id])
    store.completions.replace(tx, [row for id, row in known.items() if id in before and row != before[id]])
    changed = [row for row in known.values() if row.tags != (before[row.id].tags if row.id in before else None)]
    tags = {row.id: ungraded_index.tags_of(row) for row in changed}
    known_tags = store.feedback_tasks.find_known_tags(tx, set().union(*tags.values()))
    graded = _remove_from_indexes(tx, [row.id for row in changed if row.id in before])
    with tx.buffered_inserts():
        store.completions.add(tx, [row for id, row in known.items() if id not in before])
        _add_to_indexes(tx, changed, tags, known_tags, graded)
    return results


def record_all(tx: Tx, entries: Sequence[Entry]) -> list[str]:
    """Record any number of entries, and give the id of each entry's completion, in their order."""
    return [row.id for part in _slices(entries) for row in record(tx, part)]


# What is given to the database at once is copied on the way, so it is bounded.
_SLICE_ROWS = 500
_SLICE_CHARACTERS = 4 << 20


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    start = size = 0
    for number, entry in enumerate(entries):
        fields = entry.fields
        length = len(fields.get("request", "")) + len(fields.get("response", "")) + len(fields.get("stacktrace", ""))
        if number > start and (number - start >= _SLICE_ROWS or size + length > _SLICE_CHARACTERS):
            yield entries[start:number]
            start, size = number, 0
        size += length
    if start < len(entries):
        yield entries[start:]


def would_change(tx: Tx, entries: Sequence[Entry]) -> list[bool]:
    """Whether each of these entries, which have ids, says something that is not stored, nor said by one before it."""
    known = store.completions.find_many(
        tx, {entry.completion_id for entry in entries if entry.completion_id is not None}
    )
    told = []
    for entry in entries:
        id = entry.completion_id or ""
        row = known.get(id)
        known[id] = (
            _new_row(tx, id, tx.now(), entry)
            if row is None
            else _changed_row(row, _merged_fields(_fields_of(row), entry))
        )
        told.append(row is None or known[id] != row)
    return told


def get(tx: Tx, completion_id: str) -> CompletionRow:
    """Raises NotFound."""
    row = store.completions.find(tx, completion_id)
    if row is None:
        raise NotFound(f"There is no completion {completion_id!r}.")
    return row


def find(tx: Tx, completion_id: str) -> CompletionRow | None:
    return store.completions.find(tx, completion_id)


def delete(tx: Tx, completion_id: str) -> None:
    """It is gone from every list and from what feedback matched; that feedback stays. Raises NotFound."""
    if not store.completions.find_existing_ids(tx, [completion_id]):
        raise NotFound(f"There is no completion {completion_id!r}.")
    store.ungraded.remove_completions(tx, [completion_id])
    store.feedback.unlink_completion(tx, completion_id)
    store.completions.remove(tx, completion_id)


def list_newest(
    tx: Tx, tags: Sequence[str], filters: Filters, after: Cursor | None, limit: int
) -> tuple[list[CompletionRow], Cursor | None]:
    """A page of completions that have all of `tags` (none: any) and pass the filters, and where the next one begins."""
    if tags:
        filters = filters._replace(tag_ids=selectors.find_tag_ids(tx, tags))
    return split_page(store.completions.list_after(tx, filters, after, limit + 1), limit)


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[CompletionRow]:
    """Completions that pass the filters, newest first, behind the first `offset`."""
    return store.completions.list_page(tx, filters, offset, limit)


def count(tx: Tx, filters: Filters) -> int:
    return store.completions.count(tx, filters)


def list_of_session(
    tx: Tx, session_id: str, after: Cursor | None, limit: int
) -> tuple[list[CompletionRow], Cursor | None]:
    """A page of a session's completions in the order in which they began, and where the next one begins."""
    return split_page(store.completions.list_in_session(tx, session_id, after, limit + 1), limit)


def split_page(rows: list[CompletionRow], limit: int) -> tuple[list[CompletionRow], Cursor | None]:
    """`rows` were asked for with one more than `limit`, which tells whether there is a next page."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Cursor(rows[limit - 1].created_at, rows[limit - 1].id)


def _new_row(tx: Tx, id: str, at: int, entry: Entry) -> CompletionRow:
    said: dict[str, Any] = dict(entry.fields)
    if "tags" in said:
        said["tags"] = written_texts(dict.fromkeys(said["tags"]))
    at = at if entry.created_at is None else entry.created_at
    return CompletionRow(tx.organization_id, id, at, *map(said.get, CompletionRow._fields[3:]))


def _fields_of(row: CompletionRow) -> AllFields:
    known = {name: said for name, said in zip(row._fields[3:], row[3:], strict=True) if said is not None}
    if row.tags is not None:
        known["tags"] = value(row.tags)
    return cast(AllFields, known)


def _changed_row(row: CompletionRow, fields: AllFields) -> CompletionRow:
    said = dict(fields)
    if "tags" in fields:
        said["tags"] = written_texts(dict.fromkeys(fields["tags"]))
    now = row._replace(**said)  # type: ignore[arg-type]
    if (row.request is None and row.response is None) or _of_payloads(now) == _of_payloads(row):
        return now
    # `fields` took these out of its own payloads; they are to be those of what is kept of both rows.
    unknown: dict[str, Any] = dict.fromkeys(("model", "input_tokens", "output_tokens"))
    return now._replace(**{**unknown, **derive(now.request, now.response)})


def _merged_fields(stored: AllFields, entry: Entry) -> AllFields:
    return {**entry.fields, **stored} if entry.fills_gaps else merged(stored, entry.fields)


def _of_payloads(row: CompletionRow) -> tuple[str | int | None, ...]:
    return row.request, row.response, row.model, row.input_tokens, row.output_tokens


def _remove_from_indexes(tx: Tx, completion_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Take these completions out of the index over tags and of what is wanted; gives what is graded of them."""
    if not completion_ids:
        return set()
    store.ungraded.remove_completions(tx, completion_ids)
    store.completion_tags.remove_tags(tx, completion_ids)
    return store.feedback.find_graded_pairs(tx, completion_ids)


def _add_to_indexes(
    tx: Tx,
    rows: Sequence[CompletionRow],
    tags: Mapping[str, Sequence[str]],
    known: KnownTags,
    graded: set[tuple[str, str]],
) -> None:
    """Put these completions into the index over tags, and into what is wanted, by the tags that each has now."""
    keys = store.tags.add_missing(tx, set().union(*tags.values()), known.keys)
    tag_ids = {id: {keys[tag] for tag in its} for id, its in tags.items()}
    store.completion_tags.add_tags(
        tx,
        [
            CompletionTagRow(row.organization_id, row.id, tag_id, row.created_at)
            for row in rows
            for tag_id in sorted(tag_ids[row.id])  # what is in order is soon sorted
        ],
        known.common,
    )
    ungraded_index.add_matching(tx, rows, tag_ids, known.selectors, graded)
