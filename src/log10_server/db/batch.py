"""Writes that share a transaction: what is done together, what is done again alone, and what each caller is told."""

import logging
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.failures import ConnectionLost, OutcomeUnknown
from log10_server.db.transaction import Tx
from log10_server.db.write_queue import NO_ENTRY, Write
from log10_server.errors import InternalError, Refusal, Unavailable, source_of

log = logging.getLogger(__name__)


class Group:
    """Writes that run as one step of a transaction: entries for one recorder of one organization, or one write."""

    __slots__ = ("writes",)

    def __init__(self, writes: list[Write]) -> None:
        self.writes = writes

    @property
    def organization_id(self) -> str:
        """The organization of all its writes."""
        return self.writes[0].organization_id

    def run(self, tx: Tx) -> None:
        """Do the writes, and keep the outcome of each. Raises what the work raises, which then is of all of them."""
        first = self.writes[0]
        if first.entry is NO_ENTRY:
            first.outcome = first.run(tx)
            return
        outcomes = first.run(tx, [write.entry for write in self.writes])
        for write, outcome in zip(self.writes, outcomes, strict=True):
            write.outcome = outcome


class Batch:
    """One transaction of several groups, and what follows when some or all of them fail.

    - A group that fails undoes only itself, by a savepoint. A refusal of one write is its answer; where several
      writes were one group, each is done again alone, because the refusal belongs to some of them.
    - When the transaction as a whole fails before its commit, each write is done again alone.
    - When the database is away, or the commit fails, every write fails with it.
    """

    def __init__(self, database: Database, writes: list[Write]) -> None:
        self._database = database
        self._writes = writes
        self._to_run_alone: list[Write] = []
        # Writes of organizations that another process writes for just now. They wait in the queue again, so that no
        # organization waits for another, and a transaction that has locked one never waits for a second.
        self.deferred: list[Write] = []

    def run(self) -> None:
        """Do all writes but the `deferred` ones, and set the outcome of each. Raises nothing."""
        try:
            self._run_together()
        except Exception as error:
            self._after_rollback(error)
        self._run_alone()

    def _run_together(self) -> None:
        organization_ids = sorted({write.organization_id for write in self._writes})
        with self._database.writing_for(organization_ids) as (connection, txs):
            self.deferred = [write for write in self._writes if write.organization_id not in txs]
            self._writes = [write for write in self._writes if write.organization_id in txs]
            groups = _grouped(self._writes)
            for group in groups:
                self._run_group(group, connection, txs[group.organization_id], is_lone=len(groups) == 1)
                if not self._database.backend.is_in_transaction(connection):
                    raise _RolledBack

    def _run_group(self, group: Group, connection: Connection, tx: Tx, *, is_lone: bool) -> None:
        """Run a group in a savepoint. A lone one has the transaction to itself, and is undone with it."""
        try:
            with nullcontext() if is_lone else connection.begin_nested():
                group.run(tx)
        except Exception as error:
            if is_lone or connection.invalidated:
                raise
            self._after_undoing(group.writes, error)

    def _after_rollback(self, error: Exception) -> None:
        self._to_run_alone = []
        if isinstance(error, Unavailable) and not isinstance(error, ConnectionLost):
            _fail(self._writes, error)
        else:
            self._after_undoing(self._writes, error)

    def _after_undoing(self, writes: list[Write], error: Exception) -> None:
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
            if isinstance(write.outcome, Unavailable):  # it would be so for the others too: answer them soon
                # Those were not tried, so nothing of them is stored, whatever became of this one.
                is_unknown = isinstance(write.outcome, OutcomeUnknown)
                _fail(self._to_run_alone[number + 1 :], ConnectionLost() if is_unknown else write.outcome)
                return


class _RolledBack(Exception):
    """The database has undone by itself what was done before: SQLite does so when the disk is full, for example."""


def _grouped(writes: Iterable[Write]) -> list[Group]:
    """The groups, in the order of their first writes."""
    groups: dict[Any, list[Write]] = {}
    for write in writes:
        key = id(write) if write.entry is NO_ENTRY else (write.organization_id, write.run)
        groups.setdefault(key, []).append(write)
    return [Group(group) for group in groups.values()]


def _fail(writes: Iterable[Write], error: Exception) -> None:
    for write in writes:
        write.outcome = error
