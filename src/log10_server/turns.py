"""Lets organizations take turns: a queue in which the entries of one organization never wait behind all of another's."""

from collections import OrderedDict
from typing import Generic, TypeVar

from log10_server.errors import Unavailable
from log10_server.fair_share import FairShare

T = TypeVar("T")


class _Lines(Generic[T]):
    """The waiting entries of one organization: a line of new ones and a line of continued ones, which take turns.

    In a single line, the next part of an answer would wait behind all new calls of its organization. It could time out
    there, which would cut off the answer.
    """

    __slots__ = ("continued", "new", "new_is_next")

    def __init__(self) -> None:
        self.new: dict[T, None] = {}
        self.continued: dict[T, None] = {}
        self.new_is_next = False

    def __bool__(self) -> bool:
        return bool(self.new or self.continued)

    def next(self) -> T:
        """Return the entry that is to be taken next. The other line is next after it."""
        takes_new = bool(self.new) and (self.new_is_next or not self.continued)
        self.new_is_next = not takes_new
        return next(iter(self.new if takes_new else self.continued))


class Turns(Generic[T]):
    """A queue of entries, of which at most `places` new ones wait. Organizations share those places (`FairShare`).

    Continued entries, which belong to answers that have begun, need no place, and take none from new entries. `take`
    returns the next entry of each organization in turn, and at most `max_running` entries of one organization run at a
    time. The caller must hold a lock. Entries must be hashable.
    """

    def __init__(self, places: int, max_running: int) -> None:
        self._places = FairShare(places)  # held by new entries
        self._max_running = max_running
        self._waiting: OrderedDict[str, _Lines[T]] = OrderedDict()  # in the order in which they take turns
        self._running: dict[str, int] = {}
        self.running = 0  # how many were taken and are not finished

    def add(self, organization_id: str, entry: T, *, is_continued: bool = False) -> None:
        """Add an entry. Raises Unavailable when there is no place for it, which a continued entry does not need."""
        if not is_continued:
            if not self._places.admits(organization_id, 1):
                raise Unavailable("Too many reads are waiting. Try again in a moment.", code="overloaded")
            self._places.add(organization_id, 1)
        lines = self._waiting.setdefault(organization_id, _Lines())
        (lines.continued if is_continued else lines.new)[entry] = None

    def discard(self, organization_id: str, entry: T) -> bool:
        """Remove an entry, if it still waits. Returns whether it did."""
        lines = self._waiting.get(organization_id)
        if lines is None or not (entry in lines.new or entry in lines.continued):
            return False
        self._remove(organization_id, entry)
        return True

    def take(self) -> T | None:
        """Remove the entry whose turn it is, and count it as running. Returns None if no entry may run."""
        for organization_id, lines in self._waiting.items():
            running = self._running.get(organization_id, 0)
            if running < self._max_running:
                entry = lines.next()
                self._running[organization_id] = running + 1
                self.running += 1
                self._waiting.move_to_end(organization_id)
                self._remove(organization_id, entry)
                return entry
        return None

    def finish(self, organization_id: str) -> None:
        """Count an entry that was taken as finished."""
        self.running -= 1
        self._running[organization_id] -= 1
        if not self._running[organization_id]:
            del self._running[organization_id]

    def take_all(self) -> list[T]:
        """Remove all waiting entries and return them. They do not count as running."""
        waiting = [
            (organization_id, entry)
            for organization_id, lines in self._waiting.items()
            for entry in (*lines.continued, *lines.new)
        ]
        for organization_id, entry in waiting:
            self._remove(organization_id, entry)
        return [entry for _, entry in waiting]

    def _remove(self, organization_id: str, entry: T) -> None:
        lines = self._waiting[organization_id]
        if entry in lines.new:
            del lines.new[entry]
            self._places.subtract(organization_id, 1)
        else:
            del lines.continued[entry]
        if not lines:
            del self._waiting[organization_id]
