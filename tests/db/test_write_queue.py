"""The queue of waiting writes: turns by organization, counted by cost, and what an organization may hold of it."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from log10_server.db.write_queue import BATCH_SECONDS, NO_ENTRY, Write, WriteQueue
from log10_server.errors import Unavailable
from log10_server.fair_share import FairShare

HEAVY_LINKS = 3000  # a write with so many links costs more than a shared transaction may


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


Add = Callable[..., Write]


@pytest.fixture
def queue() -> WriteQueue:
    return WriteQueue(1000, 1 << 20, splits_batches=False)


@pytest.fixture
def add(queue: WriteQueue, loop: asyncio.AbstractEventLoop) -> Add:
    """Adds a write of an organization to the queue."""

    def add(organization_id: str, *, size: int = 0, links: int = 0, alone: bool = False) -> Write:
        write = Write(organization_id, lambda _: None, NO_ENTRY, alone, size, links, loop, loop.create_future())
        queue.add(write)
        return write

    return add


def organizations(batch: list[Write]) -> list[str]:
    return [write.organization_id for write in batch]


def test_a_cheap_write_is_not_behind_the_expensive_ones_of_another_organization(queue: WriteQueue, add: Add) -> None:
    """One writer served all in the order of their arrival: a write waited 18 s behind batches of another one."""
    for _ in range(20):
        add("a", links=HEAVY_LINKS)
    first = queue.take_batch()
    add("b")

    second = queue.take_batch()

    assert (organizations(first), organizations(second)) == (["a"], ["b"])


def test_many_cheap_writes_of_one_organization_leave_room_for_another(queue: WriteQueue, add: Add) -> None:
    for _ in range(400):
        add("a")
    add("b")

    assert "b" in organizations(queue.take_batch())


def test_an_expensive_write_gets_its_turn_while_cheap_ones_keep_coming(queue: WriteQueue, add: Add) -> None:
    add("a", links=HEAVY_LINKS)
    taken: list[str] = []
    for _ in range(100):
        for _ in range(200):
            add("b")
        taken += organizations(queue.take_batch())
        if "a" in taken:
            break
        while queue._counts.held_by("b") > 300:
            taken += organizations(queue.take_batch())

    assert "a" in taken


def test_expensive_writes_of_two_organizations_alternate(queue: WriteQueue, add: Add) -> None:
    for _ in range(4):
        add("a", links=HEAVY_LINKS)
    for _ in range(4):
        add("b", links=HEAVY_LINKS)

    order = [organizations(queue.take_batch()) for _ in range(8)]

    assert sorted(map(tuple, order)) == [("a",)] * 4 + [("b",)] * 4
    assert {batch[0] for batch in order[:2]} == {"a", "b"}
    assert {batch[0] for batch in order[2:4]} == {"a", "b"}


@pytest.mark.parametrize(
    ("size", "links", "most"), [(0, 0, 256), (0, 100, 40), (64 << 10, 0, 100)], ids=["count", "links", "bytes"]
)
def test_a_transaction_is_bounded_by_count_links_and_bytes(
    loop: asyncio.AbstractEventLoop, size: int, links: int, most: int
) -> None:
    queue = WriteQueue(10_000, 1 << 30, splits_batches=False)
    for _ in range(1000):
        queue.add(Write("a", lambda _: None, NO_ENTRY, False, size, links, loop, loop.create_future()))

    batch = queue.take_batch()

    assert 1 < len(batch) <= most
    assert sum(write.cost() for write in batch) <= BATCH_SECONDS + 1e-9


def test_a_write_of_a_separate_transaction_shares_it_with_nobody(queue: WriteQueue, add: Add) -> None:
    add("a", alone=True)
    add("b", alone=True)
    add("c")

    batches = [organizations(queue.take_batch()) for _ in range(3)]

    assert sorted(map(tuple, batches)) == [("a",), ("b",), ("c",)]


def test_writes_that_took_longer_than_estimated_fill_a_transaction_sooner(queue: WriteQueue, add: Add) -> None:
    """A completion that a hundred tasks want costs far more than its tags say."""
    for _ in range(500):
        add("a")
    first = queue.take_batch()
    queue.report_costs([(first, 20 * sum(write.cost() for write in first))])

    second = queue.take_batch()

    assert len(second) < len(first) / 5


def test_an_organization_that_was_alone_owes_nothing_to_a_later_one(queue: WriteQueue, add: Add) -> None:
    for _ in range(500):
        add("a")
    first = queue.take_batch()
    queue.report_costs([(first, 0.04)])
    add("b")

    assert organizations(queue.take_batch()).count("a") > 100


def test_one_organization_can_hold_half_of_the_waiting_writes(queue: WriteQueue, add: Add) -> None:
    """2 400 connections of one organization left no place in the queue for another one."""
    for _ in range(500):
        add("a")
    with pytest.raises(Unavailable, match="Too many writes"):
        add("a")

    for _ in range(250):
        add("b")
    with pytest.raises(Unavailable, match="Too many writes"):
        add("b")
    add("c")


def test_one_organization_can_hold_half_of_the_waiting_bytes(queue: WriteQueue, add: Add) -> None:
    for _ in range(4):
        add("a", size=100 << 10)
    with pytest.raises(Unavailable, match="Too many writes"):
        add("a", size=100 << 10)

    add("a", size=1000)
    add("b", size=100 << 10)


def test_a_freed_place_can_be_used_again(queue: WriteQueue, add: Add) -> None:
    for _ in range(500):
        add("a", size=1)
    queue.take_batch()

    add("a", size=1)

    assert queue._counts.total == queue._bytes.total == 500 - 256 + 1


# What an organization may hold of a limit


def test_there_is_always_room_for_an_organization_that_holds_nothing() -> None:
    share = FairShare(1000)
    for number in range(9):
        organization_id = f"organization {number}"
        while share.admits(organization_id, 1):
            share.add(organization_id, 1)

    assert share.held_by("organization 0") == 500
    assert share.admits("another", 1)


def test_large_amounts_leave_the_reserve_of_small_ones() -> None:
    share = FairShare(800, small=10)
    while share.admits("a", 20):
        share.add("a", 20)
    large = share.held_by("a")
    while share.admits("a", 1):
        share.add("a", 1)

    assert large == 340
    assert share.held_by("a") == 400


def test_what_is_larger_than_the_limit_is_admitted_while_nothing_else_is_held() -> None:
    share = FairShare(100)

    assert share.admits("a", 1000)
    share.add("a", 1000)
    assert not share.admits("b", 1)
    share.subtract("a", 1000)
    assert share.admits("b", 1000)
