"""Where schemas are checked and values validated: in place when that is cheap, else in processes that can be killed.

A regular expression can't be interrupted and holds the interpreter, so what is not bounded by its shape has a process
and a budget (contract 3.8): at its deadline the process is killed, and a new one takes its place. Nobody waits for
another's slow schema longer than need be: one job at a time for each schema, one process kept free for schemas that
have proved themselves, and a lane of its own for what has overrun its budget before.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from log10_server.errors import Fault, Invalid, Refusal, Unavailable
from log10_server.services.json_schemas import SCHEMA, VALUES, Schema, compiled
from log10_server.services.validation_worker import CHECK, LENGTH, VALIDATE, faults_in, message

log = logging.getLogger(__name__)

# Steps, each about half a microsecond, and four at worst: 2 ms, and 16 at worst.
_COST_IN_PLACE = 4_000
_LENGTH_IN_PLACE = 32 << 10  # of a schema that is compiled here

_WAIT_SECONDS = 5.0  # in line, then 503
_WAITING_BYTES = 256 << 20
_START_SECONDS = 30.0
_HANDOVER_SECONDS = 10.0  # until a process has read its job
_IDLE_SECONDS = 600.0  # then a process ends
_REMEMBERED = 4096
_WORKER = "log10_server.services.validation_worker"


class Validators:
    """Checks schemas and validates values. Its processes start when they are first needed."""

    def __init__(self, processes: int, budget_seconds: float) -> None:
        self._proved = _Remembered()
        self._slow = _Remembered()
        self._asked: dict[bytes, _Job] = {}
        self._lane = _Lane(processes, budget_seconds, self._proved, self._overran)
        self._slow_lane = _Lane(1, budget_seconds, self._proved, self._overran)

    async def check(self, schema_text: str) -> None:
        """Whether a task can have this schema.

        Raises Invalid: `invalid_schema` with all its faults, or `validation_timeout`; Unavailable when too much waits.
        """
        faults = await self._asked_for(CHECK, schema_text)
        if faults:
            raise Invalid(faults, code="invalid_schema")

    async def validate(self, schema_text: str, values_text: str) -> None:
        """Whether values are valid for a schema that has been checked.

        Raises Invalid: `values_refused` with all their faults, or `validation_timeout`; Unavailable when too much waits.
        """
        schema = _at_hand(schema_text) if len(schema_text) <= _LENGTH_IN_PLACE else None
        if schema is not None and schema.cost(values_text) <= _COST_IN_PLACE:
            faults = schema.faults(values_text)
        else:
            faults = await self._asked_for(VALIDATE, schema_text, values_text)
        if faults:
            raise Invalid(faults, code="values_refused")

    async def close(self) -> None:
        """End all processes. What waits is refused."""
        await asyncio.gather(self._lane.close(), self._slow_lane.close())

    async def _asked_for(self, kind: bytes, schema_text: str, values_text: str = "") -> list[Fault]:
        """The faults that a process finds. Who asks for the same at the same time shares the answer."""
        asked = message(kind, schema_text, values_text)
        digest = sha256(asked).digest()
        job = self._asked.get(digest)
        if job is None:
            schema = sha256(asked[: len(asked) - len(values_text.encode("utf-8", "surrogatepass"))]).digest()
            job = _Job(schema, asked, asyncio.get_running_loop().create_future())
            lane = self._slow_lane if schema in self._slow else self._lane
            lane.put(job)
            self._asked[digest] = job
            job.outcome.add_done_callback(lambda _: self._asked.pop(digest, None))
        job.askers += 1
        try:
            return await asyncio.shield(job.outcome)
        finally:
            job.askers -= 1
            if not job.askers and not job.has_begun:  # all have gone away, so it leaves the line
                job.outcome.cancel()

    def _overran(self, job: "_Job") -> None:
        self._slow.add(job.schema)
        for other in self._lane.withdraw(job.schema):
            self._slow_lane.put(other)


@lru_cache(maxsize=256)
def _at_hand(schema_text: str) -> Schema | None:
    """The schema, if it may be validated in place."""
    try:
        schema = compiled(schema_text)
    except Refusal:
        return None
    return schema if schema.is_plain else None


class _Remembered:
    """The digests seen last, a bounded number."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > _REMEMBERED:
            self._digests.popitem(last=False)


