"""The line of waiting writes: many works, one commit, and each is answered for itself."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from log10_server import store
from log10_server.db import migrations
from log10_server.db.database import Connection, Database
from log10_server.db.failures import ConnectionLost, OutcomeUnknown
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.errors import Conflict, InternalError, NotFound, Refusal, Unavailable
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.store.tags import TagRow, tag
from tests.conftest import Organization, new_organization


class Line:
    """A running writer, and a gate before it: what is handed over while the gate is closed goes into one transaction."""

    def __init__(self, database: Database, organization: Organization, max_waiting: int, max_bytes: int) -> None:
        self.writer = Writer(database, max_waiting, max_bytes)
        self.mine = organization.id
        self._gate = threading.Event()
        self._reached = threading.Event()
        self._closing: asyncio.Future[None] | None = None

    async def close_gate(self) -> None:
        def wait(_tx: Tx) -> None:
            self._reached.set()
            self._gate.wait()

        self._closing = asyncio.ensure_future(self.writer.write(self.mine, wait))
        await asyncio.sleep(0)
        await asyncio.to_thread(self._reached.wait)

    def open_gate(self) -> None:
        self._gate.set()

    async def together(self, *works: Coroutine[Any, Any, Any]) -> list[Any]:
        """What each gives, or the exception it raises, when all stand in line at once."""
        await self.close_gate()
        waiting = [asyncio.ensure_future(work) for work in works]
        await asyncio.sleep(0)
        self.open_gate()
        return await asyncio.gather(*waiting, return_exceptions=True)

    def write(self, work: Callable[[Tx], Any], **options: Any) -> Coroutine[Any, Any, Any]:
        return self.writer.write(self.mine, work, **options)

    def record(self, recorder: Callable[[Tx, Sequence[str]], Any], entry: str) -> Coroutine[Any, Any, Any]:
        return self.writer.record(self.mine, recorder, entry, 0)


@asynccontextmanager
async def lined(
    database: Database, organization: Organization, max_waiting: int = 1000, max_bytes: int = 1 << 20
) -> AsyncIterator[Line]:
    line = Line(database, organization, max_waiting, max_bytes)
    line.writer.start()
    try:
        yield line
    finally:
        line.open_gate()
        await asyncio.to_thread(line.writer.close)


def storing(session_id: str) -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        store.sessions.add_missing(tx, {session_id: 1})
        return session_id

    return work


def refusing(session_id: str, refusal: Exception) -> Callable[[Tx], str]:
    """Stores something, then raises."""

    def work(tx: Tx) -> str:
        store.sessions.add_missing(tx, {session_id: 1})
        raise refusal

    return work


def clashing(session_id: str, times: int) -> Callable[[Tx], str]:
    """As when another process was in the way: a key is taken, so many times."""
    left = [times]

    def work(tx: Tx) -> str:
        store.sessions.add_missing(tx, {session_id: 1})
        if left[0]:
            left[0] -= 1
            tx.connection.execute(
                text("INSERT INTO session (organization_id, id, created_at) VALUES (:mine, :id, 1)"),
                {"mine": tx.organization_id, "id": session_id},
            )
        return session_id

    return work


def broken(tx: Tx) -> None:
    tx.connection.execute(text("SELECT no_such_column FROM session"))


def transaction(tx: Tx) -> int:
    """What tells one transaction from another: its connection's object."""
    return id(tx.connection)


def record(tx: Tx, entries: Sequence[str]) -> list[str | Refusal]:
    """Stores all; refuses those that begin with `no`, raises for `raise`, breaks for `break`."""
    store.sessions.add_missing(tx, {entry: 1 for entry in entries if not entry.startswith("no")})
    if "raise" in entries:
        raise Conflict("raised")
    if "break" in entries:
        broken(tx)
    return [NotFound(entry) if entry.startswith("no") else f"{entry} of {len(entries)}" for entry in entries]


def stored(database: Database, organization: Organization) -> set[str]:
    with database.reading() as connection:
        return set(connection.scalars(database.tx(connection, organization.id).rows(store.sessions.session, "id")))


