"""Lanes of reads: what fills one of them takes nothing from the others, and organizations take turns."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.errors import Unavailable
from log10_server.runtime.context import Actor, Caller, Context
from log10_server.runtime.read_lane import ReadLane
from log10_server.runtime.runtime import _MAX_WAITING_READS, Runtime
from log10_server.settings import Settings
from log10_server.store.organizations import OrganizationRow
from log10_server.store.pieces import Piece, Unread
from tests.conftest import Api, Organization, Served, problem, serve
from tests.web.server.raw_http import connected, wait_until


@pytest.fixture
def with_one_reader(migrated: Database) -> Iterator[Served]:
    yield from serve(migrated, Settings(readers=1))


def call_while_reading(
    reads: Callable[[Runtime, Callable[[Any], bool]], list[Coroutine[Any, Any, bool]]],
    served: Served,
    call: Callable[[], Any],
) -> Any:
    """The result of `call`, which runs while these reads fill their lanes."""
    go_on = threading.Event()

    async def main() -> Any:
        waiting = [asyncio.ensure_future(read) for read in reads(served.app.state.runtime, lambda _: go_on.wait(20))]
        await asyncio.sleep(0)  # each has been given to its lane
        try:
            return await asyncio.to_thread(call)
        finally:
            go_on.set()
            await asyncio.gather(*waiting)

    return asyncio.run(main())


def test_a_flood_of_reads_refuses_no_token_and_no_health_check(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    """One limit counted both kinds of reads: 1000 waiting lists made every look-up of a token a 503."""

    def reads(runtime: Runtime, wait: Callable[[Any], bool]) -> list[Coroutine[Any, Any, bool]]:
        organizations = [f"organization {number}" for number in range(_MAX_WAITING_READS)]
        return [runtime.read("first", wait), *(runtime.read(each, wait) for each in organizations)]

    def call() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        with Api(with_one_reader.url, organization) as api:
            health = httpx.get(f"{with_one_reader.url}/healthz", trust_env=False)
            return health, api.get("/completions"), api.post("/completions", json={"id": "one"})

    health, refused, written = call_while_reading(reads, with_one_reader, call)

    assert health.status_code == 200
    assert written.status_code == 201
    problem(refused, 503, "overloaded")


def test_lists_do_not_delay_the_look_up_of_a_schema(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    """An upload whose schema was not cached waited behind lists, and was a 503 after eight seconds."""
    with Api(with_one_reader.url, organization) as api:
        task = api.task(["greeting"], {"type": "object"})
        api.completion(tags=["greeting"])
        with_one_reader.app.state.runtime.schemas._schemas.clear()

        uploaded = call_while_reading(
            lambda runtime, wait: [runtime.read(organization.id, wait) for _ in range(3)],
            with_one_reader,
            lambda: api.upload(task["id"], completion_tags_selector=["greeting"]),
        )

    assert uploaded["task_id"] == task["id"]


def test_long_reads_delay_no_list_and_no_upload(serving: Served, api: Api) -> None:
    task = api.task(["greeting"], {"type": "object"})
    api.completion(id="one", tags=["greeting"])
    serving.app.state.runtime.schemas._schemas.clear()

    def reads(runtime: Runtime, wait: Callable[[Any], bool]) -> list[Coroutine[Any, Any, bool]]:
        organizations = [api.organization.id, "other"] * 4
        return [runtime.read_long(each, wait, is_continued=False) for each in organizations]

    def call() -> tuple[httpx.Response, list[str], dict[str, Any]]:
        return api.get("/completions"), api.ungraded(), api.upload(task["id"], completion_ids=["one"])

    listed, ungraded, uploaded = call_while_reading(reads, serving, call)

    assert [completion["id"] for completion in listed.json()["completions"]] == ["one"]
    assert ungraded == ["one"]
    assert uploaded["matched_completion_ids"] == ["one"]


def test_usage_and_exports_are_refused_while_too_many_long_reads_wait(serving: Served, api: Api) -> None:
    """The refusal says when to try again. An export that has begun is not refused, because its answer would end early."""

    def reads(runtime: Runtime, wait: Callable[[Any], bool]) -> list[Coroutine[Any, Any, bool]]:
        organizations = [api.organization.id] * 17
        return [runtime.read_long(each, wait, is_continued=False) for each in organizations]

    refused = call_while_reading(
        reads, serving, lambda: [api.get(path) for path in ("/usage", "/export", "/export/training?task_id=any")]
    )

    for answer in refused:
        problem(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


def test_exports_that_have_begun_refuse_no_usage_of_another_organization(serving: Served, api: Api) -> None:
    """The later parts of the exports of 40 clients had all places, so the usage of another organization was a 503."""

    def reads(runtime: Runtime, wait: Callable[[Any], bool]) -> list[Coroutine[Any, Any, bool]]:
        return [runtime.read_long("other", wait, is_continued=True) for _ in range(40)]

    answer = call_while_reading(reads, serving, lambda: api.get("/usage"))

    assert answer.status_code == 200


def test_reads_of_clients_that_have_disconnected_do_not_begin(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    """A read waited behind a hundred reads whose clients had left, and was a 503 after eight seconds."""
    app = with_one_reader.app
    scopes: list[Any] = []
    handle = app.middleware_stack

    async def note_scope(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await handle(scope, receive, send)

    app.middleware_stack = note_scope
    head = f"GET /api/v1/completions HTTP/1.1\r\nHost: x\r\nX-Log10-Token: {organization.token}\r\n\r\n"

    def call() -> list[bool]:
        with connected(with_one_reader.url) as client:
            client.send(head.encode())
            wait_until(lambda: bool(scopes) and hasattr(scopes[0].get("log10"), "context"))
            stays = scopes[0]["log10"].context.has_left
            client.close()
            wait_until(lambda: scopes[0]["log10"].context.has_left)
            return [stays, scopes[0]["log10"].context.has_left]

    def reads(runtime: Runtime, wait: Callable[[Any], bool]) -> list[Coroutine[Any, Any, bool]]:
        return [runtime.read("other", wait)]

    assert call_while_reading(reads, with_one_reader, call) == [False, True]


def context_of(runtime: Runtime, organization: Organization) -> Context:
    row = OrganizationRow(organization.id, organization.slug, 0)
    return Context(runtime, Caller(row, Actor("token", "token", "program")))


def test_a_read_whose_caller_has_left_does_not_run(
    serving: Served, database: Database, organization: Organization
) -> None:
    runtime = serving.app.state.runtime
    run: list[str] = []

    async def main() -> None:
        context = context_of(runtime, organization)
        await context.read(lambda _: run.append("stays"))
        context.has_left = True
        with pytest.raises(Unavailable, match="disconnected"):
            await context.read(lambda _: run.append("left"))

    asyncio.run(main())

    assert run == ["stays"]


def read_next(_: Any, unread: Unread, size: int) -> Piece[bytes]:
    return Piece([unread.ids[0].encode()], Unread(unread.ids[1:]))


def test_an_answer_that_has_begun_is_continued_while_too_many_lists_wait(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    """A list in several pieces was cut off when 500 lists of its organization were waiting."""
    runtime = with_one_reader.app.state.runtime
    go_on = threading.Event()

    async def main() -> list[bytes]:
        context = context_of(runtime, organization)
        async with aclosing(context.read_pieces(read_next, Unread(["one", "two"]))) as pieces:
            first = await anext(pieces)
            lists = [
                asyncio.ensure_future(context.read(lambda _: go_on.wait(20)))
                for _ in range(1 + _MAX_WAITING_READS // 2)
            ]
            await asyncio.sleep(0)
            try:
                with pytest.raises(Unavailable, match="Too many"):
                    await context.read(lambda _: True)
                second = asyncio.ensure_future(anext(pieces))
                await asyncio.sleep(0)
            finally:
                go_on.set()
                await asyncio.gather(*lists)
            return [first, await second]

    assert asyncio.run(main()) == [b"one", b"two"]


def test_an_answer_that_has_begun_has_the_timeout_of_a_long_read(
    with_one_reader: Served, database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list in several pieces was cut off when a piece waited for eight seconds."""
    runtime = with_one_reader.app.state.runtime
    go_on = threading.Event()

    async def main() -> list[bytes]:
        context = context_of(runtime, organization)
        async with aclosing(context.read_pieces(read_next, Unread(["one", "two"]))) as pieces:
            first = await anext(pieces)
            busy = asyncio.ensure_future(context.read(lambda _: go_on.wait(20)))
            await asyncio.sleep(0)
            monkeypatch.setattr("log10_server.runtime.runtime.TIMEOUT_SECONDS", 0.1)
            second = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            try:
                with pytest.raises(Unavailable):
                    await context.read(lambda _: True)  # it began to wait after the piece
            finally:
                go_on.set()
                await busy
            return [first, await second]

    assert asyncio.run(main()) == [b"one", b"two"]


