"""A filter over values finds the same from blocks as from the values themselves (docs/api.md, "Lists")."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from log10_server import store
from log10_server.clock import Clock
from log10_server.db.database import Database
from log10_server.db.thresholds import FeedbackBlockSizes
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import completions, feedback, feedback_blocks, feedback_tasks, transfer
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.filters import parse_filter
from log10_server.services.selectors import CompletionList
from log10_server.services.transfer import ImportedFeedback
from log10_server.store.feedback import ACCEPTED, PROPOSED, REJECTED, Filters, State
from tests.services.test_ungraded import rows

FILTERS = [
    "Coverage <= 5",
    "Coverage = 3 or note = 'good'",
    "not Coverage > 2",
    "note != 'good'",
    "note >= 'b' and ok = true",
    "ok = false",
    "big > 1000000000000000000000",
    "big = 1e300",
    "small < 0.5",
    "list.0 = 1",
    "list.00 = 1",
    "deep.list.1.x = 'y'",
    "deep.1 = 1",
    "never = 1",
    "never != 1",
    "text = 'a'",
    "text > 'a'",
    "many.70 = 70",
    '"größe" = "ü"',
    "Coverage <= 5 and (note = 'good' or not ok = true) and small != 1",
]
LARGE_NUMBER = "1" + "0" * 250


@pytest.fixture(autouse=True)
def block_sizes(database: Database) -> Iterator[FeedbackBlockSizes]:
    """A block has seven pieces of feedback, and blocks are made again after five changes."""
    before, database.thresholds.feedback_blocks = database.thresholds.feedback_blocks, FeedbackBlockSizes(7, 5)
    yield database.thresholds.feedback_blocks
    database.thresholds.feedback_blocks = before


def random_values(chance: random.Random) -> str:
    """Values as JSON, also such as a block has no room for, and such as no database could hold as they are."""
    values: dict[str, Any] = {}
    choices: dict[str, Any] = {
        "Coverage": chance.choice([1, 2, 3, 4, 5, 6, 7, 3.0, 2.5, True, "3", None, [], {}]),
        "note": chance.choice(["good", "bad", "", "\ud800", "nul \0", "b", 1]),
        "ok": chance.choice([True, False, 1, "true"]),
        "big": chance.choice([12345678901234567890123, -(2**70), int(LARGE_NUMBER), 1e300, 2**53 + 1]),
        "small": chance.choice([0.1, 0.5, 1, -0.0]),
        "list": chance.choice([[1, 2], [], [[1]], {"0": 1}, {"00": 1}, ["1"]]),
        "deep": chance.choice([{"list": [0, {"x": "y"}]}, {"1": 1}, {}, [0, 1]]),
        "text": chance.choice(["a", "a" * 500, "ab"]),
        "größe": chance.choice(["ü", 1]),
        "x" * 600: 1,
    }
    for name in chance.sample(sorted(choices), chance.randint(0, 6)):
        values[name] = choices[name]
    if chance.random() < 0.1:
        values["many"] = list(range(90))
    if chance.random() < 0.1:
        values["padding"] = "x" * 70_000
    return json.dumps(values)


class World:
    """An organization with two tasks and some feedback, which changes at random."""

    def __init__(self, tx: Tx, seed: int) -> None:
        self.tx = tx
        self.chance = random.Random(seed)
        self.tasks = [
            feedback_tasks.create(tx, NewFeedbackTask(name, name, "", "{}", ())).id for name in ("task-a", "task-b")
        ]
        completions.record(tx, [Entry("completion", {})])

    def ids(self, state: State | None = None) -> list[str]:
        return sorted(
            str(row_id) for row_id, row_state in rows(self.tx, "feedback", "id", "state") if state in (None, row_state)
        )

    def upload(self) -> None:
        new = NewFeedback(
            None,
            self.chance.choice(self.tasks),
            random_values(self.chance),
            "",
            CompletionList(("completion",)),
            self.chance.choice([ACCEPTED, ACCEPTED, PROPOSED]),
        )
        (outcome,) = feedback.record(self.tx, [new])
        assert not isinstance(outcome, Refusal)

    def import_older(self) -> None:
        times = sorted(int(str(created_at)) for (created_at,) in rows(self.tx, "feedback", "created_at"))
        new = NewFeedback(
            f"imported-{self.chance.random()}",
            self.chance.choice(self.tasks),
            random_values(self.chance),
            "",
            CompletionList(()),
        )
        imported = ImportedFeedback(new, self.chance.choice(times) if times else 5, "", None, None)
        assert transfer.import_feedback(self.tx, [imported]) == ["stored"]

    def decide(self) -> None:
        if not (proposals := self.ids(PROPOSED)):
            return
        feedback_id = self.chance.choice(proposals)
        choice = self.chance.random()
        if choice < 0.3:
            feedback.reject(self.tx, feedback_id)
        else:
            feedback.accept(self.tx, feedback_id, random_values(self.chance) if choice < 0.6 else None)

    def delete(self) -> None:
        if ids := self.ids():
            feedback.delete(self.tx, self.chance.choice(ids))

    def step(self) -> None:
        choice = self.chance.random()
        if choice < 0.5:
            self.upload()
        elif choice < 0.6:
            self.import_older()
        elif choice < 0.7:
            self.decide()
        elif choice < 0.8:
            self.delete()
        elif feedback_blocks.is_behind(self.tx):
            assert feedback_blocks.advance(self.tx)


def expected(tx: Tx, filters: Filters, filter_text: str) -> list[str]:
    """The ids that the filter must find: each value is compared by itself."""
    satisfies = parse_filter(filter_text)
    stored = rows(tx, "feedback", "created_at", "id", "task_id", "state", "json_values")
    return [
        str(feedback_id)
        for created_at, feedback_id, task_id, state, json_values in sorted(stored, reverse=True)
        if filters.task_id in (None, task_id)
        and filters.state in (None, state)
        and (filters.created_from is None or filters.created_from <= int(str(created_at)))
        and (filters.created_to is None or int(str(created_at)) <= filters.created_to)
        and satisfies(json.loads(str(json_values)))
    ]


def found(tx: Tx, filters: Filters, filter_text: str, offset: int = 0, limit: int = 1000) -> list[str]:
    page = feedback.list_page(tx, filters, parse_filter(filter_text), offset, limit)
    return [stored.feedback.id for stored in page]


def assert_right(tx: Tx, chance: random.Random, filter_text: str) -> None:
    times = [int(str(created_at)) for (created_at,) in rows(tx, "feedback", "created_at")] or [0]
    filters = Filters(
        task_id=chance.choice([None, "task-a", "task-b", "unknown"]),
        state=chance.choice([None, ACCEPTED, ACCEPTED, PROPOSED, REJECTED]),
        created_from=chance.choice([None, None, chance.choice(times)]),
        created_to=chance.choice([None, None, chance.choice(times)]),
    )
    ids = expected(tx, filters, filter_text)
    offset, limit = chance.choice([0, 1, 5, 30]), chance.choice([1, 3, 1000])

    assert found(tx, filters, filter_text) == ids, (filters, filter_text)
    assert found(tx, filters, filter_text, offset, limit) == ids[offset : offset + limit]
    page, total = feedback.list_page_with_total(tx, filters, parse_filter(filter_text), offset, limit)
    assert [stored.feedback.id for stored in page] == ids[offset : offset + limit]
    assert total == len(ids)


@pytest.mark.parametrize("seed", range(4))
def test_a_filter_finds_the_right_feedback_after_every_step_of_a_long_history(tx: Tx, seed: int) -> None:
    world = World(tx, seed)
    for number in range(150):
        world.step()
        if number % 3 == 0:
            assert_right(tx, world.chance, world.chance.choice(FILTERS))
    for filter_text in FILTERS:
        assert_right(tx, world.chance, filter_text)


def test_blocks_are_made_and_are_used(tx: Tx) -> None:
    world = World(tx, 1)
    for _ in range(40):
        world.upload()
    while feedback_blocks.advance(tx):
        pass
    newest = store.feedback_blocks.find_newest(tx)

    assert not feedback_blocks.is_behind(tx)
    assert len(rows(tx, "feedback_block", "id")) == 5
    assert not rows(tx, "feedback_block_change", "feedback_id")
    for filter_text in FILTERS:
        assert found(tx, Filters(), filter_text) == expected(tx, Filters(), filter_text)
    assert newest > min(rows(tx, "feedback", "created_at", "id"))


def test_feedback_that_was_deleted_and_uploaded_again_is_found_once(tx: Tx) -> None:
    """It was found at its new position, and in the block that held it before."""
    world = World(tx, 3)
    again = NewFeedback("again", world.tasks[0], '{"grade": 5}', "", CompletionList(("completion",)))
    feedback.record(tx, [again])
    for _ in range(20):
        world.upload()
    while feedback_blocks.advance(tx):
        pass

    feedback.delete(tx, "again")
    feedback.record(tx, [again])

    assert found(tx, Filters(), "grade = 5").count("again") == 1
    assert found(tx, Filters(), "grade = 5") == expected(tx, Filters(), "grade = 5")


def test_a_block_with_many_changes_is_made_again(tx: Tx) -> None:
    world = World(tx, 2)
    for _ in range(21):
        world.upload()
    while feedback_blocks.advance(tx):
        pass
    before = set(rows(tx, "feedback_block", "id"))
    for feedback_id in world.ids()[:7]:
        feedback.delete(tx, feedback_id)

    assert len(rows(tx, "feedback_block_change", "feedback_id")) == 7
    assert feedback_blocks.is_behind(tx)
    while feedback_blocks.advance(tx):
        pass
    assert len(rows(tx, "feedback_block_change", "feedback_id")) < 5
    assert set(rows(tx, "feedback_block", "id")) != before
    assert_right(tx, world.chance, "Coverage <= 5")


def test_feedback_of_a_process_whose_clock_is_late_is_found(tx: Tx) -> None:
    world = World(tx, 3)
    for _ in range(14):
        world.upload()
    while feedback_blocks.advance(tx):
        pass
    tx.clock = Clock(lambda: 0)

    world.upload()

    assert len(rows(tx, "feedback_block_change", "feedback_id")) == 1
    for filter_text in FILTERS:
        assert_right(tx, world.chance, filter_text)