def test_a_lone_work_is_answered_when_it_is_stored(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            assert await line.write(storing("a")) == "a"
            assert stored(database, organization) == {"a"}

    asyncio.run(story())


def test_works_that_wait_share_a_transaction(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(*(line.write(transaction) for _ in range(50)))
            assert len(set(answers)) == 1

    asyncio.run(story())


def test_a_work_that_stands_alone_shares_no_transaction(database: Database, organization: Organization) -> None:
    open_works: list[str] = []

    def note(name: str) -> Callable[[Tx], str]:
        def work(tx: Tx) -> str:
            store.sessions.add_missing(tx, {name: 1})
            open_works.append(name)
            return name

        return work

    def seen(_tx: Tx) -> set[str]:
        return stored(database, organization)

    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(
                line.write(note("a")), line.write(seen, alone=True), line.write(note("b")), line.write(note("c"))
            )
            assert answers == ["a", {"a"}, "b", "c"]

    asyncio.run(story())
    assert stored(database, organization) == {"a", "b", "c"}


@pytest.mark.parametrize("refusal", [Conflict("taken"), NotFound("gone"), Unavailable("later", code="overloaded")])
def test_a_refused_work_undoes_only_itself(database: Database, organization: Organization, refusal: Refusal) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(
                line.write(storing("a")), line.write(refusing("b", refusal)), line.write(storing("c"))
            )
            assert answers == ["a", refusal, "c"]

    asyncio.run(story())
    assert stored(database, organization) == {"a", "c"}


def test_what_sqlite_undoes_by_itself_is_not_answered_as_stored(tmp_path: Path) -> None:
    """When the disk is full it rolls back the whole transaction, and the next savepoint began a new one: works that
    had been done before were answered as stored, and were gone."""
    database = Database(f"sqlite:///{tmp_path}/full.db")
    migrations.migrate(database)
    organization = new_organization(database)
    with database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() or 0

    def in_little_room(session_id: str) -> Callable[[Tx], str]:
        def work(tx: Tx) -> str:
            tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 3}")
            store.sessions.add_missing(tx, {session_id: 1})
            return session_id

        return work

    async def main() -> list[Any]:
        async with lined(database, organization) as line:
            works = [in_little_room(session_id) for session_id in ("a", "b", "large" * 12_000, "c")]
            return await line.together(*map(line.write, works))

    outcomes = asyncio.run(main())

    with database.writing() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 100_000}")
    answered = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert answered == stored(database, organization)
    assert isinstance(outcomes[2], Unavailable)
    database.close()


