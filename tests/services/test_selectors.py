"""Which completions a selector means: those that have all its tags (docs/api.md, "Tags and selectors", "Uploading feedback")."""

import random

import pytest

from log10_server.db.transaction import Tx
from log10_server.errors import Invalid
from log10_server.services import completions, selectors
from log10_server.services.completions import Entry
from log10_server.services.selectors import CompletionList, Selector

COMMON, RARE = ["a", "b", "c"], ["x", "y", "z"]


def tagged(tx: Tx, seed: int) -> list[tuple[str, list[str]]]:
    """Completions with random tags, some of them common and some rare; the newest first."""
    chance = random.Random(seed)
    entries = []
    for number in range(120):
        tags = [tag for tag in COMMON if chance.random() < 0.7] + [tag for tag in RARE if chance.random() < 0.08]
        chance.shuffle(tags)
        entries.append((f"c{number}", tags))
    completions.record(tx, [Entry(completion_id, {"tags": tags}) for completion_id, tags in entries])
    return entries[::-1]


@pytest.mark.parametrize("seed", range(4))
def test_a_selector_finds_what_a_look_at_each_completion_finds(tx: Tx, seed: int) -> None:
    stored = tagged(tx, seed)
    chance = random.Random(seed)
    selections = [tuple(chance.choices([*COMMON, *RARE, "none"], k=chance.randint(0, 4))) for _ in range(40)]

    actual = selectors.resolve(tx, [Selector(tags, True, 1000) for tags in selections])

    assert actual == [
        [completion_id for completion_id, tags in stored if selection and set(selection) <= set(tags)]
        for selection in selections
    ]


def test_targets_of_all_kinds_are_resolved_in_their_order(tx: Tx) -> None:
    completions.record(tx, [Entry("one", {"tags": ["a"]}), Entry("two", {"tags": ["a", "b"]})])

    resolved = selectors.resolve(
        tx,
        [
            CompletionList(("two", "one", "two")),
            Selector(("a",), False, 5),
            CompletionList(("no",)),
            Selector(("b", "a"), False, 5),
        ],
    )

    assert resolved[:2] == [["two", "one"], ["two", "one"]]
    assert isinstance(resolved[2], Invalid)
    assert resolved[3] == ["two"]


def test_resolving_no_targets_gives_no_results(tx: Tx) -> None:
    assert selectors.resolve(tx, []) == []


@pytest.mark.parametrize(
    ("count", "at_most", "count_in_message"),
    [
        (1, 1, ""),
        (2, 1, "2 "),
        (999, 1, "999 "),
        (1000, 1, "1000 "),
        (1001, 1, "more than 1000 "),
        (1000, 999, "1000 "),
        (1000, 1000, ""),
        (1001, 1000, "more than 1000 "),
        (1002, 1001, "more than 1001 "),
    ],
)
def test_too_many_matches_are_counted_up_to_a_bound(tx: Tx, count: int, at_most: int, count_in_message: str) -> None:
    completions.record(tx, [Entry(str(number), {"tags": ["a", "b"]}) for number in range(count)])

    (resolved,) = selectors.resolve(tx, [Selector(("a", "b"), False, at_most)])

    if count_in_message:
        assert isinstance(resolved, Invalid)
        assert f" matches {count_in_message}completions" in resolved.detail
    else:
        assert isinstance(resolved, list)
        assert len(resolved) == count


def test_of_several_unknown_ids_each_is_named_once(tx: Tx) -> None:
    completions.record(tx, [Entry("one", {})])

    (resolved,) = selectors.resolve(tx, [CompletionList(("no", "one", "nor", "no"))])

    assert isinstance(resolved, Invalid)
    assert [fault.path for fault in resolved.field_errors] == ["/completion_ids/0", "/completion_ids/2"]


@pytest.mark.parametrize("tags", [["a"], ["a", "b"], ["a", "a"], ["a", "none"], []])
def test_keys_are_given_for_all_tags_or_none(tx: Tx, tags: list[str]) -> None:
    completions.record(tx, [Entry("one", {"tags": ["a", "b"]})])

    assert len(selectors.find_tag_ids(tx, tags)) == (0 if "none" in tags else len(set(tags)))
