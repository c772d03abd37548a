"""The queue of waiting writes. It is bounded by count and bytes, and the writer takes batches that share a commit."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from log10_server.errors import Unavailable

BATCH_COUNT = 256
BATCH_BYTES = 32 << 20
_MAX_WAIT_SECONDS = 0.005  # how long a batch waits for further writes that are expected
_MIN_CALLERS_TO_SPLIT = 16  # with fewer writes a batch is not split in two

NO_ENTRY = object()


@dataclass(slots=True, eq=False)
class Write:
    """One write, and the future that its caller waits for."""

    organization_id: str
    run: Callable[..., Any]
    entry: Any  # the entry to pass to `run`, in a list with others; NO_ENTRY if `run` takes only a `Tx`
    alone: bool
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    outcome: Any = None  # the result, or an exception to raise in the caller


class WriteQueue:
    """Writes in the order of their arrival. Any thread may add writes; only the writer's thread takes them."""

    def __init__(self, max_count: int, max_bytes: int, *, splits_batches: bool) -> None:
        """`splits_batches`: whether the database stores one batch while this process prepares the next one."""
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._splits_batches = splits_batches
        self._writes: deque[Write] = deque()
        self._bytes = 0
        self._is_open = True
        self._changed = threading.Condition()
        self._wake_at = 1  # the writer's thread is woken when this many writes wait
        # The writer waits until this many writes are in the queue, so that they share a commit, but not after
        # `_expected_until` (a value of `time.monotonic`).
        self._expected = 1
        self._expected_until = 0.0

    def add(self, write: Write) -> None:
        """Add a write at the end. Raises Unavailable when the queue is closed or full."""
        with self._changed:
            if not self._is_open:
                raise Unavailable("The server is stopping.", code="stopping")
            if len(self._writes) >= self._max_count or (self._bytes + write.size > self._max_bytes and self._writes):
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            self._writes.append(write)
            self._bytes += write.size
            if len(self._writes) >= self._wake_at:
                self._changed.notify()

    def add_again(self, writes: list[Write]) -> None:
        """Put writes that could not be done yet at the end of the queue, even if the queue is full."""
        with self._changed:
            self._writes.extend(writes)
            self._bytes += sum(write.size for write in writes)

    def close(self) -> None:
        """Refuse new writes from now on. The waiting writes can still be taken."""
        with self._changed:
            self._is_open = False
            self._changed.notify()

    def take_batch(self) -> list[Write]:
        """Wait for writes, and take those for one transaction.

        Returns an empty list when the queue is closed and empty.
        """
        batch: list[Write] = []
        size = 0
        with self._changed:
            while self._is_open and not self._writes:
                self._changed.wait()
            remaining = self._expected_until - time.monotonic()
            if self._is_open and len(self._writes) < self._expected and remaining > 0:
                self._wake_at = self._expected
                self._changed.wait(remaining)
                self._wake_at = 1
            while self._writes and len(batch) < BATCH_COUNT:
                first = self._writes[0]
                if batch and (first.alone or batch[0].alone or size + first.size > BATCH_BYTES):
                    break
                batch.append(self._writes.popleft())
                size += first.size
            self._bytes -= size
        return batch

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
            callers = len(self._writes) + count
            self._expected = callers if callers < _MIN_CALLERS_TO_SPLIT else (callers + 1) // 2
        self._expected_until = time.monotonic() + min(2 * seconds, _MAX_WAIT_SECONDS)
