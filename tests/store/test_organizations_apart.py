"""No organization waits for another, and readers that are kept busy lock nobody out."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.errors import Unavailable
from log10_server.runtime.runtime import Runtime
from log10_server.services import rollup, ungraded_index
from log10_server.settings import Settings
from tests.conftest import Api, Organization, Served, new_organization, serve


@pytest.fixture
def other(database: Database) -> Organization:
    return new_organization(database)


def test_a_write_of_one_organization_does_not_wait_for_another_process_that_writes_for_another(
    database: Database, organization: Organization, other: Organization
) -> None:
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time, for all organizations")
    order: list[str] = []

    def note(tx: Tx) -> None:
        order.append(tx.organization_id)

    async def story() -> None:
        writer = Writer(database, 100, 1 << 20)
        writer.start()
        with database.writing() as connection:  # another process, in the middle of a write for `organization`
            database.tx(connection, organization.id)
            held_up = [asyncio.ensure_future(writer.write(organization.id, note)) for _ in range(2)]
            for _ in range(3):
                await asyncio.wait_for(writer.write(other.id, note), 10)
            assert not any(task.done() for task in held_up)
        await asyncio.wait_for(asyncio.gather(*held_up), 10)
        writer.close()

    asyncio.run(story())
    assert order == [other.id] * 3 + [organization.id] * 2


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_write_sees_what_was_committed_while_it_waited_whatever_the_server_has_as_default(
    database: Database, organization: Organization, isolation: str
) -> None:
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time, for all organizations")

    def isolations(database: Database) -> list[str]:
        query = text("SHOW transaction_isolation")
        with database.writing() as alone, database.writing_for([organization.id]) as (connection, _):
            return [str(each.scalar(query)) for each in (alone, connection)]

    with database.reading() as connection:
        connection.execute(
            text(f"ALTER DATABASE {database.url.database} SET default_transaction_isolation = '{isolation}'")
        )
    later = Database(database.url.render_as_string(hide_password=False))
    try:
        assert isolations(later) == ["read committed"] * 2
    finally:
        later.close()
        with database.reading() as connection:
            connection.execute(text(f"ALTER DATABASE {database.url.database} RESET default_transaction_isolation"))


@pytest.mark.parametrize("organization_id", ["acme", "a'b", "é\\'", "'); SELECT 1; --"])
def test_a_transaction_leaves_out_an_organization_that_another_one_has_to_itself(
    database: Database, organization_id: str
) -> None:
    with database.writing() as connection:
        database.tx(connection, organization_id)
        if database.kind == "postgresql":
            with database.writing_for(["free", organization_id]) as (_, txs):
                assert list(txs) == ["free"]

    with database.writing_for(["free", organization_id]) as (_, txs):
        assert list(txs) == ["free", organization_id]


def test_two_processes_that_write_for_one_organization_take_turns(
    database: Database, organization: Organization
) -> None:
    """One that found the organization locked slept for 5 ms, and had a third of the turns or fewer."""
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time, for all organizations")
    writes = 100
    second = Database(database.url.render_as_string(hide_password=False))
    order: list[int] = []

    def note(process: int) -> Callable[[Tx], None]:
        def work(_tx: Tx) -> None:
            order.append(process)
            time.sleep(0.001)

        return work

    async def story() -> None:
        writers = [Writer(database, 1000, 1 << 20), Writer(second, 1000, 1 << 20)]
        waiting = [
            asyncio.ensure_future(writer.write(organization.id, note(process), alone=True))
            for _ in range(writes)
            for process, writer in enumerate(writers)
        ]
        await asyncio.sleep(0)  # so that all of them are in the queues
        for writer in writers:
            writer.start()
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
        for writer in writers:
            writer.close()

    try:
        asyncio.run(story())
    finally:
        second.close()
    while_both_write = order[: min(len(order) - order[::-1].index(process) for process in (0, 1))]
    assert min(map(while_both_write.count, (0, 1))) >= 0.8 * writes


def test_a_transaction_may_wait_a_moment_for_an_organization_that_another_one_has(
    database: Database, organization: Organization, other: Organization
) -> None:
    if database.kind == "sqlite":
        pytest.skip("SQLite has one writer at a time, for all organizations")
    waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def locked(organization_ids: list[str], awaited: str | None = None) -> set[str]:
        with database.writing_for(organization_ids, awaited) as (_, txs):
            return set(txs)

    with database.writing() as connection:
        database.tx(connection, organization.id)
        assert locked([organization.id]) == set()
        assert locked([organization.id, other.id], awaited=organization.id) == {other.id}
    with ThreadPoolExecutor() as threads:
        for _ in range(50):  # until one still waits when the lock becomes free, however slow the machine is
            with database.writing() as connection:
                database.tx(connection, organization.id)
                waiting = threads.submit(locked, [organization.id, other.id], organization.id)
                while not waiting.done() and not connection.scalar(waits):
                    pass
            if waiting.result(10) == {organization.id, other.id}:
                return
    pytest.fail("No transaction has waited for the lock.")


def test_writers_of_the_same_organizations_in_any_order_never_lock_each_other(
    database: Database, organization: Organization, other: Organization
) -> None:
    """One transaction has several organizations; two processes may meet them in different orders."""
    done: list[str] = []

    async def story() -> None:
        writer = Writer(database, 1000, 1 << 20)
        writer.start()
        owners = [organization.id, other.id]
        works = [writer.write(owners[number % 2], lambda tx: done.append(tx.organization_id)) for number in range(200)]
        await asyncio.wait_for(asyncio.gather(*works), 30)
        writer.close()

    threads = [threading.Thread(target=asyncio.run, args=[story()]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 400


@pytest.fixture
def with_one_reader(migrated: Database) -> Iterator[Served]:
    yield from serve(migrated, Settings(readers=1))


def test_readers_that_are_kept_busy_lock_nobody_out(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    runtime = with_one_reader.app.state.runtime
    go_on = threading.Event()
    with ThreadPoolExecutor(2) as pool, Api(with_one_reader.url, organization) as api:
        busy = pool.submit(
            asyncio.run, runtime.read("an organization", lambda _: go_on.wait(20))
        )  # a list that takes long
        try:
            waiting = pool.submit(api.get, "/completions")
            time.sleep(0.1)

            health = httpx.get(f"{with_one_reader.url}/healthz", trust_env=False)
            written = api.post("/completions", json={"id": "one"})
        finally:
            go_on.set()
        busy.result()

        assert health.status_code == 200
        assert written.status_code == 201
        assert waiting.result().status_code == 200


def test_reads_that_wait_at_the_end_are_refused_and_count_no_longer(database: Database) -> None:
    """They used to be counted for ever: the program seemed to hang at its end, and their callers waited in vain."""
    go_on = threading.Event()

    async def main() -> tuple[list[Any], bool]:
        runtime = Runtime(Settings(readers=1), database, ungraded_index.continue_backfill, rollup)
        runtime.start()
        reads = [asyncio.ensure_future(runtime.read("an organization", lambda _: go_on.wait(20))) for _ in range(4)]
        await asyncio.sleep(0.1)
        await runtime.close()
        waited = await asyncio.gather(*reads[1:], return_exceptions=True)
        go_on.set()
        await reads[0]
        return waited, runtime.is_stuck

    waited, is_stuck = asyncio.run(main())

    assert [type(refusal) for refusal in waited] == [Unavailable] * 3
    assert not is_stuck


def test_a_read_that_takes_too_long_ends_by_itself(database: Database, organization: Organization) -> None:
    """The caller has had its 503; the thread must not go on for it."""
    gave_up = time.monotonic() - 1

    with pytest.raises(Exception, match="took too long"), database.reading(gave_up) as connection:
        database.tx(connection, organization.id).check_deadline()
