"""The summary of completions that the usage is made of (`services/rollup`): sums by list, period, model and status."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from log10_server import store
from log10_server.clock import DAY
from log10_server.db.transaction import Tx
from log10_server.services.figures import Counts, Figures
from log10_server.store.covered import CoveredCompletion
from log10_server.store.usage_sums import PERIODS, PeriodRange, SumKey

# The figures by model, as answers show it, and then by status.
Sums = dict[str, dict[str, Figures]]

UNKNOWN_MODEL = "unknown"  # the model of completions whose payloads name none
# Days before and after all completions. They begin periods of every length.
FIRST_DAY = -(2**40)
END_OF_DAYS = 2**40

_decoder = msgspec.json.Decoder(Sums)
_counts_decoder = msgspec.json.Decoder(dict[str, dict[str, Counts]])


def add(tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
    """Add completions to the sums of all their lists and periods."""
    changes = _sums_by_period(rows, 1)
    stored = store.usage_sums.find_many(tx, changes)
    _overwrite(tx, {key: _combined(stored.get(key), sums) for key, sums in changes.items()})


def remove(tx: Tx, rows: Sequence[CoveredCompletion]) -> None:
    """Take completions back from the sums. Sums that are empty then are deleted."""
    changes = _sums_by_period(rows, -1)
    stored = store.usage_sums.find_many(tx, changes)
    remaining = {key: _without_empty(_combined(stored.get(key), sums)) for key, sums in changes.items()}
    _overwrite(tx, {key: sums for key, sums in remaining.items() if sums})
    store.usage_sums.remove(tx, [(key, text) for key, text in stored.items() if not remaining[key]])


def decode(text: str) -> Sums:
    """Return the sums that a row of the table holds."""
    return _decoder.decode(text)


def decode_counts(text: str) -> dict[str, dict[str, Counts]]:
    """Return the counts of a row of the table, without its durations. It takes a third of the time."""
    return _counts_decoder.decode(text)


def periods_between(begin: int, end: int, lengths: Sequence[int] = PERIODS) -> Iterator[PeriodRange]:
    """Return the longest periods that together are the days from `begin` on and before `end`."""
    if begin >= end:
        return
    length, *shorter = lengths
    first, last = -(-begin // length) * length, end // length * length
    if first < last:
        yield PeriodRange(length, first, last)
    else:
        first = last = end
    if shorter:
        yield from periods_between(begin, first, shorter)
        yield from periods_between(last, end, shorter)


def _sums_by_period(rows: Sequence[CoveredCompletion], sign: int) -> dict[SumKey, list[Sums]]:
    """Return the parts of the sums of these completions for each list and period."""
    # Many completions have the same common tags, so they are first summed up by all of their lists together.
    by_lists: dict[tuple[tuple[int, ...], int], Sums] = {}
    for row in rows:
        sums = by_lists.setdefault((row.lists, row.created_at // DAY), {})
        figures = _figures_of(sums, UNKNOWN_MODEL if row.model is None else row.model, row.status)
        figures.add_call(row.input_tokens, row.output_tokens, row.duration, sign)
    by_day: dict[tuple[int, int], Sums] = {}
    for (lists, day), sums in by_lists.items():
        for list_key in lists:
            _add(by_day.setdefault((list_key, day), {}), sums)
    by_period: dict[SumKey, list[Sums]] = {}
    for (list_key, day), sums in by_day.items():
        for days in PERIODS:
            by_period.setdefault(SumKey(list_key, days, day - day % days), []).append(sums)
    return by_period


def _combined(stored: str | None, parts: Sequence[Sums]) -> Sums:
    sums = {} if stored is None else decode(stored)
    for part in parts:
        _add(sums, part)
    return sums


def _overwrite(tx: Tx, sums_by_key: Mapping[SumKey, Sums]) -> None:
    store.usage_sums.overwrite(tx, [(key, msgspec.json.encode(sums).decode()) for key, sums in sums_by_key.items()])


def _figures_of(sums: Sums, model: str, status: str) -> Figures:
    by_status = sums.setdefault(model, {})
    figures = by_status.get(status)
    if figures is None:
        figures = by_status[status] = Figures()
    return figures


def _add(sums: Sums, others: Sums) -> None:
    for model, by_status in others.items():
        for status, figures in by_status.items():
            _figures_of(sums, model, status).add(figures)


def _without_empty(sums: Sums) -> Sums:
    remaining: Sums = {}
    for model, by_status in sums.items():
        for status, figures in by_status.items():
            if figures.calls:
                figures.drop_empty_buckets()
                remaining.setdefault(model, {})[status] = figures
    return remaining
