"""The line of waiting writes: many works, one commit.

A durable commit costs the same for one row as for fifty, so a thread with its own connection takes all that wait,
does them in one transaction, and each is answered when that transaction is on disk. A lone work does not wait for
company; after a transaction of several, those who come next have a moment to come together. A refused work
undoes only itself; a failed commit fails every work in it.

A work may run twice (what it stood beside failed, a connection was lost): it is a function of `tx` and of values,
with no effect elsewhere.
"""

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from log10_server.db.database import Database
from log10_server.db.failures import is_conflict, is_connection_lost
from log10_server.db.transaction import Tx
from log10_server.errors import InternalError, Refusal, Unavailable, source_of

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

log = logging.getLogger(__name__)

BATCH_COUNT = 256
BATCH_BYTES = 32 << 20
TRIES = 5
_LONGEST_WAIT = 0.005  # seconds that those who come again together are waited for
_CROWD = 16
_PAUSE = 0.005  # seconds, while another process writes for all who wait


@dataclass(slots=True, eq=False)
class _Waiting:
    """One that stands in line, and the future of the call that waits for it."""

    organization_id: str
    do: Callable[..., Any]
    entry: Any  # _A_WORK, or what the recorder `do` records together with others
    alone: bool
    size: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    outcome: Any = None  # an exception is raised to the caller


_A_WORK = object()


class Writer:
    """The line, and the thread that serves it."""

    def __init__(self, database: Database, max_waiting: int, max_bytes: int) -> None:
        self._database = database
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._line: deque[_Waiting] = deque()
        self._bytes = 0
        self._open = True
        self._wanted = 1  # how many must stand in line for the thread to be woken
        self._company = 1  # how many are worth waiting for, and until when (`time.monotonic`)
        self._until = 0.0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, seconds: float | None = None) -> None:
        """Do what stands in line, then end; what comes later is refused. After `seconds` it is left to itself."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if self.is_alive:
            self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    async def write(
        self,
        organization_id: str,
        work: Callable[[Tx], T],
        *,
        size: int = 0,
        alone: bool = False,
        timeout: float | None = None,
    ) -> T:
        """What `work` gives, once it is on disk. `size` is about its bytes; `alone` keeps it out of others' transactions.

        Raises the work's own refusal, and Unavailable when too much waits, nothing could be stored, or no answer has
        come after `timeout` seconds.
        """
        result: T = await wait_for_result(self._stand(organization_id, work, _A_WORK, size, alone), timeout)
        return result

    async def record(
        self,
        organization_id: str,
        recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]],
        entry: E,
        size: int,
        timeout: float | None = None,
    ) -> R:
        """What `recorder` gives for `entry`, once it is on disk.

        Waiting entries of one organization go to `recorder` together. It gives a result or a refusal for each, in
        their order, and leaves nothing behind of those that it refuses.
        """
        result: R = await wait_for_result(self._stand(organization_id, recorder, entry, size, False), timeout)
        return result

    def _stand(
        self, organization_id: str, do: Callable[..., Any], entry: Any, size: int, alone: bool
    ) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(organization_id, do, entry, alone, size, loop, loop.create_future())
        with self._changed:
            if not self._open:
                raise Unavailable("The server is stopping.", code="stopping")
            if len(self._line) >= self._max_waiting or (self._bytes + size > self._max_bytes and self._line):
                raise Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded")
            self._line.append(waiting)
            self._bytes += size
            if len(self._line) >= self._wanted:
                self._changed.notify()
        return waiting.future

    def _serve(self) -> None:
        while batch := self._take():
            put_off: list[_Waiting] = []
            began = time.monotonic()
            try:
                put_off = self._do(batch)
            except BaseException as error:  # a defect here must not end the thread and leave all callers waiting
                log.error("writer: %s at %s", type(error).__name__, source_of(error))
                _fail(batch, InternalError("The write failed."))
            answered = [waiting for waiting in batch if waiting not in put_off]
            self._expect(len(answered), time.monotonic() - began)
            _answer(answered)
            self._line_up_again(put_off)
            if len(put_off) == len(batch):
                time.sleep(_PAUSE)

    def _line_up_again(self, put_off: list[_Waiting]) -> None:
        with self._changed:
            self._line.extend(put_off)
            self._bytes += sum(waiting.size for waiting in put_off)

    def _take(self) -> list[_Waiting]:
        """Those at the head of the line that go into one transaction; none when the line is closed and empty."""
        batch: list[_Waiting] = []
        size = 0
        with self._changed:
            while self._open and not self._line:
                self._changed.wait()
            if self._open and len(self._line) < self._company and (left := self._until - time.monotonic()) > 0:
                self._wanted = self._company
                self._changed.wait(left)
                self._wanted = 1
            while self._line and len(batch) < BATCH_COUNT:
                head = self._line[0]
                if batch and (head.alone or batch[0].alone or size + head.size > BATCH_BYTES):
                    break
                batch.append(self._line.popleft())
                size += head.size
            self._bytes -= size
        return batch

    def _expect(self, answered: int, took: float) -> None:
        """Before `answered` go: how many come together if they come again. One that came alone is not waited for.

        All of a few, as a transaction costs more than they do. Of many, one half is read here while Postgres stores
        the other one; SQLite stores here, too. Not for much longer than their transaction took: no more is saved.
        """
        self._company = answered
        if self._database.is_postgres and answered > 1:
            together = len(self._line) + answered
            self._company = together if together < _CROWD else (together + 1) // 2
        self._until = time.monotonic() + min(2 * took, _LONGEST_WAIT)

    def _do(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Do the batch in one transaction; what fails there is done again by itself.

        Gives those whose organization another process is writing for just now: they line up again, so that no
        organization waits for another, and a transaction that has one to itself never waits for a second.
        """
        mine = batch
        put_off: list[_Waiting] = []
        again: list[_Waiting] = []
        groups = _grouped(batch)
        done = False
        try:
            owners = sorted({waiting.organization_id for waiting in batch})
            with self._database.writing_for(owners) as (connection, txs):
                put_off = [waiting for waiting in batch if waiting.organization_id not in txs]
                mine = [waiting for waiting in batch if waiting.organization_id in txs]
                groups = _grouped(mine)
                for group in groups:
                    # A group that has the transaction to itself needs no savepoint.
                    try:
                        with connection.begin_nested() if len(groups) > 1 else nullcontext():
                            _run(txs[group[0].organization_id], group)
                    except Refusal as refusal:
                        if len(groups) == 1:
                            raise
                        _refused(group, refusal, again)
                    except Exception:
                        if len(groups) == 1 or connection.invalidated:
                            raise
                        again += group
                    if not self._database.is_in_transaction(connection):
                        raise _AllUndone
                done = True
        except Refusal as refusal:
            if done or (isinstance(refusal, Unavailable) and not is_connection_lost(refusal)):
                _fail(mine, _unknown() if done and is_connection_lost(refusal) else refusal)
                return put_off
            if len(groups) == 1 and not isinstance(refusal, Unavailable):
                _refused(groups[0], refusal, again)
            else:
                again = mine
        except Exception:
            again = mine
        for number, waiting in enumerate(again):
            self._do_alone(waiting)
            if isinstance(waiting.outcome, Unavailable):  # it will be so for the others too: answer soon
                _fail(again[number + 1 :], waiting.outcome)
                break
        return put_off

    def _do_alone(self, waiting: _Waiting) -> None:
        for _ in range(TRIES):
            done = False
            try:
                with self._database.writing() as connection:
                    _run(self._database.tx(connection, waiting.organization_id), [waiting])
                    done = True
                return
            except Refusal as refusal:
                waiting.outcome = _unknown() if done and is_connection_lost(refusal) else refusal
                if done or not is_connection_lost(refusal):
                    return
            except Exception as error:
                if not is_conflict(error):
                    log.error("write: %s at %s", type(error).__name__, source_of(error))
                    waiting.outcome = InternalError("The write failed.")
                    return
            waiting.outcome = Unavailable("The write kept failing. Try again.", code="overloaded")
            time.sleep(random.uniform(0, 0.02))


