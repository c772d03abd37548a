"""Usage: how many calls, tokens and seconds, and how many calls succeed (docs/api.md, "The calls of log10-io").

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
    """Which completions to count, and what to group them by. None narrows nothing; both ends of the time are inclusive.

    A completion must have all of `tags`. `model` is a model as shown: `unknown` means that no payload names one.
    """

    group_by: Group | None = None
    tags: Sequence[str] = ()
    model: str | None = None
    created_from: int | None = None
    created_to: int | None = None


def sum_usage(tx: Tx, selection: UsageSelection, limit: int) -> tuple[list[UsageSums], UsageSums]:
    """At most `limit` groups in their order, and all completions together; ungrouped, the one line is the total.

    A completion with several tags is in the group of each, and once in the total.
    """
    filters = _filters(tx, selection.tags, selection.created_from, selection.created_to)
    groups, total = store.usage.sum_usage(tx, filters, selection.model, selection.group_by, limit)
    return groups if selection.group_by else [total], total


def success_rate(sums: UsageSums) -> float | None:
    """Finished among finished and failed; None when there is neither. What has only started doesn't count."""
    ended = sums.finished + sums.failed
    return sums.finished / ended if ended else None


def tokens_per_model_per_day(
    tx: Tx, tags: Sequence[str], first_day: int | None, last_day: int | None
) -> list[DailyTokens]:
    """The newest day first, then by model. Days count from 1970, and both ends are inclusive."""
    created_from = None if first_day is None else first_day * DAY
    created_to = None if last_day is None else (last_day + 1) * DAY - 1
    return store.usage.sum_tokens_per_day_and_model(tx, _filters(tx, tags, created_from, created_to))


def _filters(tx: Tx, tags: Sequence[str], created_from: int | None, created_to: int | None) -> Filters:
    tag_ids = selectors.find_tag_ids(tx, tags) if tags else None
    return Filters(tag_ids=tag_ids, created_from=created_from, created_to=created_to)
