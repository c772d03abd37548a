"""Usage: counts, tokens and durations of completions, by day, model, tag or status, or by day and model.

Each list is one statement, so the groups and the total are consistent. It reads every completion that passes the
filters once, without its payloads. No sums are stored, so recording completions does not become slower. A million
completions of 2.6 KB take 4 to 12 s on two cores (3 s by day and model), and 300 MB in SQLite while it sorts durations.
Postgres sorts on disk, and at some ten million completions its timeout of 60 s ends the query with a 503. A range of
time makes it cheaper.
"""

import sys
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)

from log10_server.clock import DAY
from log10_server.db.schema import Key
from log10_server.db.transaction import Tx
from log10_server.store.completion_tags import completion_tag
from log10_server.store.completions import Filters, completion, filtered, shown_status
from log10_server.store.tags import tag

Group = Literal["day", "model", "tag", "status"]


# The model that is shown for completions without one.
shown_model = func.coalesce(completion.c.model, "unknown")
_day = completion.c.created_at // DAY


class UsageSums(NamedTuple):
    """The sums over the completions of one group.

    `group` is the value that they share: the day (in days since 1970), the model, the tag or the status. It is None in
    the total. `unknown` is the number of completions without a count of input or output tokens. Durations are in
    seconds, None when no completion has one.
    """

    group: int | str | None
    calls: int
    finished: int
    failed: int
    unknown: int
    input_tokens: int
    output_tokens: int
    mean: float | None
    p95: float | None


class DailyTokens(NamedTuple):
    """The tokens of one model on one day (days since 1970)."""

    day: int
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


def sum_usage(
    tx: Tx, filters: Filters, model: str | None, by: Group | None, limit: int
) -> tuple[list[UsageSums], UsageSums]:
    """The sums for each group of the completions that pass the filters, and the total.

    Days are ordered newest first; other groups by most completions, then by name. With `by` None the list of groups is
    empty. By tag, a completion is in the group of each of its tags, so one without tags is in no group.
    """
    calls = _calls(tx, filters, model, by)
    total = _total(calls)
    if by is None:
        return [], _sums(tx.connection.execute(total).one())
    groups = _groups(_tagged(tx, calls) if by == "tag" else calls)
    if by == "tag":
        groups = _named(tx, groups)
    lines = union_all(groups, total).subquery()
    order = [lines.c.group.desc()] if by == "day" else [lines.c.calls.desc(), lines.c.group]
    in_order = select(lines).order_by(lines.c.is_total.desc(), *order).limit(limit + 1)
    first, *others = map(_sums, tx.connection.execute(in_order))
    return others, first


def sum_tokens_per_day_and_model(tx: Tx, filters: Filters) -> list[DailyTokens]:
    """The sums for each day and model, ordered by day, newest first, and then by the name of the model."""
    calls = filtered(tx, filters)[0].with_only_columns(
        _day.label("day"), shown_model.label("model"), completion.c.input_tokens, completion.c.output_tokens
    )
    rows = calls.subquery()
    grouped = (
        select(rows.c.day, rows.c.model, func.count().label("calls"), *_token_sums(rows))
        .group_by(rows.c.day, rows.c.model)
        .order_by(rows.c.day.desc(), rows.c.model)
    )
    return [
        DailyTokens(
            row.day,
            row.model,
            row.calls,
            _whole(row.input_high, row.input_low),
            _whole(row.output_high, row.output_low),
        )
        for row in tx.connection.execute(grouped)
    ]


_groups_by: dict[Group | None, ColumnElement[Any]] = {
    "day": _day,
    "model": shown_model,
    "tag": completion.c.id,  # `_tagged` replaces the id by the tags
    "status": shown_status,
    None: cast(null(), Key),
}


def _calls(tx: Tx, filters: Filters, model: str | None, by: Group | None) -> CTE:
    """The completions that pass the filters, with only the columns that the sums need.

    The statement refers to this CTE twice, so both databases store its result while it runs.
    """
    rows, _, _ = filtered(tx, filters)
    if model is not None:
        rows = rows.where(shown_model == model)
    return rows.with_only_columns(
        _groups_by[by].label("group"),
        shown_status.label("status"),
        completion.c.input_tokens,
        completion.c.output_tokens,
        completion.c.duration,
    ).cte("calls")


def _tagged(tx: Tx, calls: CTE) -> CTE:
    """A row for each pair of a completion and one of its tags."""
    tags = completion_tag.alias("tags_of_call")
    is_tag_of_call = (tags.c.organization_id == tx.organization_id) & (tags.c.completion_id == calls.c.group)
    columns = [tags.c.tag_id.label("group") if column.name == "group" else column for column in calls.c]
    return select(*columns).select_from(calls.join(tags, is_tag_of_call)).cte("tagged")


