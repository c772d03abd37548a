"""The completions that pass one filter, read newest first from the index of that filter.

`completion_pages` intersects several of these to find the completions that pass all filters.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    func,
    select,
    tuple_,
    union_all,
)

from log10_server.db.query_builder import QueryBuilder
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import NO_SECOND_TAG, completion_tag, completion_tag_pair
from log10_server.store.completions import Cursor, completion, has_kind, has_status


class Candidates(NamedTuple):
    """The completions that pass one filter. `values` has the parameters that the index is searched for.

    The kinds `tag` and `pair` are the completions with a tag, and with two common tags; those of a pair include some
    completions that have only its first tag. The kind `any` is all completions.
    """

    kind: str
    values: Mapping[str, Any]


class Checks(NamedTuple):
    """What is looked up for each candidate.

    `included` and `excluded` are the kinds of other candidates that it must and must not be one of, `tag_ids` are the
    tags that it must have, and `values` are the parameters of the kinds in `included`.
    """

    included: tuple[str, ...]
    excluded: tuple[str, ...]
    tag_ids: tuple[int, ...]
    values: Mapping[str, Any]


class Window(NamedTuple):
    """A part of a list, newest first: what comes after the position `after`, up to and including `last`."""

    after: Cursor
    last: Cursor

    def values(self) -> dict[str, Any]:
        """The parameters that stand for the window in a statement."""
        return dict(zip(_WINDOW_PARAMETERS, (*self.after, *self.last), strict=True))


def find_position(tx: Tx, candidates: Candidates, window: Window, number: int) -> Cursor | None:
    """The position of the candidate with this number in the window, counted from 1, or None if there are fewer."""
    rows = tx.fetch(_position(candidates.kind), **candidates.values, **window.values(), skipped=number - 1)
    return Cursor(*rows[0]) if rows else None


def count(tx: Tx, candidates: Candidates, window: Window) -> int:
    """The number of candidates in the window. This reads all of them, so the caller must know that there are few."""
    return int(tx.fetch(_count(candidates.kind), **candidates.values, **window.values())[0][0])


def list_passing(tx: Tx, candidates: Candidates, checks: Checks, window: Window, limit: int) -> list[Cursor]:
    """The candidates in the window that pass the checks, newest first, `limit` at most."""
    statement = _passing(candidates.kind, *_shape(checks))
    return list(
        map(
            Cursor._make,
            tx.fetch(statement, **candidates.values, **_check_values(checks), **window.values(), limit=limit),
        )
    )


def list_passing_of(tx: Tx, completion_ids: Sequence[str], checks: Checks) -> list[Cursor]:
    """Those of these completions that exist and pass the checks, in no particular order."""
    distinct = sorted(set(completion_ids))
    if not distinct:
        return []
    statement = _passing_of(*_shape(checks))
    return list(map(Cursor._make, tx.fetch(statement, ids=distinct, **_check_values(checks))))


# A tag is checked with a condition of its own. The tags beyond this number share one, because SQLite limits the depth
# of expressions.
_CHECKED_ONE_BY_ONE = 8
_WINDOW_PARAMETERS = ("after_at", "after_id", "last_at", "last_id")


def _shape(checks: Checks) -> tuple[tuple[str, ...], tuple[str, ...], int, bool]:
    """What the statement for these checks depends on."""
    tags = len(checks.tag_ids)
    return checks.included, checks.excluded, min(tags, _CHECKED_ONE_BY_ONE), tags > _CHECKED_ONE_BY_ONE


def _check_values(checks: Checks) -> dict[str, Any]:
    values = dict(checks.values)
    values.update((f"tag_{number}", tag_id) for number, tag_id in enumerate(checks.tag_ids[:_CHECKED_ONE_BY_ONE]))
    if others := checks.tag_ids[_CHECKED_ONE_BY_ONE:]:
        values["other_tag_ids"] = list(others)
        values["other_tags"] = len(others)
    return values


def _parameter(name: str) -> ColumnElement[Any]:
    return bindparam(name, type_=Text() if name in _TEXTS else BigInteger())


_TEXTS = {"session_id", "model", "after_id", "last_id"}

# The conditions of the candidates that are rows of `completion`. Each is the condition of a partial index, or is served
# by an index that begins with its column.
_CONDITIONS: dict[str, Callable[[Any], Sequence[ColumnElement[bool]]]] = {
    "any": lambda _table: (),
    "session_id": lambda table: (table.c.session_id == _parameter("session_id"),),
    "model": lambda table: (table.c.model == _parameter("model"),),
    "failed": lambda table: (has_status(table, "failed"),),
    "started": lambda table: (has_status(table, "started"),),
    "prompt": lambda table: (has_kind(table, "prompt"),),
}


class _Rows(NamedTuple):
    """A query for candidates, with the two columns that give their position."""

    rows: Select[Any]
    created_at: ColumnElement[int]
    completion_id: ColumnElement[str]

    def newest_first(self) -> Select[Any]:
        return self.rows.order_by(self.created_at.desc(), self.completion_id.desc())


def _in_window(table: Any, completion_id: str = "completion_id") -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    after_at, after_id, last_at, last_id = map(_parameter, _WINDOW_PARAMETERS)
    position = tuple_(table.c.created_at, table.c[completion_id])
    return position < tuple_(after_at, after_id), position >= tuple_(last_at, last_id)


def _candidates(query: QueryBuilder, kind: str) -> _Rows:
    """A query for the candidates of this kind in the window."""
    if kind == "pair":
        return _pairs(query)
    if kind == "tag":
        tags = completion_tag.alias("candidate")
        rows = query.rows(tags, "created_at", "completion_id")
        rows = rows.where(tags.c.tag_id == _parameter("tag_id"), *_in_window(tags))
        return _Rows(rows, tags.c.created_at, tags.c.completion_id)
    table = completion.alias("candidate")
    rows = query.rows(table, "created_at", "id").where(*_CONDITIONS[kind](table), *_in_window(table, "id"))
    return _Rows(rows, table.c.created_at, table.c.id)


def _pairs(query: QueryBuilder) -> _Rows:
    """The rows of a pair, and those of the first tag with NO_SECOND_TAG, whose completions may have the second tag."""
    parts = []
    for name, second in (("of_pair", _parameter("second_tag_id")), ("unpaired", NO_SECOND_TAG)):
        pairs = completion_tag_pair.alias(name)
        rows = query.rows(pairs, "created_at", "completion_id").where(
            pairs.c.first_tag_id == _parameter("first_tag_id"), pairs.c.second_tag_id == second, *_in_window(pairs)
        )
        # Postgres merges the two ranges without sorting only if each has its own ORDER BY.
        parts.append(rows.order_by(pairs.c.created_at.desc(), pairs.c.completion_id.desc()).subquery())
    merged = union_all(*map(select, parts)).subquery("candidate")
    return _Rows(select(merged), merged.c.created_at, merged.c.completion_id)


@cache
def _position(kind: str) -> Statement:
    return Statement(lambda query: _candidates(query, kind).newest_first().limit(1).offset(_parameter("skipped")))


@cache
def _count(kind: str) -> Statement:
    return Statement(lambda query: select(func.count()).select_from(_candidates(query, kind).rows.subquery()))


@cache
def _passing(kind: str, included: tuple[str, ...], excluded: tuple[str, ...], tags: int, more_tags: bool) -> Statement:
    def build(query: QueryBuilder) -> Select[Any]:
        candidates = _candidates(query, kind)
        checks = _checks(query, candidates, included, excluded, tags, more_tags)
        return candidates.newest_first().where(*checks).limit(_parameter("limit"))

    return Statement(build)


@cache
def _passing_of(included: tuple[str, ...], excluded: tuple[str, ...], tags: int, more_tags: bool) -> Statement:
    def build(query: QueryBuilder) -> Select[Any]:
        table = completion.alias("candidate")
        candidates = _Rows(query.rows(table, "created_at", "id"), table.c.created_at, table.c.id)
        checks = _checks(query, candidates, included, excluded, tags, more_tags)
        return query.rows_by_key(candidates.rows.where(*checks), table.c.id, "ids")

    return Statement(build)


def _is_at(
    candidates: _Rows, table: Any, completion_id: ColumnElement[str]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions: a row of `table` has the position of a candidate.

    With an equality for the id, both databases would use the primary key, whose entries for successive candidates lie
    far apart. With a range of one id they use the index in the order of the list, whose entries lie close together.
    This takes from a half to an eighth of the time.
    """
    same_id = completion_id.between(candidates.completion_id, candidates.completion_id)
    return table.c.created_at == candidates.created_at, same_id


