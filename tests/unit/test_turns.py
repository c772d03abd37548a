"""Turns of organizations in a queue with a limited number of places."""

import pytest

from log10_server.errors import Unavailable
from log10_server.turns import Turns


def test_organizations_take_turns() -> None:
    turns: Turns[str] = Turns(places=20, max_running=20)
    for name in ("a1", "a2", "a3"):
        turns.add("a", name)
    turns.add("b", "b1")
    turns.add("c", "c1")

    taken = [turns.take() for _ in range(6)]

    assert taken == ["a1", "b1", "c1", "a2", "a3", None]


def test_one_organization_runs_no_more_than_its_share() -> None:
    turns: Turns[str] = Turns(places=20, max_running=1)
    turns.add("a", "a1")
    turns.add("a", "a2")
    turns.add("b", "b1")

    assert [turns.take() for _ in range(3)] == ["a1", "b1", None]
    turns.finish("a")
    assert turns.take() == "a2"
    assert turns.running == 2


def test_one_organization_has_at_most_half_of_the_places() -> None:
    turns: Turns[str] = Turns(places=4, max_running=1)
    turns.add("a", "a1")
    turns.add("a", "a2")

    with pytest.raises(Unavailable, match="Too many"):
        turns.add("a", "a3")
    turns.add("b", "b1")
    turns.add("c", "c1")
    with pytest.raises(Unavailable):
        turns.add("d", "d1")


def test_several_organizations_leave_a_place_for_another_one() -> None:
    """Two organizations that had half of the places each made all reads of a third one a 503."""
    turns: Turns[str] = Turns(places=32, max_running=1)
    for number in range(16):
        turns.add("a", f"a{number}")
    for number in range(8):
        turns.add("b", f"b{number}")

    with pytest.raises(Unavailable):
        turns.add("b", "b8")
    turns.add("c", "c1")


def test_continued_entries_take_no_place_from_new_ones() -> None:
    """The later parts of 32 exports of one organization made all long reads of another one a 503."""
    turns: Turns[str] = Turns(places=6, max_running=1)
    for number in range(8):
        turns.add("a", f"continued {number}", is_continued=True)

    turns.add("b", "b1")
    turns.add("a", "new 1")
    turns.add("a", "new 2")
    with pytest.raises(Unavailable):
        turns.add("a", "new 3")

    turns.add("a", "continued 8", is_continued=True)


def test_new_and_continued_entries_of_one_organization_take_turns() -> None:
    """The next part of an export waited behind all usage requests of its organization, and was cut off after a minute."""
    turns: Turns[str] = Turns(places=20, max_running=20)
    for name in ("new 1", "new 2", "new 3"):
        turns.add("a", name)
    for name in ("continued 1", "continued 2"):
        turns.add("a", name, is_continued=True)

    taken = [turns.take() for _ in range(6)]

    assert taken == ["continued 1", "new 1", "continued 2", "new 2", "new 3", None]


@pytest.mark.parametrize("is_continued", [False, True])
def test_taking_all_entries_frees_their_places(is_continued: bool) -> None:
    turns: Turns[str] = Turns(places=4, max_running=1)
    turns.add("a", "a1", is_continued=is_continued)
    turns.add("a", "a2")
    turns.add("b", "b1")

    assert sorted(turns.take_all()) == ["a1", "a2", "b1"]

    assert turns.take() is None
    turns.add("a", "a3")
    turns.add("a", "a4")


def test_a_discarded_continued_entry_is_not_taken() -> None:
    turns: Turns[str] = Turns(places=2, max_running=1)
    turns.add("a", "a1", is_continued=True)
    turns.add("a", "a2", is_continued=True)

    assert turns.discard("a", "a1")
    assert not turns.discard("a", "a1")

    assert turns.take() == "a2"


def test_a_discarded_entry_gives_its_place_and_its_turn_to_others() -> None:
    turns: Turns[str] = Turns(places=2, max_running=1)
    turns.add("a", "a1")

    assert turns.discard("a", "a1")
    assert not turns.discard("a", "a1")

    turns.add("a", "a2")
    assert turns.take() == "a2"
    assert not turns.discard("a", "a2"), "it runs already"
