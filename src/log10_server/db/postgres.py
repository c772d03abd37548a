"""The backend for Postgres 14 or newer, which uses psycopg 3.

Transactions are READ COMMITTED, and for each organization only one transaction at a time writes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain, compress
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    Integer,
    Select,
    Table,
    Text,
    any_,
    bindparam,
    case,
    cast,
    column,
    create_engine,
    event,
    func,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from log10_server.db import bulk
from log10_server.db.backend import OTHER_READERS, Backend
from log10_server.db.bulk import BulkStatement, Row
from log10_server.db.query_builder import QueryBuilder

_LOCK_TIMEOUT = "10s"
# A writer waits for an organization that another process has locked for at most this long, because the writes of other
# organizations that arrive meanwhile wait with it. A transaction of single writes takes 5 to 20 ms.
_MAX_LOCK_WAIT_MS = 50
_LOCK_NOT_AVAILABLE = "55P03"
_CONNECT_TIMEOUT = 3  # seconds after which a connection attempt fails if Postgres does not answer
_PLACEHOLDER = "%s"
# READ COMMITTED is needed, whatever the server's default is: a statement after the lock must see what the previous
# holder of the lock committed. At a higher level it could see only what was committed before the transaction began.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LOCK_KEY = "hashtextextended({}, 10)"
_LOCK_ORGANIZATION = text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY.format('CAST(:organization_id AS text)')})")
_LOCK_EXCLUSIVELY = text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY.format(':purpose')})")


class PostgresQueryBuilder(QueryBuilder):
    """Passes lists as arrays; in `rows_by_key` as JSON, so that each value is looked up separately."""

    begins_joins_at_keys = True
    reads_rows_on_demand = False

    def __init__(self) -> None:
        super().__init__()
        self._values: Any = None  # the rows that `each_value` makes of its parameter; None if it was not called

    def in_list(self, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
        return column == any_(bindparam(name, type_=_array_type(column)))

    def rows_by_key(self, rows: Select[Any], column: ColumnElement[Any], name: str) -> Select[Any]:
        """Make Postgres look up each value separately (LATERAL), whatever its statistics say about the table.

        With `ANY` the planner would read all rows of an organization while it has few or no statistics, or would make a
        new plan each time that few values are passed.
        """
        self.json_lists.add(name)
        texts = func.json_array_elements_text(cast(bindparam(name, type_=Text()), JSON))
        values = texts.table_valued("value", name=f"values_of_{name}").render_derived()
        return _look_up_each(rows, values, name, [column == _converted(values.c.value, column)])

    def rows_by_keys(self, rows: Select[Any], columns: Sequence[ColumnElement[Any]], name: str) -> Select[Any]:
        self.json_lists.add(name)
        keys = func.json_array_elements(cast(bindparam(name, type_=Text()), JSON))
        values = keys.table_valued(column("value", JSON), name=f"values_of_{name}").render_derived()
        parts = (values.c.value[literal_column(str(part))].as_string() for part in range(len(columns)))
        conditions = [column == _converted(part, column) for column, part in zip(columns, parts, strict=True)]
        return _look_up_each(rows, values, name, conditions)

    def rows_in_order(self, table: Table, payloads: Sequence[str], ids: str, max_bytes: str) -> Select[Any]:
        """Psycopg receives all rows at once, so the sizes before each row are added up to end the rows in time."""
        self.json_lists.add(ids)
        texts = func.json_array_elements_text(cast(bindparam(ids, type_=Text()), JSON))
        values = texts.table_valued("value", with_ordinality="position", name="listed").render_derived()
        size: ColumnElement[int] = literal_column("0", BigInteger())
        for name in payloads:
            size += func.coalesce(func.octet_length(table.c[name]), 0)
        owned = select(table, size.label("size")).where(self.is_owned(table), table.c.id == values.c.value)
        # OFFSET 0 keeps the planner from turning the lookups into an ordinary join.
        row = owned.offset(literal_column("0")).correlate(values).lateral("row")
        before = func.sum(row.c.size).over(order_by=values.c.position, rows=(None, -1))
        sized = (
            select(row, values.c.position, func.coalesce(before, 0).label("before"))
            .select_from(values.outerjoin(row, true()))
            .subquery("sized")
        )
        limit = bindparam(max_bytes, type_=BigInteger())
        columns = [
            case((sized.c.size <= limit, sized.c[column.name])) if column.name in payloads else sized.c[column.name]
            for column in table.columns
        ]
        rows = select(*columns, sized.c.size).where(sized.c.before < limit)
        return rows.order_by(sized.c.position)

    def each_value(self, name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        values = func.unnest(bindparam(name, type_=ARRAY(kind))).table_valued("value", name="each_value")
        self._values = values.render_derived()
        column: ColumnElement[Any] = self._values.c.value
        return column

    def size(self, column: ColumnElement[Any]) -> ColumnElement[int]:
        # For a large text that is stored apart from its row, `octet_length` reads only the row, and `length` the text.
        return func.coalesce(func.octet_length(column), literal_column("0"))

    def position_in(self, text: ColumnElement[str], part: ColumnElement[str]) -> ColumnElement[int]:
        return func.strpos(text, part, type_=Integer())

    def finish(self, statement: ClauseElement) -> ClauseElement:
        """With an `each_value` the query runs once for all values (LATERAL), which saves a round trip for each."""
        if self._values is None:
            return statement
        query: Any = statement
        rows = query.correlate(self._values).lateral("rows_of_value")
        return select(rows).select_from(self._values.join(rows, true()))


def _converted(value: ColumnElement[Any], column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A text of a JSON array, in the type of the column that it is compared with."""
    return cast(value, BigInteger) if isinstance(column.type, BigInteger) else value


