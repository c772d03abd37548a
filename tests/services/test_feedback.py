"""Recording feedback: many at once give what one at a time would (docs/api.md, "Uploading feedback")."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
from sqlalchemy import Connection

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Invalid, NotFound, Refusal
from log10_server.runtime.context import Context
from log10_server.services import completions, feedback, feedback_tasks, organizations, ungraded
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback, StoredFeedback
from log10_server.services.feedback_tasks import FeedbackTaskChanges, NewFeedbackTask
from log10_server.services.filters import parse_filter
from log10_server.services.selectors import CompletionList, Selector
from log10_server.store.feedback import Filters
from tests.conftest import Organization

T = TypeVar("T")

TAGS = ["a", "b", "c"]


def populated(tx: Tx) -> Tx:
    """Eight completions with every combination of three tags, four tasks, one of them archived."""
    for number in range(8):
        tags = [tag for bit, tag in enumerate(TAGS) if number >> bit & 1]
        completions.record(tx, [Entry(f"c{number}", {"tags": tags})])
    for number, selector in enumerate([("a",), ("a", "b"), ("c",), ("b",)]):
        feedback_tasks.create(tx, NewFeedbackTask(f"t{number}", "n", "", "{}", selector))
    feedback_tasks.change(tx, "t3", FeedbackTaskChanges(archived=True))
    return tx


@pytest.fixture
def ready(tx: Tx) -> Tx:
    return populated(tx)


def new_organization_in(database: Database, connection: Connection) -> str:
    return organizations.create(connection, database.clock).id


def upload(**fields: Any) -> NewFeedback:
    new = NewFeedback(None, "t0", "{}", "", CompletionList(("c1",)))
    return new._replace(**fields)


def anything(chance: random.Random) -> NewFeedback:
    """An upload, good or bad, often under an id of few."""
    ids = tuple(f"c{chance.randrange(9)}" for _ in range(chance.randint(1, 3)))
    tags = tuple(chance.choices([*TAGS, "none"], [3, 3, 3, 1], k=chance.randint(0, 2)))
    targets: list[CompletionList | Selector] = [
        CompletionList(ids),
        Selector(tags, chance.random() < 0.3, chance.choice([1, 3, 100])),
    ]
    return NewFeedback(
        id=chance.choice([None, "f1", "f2", "f3", "f4", "f5", "f6"]),
        task_id=chance.choice(["t0", "t0", "t1", "t2", "t3", "t4"]),
        json_values=chance.choice(['{"a":1}', '{"a":1.0}', '{"a":2}']),
        comment=chance.choice(["", "", "x"]),
        target=chance.choice(targets),
    )


def shown(outcome: StoredFeedback | Refusal) -> Any:
    """An outcome without what differs from run to run."""
    if isinstance(outcome, Invalid):
        return [outcome.code, outcome.field_errors]
    if isinstance(outcome, Refusal):
        return [type(outcome), outcome.code, outcome.detail]
    row = outcome.feedback
    named = row.id if len(row.id) == 2 else "made"
    return [named, row.task_id, row.json_values, row.comment, row.completions_summary, outcome.completion_ids]


def state(tx: Tx) -> Any:
    ungraded_ids = {task: ungraded.list_newest(tx, task, 0, 100) for task in ("t0", "t1", "t2", "t3")}
    return ungraded_ids, sorted(map(repr, map(shown, feedback.list_page(tx, Filters(), None, 0, 1000))))


@pytest.mark.parametrize("seed", range(8))
def test_many_at_once_give_what_one_at_a_time_gives(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    uploads = [anything(chance) for _ in range(40)]

    with database.writing() as connection:
        one_by_one, at_once = (
            populated(database.tx(connection, new_organization_in(database, connection))) for _ in range(2)
        )
        expected = [shown(outcome) for new in uploads for outcome in feedback.record(one_by_one, [new])]
        actual = list(map(shown, feedback.record(at_once, uploads)))

        assert actual == expected
        assert state(at_once) == state(one_by_one)


def test_recording_no_uploads_gives_no_outcomes(ready: Tx) -> None:
    assert feedback.record(ready, []) == []


def test_a_repeat_in_the_same_batch_answers_the_first(ready: Tx) -> None:
    first, second, third = feedback.record(ready, [upload(id="x", json_values='{"a":1}')] * 3)

    assert first == second == third
    assert feedback.list_page_with_total(ready, Filters(), None, 0, 1)[1] == 1


def test_other_content_under_an_id_of_the_same_batch_is_refused(ready: Tx) -> None:
    first, second = feedback.record(ready, [upload(id="x"), upload(id="x", comment="other")])

    assert isinstance(first, StoredFeedback)
    assert isinstance(second, Conflict)


def test_an_id_of_a_refused_upload_is_free_in_the_same_batch(ready: Tx) -> None:
    first, second = feedback.record(ready, [upload(id="x", task_id="t9"), upload(id="x")])

    assert isinstance(first, Invalid)
    assert isinstance(second, StoredFeedback)


def test_refusals_stand_where_their_uploads_stood(ready: Tx) -> None:
    outcomes = feedback.record(
        ready,
        [
            upload(task_id="t9"),
            upload(),
            upload(task_id="t3"),
            upload(target=CompletionList(("c9",))),
            upload(target=Selector(("none",), False, 5)),
            upload(target=Selector(("a",), False, 1)),
            upload(target=Selector((), True, 1)),
        ],
    )

    codes = [outcome.code if isinstance(outcome, Refusal) else "" for outcome in outcomes]
    assert codes == ["unknown_task", "", "task_archived", "unknown_completion", "no_match", "too_many_matches", ""]


def test_a_refused_upload_grades_nothing(ready: Tx) -> None:
    before = state(ready)

    feedback.record(ready, [upload(task_id="t3"), upload(target=CompletionList(("c1", "c9")))])

    assert state(ready) == before


def test_feedback_on_thousands_of_completions_is_kept_in_their_order(tx: Tx) -> None:
    ids = [f"x{number}" for number in range(3000)]
    completions.record(tx, [Entry(completion_id, {"tags": ["a"]}) for completion_id in ids])
    feedback_tasks.create(tx, NewFeedbackTask("t0", "n", "", "{}", ("a",)))

    (outcome,) = feedback.record(tx, [upload(id="x", target=Selector(("a",), False, 10_000))])

    assert isinstance(outcome, StoredFeedback)
    assert outcome.completion_ids == ids[::-1]
    assert feedback.get(tx, "x") == outcome
    assert ungraded.list_newest(tx, None, 0, 10) == []
    assert outcome.feedback.completions_summary == "3000 completions"


def test_another_organization_records_the_same_ids(database: Database, ready: Tx) -> None:
    (mine,) = feedback.record(ready, [upload(id="x")])
    other_tx = populated(database.tx(ready.connection, new_organization_in(database, ready.connection)))

    (outcome,) = feedback.record(other_tx, [upload(id="x", comment="theirs")])

    assert isinstance(mine, StoredFeedback)
    assert isinstance(outcome, StoredFeedback)
    assert feedback.get(ready, "x").feedback.comment == ""


@pytest.mark.parametrize(("offset", "limit"), [(0, 3), (1, 2), (4, 10), (9, 1)])
def test_a_page_with_a_filter_over_values_is_the_same_with_and_without_a_total(
    ready: Tx, offset: int, limit: int
) -> None:
    uploads = [upload(json_values=f'{{"grade":{number}}}') for number in range(10)]
    stored = [outcome for outcome in feedback.record(ready, uploads) if isinstance(outcome, StoredFeedback)]
    satisfying = [row for row in reversed(stored) if row.feedback.json_values < '{"grade":5}']
    predicate = parse_filter("grade < 5")

    page = feedback.list_page(ready, Filters(), predicate, offset, limit)
    page_with_total, total = feedback.list_page_with_total(ready, Filters(), predicate, offset, limit)

    assert page == page_with_total == satisfying[offset : offset + limit]
    assert total == 5


class InterruptedContext:
    """Runs each write in its own transaction, and `after_first_write` in another one after the first."""

    def __init__(self, database: Database, organization: Organization, after_first_write: Callable[[Tx], Any]) -> None:
        self._database = database
        self._organization_id = organization.id
        self._remaining = [after_first_write]

    async def write(self, work: Callable[[Tx], T]) -> T:
        result = self._database.write(self._organization_id, work)
        while self._remaining:
            self._database.write(self._organization_id, self._remaining.pop())
        return result


@pytest.fixture
def in_pieces(database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch) -> NewFeedback:
    """Feedback on five completions, which is deleted in three pieces."""
    monkeypatch.setattr(database.thresholds, "links_per_step", 2)
    new = upload(id="x", target=CompletionList(("c1", "c2", "c3", "c4", "c5")))
    database.write(organization.id, lambda tx: feedback.record(populated(tx), [new]))
    return new


def test_feedback_that_is_uploaded_again_between_two_pieces_of_its_deletion_is_kept(
    database: Database, organization: Organization, in_pieces: NewFeedback
) -> None:
    """A client repeated the deletion, which ended first, and uploaded the id again. The first deletion removed it."""

    def delete_and_upload(tx: Tx) -> None:
        feedback.delete(tx, "x")
        feedback.record(tx, [in_pieces])

    context = cast(Context, InterruptedContext(database, organization, delete_and_upload))
    asyncio.run(feedback.delete_feedback(context, "x"))

    with database.reading() as connection:
        stored = feedback.get(database.tx(connection, organization.id), "x")
    assert stored.completion_ids == ["c1", "c2", "c3", "c4", "c5"]


def test_a_deletion_that_another_one_overtakes_succeeds(
    database: Database, organization: Organization, in_pieces: NewFeedback
) -> None:
    context = cast(Context, InterruptedContext(database, organization, lambda tx: feedback.delete(tx, "x")))

    asyncio.run(feedback.delete_feedback(context, "x"))

    with database.reading() as connection, pytest.raises(NotFound):
        feedback.get(database.tx(connection, organization.id), "x")
