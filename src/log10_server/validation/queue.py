"""A queue of validation jobs for a few processes (docs/api.md, "Task schemas"). Slow schemas don't block other schemas.

Organizations take turns, and the schemas of an organization do, and of each schema only one job runs at a time. Some
processes are reserved for schemas that are known to be fast.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from log10_server.errors import FieldError, InternalError, Invalid, Refusal, Unavailable, source_of
from log10_server.fair_share import FairShare
from log10_server.validation.json_schemas import SCHEMA, VALUES
from log10_server.validation.process import Process, ProcessEnded
from log10_server.validation.worker import CHECK, decode_errors

log = logging.getLogger(__name__)

_WAIT_SECONDS = 5.0  # a job that has waited so long is refused with 503
_MAX_WAITING_BYTES = 64 << 20
_IDLE_SECONDS = 600.0  # a process without work ends after this time
_MAX_DIGESTS = 4096


class RecentDigests:
    """A set of digests of bounded size, which keeps those that were added last."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        """Add a digest, and forget the oldest one when there are too many."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        if len(self._digests) > _MAX_DIGESTS:
            self._digests.popitem(last=False)


@dataclass(slots=True, eq=False)
class Job:
    """A schema to check or values to validate, for all callers of an organization that wait for the answer."""

    organization_id: str
    schema_digest: bytes  # of the organization and the schema, because organizations share nothing
    message: bytes  # the bytes that are sent to the process
    outcome: "asyncio.Future[list[FieldError]]"
    callers: int = 0
    lost_processes: int = 0  # how many processes have ended while they worked on this job
    has_begun: bool = False

    def answer(self, field_errors: list[FieldError]) -> None:
        """Return the errors to all callers, unless they have been refused or cancelled."""
        if not self.outcome.done():
            self.outcome.set_result(field_errors)

    def refuse(self, refusal: Refusal) -> None:
        """Raise `refusal` in all callers, unless they already have an answer or have been cancelled."""
        if not self.outcome.done():
            self.outcome.set_exception(refusal)