def _look_up_each(rows: Select[Any], values: Any, name: str, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """The rows that meet the conditions for each row of `values`.

    OFFSET 0 keeps the planner from turning the lookups into an ordinary join.
    """
    matches = rows.where(*conditions).offset(literal_column("0")).correlate(values).lateral(f"rows_of_{name}")
    return select(matches).select_from(values.join(matches, true()))


class Postgres(Backend):
    """A Postgres database.

    Round trips cost most, so there are few statements, and one message begins a transaction and takes its locks.
    """

    name = "postgresql"
    is_server = True
    fetches_each_at_once = True
    buffers_inserts = True
    query_builder = PostgresQueryBuilder

    def __init__(self, url: URL, readers: int) -> None:
        """Create the engines. No connection is opened yet."""
        self.url = url
        self.read_engine = _engine(url, readers + OTHER_READERS)
        engine = _engine(url, 2)
        event.listen(engine, "before_cursor_execute", _flush_buffered_inserts)
        self.write_engine = engine.execution_options(log10_writes=True)
        self._inserted: dict[str, int] = {}  # the number of rows inserted into each table, by its name
        self._times_grown = 0
        super().__init__()

    def describe(self) -> str:
        port = f":{self.url.port}" if self.url.port else ""
        return f"Postgres: {self.url.database} on {self.url.host or 'a local socket'}{port}"

    def exists(self) -> bool:
        return True

    # Transactions

    def begin_read(self, connection: Connection, _deadline: float | None) -> None:
        """Prepare to read. The deadline is ignored, because Postgres's statement timeout ends slow statements."""
        self._discard_old_plans(connection)

    def begin_snapshot(self, connection: Connection) -> None:
        """Begin a transaction. Without one, each statement sees what was committed before that statement."""
        status = self.drive(connection, lambda driver: driver.pgconn.transaction_status)
        if status == TransactionStatus.IDLE:
            self._execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_write(
        self, connection: Connection, organization_ids: Sequence[str], awaited: str | None = None
    ) -> Iterable[str]:
        """Begin and lock in one message. `pg_try_advisory_xact_lock` returns at once when an organization is locked, so
        the writes of the other organizations don't wait for it."""
        self._discard_old_plans(connection)
        locked = self._try_to_lock(connection, organization_ids, _BEGIN)
        if organization_ids and not locked and awaited is None:
            awaited = organization_ids[0]
        if awaited is None or awaited in locked:
            return locked
        if locked:  # so that nobody waits for these, and no deadlock is possible
            self._execute(connection, f"ROLLBACK; {_BEGIN}")
        if not self._wait_for_lock(connection, awaited):
            return self._try_to_lock(connection, organization_ids, f"ROLLBACK; {_BEGIN}")
        others = [each for each in organization_ids if each != awaited]
        return [awaited, *(self._try_to_lock(connection, others, "") if others else [])]

    def _try_to_lock(self, connection: Connection, organization_ids: Sequence[str], before: str) -> list[str]:
        """Lock those organizations that no other transaction has locked. The statements `before` run first."""
        locks = ", ".join(f"pg_try_advisory_xact_lock({_lock_key(each)})" for each in organization_ids)
        statements = "; ".join(filter(None, (before, f"SELECT {locks}" if locks else "")))
        return list(compress(organization_ids, (value == b"t" for value in self._execute(connection, statements))))

    def _wait_for_lock(self, connection: Connection, organization_id: str) -> bool:
        """Wait for the lock for a short time. Returns whether it is held now; if not, the transaction has failed.

        Postgres gives the lock to those that wait in the order of their arrival, so processes take turns.
        """
        try:
            self._execute(
                connection,
                f"SET LOCAL lock_timeout = '{_MAX_LOCK_WAIT_MS}ms'; SELECT pg_advisory_xact_lock({_lock_key(organization_id)}); "
                f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'",
            )
        except DBAPIError as error:
            if self.sqlstate(error) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def commit(self, connection: Connection) -> None:
        self._execute(connection, "COMMIT")

    def is_in_transaction(self, _connection: Connection) -> bool:
        return True  # Postgres never ends a transaction by itself, and `commit` raises if the transaction failed

    def lock_organization(self, connection: Connection, organization_id: str) -> None:
        connection.execute(_LOCK_ORGANIZATION, {"organization_id": organization_id})

    def lock_exclusively(self, connection: Connection, purpose: str) -> None:
        connection.execute(_LOCK_EXCLUSIVELY, {"purpose": f"log10-server: {purpose}"})

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self.write_engine.connect() as connection, connection.begin():
            self.begin_write(connection, ())
            connection.execute(text("SET LOCAL lock_timeout = '120s'"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            self.lock_exclusively(connection, "migration")
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            yield connection
            self.commit(connection)

    def _execute(self, connection: Connection, statements: str) -> list[bytes | None]:
        """Run these statements, and return the values of the row that the last one returns.

        They have no parameters, so they go directly to libpq. With a cursor they would take twice as long.
        """
        result = self.drive(connection, lambda driver: _execute(driver.pgconn, statements.encode()))
        return [result.get_value(0, column) for column in range(result.nfields)]

    def _discard_old_plans(self, connection: Connection) -> None:
        """Discard the query plans of a connection that were made when the tables were much smaller.

        Postgres keeps the plans of statements and of foreign key checks for each connection. A plan that was made for a
        nearly empty table reads the whole table. It stays in use until Postgres updates its statistics, which may take
        a minute, and in that time a busy program stores a hundred thousand rows.
        """
        if connection.info.get("log10_times_grown") != self._times_grown:
            self.drive(connection, lambda driver: driver.execute("DISCARD PLANS"))
            connection.info["log10_times_grown"] = self._times_grown

    def count_inserted(self, table: Table, rows: int) -> None:
        """Count inserted rows. When the count of a table has grown fourfold, all connections discard their plans."""
        inserted = self._inserted.get(table.name, 0)
        self._inserted[table.name] = inserted + rows
        if (inserted + rows).bit_length() // 2 > max(inserted.bit_length() // 2, 2):
            self._times_grown += 1

    # Statements

    def open_large_result_cursor(self, connection: Connection) -> Any:
        """Psycopg's ordinary cursor receives all rows at once. One with a name leaves them on the server."""
        driver: Any = connection.connection
        return driver.cursor(name="large_result")

    def in_list(self, column: Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        return column == any_(bindparam(None, list(values), type_=_array_type(column)))

    def driver_sql(self, sql: str) -> str:
        return _ARRAY_PARAMETER.sub(r"%(\1)b::", sql)

    def insert(self, table: Table, rows: Sequence[Row], on_conflict: str) -> Iterator[BulkStatement]:
        self.count_inserted(table, len(rows))
        if len(rows) == 1:  # a single row is passed without arrays, because psycopg builds arrays slowly
            yield BulkStatement(bulk.insert_values(table, _PLACEHOLDER) + on_conflict, rows[0])
        else:
            yield BulkStatement(_insert_arrays(table) + on_conflict, [rows[0][0], *_arrays(table, rows)])

    def select(self, table: Table, organization_id: str) -> BulkStatement:
        return BulkStatement(bulk.select_rows(table, _PLACEHOLDER), [organization_id])

    def replace(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        return bulk.replace_rows(table, rows, _PLACEHOLDER)

    def remove(self, table: Table, rows: Sequence[Row]) -> BulkStatement:
        return BulkStatement(_delete_arrays(table), [*_arrays(table, rows), rows[0][0]])

    def combine(self, inserts: Sequence[BulkStatement]) -> BulkStatement:
        sql = _combine(tuple(insert.sql for insert in inserts))
        return BulkStatement(sql, list(chain.from_iterable(insert.parameters for insert in inserts)))

    # Errors

    def is_unavailable(self, error: Exception) -> bool:
        # An error without a code means that the connection is lost (class 08).
        state = self.sqlstate(error) or "08000"
        return isinstance(error, OperationalError | InterfaceError) and state[:2] in _UNAVAILABLE

    def violates_key(self, error: Exception) -> bool:
        return self.sqlstate(error) in _VIOLATED_KEYS

    def is_conflict(self, error: Exception) -> bool:
        return self.sqlstate(error) in _CONFLICTS


# Classes of error codes. 57: the server is stopping or the statement was cancelled, 53: out of disk or memory,
# 08: connection lost, 55: timeout while waiting for a lock, 25: the server is read-only or ended an idle transaction,
# 58: error of the operating system.
_UNAVAILABLE = {"57", "53", "08", "55", "25", "58"}
_VIOLATED_KEYS = {"23503", "23505"}  # a foreign key, a unique key
_CONFLICTS = {"40001", "40P01"}  # a serialization failure, a deadlock
# Arrays are sent in binary, because for the text format psycopg searches every string for characters to escape.
_ARRAY_PARAMETER = re.compile(r"%\((\w+)\)s::(?=\w+\[\])")


def _engine(url: URL, connections: int) -> Engine:
    """An engine with connections in autocommit mode, because `Postgres` sends BEGIN and COMMIT itself."""
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT,
            "application_name": "log10-server",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
        pool_size=connections,
        pool_use_lifo=True,
        pool_timeout=10,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # A client may rely on an answered write being on disk. With `synchronous_commit` off, Postgres would confirm a
        # commit before that.
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        connection.execute("SET statement_timeout = '60s'")
        # Lists are read from an index in its order, as far as the page goes. While a table has no statistics, Postgres
        # expects few rows, and would rather read all of them (a bitmap scan) and sort them.
        connection.execute("SET enable_bitmapscan = off")
        connection.autocommit = autocommit

    return engine


def _flush_buffered_inserts(connection: Connection, *_: object) -> None:
    """Send the inserts that `Tx.buffered_inserts` has buffered, so that the next SQLAlchemy statement sees them."""
    if flush := connection.info.get("log10_flush"):
        flush()


def _execute(connection: PGconn, statements: bytes) -> PGresult:
    """The result of the last statement. Raises a driver error, also for a COMMIT of a transaction that had failed."""
    result = connection.exec_(statements)
    if not result.error_message and result.command_status != b"ROLLBACK":
        return result
    if not result.error_message:
        raise psycopg.errors.InFailedSqlTransaction("A statement failed, so there was nothing to commit.")
    if connection.status != ConnStatus.OK:  # the error of a lost connection has no SQLSTATE code
        raise psycopg.OperationalError(result.error_message.decode(errors="replace"))
    raise psycopg.errors.error_from_result(result)


def _lock_key(organization_id: str) -> str:
    """SQL for the same lock key as in `_LOCK_ORGANIZATION`, but without a parameter.

    The id is written in hexadecimal, so no id can change the meaning of the SQL.
    """
    return _LOCK_KEY.format(f"convert_from(decode('{organization_id.encode().hex()}', 'hex'), 'UTF8')")


def _array_type(column: ColumnElement[Any]) -> ARRAY[Any]:
    return ARRAY(BigInteger() if isinstance(column.type, BigInteger) else Text())


# Bulk statements take one array for each column, except the organization, which is the same in all rows.
_ARRAY_CASTS: dict[type, str] = {BigInteger: "bigint[]", Integer: "integer[]", Boolean: "boolean[]", Double: "float8[]"}
_TEXT_ARRAY = "text[]"


@cache
def _unnest(table: Table) -> str:
    columns = list(table.columns)[1:]
    return f"unnest({', '.join(f'%b::{_ARRAY_CASTS.get(type(column.type), _TEXT_ARRAY)}' for column in columns)})"


@cache
def _insert_arrays(table: Table) -> str:
    names = bulk.column_names(table)
    return f"INSERT INTO {table.name} ({names}) SELECT %s, new_rows.* FROM {_unnest(table)} AS new_rows"


@cache
def _delete_arrays(table: Table) -> str:
    organization_id, *others = (column.name for column in table.columns)
    is_same = " AND ".join(f"{table.name}.{name} = old_rows.{name}" for name in others)
    old_rows = f"{_unnest(table)} AS old_rows ({', '.join(others)})"
    return f"DELETE FROM {table.name} USING {old_rows} WHERE {table.name}.{organization_id} = %s AND {is_same}"


@cache
def _combine(statements: tuple[str, ...]) -> str:
    """One statement that runs all of these statements at once. None of them sees the changes of another one."""
    *others, last = statements
    parts = ", ".join(f"part_{number} AS ({statement})" for number, statement in enumerate(others))
    return f"WITH {parts} {last}" if parts else last


def _arrays(table: Table, rows: Sequence[Row]) -> list[list[Any] | None]:
    by_column = list(zip(table.columns, zip(*rows, strict=True), strict=True))
    return [_array(column, values) for column, values in by_column[1:]]


def _array(column: Column[Any], values: Sequence[Any]) -> list[Any] | None:
    """The values of a column as psycopg can send them.

    psycopg refuses a list that mixes ints and floats, so these become floats. It is slow for a list of nulls, so a
    column of nulls only is passed as one null, which `unnest` extends to all rows.
    """
    if values.count(None) == len(values):
        return None
    if isinstance(column.type, Double):
        return [None if value is None else float(value) for value in values]
    return list(values)
