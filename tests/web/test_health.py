"""`GET /healthz`: alive, and with its database, to anybody who asks."""

import httpx

from log10_server import __version__
from log10_server.db.database import Database
from log10_server.settings import Settings
from tests.conftest import Api, Served, problem, serve


def test_a_server_with_its_database_is_well_and_asks_for_no_token(serving: Served, database: Database) -> None:
    answer = httpx.get(f"{serving.url}/healthz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "database": "postgresql" if database.kind == "postgresql" else "sqlite",
        "version": __version__,
    }


def test_a_server_without_its_database_says_when_to_ask_again() -> None:
    away = Database("postgresql://nobody:secret-word@127.0.0.1:9/log10")

    for served in serve(away, Settings()):
        answer = httpx.get(f"{served.url}/healthz")
    away.close()

    problem(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_health_is_only_read(serving: Served, api: Api) -> None:
    answer = api.post(f"{serving.url}/healthz")

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET"


def test_a_wrong_token_does_not_matter_to_health(serving: Served, database: Database) -> None:
    answer = httpx.get(f"{serving.url}/healthz", headers={"X-Log10-Token": "nobody-knows-this"})

    assert answer.status_code == 200