@dataclass(slots=True, eq=False)
class _Job:
    """What a process is to do, for all who asked for it."""

    schema: bytes
    message: bytes
    outcome: "asyncio.Future[list[Fault]]"
    timer: asyncio.TimerHandle | None = None
    askers: int = 0
    deaths: int = 0
    has_begun: bool = False

    @property
    def at(self) -> str:
        return SCHEMA if self.message[:1] == CHECK else VALUES

    def refuse(self, refusal: Refusal) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(refusal)

    def answer(self, faults: list[Fault]) -> None:
        if not self.outcome.done():
            self.outcome.set_result(faults)


class _Lane:
    """A line of jobs, and the processes that do them; each is led by a task."""

    def __init__(
        self, processes: int, budget_seconds: float, proved: _Remembered, overran: Callable[[_Job], None]
    ) -> None:
        self._most = processes
        self._most_unproved = max(1, processes - 1)
        self._budget = budget_seconds
        self._proved = proved
        self._overran = overran
        self._line: OrderedDict[bytes, deque[_Job]] = OrderedDict()  # by schema, each in turn
        self._waiting = 0
        self._waiting_bytes = 0
        self._begun: dict[bytes, _Job] = {}
        self._leaders: set[asyncio.Task[None]] = set()
        self._workers: set[_Worker] = set()
        self._idle = 0
        self._changed = asyncio.Event()
        self._is_open = True

    def put(self, job: _Job) -> None:
        """Raises Unavailable when the lane is closed or too much waits."""
        if not self._is_open:
            raise _stopping()
        if self._waiting_bytes + len(job.message) > _WAITING_BYTES and self._waiting:
            raise _overloaded()
        self._line.setdefault(job.schema, deque()).append(job)
        self._waiting += 1
        self._waiting_bytes += len(job.message)
        if job.timer is None:
            job.timer = asyncio.get_running_loop().call_later(_WAIT_SECONDS, self._expire, job)
        if self._waiting > self._idle and len(self._leaders) < self._most:
            leader = asyncio.get_running_loop().create_task(self._lead())
            self._leaders.add(leader)
            leader.add_done_callback(self._leaders.discard)
        self._changed.set()

    def withdraw(self, schema: bytes) -> list[_Job]:
        """Take all jobs for a schema out of the line."""
        jobs = self._line.pop(schema, deque())
        for job in jobs:
            self._left(job)
        return [job for job in jobs if not job.outcome.done()]

    async def close(self) -> None:
        self._is_open = False
        for schema in list(self._line):
            for job in self.withdraw(schema):
                job.refuse(_stopping())
        self._changed.set()
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*self._leaders, return_exceptions=True)

    async def _lead(self) -> None:
        """Give one process its jobs, and replace it when it is gone."""
        worker: _Worker | None = None
        try:
            while self._is_open:
                if worker is None or worker.is_gone:
                    worker = await self._started(worker)
                elif (job := await self._next()) is None:
                    return
                elif worker.is_gone:  # it ended while there was nothing to do
                    self._put_back(job)
                else:
                    await self._do(worker, job)
        finally:
            if worker is not None:
                await self._end(worker)

    async def _started(self, last: "_Worker | None") -> "_Worker | None":
        if last is not None:
            await self._end(last)
        worker = None
        try:
            worker = await _Worker.started(self._budget)
            self._workers.add(worker)
            await worker.frame(_START_SECONDS)
        except (OSError, _Gone) as error:  # TimeoutError is an OSError
            if worker is not None:
                await self._end(worker)
            if self._is_open:
                log.error("validator: can't start (%s)", type(error).__name__)
                await asyncio.sleep(1)
            return None
        return worker

    async def _end(self, worker: "_Worker") -> None:
        await worker.end()
        self._workers.discard(worker)

    async def _next(self) -> _Job | None:
        """The next job; None when the lane is closed, or none came for a long time."""
        self._idle += 1
        try:
            while self._is_open:
                if (job := self._pick()) is not None:
                    return job
                self._changed.clear()
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._changed.wait()
        except TimeoutError:
            return self._pick()
        finally:
            self._idle -= 1
        return None

    def _pick(self) -> _Job | None:
        unproved = sum(schema not in self._proved for schema in self._begun)
        for schema, jobs in self._line.items():
            if schema in self._begun or (unproved >= self._most_unproved and schema not in self._proved):
                continue
            job = jobs.popleft()
            self._left(job)
            if jobs:
                self._line.move_to_end(schema)
            else:
                del self._line[schema]
            if job.outcome.done():
                return self._pick()
            job.has_begun = True
            self._begun[schema] = job
            return job
        return None

    def _put_back(self, job: _Job) -> None:
        self._begun.pop(job.schema, None)
        self._line.setdefault(job.schema, deque()).appendleft(job)
        self._line.move_to_end(job.schema, last=False)
        self._waiting += 1
        self._waiting_bytes += len(job.message)
        self._changed.set()

    def _left(self, job: _Job) -> None:
        self._waiting -= 1
        self._waiting_bytes -= len(job.message)

    def _expire(self, job: _Job) -> None:
        if not job.has_begun:
            job.refuse(_overloaded())

    async def _do(self, worker: "_Worker", job: _Job) -> None:
        try:
            faults = faults_in(await worker.run(job.message))
        except TimeoutError:
            job.refuse(self._too_slow(job))
            self._overran(job)
        except _Gone:
            self._after_death(job)
        else:
            self._proved.add(job.schema)
            job.answer(faults)
        finally:
            if self._begun.pop(job.schema, None) is not None:
                self._changed.set()

    def _after_death(self, job: _Job) -> None:
        """Somebody killed the process, so the job is done again; or the job did, and then once is enough."""
        job.deaths += 1
        if not self._is_open:
            job.refuse(_stopping())
        elif job.deaths == 1:
            log.warning("validator: its process ended, a new one takes over")
            self._put_back(job)
        else:
            job.refuse(self._too_slow(job))

    def _too_slow(self, job: _Job) -> Invalid:
        return Invalid.at(
            job.at, f"Validating takes longer than the {self._budget:g} s that it may.", code="validation_timeout"
        )


