"""Where schemas are checked and values validated: in place when that is cheap, else in processes that can be killed.

A regular expression can't be interrupted and holds the interpreter, so what its shape does not bound has a process and
a budget (docs/api.md, "Task schemas"). At the deadline the process is killed and a new one takes its place; a schema that has once
overrun its budget has a lane of its own from then on, and only its own uploads wait there.
"""

import asyncio
from functools import lru_cache
from hashlib import sha256

from log10_server.errors import FieldError, Invalid
from log10_server.validation.json_schemas import Schema, compiled_if_plain, parts_of
from log10_server.validation.queue import Job, Lane, Remembered
from log10_server.validation.worker import CHECK, VALIDATE, message

# Parts of the schema times parts of the values: 2 ms as a rule, 16 at worst.
_COST_IN_PLACE = 4_000
_SCHEMA_IN_PLACE = 32 << 10
_VALUES_IN_PLACE = 256 << 10


class Validators:
    """Checks schemas and validates values. Processes start when they are first needed."""

    def __init__(self, processes: int, budget_seconds: float) -> None:
        self._asked: dict[bytes, Job] = {}
        self._overran = Remembered()
        self._lane = Lane(processes, 1, budget_seconds, self._after_overrun)
        self._slow_lane = Lane(1, 0, budget_seconds, self._after_overrun)

    async def check(self, schema_text: str) -> None:
        """Whether a task can have this schema.

        Raises Invalid: `invalid_schema` with all its faults, or `validation_timeout`; Unavailable when too much waits.
        """
        faults = await self._found(CHECK, schema_text)
        if faults:
            raise Invalid(faults, code="invalid_schema")

    async def validate(self, schema_text: str, values_text: str) -> None:
        """Whether values are valid for a schema that has been checked.

        Raises Invalid: `values_refused` with all faults, or `validation_timeout`; Unavailable when too much waits.
        """
        schema = None
        if len(schema_text) <= _SCHEMA_IN_PLACE and len(values_text) <= _VALUES_IN_PLACE:
            schema = _at_hand(schema_text)
        if schema is not None and schema.parts * parts_of(values_text) <= _COST_IN_PLACE:
            faults = schema.faults(values_text)
        else:
            faults = await self._found(VALIDATE, schema_text, values_text)
        if faults:
            raise Invalid(faults, code="values_refused")

    async def close(self) -> None:
        """Refuse what waits or runs, and end all processes."""
        await asyncio.gather(self._lane.close(), self._slow_lane.close())

    async def _found(self, kind: bytes, schema_text: str, values_text: str = "") -> list[FieldError]:
        """The faults that a process finds. Those who ask for the same at the same time share the answer."""
        asked = message(kind, schema_text, values_text)
        job = self._asked.get(asked)
        if job is None or job.outcome.done():
            job = self._put(asked, sha256(message(kind, schema_text)).digest())
        job.askers += 1
        try:
            return await asyncio.shield(job.outcome)
        finally:
            job.askers -= 1
            if not job.askers and not job.has_begun:  # all have gone away, so it need not be done
                job.outcome.cancel()

    def _put(self, asked: bytes, schema: bytes) -> Job:
        job = Job(schema, asked, asyncio.get_running_loop().create_future())
        lane = self._slow_lane if schema in self._overran else self._lane
        lane.put(job)
        self._asked[asked] = job
        job.outcome.add_done_callback(lambda _: self._forget(job))
        return job

    def _forget(self, job: Job) -> None:
        if self._asked.get(job.message) is job:
            del self._asked[job.message]

    def _after_overrun(self, job: Job) -> None:
        self._overran.add(job.schema)
        self._lane.move(job.schema, self._slow_lane)


@lru_cache(maxsize=256)
def _at_hand(schema_text: str) -> Schema | None:
    """The schema, if its values may be validated in place."""
    return compiled_if_plain(schema_text)
