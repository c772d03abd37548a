"""`log10-server export` and `import` as an operator runs them."""

import gzip
import json
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from log10_server.db.database import Database
from tests.moving import fill, lines_of
from tests.running import PROGRAMS, Program

SUMMARY = re.compile(r"Read (\d+) lines: (\d+) stored, (\d+) unchanged, (\d+) refused\.")


def summary(ran: subprocess.CompletedProcess[str]) -> tuple[int, ...]:
    """How many lines were read, stored, unchanged and refused."""
    match = SUMMARY.search(ran.stderr)
    assert match, ran.stderr
    return tuple(map(int, match.groups()))


def database_of(program: Program) -> Database:
    url = program.environment["DATABASE_URL"]
    return Database(url if program.is_postgres else f"sqlite:///{program.folder}/log10-server.db")


def filled(program: Program, count: int = 300) -> str:
    """The id of a new organization with a bit of everything."""
    organization_id = program.output_of("organization", "create", "--slug", "full")
    database = database_of(program)
    fill(database, organization_id, count)
    database.close()
    return organization_id


def body(export: bytes) -> list[bytes]:
    """The lines behind the header."""
    return export.splitlines(keepends=True)[1:]


def completion_lines(count: int) -> bytes:
    rows = (
        {
            "type": "completion",
            "id": f"c-{number:06}",
            "created_at": "2024-01-01T00:00:00+00:00",
            "tags": ["x", f"t-{number % 7}"],
            "session_id": "s",
            "request": {"model": "m", "text": "x" * 300},
        }
        for number in range(count)
    )
    return lines_of(*rows)


def test_an_export_goes_to_a_file_and_into_another_organization(program: Program) -> None:
    filled(program)
    program.output_of("export", "full", "--output", "all.jsonl")
    program.output_of("organization", "create", "--slug", "empty")

    ran = program.run("import", "all.jsonl", "--organization", "empty")

    assert ran.returncode == 0, ran.stderr
    exported = (program.folder / "all.jsonl").read_bytes()
    count = len(body(exported))
    assert summary(ran) == (count, count, 0, 0)
    assert ran.stdout == ""
    assert body(program.output_of("export", "empty").encode() + b"\n") == body(exported)
    assert summary(program.run("import", "all.jsonl", "--organization", "empty")) == (count, 0, count, 0)
    assert not list(program.folder.glob("*.part"))


def test_a_move_from_one_database_to_the_other_and_back_keeps_every_byte(
    on_sqlite: Program, on_postgres: Program
) -> None:
    filled(on_sqlite, 2000)
    on_sqlite.output_of("export", "--output", "first.jsonl")
    on_postgres.output_of("organization", "create", "--slug", "there")

    assert on_postgres.run("import", "first.jsonl").returncode == 0
    on_postgres.output_of("export", "--output", "second.jsonl.gz")
    on_sqlite.output_of("organization", "create", "--slug", "back")
    assert on_sqlite.run("import", "second.jsonl.gz", "--organization", "back").returncode == 0

    first = body((on_sqlite.folder / "first.jsonl").read_bytes())
    assert body(gzip.decompress((on_sqlite.folder / "second.jsonl.gz").read_bytes())) == first
    assert body(on_sqlite.output_of("export", "back").encode() + b"\n") == first


