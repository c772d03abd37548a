"""What a changed task means for older completions is filled in behind, and lists are right meanwhile (docs/api.md, "Ungraded completions")."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.db.writer import Writer
from log10_server.errors import Refusal
from log10_server.runtime.ungraded_backfill import Backfill
from log10_server.services import completions, feedback, feedback_tasks, ungraded, ungraded_index
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import FeedbackTaskChanges, NewFeedbackTask
from log10_server.services.selectors import CompletionList
from tests.conftest import Organization, new_organization
from tests.services.test_ungraded import assert_kept, expected_ungraded, rows

MANY = 60


@pytest.fixture(autouse=True)
def backfill_batch_size(database: Database) -> Iterator[int]:
    """A task is filled by seven completions at a time."""
    before, database.thresholds.backfill_batch_size = database.thresholds.backfill_batch_size, 7
    yield database.thresholds.backfill_batch_size
    database.thresholds.backfill_batch_size = before


def log_completions(tx: Tx, start: int, end: int, *tags: str, created_at: int | None = None) -> list[str]:
    """Gives their ids, the newest first."""
    ids = [f"c{number:03}" for number in range(start, end)]
    for completion_id in ids:
        completions.record(tx, [Entry(completion_id, {"tags": list(tags)}, created_at)])
    return ids[::-1]


def task_with_selector(tx: Tx, *selector: str) -> str:
    return feedback_tasks.create(tx, NewFeedbackTask(None, "a task", "", "{}", selector)).id


def grade(tx: Tx, task_id: str, *ids: str) -> str:
    (outcome,) = feedback.record(tx, [NewFeedback(None, task_id, "{}", "", CompletionList(ids))])
    assert not isinstance(outcome, Refusal)
    return outcome.feedback.id


def listed(tx: Tx, task_id: str | None = None, offset: int = 0, limit: int = 1000) -> list[str]:
    return ungraded.list_newest(tx, task_id, offset, limit)


def kept(tx: Tx, task_id: str) -> list[str]:
    return sorted(
        (completion_id for completion_id, task in rows(tx, "ungraded", "completion_id", "task_id") if task == task_id),
        reverse=True,
    )


def behind(tx: Tx) -> list[str]:
    """The tasks that are not whole."""
    return [task for (task,) in rows(tx, "ungraded_backfill", "task_id")]


def filled(tx: Tx) -> None:
    for _ in range(100):
        for task in behind(tx):
            ungraded_index.continue_backfill(tx, task)
    assert behind(tx) == []
    assert_kept(tx)


def test_a_new_task_is_filled_with_the_newest_first(tx: Tx) -> None:
    ids = log_completions(tx, 0, MANY, "x")

    task = task_with_selector(tx, "x")
    first = kept(tx, task)
    ungraded_index.continue_backfill(tx, task)

    assert (first, kept(tx, task), behind(tx)) == (ids[:7], ids[:14], [task])
    filled(tx)
    assert kept(tx, task) == ids


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 13, 14, 15])
def test_a_task_is_whole_when_all_have_been_looked_at(tx: Tx, count: int) -> None:
    ids = log_completions(tx, 0, count, "x")

    task = task_with_selector(tx, "x")

    assert kept(tx, task) == ids[:7]
    assert bool(behind(tx)) == (count >= 7)
    filled(tx)


def test_lists_are_right_at_once_wherever_they_begin(tx: Tx) -> None:
    both = log_completions(tx, 0, MANY, "x", "y")
    older = task_with_selector(tx, "y")
    filled(tx)
    grade(tx, older, *both[::2])

    task = task_with_selector(tx, "x")

    for offset in range(0, MANY + 5, 3):
        assert listed(tx, task, offset, 10) == both[offset : offset + 10]
        assert listed(tx, None, offset, 10) == both[offset : offset + 10]
        assert listed(tx, older, offset, 10) == both[1::2][offset : offset + 10]
    assert listed(tx, task, 10**18) == []
    assert listed(tx, None, 2**63 - 1, 1000) == []
    assert behind(tx) == [task]


def test_what_is_graded_and_deleted_behind_stays_away_and_comes_back(tx: Tx) -> None:
    ids = log_completions(tx, 0, MANY, "x")
    task = task_with_selector(tx, "x")

    feedback_id = grade(tx, task, ids[1], ids[30], ids[50])
    completions.delete(tx, ids[40])

    left = [completion_id for completion_id in ids if completion_id not in (ids[1], ids[30], ids[40], ids[50])]
    assert listed(tx, task) == left
    feedback.delete(tx, feedback_id)
    assert listed(tx, task) == [completion_id for completion_id in ids if completion_id != ids[40]]
    filled(tx)


def test_completions_with_an_old_time_are_listed_last(tx: Tx) -> None:
    ids = log_completions(tx, 0, MANY, "x")
    task = task_with_selector(tx, "x")

    old = log_completions(tx, 100, 110, "x", created_at=5)

    assert listed(tx, task) == ids + old
    filled(tx)
    assert kept(tx, task) == old + ids


def test_a_task_that_is_archived_before_it_is_whole_asks_for_nothing(tx: Tx) -> None:
    ids = log_completions(tx, 0, MANY, "x")
    task, other = task_with_selector(tx, "x"), task_with_selector(tx, "x")
    filled(tx)

    feedback_tasks.change(tx, task, FeedbackTaskChanges(archived=True))

    assert (listed(tx, task), listed(tx, other), listed(tx)) == ([], ids, ids)
    assert behind(tx) == [task]
    feedback_tasks.change(tx, other, FeedbackTaskChanges(archived=True))
    assert listed(tx) == []
    filled(tx)
    assert kept(tx, task) == []


def test_a_task_that_is_taken_out_of_the_archive_before_it_is_empty_asks_for_all(tx: Tx) -> None:
    ids = log_completions(tx, 0, MANY, "x")
    task = task_with_selector(tx, "x")
    filled(tx)
    feedback_tasks.change(tx, task, FeedbackTaskChanges(archived=True))
    ungraded_index.continue_backfill(tx, task)

    feedback_tasks.change(tx, task, FeedbackTaskChanges(archived=False))

    assert listed(tx, task) == listed(tx) == ids
    filled(tx)


def test_another_selector_leaves_nothing_of_the_one_before(tx: Tx) -> None:
    some, others = log_completions(tx, 0, 30, "x"), log_completions(tx, 30, 60, "y")
    task = task_with_selector(tx, "x")
    filled(tx)

    feedback_tasks.change(tx, task, FeedbackTaskChanges(selector=("y",)))
    at_once = listed(tx, task), listed(tx)
    ungraded_index.continue_backfill(tx, task)
    feedback_tasks.change(tx, task, FeedbackTaskChanges(selector=("x",)))

    assert at_once == (others, others)
    assert listed(tx, task) == listed(tx) == some
    filled(tx)


@asynccontextmanager
async def filling(database: Database) -> AsyncIterator[tuple[Writer, Backfill]]:
    """A writer and the loop that fills, as a server has them."""
    writer = Writer(database, 1000, 1 << 20)
    backfill = Backfill(lambda work: asyncio.to_thread(database.read, work), writer, ungraded_index.continue_backfill)
    writer.start()
    backfill.start()
    try:
        yield writer, backfill
    finally:
        await backfill.close()
        await asyncio.to_thread(writer.close, 10)


async def until_whole(database: Database) -> None:
    def look() -> int:
        with database.reading() as connection:
            return len(connection.exec_driver_sql("SELECT task_id FROM ungraded_backfill").all())

    async with asyncio.timeout(30):
        while await asyncio.to_thread(look):
            await asyncio.sleep(0.02)


def test_the_loop_goes_on_with_the_tasks_of_all_organizations(database: Database, organization: Organization) -> None:
    owners = [organization.id, new_organization(database).id]
    for owner in owners:
        with database.writing() as connection:
            tx = database.tx(connection, owner)
            log_completions(tx, 0, MANY, "x")
            task_with_selector(tx, "x")
            task_with_selector(tx, "x")

    async def run() -> None:
        async with filling(database):
            await until_whole(database)

    asyncio.run(run())

    for owner in owners:
        with database.reading() as connection:
            tx = database.tx(connection, owner)
            assert_kept(tx)
            assert len(rows(tx, "ungraded", "task_id")) == 2 * MANY


def test_a_task_that_can_not_be_filled_keeps_no_other_waiting(database: Database, organization: Organization) -> None:
    """The others came behind it in the list of those that are not whole, and were never reached."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        log_completions(tx, 0, MANY, "x")
        spoiled, sound = sorted(task_with_selector(tx, "x") for _ in range(2))
        connection.exec_driver_sql(f"UPDATE feedback_task SET selector = '[' WHERE id = '{spoiled}'")

    def left() -> list[str]:
        with database.reading() as connection:
            return [task_id for (task_id,) in connection.exec_driver_sql("SELECT task_id FROM ungraded_backfill")]

    async def run() -> None:
        async with filling(database), asyncio.timeout(30):
            while sound in await asyncio.to_thread(left):
                await asyncio.sleep(0.02)

    asyncio.run(run())

    assert left() == [spoiled]