class _Gone(Exception):
    """The process has ended."""


class _Worker(asyncio.SubprocessProtocol):
    """One process. It does one job at a time, and is killed when that takes too long."""

    def __init__(self, budget_seconds: float) -> None:
        self._budget = budget_seconds
        self._transport: asyncio.SubprocessTransport | None = None
        self._read = bytearray()
        self._frames: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self.is_gone = False

    @classmethod
    async def started(cls, budget_seconds: float) -> "_Worker":
        """A process that will send an empty frame when it is ready."""
        longest_job = str(2 * budget_seconds + 1)
        command = (sys.executable, "-P", "-W", "ignore", "-m", _WORKER, longest_job)
        transport, worker = await asyncio.get_running_loop().subprocess_exec(
            lambda: cls(budget_seconds),
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=_environment(),
            start_new_session=True,
        )
        worker._transport = transport
        return worker

    async def run(self, job: bytes) -> bytes:
        """The answer to `job`. Raises TimeoutError, and then the process is being killed; _Gone when it has ended."""
        assert self._transport is not None
        pipe = self._transport.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(LENGTH.pack(len(job)))
        pipe.write(job)
        try:
            await self.frame(_HANDOVER_SECONDS)
        except TimeoutError:
            self.kill()
            raise _Gone from None
        try:
            return await self.frame(self._budget)
        except TimeoutError:
            self.kill()
            raise

    async def frame(self, seconds: float) -> bytes:
        """The next frame that the process sends. Raises TimeoutError, or _Gone when none will come."""
        async with asyncio.timeout(seconds):
            while not self._frames:
                if self.is_gone:
                    raise _Gone
                self._arrived.clear()
                await self._arrived.wait()
        return self._frames.popleft()

    def kill(self) -> None:
        self.is_gone = True
        self._arrived.set()
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    async def end(self) -> None:
        """Kill the process and wait until nothing is left of it."""
        self.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await self._ended.wait()
        if self._transport is not None:
            self._transport.close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._read += data
        while len(self._read) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._read)[0]
            if len(self._read) < end:
                return
            self._frames.append(bytes(self._read[LENGTH.size : end]))
            del self._read[:end]
            self._arrived.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.is_gone = True
            self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


def _environment() -> dict[str, str]:
    """What a process needs to find the same modules, wherever it starts. The server's secrets are not for it."""
    kept = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TMPDIR", "TZ")
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    return {name: os.environ[name] for name in kept if name in os.environ} | {"PYTHONPATH": paths}


def _overloaded() -> Unavailable:
    return Unavailable("Too much is waiting to be validated. Try again in a moment.", code="overloaded")


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")