def stored_completions(program: Program) -> int:
    if program.is_postgres:
        with psycopg.connect(program.environment["DATABASE_URL"]) as connection:
            row: Any = connection.execute("SELECT count(*) FROM completion").fetchone()
            return int(row[0])
    with closing(sqlite3.connect(program.folder / "log10-server.db", timeout=30)) as file:
        return int(file.execute("SELECT count(*) FROM completion").fetchone()[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_import_that_is_killed_goes_on_where_it_stopped(program: Program, number: signal.Signals) -> None:
    program.output_of("organization", "create", "--slug", "o")
    (program.folder / "many.jsonl").write_bytes(completion_lines(15_000))

    stopped = subprocess.Popen(
        [PROGRAMS / "log10-server", "import", "many.jsonl"],
        env=program.environment,
        cwd=program.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    with stopped:
        give_up = time.monotonic() + 30
        while not stored_completions(program) and time.monotonic() < give_up:
            time.sleep(0.01)
        stopped.send_signal(number)
        _, stderr = stopped.communicate(timeout=30)
    before = stored_completions(program)
    ran = program.run("import", "many.jsonl")

    assert 0 < before < 15_000
    assert before % 500 == 0
    assert stopped.returncode != 0
    assert ("Run the same command again to continue" in stderr) == (number == signal.SIGINT)
    assert ran.returncode == 0, ran.stderr
    assert summary(ran) == (15_000, 15_000 - before, before, 0)
    assert stored_completions(program) == 15_000


def test_refused_lines_are_named_and_the_others_are_stored(program: Program) -> None:
    program.output_of("organization", "create", "--slug", "o")
    good = {"type": "completion", "id": "c"}
    (program.folder / "a.jsonl").write_bytes(lines_of(good, {**good, "id": "a/b"}) + b"\nnot json\n")
    (program.folder / "b.jsonl").write_bytes(lines_of({"id": "x"}, {**good, "id": "d"}))

    ran = program.run("import", "a.jsonl", "b.jsonl")

    assert ran.returncode == 1
    assert summary(ran) == (5, 2, 0, 3)
    lines = ran.stderr.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("a.jsonl, line 2: /id: Must be an id")
    assert lines[1].startswith("a.jsonl, line 4: Not JSON")
    assert lines[2].startswith("b.jsonl, line 1: The line is neither from an export")


def test_what_log10_downloaded_is_taken(program: Program) -> None:
    program.output_of("organization", "create", "--slug", "o")
    row = {"id": "c", "created_at": "2024-03-01T12:34:56Z", "status": "finished", "kind": "chat", "tagResolved": []}
    feedback = {"id": "f", "task_id": "t", "task_name": "T", "json_values": {}, "matched_completion_ids": ["c"]}
    (program.folder / "completions.jsonl").write_bytes(lines_of({**row, "request": {}, "response": None}))
    (program.folder / "feedback.jsonl").write_bytes(lines_of(feedback))

    ran = program.run("import", "completions.jsonl", "feedback.jsonl")

    assert (ran.returncode, summary(ran)) == (0, (2, 2, 0, 0))
    kinds = [json.loads(line)["type"] for line in program.output_of("export").splitlines()]
    assert kinds == ["header", "feedback_task", "completion", "feedback"]


def test_a_packed_file_that_is_cut_off_gives_what_it_holds(on_sqlite: Program) -> None:
    on_sqlite.output_of("organization", "create", "--slug", "o")
    packed = gzip.compress(completion_lines(5000))
    (on_sqlite.folder / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])

    ran = on_sqlite.run("import", "cut.jsonl.gz")

    assert ran.returncode == 1
    assert "can't be read from here on" in ran.stderr
    assert stored_completions(on_sqlite) == summary(ran)[1] > 100


def test_training_rows_come_out_with_what_was_left_out(program: Program) -> None:
    program.output_of("organization", "create", "--slug", "o")
    chat = {"request": {"messages": [{"role": "user", "content": "a"}]}}
    (program.folder / "in.jsonl").write_bytes(
        lines_of(
            {"type": "feedback_task", "id": "t", "name": "T", "json_schema": {}},
            {"type": "completion", "id": "good", **chat, "response": {"choices": [{"message": {"content": "b"}}]}},
            {"type": "completion", "id": "open", **chat},
            {
                "type": "feedback",
                "id": "f",
                "task_id": "t",
                "json_values": {"g": 5},
                "matched_completion_ids": ["good"],
            },
            {
                "type": "feedback",
                "id": "g",
                "task_id": "t",
                "json_values": {"g": 4},
                "matched_completion_ids": ["open"],
            },
        )
    )
    assert program.run("import", "in.jsonl").returncode == 0

    ran = program.run("export", "--training", "--task", "t", "--filter", "g >= 4")

    expected = {"messages": [*chat["request"]["messages"], {"role": "assistant", "content": "b"}]}
    assert json.loads(ran.stdout) == expected
    assert ran.stderr == (
        "Rows: 1; completions left out: 1.\n  1: the response has no answer (it failed, is empty or still open).\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "--training"], "--task"),
        (["export", "--filter", "a = 1"], "--training"),
        (["export", "--training", "--task", "t"], "There is no feedback task 't'"),
        (["export", "--training", "--task", "t", "--filter", "a ="], "at character 4"),
        (["export", "nobody"], "no organization 'nobody'"),
        (["export", "--output", "no/such/folder"], "Can't write"),
        (["import"], "FILE"),
        (["import", "missing.jsonl"], "missing.jsonl"),
        (["import", "there.jsonl", "--organization", "nobody"], "no organization 'nobody'"),
    ],
)
def test_an_impossible_export_or_import_is_refused_with_a_reason(
    on_sqlite: Program, arguments: list[str], words: str
) -> None:
    on_sqlite.output_of("organization", "create", "--slug", "o")
    (on_sqlite.folder / "there.jsonl").write_bytes(b"")

    ran = on_sqlite.run(*arguments)

    assert ran.returncode != 0
    assert ran.stdout == ""
    assert words in ran.stderr.splitlines()[-1]


def test_an_export_that_fails_leaves_the_file_of_before(on_sqlite: Program) -> None:
    filled(on_sqlite, 60)
    (on_sqlite.folder / "all.jsonl").write_text("before")
    with sqlite3.connect(on_sqlite.folder / "log10-server.db") as connection:
        connection.execute("ALTER TABLE test_run RENAME TO gone")
    connection.close()

    ran = on_sqlite.run("export", "--output", "all.jsonl")

    assert ran.returncode == 1
    assert (on_sqlite.folder / "all.jsonl").read_text() == "before"
    assert [path.name for path in Path(on_sqlite.folder).glob("all*")] == ["all.jsonl"]
