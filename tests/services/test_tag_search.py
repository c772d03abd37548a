"""A search of tags answers the same before and after the names were copied into blocks (docs/api.md, "Tags and selectors")."""

import random
import sys
from collections.abc import Iterator

import pytest

from log10_server import store
from log10_server.clock import Clock
from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.services import completions, tags
from log10_server.services.completions import Entry

ALPHABET = ["a", "b", "B", "ß", "Σ", "ς", "ü", "Ü", "İ", " ", "\n", "%", "_", "日", "\U0001f600"]


@pytest.fixture(autouse=True)
def tags_in_block(database: Database) -> Iterator[int]:
    """A block has the names of seven tags."""
    before, database.thresholds.tags_in_block = database.thresholds.tags_in_block, 7
    yield database.thresholds.tags_in_block
    database.thresholds.tags_in_block = before


def add_tags(tx: Tx, *names: str) -> None:
    completions.record(tx, [Entry(None, {"tags": list(names)})])


def random_names(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    names = {"".join(chance.choices(ALPHABET, k=chance.choice([1, 2, 3, 5, 9, 40]))) for _ in range(count)}
    return sorted(names, key=lambda _: chance.random())


def expected_names(names: list[str], query: str) -> list[str]:
    """What the search must answer, by the definition: the exact name, then the shortest, in the order of creation."""
    folded = [(name.casefold(), name) for name in names]
    matches = [pair for pair in folded if query.casefold() in pair[0]]
    matches.sort(key=lambda pair: (pair[1] != query, len(pair[0]), pair[0]))
    return [name for _, name in matches][:100]


def found_names(tx: Tx, query: str) -> list[str]:
    return [row.name for row in tags.search(tx, query)]


@pytest.mark.parametrize("seed", range(3))
def test_a_search_finds_what_a_comparison_of_all_names_finds(tx: Tx, seed: int) -> None:
    names = random_names(300, seed)
    chance = random.Random(seed)
    for start in range(0, len(names), 10):
        add_tags(tx, *names[start : start + 10])
        while chance.random() < 0.8 and tags.add_block(tx):
            pass
    queries = {name[first : first + length] for name in names[:60] for first in (0, 1) for length in (1, 2, 4)}
    queries = {query for query in queries if query.strip()} | {"x", "aba", names[0], names[0].upper()}

    for query in sorted(queries):
        # Names that differ only in case are equal for the order, apart from the exact name.
        found, expected = found_names(tx, query), expected_names(names, query)
        assert [name.casefold() for name in found] == [name.casefold() for name in expected], query
        assert (query in found[:1]) == (query in names)
        assert len(set(found)) == len(found)


def test_blocks_change_no_answer(tx: Tx) -> None:
    add_tags(tx, *(f"Tag {number:02}" for number in range(50)))
    before = {query: found_names(tx, query) for query in ("tag", "TAG 1", "4", "tag 49", "tag 50")}

    while tags.add_block(tx):
        pass

    assert {query: found_names(tx, query) for query in before} == before
    assert len(before["TAG 1"]) == 10


def test_few_new_names_wait_for_a_block(tx: Tx) -> None:
    add_tags(tx, *"abcdef")

    assert not tags.is_behind(tx)
    assert not tags.add_block(tx)
    add_tags(tx, "g")
    assert tags.is_behind(tx)
    assert tags.add_block(tx)
    assert not tags.add_block(tx)


def test_long_names_make_a_small_block(tx: Tx) -> None:
    names = [f"{number}{'x' * 8000}" for number in range(9)]
    tx.thresholds.tags_in_block = 1000
    add_tags(tx, *names, "short")

    assert tags.is_behind(tx)
    assert tags.add_block(tx)

    assert not tags.is_behind(tx)
    assert not tags.add_block(tx)
    assert found_names(tx, "X" * 8000) == names
    assert found_names(tx, "short") == ["short"]


def test_no_name_contains_the_separator() -> None:
    assert not any(tags._SEPARATOR in chr(point).casefold() for point in range(sys.maxunicode + 1))


def test_a_tag_of_a_process_whose_clock_is_late_is_found(tx: Tx) -> None:
    add_tags(tx, *"abcdefg")
    assert tags.add_block(tx)
    tx.clock = Clock(lambda: 0)

    add_tags(tx, "late tag")
    add_tags(tx, "later tag")

    assert found_names(tx, "tag") == ["late tag", "later tag"]
    assert min(row.id for row in tags.search(tx, "late")) > store.tag_search.newest_block_key(tx)


def test_a_blank_query_lists_tags_by_their_last_use_and_then_by_their_creation(tx: Tx) -> None:
    for number in range(60):
        add_tags(tx, f"old {number}")
    add_tags(tx, "old 3", "shared")
    for _ in range(60):
        add_tags(tx, "shared")
    store.tags.ensure(tx, ["never used"])

    found = found_names(tx, " ")

    assert found[:4] == ["shared", "old 3", "old 59", "old 58"]
    assert found[-1] == "never used"
    assert len(found) == len(set(found)) == 62
