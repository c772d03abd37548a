"""Lanes of reads: what fills one of them takes nothing from the other."""

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.runtime.read_lane import _MAX_WAITING_READS
from log10_server.settings import Settings
from tests.conftest import Api, Organization, Served, problem, serve


@pytest.fixture
def with_one_reader(migrated: Database) -> Iterator[Served]:
    yield from serve(migrated, Settings(readers=1))


def test_a_flood_of_reads_refuses_no_token_and_no_health_check(
    with_one_reader: Served, database: Database, organization: Organization
) -> None:
    """One limit counted both kinds of reads: 1000 waiting lists made every look-up of a token a 503."""
    runtime = with_one_reader.app.state.runtime
    go_on = threading.Event()

    def call() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        with Api(with_one_reader.url, organization) as api:
            health = httpx.get(f"{with_one_reader.url}/healthz", trust_env=False)
            return health, api.get("/completions"), api.post("/completions", json={"id": "one"})

    async def main() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        reads = [asyncio.ensure_future(runtime.read(lambda _: go_on.wait(20))) for _ in range(_MAX_WAITING_READS)]
        await asyncio.sleep(0)  # each has been given to the threads
        try:
            return await asyncio.to_thread(call)
        finally:
            go_on.set()
            await asyncio.gather(*reads)

    health, refused, written = asyncio.run(main())

    assert health.status_code == 200
    assert written.status_code == 201
    problem(refused, 503, "overloaded")