def test_a_lone_refused_work_leaves_nothing(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            with pytest.raises(Conflict, match="taken"):
                await line.write(refusing("a", Conflict("taken")))
            assert await line.write(storing("b")) == "b"

    asyncio.run(story())
    assert stored(database, organization) == {"b"}


@pytest.mark.parametrize("defect", [broken, refusing("b", ZeroDivisionError())])
def test_an_internal_error_fails_only_its_own_work_and_hides_its_message(
    database: Database, organization: Organization, defect: Callable[[Tx], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            first, failed, last = await line.together(
                line.write(storing("a")), line.write(defect), line.write(storing("c"))
            )
            assert (first, last) == ("a", "c")
            assert isinstance(failed, InternalError)
            assert "column" not in failed.detail

    asyncio.run(story())
    assert stored(database, organization) == {"a", "c"}
    assert "SELECT" not in caplog.text


def test_entries_of_one_organization_are_recorded_together(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(*(line.record(record, entry) for entry in ("a", "b", "c")))
            assert answers == ["a of 3", "b of 3", "c of 3"]

    asyncio.run(story())


def test_entries_of_two_organizations_are_recorded_apart(database: Database, organization: Organization) -> None:
    other = new_organization(database)

    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(
                line.record(record, "a"), line.writer.record(other.id, record, "b", 0), line.record(record, "c")
            )
            assert answers == ["a of 2", "b of 1", "c of 2"]

    asyncio.run(story())
    assert (stored(database, organization), stored(database, other)) == ({"a", "c"}, {"b"})


def test_a_recorder_refuses_some_and_stores_the_others(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            first, second, third = await line.together(*(line.record(record, entry) for entry in ("a", "no", "c")))
            assert (first, third) == ("a of 3", "c of 3")
            assert isinstance(second, NotFound)

    asyncio.run(story())
    assert stored(database, organization) == {"a", "c"}


@pytest.mark.parametrize(("bad", "kind"), [("raise", Conflict), ("break", InternalError)])
@pytest.mark.parametrize("company", [False, True])
def test_a_group_of_which_one_raises_is_recorded_singly(
    database: Database, organization: Organization, bad: str, kind: type[Refusal], company: bool
) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            others = [line.write(storing("w"))] if company else []
            first, second, third, *rest = await line.together(
                *(line.record(record, entry) for entry in ("a", bad, "c")), *others
            )
            assert (first, third, rest) == ("a of 1", "c of 1", ["w"] if company else [])
            assert isinstance(second, kind)

    asyncio.run(story())
    assert stored(database, organization) == {"a", "c"} | ({"w"} if company else set())


@pytest.mark.parametrize("company", [0, 3])
def test_a_work_that_clashes_is_done_again(database: Database, organization: Organization, company: int) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            others = [line.write(storing(str(number))) for number in range(company)]
            answers = await line.together(line.write(clashing("a", 3)), *others)
            assert answers == ["a", *map(str, range(company))]

    asyncio.run(story())
    assert stored(database, organization) == {"a", *map(str, range(company))}


def test_a_work_that_always_clashes_is_a_defect_and_logged(
    database: Database, organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    """It was refused as overload, and no log showed it."""

    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(line.write(storing("b")), line.write(clashing("a", 1000)))
            assert answers[0] == "b"
            assert isinstance(answers[1], InternalError)

    asyncio.run(story())
    assert stored(database, organization) == {"b"}
    assert "IntegrityError at " in caplog.text


def test_more_than_may_wait_are_refused(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization, max_waiting=6) as line:
            answers = await line.together(*(line.write(storing(session_id)) for session_id in "abcde"))
            assert answers[:3] == ["a", "b", "c"]
            assert [refused.code for refused in answers[3:]] == ["overloaded"] * 2
            assert await line.write(storing("f")) == "f"

    asyncio.run(story())
    assert stored(database, organization) == set("abcf")


def test_more_bytes_than_may_wait_are_refused(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization, max_bytes=200) as line:
            answers = await line.together(*(line.write(storing(session_id), size=40) for session_id in "abc"))
            assert answers[:2] == ["a", "b"]
            assert answers[2].code == "overloaded"
            assert await line.write(storing("d"), size=100) == "d"

    asyncio.run(story())


def test_one_that_is_larger_than_all_that_may_wait_is_taken_alone(
    database: Database, organization: Organization
) -> None:
    async def story() -> None:
        async with lined(database, organization, max_bytes=100) as line:
            assert await line.write(storing("a"), size=1000) == "a"

    asyncio.run(story())


def test_closing_does_what_stands_in_line_and_refuses_what_comes_later(
    database: Database, organization: Organization
) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            await line.close_gate()
            waiting = [asyncio.ensure_future(line.write(storing(session_id))) for session_id in "abc"]
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(asyncio.to_thread(line.writer.close))
            line.open_gate()
            await closing

            assert await asyncio.gather(*waiting) == ["a", "b", "c"]
            with pytest.raises(Unavailable) as refused:
                await line.write(storing("d"))
            assert refused.value.code == "stopping"

    asyncio.run(story())
    assert stored(database, organization) == set("abc")


def test_a_caller_that_goes_away_does_not_hurt_the_others(database: Database, organization: Organization) -> None:
    async def story() -> None:
        async with lined(database, organization) as line:
            await line.close_gate()
            waiting = [asyncio.ensure_future(line.write(storing(session_id))) for session_id in "abc"]
            await asyncio.sleep(0)
            waiting[1].cancel()
            line.open_gate()

            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert (answers[0], answers[2]) == ("a", "c")
            assert isinstance(answers[1], asyncio.CancelledError)

    asyncio.run(story())
    assert {"a", "c"} <= stored(database, organization)


def test_a_caller_whose_loop_has_ended_does_not_end_the_writer(
    database: Database, organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    line = Line(database, organization, 1000, 1000)
    line.writer.start()

    async def leave() -> None:
        await line.close_gate()
        left = asyncio.ensure_future(line.write(storing("a")))
        await asyncio.sleep(0)
        left.cancel()
        assert line._closing is not None
        line._closing.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(leave())
        line.open_gate()
        again = asyncio.run(line.write(storing("b")))
        line.writer.close()

    assert again == "b"
    assert stored(database, organization) == {"a", "b"}


def test_a_work_that_hides_the_failure_of_a_statement_is_not_answered_as_stored(
    database: Database, organization: Organization
) -> None:
    """Postgres silently treats the COMMIT after it as a ROLLBACK; SQLite undoes only that statement."""

    def hiding(tx: Tx) -> str:
        store.sessions.add_missing(tx, {"a": 1})
        with suppress(Exception):
            tx.connection.exec_driver_sql("SELECT nothing FROM nowhere")
        return "stored"

    async def story() -> list[Any]:
        async with lined(database, organization) as line:
            return list(await line.together(line.write(hiding), line.write(storing("b"))))

    hidden, other = asyncio.run(story())
    assert other == "b"
    assert (hidden == "stored") is ("a" in stored(database, organization))


def test_a_tag_whose_key_another_process_has_taken_gets_another_one(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is the microsecond of its birth, which two processes may share."""
    soon = database.clock.now() + 10_000_000
    with database.writing() as connection:
        taken = [TagRow(organization.id, soon + number, f"digest {number}", "theirs", soon, False) for number in (1, 3)]
        database.tx(connection, organization.id).insert_many(tag, taken)
    monkeypatch.setattr(
        database.clock, "_last_key", soon
    )  # the next key is `soon + 1`, and then `soon + 2` and `soon + 3`

    async def story() -> None:
        async with lined(database, organization) as line:
            await line.write(lambda tx: completions.record(tx, [Entry("c", {"tags": ["ours"]})]))

    asyncio.run(story())
    with database.reading() as connection:
        keys = store.tags.find_keys(database.tx(connection, organization.id), ["ours"])
    assert keys["ours"] == soon + 2


def test_a_burst_that_is_over_keeps_nobody_waiting(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes after it waits for no company: whoever was answered long ago isn't on the way."""

    async def story() -> float:
        async with lined(database, organization) as line:
            await line.together(*(line.write(storing(str(number))) for number in range(40)))
            await asyncio.sleep(0.1)
            waits: list[float] = []
            wait = line.writer._queue._changed.wait

            def noted(seconds: float | None = None) -> bool:
                waits.append(seconds or 0)
                return wait(seconds)

            monkeypatch.setattr(line.writer._queue._changed, "wait", noted)
            await line.write(storing("later"))
            return sum(waits)

    assert asyncio.run(story()) == 0


def test_a_commit_that_fails_fails_every_work_in_it(database: Database, organization: Organization) -> None:
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite would need a disk that fails")

    def cut(tx: Tx, entries: Sequence[str]) -> list[str]:
        """Stores, and then the connection is ended from outside, before the commit."""
        store.sessions.add_missing(tx, dict.fromkeys(entries, 1))
        number = tx.connection.scalar(text("SELECT pg_backend_pid()"))
        with database.writing() as other:
            other.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
        return list(entries)

    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(*(line.record(cut, entry) for entry in "ab"))
            assert [type(refusal) for refusal in answers] == [OutcomeUnknown] * 2
            assert await line.write(storing("c")) == "c"

    asyncio.run(story())
    assert stored(database, organization) == {"c"}


def test_a_commit_that_fails_fails_those_works_too_that_were_to_be_done_again_alone(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was done again on a database that had just been lost, and nobody was answered before that had failed, too."""
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite would need a disk that fails")
    commit = database.backend.commit
    done: list[str] = []

    def clash(tx: Tx) -> str:
        done.append("clash")
        return clashing("a", 1)(tx)

    def cut(connection: Connection) -> None:
        """The connection is ended from outside after the last statement, before the commit."""
        number = connection.scalar(text("SELECT pg_backend_pid()"))
        with database.reading() as other:
            other.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})
        commit(connection)

    def arm(_tx: Tx) -> None:
        monkeypatch.setattr(database.backend, "commit", cut)

    async def story() -> None:
        async with lined(database, organization) as line:
            answers = await line.together(line.write(clash), line.write(arm))
            assert [type(refusal) for refusal in answers] == [OutcomeUnknown] * 2

    asyncio.run(story())
    assert done == ["clash"]


def test_a_write_that_fails_in_a_transaction_that_fails_is_done_again_only_once(
    database: Database, organization: Organization
) -> None:
    """It was to be done again for both reasons. A write that stores a new row each time would store two."""
    attempts: list[str] = []
    conflict_once = clashing("a", 1)

    def conflict(tx: Tx) -> str:
        attempts.append("conflict")
        return conflict_once(tx)

    def end_transaction(tx: Tx) -> str:
        attempts.append("end")
        if attempts.count("end") == 1:
            is_sqlite = database.kind == "sqlite"
            tx.connection.exec_driver_sql("ROLLBACK" if is_sqlite else "SELECT pg_terminate_backend(pg_backend_pid())")
        return "ended"

    async def story() -> None:
        async with lined(database, organization) as line:
            assert await line.together(line.write(conflict), line.write(end_transaction)) == ["a", "ended"]

    asyncio.run(story())
    assert attempts == ["conflict", "end"] * 2
    assert stored(database, organization) == {"a"}


def test_writes_that_are_not_tried_after_a_lost_commit_are_answered_as_not_stored(
    database: Database, organization: Organization
) -> None:
    """They were answered like the write whose commit was lost, as if they might be stored."""
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite would need a disk that fails")
    conflict_once = clashing("a", 1)

    def lose_commit(tx: Tx) -> None:
        """Conflict in the shared transaction. In a transaction of its own, end the connection before the commit."""
        conflict_once(tx)
        number = tx.connection.scalar(text("SELECT pg_backend_pid()"))
        with database.reading() as other:
            other.execute(text("SELECT pg_terminate_backend(:number, 5000)"), {"number": number})

    async def story() -> None:
        async with lined(database, organization) as line:
            refusals = await line.together(
                line.write(lose_commit), line.write(clashing("b", 1)), line.write(clashing("c", 1))
            )
            assert [type(refusal) for refusal in refusals] == [OutcomeUnknown, ConnectionLost, ConnectionLost]
            assert [refusal.code for refusal in refusals] == ["no_answer", *["database_unavailable"] * 2]
            assert stored(database, organization) == set()
            assert await line.together(line.write(storing("b")), line.write(storing("c"))) == ["b", "c"]

    asyncio.run(story())
    assert stored(database, organization) == {"b", "c"}


def test_a_connection_that_is_lost_before_the_commit_is_made_anew_and_all_is_done_again(
    database: Database, organization: Organization
) -> None:
    if database.kind == "sqlite":
        pytest.skip("only Postgres ends a connection from outside; SQLite has none")
    left = [1]

    def lose(tx: Tx) -> str:
        if left[0]:
            left[0] -= 1
            tx.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return "found"

    async def story() -> None:
        async with lined(database, organization) as line:
            assert await line.together(line.write(storing("a")), line.write(lose), line.record(record, "b")) == [
                "a",
                "found",
                "b of 1",
            ]

    asyncio.run(story())
    assert stored(database, organization) == {"a", "b"}


def test_many_answers_leave_turns_of_the_event_loop_to_others(database: Database, organization: Organization) -> None:
    """2 400 connections of one organization kept the event loop from all other calls."""

    async def story() -> list[int]:
        async with lined(database, organization) as line:
            turns = 0
            answered_at: list[int] = []

            async def count_turns() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            async def write(session_id: str) -> None:
                await line.write(storing(session_id))
                answered_at.append(turns)

            await line.close_gate()
            waiting = [asyncio.ensure_future(write(str(number))) for number in range(200)]
            await asyncio.sleep(0)
            counting = asyncio.ensure_future(count_turns())
            line.open_gate()
            await asyncio.gather(*waiting)
            counting.cancel()
            return answered_at

    answered_at = asyncio.run(story())
    assert max(answered_at.count(turn) for turn in answered_at) <= 64
