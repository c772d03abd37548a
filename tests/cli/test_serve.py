"""`log10-server serve`: the first start, the next ones, the end, and everything that keeps it from starting."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from log10_server.db import migrations
from tests.running import STARTS_WITHIN, Program, Served, a_free_port


def lists_tasks(url: str, token: str) -> int:
    """The status of a call with this token."""
    return httpx.get(f"{url}/api/v1/feedback_task", headers={"X-Log10-Token": token}, trust_env=False).status_code


def is_one_clear_line(ran: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed with one line on stderr that has these words, and without a traceback.

    A migration that fails was logged when it began.
    """
    assert ran.returncode not in (0, None)
    (error,) = [line for line in ran.stderr.splitlines() if "INFO log10_server.db.migrations: migrating" not in line]
    assert error.startswith("Error: "), ran.stderr
    for word in words:
        assert word in ran.stderr


# The first start and later starts


def test_a_first_start_prints_three_exports_that_work_a_curl_and_swagger(program: Program) -> None:
    served = replace(program, is_forked=False).serve()

    exported, output = served.exported(), served.output()
    assert list(exported) == ["LOG10_URL", "LOG10_TOKEN", "LOG10_ORG_ID"]
    assert lists_tasks(exported["LOG10_URL"], exported["LOG10_TOKEN"]) == 200
    assert f"{served.url}/docs" in output
    (curl,) = re.findall(r"^curl .+$", output, re.M)
    tried = subprocess.run(
        ["bash", "-c", curl], env=program.environment | exported, capture_output=True, text=True, check=False
    )
    assert tried.stdout == "[]\n"


def test_the_first_token_belongs_to_the_organization_that_is_printed(on_sqlite: Program) -> None:
    exported = on_sqlite.serve().exported()

    headers = {"X-Log10-Token": exported["LOG10_TOKEN"], "X-Log10-Organization": exported["LOG10_ORG_ID"]}
    answer = httpx.post(f"{exported['LOG10_URL']}/api/v1/completions", json={}, headers=headers, trust_env=False)

    assert answer.json()["organization_id"] == exported["LOG10_ORG_ID"]


def test_a_second_start_keeps_everything_prints_no_token_and_says_how_to_issue_one(program: Program) -> None:
    first = program.serve()
    token = first.exported()["LOG10_TOKEN"]
    httpx.post(
        f"{first.url}/api/v1/completions", json={"id": "kept"}, headers={"X-Log10-Token": token}, trust_env=False
    )
    first.stopped_by(signal.SIGTERM)

    second = program.serve()

    kept = httpx.get(f"{second.url}/api/v1/completions/kept", headers={"X-Log10-Token": token}, trust_env=False)
    assert kept.status_code == 200
    assert second.exported() == {}
    assert token not in second.output()
    (command,) = re.findall(r"log10-server (token issue \S+)", second.output())
    assert lists_tasks(second.url, program.output_of(*command.split())) == 200


def test_the_first_token_and_organization_can_be_set_and_are_not_printed(on_sqlite: Program) -> None:
    served = on_sqlite.serve(
        LOG10_SERVER_FIRST_TOKEN="a-token-of-mine", LOG10_SERVER_FIRST_ORGANIZATION_ID="org-of-mine"
    )

    made = httpx.post(f"{served.url}/api/v1/completions", headers={"X-Log10-Token": "a-token-of-mine"}, json={})
    assert made.json()["organization_id"] == "org-of-mine"
    assert "a-token-of-mine" not in served.output()


def test_a_token_set_for_the_first_start_counts_only_there(on_sqlite: Program) -> None:
    on_sqlite.serve().stopped_by(signal.SIGTERM)

    again = on_sqlite.serve(LOG10_SERVER_FIRST_TOKEN="another-token")

    assert lists_tasks(again.url, "another-token") == 401


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LOG10_SERVER_FIRST_TOKEN", "short"), ("LOG10_SERVER_FIRST_ORGANIZATION_ID", "an id, with spaces")],
)
def test_an_invalid_first_token_or_organization_is_refused_with_the_name_of_its_variable(
    on_sqlite: Program, variable: str, value: str
) -> None:
    ran = on_sqlite.run("serve", **{variable: value})

    is_one_clear_line(ran, variable)


def test_servers_that_start_at_once_make_one_organization_and_all_serve(program: Program) -> None:
    started = [program.begin() for _ in range(3)]
    for served in started:
        served.wait_until_healthy()

    (exported,) = filter(None, [served.exported() for served in started])
    assert [lists_tasks(served.url, exported["LOG10_TOKEN"]) for served in started] == [200, 200, 200]
    assert len(program.output_of("organization", "list").splitlines()) == 1
    assert all("Traceback" not in served.output() for served in started)


