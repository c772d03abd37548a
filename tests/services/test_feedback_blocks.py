"""A block of feedback values is made in a short transaction, however large the values are."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from log10_server.db.database import Database
from log10_server.db.statements import Statement
from log10_server.db.thresholds import FeedbackBlockSizes
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import completions, feedback, feedback_blocks, feedback_tasks
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.filters import parse_filter
from log10_server.services.selectors import CompletionList
from log10_server.store.feedback import ACCEPTED, PROPOSED, Filters, State
from tests.services.test_ungraded import rows

PADDING = "x" * 300_000  # four values with this are more than a block takes


class CountingTx(Tx):
    """Counts the rows that are taken from statements whose rows SQLite reads when they are taken."""

    __slots__ = ("taken",)

    taken: int

    def iterate(self, statement: Statement, **values: Any) -> Iterator[Any]:
        for row in super().iterate(statement, **values):
            self.taken += 1
            yield row


@pytest.fixture
def counting_tx(tx: Tx) -> CountingTx:
    counting = CountingTx(tx.backend, tx.clock, tx.thresholds, tx.connection, tx.organization_id)
    counting.taken = 0
    return counting


@pytest.fixture(autouse=True)
def block_sizes(database: Database) -> Iterator[None]:
    """A block has at most ten pieces of feedback."""
    before, database.thresholds.feedback_blocks = database.thresholds.feedback_blocks, FeedbackBlockSizes(10, 5)
    yield
    database.thresholds.feedback_blocks = before


def values(number: int, padding: str) -> str:
    return json.dumps({"number": number, "padding": padding})


def upload(tx: Tx, count: int, padding: str, state: State = ACCEPTED) -> list[str]:
    """Upload feedback whose values have the numbers from 0 on; returns the ids in this order."""
    feedback_tasks.create(tx, NewFeedbackTask("task", "task", "", "{}", ()))
    completions.record(tx, [Entry("completion", {})])
    target = CompletionList(("completion",))
    outcomes = feedback.record(
        tx, [NewFeedback(None, "task", values(number, padding), "", target, state) for number in range(count)]
    )
    return [outcome.feedback.id for outcome in outcomes if not isinstance(outcome, Refusal)]


def rows_of_blocks(tx: Tx) -> list[int]:
    """The number of pieces of feedback in each block, oldest block first."""
    return [len(str(states)) for _, states in sorted(rows(tx, "feedback_block", "created_at", "states"))]


def found(tx: Tx, filter_text: str) -> list[str]:
    page = feedback.list_page(tx, Filters(), parse_filter(filter_text), 0, 1000)
    return sorted(stored.feedback.id for stored in page)


def test_no_values_are_read_after_those_that_make_a_block_large(counting_tx: CountingTx) -> None:
    """A block of 1 MB took the lengths of 1 001 values of 1 MB each, and SQLite reads a whole text for its length."""
    upload(counting_tx, 18, PADDING)

    assert feedback_blocks.advance(counting_tx)

    assert rows_of_blocks(counting_tx) == [4]
    assert counting_tx.taken == 5  # the last one shows that there is more than what the block covers


def test_the_next_block_begins_where_a_large_one_has_ended(tx: Tx) -> None:
    ids = upload(tx, 18, PADDING)

    while feedback_blocks.advance(tx):
        pass

    assert rows_of_blocks(tx) == [4, 4, 4]  # the remaining six are too few for a block
    assert found(tx, "number >= 3 and number < 13") == ids[3:13]


def test_a_block_whose_values_have_grown_is_made_again_as_several(tx: Tx) -> None:
    ids = upload(tx, 20, "small", PROPOSED)
    while feedback_blocks.advance(tx):
        pass
    before = rows_of_blocks(tx)
    for number, feedback_id in enumerate(ids[:10]):
        feedback.accept(tx, feedback_id, values(number, PADDING))

    while feedback_blocks.advance(tx):
        pass

    assert before == [10, 10]
    assert rows_of_blocks(tx) == [4, 4, 2, 10]
    assert found(tx, "number >= 3 and number < 13") == ids[3:13]