@asynccontextmanager
async def lane_of(database: Database, threads: int, places: int) -> AsyncIterator[ReadLane]:
    lane = ReadLane(database, "test", threads=threads, places=places)
    try:
        yield lane
    finally:
        lane.close()


def test_a_waiting_organization_reads_next_however_many_reads_of_another_wait(database: Database) -> None:
    order: list[str] = []
    go_on = threading.Event()

    def noting(name: str) -> Callable[[Any], None]:
        return lambda _: order.append(name)

    async def main() -> None:
        async with lane_of(database, threads=1, places=100) as lane:
            first = asyncio.ensure_future(lane.read("a", lambda _: go_on.wait(20), 60))
            await asyncio.sleep(0)
            reads = [asyncio.ensure_future(lane.read(name, noting(name), 60)) for name in "a" * 20 + "b"]
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.gather(first, *reads)

    asyncio.run(main())

    assert order.index("b") <= 1


def test_a_continued_read_does_not_wait_behind_all_new_reads_of_its_organization(database: Database) -> None:
    """The next part of an export waited behind 16 slow usage requests, and the export was cut off after a minute."""
    order: list[str] = []
    go_on = threading.Event()

    def noting(name: str) -> Callable[[Any], None]:
        return lambda _: order.append(name)

    async def main() -> None:
        async with lane_of(database, threads=1, places=100) as lane:
            first = asyncio.ensure_future(lane.read("a", lambda _: go_on.wait(20), 60))
            await asyncio.sleep(0)
            reads = [asyncio.ensure_future(lane.read("a", noting("new"), 60)) for _ in range(16)]
            await asyncio.sleep(0)
            reads.append(asyncio.ensure_future(lane.read("a", noting("continued"), 60, is_continued=True)))
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.gather(first, *reads)

    asyncio.run(main())

    assert order.index("continued") <= 1