def test_a_new_sqlite_file_is_readable_by_its_owner_alone(on_sqlite: Program) -> None:
    on_sqlite.serve()

    modes = {file.stat().st_mode & 0o777 for file in on_sqlite.folder.glob("log10-server.db*")}
    assert modes == {0o600}


# What it logs


def logged(served: Served) -> list[str]:
    """The messages that were logged, without their times."""
    return re.findall(r"^\d{4}-\S+ \S+ [A-Z]+ log10_server\S*: (.+)$", served.output(), re.M)


def test_it_logs_one_line_each_for_migrating_listening_and_stopping(program: Program) -> None:
    first = program.serve()
    first.stopped_by(signal.SIGTERM)
    second = program.serve()
    second.stopped_by(signal.SIGINT)

    head = migrations.head()
    listening, stopping = "listening on {}", "stopping: requests that are being served are answered first"
    assert logged(first) == [
        f"migrating the database from base to {head}",
        listening.format(first.url),
        stopping,
    ]
    assert logged(second) == [listening.format(second.url), stopping]


def test_a_migration_of_an_older_database_is_logged_with_both_revisions(on_sqlite: Program) -> None:
    on_sqlite.output_of("migrate")
    on_sqlite.output_of("migrate", "--down-to", "0006")

    assert logged(on_sqlite.serve())[0] == f"migrating the database from 0006 to {migrations.head()}"


def test_it_starts_beside_a_kubernetes_service_of_its_name(on_sqlite: Program) -> None:
    """Kubernetes sets these in every pod of the namespace, and every command died on them."""
    links = {
        "LOG10_SERVER_SERVICE_HOST": "10.0.0.1",
        "LOG10_SERVER_SERVICE_PORT": "8000",
        "LOG10_SERVER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "LOG10_SERVER_PORT_8000_TCP_ADDR": "10.0.0.1",
    }

    assert on_sqlite.serve(**links).exported()
    assert on_sqlite.output_of("organization", "list", **links, LOG10_SERVER_PORT="tcp://10.0.0.1:8000")


# What stands before it


def test_the_public_url_is_printed_and_stands_in_the_document(on_sqlite: Program) -> None:
    port = a_free_port()
    served = on_sqlite.begin(LOG10_SERVER_PORT=port, LOG10_SERVER_PUBLIC_URL="https://log10.example/")
    served.wait_until_healthy()

    assert served.exported()["LOG10_URL"] == "https://log10.example"
    assert "https://log10.example/docs" in served.output()
    document = httpx.get(f"http://127.0.0.1:{port}/openapi.json", trust_env=False).json()
    assert [server["url"].rstrip("/") for server in document["servers"]] == ["https://log10.example"]


@pytest.mark.parametrize(("trusted", "logged"), [("127.0.0.1", "203.0.113.9"), ("10.9.9.9", "127.0.0.1")])
def test_only_a_trusted_proxy_is_believed_who_calls(on_sqlite: Program, trusted: str, logged: str) -> None:
    served = on_sqlite.serve(LOG10_SERVER_TRUSTED_PROXIES=trusted, LOG10_SERVER_ACCESS_LOG="true")

    httpx.get(f"{served.url}/healthz?by=proxy", headers={"X-Forwarded-For": "203.0.113.9"}, trust_env=False)

    served.stopped_by(signal.SIGTERM)
    (line,) = [line for line in served.output().splitlines() if "by=proxy" in line]
    assert logged in line


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_and_nothing_listens_any_more(on_sqlite: Program, number: signal.Signals) -> None:
    served = replace(on_sqlite, is_forked=False).serve()

    assert served.stopped_by(number) == 0

    output = served.output()
    assert "Traceback" not in output
    assert "Aborted" not in output
    assert not listens(served.url)


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def test_a_signal_right_after_the_welcome_is_not_lost(on_sqlite: Program) -> None:
    """What a script that waits for the three lines sees when it ends the server at once."""
    codes = []
    for pause in (0.0, 0.3):
        served = replace(on_sqlite, is_forked=False).begin()
        give_up = time.monotonic() + STARTS_WITHIN
        while "Swagger" not in served.output() and time.monotonic() < give_up:
            time.sleep(0.001)
        time.sleep(pause)
        codes.append(served.stopped_by(signal.SIGTERM))
        assert "Traceback" not in served.output()

    assert codes == [0, 0]


