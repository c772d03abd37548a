"""The queue of waiting writes, in which organizations take turns. The writer takes batches that share a commit.

Without turns, the writes of one organization would wait behind all writes of another one. Turns are counted by cost,
because one write may cost as much as a thousand others: an upload with 1 000 matches, or a batch of 500 rows. The queue
uses deficit round robin. In each round an organization gets credit for a few milliseconds, and its next write is taken
when the credit is enough.

The cost is an estimate of the seconds that a write takes. The writer reports how long writes really took
(`report_costs`), and the estimates of an organization are scaled accordingly. So they also fit a slow machine, a large
database, and completions that many feedback tasks want.
"""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from log10_server.errors import Unavailable
from log10_server.fair_share import SMALL_BYTES, FairShare

BATCH_COUNT = 256
BATCH_BYTES = 8 << 20
# Writes share a transaction until their cost reaches this. A write that costs more gets a transaction of its own. So a
# cheap write waits for at most one expensive one, which the limits keep short (docs/operations.md, "Batches"), and for one
# shared transaction.
BATCH_SECONDS = 0.05
_CREDIT_SECONDS = 0.005  # the credit that each organization gets in a round
_MAX_DEBT_SECONDS = 0.5  # an organization whose writes took longer than estimated loses at most this much credit
_MAX_WAIT_SECONDS = 0.005  # how long a batch waits for further writes that are expected
_MIN_CALLERS_TO_SPLIT = 16  # with fewer writes a batch is not split in two

# Estimated costs, measured on the two cores that docs/performance.md describes.
_SECONDS_PER_TRANSACTION = 0.002
_SECONDS_PER_WRITE = 0.0001
_SECONDS_PER_LINK = 0.000_03
_SECONDS_PER_BYTE = 0.015 / (1 << 20)
# An organization's costs are scaled by at least and at most these factors.
_MIN_FACTOR, _MAX_FACTOR = 0.5, 50.0
_MAX_FACTORS = 10_000  # organizations for which a factor is kept

NO_ENTRY = object()


@dataclass(slots=True, eq=False)
class Write:
    """One write, and the future that its caller waits for. `links` is about how many rows of link tables it writes."""

    organization_id: str
    run: Callable[..., Any]
    entry: Any  # the entry to pass to `run`, in a list with others; NO_ENTRY if `run` takes only a `Tx`
    alone: bool
    size: int
    links: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    outcome: Any = None  # the result, or an exception to raise in the caller
    times_deferred: int = 0  # how often another process had locked the organization

    def cost(self) -> float:
        """The estimated seconds that the write takes, before they are scaled for its organization."""
        cost = _SECONDS_PER_WRITE + self.links * _SECONDS_PER_LINK + self.size * _SECONDS_PER_BYTE
        return max(cost, BATCH_SECONDS) if self.alone else cost


class _Line:
    """The waiting writes of one organization, in the order of their arrival, and its credit in seconds."""

    __slots__ = ("credit", "writes")

    def __init__(self) -> None:
        self.writes: deque[Write] = deque()
        self.credit = 0.0


