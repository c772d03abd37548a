"""What the disk and the driver do by themselves: one durable commit, and inserts of many rows."""

import statistics
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from benchmarks import bodies
from benchmarks.databases import POSTGRES, Holder
from benchmarks.servers import ORGANIZATION
from log10_server.clock import Clock, uuid7
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.services.organizations import create
from log10_server.store.completion_tags import CompletionTagRow
from log10_server.store.completions import CompletionRow
from log10_server.store.tags import TagRow
from log10_server.strict_json import written

ROWS_IN_ONE = 1000
_COMMITS = 200


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
    """Rows that are prepared, inserted by the driver alone into a database with our tables and their indexes."""

    def __init__(self, holder: Holder, size: int) -> None:
        """`size` is that of a completion, in bytes."""
        self.holder = holder
        self.size = size
        self.clock = Clock()
        database = Database(holder.url("raw_inserts"))
        migrations.migrate(database)
        with database.writing() as connection:
            create(connection, self.clock, ORGANIZATION)
        database.close()
        self.tags = {name: self._tag(name) for number in range(bodies.USERS) for name in bodies.common_tags(number)}
        with holder.connected("raw_inserts") as connection:
            self._insert(connection, "tag", TagRow._fields, self.tags.values())
        self.tag_ids = {name: row.id for name, row in self.tags.items()}

    def rows_per_second(self, transactions: int) -> float:
        """The rate at which that many transactions of a thousand completions with their three tags go in."""
        prepared = [self._rows() for _ in range(transactions)]
        with self.holder.connected("raw_inserts") as connection:
            began = time.perf_counter()
            for completions, tags in prepared:
                connection.execute("BEGIN")
                self._insert(connection, "completion", CompletionRow._fields, completions)
                self._insert(connection, "completion_tag", CompletionTagRow._fields, tags)
                connection.execute("COMMIT")
            return transactions * ROWS_IN_ONE / (time.perf_counter() - began)

    def _insert(self, connection: Any, table: str, columns: Sequence[str], rows: Any) -> None:
        """`executemany` on SQLite; on Postgres COPY, which is the fastest that it has."""
        names = ", ".join(columns)
        if self.holder.kind == POSTGRES:
            with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(rows))

    def _rows(self) -> tuple[list[CompletionRow], list[CompletionTagRow]]:
        completions = [self._completion(number) for number in range(ROWS_IN_ONE)]
        tags = [
            CompletionTagRow(ORGANIZATION, row.id, self.tag_ids[name], row.created_at)
            for number, row in enumerate(completions)
            for name in bodies.common_tags(number)
        ]
        return completions, sorted(tags)

    def _completion(self, number: int) -> CompletionRow:
        at = self.clock.now()
        request, response = self._payloads(number)
        return CompletionRow(
            organization_id=ORGANIZATION,
            id=uuid7(at),
            created_at=at,
            session_id=None,
            kind="chat",
            status=None,
            model="gpt-4o",
            input_tokens=200,
            output_tokens=200,
            duration=1.25,
            failure_kind=None,
            failure_reason=None,
            tags=written(bodies.common_tags(number)),
            request=request,
            response=response,
            stacktrace=None,
        )

    def _payloads(self, number: int) -> Iterator[str]:
        return (written(payload) for payload in bodies.payloads(self.size, number))

    def _tag(self, name: str) -> TagRow:
        at = self.clock.now()
        return TagRow(ORGANIZATION, at, sha256(name.encode()).hexdigest(), name, at, False)
