"""Records, reads, lists and deletes completions (docs/api.md, "Completions").

The rows of a completion may arrive in any order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.runtime.context import Context
from log10_server.services import rollup, selectors, sessions, ungraded_index
from log10_server.services.merging import AllFields, CompletionFields, DerivedFields, merged
from log10_server.services.provider_payloads import derive
from log10_server.store.completion_tags import CompletionTagRow
from log10_server.store.completions import CompletionRow, Cursor, Filters
from log10_server.store.feedback_tasks import ExistingTags
from log10_server.store.pieces import Piece, Unread
from log10_server.strict_json import value, written_texts


class Entry:
    """One row about a completion. The constructor derives the model and the token counts from its payloads.

    If `completion_id` is None, the row creates a new completion. The arguments after `fields` are for imports:
    `created_at` is the time, in microseconds, at which the completion was created on the server that exported it.
    `fills_gaps` means that the row is older than the stored completion, so it only sets fields that are not set yet.
    `derived` has the model and token counts that the export contains; if it is not empty, nothing is derived from the
    payloads.
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
    """Record one row about a completion and return the completion after it.

    If `completion_id` is None, a new one is created.
    """
    entry = await context.compute(lambda: Entry(completion_id, fields))
    return await context.record(record, entry, links=links_of(fields))


async def log_batch(context: Context, entries: Sequence[Entry]) -> list[str]:
    """Record all rows, or none if one of them is refused.

    Returns the ids of the rows' completions, in the order of the rows.
    """
    links = sum(links_of(entry.fields) + _LINKS_PER_ROW for entry in entries)
    return await context.write(lambda tx: record_all(tx, entries), links=links)


_LINKS_PER_ROW = 3  # a row of a batch costs about as much as storing three of its tags
# A completion with more tags gets no rows for pairs of its tags, unless the operator changes that (`CommonTags`).
_MAX_TAGS_FOR_PAIRS = 24
_PAIRS_PER_LINK = 8  # only common tags have rows for their pairs, and these rows are cheap


def links_of(fields: AllFields | CompletionFields) -> int:
    """Return about how many links a completion with these fields needs: its tags, and the pairs of its tags."""
    tags = len(fields.get("tags", ()))
    return tags + tags * (tags - 1) // 2 // _PAIRS_PER_LINK if tags <= _MAX_TAGS_FOR_PAIRS else tags


def record(tx: Tx, entries: Sequence[Entry]) -> list[CompletionRow]:
    """Record entries in their order. Returns, for each entry, its completion as it is right after that entry.

    Each table is read and written once, regardless of the number of entries, so recording many costs little more than
    recording one.
    """
    current: dict[str, CompletionRow] = {}
    instants = tx.clock.next_instants(len(entries))
    ids = [entry.completion_id or uuid7(at) for at, entry in zip(instants, entries, strict=True)]
    before, watermark = store.completions.find_many_and_watermark(
        tx, [entry.completion_id for entry in entries if entry.completion_id is not None]
    )
    results: list[CompletionRow] = []
    left_sessions: dict[str, int] = {}  # named by an entry or a stored row, but perhaps not by the rows that remain
    for completion_id, created_at, entry in zip(ids, instants, entries, strict=True):
        previous = current.get(completion_id) or before.get(completion_id)
        row = _row_after(tx, previous, completion_id, created_at, entry)
        for session_id in (entry.fields.get("session_id"), previous and previous.session_id):
            if session_id is not None and session_id != row.session_id:
                left_sessions[session_id] = min(row.created_at, left_sessions.get(session_id, row.created_at))
        current[completion_id] = row
        results.append(row)
    if left_sessions:
        sessions.keep(tx, left_sessions)
    changed = [row for row in current.values() if row.id in before and row != before[row.id]]
    covered = [
        row.id
        for row in changed
        if watermark is not None
        and (row.created_at, row.id) <= watermark
        and _summarized(row) != _summarized(before[row.id])
    ]
    if covered:
        rollup.remove(tx, covered)
    store.completions.replace(tx, changed)
    with_changed_tags = [
        row for row in current.values() if row.tags != (before[row.id].tags if row.id in before else None)
    ]
    tags = {row.id: ungraded_index.tags_of(row) for row in with_changed_tags}
    existing_tags = store.feedback_tasks.find_existing_tags(tx, set().union(*tags.values()))
    graded = _remove_from_indexes(tx, [row.id for row in with_changed_tags if row.id in before])
    new = [row for row in current.values() if row.id not in before]
    with tx.buffered_inserts():
        store.completions.add(tx, new)
        new_common_tags = _add_to_indexes(tx, with_changed_tags, tags, existing_tags, graded)
        if watermark is None:
            watermark = existing_tags.watermark or store.rollups.find_watermark_with_inserts(tx)
    covered += [row.id for row in new if (row.created_at, row.id) <= watermark]
    if covered or new_common_tags:
        rollup.add(tx, covered, watermark, new_common_tags)
    return results


