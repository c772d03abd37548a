"""Bodies that stall: what one organization does not finish sending takes nothing from another one."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from log10_server.db.database import Database
from log10_server.runtime import held_bytes
from log10_server.settings import Settings
from tests.conftest import Api, Organization, Served, new_organization, serve
from tests.web.test_authentication import answered, connection, head

LIMIT = 4 << 20


@pytest.fixture
def served(migrated: Database) -> Iterator[Served]:
    yield from serve(migrated, Settings(waiting_bytes=LIMIT))


@pytest.mark.parametrize("path", ["/api/v1/completions", "/api/v1/completions/batch"])
def test_bodies_without_their_last_byte_are_bounded_and_make_room(
    served: Served, database: Database, organization: Organization, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 bodies of 31 MiB without their last byte held 373 MB until they timed out after a minute."""
    monkeypatch.setattr(held_bytes, "_STALL_SECONDS", 0.05)
    other = new_organization(database)
    held = served.app.state.runtime.held_bytes
    body = b'{"request":{"a":"' + b"x" * (1 << 20)
    with ExitStack() as stack:
        stalled = [stack.enter_context(connection(served.url)) for _ in range(6)]
        for raw in stalled:
            raw.sendall(head(organization, f"POST {path} HTTP/1.1", f"Content-Length: {len(body) + 100}") + body)
        time.sleep(0.5)
        assert 0 < held.total <= LIMIT // 2

        with Api(served.url, other) as api:
            answer = api.post("/completions", json={"request": {"a": "x" * (2 << 20)}})

        assert answer.status_code == 201
        assert [answered(raw)[0] for raw in stalled[:-2]] == [503] * 4
    while held.total:
        time.sleep(0.01)
