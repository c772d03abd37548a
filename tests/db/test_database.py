"""The database: a committed write is seen by the next read, many values go in one statement, and SQLite is durable."""

import json
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from log10_server import store
from log10_server.db import migrations
from log10_server.db.database import Database, database_url
from log10_server.db.postgres import Postgres
from log10_server.db.statements import Statement
from log10_server.db.transaction import Tx
from log10_server.errors import Unavailable
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.settings import SettingsError
from log10_server.store.completions import CompletionRow, completion
from log10_server.store.sessions import SessionRow, session
from log10_server.store.tags import TagRow, tag
from tests.conftest import Organization, new_organization


def row(tx: Tx, completion_id: str, **values: Any) -> CompletionRow:
    nothing: dict[str, Any] = dict.fromkeys(CompletionRow._fields[2:])
    return CompletionRow(tx.organization_id, completion_id, **{**nothing, "created_at": 1, **values})


def read(tx: Tx) -> list[CompletionRow]:
    return [CompletionRow(*values) for values in tx.connection.execute(tx.rows(completion).order_by(completion.c.id))]


ODD = [
    "",
    " ",
    "a\tb\n",
    "é😀",
    "\x01\x7f\x85",
    "{1,2}",
    '{"a":"\\u0000"}',
    "NULL",
    "null",
    "\\N",
    '"',
    "'",
    "\\",
    "%s",
    ":x",
    "x" * 10**6,
]


def test_what_is_written_is_seen_by_every_connection_at_once(database: Database, organization: Organization) -> None:
    for number in range(20):
        with database.writing() as connection:
            store.sessions.add_missing(database.tx(connection, organization.id), {str(number): 1})

        for _ in range(3):
            with database.reading() as first, database.reading() as second:
                for connection in (first, second):
                    assert store.sessions.find(database.tx(connection, organization.id), str(number)) is not None