def _named(tx: Tx, groups: Select[Any]) -> Select[Any]:
    """Replace the key of each tag by its name."""
    rows = groups.subquery()
    is_tag_of_group = (tag.c.organization_id == tx.organization_id) & (tag.c.id == rows.c.group)
    # Cast to a Key, because a Key sorts by code point on both databases.
    columns = [cast(tag.c.name, Key).label("group") if column.name == "group" else column for column in rows.c]
    return select(*columns).select_from(rows.join(tag, is_tag_of_group))


def _groups(calls: CTE) -> Select[Any]:
    sums = select(calls.c.group, *_figures(calls)).group_by(calls.c.group).subquery()
    # Durations are ranked in a separate query, because a window over whole rows takes three times as long on
    # SQLite.
    rank = func.row_number().over(partition_by=calls.c.group, order_by=calls.c.duration)
    ranked = select(calls.c.group, calls.c.duration, rank.label("rank")).where(calls.c.duration.is_not(None)).subquery()
    is_p95 = (ranked.c.group == sums.c.group) & (ranked.c.rank == sums.c.timed - sums.c.timed // 20)
    return select(literal(0).label("is_total"), *sums.c, ranked.c.duration.label("p95")).select_from(
        sums.outerjoin(ranked, is_p95)
    )


def _total(calls: CTE) -> Select[Any]:
    """The sums over all completions.

    The 95th percentile is found by counting from the longest duration, so only a twentieth of them has to be sorted.
    """
    sums = select(*_figures(calls)).cte("total")
    count_above_p95 = select(sums.c.timed // 20).scalar_subquery()
    p95 = (
        select(calls.c.duration)
        .where(calls.c.duration.is_not(None))
        .order_by(calls.c.duration.desc())
        .offset(count_above_p95)
        .limit(1)
        .scalar_subquery()
    )
    nothing: ColumnElement[Any] = cast(null(), calls.c.group.type)
    return select(literal(1).label("is_total"), nothing.label("group"), *sums.c, p95.label("p95"))


def _figures(calls: CTE) -> list[ColumnElement[Any]]:
    """The columns of sums of a group.

    By the nearest-rank method, the 95th percentile of n durations has rank n - n // 20, which is 0.95 n rounded up.
    """
    duration = calls.c.duration
    missing = calls.c.input_tokens.is_(None) | calls.c.output_tokens.is_(None)
    return [
        func.count().label("calls"),
        func.count().filter(calls.c.status == "finished").label("finished"),
        func.count().filter(calls.c.status == "failed").label("failed"),
        func.count().filter(missing).label("unknown"),
        *_token_sums(calls),
        func.count(duration).label("timed"),
        func.sum(duration).filter(func.abs(duration) < _HUGE).label("seconds"),
        func.sum(duration / _HUGE).filter(func.abs(duration) >= _HUGE).label("huge_seconds"),
    ]


# A duration may be any double, and Postgres fails when a sum overflows. So the largest durations are scaled down and
# summed separately.
_HUGE = 2.0**500
# A token count may have 63 bits, and SQLite fails when a sum needs more. So the upper and lower 32 bits are summed
# separately.
_HALF = 2**32


def _token_sums(calls: FromClause) -> list[ColumnElement[Any]]:
    return [
        func.sum(part).label(f"{name}_{half}")
        for name in ("input", "output")
        for half, part in (
            ("high", calls.c[f"{name}_tokens"] // _HALF),
            ("low", calls.c[f"{name}_tokens"] % literal(_HALF, BigInteger)),
        )
    ]


def _sums(row: Any) -> UsageSums:
    mean = None
    if row.timed:
        huge = (row.huge_seconds or 0.0) / row.timed
        mean = (row.seconds or 0.0) / row.timed + max(min(huge, _MAX_HUGE_MEAN), -_MAX_HUGE_MEAN) * _HUGE
    return UsageSums(
        group=row.group,
        calls=row.calls,
        finished=row.finished,
        failed=row.failed,
        unknown=row.unknown,
        input_tokens=_whole(row.input_high, row.input_low),
        output_tokens=_whole(row.output_high, row.output_low),
        mean=mean,
        p95=row.p95,
    )


_MAX_HUGE_MEAN = sys.float_info.max / _HUGE


def _whole(high: Any, low: Any) -> int:
    """Combine the sum of the upper 32 bits of token counts and that of the lower 32 bits.

    Postgres returns them as decimals; both databases return None for no values.
    """
    return int(high or 0) * _HALF + int(low or 0)
