"""The kept rows of what is ungraded equal a plain computation from the base tables, whatever happened (docs/api.md, "Ungraded completions")."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import completions, feedback, feedback_tasks, ungraded, ungraded_index
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import FeedbackTaskChanges, NewFeedbackTask
from log10_server.services.merging import CompletionFields
from log10_server.services.selectors import CompletionList, Selector
from log10_server.store.feedback import ACCEPTED, PROPOSED, State
from tests.conftest import Organization, new_organization

TAGS = ["a", "b", "c", "é"]
COMPLETIONS = [f"c{number}" for number in range(8)]


def rows(tx: Tx, table: str, *columns: str) -> list[Any]:
    statement = text(f"SELECT {', '.join(columns)} FROM {table} WHERE organization_id = :mine")
    return [tuple(row) for row in tx.connection.execute(statement, {"mine": tx.organization_id})]


def expected_ungraded(tx: Tx) -> set[tuple[Any, ...]]:
    """(completion, task, time) of every completion that an active task selects and none of its accepted feedback graded."""
    accepted = {feedback_id for feedback_id, state in rows(tx, "feedback", "id", "state") if state == "accepted"}
    task_of = dict(rows(tx, "feedback", "id", "task_id"))
    graded = {
        (completion_id, task_of[feedback_id])
        for feedback_id, completion_id in rows(tx, "feedback_completion", "feedback_id", "completion_id")
        if feedback_id in accepted
    }
    tasks = {
        task_id: set(json.loads(str(selector)))
        for task_id, selector, archived in rows(tx, "feedback_task", "id", "selector", "archived")
        if not archived
    }
    return {
        (completion_id, task_id, created_at)
        for completion_id, created_at, tags in rows(tx, "completion", "id", "created_at", "tags")
        for task_id, selector in tasks.items()
        if selector and selector <= set(json.loads(str(tags or "[]"))) and (completion_id, task_id) not in graded
    }


def assert_kept(tx: Tx) -> None:
    """The kept rows, the index over tags and the lists say what the base tables say.

    Of a task that is not whole the kept rows do so down to its place, and the lists all the same.
    """
    expected = expected_ungraded(tx)
    kept = set(rows(tx, "ungraded", "completion_id", "task_id", "created_at"))
    whole_to = {
        task: (at, completion_id)
        for task, at, completion_id in rows(tx, "ungraded_backfill", "task_id", "created_at", "completion_id")
    }
    for task in {task for _, task, _ in kept | expected}:
        of_kept, of_expected = (
            sorted((at, completion_id) for completion_id, owner, at in some if owner == task)
            for some in (kept, expected)
        )
        start = whole_to.get(task, (-1, ""))
        assert [place for place in of_kept if place >= start] == [place for place in of_expected if place >= start]
        assert ungraded.list_newest(tx, task, 0, 1000) == [completion_id for _, completion_id in reversed(of_expected)]
    names = dict(rows(tx, "tag", "id", "name"))
    indexed = {
        (completion_id, names[tag_id], at)
        for completion_id, tag_id, at in rows(tx, "completion_tag", "completion_id", "tag_id", "created_at")
    }
    assert indexed == {
        (completion_id, tag, at)
        for completion_id, at, tags in rows(tx, "completion", "id", "created_at", "tags")
        for tag in json.loads(str(tags or "[]"))
    }
    newest = sorted({(at, completion_id) for completion_id, _, at in expected}, reverse=True)
    assert ungraded.list_newest(tx, None, 0, 1000) == [completion_id for _, completion_id in newest]
    assert ungraded.list_newest(tx, None, 1, 2) == [completion_id for _, completion_id in newest[1:3]]


class World:
    """Random operations on one organization."""

    def __init__(self, tx: Tx, seed: int) -> None:
        self.tx = tx
        self.random = Random(seed)
        self.tasks: list[str] = []
        self.feedback: list[str] = []

    def some_tags(self, least: int = 0) -> list[str]:
        return self.random.sample(TAGS, self.random.randint(least, 3))

    def log(self) -> None:
        entries = []
        for _ in range(self.random.randint(1, 5)):
            fields: CompletionFields = {}
            if self.random.random() < 0.7:
                fields["tags"] = self.some_tags()
            if self.random.random() < 0.5:
                fields["status"] = self.random.choice(["started", "finished", "failed"])
            entries.append(Entry(self.random.choice(COMPLETIONS), fields))
        completions.record(self.tx, entries)

    def clear_tags(self) -> None:
        completions.record(self.tx, [Entry(self.random.choice(COMPLETIONS), {"tags": []})])

    def delete_completion(self) -> None:
        completions.delete(self.tx, self.random.choice(COMPLETIONS))

    def make_anew(self) -> None:
        completion_id = self.random.choice(COMPLETIONS)
        completions.delete(self.tx, completion_id)
        completions.record(self.tx, [Entry(completion_id, {"tags": self.some_tags(1)})])

    def make_task(self) -> None:
        made = feedback_tasks.create(self.tx, NewFeedbackTask(None, "a task", "", "{}", tuple(self.some_tags())))
        self.tasks.append(made.id)

    def change_selector(self) -> None:
        archived = self.random.choice([None, None, True, False])
        changes = FeedbackTaskChanges(selector=tuple(self.some_tags()), archived=archived)
        feedback_tasks.change(self.tx, self.random.choice(self.tasks), changes)

    def archive_or_not(self) -> None:
        feedback_tasks.change(
            self.tx, self.random.choice(self.tasks), FeedbackTaskChanges(archived=self.random.random() < 0.5)
        )

    def upload(self) -> None:
        uploads = []
        for _ in range(self.random.randint(1, 3)):
            by_tags = Selector(tuple(self.some_tags(1)), self.random.random() < 0.5, self.random.choice([1, 3, 100]))
            by_ids = CompletionList(tuple(self.random.choices(COMPLETIONS, k=self.random.randint(1, 3))))
            target: Selector | CompletionList = by_tags if self.random.random() < 0.5 else by_ids
            state: State = self.random.choice([ACCEPTED, ACCEPTED, PROPOSED])
            feedback_id = f"f{self.random.randint(0, 20)}"
            uploads.append(NewFeedback(feedback_id, self.random.choice(self.tasks), "{}", "", target, state))
        outcomes = feedback.record(self.tx, uploads)
        self.feedback += [outcome.feedback.id for outcome in outcomes if not isinstance(outcome, Refusal)]

    def delete_feedback(self) -> None:
        feedback.delete(self.tx, self.random.choice(self.feedback))

    def delete_a_piece_of_feedback(self) -> None:
        feedback.delete_piece(self.tx, self.random.choice(self.feedback))

    def accept(self) -> None:
        feedback.accept(self.tx, self.random.choice(self.feedback))

    def reject(self) -> None:
        feedback.reject(self.tx, self.random.choice(self.feedback))

    def fill(self) -> None:
        for task_id in self.tasks:
            ungraded_index.continue_backfill(self.tx, task_id)

    def step(self) -> str:
        """Do something; what is refused changes nothing. Gives what was done."""
        deeds: list[Callable[[], None]] = [
            self.log, self.log, self.log, self.clear_tags, self.delete_completion, self.make_anew, self.make_task,
        ]  # fmt: skip
        if self.tasks:
            deeds += [self.change_selector, self.archive_or_not, self.upload, self.upload, self.fill]
        if self.feedback:
            deeds += [self.delete_feedback, self.delete_a_piece_of_feedback, self.accept, self.reject]
        deed = self.random.choice(deeds)
        try:
            deed()
        except Refusal as refusal:
            return f"{deed.__name__}: {refusal.detail}"
        return deed.__name__


@pytest.fixture
def filled_by_ones(database: Database) -> Iterator[None]:
    """A task is filled, and feedback deleted, by one completion at a time; two graded at once are filled in again."""
    before = database.thresholds
    database.thresholds = replace(before, backfill_batch_size=1, links_per_step=1, max_graded_at_once=1)
    yield
    database.thresholds = before


@pytest.mark.parametrize("seed", range(6))
def test_the_lists_are_right_after_every_step_of_a_long_history_while_tasks_are_filled(
    filled_by_ones: None, tx: Tx, seed: int
) -> None:
    world = World(tx, seed)
    behind = 0

    for _ in range(90):
        world.step()
        assert_kept(tx)
        behind += bool(rows(tx, "ungraded_backfill", "task_id"))
    while rows(tx, "ungraded_backfill", "task_id"):
        world.fill()
        assert_kept(tx)

    assert behind > 5
    kept = rows(tx, "ungraded", "completion_id", "task_id", "created_at")
    assert sorted(kept) == sorted(expected_ungraded(tx))


@pytest.mark.parametrize("seed", range(6))
def test_the_kept_rows_are_right_after_every_step_of_a_long_history(tx: Tx, seed: int) -> None:
    world = World(tx, seed)
    done: list[str] = []

    for _ in range(90):
        done.append(world.step())
        assert_kept(tx)

    assert len(set(done)) > 8
    assert any(not step.count(":") for step in done)


def test_two_organizations_of_the_same_names_do_not_touch_each_other(
    database: Database, organization: Organization
) -> None:
    other = new_organization(database)
    with database.writing() as connection:
        first, second = (
            World(database.tx(connection, organization_id), 7) for organization_id in (organization.id, other.id)
        )
        second.random = Random(8)

        for _ in range(60):
            first.step()
            second.step()

        assert_kept(first.tx)
        assert_kept(second.tx)


def log_tags(tx: Tx, **tags: list[str]) -> None:
    completions.record(
        tx, [Entry(completion_id, {"tags": tags_of_completion}) for completion_id, tags_of_completion in tags.items()]
    )


def task_with_selector(tx: Tx, *selector: str) -> str:
    return feedback_tasks.create(tx, NewFeedbackTask(None, "a task", "", "{}", selector)).id


def grade(tx: Tx, task_id: str, *ids: str, state: State = ACCEPTED) -> str:
    (outcome,) = feedback.record(tx, [NewFeedback(None, task_id, "{}", "", CompletionList(ids), state)])
    assert not isinstance(outcome, Refusal)
    return outcome.feedback.id


def listed(tx: Tx, task_id: str | None = None, offset: int = 0, limit: int = 50) -> list[str]:
    return ungraded.list_newest(tx, task_id, offset, limit)


def test_a_new_task_makes_older_completions_ungraded(tx: Tx) -> None:
    log_tags(tx, a=["x"], b=["x", "y"], c=["y"], d=[])

    task = task_with_selector(tx, "x")

    assert listed(tx) == listed(tx, task) == ["b", "a"]


def test_tags_added_later_make_a_completion_ungraded(tx: Tx) -> None:
    task_with_selector(tx, "x", "y")
    log_tags(tx, a=["x"])

    log_tags(tx, a=["y", "x"])

    assert listed(tx) == ["a"]


def test_an_empty_selector_matches_no_completion(tx: Tx) -> None:
    log_tags(tx, a=["x"], b=[])

    task_with_selector(tx)

    assert listed(tx) == []


def test_a_completion_ungraded_for_two_tasks_is_listed_once_and_for_each(tx: Tx) -> None:
    first, second = task_with_selector(tx, "x"), task_with_selector(tx, "y")
    log_tags(tx, a=["x", "y"], b=["y"])

    grade(tx, first, "a")

    assert (listed(tx), listed(tx, first), listed(tx, second)) == (["b", "a"], [], ["b", "a"])


def test_feedback_stays_matched_when_tags_go_and_come_back(tx: Tx) -> None:
    task = task_with_selector(tx, "x")
    log_tags(tx, a=["x"])
    grade(tx, task, "a")

    log_tags(tx, a=[])
    log_tags(tx, a=["x"])

    assert listed(tx) == []


def test_a_completion_is_ungraded_again_once_its_last_feedback_is_deleted(tx: Tx) -> None:
    task = task_with_selector(tx, "x")
    log_tags(tx, a=["x"])
    first, second = grade(tx, task, "a"), grade(tx, task, "a")

    feedback.delete(tx, first)
    after_one = listed(tx)
    feedback.delete(tx, second)

    assert (after_one, listed(tx)) == ([], ["a"])


def test_a_proposal_grades_nothing(tx: Tx) -> None:
    task = task_with_selector(tx, "x")
    log_tags(tx, a=["x"])

    proposed = grade(tx, task, "a", state=PROPOSED)

    assert listed(tx) == ["a"]
    feedback.accept(tx, proposed)
    assert listed(tx) == []


def test_an_unknown_task_has_no_ungraded_completions(tx: Tx) -> None:
    unknown = "no such task"
    log_tags(tx, a=["x"])
    task_with_selector(tx, "x")

    assert listed(tx, unknown) == []


def test_offset_and_limit_count_completions(tx: Tx) -> None:
    task_with_selector(tx, "x")
    task_with_selector(tx, "x")
    for completion_id in "abcde":
        log_tags(tx, **{completion_id: ["x"]})

    assert listed(tx, offset=1, limit=3) == ["d", "c", "b"]
    assert listed(tx, offset=10**18) == []