def test_requests_in_flight_at_sigterm_are_answered(on_sqlite: Program) -> None:
    """Each is half sent when the signal comes, and sends its other half after."""
    served = on_sqlite.serve()
    token = served.exported()["LOG10_TOKEN"]
    place = urlsplit(served.url)
    body = b'{"tags": ["in-flight"]}'
    head = (
        f"POST /api/v1/completions HTTP/1.1\r\nHost: x\r\nX-Log10-Token: {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    calls = [socket.create_connection((place.hostname or "", place.port or 0), timeout=20) for _ in range(8)]
    for call in calls:
        call.sendall(head + body[:5])
    time.sleep(0.3)  # until the server has read them

    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    for call in calls:
        call.sendall(body[5:])
    answers = [call.recv(1 << 16) for call in calls]
    for call in calls:
        call.close()

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 201"] * 8
    assert served.process.wait(timeout=90) == 0
    assert "Traceback" not in served.output()


def test_what_was_sent_before_sigterm_under_load_is_answered_or_refused_as_a_connection(program: Program) -> None:
    """No caller gets half an answer or a 5xx; whoever got 201 finds the row after the next start."""
    served = program.serve()
    headers = {"X-Log10-Token": served.exported()["LOG10_TOKEN"]}
    statuses: list[int] = []
    acknowledged: list[str] = []

    def log(number: int) -> None:
        with httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30) as client:
            for turn in range(10_000):
                try:
                    answer = client.post("/api/v1/completions", json={"id": f"{number}-{turn}", "tags": ["load"]})
                except httpx.TransportError:
                    return
                statuses.append(answer.status_code)
                acknowledged.append(answer.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(log, number) for number in range(8)]
        time.sleep(1)
        code = served.stopped_by(signal.SIGTERM)
        for future in done:
            future.result()

    again = program.serve()
    assert code == 0
    assert set(statuses) == {201}
    assert acknowledged_but_missing(again, headers, acknowledged) == set()


def acknowledged_but_missing(served: Served, headers: dict[str, str], ids: list[str]) -> set[str]:
    missing, cursor = set(ids), ""
    with httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=30) as client:
        while True:
            page = client.get("/api/v1/completions", params={"limit": 1000, "cursor": cursor}).json()
            missing -= {completion["id"] for completion in page["completions"]}
            if not (cursor := page.get("next_cursor", "")):
                return missing


# What keeps it from starting


def test_a_busy_port_is_one_clear_line_and_makes_no_database(on_sqlite: Program) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])

        ran = on_sqlite.run("serve", LOG10_SERVER_PORT=port)

    is_one_clear_line(ran, port, "in use")
    (free,) = re.findall(r"`LOG10_SERVER_PORT=(\d+) make serve`", ran.stderr)
    assert int(port) < int(free) <= int(port) + 20
    assert f"serve --port {free}`" in ran.stderr
    assert list(on_sqlite.folder.iterdir()) == []


def test_of_two_servers_started_at_once_on_one_port_the_second_says_so(on_sqlite: Program) -> None:
    """Two sockets may be bound to one port until one of them listens: the loser found out after its welcome."""
    on_sqlite.output_of("migrate")
    port = a_free_port()

    started = [on_sqlite.begin(LOG10_SERVER_PORT=port) for _ in range(2)]
    give_up = time.monotonic() + STARTS_WITHIN
    while all(served.process.poll() is None for served in started) and time.monotonic() < give_up:
        time.sleep(0.02)

    ended = [served for served in started if served.process.poll() is not None]
    assert len(ended) == 1, "one serves, and the other neither serves nor ends"
    loser = ended[0]
    assert loser.process.returncode not in (0, None)
    assert "Traceback" not in loser.output()
    assert "in use" in loser.output().splitlines()[-1]


def test_an_address_that_is_not_of_this_machine_is_one_clear_line(on_sqlite: Program) -> None:
    ran = on_sqlite.run("serve", LOG10_SERVER_HOST="203.0.113.7", LOG10_SERVER_PORT="8000")

    is_one_clear_line(ran, "203.0.113.7")


Spoil = Callable[[Program], str]


def no_such_folder(program: Program) -> str:
    return "sqlite:///no/such/folder/log10.db"


def a_file_for_a_folder(program: Program) -> str:
    (program.folder / "file").write_text("")
    return "sqlite:///file/log10.db"


def a_folder_for_a_file(program: Program) -> str:
    (program.folder / "folder").mkdir()
    return "sqlite:///folder"


def a_file_that_is_no_database(program: Program) -> str:
    (program.folder / "letter.txt").write_text("Dear reader, this is no database at all. " * 100)
    return "sqlite:///letter.txt"


def a_database_of_another_program(program: Program) -> str:
    with sqlite3.connect(program.folder / "other.db") as other:
        other.execute("CREATE TABLE completion (x)")
    other.close()
    return "sqlite:///other.db"


def a_newer_database(program: Program) -> str:
    program.output_of("migrate")
    with sqlite3.connect(program.folder / "log10-server.db") as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.close()
    return "sqlite:///log10-server.db"


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (no_such_folder, "No such file or directory"),
        (a_file_for_a_folder, "Not a directory"),
        (a_folder_for_a_file, "folder"),
        (a_file_that_is_no_database, "not a database"),
        (a_database_of_another_program, "completion"),
        (a_newer_database, "newer"),
    ],
)
def test_a_sqlite_file_that_can_not_serve_is_one_clear_line(on_sqlite: Program, spoil: Spoil, word: str) -> None:
    url = spoil(on_sqlite)

    ran = on_sqlite.run("serve", DATABASE_URL=url)

    is_one_clear_line(ran, word)
    assert "export" not in ran.stdout


