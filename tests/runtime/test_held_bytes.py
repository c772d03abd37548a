"""Bytes of bodies: each organization has its share, small bodies have a reserve, and slow ones make room for others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from log10_server.errors import Unavailable
from log10_server.runtime import held_bytes
from log10_server.runtime.held_bytes import HeldBody, HeldBytes

MIB = 1 << 20


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.fixture(autouse=True)
def slow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body is slow as soon as it waits for its next part."""
    monkeypatch.setattr(held_bytes, "_STALL_SECONDS", 0.0)


def waiting_body(held: HeldBytes, organization_id: str, size: int) -> tuple[HeldBody, asyncio.Task[object]]:
    """A body of which this many bytes have arrived, and whose client sends no more."""
    body = HeldBody(organization_id)
    held.add(body, size)
    return body, asyncio.ensure_future(held.wait_for_part(body, asyncio.Event().wait()))


async def cancel(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_organization_can_hold_half_of_the_bytes() -> None:
    held = HeldBytes(16 * MIB)
    bodies = [HeldBody("a") for _ in range(16)]
    taken = []
    for body in bodies:
        try:
            held.add(body, MIB)
            taken.append(body)
        except Unavailable:
            break

    held.add(HeldBody("a"), 1000)  # small bodies have a reserve
    held.add(HeldBody("b"), 2 * MIB)

    assert len(taken) == 7


def test_stalled_bodies_make_room_for_the_body_of_another_organization() -> None:
    """Two stalled batches used up the allowance, and batches of others were 503 until their client hung up."""

    async def scenario() -> None:
        held = HeldBytes(16 * MIB)
        large, of_large = waiting_body(held, "a", 6 * MIB)
        small, of_small = waiting_body(held, "c", 3 * MIB)
        await asyncio.sleep(0.01)

        held.add(HeldBody("b"), 6 * MIB)

        with pytest.raises(Unavailable, match="too slowly"):
            await of_large
        assert (large.size, small.size, held.total) == (0, 3 * MIB, 9 * MIB)
        assert not of_small.done()
        await cancel(of_small)

    run(scenario())


def test_slow_bodies_of_the_same_organization_make_room_first() -> None:
    async def scenario() -> None:
        held = HeldBytes(16 * MIB)
        own, of_own = waiting_body(held, "b", 2 * MIB)
        other, of_other = waiting_body(held, "a", 6 * MIB)
        await asyncio.sleep(0.01)

        held.add(HeldBody("b"), 3 * MIB)

        assert (own.size, other.size) == (0, 6 * MIB)
        await cancel(of_own, of_other)

    run(scenario())


def test_an_organization_that_has_used_up_its_share_ends_no_slow_body_of_another() -> None:
    """It ended the slow bodies of others, and was refused all the same."""

    async def scenario() -> None:
        held = HeldBytes(16 * MIB)
        slow, of_slow = waiting_body(held, "b", 1 * MIB)
        await asyncio.sleep(0.01)
        held.add(HeldBody("a"), 6 * MIB)

        with pytest.raises(Unavailable, match="Too many bytes"):
            held.add(HeldBody("a"), 6 * MIB)

        assert (slow.size, held.total) == (1 * MIB, 7 * MIB)
        assert not of_slow.done()
        await cancel(of_slow)

    run(scenario())


def test_a_body_that_arrives_fast_is_not_refused_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_bytes, "_STALL_SECONDS", 60.0)

    async def scenario() -> None:
        held = HeldBytes(16 * MIB)
        body, task = waiting_body(held, "a", 7 * MIB)
        await asyncio.sleep(0.01)

        with pytest.raises(Unavailable, match="Too many bytes"):
            held.add(HeldBody("a"), 2 * MIB)

        assert body.size == 7 * MIB
        await cancel(task)

    run(scenario())


def test_a_caller_that_goes_away_is_not_answered() -> None:
    async def scenario() -> None:
        held = HeldBytes(16 * MIB)
        _, task = waiting_body(held, "a", MIB)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario())


def test_a_body_larger_than_the_limit_is_taken_while_no_other_holds_any() -> None:
    held = HeldBytes(MIB)
    body = HeldBody("a")
    held.add(body, MIB)
    held.add(body, MIB)

    with pytest.raises(Unavailable):
        held.add(HeldBody("b"), 1)
    held.release(body)
    held.add(HeldBody("b"), 1)

    assert held.total == 1
