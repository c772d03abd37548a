"""Statements that search tags by a part of the name, or list them by their last use."""

from sqlalchemy import case, func

from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import completion_tag
from log10_server.store.tags import TagRow, tag


def list_matching(tx: Tx, query: str, limit: int) -> list[TagRow]:
    """Tags whose name contains `query`, ignoring case: the exact name first, then the shortest."""
    closest_first = (case((tag.c.name == query, 0), else_=1), func.length(tag.c.name), tag.c.name, tag.c.id)
    matches = tx.rows(tag).where(tag.c.name.icontains(query, autoescape=True)).order_by(*closest_first).limit(limit)
    return [TagRow(*row) for row in tx.connection.execute(matches)]


def list_recently_used(tx: Tx, limit: int) -> list[TagRow]:
    """Tags in the order of the newest completion that has them, newest first; tags without a completion come last."""
    used_at = (
        tx.rows(completion_tag, "created_at")
        .where(completion_tag.c.tag_id == tag.c.id)
        .order_by(completion_tag.c.created_at.desc())
        .limit(1)
        .correlate(tag)
        .scalar_subquery()
    )
    newest = tx.rows(tag).order_by(func.coalesce(used_at, 0).desc(), tag.c.id.desc()).limit(limit)
    return [TagRow(*row) for row in tx.connection.execute(newest)]
