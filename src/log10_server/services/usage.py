"""Sums up calls, tokens, durations and success rates (docs/api.md, "The calls of log10-io").

Days begin and end in UTC.
"""

from collections.abc import Sequence
from typing import NamedTuple

from log10_server import store
from log10_server.clock import DAY
from log10_server.db.transaction import Tx
from log10_server.services import selectors
from log10_server.store.completions import Filters
from log10_server.store.usage import DailyTokens, Group, UsageSums


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


def sum_usage(tx: Tx, selection: UsageSelection, limit: int) -> tuple[list[UsageSums], UsageSums]:
    """Return the figures of at most `limit` groups, and the total over all completions.

    A completion with several tags counts in the group of each tag, but only once in the total.
    """
    filters = _filters(tx, selection.tags, selection.created_from, selection.created_to)
    groups, total = store.usage.sum_usage(tx, filters, selection.model, selection.group_by, limit)
    return groups if selection.group_by else [total], total


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
    created_from = None if first_day is None else first_day * DAY
    created_to = None if last_day is None else (last_day + 1) * DAY - 1
    return store.usage.sum_tokens_per_day_and_model(tx, _filters(tx, tags, created_from, created_to))


def _filters(tx: Tx, tags: Sequence[str], created_from: int | None, created_to: int | None) -> Filters:
    tag_ids = selectors.find_tag_ids(tx, tags) if tags else None
    return Filters(tag_ids=tag_ids, created_from=created_from, created_to=created_to)
