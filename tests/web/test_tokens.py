"""Looking up tokens: callers without a valid one take nothing from those with one (docs/api.md, "Tokens and organizations")."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest

from log10_server import store
from log10_server.db.database import Database
from log10_server.errors import Unavailable
from log10_server.runtime.context import Caller
from log10_server.runtime.runtime import Runtime
from log10_server.services import organizations
from log10_server.web.http import tokens
from log10_server.web.http.tokens import TokenFinder
from tests.conftest import Api, Organization, Served

Read = Callable[[Any], Mapping[str, Caller]]


class Reads:
    """Stands for the runtime: looks tokens up when the test lets it, and counts the queries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.unknown_may_go_on = asyncio.Event()
        self.queries: list[str] = []

    async def read_known_tokens(self, work: Read) -> Mapping[str, Caller]:
        self.queries.append("known")
        await asyncio.sleep(0)
        return self._database.read(work)

    async def read_unknown_tokens(self, work: Read) -> Mapping[str, Caller]:
        self.queries.append("unknown")
        await self.unknown_may_go_on.wait()
        return self._database.read(work)


def finder_of(reads: Reads) -> TokenFinder:
    runtime: Any = reads
    return TokenFinder(runtime)


def test_a_known_token_does_not_wait_for_unknown_ones(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 500 connections with random tokens made a third of the calls with a valid one a 503."""
    monkeypatch.setattr(tokens, "_TOKEN_SECONDS", 0.0)  # each call looks its token up again

    async def scenario() -> None:
        reads = Reads(database)
        finder = finder_of(reads)
        reads.unknown_may_go_on.set()
        assert await finder.find_caller(organization.token) is not None
        reads.unknown_may_go_on.clear()
        strangers = [asyncio.ensure_future(finder.find_caller(f"stranger {number}")) for number in range(500)]
        await asyncio.sleep(0)

        caller = await finder.find_caller(organization.token)

        assert caller is not None
        assert caller.organization.id == organization.id
        assert not any(stranger.done() for stranger in strangers)
        reads.unknown_may_go_on.set()
        assert await asyncio.gather(*strangers) == [None] * 500

    asyncio.run(scenario())


def test_tokens_that_wait_share_a_query(database: Database, organization: Organization) -> None:
    async def scenario() -> list[str]:
        reads = Reads(database)
        finder = finder_of(reads)
        calls = [organization.token, "wrong", organization.token, *(f"wrong {number}" for number in range(40))]
        callers = asyncio.gather(*map(finder.find_caller, calls))
        reads.unknown_may_go_on.set()
        found = [caller is not None for caller in await callers]
        assert found == [True, False, True, *[False] * 40]
        return reads.queries

    assert asyncio.run(scenario()) == ["unknown"]


def test_unknown_tokens_beyond_their_limit_are_refused(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_MAX_WAITING_UNKNOWN", 10)

    async def scenario() -> None:
        reads = Reads(database)
        finder = finder_of(reads)
        reads.unknown_may_go_on.set()
        await finder.find_caller(organization.token)
        reads.unknown_may_go_on.clear()
        calls = [asyncio.ensure_future(finder.find_caller(f"wrong {number}")) for number in range(20)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await finder.find_caller("wrong")
        assert await finder.find_caller(organization.token) is not None
        reads.unknown_may_go_on.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None)] * 10 + [Unavailable] * 10

    asyncio.run(scenario())


def test_a_revoked_token_is_not_known_any_more(
    database: Database, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_TOKEN_SECONDS", 0.0)

    async def scenario() -> list[str]:
        reads = Reads(database)
        reads.unknown_may_go_on.set()
        finder = finder_of(reads)
        assert await finder.find_caller(organization.token) is not None
        with database.writing() as connection:
            (row,) = store.organizations.list_tokens(connection, organization.id)
            organizations.revoke_token(connection, database.clock, row.id)
        assert await finder.find_caller(organization.token) is None
        assert await finder.find_caller(organization.token) is None
        return reads.queries

    assert asyncio.run(scenario()) == ["unknown", "known", "unknown"]


def test_health_is_checked_while_nothing_else_can_be_read(
    serving: Served, database: Database, organization: Organization
) -> None:
    runtime: Runtime = serving.app.state.runtime
    go_on = threading.Event()

    def check() -> tuple[int, int]:
        health = httpx.get(f"{serving.url}/healthz", trust_env=False)
        with Api(serving.url, organization) as api:
            return health.status_code, api.post("/sessions").status_code

    async def scenario() -> tuple[int, int]:
        def wait(_: Any) -> Mapping[str, Caller]:
            go_on.wait(20)
            return {}

        blocked: Sequence[asyncio.Future[Any]] = [
            asyncio.ensure_future(read)
            for read in (runtime.read_short(wait), runtime.read("a", wait), runtime.look_up("a", wait))
        ]
        await asyncio.sleep(0)
        try:
            return await asyncio.to_thread(check)
        finally:
            go_on.set()
            await asyncio.gather(*blocked)

    assert asyncio.run(scenario()) == (200, 201)
