"""What completions add up to: counts, tokens, durations; by day, model, tag or status, or by day and model.

Each is one statement, so groups and total are of one moment, and reads once each completion that passes: narrow columns,
the payloads stay where they are. Nothing is kept beside the completions, so recording pays nothing for it. A million
completions of 2.6 KB take 4 to 12 s on two cores (3 s by day and model), and 300 MB inside SQLite while it sorts durations;
Postgres sorts on disk, and its time-out of 60 s answers 503 at some ten million. Who narrows the time pays for less.
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


# What is shown where no payload names a model.
shown_model = func.coalesce(completion.c.model, "unknown")
_day = completion.c.created_at // DAY


class Sums(NamedTuple):
    """What the completions of one group add up to.

    `group` is what they share: the day as days since 1970, the model, tag or status; None for all of them together.
    `unknown` is how many miss a token count, which adds nothing to the sums. Durations are in seconds, None when no
    completion has one.
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


class Tokens(NamedTuple):
    """The tokens of one model on one day (days since 1970)."""

    day: int
    model: str
    calls: int
    input_tokens: int
    output_tokens: int


def sum_usage(tx: Tx, filters: Filters, model: str | None, by: Group | None, limit: int) -> tuple[list[Sums], Sums]:
    """The groups of the completions that pass, and all of them together.

    Days: the newest first. Others: those with the most completions first, then by name. With `by` None there is no
    group. A completion is in the group of each of its tags, so one without tags is in none.
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


def sum_tokens_per_day_and_model(tx: Tx, filters: Filters) -> list[Tokens]:
    """The newest day first, then by the model's name."""
    calls = filtered(tx, filters)[0].with_only_columns(
        _day.label("day"), shown_model.label("model"), completion.c.input_tokens, completion.c.output_tokens
    )
    found = calls.subquery()
    grouped = (
        select(found.c.day, found.c.model, func.count().label("calls"), *_token_sums(found))
        .group_by(found.c.day, found.c.model)
        .order_by(found.c.day.desc(), found.c.model)
    )
    return [
        Tokens(
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
    "tag": completion.c.id,  # until `_tagged`
    "status": shown_status,
    None: cast(null(), Key),
}


def _calls(tx: Tx, filters: Filters, model: str | None, by: Group | None) -> CTE:
    """The completions that pass, as the few columns that matter. It is read twice, so both databases keep it meanwhile."""
    found = filtered(tx, filters)[0]
    if model is not None:
        found = found.where(shown_model == model)
    return found.with_only_columns(
        _groups_by[by].label("group"),
        shown_status.label("status"),
        completion.c.input_tokens,
        completion.c.output_tokens,
        completion.c.duration,
    ).cte("calls")


def _tagged(tx: Tx, calls: CTE) -> CTE:
    """Each call once for each of its tags."""
    of = completion_tag.alias("of")
    theirs = (of.c.organization_id == tx.organization_id) & (of.c.completion_id == calls.c.group)
    columns = [of.c.tag_id.label("group") if column.name == "group" else column for column in calls.c]
    return select(*columns).select_from(calls.join(of, theirs)).cte("tagged")


def _named(tx: Tx, groups: Select[Any]) -> Select[Any]:
    """The groups by the tags' names instead of their keys."""
    found = groups.subquery()
    theirs = (tag.c.organization_id == tx.organization_id) & (tag.c.id == found.c.group)
    # As a Key the name sorts by code point on both databases.
    columns = [cast(tag.c.name, Key).label("group") if column.name == "group" else column for column in found.c]
    return select(*columns).select_from(found.join(tag, theirs))


def _groups(calls: CTE) -> Select[Any]:
    sums = select(calls.c.group, *_figures(calls)).group_by(calls.c.group).subquery()
    # Durations are ranked apart from the sums: windows over whole rows take three times as long on SQLite.
    place = func.row_number().over(partition_by=calls.c.group, order_by=calls.c.duration)
    ranked = (
        select(calls.c.group, calls.c.duration, place.label("place")).where(calls.c.duration.is_not(None)).subquery()
    )
    is_p95 = (ranked.c.group == sums.c.group) & (ranked.c.place == sums.c.timed - sums.c.timed // 20)
    return select(literal(0).label("is_total"), *sums.c, ranked.c.duration.label("p95")).select_from(
        sums.outerjoin(ranked, is_p95)
    )


def _total(calls: CTE) -> Select[Any]:
    """From the top, where only a twentieth of the durations has to be kept in order."""
    sums = select(*_figures(calls)).cte("total")
    above = select(sums.c.timed // 20).scalar_subquery()
    p95 = (
        select(calls.c.duration)
        .where(calls.c.duration.is_not(None))
        .order_by(calls.c.duration.desc())
        .offset(above)
        .limit(1)
        .scalar_subquery()
    )
    nothing: ColumnElement[Any] = cast(null(), calls.c.group.type)
    return select(literal(1).label("is_total"), nothing.label("group"), *sums.c, p95.label("p95"))


def _figures(calls: CTE) -> list[ColumnElement[Any]]:
    """Nearest rank: the 95th percentile of n durations is the one at place n - n // 20 (n * 0.95, rounded up)."""
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


# A duration may be any double. Apart and divided, the largest can't overflow their sum, at which Postgres would fail.
_HUGE = 2.0**500
# Likewise a token count any 63 bits, and SQLite fails when a sum needs more: the two halves are summed apart.
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


def _sums(row: Any) -> Sums:
    mean = None
    if row.timed:
        huge = (row.huge_seconds or 0.0) / row.timed
        mean = (row.seconds or 0.0) / row.timed + max(min(huge, _MOST_HUGE), -_MOST_HUGE) * _HUGE
    return Sums(
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


_MOST_HUGE = sys.float_info.max / _HUGE


def _whole(high: Any, low: Any) -> int:
    """Sums of the two halves put together; Postgres gives decimals, and None where nothing was known."""
    return int(high or 0) * _HALF + int(low or 0)
