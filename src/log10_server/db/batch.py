"""Runs several writes in one transaction, repeats them one by one if that fails, and sets the outcome of each."""

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.failures import ConnectionLost, OutcomeUnknown
from log10_server.db.transaction import Tx
from log10_server.db.write_queue import NO_ENTRY, Write
from log10_server.errors import InternalError, Refusal, Unavailable, source_of

log = logging.getLogger(__name__)

_MAX_TIMES_DEFERRED = 3  # after which a write waits for the lock of its organization


class Group:
    """Writes that run as one step of a transaction: one write, or all entries for one recorder and organization."""

    __slots__ = ("writes",)

    def __init__(self, writes: list[Write]) -> None:
        self.writes = writes

    @property
    def organization_id(self) -> str:
        """The organization that all writes of the group belong to."""
        return self.writes[0].organization_id

    def run(self, tx: Tx) -> None:
        """Run the writes, and set the outcome of each. An exception that this raises concerns the whole group."""
        first = self.writes[0]
        if first.entry is NO_ENTRY:
            first.outcome = first.run(tx)
            return
        outcomes = first.run(tx, [write.entry for write in self.writes])
        for write, outcome in zip(self.writes, outcomes, strict=True):
            write.outcome = outcome


class Batch:
    """Runs several groups of writes in one transaction, and handles the failure of some or all of them.

    - When one group fails, only that group is rolled back, to a savepoint. If the group is a single write that was
      refused, the refusal is its outcome. Otherwise each write of the group runs again alone, because the error may
      concern only some of them.
    - When the transaction as a whole fails before its commit, each write runs again in a separate transaction.
    - When the database is unavailable, or the commit fails, every write fails.
    """

    def __init__(self, database: Database, writes: list[Write]) -> None:
        self._database = database
        self._writes = writes
        self._to_run_alone: list[Write] = []
        # Writes of organizations that another process has locked. They go back to the queue, so that the writes of one
        # organization don't wait long for the lock of another one.
        self.deferred: list[Write] = []
        self.costs: list[tuple[Sequence[Write], float]] = []  # groups of writes, and the seconds that each group took

    def run(self) -> None:
        """Run all writes except the `deferred` ones, and set the outcome of each. Raises nothing."""
        try:
            self._run_together()
        except Exception as error:
            self._after_rollback(error)
        self._run_alone()

    def _run_together(self) -> None:
        organization_ids = sorted({write.organization_id for write in self._writes})
        with self._database.writing_for(organization_ids, self._awaited()) as (connection, txs):
            self.deferred = [write for write in self._writes if write.organization_id not in txs]
            for write in self.deferred:
                write.times_deferred += 1
            self._writes = [write for write in self._writes if write.organization_id in txs]
            groups = _grouped(self._writes)
            for group in groups:
                self._run_group(group, connection, txs[group.organization_id], is_only_group=len(groups) == 1)
                if not self._database.backend.is_in_transaction(connection):
                    raise _RolledBack

    def _awaited(self) -> str | None:
        """The organization whose writes were deferred most often, if that were many times; otherwise None.

        Its lock is waited for. Without that, its writes would be stored only if its lock is free by chance, as long as
        this process has writes of other organizations, and another process has writes of this one.
        """
        most = max(self._writes, key=lambda write: write.times_deferred)
        return most.organization_id if most.times_deferred >= _MAX_TIMES_DEFERRED else None

    def _run_group(self, group: Group, connection: Connection, tx: Tx, *, is_only_group: bool) -> None:
        """Run a group in a savepoint. The only group of a transaction needs none: its rollback affects no other group."""
        started = time.perf_counter()
        try:
            with nullcontext() if is_only_group else connection.begin_nested():
                group.run(tx)
            self.costs.append((group.writes, time.perf_counter() - started))
        except Exception as error:
            if is_only_group or connection.invalidated:
                raise
            self._refuse_or_rerun(group.writes, error)

    def _after_rollback(self, error: Exception) -> None:
        self._to_run_alone = []
        if isinstance(error, Unavailable) and not isinstance(error, ConnectionLost):
            _fail(self._writes, error)
        else:
            self._refuse_or_rerun(self._writes, error)

    def _refuse_or_rerun(self, writes: list[Write], error: Exception) -> None:
        if len(writes) == 1 and isinstance(error, Refusal) and not isinstance(error, ConnectionLost):
            writes[0].outcome = error
        else:
            self._to_run_alone += writes

    def _run_alone(self) -> None:
        for number, write in enumerate(self._to_run_alone):
            try:
                self._database.write(write.organization_id, Group([write]).run)
            except Refusal as refusal:
                write.outcome = refusal
            except Exception as error:
                log.error("write: %s at %s", type(error).__name__, source_of(error))
                write.outcome = InternalError("The write failed.")
            if isinstance(write.outcome, Unavailable):  # the others would fail in the same way
                # The remaining writes were not attempted, so nothing of them is stored, even if the outcome of this one
                # is unknown.
                is_unknown = isinstance(write.outcome, OutcomeUnknown)
                _fail(self._to_run_alone[number + 1 :], ConnectionLost() if is_unknown else write.outcome)
                return


class _RolledBack(Exception):
    """The database has rolled the transaction back by itself. SQLite does so when the disk is full, for example."""


def _grouped(writes: Iterable[Write]) -> list[Group]:
    """Put the writes into groups, which are ordered by their first write."""
    groups: dict[Any, list[Write]] = {}
    for write in writes:
        key = id(write) if write.entry is NO_ENTRY else (write.organization_id, write.run)
        groups.setdefault(key, []).append(write)
    return [Group(group) for group in groups.values()]


def _fail(writes: Iterable[Write], error: Exception) -> None:
    for write in writes:
        write.outcome = error
