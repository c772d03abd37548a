"""Lengths and pages of lists come from stored counts, and equal a plain query whatever happened (docs/api.md, "Lists")."""

import json
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from log10_server.db.database import Database
from log10_server.db.thresholds import CommonTags, RollupSizes
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.services import completions, feedback, feedback_tasks, rollup, transfer
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import CompletionList
from log10_server.services.transfer import ImportedFeedback
from log10_server.store import rollups
from log10_server.store.completions import Filters as CompletionFilters
from log10_server.store.feedback import ACCEPTED, PROPOSED, STATES, Filters, State
from tests.conftest import Organization, new_organization
from tests.services.test_ungraded import rows

TASKS = ["t0", "t1"]
COMPLETIONS = ["c0", "c1", "c2"]


@pytest.fixture(autouse=True)
def short_ranges(database: Database) -> Iterator[None]:
    """A range has two rows, and a fifth row splits it. Three completions are covered at once, and the newest two never."""
    thresholds = database.thresholds
    before = thresholds.list_range_size, thresholds.rollup, thresholds.common_tags
    thresholds.list_range_size, thresholds.rollup = 2, RollupSizes(3, 2)
    thresholds.common_tags = CommonTags(min_completions=4, sample_one_in=2, max_tags_for_pairs=3)
    yield
    thresholds.list_range_size, thresholds.rollup, thresholds.common_tags = before


class FeedbackWorld:
    """Random operations on the feedback of one organization."""

    def __init__(self, tx: Tx, seed: int) -> None:
        self.tx = tx
        self.random = random.Random(seed)
        completions.record(tx, [Entry(completion_id, {}) for completion_id in COMPLETIONS])
        for task_id in TASKS:
            feedback_tasks.create(tx, NewFeedbackTask(task_id, "a task", "", "{}", ()))

    def new(self, feedback_id: str | None, states: tuple[State, ...]) -> NewFeedback:
        target = CompletionList(tuple(self.random.sample(COMPLETIONS, self.random.randint(1, 2))))
        state = self.random.choice(states)
        return NewFeedback(feedback_id, self.random.choice(TASKS), "{}", "", target, state)

    def upload(self) -> None:
        number = self.random.choice([1, 1, 2, 9])
        feedback.record(self.tx, [self.new(None, (ACCEPTED, ACCEPTED, PROPOSED)) for _ in range(number)])

    def accept(self) -> None:
        feedback.accept(self.tx, self.any_id())

    def reject(self) -> None:
        feedback.reject(self.tx, self.any_id())

    def delete(self) -> None:
        feedback.delete(self.tx, self.any_id())

    def import_old(self) -> None:
        times = [row_time for _, row_time in self.stored()] or [1000]
        imported = [
            ImportedFeedback(
                self.new(f"imported-{self.random.randrange(40)}", STATES),
                self.random.choice([-5, 0, min(times), max(times), self.random.choice(times)]),
                "",
                None,
                None,
            )
            for _ in range(self.random.choice([1, 7]))
        ]
        transfer.import_feedback(self.tx, imported)

    def stored(self) -> list[tuple[str, int]]:
        return rows(self.tx, "feedback", "id", "created_at")

    def any_id(self) -> str:
        ids = sorted(feedback_id for feedback_id, _ in self.stored())
        return self.random.choice(ids) if ids else "none"

    def step(self) -> None:
        operations = [self.upload, self.accept, self.reject, self.delete, self.delete, self.import_old]
        with suppress(Refusal):  # a refused operation changes nothing
            self.random.choice(operations)()

    def filters(self) -> Filters:
        choose = self.random.choice
        times = [0, *(created_at + choose([-1, 0, 1]) for _, created_at in self.stored())]
        return Filters(
            task_id=choose([None, None, "none", *TASKS]),
            completion_id=choose([None, None, None, "c0"]),
            state=choose([None, *STATES]),
            created_from=choose([None, choose(times)]),
            created_to=choose([None, choose(times)]),
        )