def record_all(tx: Tx, entries: Sequence[Entry]) -> list[str]:
    """Record any number of entries, in parts of bounded size. Returns the ids of their completions."""
    return [row.id for part in _slices(entries) for row in record(tx, part)]


# The database driver copies rows before it sends them. To bound the memory for that, a large batch is sent in several
# parts.
_SLICE_ROWS = 500
_SLICE_CHARACTERS = 4 << 20


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Split the entries into slices within the bounds above.

    An entry that exceeds them by itself gets its own slice.
    """
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
    """Return, for each entry, whether recording it after the entries before it would change what is stored.

    All entries must have a completion id.
    """
    current = store.completions.find_many(
        tx, {entry.completion_id for entry in entries if entry.completion_id is not None}
    )
    changes = []
    for entry in entries:
        completion_id = entry.completion_id or ""
        row = current.get(completion_id)
        current[completion_id] = _row_after(tx, row, completion_id, tx.now(), entry)
        changes.append(current[completion_id] != row)
    return changes


def get(tx: Tx, completion_id: str, max_bytes: int) -> Piece[CompletionRow]:
    """Read the completion with this id. If its payloads have more than `max_bytes`, it is unread. Raises NotFound."""
    piece = read_piece(tx, Unread([completion_id]), max_bytes)
    if not piece.rows and not piece.unread.ids:
        raise NotFound(f"There is no completion {completion_id!r}.")
    return piece


def find(tx: Tx, completion_id: str) -> CompletionRow | None:
    """Return the completion with this id, or None if there is none."""
    return store.completions.find(tx, completion_id)


def delete(tx: Tx, completion_id: str) -> None:
    """Delete a completion. Feedback on it stays, but is no longer linked to it. Raises NotFound."""
    rows, watermark = store.completions.find_many_and_watermark(tx, [completion_id])
    if watermark is None:
        raise NotFound(f"There is no completion {completion_id!r}.")
    row = rows[completion_id]
    if row.session_id is not None:
        sessions.keep(tx, {row.session_id: row.created_at})
    if (row.created_at, completion_id) <= watermark:
        rollup.remove(tx, [completion_id])
    store.ungraded.remove_completions(tx, [completion_id])
    store.feedback.unlink_completion(tx, completion_id)
    store.completions.remove(tx, completion_id)


def list_newest(
    tx: Tx, tags: Sequence[str], filters: Filters, after: Cursor | None, limit: int
) -> tuple[list[str], Cursor | None]:
    """List the ids of completions that have all of `tags` and pass the filters, newest first.

    Returns the page that begins after the cursor `after`, and the cursor of the next page, which is None on the last
    page. Another page may have fewer than `limit` completions, or none (`store/completion_pages`).
    """
    if tags:
        filters = filters._replace(tag_ids=selectors.find_tag_ids(tx, tags))
    keys, next_cursor = store.completion_pages.list_keys(tx, filters, after, limit)
    return [key.id for key in keys], next_cursor


def list_page(tx: Tx, filters: Filters, offset: int, limit: int) -> list[str]:
    """List the ids of completions that pass the filters, newest first. The first `offset` completions are skipped."""
    tx.begin_snapshot()  # the position and the number of completions are found by several statements
    return store.counted_completions.list_page(tx, filters, offset, limit)


def read_piece(tx: Tx, unread: Unread, max_bytes: int) -> Piece[CompletionRow]:
    """Read the next completions of a list, with at most `max_bytes` of payloads (`store.pieces.PieceReader.read`)."""
    return store.completions.read_piece(tx, unread, max_bytes)


def count(tx: Tx, filters: Filters) -> int:
    """Count the completions that pass the filters. Where they must be counted one by one, counting stops at 10 000."""
    return store.counted_completions.count(tx, filters)


def list_of_session(tx: Tx, session_id: str, after: Cursor | None, limit: int) -> tuple[list[str], Cursor | None]:
    """List the ids of the completions of a session, oldest first.

    Returns a page, and the cursor of the next page, which is None on the last page.
    """
    return split_page(store.completions.list_in_session(tx, session_id, after, limit + 1), limit)


def split_page(keys: list[Cursor], limit: int) -> tuple[list[str], Cursor | None]:
    """Split keys into the ids of a page of `limit` rows and the cursor of the next page.

    The caller must read one key more than `limit`: that key is dropped, and shows that there is a next page. Without it
    the cursor is None.
    """
    return [key.id for key in keys[:limit]], keys[limit - 1] if len(keys) > limit else None


def _row_after(tx: Tx, row: CompletionRow | None, completion_id: str, created_at: int, entry: Entry) -> CompletionRow:
    """Return the row of a completion after an entry. `row` is the row before it, or None if it is the first entry."""
    return _new_row(tx, completion_id, created_at, entry) if row is None else _updated_row(row, entry)


def _new_row(tx: Tx, completion_id: str, created_at: int, entry: Entry) -> CompletionRow:
    columns = _columns_of(entry.fields)
    created_at = created_at if entry.created_at is None else entry.created_at
    return CompletionRow(tx.organization_id, completion_id, created_at, *map(columns.get, CompletionRow._fields[3:]))


def _updated_row(row: CompletionRow, entry: Entry) -> CompletionRow:
    """Merge the entry into the stored row.

    If the payloads have changed, the model and the token counts are derived from them again.
    """
    stored = _fields_of(row)
    fields = {**entry.fields, **stored} if entry.fills_gaps else merged(stored, entry.fields)
    updated = row._replace(**_columns_of(fields))
    if (row.request is None and row.response is None) or _of_payloads(updated) == _of_payloads(row):
        return updated
    # A request and its response may arrive in different rows, so the model and the token counts are derived from the
    # merged payloads. If an entry has both payloads, its constructor has already done that, except in an import.
    derived: Mapping[str, Any] = entry.fields
    payloads = (updated.request, updated.response)
    if entry.fills_gaps or payloads != (entry.fields.get("request"), entry.fields.get("response")):
        derived = derive(*payloads)
    return updated._replace(
        model=derived.get("model"),
        input_tokens=derived.get("input_tokens"),
        output_tokens=derived.get("output_tokens"),
    )


def _columns_of(fields: AllFields) -> dict[str, Any]:
    """Return the columns that hold these fields. The opposite of `_fields_of`."""
    columns: dict[str, Any] = dict(fields)
    if "tags" in columns:
        columns["tags"] = written_texts(dict.fromkeys(columns["tags"]))
    return columns


def _fields_of(row: CompletionRow) -> AllFields:
    fields = {name: column for name, column in zip(row._fields[3:], row[3:], strict=True) if column is not None}
    if row.tags is not None:
        fields["tags"] = value(row.tags)
    return cast(AllFields, fields)


def _summarized(row: CompletionRow) -> tuple[Any, ...]:
    """Return what the summaries of a completion are made of (`services/rollup`)."""
    return row.tags, row.model, row.status, row.response is None, row.input_tokens, row.output_tokens, row.duration


def _of_payloads(row: CompletionRow) -> tuple[str | int | None, ...]:
    """Return the payloads of a row, and the model and token counts, which are derived from them."""
    return row.request, row.response, row.model, row.input_tokens, row.output_tokens


def _remove_from_indexes(tx: Tx, completion_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Remove completions from the tag index and the ungraded index.

    Returns the (task, completion) pairs of these completions that have accepted feedback.
    """
    if not completion_ids:
        return set()
    store.ungraded.remove_completions(tx, completion_ids)
    store.completion_tags.remove_tags(tx, completion_ids)
    return store.feedback.find_graded_pairs(tx, completion_ids)


def _add_to_indexes(
    tx: Tx,
    rows: Sequence[CompletionRow],
    tags: Mapping[str, Sequence[str]],
    existing_tags: ExistingTags,
    graded: set[tuple[str, str]],
) -> list[int]:
    """Add completions to the tag index and the ungraded index. `tags` has the current tags of each completion.

    Returns the keys of the tags that are common from now on.
    """
    keys = store.tags.add_missing(tx, set().union(*tags.values()), existing_tags.keys, existing_tags.newest_block_key)
    tag_ids = {completion_id: {keys[tag] for tag in names} for completion_id, names in tags.items()}
    new_common_tags = store.completion_tags.add_tags(
        tx,
        [
            CompletionTagRow(row.organization_id, row.id, tag_id, row.created_at)
            for row in rows
            for tag_id in sorted(tag_ids[row.id])  # databases insert keys faster when they are sorted
        ],
        existing_tags.common,
    )
    ungraded_index.add_matching(tx, rows, tag_ids, existing_tags.selectors, graded)
    return new_common_tags
