"""What the disk and the driver do by themselves: one durable commit, and inserts of many rows."""

import statistics
import time
from typing import Any

from sqlalchemy import Table

from benchmarks import bodies
from benchmarks.cases import TASK_ID
from benchmarks.databases import POSTGRES, Holder
from benchmarks.loading import load_completions
from benchmarks.servers import ORGANIZATION
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.schema import metadata
from log10_server.services import feedback_tasks
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.organizations import create

ROWS_IN_TRANSACTION = 1000
_COMMITS = 200
_NAMES = {
    "feedback_task",
    "session",
    "tag",
    "feedback_task_tag",
    "completion",
    "completion_tag",
    "completion_tag_pair",
    "ungraded",
}
_TABLES = [table for table in metadata.sorted_tables if table.name in _NAMES]  # referenced tables come first
Rows = list[tuple[Table, list[Any]]]


def commit_ms(holder: Holder) -> float:
    """The median of many commits of one row of a hundred bytes, in milliseconds."""
    holder.url("raw_commit")
    mark = "%s" if holder.kind == POSTGRES else "?"
    took = []
    with holder.connected("raw_commit") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS line (text text)")
        for _ in range(_COMMITS):
            began = time.perf_counter()
            connection.execute(f"INSERT INTO line VALUES ({mark})", ["x" * 100])  # each statement commits
            took.append(time.perf_counter() - began)
    return statistics.median(took) * 1000


class RawInserts:
    """The rows that the server would store, inserted by the driver alone into a database with our tables and indexes."""

    def __init__(self, holder: Holder, size: int) -> None:
        """`size` is that of a completion, in bytes."""
        self.holder = holder
        self._size = size
        self._loaded = 0
        self._copied: dict[str, set[Any]] = {table.name: set() for table in _TABLES}
        self._source = Database(holder.url("raw_source"))
        target = Database(holder.url("raw_inserts"))
        for database in (self._source, target):
            migrations.migrate(database)
            with database.writing() as connection:
                create(connection, database.clock, ORGANIZATION)
        target.close()
        task = NewFeedbackTask(TASK_ID, "", "", "{}", (bodies.COMMON_TAG,))
        self._source.write(ORGANIZATION, lambda tx: feedback_tasks.create(tx, task))
        with holder.connected("raw_inserts") as connection:
            self._insert(connection, self._new_rows())

    def close(self) -> None:
        self._source.close()

    def rows_per_second(self, transactions: int) -> float:
        """The rate at which that many transactions of a thousand completions go in, with all rows that belong to them."""
        prepared = [self._prepare() for _ in range(transactions)]
        with self.holder.connected("raw_inserts") as connection:
            began = time.perf_counter()
            for rows in prepared:
                connection.execute("BEGIN")
                self._insert(connection, rows)
                connection.execute("COMMIT")
            return transactions * ROWS_IN_TRANSACTION / (time.perf_counter() - began)

    def _prepare(self) -> Rows:
        """The rows of the next thousand completions. The services store them in another database."""
        numbers = range(self._loaded, self._loaded + ROWS_IN_TRANSACTION)
        load_completions(self._source, ORGANIZATION, numbers, self._size, lambda _number: {})
        self._loaded = numbers.stop
        return self._new_rows()

    def _new_rows(self) -> Rows:
        """The rows that the other database has now and did not have at the last call, by table."""
        new: Rows = []
        with self.holder.connected("raw_source") as connection:
            for table in _TABLES:
                key = [list(table.columns).index(column) for column in table.primary_key]
                copied = self._copied[table.name]
                rows = connection.execute(f"SELECT {_column_names(table)} FROM {table.name}").fetchall()
                keyed = {tuple(row[place] for place in key): row for row in rows}
                new.append((table, sorted(row for row_key, row in keyed.items() if row_key not in copied)))
                copied.update(keyed)
        return new

    def _insert(self, connection: Any, tables: Rows) -> None:
        """`executemany` on SQLite; on Postgres COPY, which is the fastest that it has."""
        for table, rows in tables:
            if self.holder.kind == POSTGRES:
                with connection.cursor().copy(f"COPY {table.name} ({_column_names(table)}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                marks = ", ".join("?" * len(table.columns))
                connection.executemany(f"INSERT INTO {table.name} ({_column_names(table)}) VALUES ({marks})", rows)


def _column_names(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)
