"""Finds a page of the completions that pass several filters, at a cost that does not grow with the number of rows.

Each filter has an index that lists the completions that pass it, newest first. A page is found by reading the
candidates of one filter, the driver, and looking up each of them in the indexes of the other filters.

This goes in pieces. At the start of a piece, the position of the thousandth candidate of each filter is read. The
filter whose position is the oldest drives the piece, because it gets furthest with a thousand lookups. If a filter has
fewer candidates left than that, the search ends with this piece. So one filter that few completions pass makes the page
cheap, whatever the other filters are.

Filters that many completions pass, but few pass together, take many pieces. After `PageSearch.max_candidates` or
`PageSearch.seconds` the page ends before it is full, and has a cursor with which the search goes on.

Two of the statuses and one of the kinds are rare, and have partial indexes. The others, `finished` and `chat`, are
checked by looking into these indexes too: the completion must not be in them.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from log10_server.db.transaction import Tx
from log10_server.store import completion_candidates
from log10_server.store.completion_candidates import Candidates, Checks, Window
from log10_server.store.completion_tags import find_common
from log10_server.store.completions import Cursor, Filters


class KeyPage(NamedTuple):
    """The keys of a page of completions, and the position after which the next page begins; None on the last page."""

    keys: list[Cursor]
    next_cursor: Cursor | None


def list_keys(tx: Tx, filters: Filters, after: Cursor | None, limit: int) -> KeyPage:
    """A page of the completions that pass the filters, newest first. It begins after the position `after`.

    A page that is not the last one may have fewer than `limit` keys, or none.
    """
    if filters.tag_ids is not None and not filters.tag_ids:  # one of the tags does not exist
        return KeyPage([], None)
    choices = _Choices(tx, filters)
    window = _window(filters, after)
    if filters.ids is None:
        return _search(tx, choices, window, limit)
    # The ids came in one request, so they are few enough to be looked up all at once.
    passing = completion_candidates.list_passing_of(tx, filters.ids, choices.checks(None))
    keys = sorted((key for key in passing if window.last <= key < window.after), reverse=True)
    return _page(keys, None, limit)


def _window(filters: Filters, after: Cursor | None) -> Window:
    """The part of each list that the range of time and the cursor leave."""
    # An id is never empty, so this position is before all completions of its instant.
    newest = Cursor(_LAST_INSTANT if filters.created_to is None else filters.created_to + 1, "")
    oldest = Cursor(_FIRST_INSTANT if filters.created_from is None else filters.created_from, "")
    return Window(newest if after is None else min(newest, after), oldest)


_FIRST_INSTANT, _LAST_INSTANT = -(1 << 63), (1 << 63) - 1


def _search(tx: Tx, choices: "_Choices", window: Window, limit: int) -> KeyPage:
    bounds = tx.thresholds.page_search
    stop_at = time.monotonic() + bounds.seconds
    candidates_left = bounds.max_candidates
    keys: list[Cursor] = []
    while True:
        driver, checks, end = choices.choose(window, bounds.piece)
        piece = window if end is None else window._replace(last=end)
        keys += completion_candidates.list_passing(tx, driver, checks, piece, limit + 1 - len(keys))
        candidates_left -= bounds.piece
        if end is None or len(keys) >= limit or candidates_left <= 0 or time.monotonic() > stop_at:
            return _page(keys, end, limit)
        window = window._replace(after=end)


def _page(keys: list[Cursor], end: Cursor | None, limit: int) -> KeyPage:
    """A page of these keys. All keys down to the position `end` are in `keys`; None means that no others exist."""
    return KeyPage(keys[:limit], keys[limit - 1]) if len(keys) > limit else KeyPage(keys, end)


# Of many tags only this number can drive the search; those that are not common come first.
_MAX_DRIVING_TAGS = 8
# Of the sparsest common tags, this number is tried in pairs.
_MAX_PAIRED_TAGS = 4


class _Position(NamedTuple):
    """How far some candidates reach: the position of the last one that a piece may read, or None if they end before."""

    candidates: Candidates
    end: Cursor | None


class _Choices:
    """The candidates that can drive the search, and the checks that remain then."""

    def __init__(self, tx: Tx, filters: Filters) -> None:
        self._tx = tx
        self._filtered = list(_filtered(filters))
        self._excluded = tuple(_excluded(filters))
        tag_ids = list(dict.fromkeys(filters.tag_ids or ()))
        self._common_tag_ids = find_common(tx, tag_ids) if len(tag_ids) > 1 else set()
        self._tag_ids = sorted(tag_ids, key=lambda tag_id: tag_id in self._common_tag_ids)

    def choose(self, window: Window, size: int) -> tuple[Candidates, Checks, Cursor | None]:
        """The candidates that drive the next piece, their checks, and the position at which the piece ends.

        The piece has `size` candidates. The position is None if all candidates in the window may be read, because they
        are fewer, or because there is nothing to check.
        """
        choices = [*self._filtered, *map(_with_tag, self._tag_ids[:_MAX_DRIVING_TAGS])] or [Candidates("any", {})]
        if len(choices) == 1 and not self._excluded:
            return choices[0], self.checks(choices[0]), None
        positions = self._find_positions(choices, window, size)
        # The sparsest tags are checked first, so that few candidates have to be looked up in the others.
        tag_ids = [candidates.values["tag_id"] for candidates, _ in positions if candidates.kind == "tag"]
        self._tag_ids[:_MAX_DRIVING_TAGS] = tag_ids
        if positions[0].end is not None:
            common = [tag_id for tag_id in tag_ids if tag_id in self._common_tag_ids][:_MAX_PAIRED_TAGS]
            pairs = [_with_pair(first, second) for first, second in combinations(sorted(common), 2)]
            positions = sorted([*positions, *self._find_positions(pairs, window, size)], key=_reach)
        ended = [candidates for candidates, end in positions if end is None]
        if len(ended) > 1:
            fewest = min(ended, key=lambda candidates: completion_candidates.count(self._tx, candidates, window))
            return fewest, self.checks(fewest), None
        driver, end = positions[0]
        return driver, self.checks(driver), end

    def checks(self, driver: Candidates | None) -> Checks:
        """What must be checked of each candidate of the driver; of each completion if there is none."""
        known = () if driver is None else (driver.values.get("tag_id"), driver.values.get("first_tag_id"))
        included = [candidates for candidates in self._filtered if candidates is not driver]
        return Checks(
            included=tuple(candidates.kind for candidates in included),
            excluded=self._excluded,
            tag_ids=tuple(tag_id for tag_id in self._tag_ids if tag_id not in known),
            values={name: value for candidates in included for name, value in candidates.values.items()},
        )

    def _find_positions(self, choices: Sequence[Candidates], window: Window, size: int) -> list[_Position]:
        """How far each of these candidates reaches, the farthest first."""
        ends = (completion_candidates.find_position(self._tx, candidates, window, size) for candidates in choices)
        return sorted(map(_Position, choices, ends), key=_reach)


def _reach(position: _Position) -> tuple[bool, Cursor]:
    """A key that sorts the candidates that reach farthest first."""
    return position.end is not None, position.end or Cursor(0, "")


def _filtered(filters: Filters) -> Iterator[Candidates]:
    """The candidates of each filter that is set, except tags and those in `_excluded`."""
    if filters.session_id is not None:
        yield Candidates("session_id", {"session_id": filters.session_id})
    if filters.model is not None:
        yield Candidates("model", {"model": filters.model})
    if filters.status is not None and filters.status != "finished":
        yield Candidates(filters.status, {})
    if filters.kind is not None and filters.kind != "chat":
        yield Candidates(filters.kind, {})


def _excluded(filters: Filters) -> Iterator[str]:
    """The kinds of candidates that the filters exclude."""
    if filters.status == "finished":
        yield from ("failed", "started")
    if filters.kind == "chat":
        yield "prompt"


def _with_tag(tag_id: int) -> Candidates:
    return Candidates("tag", {"tag_id": tag_id})


def _with_pair(first: int, second: int) -> Candidates:
    return Candidates("pair", {"first_tag_id": first, "second_tag_id": second})