def expected_ids(tx: Tx, filters: Filters) -> list[str]:
    """The ids of the feedback that passes the filters, newest first, from the rows alone."""
    links = set(rows(tx, "feedback_completion", "feedback_id", "completion_id"))
    matching = [
        (created_at, feedback_id)
        for feedback_id, created_at, task_id, state in rows(tx, "feedback", "id", "created_at", "task_id", "state")
        if filters.task_id in (None, task_id)
        and filters.state in (None, state)
        and (filters.completion_id is None or (feedback_id, filters.completion_id) in links)
        and (filters.created_from is None or filters.created_from <= created_at)
        and (filters.created_to is None or created_at <= filters.created_to)
    ]
    return [feedback_id for _, feedback_id in sorted(matching, reverse=True)]


def assert_feedback_is_listed_right(world: FeedbackWorld) -> None:
    filters, limit = world.filters(), world.random.choice([1, 3, 1000])
    expected = expected_ids(world.tx, filters)
    offset = world.random.randint(0, len(expected) + 2)

    page, total = feedback.list_page_with_total(world.tx, filters, None, offset, limit)

    assert total == len(expected), filters
    assert [stored.feedback.id for stored in page] == expected[offset : offset + limit], (filters, offset)


@pytest.mark.parametrize("seed", range(3))
def test_lengths_and_pages_of_feedback_are_right_after_any_operations(
    database: Database, organization: Organization, seed: int
) -> None:
    other = new_organization(database)
    with database.writing() as connection:
        worlds = [
            FeedbackWorld(database.tx(connection, organization_id), seed)
            for organization_id in (organization.id, other.id)
        ]
        for _ in range(120):
            world = worlds[0].random.choice(worlds)
            world.step()
            for _ in range(4):
                assert_feedback_is_listed_right(world)
        lengths = rows(worlds[0].tx, "list_range", "list_name", "length")

    assert len(lengths) > 20
    assert max(length for _, length in lengths) <= 4


TAGS = ["a", "b", "c", "rare"]


