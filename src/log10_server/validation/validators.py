"""Decides where a validation runs: in the server itself if that is cheap, and otherwise in a separate process.

A regular expression can't be interrupted, and no other thread can run until it ends. So a schema whose shape does not
bound its cost runs in a separate process, with a time limit (docs/api.md, "Task schemas"). At the deadline the process
is killed and another one started. A schema that has overrun its budget once goes to a slow lane from then on, where
only uploads for such schemas wait for it.
"""

import asyncio
from functools import lru_cache
from hashlib import sha256

from log10_server.errors import FieldError, Invalid
from log10_server.validation.json_schemas import Schema, compiled_if_plain, parts_of
from log10_server.validation.queue import Job, Lane, RecentDigests
from log10_server.validation.worker import CHECK, VALIDATE, message

# Limits for validating in the server itself. The cost is the number of parts of the schema times that of the values. A
# validation of the highest cost takes 2 ms on average, and 16 ms at worst.
_MAX_COST_IN_PLACE = 4_000
_MAX_SCHEMA_LENGTH_IN_PLACE = 32 << 10
_MAX_VALUES_LENGTH_IN_PLACE = 256 << 10


class Validators:
    """Checks schemas and validates values. Its processes start when they are first needed.

    For an organization at most `processes` of them work on any schemas, one more on schemas that are known to be fast,
    and one on schemas that have overrun `budget_seconds`. While several organizations need them, there are up to twice
    as many.
    """

    def __init__(self, processes: int, budget_seconds: float) -> None:
        self._jobs: dict[tuple[str, bytes], Job] = {}  # those that are not done, by organization and message
        self._slow_schemas = RecentDigests()
        self._lane = Lane(processes, 1, budget_seconds, self._after_overrun)
        self._slow_lane = Lane(1, 0, budget_seconds, self._after_overrun)

    async def check(self, schema_text: str, organization_id: str = "") -> None:
        """Check that a task may have this schema.

        Raises Invalid (`invalid_schema` with all its errors, or `validation_timeout`), Unavailable when too many jobs
        are waiting or the server is stopping, or InternalError when the processes keep ending unexpectedly.
        """
        field_errors = await self._errors_from_process(organization_id, CHECK, schema_text)
        if field_errors:
            raise Invalid(field_errors, code="invalid_schema")

    async def validate(self, schema_text: str, values_text: str, organization_id: str = "") -> None:
        """Check that values are valid for a schema that `check` has passed.

        Raises Invalid (`values_refused` with all their errors, or `validation_timeout`), Unavailable when too many jobs
        are waiting or the server is stopping, or InternalError when the processes keep ending unexpectedly.
        """
        schema = None
        if len(schema_text) <= _MAX_SCHEMA_LENGTH_IN_PLACE and len(values_text) <= _MAX_VALUES_LENGTH_IN_PLACE:
            schema = _plain_schema(schema_text)
        if schema is not None and schema.parts * parts_of(values_text) <= _MAX_COST_IN_PLACE:
            field_errors = schema.field_errors(values_text)
        else:
            field_errors = await self._errors_from_process(organization_id, VALIDATE, schema_text, values_text)
        if field_errors:
            raise Invalid(field_errors, code="values_refused")

    async def close(self) -> None:
        """Refuse all jobs that wait or run, and end all processes."""
        await asyncio.gather(self._lane.close(), self._slow_lane.close())

    async def _errors_from_process(
        self, organization_id: str, kind: bytes, schema_text: str, values_text: str = ""
    ) -> list[FieldError]:
        """Run a job in a process, and return the errors that it finds.

        Simultaneous identical requests of an organization share one job.
        """
        job_message = message(kind, schema_text, values_text)
        job = self._jobs.get((organization_id, job_message))
        if job is None or job.outcome.done():
            schema = message(kind, schema_text)
            job = self._put(organization_id, job_message, sha256(organization_id.encode() + b"\n" + schema).digest())
        job.callers += 1
        try:
            return await asyncio.shield(job.outcome)
        finally:
            job.callers -= 1
            if not job.callers and not job.has_begun:  # all callers have been cancelled, so nobody needs the answer
                job.outcome.cancel()

    def _put(self, organization_id: str, job_message: bytes, schema_digest: bytes) -> Job:
        job = Job(organization_id, schema_digest, job_message, asyncio.get_running_loop().create_future())
        lane = self._slow_lane if schema_digest in self._slow_schemas else self._lane
        lane.put(job)
        self._jobs[organization_id, job_message] = job
        job.outcome.add_done_callback(lambda _: self._forget(job))
        return job

    def _forget(self, job: Job) -> None:
        if self._jobs.get((job.organization_id, job.message)) is job:
            del self._jobs[job.organization_id, job.message]

    def _after_overrun(self, job: Job) -> None:
        self._slow_schemas.add(job.schema_digest)
        self._lane.move(job.schema_digest, self._slow_lane)


@lru_cache(maxsize=256)
def _plain_schema(schema_text: str) -> Schema | None:
    """The compiled schema if it is plain, else None. The results for the last 256 schemas are cached."""
    return compiled_if_plain(schema_text)