def _has(query: QueryBuilder, candidates: _Rows, kind: str) -> ScalarSelect[int]:
    """Whether a candidate is one of the candidates of another kind: 1 or 0.

    This is a scalar subquery, because Postgres would turn `EXISTS` into a join that may start at the wrong end.
    """
    table = completion.alias(f"in_{kind}")
    is_same = _is_at(candidates, table, table.c.id)
    rows = select(func.count()).where(query.is_owned(table), *_CONDITIONS[kind](table), *is_same)
    return rows.correlate_except(table).scalar_subquery()


def _has_tag(query: QueryBuilder, candidates: _Rows, parameter: str) -> ScalarSelect[int]:
    """Whether a candidate has a tag: 1 or 0."""
    table = completion_tag.alias(f"with_{parameter}")
    is_same = _is_at(candidates, table, table.c.completion_id)
    rows = select(func.count()).where(query.is_owned(table), table.c.tag_id == _parameter(parameter), *is_same)
    return rows.correlate_except(table).scalar_subquery()


def _checks(
    query: QueryBuilder,
    candidates: _Rows,
    included: tuple[str, ...],
    excluded: tuple[str, ...],
    tags: int,
    more_tags: bool,
) -> list[ColumnElement[bool]]:
    checks = [_has(query, candidates, kind) == 1 for kind in included]
    for number in range(tags):
        checks.append(_has_tag(query, candidates, f"tag_{number}") == 1)
    checks += [_has(query, candidates, kind) == 0 for kind in excluded]
    if more_tags:
        others = completion_tag.alias("others")
        has_tags = query.in_list(others.c.tag_id, "other_tag_ids")
        is_same = others.c.completion_id == candidates.completion_id
        found = select(func.count()).where(query.is_owned(others), is_same, has_tags)
        checks.append(found.correlate_except(others).scalar_subquery() == _parameter("other_tags"))
    return checks
