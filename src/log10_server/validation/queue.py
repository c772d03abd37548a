"""A line of jobs before a few processes: nobody waits long for another's slow schema (docs/api.md, "Task schemas").

Schemas take turns, one job each at a time, and one process is kept for those that have proved themselves.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from log10_server.errors import FieldError, InternalError, Invalid, Refusal, Unavailable, source_of
from log10_server.validation.json_schemas import SCHEMA, VALUES
from log10_server.validation.process import Gone, Process
from log10_server.validation.worker import CHECK, faults_in

log = logging.getLogger(__name__)

_WAIT_SECONDS = 5.0  # in line, then 503
_WAITING_BYTES = 256 << 20
_IDLE_SECONDS = 600.0  # then a process ends
_REMEMBERED = 4096


class Remembered:
    """The digests added last, a bounded number."""

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
class Job:
    """What a process is to do, for all who ask for it now."""

    schema: bytes  # a digest
    message: bytes
    outcome: "asyncio.Future[list[FieldError]]"
    askers: int = 0
    deaths: int = 0
    has_begun: bool = False

    def answer(self, faults: list[FieldError]) -> None:
        if not self.outcome.done():
            self.outcome.set_result(faults)

    def refuse(self, refusal: Refusal) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(refusal)


class Lane:
    """Up to `processes` for any job and `reserve` more for schemas that have proved themselves.

    Each is started when it is needed, and led by a task.
    """

    def __init__(
        self, processes: int, reserve: int, budget_seconds: float, when_overrun: Callable[[Job], None]
    ) -> None:
        self._processes = processes
        self._reserve = reserve
        self._budget_seconds = budget_seconds
        self._proved = Remembered()
        self._when_overrun = when_overrun
        self._line: OrderedDict[bytes, deque[Job]] = OrderedDict()  # by schema, each in turn
        self._waiting = 0
        self._waiting_bytes = 0
        self._begun: set[bytes] = set()
        self._leaders: set[asyncio.Task[None]] = set()
        self._running: set[Process] = set()
        self._idle = 0
        self._changed = asyncio.Event()
        self._is_open = True

    def put(self, job: Job) -> None:
        """Let `job` wait for its turn, five seconds at most. Raises Unavailable when that is of no use."""
        self._stand(job)
        timer = asyncio.get_running_loop().call_later(_WAIT_SECONDS, self._expire, job)
        job.outcome.add_done_callback(lambda _: timer.cancel())

    def move(self, schema: bytes, other: "Lane") -> None:
        """Let what waits for a schema wait in another lane."""
        for job in self._withdrawn(schema):
            try:
                other._stand(job)
            except Unavailable as refusal:
                job.refuse(refusal)

    async def close(self) -> None:
        """Refuse what waits, and end all processes."""
        self._is_open = False
        for schema in list(self._line):
            for job in self._withdrawn(schema):
                job.refuse(_stopping())
        for process in self._running:
            process.kill()
        self._changed.set()
        await asyncio.gather(*self._leaders, return_exceptions=True)

    def _stand(self, job: Job) -> None:
        if not self._is_open:
            raise _stopping()
        if self._waiting and self._waiting_bytes + len(job.message) > _WAITING_BYTES:
            raise _overloaded()
        self._line.setdefault(job.schema, deque()).append(job)
        self._count(job, 1)
        most = self._processes + (self._reserve if job.schema in self._proved else 0)
        if self._waiting > self._idle and len(self._leaders) < most:
            leader = asyncio.get_running_loop().create_task(self._lead())
            self._leaders.add(leader)
            leader.add_done_callback(self._leaders.discard)
        self._changed.set()

    def _withdrawn(self, schema: bytes) -> deque[Job]:
        jobs = self._line.pop(schema, deque())
        for job in jobs:
            self._count(job, -1)
        return jobs

    def _count(self, job: Job, sign: int) -> None:
        self._waiting += sign
        self._waiting_bytes += sign * len(job.message)

    def _expire(self, job: Job) -> None:
        if not job.has_begun:
            job.refuse(_overloaded())

    async def _lead(self) -> None:
        """Give one process its jobs, and replace it when it is gone."""
        process: Process | None = None
        try:
            while self._is_open:
                if process is None or process.is_gone:
                    if process is not None and not self._waiting:
                        return
                    await self._end(process)
                    process = Process(self._budget_seconds, self._changed.set)
                    self._running.add(process)
                    await self._start(process)
                    continue
                job = await self._next(process)
                if job is not None:
                    await self._do(process, job)
                elif not process.is_gone:
                    return
        finally:
            await self._end(process)

    async def _start(self, process: Process) -> None:
        try:
            await process.start()
        except (OSError, Gone) as error:
            process.kill()
            if self._is_open:
                log.error("a validator can't start: %s", type(error).__name__)
                await asyncio.sleep(1)
                self._drop_done()

    async def _end(self, process: Process | None) -> None:
        if process is not None:
            await process.end()
            self._running.discard(process)

    async def _next(self, process: Process) -> Job | None:
        """The next job; None when the lane is closed, the process is gone, or nothing came for a long time."""
        self._idle += 1
        try:
            while self._is_open and not process.is_gone:
                job = self._pick()
                if job is not None:
                    return job
                self._changed.clear()
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._changed.wait()
        except TimeoutError:
            return self._pick()
        finally:
            self._idle -= 1
        return None

    def _pick(self) -> Job | None:
        """Take the first job in line whose turn it is."""
        unproved = sum(schema not in self._proved for schema in self._begun)
        for schema in list(self._line):
            if schema in self._begun or (unproved >= self._processes and schema not in self._proved):
                continue
            jobs = self._line.pop(schema)
            while jobs:
                job = jobs.popleft()
                self._count(job, -1)
                if not job.outcome.done():
                    if jobs:
                        self._line[schema] = jobs  # at the end
                    job.has_begun = True
                    self._begun.add(schema)
                    return job
        return None

    def _drop_done(self) -> None:
        """Let those go that have waited for too long."""
        for schema in list(self._line):
            jobs = self._withdrawn(schema)
            for job in jobs:
                if not job.outcome.done():
                    self._line.setdefault(schema, deque()).append(job)
                    self._count(job, 1)

    async def _do(self, process: Process, job: Job) -> None:
        try:
            faults = faults_in(await process.answer(job.message))
        except TimeoutError:
            self._when_overrun(job)
            job.refuse(self._too_slow(job))
        except Gone:
            self._after_death(job)
        except Exception as error:  # a defect here must not end the lane and leave all others waiting
            log.error("validation: %s at %s", type(error).__name__, source_of(error))
            process.kill()
            job.refuse(InternalError("The validation failed."))
        else:
            self._proved.add(job.schema)
            job.answer(faults)
        finally:
            self._begun.discard(job.schema)
            self._changed.set()

    def _after_death(self, job: Job) -> None:
        """Somebody ended the process, so that the job is done again; or the job did, and then twice is enough."""
        job.deaths += 1
        if not self._is_open:
            job.refuse(_stopping())
        elif job.deaths > 1:
            job.refuse(self._too_slow(job))
        else:
            log.warning("a validator has ended; a new one takes over")
            self._line.setdefault(job.schema, deque()).appendleft(job)
            self._line.move_to_end(job.schema, last=False)
            self._count(job, 1)

    def _too_slow(self, job: Job) -> Invalid:
        at = SCHEMA if job.message.startswith(CHECK) else VALUES
        message = f"Validating takes longer than the {self._budget_seconds:g} s that it may."
        return Invalid.at(at, message, code="validation_timeout")


def _overloaded() -> Unavailable:
    return Unavailable("Too much waits to be validated. Try again in a moment.", code="overloaded")


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")