class WriteQueue:
    """The waiting writes of all organizations. Any thread may add writes; only the writer's thread takes them."""

    def __init__(self, max_count: int, max_bytes: int, *, splits_batches: bool) -> None:
        """`splits_batches`: whether the database stores one batch while this process prepares the next one."""
        self._counts = FairShare(max_count)
        self._bytes = FairShare(max_bytes, SMALL_BYTES)
        self._splits_batches = splits_batches
        self._lines: OrderedDict[str, _Line] = OrderedDict()  # by organization; the first one has the next turn
        self._factors: dict[str, float] = {}  # how much more an organization's writes cost than estimated
        self._is_open = True
        self._changed = threading.Condition()
        self._wake_at = 1  # the writer's thread is woken when this many writes wait
        # The writer waits until this many writes are in the queue, so that they share a commit, but not after
        # `_expected_until` (a value of `time.monotonic`).
        self._expected = 1
        self._expected_until = 0.0

    def add(self, write: Write) -> None:
        """Add a write at the end of its organization's line.

        Raises Unavailable when the queue is closed, or when the organization holds its share of it (`FairShare`).
        """
        with self._changed:
            if not self._is_open:
                raise Unavailable("The server is stopping.", code="stopping")
            organization_id = write.organization_id
            if not (self._counts.admits(organization_id, 1) and self._bytes.admits(organization_id, write.size)):
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            self._append(write)
            if self._counts.total >= self._wake_at:
                self._changed.notify()

    def add_again(self, writes: list[Write]) -> None:
        """Put writes that could not be done yet at the end of the queue, even if the queue is full."""
        with self._changed:
            for write in writes:
                self._append(write)

    def close(self) -> None:
        """Refuse new writes from now on. The waiting writes can still be taken."""
        with self._changed:
            self._is_open = False
            self._changed.notify()

    def take_batch(self) -> list[Write]:
        """Wait for writes, and take those for one transaction.

        Returns an empty list when the queue is closed and empty.
        """
        with self._changed:
            while self._is_open and not self._lines:
                self._changed.wait()
            remaining = self._expected_until - time.monotonic()
            if self._is_open and self._counts.total < self._expected and remaining > 0:
                self._wake_at = self._expected
                self._changed.wait(remaining)
                self._wake_at = 1
            batch = _Batch()
            while self._lines and not batch.is_full and self._take_round(batch):
                pass
            return batch.writes

    def report_costs(self, costs: Iterable[tuple[Sequence[Write], float]]) -> None:
        """Note how many seconds writes took. Each item has writes of one organization, which ran together."""
        with self._changed:
            for writes, seconds in costs:
                organization_id = writes[0].organization_id
                factor = self._factors.get(organization_id, 1.0)
                estimated = sum(write.cost() for write in writes)
                if line := self._lines.get(organization_id):
                    line.credit = max(line.credit - seconds + estimated * factor, -_MAX_DEBT_SECONDS)
                if writes[0].alone:
                    continue  # the size of such a write says nothing about its cost
                factor = (factor + seconds / (_SECONDS_PER_TRANSACTION + estimated)) / 2
                if len(self._factors) >= _MAX_FACTORS:
                    self._factors.clear()
                self._factors[organization_id] = min(max(factor, _MIN_FACTOR), _MAX_FACTOR)

    def expect(self, count: int, seconds: float) -> None:
        """Set how long the next batch waits for writes; called before the `count` callers of the last one are answered.

        Callers often write again as soon as they are answered, and it saves transactions to wait for all of them. On
        Postgres, with 16 or more writes, the batch is split in two, so parsing one half overlaps with storing the
        other; SQLite stores in this process, so nothing would overlap. After a batch of one write there is no wait. A
        wait takes at most twice the `seconds` of the last transaction, and at most 5 ms, because waiting saves one
        transaction.
        """
        self._expected = count
        if self._splits_batches and count > 1:
            callers = self._counts.total + count
            self._expected = callers if callers < _MIN_CALLERS_TO_SPLIT else (callers + 1) // 2
        self._expected_until = time.monotonic() + min(2 * seconds, _MAX_WAIT_SECONDS)

    def _append(self, write: Write) -> None:
        line = self._lines.get(write.organization_id)
        if line is None:
            line = self._lines[write.organization_id] = _Line()
        line.writes.append(write)
        self._counts.add(write.organization_id, 1)
        self._bytes.add(write.organization_id, write.size)

    def _take_round(self, batch: "_Batch") -> bool:
        """Give each organization its turn. Returns whether another round may add writes to the batch."""
        has_taken = False
        without_room: str | None = None
        for organization_id in list(self._lines):
            line = self._lines[organization_id]
            is_only = len(self._lines) == 1
            factor = self._factors.get(organization_id, 1.0)
            line.credit += _CREDIT_SECONDS
            while line.writes and not batch.is_full:
                write = line.writes[0]
                cost = write.cost() * factor
                if line.credit < cost and not is_only:
                    break
                if not batch.has_room(write, cost):
                    # The write has its credit, so it begins the next batch. Otherwise cheaper writes of other
                    # organizations could always be first.
                    without_room = without_room or organization_id
                    line.credit = min(line.credit, cost)
                    break
                batch.add(line.writes.popleft(), cost)
                self._counts.subtract(organization_id, 1)
                self._bytes.subtract(organization_id, write.size)
                line.credit -= cost
                has_taken = True
            if is_only:
                line.credit = max(line.credit, 0.0)  # nobody else waits, so the organization owes nothing
            if not line.writes:
                del self._lines[organization_id]
            elif batch.is_full:
                break
            else:
                self._lines.move_to_end(organization_id)
        if without_room is not None:
            self._lines.move_to_end(without_room, last=False)
        return has_taken or not batch.writes


class _Batch:
    """The writes that are taken for one transaction."""

    __slots__ = ("_cost", "_size", "is_full", "writes")

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.is_full = False
        self._size = 0
        self._cost = 0.0

    def has_room(self, write: Write, cost: float) -> bool:
        """Whether the write may share a transaction with those that were taken. The first write always may."""
        if not self.writes:
            return True
        if self.is_full or write.alone:
            return False
        return self._cost + cost <= BATCH_SECONDS and self._size + write.size <= BATCH_BYTES

    def add(self, write: Write, cost: float) -> None:
        """Add a write for which there is room."""
        self.writes.append(write)
        self._size += write.size
        self._cost += cost
        self.is_full = write.alone or len(self.writes) >= BATCH_COUNT
