"""Pairs of common tags are kept, and change what a question costs, never what it finds (docs/api.md, "Tags and selectors")."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest

from log10_server import store
from log10_server.db.database import Database
from log10_server.db.thresholds import CommonTags
from log10_server.db.transaction import Tx
from log10_server.services import completions, feedback_tasks, selectors, test_runs, ungraded
from log10_server.services.completions import Entry
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import Selector
from log10_server.store.completions import Cursor, Filters
from tests.services.test_ungraded import World, assert_kept, rows


@pytest.fixture(autouse=True)
def common(database: Database) -> Iterator[CommonTags]:
    """A tag is common when it is on more than three completions, and a crowd has more than three tags."""
    before, database.thresholds.common_tags = (
        database.thresholds.common_tags,
        CommonTags(min_completions=3, sample_one_in=1, max_tags_for_pairs=3, completions_per_step=1),
    )
    yield database.thresholds.common_tags
    database.thresholds.common_tags = before


def marked(tx: Tx) -> set[str]:
    return {str(name) for name, is_common in rows(tx, "tag", "name", "is_common") if is_common}


def unfinished(tx: Tx) -> set[str]:
    """The common tags for which some pairs are not stored yet."""
    names = dict(rows(tx, "tag", "id", "name"))
    return {str(names[tag_id]) for (tag_id,) in rows(tx, "pair_backfill", "tag_id")}


def fill(tx: Tx) -> None:
    while store.common_tags.add_pairs(tx):
        pass
    assert unfinished(tx) == set()


def assert_pairs_kept(tx: Tx) -> None:
    """The kept pairs say what the tags of the completions and the marks of the tags say.

    Of a tag that is not filled in yet, pairs may be missing, but none is wrong.
    """
    names = dict(rows(tx, "tag", "id", "name")) | {0: None}
    kept = Counter(
        (completion_id, at, frozenset([names[first], names[second]]))
        for first, second, at, completion_id in rows(
            tx, "completion_tag_pair", "first_tag_id", "second_tag_id", "created_at", "completion_id"
        )
    )
    expected: Counter[tuple[str, int, frozenset[str | None]]] = Counter()
    for completion_id, at, stored_tags in rows(tx, "completion", "id", "created_at", "tags"):
        tags = set(json.loads(str(stored_tags or "[]")))
        common = tags & marked(tx)
        pairs = (
            [(tag, None) for tag in common]
            if len(tags) > tx.thresholds.common_tags.max_tags_for_pairs
            else combinations(common, 2)
        )
        expected.update((completion_id, at, frozenset(pair)) for pair in pairs)
    missing = expected - kept
    assert kept - expected == Counter()
    assert not [pair for _, _, pair in missing if not pair & unfinished(tx)]


def tagged(tx: Tx, seed: int, count: int = 150) -> list[tuple[str, set[str]]]:
    """Completions with few tags and with many, most of them common; the newest first."""
    chance = random.Random(seed)
    entries = []
    for number in range(count):
        tags = [tag for tag in "abcdef" if chance.random() < chance.choice([0.2, 0.5, 0.9])]
        tags += [tag for tag in "xyz" if chance.random() < 0.02]
        entries.append((f"c{number:03}", chance.sample(tags, len(tags))))
    for start in range(0, count, 10):
        completions.record(
            tx, [Entry(completion_id, {"tags": tags}) for completion_id, tags in entries[start : start + 10]]
        )
    return [(completion_id, set(tags)) for completion_id, tags in reversed(entries)]


def ids_with_tags(stored: Sequence[tuple[str, set[str]]], *selector: str) -> list[str]:
    return [completion_id for completion_id, tags in stored if set(selector) <= tags]


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_pairs_are_right_after_every_step_of_a_long_history(tx: Tx, seed: int) -> None:
    world, chance = World(tx, seed), random.Random(seed)

    for _ in range(70):
        world.step()
        if chance.random() < 0.3:
            store.common_tags.add_pairs(tx)
        assert_pairs_kept(tx)
        assert_kept(tx)

    assert len(marked(tx)) > 1
    fill(tx)
    assert_pairs_kept(tx)


def test_a_tag_becomes_common_when_it_is_on_enough_completions(tx: Tx) -> None:
    completions.record(tx, [Entry(f"c{number}", {"tags": ["a", "b"]}) for number in range(3)])
    before = marked(tx)

    completions.record(tx, [Entry("c3", {"tags": ["b", "c"]})])

    assert (before, marked(tx)) == (set(), {"b"})
    completions.record(tx, [Entry("c4", {"tags": ["a"]})])
    assert marked(tx) == {"a", "b"}
    assert_pairs_kept(tx)


def test_a_transaction_marks_only_some_tags_and_leaves_their_pairs_to_the_background(tx: Tx) -> None:
    """With 24 tags that became common at once, one completion stored 300 000 rows, and no other could be stored."""
    tags = [f"tag {number}" for number in range(5)]
    tx.thresholds.common_tags = CommonTags(min_completions=3, sample_one_in=1, completions_per_step=2)

    counts = []
    for number in range(6):
        completions.record(tx, [Entry(f"c{number}", {"tags": tags})])
        counts.append(len(marked(tx)))

    assert counts == [0, 0, 0, 2, 4, 5]
    assert unfinished(tx) == set(tags)
    fill(tx)
    assert_pairs_kept(tx)
    assert len(rows(tx, "completion_tag_pair", "completion_id")) == 6 * 10


def test_a_common_tag_stays_common(tx: Tx) -> None:
    completions.record(tx, [Entry(f"c{number}", {"tags": ["a", "b"]}) for number in range(4)])

    completions.record(tx, [Entry(f"c{number}", {"tags": []}) for number in range(4)])
    completions.record(tx, [Entry("new", {"tags": ["a", "b"]})])

    assert marked(tx) == {"a", "b"}
    assert_pairs_kept(tx)


def test_of_many_completions_some_are_enough_to_find_a_common_tag(tx: Tx) -> None:
    tx.thresholds.common_tags = CommonTags(min_completions=3, sample_one_in=8, max_tags_for_pairs=3)

    for number in range(100):
        completions.record(tx, [Entry(f"c{number}", {"tags": ["a", "b"]})])

    assert marked(tx) == {"a", "b"}
    assert_pairs_kept(tx)


@pytest.mark.parametrize("seed", range(4))
def test_selectors_and_lists_find_what_a_look_at_each_completion_finds(tx: Tx, seed: int) -> None:
    stored = tagged(tx, seed)
    chance = random.Random(seed)
    selections = [tuple(chance.choices("abcdefxyz", k=chance.randint(1, 4))) for _ in range(40)]

    at_first = selectors.resolve(tx, [Selector(tags, True, 1000) for tags in selections])
    for _ in range(3 + 7 * seed):
        store.common_tags.add_pairs(tx)
    while_filling = selectors.resolve(tx, [Selector(tags, True, 1000) for tags in selections])
    fill(tx)
    actual = selectors.resolve(tx, [Selector(tags, True, 1000) for tags in selections])

    assert at_first == while_filling == actual
    assert actual == [ids_with_tags(stored, *tags) for tags in selections]
    assert {"a", "b", "c", "d", "e", "f"} <= marked(tx)
    for tags in selections:
        listed: list[str] = []
        after: Cursor | None = None
        while True:
            page, after = completions.list_newest(tx, tags, Filters(), after, 7)
            listed += page
            if after is None:
                break
        filters = Filters(tag_ids=selectors.find_tag_ids(tx, tags))
        assert listed == ids_with_tags(stored, *tags)
        assert completions.list_page(tx, filters, 3, 5) == listed[3:8]
        assert completions.count(tx, filters) == len(listed)


@pytest.mark.parametrize("seed", range(2))
def test_tests_and_tasks_find_what_a_look_at_each_completion_finds(tx: Tx, seed: int) -> None:
    stored = tagged(tx, seed, 90)
    selections = [tuple(random.Random(seed).sample("abcdef", 3))[:count] for count in (2, 3)]

    tasks = [feedback_tasks.create(tx, NewFeedbackTask(None, "a task", "", "{}", tags)).id for tags in selections]

    for tags, task in zip(selections, tasks, strict=True):
        assert ungraded.list_newest(tx, task, 0, 1000) == ids_with_tags(stored, *tags)
    each = [(*selections[0], other) for other in "abcdef"]
    assert test_runs.find_completions(tx, each) == [ids_with_tags(stored, *tags)[:100] for tags in each]


def test_a_completion_with_many_tags_has_a_row_for_each_tag_and_no_pairs(tx: Tx) -> None:
    tx.thresholds.common_tags = CommonTags(
        min_completions=3, sample_one_in=1, max_tags_for_pairs=20, marked_at_once=200
    )
    many = [f"tag {number}" for number in range(200)]

    completions.record(tx, [Entry(f"crowd {number}", {"tags": many}) for number in range(5)])
    completions.record(tx, [Entry("two", {"tags": many[:2]})])
    fill(tx)

    keys = store.tags.find_keys(tx, many)
    assert len(rows(tx, "completion_tag_pair", "completion_id")) == 5 * 200 + 1
    assert store.completion_tags.list_with_all_tags(tx, [keys["tag 0"], keys["tag 1"]], 3) == [
        "two",
        "crowd 4",
        "crowd 3",
    ]
    completions.record(tx, [Entry("crowd 4", {"tags": many[1:3]}), Entry("two", {"tags": many[1:]})])
    assert store.completion_tags.list_with_all_tags(tx, [keys["tag 2"], keys["tag 1"]], 3) == [
        "two",
        "crowd 4",
        "crowd 3",
    ]
    assert_pairs_kept(tx)
