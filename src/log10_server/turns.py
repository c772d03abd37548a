"""Lets organizations take turns: a queue in which the entries of one organization never wait behind all of another's."""

from collections import OrderedDict
from typing import Generic, TypeVar

from log10_server.errors import Unavailable

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue with at most `places` waiting entries, of which one organization has at most half.

    `take` returns the next entry of each organization in turn, and at most `max_running` entries of one organization
    run at a time. The caller must hold a lock. Entries must be hashable.
    """

    def __init__(self, places: int, max_running: int) -> None:
        self._places = places
        self._max_running = max_running
        self._waiting: OrderedDict[str, dict[T, None]] = OrderedDict()  # in the order in which they take turns
        self._running: dict[str, int] = {}
        self.waiting = 0  # how many entries wait
        self.running = 0  # how many were taken and are not finished

    def add(self, organization_id: str, entry: T, *, is_limited: bool = True) -> None:
        """Add an entry. Raises Unavailable when there is no place for it, unless `is_limited` is False."""
        entries = self._waiting.get(organization_id, {})
        if is_limited and (self.waiting >= self._places or len(entries) >= max(1, self._places // 2)):
            raise Unavailable("Too many reads are waiting. Try again in a moment.", code="overloaded")
        entries[entry] = None
        self._waiting[organization_id] = entries
        self.waiting += 1

    def discard(self, organization_id: str, entry: T) -> bool:
        """Remove an entry, if it still waits. Returns whether it did."""
        entries = self._waiting.get(organization_id, {})
        if entry not in entries:
            return False
        self._remove(organization_id, entry)
        return True

    def take(self) -> T | None:
        """Remove the entry whose turn it is, and count it as running. Returns None if no entry may run."""
        for organization_id, entries in self._waiting.items():
            running = self._running.get(organization_id, 0)
            if running < self._max_running:
                entry = next(iter(entries))
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
        entries = [entry for of_organization in self._waiting.values() for entry in of_organization]
        self._waiting.clear()
        self.waiting = 0
        return entries

    def _remove(self, organization_id: str, entry: T) -> None:
        entries = self._waiting[organization_id]
        del entries[entry]
        self.waiting -= 1
        if not entries:
            del self._waiting[organization_id]
