"""The limit on the bytes of answers: who gets room, who waits, and in which order."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from log10_server.errors import Unavailable
from log10_server.runtime.answer_bytes import AnswerBytes

LIMIT = 80
LARGEST = LIMIT // 4


def run(test: Callable[[AnswerBytes], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(AnswerBytes(LIMIT))

    asyncio.run(main())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_organization_holds_at_most_half() -> None:
    async def test(answers: AnswerBytes) -> None:
        assert answers.try_add("a", 20)
        assert answers.try_add("a", 20)
        assert not answers.try_add("a", 1)
        assert answers.try_add("b", 10)
        assert answers.try_add("c", 10)

    run(test)


def test_who_waits_is_admitted_when_there_is_room() -> None:
    async def test(answers: AnswerBytes) -> None:
        order: list[str] = []

        async def answer(name: str) -> None:
            async with answers.reserve(name[0], LARGEST, 60):
                order.append(name)
                await settle()

        answers.add("a", 40)
        waiting = [asyncio.ensure_future(answer(name)) for name in ("a1", "a2", "a3", "b1")]
        await settle()
        assert order == ["b1"], "the other organization need not wait"

        await waiting[3]
        answers.subtract("a", 40)
        await asyncio.gather(*waiting)

        assert order == ["b1", "a1", "a2", "a3"]
        assert answers.try_add("a", 40), "everything is released"

    run(test)


@pytest.mark.parametrize("held_by_another", [0, 20, 39])
def test_first_pieces_leave_room_for_the_next_piece_of_any_of_them(held_by_another: int) -> None:
    """Many long lists of one organization held their first pieces while all of them waited for room for the second."""

    async def test(answers: AnswerBytes) -> None:
        if held_by_another:
            answers.add("b", held_by_another)
        while answers.try_add_first_piece("a", 1):
            pass
        order: list[int] = []

        async def send_the_rest(number: int) -> None:
            async with answers.reserve("a", LARGEST, 60):
                order.append(number)
                await settle()

        waiting = [asyncio.ensure_future(send_the_rest(number)) for number in range(3)]
        await settle()
        assert order[:1] == [0], "the next piece has room at once"

        await asyncio.gather(*waiting)
        assert order == [0, 1, 2]

    run(test)


def test_a_row_that_is_larger_than_the_limit_finds_room() -> None:
    async def test(answers: AnswerBytes) -> None:
        answers.add("a", 40)
        async with answers.reserve("b", 10 * LIMIT, 60):
            assert not answers.try_add("c", 30)
        assert answers.try_add("c", 20)

    run(test)


def test_waiting_ends_with_a_refusal_that_holds_nothing() -> None:
    async def test(answers: AnswerBytes) -> None:
        answers.add("a", 40)

        with pytest.raises(Unavailable, match="Too many long answers"):
            async with answers.reserve("a", 10, 0.01):
                raise AssertionError

        answers.subtract("a", 40)
        assert answers.try_add("a", 40)

    run(test)


@pytest.mark.parametrize("released", ["before", "at the same moment", "afterwards"])
def test_who_leaves_while_waiting_keeps_no_place(released: str) -> None:
    """A call that was cancelled and admitted at the same moment kept its bytes, and its place in the line, for ever."""

    async def test(answers: AnswerBytes) -> None:
        answers.add("a", 40)
        left = [asyncio.ensure_future(answers.reserve("a", 10, 60).__aenter__()) for _ in range(3)]
        await settle()
        if released == "before":
            answers.subtract("a", 40)
        for call in left:
            call.cancel()
        if released == "at the same moment":
            answers.subtract("a", 40)
        await asyncio.wait(left)
        if released == "afterwards":
            answers.subtract("a", 40)

        assert answers.try_add("a", 40)

    run(test)