class CompletionWorld:
    """Random operations on the completions of one organization, with the roll-up at random moments."""

    def __init__(self, tx: Tx, seed: int) -> None:
        self.tx = tx
        self.random = random.Random(seed)

    def tags(self) -> list[str]:
        return [tag for tag in TAGS if self.random.random() < (0.1 if tag == "rare" else 0.6)]

    def log_new(self) -> None:
        completions.record(self.tx, [Entry(None, {"tags": self.tags()}) for _ in range(self.random.choice([1, 2, 8]))])

    def change(self) -> None:
        completions.record(self.tx, [Entry(self.any_id(), {"tags": self.tags()}) for _ in range(2)])

    def finish(self) -> None:
        completions.record(self.tx, [Entry(self.any_id(), {"status": "finished"})])

    def delete(self) -> None:
        completions.delete(self.tx, self.any_id())

    def import_old(self) -> None:
        times = [created_at for _, created_at, _ in self.stored()] or [1000]
        choices = [-5, 0, min(times), max(times), self.random.choice(times)]
        entries = [
            Entry(f"i{self.random.randrange(60)}", {"tags": self.tags()}, self.random.choice(choices), fills_gaps=True)
            for _ in range(self.random.choice([1, 9]))
        ]
        transfer.import_completions(self.tx, entries)

    def roll_up(self) -> None:
        rollup.advance(self.tx)

    def mark_fewer_or_more_as_common(self) -> None:
        sizes = self.tx.thresholds.common_tags
        self.tx.thresholds.common_tags = sizes._replace(min_completions=self.random.choice([2, 4, 20]))

    def stored(self) -> list[tuple[str, int, str | None]]:
        return rows(self.tx, "completion", "id", "created_at", "tags")

    def any_id(self) -> str:
        ids = sorted(completion_id for completion_id, _, _ in self.stored())
        return self.random.choice(ids) if ids else "none"

    def step(self) -> None:
        operations = [self.log_new, self.change, self.finish, self.delete, self.delete, self.import_old, self.roll_up]
        with suppress(Refusal):  # a refused operation changes nothing
            self.random.choice([*operations, self.roll_up, self.mark_fewer_or_more_as_common])()

    def assert_listed_right(self) -> None:
        choose = self.random.choice
        stored = {
            completion_id: (at, set(json.loads(tags or "[]"))) for completion_id, at, tags in sorted(self.stored())
        }
        times = [0, *(at + choose([-1, 0, 1]) for at, _ in stored.values())]
        keys = {name: tag_id for tag_id, name in rows(self.tx, "tag", "id", "name")}
        names = choose([None, ["a"], ["a"], ["b"], ["rare"], ["a", "b"], ["c", "rare"], ["a", "b", "c"], ["none"]])
        ids = choose([None, None, None, ["none", *self.random.sample(sorted(stored), len(stored) // 2)]])
        created_from, created_to = (choose([None, choose(times)]) for _ in range(2))
        filters = CompletionFilters(
            ids=ids,
            tag_ids=None if names is None else [keys.get(name, 7) for name in names],
            created_from=created_from,
            created_to=created_to,
        )
        matching = [
            (at, completion_id)
            for completion_id, (at, tags) in stored.items()
            if (ids is None or completion_id in ids)
            and (names is None or set(names) <= tags)
            and (created_from is None or created_from <= at)
            and (created_to is None or at <= created_to)
        ]
        expected = [completion_id for _, completion_id in sorted(matching, reverse=True)]
        offset, limit = self.random.randint(0, len(expected) + 2), choose([1, 3, 1000])

        page = completions.list_page(self.tx, filters, offset, limit)

        assert page == expected[offset : offset + limit], (filters, offset)
        assert completions.count(self.tx, filters) == len(expected), filters

    def assert_counted_right(self) -> None:
        """The ranges count exactly the completions up to the watermark."""
        watermark = rollups.find_watermark(self.tx)
        covered = {completion_id for completion_id, at, _ in self.stored() if (at, completion_id) <= watermark}
        expected = {"completion": len(covered)}
        for tag_id, is_common in rows(self.tx, "tag", "id", "is_common"):
            if is_common:
                expected[f"completion:{tag_id}"] = 0
        for completion_id, tag_id in rows(self.tx, "completion_tag", "completion_id", "tag_id"):
            if completion_id in covered and f"completion:{tag_id}" in expected:
                expected[f"completion:{tag_id}"] += 1
        counted = dict.fromkeys(expected, 0)
        for name, length in rows(self.tx, "list_range", "list_name", "length"):
            counted[name] += length
        assert counted == expected


@pytest.mark.parametrize("seed", range(3))
def test_lengths_and_pages_of_completions_are_right_after_any_operations(
    database: Database, organization: Organization, seed: int
) -> None:
    other = new_organization(database)
    with database.writing() as connection:
        worlds = [
            CompletionWorld(database.tx(connection, organization_id), seed)
            for organization_id in (organization.id, other.id)
        ]
        for _ in range(150):
            world = worlds[0].random.choice(worlds)
            world.step()
            world.assert_counted_right()
            for _ in range(4):
                world.assert_listed_right()
        lengths = rows(worlds[0].tx, "list_range", "list_name", "length")

    assert len(lengths) > 20


def test_the_page_and_the_length_of_a_list_are_of_the_same_moment(
    database: Database, organization: Organization
) -> None:
    """On Postgres a roll-up between the two statements moved the page, so that a client saw rows twice or never."""

    def log(number: int) -> None:
        database.write(organization.id, lambda tx: completions.record(tx, [Entry(f"c{number:02}", {})]))

    for number in range(12):
        log(number)
    with database.reading() as connection:
        tx = database.tx(connection, organization.id)
        first = completions.list_page(tx, CompletionFilters(), 8, 2)
        log(12)
        while database.write(organization.id, rollup.advance):
            pass

        second = completions.list_page(tx, CompletionFilters(), 8, 2)
        length = completions.count(tx, CompletionFilters())

    assert (first, second, length) == (["c03", "c02"], ["c03", "c02"], 12)