def test_a_file_that_is_no_database_is_left_as_it_was(on_sqlite: Program) -> None:
    url = a_file_that_is_no_database(on_sqlite)
    before = (on_sqlite.folder / "letter.txt").read_bytes()

    on_sqlite.run("serve", DATABASE_URL=url)

    assert (on_sqlite.folder / "letter.txt").read_bytes() == before


def test_a_newer_postgres_database_is_one_clear_line(on_postgres: Program) -> None:
    on_postgres.output_of("migrate")
    with psycopg.connect(on_postgres.environment["DATABASE_URL"]) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    is_one_clear_line(on_postgres.run("serve"), "newer")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://me:s3cret@localhost/log10", "mysql"),
        ("localhost/log10", "DATABASE_URL"),
        ("sqlite://", "DATABASE_URL"),
        ("postgresql://me:s3cret@localhost:port/log10", "DATABASE_URL"),
        ("postgresql://me:s3cret@[::1/log10", "DATABASE_URL"),
        ("postgresql://me:s3cret@127.0.0.1:1/log10", "refused"),
        ("postgresql://me:s3cret@127.0.0.1:1/log10?colour=red", "colour"),
        ("postgresql://me:now@s3cret@127.0.0.1/log10", "%40"),
    ],
)
def test_a_wrong_database_url_is_one_clear_line_without_its_password(on_sqlite: Program, url: str, word: str) -> None:
    ran = on_sqlite.run("serve", DATABASE_URL=url)

    is_one_clear_line(ran, word)
    assert "s3cret" not in ran.stdout + ran.stderr


def test_a_postgres_database_that_does_not_exist_is_one_clear_line(on_postgres: Program) -> None:
    url = on_postgres.environment["DATABASE_URL"].replace("/running_", "/no_such_")

    ran = on_postgres.run("serve", DATABASE_URL=url)

    is_one_clear_line(ran, "does not exist", "no_such_")


def test_it_waits_for_a_postgres_that_comes_up_as_long_as_it_is_told(on_sqlite: Program) -> None:
    started = time.monotonic()

    ran = on_sqlite.run("serve", DATABASE_URL="postgresql://me@127.0.0.1:1/log10", LOG10_SERVER_DATABASE_WAIT="2")

    is_one_clear_line(ran)
    assert time.monotonic() - started >= 2


# What it costs


def test_it_is_small_while_idle(on_sqlite: Program, record_property: Callable[[str, object], None]) -> None:
    served = replace(on_sqlite, is_forked=False).serve()

    time.sleep(1)
    main = psutil.Process(served.process.pid)
    megabytes = sum(process.memory_info().rss for process in [main, *main.children(recursive=True)]) / 1e6
    record_property("idle megabytes", round(megabytes))
    assert megabytes < 150


# One core


def cores_of_threads(process: int) -> set[str]:
    """The cores that the threads of a process may use, each as the system lists them."""
    folder = Path(f"/proc/{process}/task")
    matches = [re.search(r"Cpus_allowed_list:\s*(\S+)", (thread / "status").read_text()) for thread in folder.iterdir()]
    return {match[1] for match in matches if match}


@pytest.mark.skipif(
    sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="only Linux keeps a process to one of several cores"
)
def test_all_threads_stay_together_on_one_core_and_validators_are_free(on_sqlite: Program) -> None:
    """Threads on different cores find each other's caches cold, and wake each other for nothing."""
    served = replace(on_sqlite, is_forked=False).serve()
    all_cores = cores_of_threads(os.getpid())
    exported = served.exported()
    task = {"id": "t", "name": "t", "instruction": "", "completion_tags_selector": []}
    headers = {"X-Log10-Token": exported["LOG10_TOKEN"]}

    give_up = time.monotonic() + STARTS_WITHIN
    while len(cores_of_threads(served.process.pid)) != 1 or cores_of_threads(served.process.pid) == all_cores:
        assert time.monotonic() < give_up, cores_of_threads(served.process.pid)
        time.sleep(0.1)
    body = {**task, "json_schema": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a"}}}}
    made = httpx.post(f"{served.url}/api/v1/feedback_task", json=body, headers=headers, trust_env=False)

    assert made.status_code == 200
    assert cores_of_threads(served.process.pid).pop().isdigit()
    validators = psutil.Process(served.process.pid).children()
    assert validators
    assert all(cores_of_threads(validator.pid) == all_cores for validator in validators)
