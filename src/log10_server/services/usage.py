"""Sums up calls, tokens, durations and success rates (docs/api.md, "The calls of log10-io").

Days begin and end in UTC. Whole days are answered from sums that are kept by day, model, status and common tag
(`services/usage_sums`). The completions above the watermark, those of partial days, and those of a rare tag or of
several tags are read one by one. All of it is read in one snapshot, so the answer is exact.
"""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from log10_server import store
from log10_server.clock import DAY
from log10_server.db.transaction import Tx
from log10_server.services import selectors, usage_sums
from log10_server.services.figures import Figures, percentile_95, total_seconds
from log10_server.services.usage_sums import END_OF_DAYS, FIRST_DAY, Sums
from log10_server.store.completions import Filters
from log10_server.store.covered import ALL_COMPLETIONS
from log10_server.store.rollups import NOTHING_COVERED, Watermark
from log10_server.store.usage import Call
from log10_server.store.usage_sums import PeriodRange

Group = Literal["day", "model", "tag", "status"]

# By tag, the completions are read one by one if there are at most this many. Of more completions only the common tags
# are listed, because others would need a look at the tags of each completion.
MAX_CALLS_FOR_RARE_TAGS = 4000


class UsageSelection(NamedTuple):
    """The completions to count, and the field to group them by. A filter that is None lets all completions pass.

    Both ends of the time range are inclusive. A completion must have all of `tags`. `model` is the model as answers
    show it: `unknown` selects completions whose payloads name no model.
    """

    group_by: Group | None = None
    tags: Sequence[str] = ()
    model: str | None = None
    created_from: int | None = None
    created_to: int | None = None


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


