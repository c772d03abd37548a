"""Work that fails for a passing reason is done again, as often as its policy says, and no other work is."""

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from log10_server import store
from log10_server.db.database import Connection, Database
from log10_server.db.failures import OutcomeUnknown
from log10_server.db.retries import RetryPolicy
from log10_server.db.transaction import Tx
from log10_server.errors import Unavailable
from tests.conftest import Organization


class Passing(Exception):
    """A reason that passes."""


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Work that fails so many times, and then returns how often it was done."""
    attempts = 0

    def work() -> int:
        nonlocal attempts
        attempts += 1
        if attempts <= times:
            raise error
        return attempts

    return work


def passes(error: Exception) -> bool:
    return isinstance(error, Passing)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_work_is_done_again_while_its_failure_passes(failures: int) -> None:
    assert RetryPolicy(attempts=3).run(failing(failures, Passing()), passes) == failures + 1


def test_the_last_failure_is_raised_when_all_attempts_have_failed() -> None:
    work = failing(3, Passing())

    with pytest.raises(Passing):
        RetryPolicy(attempts=3).run(work, passes)

    assert work() == 4


def test_a_lasting_failure_is_raised_at_once() -> None:
    work = failing(1, ZeroDivisionError())

    with pytest.raises(ZeroDivisionError):
        RetryPolicy(attempts=3).run(work, passes)

    assert work() == 2


def test_work_is_done_once_when_there_is_no_time_for_more() -> None:
    work = failing(1, Passing())

    with pytest.raises(Passing):
        RetryPolicy(seconds=0.0).run(work, passes)

    assert work() == 2


def end_connection(connection: Connection) -> None:
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def insert_twice(tx: Tx, session_id: str) -> None:
    """What another process would do between a look-up and an insert: the key is taken."""
    store.sessions.add_missing(tx, {session_id: 1})
    tx.connection.execute(
        text("INSERT INTO session (organization_id, id, created_at) VALUES (:mine, :id, 1)"),
        {"mine": tx.organization_id, "id": session_id},
    )


def test_a_write_whose_connection_is_lost_before_the_commit_is_done_again(
    database: Database, organization: Organization
) -> None:
    """An import ended there, with all that it had still to read."""
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite has none")
    attempts: list[Tx] = []

    def work(tx: Tx) -> str:
        attempts.append(tx)
        store.sessions.add_missing(tx, {"a": 1})
        if len(attempts) == 1:
            end_connection(tx.connection)
        return "stored"

    assert database.write(organization.id, work) == "stored"
    assert len(attempts) == 2


def test_a_write_whose_connection_is_lost_in_the_commit_is_not_done_again(
    database: Database, organization: Organization
) -> None:
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite has none")
    attempts: list[Tx] = []

    def work(tx: Tx) -> None:
        attempts.append(tx)
        number = tx.connection.scalar(text("SELECT pg_backend_pid()"))
        with database.writing() as other:
            other.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})

    with pytest.raises(OutcomeUnknown) as unknown:
        database.write(organization.id, work)

    assert unknown.value.code == "no_answer"
    assert len(attempts) == 1


@pytest.mark.parametrize("conflicts", [1, 4])
def test_a_write_that_meets_another_one_is_done_again(
    database: Database, organization: Organization, conflicts: int
) -> None:
    attempts: list[Tx] = []

    def work(tx: Tx) -> int:
        attempts.append(tx)
        if len(attempts) <= conflicts:
            insert_twice(tx, "a")
        return len(attempts)

    assert database.write(organization.id, work) == conflicts + 1


def test_a_write_that_always_conflicts_with_another_one_is_refused_as_overload(
    database: Database, organization: Organization
) -> None:
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a transaction for another one; on SQLite one transaction writes at a time")
    attempts: list[Tx] = []

    def work(tx: Tx) -> None:
        attempts.append(tx)
        store.sessions.add_missing(tx, {"a": 1})
        tx.connection.execute(text("DO 'BEGIN RAISE EXCEPTION SQLSTATE ''40P01''; END'"))  # a deadlock

    with pytest.raises(Unavailable) as refused:
        database.write(organization.id, work)

    assert refused.value.code == "overloaded"
    assert len(attempts) == 5
    with database.reading() as connection:
        assert store.sessions.find(database.tx(connection, organization.id), "a") is None


def insert_tag_of_unknown_completion(tx: Tx) -> None:
    tx.connection.execute(
        text(
            "INSERT INTO completion_tag (organization_id, completion_id, tag_id, created_at) VALUES (:mine, 'unknown', 1, 1)"
        ),
        {"mine": tx.organization_id},
    )


def insert_null(tx: Tx) -> None:
    tx.connection.execute(
        text("INSERT INTO session (organization_id, id, created_at) VALUES (:mine, 'a', NULL)"),
        {"mine": tx.organization_id},
    )


@pytest.mark.parametrize(
    ("store_row", "attempts"),
    [(lambda tx: insert_twice(tx, "a"), 5), (insert_tag_of_unknown_completion, 5), (insert_null, 1)],
    ids=["unique key", "foreign key", "not null"],
)
def test_a_row_that_always_violates_a_constraint_is_a_bug(
    database: Database, organization: Organization, store_row: Callable[[Tx], None], attempts: int
) -> None:
    """It was refused as overload, which was never logged. Only another transaction can make a violated key valid."""
    transactions: list[Tx] = []

    def work(tx: Tx) -> None:
        transactions.append(tx)
        store_row(tx)

    with pytest.raises(IntegrityError):
        database.write(organization.id, work)

    assert len(transactions) == attempts


def test_a_read_whose_connection_is_lost_is_done_again_once(database: Database) -> None:
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite has none")
    attempts: list[Connection] = []

    def always_lost(connection: Connection) -> None:
        attempts.append(connection)
        end_connection(connection)

    with pytest.raises(Unavailable):
        database.read(always_lost)

    assert len(attempts) == 2
