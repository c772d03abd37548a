"""Feedback tasks, and the index from tags to those whose selector names them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, Select, Text, false, func, select

from log10_server.store.base import Digest, Instant, Key, Payload, link, order, owned, same_columns
from log10_server.store.database import Tx
from log10_server.store.statements import Asked, Statement

feedback_task = owned(
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
order(feedback_task, "created_at", "id")

feedback_task_tag = owned(
    "feedback_task_tag",
    ("task_id", "tag_id"),
    Column("task_id", Key),
    Column("tag_id", BigInteger, autoincrement=False),
    link("task_id", "feedback_task"),
    link("tag_id", "tag"),
    links_only=True,
)
order(feedback_task_tag, "tag_id", "task_id")


class FeedbackTaskRow(NamedTuple):
    """`selector` is a JSON list of tags in the order given; `content_digest` is of what the task was made with."""

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
    organization_id: str
    task_id: str
    tag_id: int


same_columns(FeedbackTaskRow, feedback_task)
same_columns(FeedbackTaskTagRow, feedback_task_tag)

_AMONG = Statement(lambda asked: asked.rows(feedback_task).where(asked.among(feedback_task.c.id, "ids")))


def add(tx: Tx, row: FeedbackTaskRow) -> None:
    tx.insert_many(feedback_task, [row])


def replace(tx: Tx, row: FeedbackTaskRow) -> None:
    values = {name: value for name, value in row._asdict().items() if name not in ("organization_id", "id")}
    tx.connection.execute(tx.update(feedback_task).where(feedback_task.c.id == row.id).values(values))


def select_by(tx: Tx, task_id: str, tag_ids: Iterable[int]) -> None:
    """Make `tag_ids` the tags that the selector of this task names."""
    tx.connection.execute(tx.delete(feedback_task_tag).where(feedback_task_tag.c.task_id == task_id))
    tx.insert_many(
        feedback_task_tag, [FeedbackTaskTagRow(tx.organization_id, task_id, tag_id) for tag_id in sorted(tag_ids)]
    )


def find(tx: Tx, task_id: str) -> FeedbackTaskRow | None:
    return found_among(tx, [task_id]).get(task_id)


def found_among(tx: Tx, task_ids: Iterable[str]) -> dict[str, FeedbackTaskRow]:
    """Those of `task_ids` that there are."""
    found = map(FeedbackTaskRow._make, tx.fetch(_AMONG, ids=sorted(set(task_ids))))
    return {row.id: row._replace(archived=bool(row.archived)) for row in found}


def page(tx: Tx, archived: bool | None, offset: int, limit: int) -> list[FeedbackTaskRow]:
    """Tasks, newest first; `archived` narrows to those that are or are not."""
    newest = _narrowed(tx.rows(feedback_task), archived).order_by(
        feedback_task.c.created_at.desc(), feedback_task.c.id.desc()
    )
    return [FeedbackTaskRow(*row) for row in tx.connection.execute(newest.offset(offset).limit(limit))]


def count(tx: Tx, archived: bool | None) -> int:
    mine = _narrowed(tx.rows(feedback_task, "id"), archived).subquery()
    return tx.connection.scalar(select(func.count()).select_from(mine)) or 0


def _narrowed(found: Select[Any], archived: bool | None) -> Select[Any]:
    return found if archived is None else found.where(feedback_task.c.archived.is_(archived))


def selectors_with(tx: Tx, tag_ids: Sequence[int]) -> dict[str, set[int]]:
    """The whole selectors, by task, of the tasks that are not archived and name at least one of `tag_ids`."""
    if not tag_ids:
        return {}
    found: dict[str, set[int]] = {}
    for task_id, tag_id in tx.fetch(_SELECTORS_WITH, tag_ids=list(tag_ids)):
        found.setdefault(task_id, set()).add(tag_id)
    return found


def _selectors_with(asked: Asked) -> Select[Any]:
    named = feedback_task_tag.alias("named")
    some = select(named.c.task_id).where(asked.mine(named), asked.among(named.c.tag_id, "tag_ids")).distinct()
    its_task = (feedback_task.c.organization_id == feedback_task_tag.c.organization_id) & (
        feedback_task.c.id == feedback_task_tag.c.task_id
    )
    return (
        asked.rows(feedback_task_tag, "task_id", "tag_id")
        .join(feedback_task, its_task)
        .where(feedback_task.c.archived == false(), feedback_task_tag.c.task_id.in_(some))
    )


_SELECTORS_WITH = Statement(_selectors_with)
