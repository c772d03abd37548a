"""A task that is filled in behind when its process is killed is filled on by the next one (docs/api.md, "Ungraded completions")."""

import json
import time
from collections.abc import Iterator, Mapping

import pytest

from log10_server.db.database import Database
from log10_server.store.ungraded import list_unfinished_backfills
from tests.concurrency.consistency import client_of, everything_agrees, ungraded
from tests.running import Program

MANY = 12_000


@pytest.fixture
def database(program: Program) -> Iterator[Database]:
    url = program.environment["DATABASE_URL"]
    opened = Database(url if program.is_postgres else f"sqlite:///{program.folder}/log10-server.db")
    yield opened
    opened.close()


def is_whole(database: Database) -> bool:
    with database.reading() as connection:
        return not list_unfinished_backfills(connection, 1)


def until_whole(database: Database) -> None:
    give_up = time.monotonic() + 60
    while not is_whole(database):
        assert time.monotonic() < give_up, "the task is not filled"
        time.sleep(0.05)


def taken_in(program: Program, *lines: Mapping[str, object]) -> None:
    (program.folder / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    program.output_of("import", "in.jsonl")


def test_a_task_is_filled_on_after_its_server_was_killed(program: Program, database: Database) -> None:
    served = program.serve()
    token = served.exported()["LOG10_TOKEN"]
    taken_in(program, *({"type": "completion", "id": f"c{number:05}", "tags": ["x", "y"]} for number in range(MANY)))
    with client_of(served, token) as api:
        task = {"id": "task", "name": "a task", "json_schema": {}, "completion_tags_selector": ["x", "y"]}
        assert api.post("/feedback_task", json=task).status_code == 200

        served.process.kill()
        served.process.wait()

    assert not is_whole(database)
    with client_of(program.serve(), token) as api:
        newest = ungraded(api, task_id="task")
        assert len(newest) == len(set(newest)) == MANY
        until_whole(database)
        assert ungraded(api, task_id="task") == newest
        everything_agrees(api)


def test_a_server_fills_what_an_import_left_behind(program: Program, database: Database) -> None:
    served = program.serve()
    token = served.exported()["LOG10_TOKEN"]
    served.process.kill()
    served.process.wait()
    task = {"id": "task", "name": "a task", "json_schema": {}, "completion_tags_selector": ["x"]}

    taken_in(
        program,
        *({"type": "completion", "id": f"c{number:04}", "tags": ["x"]} for number in range(2500)),
        {"type": "feedback_task", **task},
    )

    assert not is_whole(database)
    with client_of(program.serve(), token) as api:
        until_whole(database)
        everything_agrees(api)
