"""The roll-up: how far it goes, and that its background job follows what is written."""

import asyncio
from collections.abc import Iterator

import pytest

from log10_server import store
from log10_server.db.database import Database
from log10_server.db.thresholds import RollupSizes
from log10_server.db.transaction import Tx
from log10_server.runtime.runtime import Runtime
from log10_server.services import completions, rollup, ungraded_index, usage, usage_sums
from log10_server.services.completions import Entry
from log10_server.services.usage import UsageSelection
from log10_server.settings import Settings
from log10_server.store.covered import ALL_COMPLETIONS
from log10_server.store.rollups import NOTHING_COVERED
from log10_server.store.usage_sums import PeriodRange
from tests.conftest import Organization


@pytest.fixture(autouse=True)
def sizes(database: Database) -> Iterator[RollupSizes]:
    """Three completions are covered at once, and the newest two never."""
    before, database.thresholds.rollup = database.thresholds.rollup, RollupSizes(3, 2)
    yield database.thresholds.rollup
    database.thresholds.rollup = before


def record(tx: Tx, *names: str) -> None:
    completions.record(tx, [Entry(name, {"tags": ["t"]}) for name in names])


def test_nothing_is_covered_at_first(tx: Tx) -> None:
    assert store.rollups.find_watermark(tx) == NOTHING_COVERED


def test_a_piece_is_covered_only_when_enough_completions_are_left_above_it(tx: Tx) -> None:
    record(tx, "a", "b", "c", "d")

    assert not rollup.advance(tx)
    record(tx, "e")

    assert rollup.advance(tx)
    assert store.rollups.find_watermark(tx).completion_id == "c"
    assert not rollup.advance(tx)


def test_a_piece_has_fewer_completions_if_they_have_many_tags(database: Database, tx: Tx) -> None:
    """A piece was bounded by completions only, so a piece of a thousand with a thousand tags each read a million rows.

    On SQLite all other writes waited more than a second for it.
    """
    database.thresholds.rollup = RollupSizes(batch_size=4, uncovered=1, tag_bytes=150)
    many_tags = [f"tag {number}" for number in range(10)]  # about 100 bytes
    completions.record(tx, [Entry(name, {"tags": many_tags}) for name in "abcdefg"])
    watermarks = []

    while rollup.advance(tx):
        watermarks.append(store.rollups.find_watermark(tx).completion_id)

    assert watermarks == ["b", "d"]


def test_a_completion_with_more_tags_than_a_piece_may_have_is_covered_alone(database: Database, tx: Tx) -> None:
    database.thresholds.rollup = RollupSizes(batch_size=2, uncovered=1, tag_bytes=1)
    record(tx, *"abcd")

    assert rollup.advance(tx)
    assert store.rollups.find_watermark(tx).completion_id == "a"


def test_writes_learn_the_watermark_from_the_statements_that_find_their_rows_and_tags(tx: Tx) -> None:
    record(tx, *"abcde")
    rollup.advance(tx)

    watermark = store.rollups.find_watermark(tx)

    assert store.completions.find_many_and_watermark(tx, ["a", "e"])[1] == watermark
    assert store.completions.find_many_and_watermark(tx, ["unknown"])[1] is None
    assert store.feedback_tasks.find_existing_tags(tx, ["unknown"]).watermark == watermark


def test_the_background_job_covers_what_was_there_and_what_is_written(
    database: Database, organization: Organization
) -> None:
    def covered() -> str:
        with database.reading() as connection:
            return store.rollups.find_watermark(database.tx(connection, organization.id)).completion_id

    async def wait_until_covered(completion_id: str) -> None:
        async with asyncio.timeout(30):
            while covered() != completion_id:
                await asyncio.sleep(0.01)

    async def story() -> None:
        runtime = Runtime(Settings(), database, ungraded_index.continue_backfill, rollup)
        runtime.start()
        try:
            await wait_until_covered("f")
            await runtime.write(organization.id, lambda tx: record(tx, *"ijk"), size=0)
            await wait_until_covered("i")
        finally:
            await runtime.close()

    database.write(organization.id, lambda tx: record(tx, *"abcdefgh"))
    asyncio.run(story())


def test_a_completion_without_id_and_tags_sends_its_row_and_the_look_up_of_the_watermark_together(tx: Tx) -> None:
    record(tx, *"abcde")
    rollup.advance(tx)
    at = store.rollups.find_watermark(tx).created_at - 1

    (row,) = completions.record(tx, [Entry(None, {"duration": 1.0}, at)])

    assert row.created_at == at
    _, total = usage.sum_usage(tx, UsageSelection(), 1)
    assert (total.calls, total.mean) == (6, 1.0)
    (covered,) = store.usage_sums.list_of_list(tx, ALL_COMPLETIONS, [PeriodRange(1, 0, 2**40)])
    assert usage_sums.decode(covered[1])["unknown"]["started"].calls == 4