class Lane:
    """A queue with up to `processes` processes for an organization, and `reserve` more for schemas known to be fast.

    While several organizations have jobs, there are up to `processes` more. So the slow schemas of one organization
    never hold the last process. A schema is known to be fast when one of its jobs has been answered. Each process is started when it is needed, and
    has a task that gives it its jobs. `when_overrun` is called with a job that took longer than its budget.
    """

    def __init__(
        self, processes: int, reserve: int, budget_seconds: float, when_overrun: Callable[[Job], None]
    ) -> None:
        self._processes = processes
        self._reserve = reserve
        self._budget_seconds = budget_seconds
        self._fast_schemas = RecentDigests()
        self._when_overrun = when_overrun
        self._queue: OrderedDict[bytes, deque[Job]] = OrderedDict()  # by schema; the first schema is next
        self._waiting_jobs = 0
        self._waiting_bytes = FairShare(_MAX_WAITING_BYTES)
        self._busy_schemas: dict[bytes, str] = {}  # the schemas of which a job is running, with their organizations
        self._turns: dict[str, int] = {}  # when each organization had its last turn, as a number that increases
        self._last_turn = 0
        self._tasks: set[asyncio.Task[None]] = set()  # one for each process
        self._running: set[Process] = set()
        self._idle_processes = 0
        self._changed = asyncio.Event()
        self._is_open = True

    def put(self, job: Job) -> None:
        """Queue a job, which is refused if it has not begun after five seconds.

        Raises Unavailable when too many bytes are waiting or the lane is closed.
        """
        self._enqueue(job)
        timer = asyncio.get_running_loop().call_later(_WAIT_SECONDS, self._expire, job)
        job.outcome.add_done_callback(lambda _: timer.cancel())

    def move(self, schema_digest: bytes, other: "Lane") -> None:
        """Move all waiting jobs of a schema to another lane."""
        for job in self._dequeue_all(schema_digest):
            try:
                other._enqueue(job)
            except Unavailable as refusal:
                job.refuse(refusal)

    async def close(self) -> None:
        """Refuse all jobs, and end all processes."""
        self._is_open = False
        for schema_digest in list(self._queue):
            for job in self._dequeue_all(schema_digest):
                job.refuse(_stopping())
        for process in self._running:
            process.kill()
        self._changed.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, job: Job) -> None:
        if not self._is_open:
            raise _stopping()
        if not self._waiting_bytes.admits(job.organization_id, len(job.message)):
            raise _overloaded()
        self._queue.setdefault(job.schema_digest, deque()).append(job)
        self._count(job, 1)
        max_processes = self._processes + (self._reserve if job.schema_digest in self._fast_schemas else 0)
        if set(self._busy_schemas.values()) - {job.organization_id}:
            max_processes += self._processes
        if self._waiting_jobs > self._idle_processes and len(self._tasks) < max_processes:
            task = asyncio.get_running_loop().create_task(self._run_process())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._changed.set()

    def _dequeue_all(self, schema_digest: bytes) -> deque[Job]:
        jobs = self._queue.pop(schema_digest, deque())
        for job in jobs:
            self._count(job, -1)
        return jobs

    def _count(self, job: Job, sign: int) -> None:
        self._waiting_jobs += sign
        if sign > 0:
            self._waiting_bytes.add(job.organization_id, len(job.message))
        else:
            self._waiting_bytes.subtract(job.organization_id, len(job.message))

    def _expire(self, job: Job) -> None:
        if not job.has_begun:
            job.refuse(_overloaded())

    async def _run_process(self) -> None:
        """Run jobs in a process, one after the other, and start a new process when it has ended."""
        process: Process | None = None
        try:
            while self._is_open:
                if process is None or process.has_ended:
                    if process is not None and not self._waiting_jobs:
                        return
                    await self._end(process)
                    process = Process(self._budget_seconds, self._changed.set)
                    self._running.add(process)
                    await self._start(process)
                    continue
                job = await self._next(process)
                if job is not None:
                    await self._do(process, job)
                elif not process.has_ended:
                    return
        finally:
            await self._end(process)

    async def _start(self, process: Process) -> None:
        try:
            await process.start()
        except (OSError, ProcessEnded) as error:
            process.kill()
            if self._is_open:
                log.error("A validation process does not start: %s", type(error).__name__)
                await asyncio.sleep(1)
                self._remove_done()

    async def _end(self, process: Process | None) -> None:
        if process is not None:
            await process.end()
            self._running.discard(process)

    async def _next(self, process: Process) -> Job | None:
        """The next job; None when the lane is closed, the process has ended, or there was no job for a long time."""
        self._idle_processes += 1
        try:
            while self._is_open and not process.has_ended:
                job = self._dequeue_next()
                if job is not None:
                    return job
                self._changed.clear()
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._changed.wait()
        except TimeoutError:
            return self._dequeue_next()
        finally:
            self._idle_processes -= 1
        return None

    def _dequeue_next(self) -> Job | None:
        """Take the next job of the organization and the schema whose turn it is; None if there is none.

        A schema waits while a process works on another of its jobs, and while schemas of its organization that are not
        known to be fast occupy all processes that the organization may have, except the reserve.
        """
        by_turn = sorted(self._queue, key=lambda digest: self._turns.get(self._queue[digest][0].organization_id, 0))
        for schema_digest in by_turn:
            organization_id = self._queue[schema_digest][0].organization_id
            if schema_digest in self._busy_schemas or not self._may_begin(organization_id, schema_digest):
                continue
            jobs = self._queue.pop(schema_digest)
            while jobs:
                job = jobs.popleft()
                self._count(job, -1)
                if not job.outcome.done():
                    if jobs:
                        self._queue[schema_digest] = jobs  # behind all other schemas
                    job.has_begun = True
                    self._busy_schemas[schema_digest] = organization_id
                    self._last_turn += 1
                    self._turns[organization_id] = self._last_turn
                    return job
        if not self._queue:
            self._turns.clear()
        return None

    def _may_begin(self, organization_id: str, schema_digest: bytes) -> bool:
        busy = [digest for digest, owner in self._busy_schemas.items() if owner == organization_id]
        if schema_digest in self._fast_schemas:
            return len(busy) < self._processes + self._reserve
        return sum(digest not in self._fast_schemas for digest in busy) < self._processes

    def _remove_done(self) -> None:
        """Remove the jobs that were refused because they waited for too long."""
        for schema_digest in list(self._queue):
            jobs = self._dequeue_all(schema_digest)
            for job in jobs:
                if not job.outcome.done():
                    self._queue.setdefault(schema_digest, deque()).append(job)
                    self._count(job, 1)

    async def _do(self, process: Process, job: Job) -> None:
        try:
            field_errors = decode_errors(await process.answer(job.message))
        except TimeoutError:
            self._when_overrun(job)
            job.refuse(self._too_slow(job))
        except ProcessEnded:
            self._after_lost_process(job)
        except Exception as error:  # a bug must not end this task and leave all other jobs waiting
            log.error("Validation failed: %s at %s", type(error).__name__, source_of(error))
            process.kill()
            job.refuse(InternalError("The validation failed."))
        else:
            self._fast_schemas.add(job.schema_digest)
            job.answer(field_errors)
        finally:
            self._busy_schemas.pop(job.schema_digest, None)
            self._changed.set()

    def _after_lost_process(self, job: Job) -> None:
        """Put the job back into the queue after its process has ended.

        After the second time, the job is the likely cause. Time and memory have limits of their own, which are reported
        as such, so this is a defect or a lack of memory on the machine.
        """
        job.lost_processes += 1
        if not self._is_open:
            job.refuse(_stopping())
        elif job.lost_processes > 1:
            log.error("A validation process has ended twice while it worked on the same job")
            job.refuse(InternalError("The process that validates has ended unexpectedly, twice."))
        else:
            log.warning("A validation process has ended; another one is started")
            self._queue.setdefault(job.schema_digest, deque()).appendleft(job)
            self._queue.move_to_end(job.schema_digest, last=False)
            self._count(job, 1)

    def _too_slow(self, job: Job) -> Invalid:
        path = SCHEMA if job.message.startswith(CHECK) else VALUES
        message = f"Validation takes longer than the limit of {self._budget_seconds:g} s."
        return Invalid.at(path, message, code="validation_timeout")


def _overloaded() -> Unavailable:
    return Unavailable("Too many validations are waiting. Try again in a moment.", code="overloaded")


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")