class _AllUndone(Exception):
    """The database has rolled back by itself what was done for others: SQLite does so when the disk is full, say."""


def _grouped(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """Entries for one recorder of one organization are a group, each work is one; in the order of their first."""
    groups: dict[Any, list[_Waiting]] = {}
    for waiting in batch:
        key = id(waiting) if waiting.entry is _A_WORK else (waiting.organization_id, waiting.do)
        groups.setdefault(key, []).append(waiting)
    return list(groups.values())


def _run(tx: Tx, group: list[_Waiting]) -> None:
    if group[0].entry is _A_WORK:
        group[0].outcome = group[0].do(tx)
    else:
        outcomes = group[0].do(tx, [waiting.entry for waiting in group])
        for waiting, outcome in zip(group, outcomes, strict=True):
            waiting.outcome = outcome


def _refused(group: list[_Waiting], refusal: Refusal, again: list[_Waiting]) -> None:
    """A refusal of one is its own; one of several together belongs to some of them."""
    if len(group) == 1:
        group[0].outcome = refusal
    else:
        again += group


async def wait_for_result(waiting: asyncio.Future[T], timeout: float | None) -> T:
    """What comes; raises Unavailable after `timeout` seconds. A timer costs less than `asyncio.timeout`."""
    if timeout is None:
        return await waiting
    giving_up = waiting.get_loop().call_later(timeout, _give_up, waiting)
    try:
        return await waiting
    finally:
        giving_up.cancel()


def _give_up(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(
            Unavailable(
                "The database did not answer in time. What was sent may still be stored, whole; send it again.",
                code="no_answer",
            )
        )


def _fail(batch: Sequence[_Waiting], refusal: Refusal) -> None:
    for waiting in batch:
        waiting.outcome = refusal


def _unknown() -> Unavailable:
    return Unavailable(
        "The database was lost while it stored. What was sent may be there, whole, or not at all; send it again.",
        code="no_answer",
    )


def _answer(batch: list[_Waiting]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in batch:
        by_loop.setdefault(waiting.loop, []).append(waiting)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, theirs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.warning("%d writes were done after their callers had gone", len(theirs))


def _settle(batch: list[_Waiting]) -> None:
    for waiting in batch:
        if waiting.future.done():  # the caller has gone
            continue
        if isinstance(waiting.outcome, BaseException):
            waiting.future.set_exception(waiting.outcome)
        else:
            waiting.future.set_result(waiting.outcome)