def test_what_raises_leaves_nothing(database: Database, organization: Organization) -> None:
    def write() -> None:
        with database.writing() as connection:
            store.sessions.add_missing(database.tx(connection, organization.id), {"a": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    with database.reading() as connection:
        assert store.sessions.find(database.tx(connection, organization.id), "a") is None


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_any_number_of_texts_is_looked_up_in_one_statement(tx: Tx, count: int) -> None:
    ids = [f"s'{number}\\" for number in range(0, count, 2)]
    tx.insert_many(session, [SessionRow(tx.organization_id, session_id, 1) for session_id in ids])

    names = [f"s'{number}\\" for number in range(count)]
    matches = tx.connection.scalars(tx.rows(session, "id").where(tx.in_list(session.c.id, names)))

    assert sorted(matches) == sorted(ids)


@pytest.mark.parametrize("value", ODD)
def test_odd_texts_are_looked_up_exactly(tx: Tx, value: str) -> None:
    tx.insert_many(completion, [row(tx, "a", failure_kind=value), row(tx, "b", failure_kind=value + " ")])

    matches = tx.connection.scalars(tx.rows(completion, "id").where(tx.in_list(completion.c.failure_kind, [value])))

    assert list(matches) == ["a"]


@pytest.mark.parametrize("numbers", [[0], [-1, 1], [2**31, 1, 2**63 - 1, -(2**63)], list(range(5000))])
def test_whole_numbers_of_any_size_are_looked_up(tx: Tx, numbers: list[int]) -> None:
    tx.insert_many(session, [SessionRow(tx.organization_id, str(number), number) for number in [*numbers, 77_777]])

    matches = tx.connection.scalars(tx.rows(session, "created_at").where(tx.in_list(session.c.created_at, numbers)))

    assert sorted(matches) == sorted(numbers)


_SESSIONS_OF = Statement(
    lambda query: query.rows(session, "created_at").where(query.in_list(session.c.created_at, "numbers"))
)


@pytest.mark.parametrize("numbers", [[], [0], [-1, 1], [2**31, 1, 2**63 - 1, -(2**63)], list(range(5000))])
def test_a_statement_that_is_built_once_looks_up_whole_numbers_of_any_size(tx: Tx, numbers: list[int]) -> None:
    tx.insert_many(session, [SessionRow(tx.organization_id, str(number), number) for number in [*numbers, 77_777]])

    matches = tx.fetch(_SESSIONS_OF, numbers=numbers)

    assert sorted(number for (number,) in matches) == sorted(numbers)


def test_a_statement_that_is_built_once_looks_up_odd_texts_exactly(tx: Tx) -> None:
    stored = ODD[::2]
    tx.insert_many(completion, [row(tx, completion_id) for completion_id in stored])

    assert store.completions.find_existing_ids(tx, ODD) == set(stored)


def test_what_is_inserted_together_is_found_by_what_is_asked_meanwhile_and_at_the_end(tx: Tx) -> None:
    with tx.buffered_inserts():
        tx.insert_many(session, [SessionRow(tx.organization_id, "s", 1)])
        store.completions.add(tx, [row(tx, "a", session_id="s"), row(tx, "b", session_id="s")])
        assert store.completions.find_existing_ids(tx, "abc") == {"a", "b"}
        store.completions.add(tx, [row(tx, "c", session_id="s")])

    assert store.completions.find_existing_ids(tx, "abc") == {"a", "b", "c"}


_COUNT_IDS = text("SELECT count(*) FROM session WHERE organization_id = :mine")


@pytest.mark.parametrize("connection_is_held", [False, True])
def test_buffered_rows_are_seen_by_statements_that_sqlalchemy_runs(tx: Tx, connection_is_held: bool) -> None:
    """SQLite saw the rows, and Postgres did not, also where the connection was taken before they were inserted."""
    held = tx.connection

    def count() -> int:
        connection = held if connection_is_held else tx.connection
        return int(connection.scalar(_COUNT_IDS, {"mine": tx.organization_id}) or 0)

    with tx.buffered_inserts():
        tx.insert_many(session, [SessionRow(tx.organization_id, "a", 1)])
        assert count() == 1
        tx.insert_many(session, [SessionRow(tx.organization_id, "b", 1)])
        assert tx.connection.execute(tx.delete(session).where(session.c.id == "b")).rowcount == 1
        tx.insert_many(session, [SessionRow(tx.organization_id, "c", 1)])
        with tx.connection.begin_nested():
            assert count() == 2

    assert count() == 2


def test_buffered_rows_that_can_not_be_stored_are_refused_by_the_next_statement(tx: Tx) -> None:
    def insert() -> None:
        with tx.connection.begin_nested(), tx.buffered_inserts():
            store.completions.add(tx, [row(tx, "a"), row(tx, "a")])
            tx.connection.execute(text("SELECT 1"))

    with pytest.raises(IntegrityError):
        insert()

    assert store.completions.find_existing_ids(tx, "a") == set()


def test_rows_that_are_inserted_together_are_refused_as_a_whole_if_one_violates_a_key(tx: Tx) -> None:
    def insert() -> None:
        with tx.connection.begin_nested(), tx.buffered_inserts():
            store.completions.add(tx, [row(tx, "a")])
            store.completions.add(tx, [row(tx, "b"), row(tx, "b")])

    with pytest.raises(IntegrityError):
        insert()

    assert store.completions.find_existing_ids(tx, "ab") == set()


def test_on_postgres_nothing_is_gathered_inside_of_what_is_gathered(tx: Tx) -> None:
    def insert() -> None:
        with tx.buffered_inserts():
            store.completions.add(tx, [row(tx, "a")])
            with tx.buffered_inserts():
                store.completions.add(tx, [row(tx, "b")])

    if tx.backend.name == "postgresql":
        with pytest.raises(AssertionError):
            insert()
    else:
        insert()

    assert store.completions.find_existing_ids(tx, "ab") == (set() if tx.backend.name == "postgresql" else {"a", "b"})


def test_what_was_to_be_inserted_together_is_forgotten_when_that_fails(tx: Tx) -> None:
    def fail() -> None:
        with tx.connection.begin_nested(), tx.buffered_inserts():
            store.completions.add(tx, [row(tx, "a")])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    store.completions.add(tx, [row(tx, "b")])

    assert store.completions.find_existing_ids(tx, "ab") == {"b"}


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("duration", [None, 1, 1.5])
def test_columns_of_nothing_are_inserted_as_nothing(tx: Tx, count: int, duration: float | None) -> None:
    """Whether a column is null in all rows, or has a value in the first or the last of them only."""
    inserted = [row(tx, str(number), duration=duration if number == count - 1 else None) for number in range(count)]
    inserted.append(row(tx, "last", status="started"))

    store.completions.add(tx, inserted)

    assert read(tx) == inserted


_LOOK_UPS = {
    "tags by name": (store.tags._KEYS, {"digests": ["d7", "d8", "d9"]}),
    "tags and selectors": (store.feedback_tasks._EXISTING_TAGS, {"digests": ["d7", "d8", "d9"]}),
    "completions by id": (store.completions._EXISTING_IDS, {"ids": ["c7", "c8", "c9"]}),
}


@pytest.mark.parametrize("name", _LOOK_UPS)
def test_postgres_reads_no_more_than_it_looks_for_in_a_table_that_nobody_has_counted(tx: Tx, name: str) -> None:
    if tx.backend.name == "sqlite":
        pytest.skip("only Postgres plans by what it has counted")
    names = [str(number) for number in range(2000)]
    tx.insert_many(tag, [TagRow(tx.organization_id, int(n), f"d{n}", n, 1, False) for n in names])
    store.completions.add(tx, [row(tx, f"c{n}") for n in names])
    statement, values = _LOOK_UPS[name]
    sql, _, constants, _ = statement.compile(tx.backend)
    parameters = {**constants, "organization_id": tx.organization_id, **{n: json.dumps(v) for n, v in values.items()}}
    driver: Any = tx.connection.connection.driver_connection

    plan = driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters).fetchone()[0]

    assert read_by(plan[0]["Plan"]) <= 20


def read_by(plan: dict[str, Any]) -> float:
    """How many rows the parts of a plan have read from tables, those among them that were of no use."""
    own: float = (
        plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    )
    is_scan = "Relation Name" in plan
    read: float = own * plan["Actual Loops"] * is_scan
    return read + sum(map(read_by, plan.get("Plans", [])))


@pytest.mark.parametrize(
    "values",
    [
        [{}, {}],
        [{"input_tokens": None}, {"input_tokens": 2**63 - 1}, {"input_tokens": 0}, {"input_tokens": -(2**63)}],
        [{"input_tokens": 2**63 - 1}],
        [{"input_tokens": number} for number in (1, 40_000, 2**31, 2**40)],
        [{"duration": number} for number in (None, 0.1, 1.0, 1e300, 5e-324, -0.0, 2.0**60)],
        [{"duration": 1}, {"duration": 0.5}],
        [{"failure_reason": value} for value in [*ODD, None]],
        [{"tags": "[]", "request": '{"a":null}'}, {"response": "{}"}, {"status": "failed", "model": "é"}],
    ],
)
def test_many_rows_are_inserted_as_they_are(tx: Tx, values: list[dict[str, Any]]) -> None:
    rows = [row(tx, f"{number:03}", **fields) for number, fields in enumerate(values)]

    tx.insert_many(completion, rows)

    assert read(tx) == rows


@pytest.mark.parametrize("count", [13, 14, 15, 28, 29])
def test_rows_are_whole_however_many_go_in_one_statement(tx: Tx, count: int) -> None:
    rows = [row(tx, f"{number:03}", created_at=number, failure_reason=f"reason {number}") for number in range(count)]
    tx.insert_many(completion, rows[::3])

    tx.insert_missing(completion, rows)

    assert read(tx) == rows


def test_no_rows_are_no_statement(tx: Tx) -> None:
    tx.insert_many(completion, [])

    assert read(tx) == []


def test_a_row_whose_key_is_taken_is_left_out(tx: Tx) -> None:
    tx.insert_many(session, [SessionRow(tx.organization_id, "a", 1)])

    tx.insert_missing(session, [SessionRow(tx.organization_id, "a", 2), SessionRow(tx.organization_id, "b", 2)])

    stored = tx.connection.execute(tx.rows(session, "id", "created_at").order_by(session.c.id))
    assert [tuple(stored_row) for stored_row in stored] == [("a", 1), ("b", 2)]


def test_texts_sort_by_code_point(tx: Tx) -> None:
    ids = ["b", "B", "a", "é", "z", "Z", "_", "1", "😀", "\uffee", " ", "aa", "a b", "a-b"]
    tx.insert_many(completion, [row(tx, completion_id) for completion_id in ids])

    assert [stored.id for stored in read(tx)] == sorted(ids)


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "foo", "/tmp/x.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "mysql://h/d", "oracle://h", "nosuch://x",
        "postgresql", "http://h/d", "postgresql://h:abc/d", "postgresql://[::1/d", "postgresql://u:p@h:54x32/d",
    ],
)  # fmt: skip
def test_a_url_of_no_database_is_refused_by_name_and_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL") as refused:
        database_url(url)

    assert ":p@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///x.db", "sqlite"),
        ("sqlite:////tmp/x.db", "sqlite"),
        ("sqlite+pysqlite:///x.db", "sqlite"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql://u:p@h:5432/d?sslmode=require", "postgresql+psycopg"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://[::1]:5432/d", "postgresql+psycopg"),
        ("postgresql:///d?host=/tmp", "postgresql+psycopg"),
    ],
)
def test_a_url_gets_the_driver_that_is_used_here(url: str, driver: str) -> None:
    assert database_url(url).drivername == driver


