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
    turns.add("d", "d1", is_limited=False)

    assert turns.waiting == 5


def test_a_discarded_entry_gives_its_place_and_its_turn_to_others() -> None:
    turns: Turns[str] = Turns(places=2, max_running=1)
    turns.add("a", "a1")

    assert turns.discard("a", "a1")
    assert not turns.discard("a", "a1")

    turns.add("a", "a2")
    assert turns.take() == "a2"
    assert not turns.discard("a", "a2"), "it runs already"