def sum_usage(tx: Tx, selection: UsageSelection, limit: int) -> tuple[list[UsageSums], UsageSums]:
    """Return the sums of at most `limit` groups, and the total over all completions.

    Days are in order, the newest first; other groups by most completions, then by name. A completion with several tags
    counts in the group of each tag, but only once in the total. One without tags is in no group.
    """
    tx.begin_snapshot()
    plan = _plan(tx, selection.tags, selection.created_from, selection.created_to)
    if selection.group_by == "tag":
        return _sum_by_tag(tx, plan, selection.model, limit)
    key = _KEYS[selection.group_by]
    groups: dict[int | str, _Totals] = defaultdict(_Totals)
    total = _Totals()
    for _, sums in plan.list_sums(tx, by_day=False):
        total.add_sums(sums, selection.model)
    if key is not None:
        for day, sums in plan.list_sums(tx, by_day=selection.group_by == "day"):
            for model, status, sums_of_status in _filtered(sums, selection.model):
                groups[key(day, model, status)].add_figures(status, sums_of_status)
    for call in plan.iterate_calls(tx, selection.model):
        total.add_call(call)
        if key is not None:
            groups[key(call.created_at // DAY, call.model, call.status)].add_call(call)
    if selection.group_by is None:
        return [total.sums(None)], total.sums(None)
    in_order = _ordered(groups, selection.group_by)[:limit]
    return [totals.sums(group) for group, totals in in_order], total.sums(None)


def success_rate(sums: UsageSums) -> float | None:
    """Return the share of finished completions among the finished and failed ones, or None if there are neither.

    Completions that have only started do not count.
    """
    ended = sums.finished + sums.failed
    return sums.finished / ended if ended else None


def tokens_per_model_per_day(
    tx: Tx, tags: Sequence[str], first_day: int | None, last_day: int | None
) -> list[DailyTokens]:
    """Return the tokens of each model on each day, newest day first, then by model.

    Days are numbered from 1970-01-01, and both ends of the range are inclusive.
    """
    tx.begin_snapshot()
    created_from = None if first_day is None else first_day * DAY
    created_to = None if last_day is None else (last_day + 1) * DAY - 1
    plan = _plan(tx, tags, created_from, created_to)
    by_day_and_model: dict[tuple[int, str], list[int]] = {}

    def add(day: int, model: str, *counts: int) -> None:
        before = by_day_and_model.get((day, model), (0, 0, 0))
        by_day_and_model[day, model] = [count + more for count, more in zip(before, counts, strict=True)]

    for day, text in plan.list_texts(tx, by_day=True):
        for model, by_status in usage_sums.decode_counts(text).items():
            for counts in by_status.values():
                add(day, model, counts.calls, counts.input_tokens, counts.output_tokens)
    for call in plan.iterate_calls(tx, None):
        add(call.created_at // DAY, call.model, 1, call.input_tokens or 0, call.output_tokens or 0)
    in_order = sorted(by_day_and_model.items(), key=lambda item: (-item[0][0], item[0][1]))
    return [DailyTokens(day, model, *counts) for (day, model), counts in in_order]


class _KeptSums(NamedTuple):
    """Sums that are kept, and the first day of their period."""

    day: int
    sums: Sums


class _Plan(NamedTuple):
    """What an answer is made of: the kept sums of a list from the day `begin` on and before the day `end`, and rows.

    `older` are the rows before these days, and `newer` those after them or, in them, above the watermark. Without kept
    sums, `newer` are all rows. `everything` are the filters of all rows.
    """

    list_key: int
    begin: int
    end: int
    older: Filters | None
    newer: Filters
    newer_above: Watermark | None
    everything: Filters

    @property
    def uses_sums(self) -> bool:
        """Whether a part of the answer is kept as sums."""
        return self.begin < self.end

    def without_sums(self) -> "_Plan":
        """Return the plan that reads everything from rows."""
        return _rows_only(self.everything)

    def list_sums(self, tx: Tx, *, by_day: bool) -> Iterator[_KeptSums]:
        """Yield the kept sums, which are those of single days if `by_day`, and else those of the longest periods."""
        for day, text in self.list_texts(tx, by_day=by_day):
            yield _KeptSums(day, usage_sums.decode(text))

    def list_texts(self, tx: Tx, *, by_day: bool) -> list[tuple[int, str]]:
        """The same as `list_sums`, as texts that are not decoded yet."""
        return store.usage_sums.list_of_list(
            tx, self.list_key, self.ranges([1] if by_day else store.usage_sums.PERIODS)
        )

    def ranges(self, lengths: Sequence[int]) -> list[PeriodRange]:
        """Return the periods of these lengths that the days from `begin` on and before `end` consist of."""
        return list(usage_sums.periods_between(self.begin, self.end, lengths))

    def iterate_pieces(self, tx: Tx, model: str | None) -> Iterator[list[Call]]:
        """Yield the rows to read, in pieces."""
        if self.older is not None:
            yield from store.usage.iterate_calls(tx, self.older, model, None)
        yield from store.usage.iterate_calls(tx, self.newer, model, self.newer_above)

    def iterate_calls(self, tx: Tx, model: str | None) -> Iterator[Call]:
        """Yield the rows to read."""
        for piece in self.iterate_pieces(tx, model):
            yield from piece


def _plan(tx: Tx, tags: Sequence[str], created_from: int | None, created_to: int | None) -> _Plan:
    tag_ids = list(dict.fromkeys(selectors.find_tag_ids(tx, tags))) if tags else None
    everything = Filters(tag_ids=tag_ids, created_from=created_from, created_to=created_to)
    list_key = _list_key(tx, tag_ids)
    watermark = store.rollups.find_watermark(tx)
    if list_key is None or watermark == NOTHING_COVERED:
        return _rows_only(everything)
    begin = FIRST_DAY if created_from is None else -(-created_from // DAY)
    end = END_OF_DAYS if created_to is None else (created_to + 1) // DAY
    if begin >= end or watermark.created_at < begin * DAY:
        return _rows_only(everything)
    older = None
    if created_from is not None and created_from < begin * DAY:
        older = everything._replace(created_to=begin * DAY - 1)
    if watermark.created_at >= end * DAY:
        return _Plan(list_key, begin, end, older, everything._replace(created_from=end * DAY), None, everything)
    # All rows above the watermark are in these days or after them. With a second lower bound, SQLite may use the wrong one.
    return _Plan(list_key, begin, end, older, everything._replace(created_from=None), watermark, everything)


def _rows_only(everything: Filters) -> _Plan:
    return _Plan(ALL_COMPLETIONS, 0, 0, None, everything, None, everything)


def _list_key(tx: Tx, tag_ids: Sequence[int] | None) -> int | None:
    """Return the key of the list whose sums answer a selection with these tags, or None if no sums do."""
    if tag_ids is None:
        return ALL_COMPLETIONS
    return tag_ids[0] if len(tag_ids) == 1 and store.completion_tags.find_common(tx, tag_ids) else None


def _sum_by_tag(tx: Tx, plan: _Plan, model: str | None, limit: int) -> tuple[list[UsageSums], UsageSums]:
    kept = list(plan.list_sums(tx, by_day=False))
    is_short = not _has_more_calls(tx, plan, kept, MAX_CALLS_FOR_RARE_TAGS)
    if is_short or plan.list_key != ALL_COMPLETIONS:  # there are no sums of the other tags of the completions of a tag
        plan, kept = plan.without_sums(), []
    total = _Totals()
    groups: dict[int, _Totals] = defaultdict(_Totals)
    for _, sums in kept:
        total.add_sums(sums, model)
    if plan.uses_sums:
        for tag_id, text in store.usage_sums.iterate_of_tags(tx, plan.ranges(store.usage_sums.PERIODS)):
            sums = usage_sums.decode(text)
            if model is None or model in sums:
                groups[tag_id].add_sums(sums, model)
    list_tags = store.completion_tags.list_tags if is_short else store.completion_tags.list_common_tags
    for piece in plan.iterate_pieces(tx, model):
        tags = list_tags(tx, [call.id for call in piece])
        for call in piece:
            total.add_call(call)
            for tag_id in tags.get(call.id, ()):
                groups[tag_id].add_call(call)
    names = store.tags.find_names(tx, groups)
    in_order = sorted(groups.items(), key=lambda item: (-item[1].figures.calls, names[item[0]]))
    return [totals.sums(names[tag_id]) for tag_id, totals in in_order[:limit]], total.sums(None)


def _has_more_calls(tx: Tx, plan: _Plan, kept: Sequence[_KeptSums], number: int) -> bool:
    """Return whether there are more than this many completions, whatever their model is."""
    calls = sum(figures.calls for _, sums in kept for by_status in sums.values() for figures in by_status.values())
    for piece in plan.iterate_pieces(tx, None) if calls <= number else ():
        calls += len(piece)
        if calls > number:
            break
    return calls > number


class _Totals:
    """The figures of a group, from kept sums and from rows. The durations of rows are kept as they are."""

    __slots__ = ("durations", "failed", "figures", "finished")

    def __init__(self) -> None:
        self.figures = Figures()
        self.finished = 0
        self.failed = 0
        self.durations = array("d")

    def add_call(self, call: Call) -> None:
        """Add a row."""
        self.figures.add_call(call.input_tokens, call.output_tokens, None)
        self._count(call.status, 1)
        if call.duration is not None:
            self.durations.append(call.duration)

    def add_figures(self, status: str, figures: Figures) -> None:
        """Add kept sums of completions with this status."""
        self.figures.add(figures)
        self._count(status, figures.calls)

    def add_sums(self, sums: Sums, model: str | None) -> None:
        """Add kept sums, or only those of a model."""
        for by_status in sums.values() if model is None else [sums.get(model, {})]:
            for status, figures in by_status.items():
                self.add_figures(status, figures)

    def sums(self, group: int | str | None) -> UsageSums:
        """Return the sums. The percentile is exact if all durations are those of rows."""
        seconds = total_seconds(self.figures, self.durations)
        timed = sum(self.figures.durations.values()) + len(self.durations)
        return UsageSums(
            group=group,
            calls=self.figures.calls,
            finished=self.finished,
            failed=self.failed,
            unknown=self.figures.unknown,
            input_tokens=self.figures.input_tokens,
            output_tokens=self.figures.output_tokens,
            mean=float(seconds / timed) if timed else None,
            p95=percentile_95(self.figures.durations, self.durations),
        )

    def _count(self, status: str, calls: int) -> None:
        if status == "finished":
            self.finished += calls
        elif status == "failed":
            self.failed += calls


def _filtered(sums: Sums, model: str | None) -> Iterator[tuple[str, str, Figures]]:
    for model_of_sums, by_status in sums.items():
        if model is None or model_of_sums == model:
            for status, figures_of_status in by_status.items():
                yield model_of_sums, status, figures_of_status


def _ordered(groups: Mapping[int | str, _Totals], by: Group) -> list[tuple[int | str, _Totals]]:
    if by == "day":
        return sorted(groups.items(), key=lambda item: -int(item[0]))
    return sorted(groups.items(), key=lambda item: (-item[1].figures.calls, str(item[0])))


# The group of a completion, from its day, model and status.
_KEYS: dict[Group | None, Callable[[int, str, str], int | str] | None] = {
    "day": lambda day, _model, _status: day,
    "model": lambda _day, model, _status: model,
    "status": lambda _day, _model, status: status,
    None: None,
}