def test_a_password_that_looks_like_a_url_stays() -> None:
    assert database_url("postgresql://u:postgres%3A%2F%2Fx@h/d").password == "postgres://x"


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "postgresql://u:secret@127.0.0.1:1/d"])
def test_a_database_that_can_not_be_reached_is_unavailable(url: str) -> None:
    database = Database(url)

    with pytest.raises(Unavailable) as refused, database.reading():
        pass
    with pytest.raises(Unavailable), database.writing():
        pass

    assert "secret" not in refused.value.detail
    database.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The URL of a migrated SQLite file of its own."""
    url = f"sqlite:///{tmp_path}/own file.db"
    database = Database(url)
    migrations.migrate(database)
    database.close()
    return url


def test_every_sqlite_connection_is_durable_and_checks_its_keys(path: str) -> None:
    database = Database(path, readers=3)

    with (
        database.reading() as first,
        database.reading() as second,
        database.reading() as third,
        database.writing() as writing,
    ):
        for connection in (first, second, third, writing):
            pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS}
            assert pragmas == PRAGMAS
    with database.writing() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS} == PRAGMAS

    database.close()


PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 8_000}


def write_much(url: str, organization_id: str, name: str, count: int) -> None:
    database = Database(url)
    for number in range(count):
        with database.writing() as connection:
            tx = database.tx(connection, organization_id)
            completions.record(tx, [Entry(f"{name} {number}", {"tags": ["t"]}), Entry("both", {"tags": [name]})])
    database.close()


def written(url: str, organization_id: str) -> int:
    database = Database(url)
    with database.reading() as connection:
        count = connection.scalar(
            text("SELECT count(*) FROM completion WHERE organization_id = :mine"), {"mine": organization_id}
        )
    database.close()
    return int(count or 0)


def test_two_processes_write_one_sqlite_file(path: str) -> None:
    database = Database(path)
    organization = new_organization(database)
    database.close()
    context = multiprocessing.get_context("spawn")

    other = context.Process(target=write_much, args=(path, organization.id, "process", 60))
    other.start()
    write_much(path, organization.id, "we", 60)
    other.join()

    assert other.exitcode == 0
    assert written(path, organization.id) == 121


def test_threads_with_databases_of_their_own_write_at_once(database: Database, organization: Organization) -> None:
    url = database.url.render_as_string(hide_password=False)
    failed: list[BaseException] = []

    def write(name: str) -> None:
        try:
            write_much(url, organization.id, name, 15)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    assert written(url, organization.id) == 61


def test_a_connection_that_is_lost_when_its_plans_are_made_anew_is_replaced(database: Database) -> None:
    """A server whose Postgres had been killed answered 500 once for each connection that it kept."""
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite has none")
    ended = Database(database.url.render_as_string(hide_password=False))
    with database.reading() as first, database.reading() as second, database.writing() as writing:
        kept = [
            connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() for connection in (first, second, writing)
        ]
    assert isinstance(database.backend, Postgres)
    database.backend.count_inserted(completion, 1_000_000)
    with ended.reading() as connection:
        for number in kept:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 5000)")
    ended.close()

    assert database.read(lambda connection: connection.exec_driver_sql("SELECT 2").scalar()) == 2
    with database.writing() as connection:
        assert connection.exec_driver_sql("SELECT 3").scalar() == 3
