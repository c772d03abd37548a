"""A limit on something that organizations share, such as the bytes of waiting writes.

An organization may hold at most as much as is left for the others. So one organization can hold at most half of the
limit, two together at most two thirds, and there is always room for an organization that holds nothing yet.
"""

SMALL_BYTES = 64 << 10  # bodies up to this size have a reserve
_RESERVED_FRACTION = 8


class FairShare:
    """Counts how much each organization holds of `limit`.

    An eighth of the limit is reserved for small amounts if `small` is set: a larger amount is refused when it would
    need the reserve. An amount that is larger than half of the limit is admitted while its organization holds nothing
    and the whole amount is free.
    """

    __slots__ = ("_held", "_limit", "_reserve", "_small", "total")

    def __init__(self, limit: int, small: int = 0) -> None:
        self.total = 0
        self._limit = limit
        self._small = small
        self._reserve = limit // _RESERVED_FRACTION if small else 0
        self._held: dict[str, int] = {}

    @property
    def most_of_one(self) -> int:
        """How much one organization can hold while no other one holds anything."""
        return self._limit // 2

    def held_by(self, organization_id: str) -> int:
        """How much the organization holds."""
        return self._held.get(organization_id, 0)

    def admits(self, organization_id: str, amount: int, *, is_small: bool | None = None) -> bool:
        """Whether the organization may hold `amount` more.

        `is_small` says whether the reserve may be used, when `amount` is only a part of something.
        """
        if not self.total:  # something that is larger than the limit is admitted while nothing else is held
            return True
        held = self._held.get(organization_id, 0)
        free = self._limit - self.total - amount
        if not (amount <= self._small if is_small is None else is_small):
            free -= self._reserve
        return free >= 0 and (not held or held + amount <= free)

    def add(self, organization_id: str, amount: int) -> None:
        """Count `amount` more for the organization, whether or not it is admitted."""
        self.total += amount
        self._held[organization_id] = self._held.get(organization_id, 0) + amount

    def subtract(self, organization_id: str, amount: int) -> None:
        """Count `amount` less for the organization."""
        self.total -= amount
        held = self._held.get(organization_id, 0) - amount
        if held:
            self._held[organization_id] = held
        else:
            self._held.pop(organization_id, None)