@pytest.mark.parametrize("seed", range(3))
def test_two_loops_and_many_changes_at_once_end_with_what_the_query_finds(
    database: Database, organization: Organization, seed: int
) -> None:
    chance = Random(seed)

    def change(tx: Tx) -> None:
        for _ in range(3):
            with suppress(Refusal):
                chance.choice([retag, remove, ask, archive, judge])(tx)

    def some_id() -> str:
        return f"c{chance.randrange(MANY):03}"

    def retag(tx: Tx) -> None:
        completions.record(tx, [Entry(some_id(), {"tags": chance.sample("xyz", chance.randrange(4))})])

    def remove(tx: Tx) -> None:
        completions.delete(tx, some_id())

    def ask(tx: Tx) -> None:
        task_with_selector(tx, *chance.sample("xyz", chance.randrange(1, 3)))

    def archive(tx: Tx) -> None:
        task = chance.choice(feedback_tasks.list_newest(tx, None, 0, 100))
        selector = tuple(chance.sample("xyz", chance.randrange(3)))
        feedback_tasks.change(tx, task.id, FeedbackTaskChanges(archived=chance.random() < 0.3, selector=selector))

    def judge(tx: Tx) -> None:
        task = chance.choice(feedback_tasks.list_newest(tx, False, 0, 100))
        (outcome,) = feedback.record(tx, [NewFeedback(None, task.id, "{}", "", CompletionList((some_id(), some_id())))])
        if not isinstance(outcome, Refusal) and chance.random() < 0.5:
            feedback.delete(tx, outcome.feedback.id)

    async def run() -> None:
        async with filling(database) as (first_writer, first_loop), filling(database) as (second_writer, second_loop):
            for turn in range(20):
                await asyncio.gather(
                    *(writer.write(organization.id, change) for writer in (first_writer, second_writer, first_writer))
                )
                first_loop.wake()
                if turn % 5 == 0:
                    second_loop.wake()
            first_loop.wake()
            await until_whole(database)

    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        log_completions(tx, 0, MANY, "x", "y")
        task_with_selector(tx, "x")

    asyncio.run(run())

    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        assert_kept(tx)
        assert sorted(rows(tx, "ungraded", "completion_id", "task_id", "created_at")) == sorted(expected_ungraded(tx))


def test_a_loop_ends_at_once_with_much_left_to_do(database: Database, organization: Organization) -> None:
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        log_completions(tx, 0, MANY, "x")
        task = task_with_selector(tx, "x")
    database.thresholds.backfill_batch_size = 1

    async def run() -> None:
        async with filling(database):
            pass

    asyncio.run(run())

    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        assert behind(tx) == [task]
        assert_kept(tx)