def test_one_organization_leaves_half_of_the_threads_to_others(database: Database) -> None:
    go_on = threading.Event()

    async def main() -> str:
        async with lane_of(database, threads=2, places=100) as lane:
            busy = [asyncio.ensure_future(lane.read("a", lambda _: go_on.wait(20), 60)) for _ in range(5)]
            await asyncio.sleep(0)
            try:
                return await lane.read("b", lambda _: "read", 20)
            finally:
                go_on.set()
                await asyncio.gather(*busy)

    assert asyncio.run(main()) == "read"


def test_reads_whose_callers_have_left_are_dropped_before_they_begin(database: Database) -> None:
    """A read waited behind a hundred reads whose callers had left, and was a 503 after eight seconds."""
    begun: list[str] = []
    go_on = threading.Event()

    async def main() -> str:
        async with lane_of(database, threads=1, places=10) as lane:
            busy = asyncio.ensure_future(lane.read("a", lambda _: go_on.wait(20), 60))
            await asyncio.sleep(0)
            left = [asyncio.ensure_future(lane.read("a", lambda _: begun.append("left"), 60)) for _ in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await lane.read("a", lambda _: begun.append("too many"), 60)
            for read in left:
                read.cancel()
            await asyncio.wait(left)
            stays = asyncio.ensure_future(lane.read("a", lambda _: "read", 60))
            await asyncio.sleep(0)
            go_on.set()
            await busy
            return await stays

    assert asyncio.run(main()) == "read"
    assert begun == []
