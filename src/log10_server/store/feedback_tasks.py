"""The table of feedback tasks, and the index from each tag to the tasks whose selector names it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    CompoundSelect,
    Select,
    Text,
    cast,
    false,
    func,
    null,
    select,
    union_all,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.schema import Digest, Instant, Key, Payload, check_columns, foreign_key, ordered_index, owned_table
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.rollups import NOTHING_COVERED, Watermark, rollup, select_watermark
from log10_server.store.tags import digests, newest_block, tag

feedback_task = owned_table(
    "feedback_task",
    ("id",),
    Column("id", Key),
    Column("created_at", Instant, nullable=False),
    Column("name", Text, nullable=False),
    Column("instruction", Text, nullable=False),
    Column("json_schema", Payload, nullable=False),
    Column("selector", Payload, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("content_digest", Digest, nullable=False),
)
ordered_index(feedback_task, "created_at", "id")

feedback_task_tag = owned_table(
    "feedback_task_tag",
    ("task_id", "tag_id"),
    Column("task_id", Key),
    Column("tag_id", BigInteger, autoincrement=False),
    foreign_key("task_id", "feedback_task"),
    foreign_key("tag_id", "tag"),
    links_only=True,
)
ordered_index(feedback_task_tag, "tag_id", "task_id")


class FeedbackTaskRow(NamedTuple):
    """A task. `content_digest` is that of the content with which the task was created.

    `selector` is a JSON list of tags in the order that the client sent.
    """

    organization_id: str
    id: str
    created_at: int
    name: str
    instruction: str
    json_schema: str
    selector: str
    archived: bool
    content_digest: str


class FeedbackTaskTagRow(NamedTuple):
    """A tag that the selector of a task names."""

    organization_id: str
    task_id: str
    tag_id: int


check_columns(FeedbackTaskRow, feedback_task)
check_columns(FeedbackTaskTagRow, feedback_task_tag)

_BY_ID = Statement(lambda query: query.rows_by_key(query.rows(feedback_task), feedback_task.c.id, "ids"))


def add(tx: Tx, row: FeedbackTaskRow) -> None:
    """Insert a new task."""
    tx.insert_many(feedback_task, [row])


def replace(tx: Tx, row: FeedbackTaskRow) -> None:
    """Replace the row of an existing task."""
    values = {name: value for name, value in row._asdict().items() if name not in ("organization_id", "id")}
    tx.connection.execute(tx.update(feedback_task).where(feedback_task.c.id == row.id).values(values))


def replace_selector_tags(tx: Tx, task_id: str, tag_ids: Iterable[int]) -> None:
    """Make `tag_ids` the tags that the selector of this task names."""
    tx.connection.execute(tx.delete(feedback_task_tag).where(feedback_task_tag.c.task_id == task_id))
    tx.insert_many(
        feedback_task_tag, [FeedbackTaskTagRow(tx.organization_id, task_id, tag_id) for tag_id in sorted(tag_ids)]
    )


def find(tx: Tx, task_id: str) -> FeedbackTaskRow | None:
    """The task with this id, or None."""
    return find_many(tx, [task_id]).get(task_id)


def find_many(tx: Tx, task_ids: Iterable[str]) -> dict[str, FeedbackTaskRow]:
    """The tasks with these ids, by id. Unknown ids are left out."""
    rows = map(FeedbackTaskRow._make, tx.fetch(_BY_ID, ids=sorted(set(task_ids))))
    return {row.id: row._replace(archived=bool(row.archived)) for row in rows}


def list_page(tx: Tx, archived: bool | None, offset: int, limit: int) -> list[FeedbackTaskRow]:
    """A page of tasks, newest first. `archived` limits it to tasks that are archived, or that are not; None is all."""
    newest = _filtered(tx.rows(feedback_task), archived).order_by(
        feedback_task.c.created_at.desc(), feedback_task.c.id.desc()
    )
    return [FeedbackTaskRow(*row) for row in tx.connection.execute(newest.offset(offset).limit(limit))]


def count(tx: Tx, archived: bool | None) -> int:
    """How many tasks there are. `archived` limits them to tasks that are archived, or that are not; None is all."""
    rows = _filtered(tx.rows(feedback_task, "id"), archived).subquery()
    return tx.connection.scalar(select(func.count()).select_from(rows)) or 0


def _filtered(rows: Select[Any], archived: bool | None) -> Select[Any]:
    return rows if archived is None else rows.where(feedback_task.c.archived.is_(archived))


class ExistingTags(NamedTuple):
    """Which of some names exist as tags, and the selectors of the tasks that name at least one of them.

    `keys` has the key of each tag by name, and `common` the keys of the common tags. `selectors` has, by task id, the
    keys of all tags of each of these selectors. Archived tasks are left out.

    `watermark` is the position up to which the summaries cover completions (`store/rollups`). The same statement finds
    it, so that a write needs no further round trip. It is None when no names were given. In the same way
    `newest_block_key` is found, which `store.tags.add_missing` needs to know.
    """

    keys: dict[str, int]
    common: set[int]
    selectors: dict[str, set[int]]
    watermark: Watermark | None
    newest_block_key: int


def find_existing_tags(tx: Tx, names: Iterable[str]) -> ExistingTags:
    """Find the tags with these names and the selectors that name them, with one statement."""
    by_name = digests(names)
    if not by_name:
        return ExistingTags({}, set(), {}, None, 0)
    existing = ExistingTags({}, set(), {}, NOTHING_COVERED, 0)
    for digest, tag_id, is_common, task_id, watermark_id in tx.fetch(_EXISTING_TAGS, digests=sorted(by_name)):
        if watermark_id is not None:
            existing = existing._replace(watermark=Watermark(tag_id, watermark_id))
            continue
        if task_id is not None:
            existing.selectors.setdefault(task_id, set()).add(tag_id)
            continue
        if digest is None:
            existing = existing._replace(newest_block_key=tag_id)
            continue
        existing.keys[by_name[digest]] = tag_id
        if is_common:
            existing.common.add(tag_id)
    return existing


def _existing_tags(query: QueryBuilder) -> CompoundSelect[Any]:
    """A query that returns tags, selectors and the watermark of the roll-up together, so that one statement is enough.

    Only the row of the watermark has a `watermark_id`, and the number in it is the watermark's `created_at`. A row that
    has only a number is that of the newest block of tag names.
    """
    no_text = cast(null(), Text)
    tags = query.rows(tag, "name_digest", "id", "is_common").add_columns(
        no_text.label("task_id"), no_text.label("watermark_id")
    )
    matching, selector = feedback_task_tag.alias("matching"), feedback_task_tag.alias("selector")
    is_task_of_selector = (feedback_task.c.organization_id == selector.c.organization_id) & (
        feedback_task.c.id == selector.c.task_id
    )
    no_digest, no_boolean = no_text.label("name_digest"), cast(null(), Boolean).label("is_common")
    watermark = select_watermark(query).with_only_columns(
        no_digest, rollup.c.created_at, no_boolean, no_text.label("task_id"), rollup.c.completion_id
    )
    newest = newest_block(query).subquery("newest_block")
    block = select(no_digest, newest.c.last_tag_id, no_boolean, no_text.label("task_id"), no_text.label("watermark_id"))
    selectors = (
        select(no_digest, selector.c.tag_id, no_boolean, selector.c.task_id, no_text.label("watermark_id"))
        .join(feedback_task, is_task_of_selector)
        .where(feedback_task.c.archived == false())
    )
    if query.begins_joins_at_keys:
        of_tag = (matching.c.organization_id == tag.c.organization_id) & (matching.c.tag_id == tag.c.id)
        of_task = (selector.c.organization_id == matching.c.organization_id) & (
            selector.c.task_id == matching.c.task_id
        )
        selectors = query.rows_by_key(
            selectors.join(matching, of_task).join(tag, of_tag).where(query.is_owned(tag)), tag.c.name_digest, "digests"
        )
    else:  # SQLite would start such a join with all selectors of the organization
        ids = query.rows_by_key(query.rows(tag, "id"), tag.c.name_digest, "digests")
        tasks = select(matching.c.task_id).where(query.is_owned(matching), matching.c.tag_id.in_(ids))
        selectors = selectors.where(query.is_owned(selector), selector.c.task_id.in_(tasks))
    return union_all(query.rows_by_key(tags, tag.c.name_digest, "digests"), selectors, watermark, block)


_EXISTING_TAGS = Statement(_existing_tags)
