"""An organization with a bit of everything, and moving it in and out of databases."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

import psycopg

from log10_server.db import migrations
from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal
from log10_server.runtime.context import Actor
from log10_server.services import completions, feedback, feedback_tasks, sessions
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import FeedbackTaskChanges, NewFeedbackTask
from log10_server.services.merging import CompletionFields
from log10_server.services.selectors import CompletionList, Selector
from log10_server.settings import Limits
from log10_server.store.feedback import ACCEPTED, PROPOSED, REJECTED, State
from log10_server.store.test_runs import TestRunRow
from log10_server.store.test_runs import add as add_test_run
from log10_server.web.transfer.exporting import first_chunk, next_chunk
from log10_server.web.transfer.importing import Import, RefusedLine, Tally

TAGS = ["x", "y", "é", "x y/[1]", "🙂", "'\"\\", "X", " x"]
NASTY = [
    r'{"z":1,"a":2,"z":3}',
    r'{"nul":"\u0000","lone":"\ud83d","pair":"\ud83d\ude42","escaped":"\/\b\u00e9"}',
    '{"plain":"é🙂\u2028\u0085","":[],"deep":[[[{"n":null}]]]}',
    '{"big":123456789012345678901234567890,"small":1e-400,"large":1E+30,"minus":-0.0,"exact":0.10000000000000000001}',
    '{ "spaced" : [ 1 ,2 ], "tab":\t"x" }',
    "{}",
    '{"model":"gpt-4o","messages":[{"role":"user","content":"Hello, \\ud83d"}]}',
]
ANSWERS = [
    '{"model":"gpt-4o-2024","choices":[{"message":{"role":"assistant","content":"Hi\\u0000"}}],"usage":{"prompt_tokens":9,"completion_tokens":3}}',
    '{"usage":{"input_tokens":1,"output_tokens":-1}}',
    *NASTY[:5],
]

# What `log10` downloaded in the old days.
OLD_COMPLETION: dict[str, Any] = {
    "id": "0b4f9a80-8ef7-4a1c-9be2-1b2c3d4e5f60",
    "organization_id": "the-old-one",
    "created_at": "2024-03-01T12:34:56.789Z",
    "status": "finished",
    "kind": "completion",
    "request": {"model": "davinci", "prompt": "Say é", "z": 1, "a": None},
    "response": {"choices": [{"text": "é"}], "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
    "stacktrace": None,
    "duration": 1500,
    "session_id": "old-session",
    "tags": ["7c9e6679-7425-40de-944b-e07fc1f90ae7", "550e8400-e29b-41d4-a716-446655440000"],
    "tagResolved": [{"id": "7c9e", "name": "b"}, {"id": "550e", "name": "a"}],
    "failure_kind": None,
    "failure_reason": None,
    "likes": 3,
}
OLD_FEEDBACK: dict[str, Any] = {
    "id": "old-feedback",
    "organization_id": "the-old-one",
    "created_at_ms": 1709296500123,
    "task_id": "old-task",
    "task_name": "Old task",
    "json_values": {"grade": 4},
    "matched_completion_ids": ["gone", OLD_COMPLETION["id"]],
    "comment": None,
    "completions_summary": "",
}


def fill(database: Database, organization_id: str, count: int = 300, seed: int = 7) -> None:
    """`count` completions, some bare, some deleted; sessions, tasks (one archived), feedback in every state, test runs."""
    random = Random(seed)
    with database.writing() as connection:
        tx = database.tx(connection, organization_id)
        sessions.create(tx)
        for number, selector in enumerate([("x",), ("x", "é"), ("🙂",), ()]):
            new = NewFeedbackTask(
                f"task-{number}", f"Task é{number}", "Do it.\n" * (number % 2), NASTY[number], selector
            )
            feedback_tasks.create(tx, new._replace(json_schema='{"type":"object","x":"\\u0000"}'))
        completions.record(tx, [_entry(random, f"c-{number:05}") for number in range(count)])
        completions.record(tx, [Entry("bare", {}), Entry("no-tags", {"tags": []})])
    with database.writing() as connection:
        tx = database.tx(connection, organization_id)
        uploads: list[NewFeedback] = []
        for number in range(count // 3):
            ids = tuple(dict.fromkeys(f"c-{random.randrange(count):05}" for _ in range(random.randint(1, 4))))
            state: State = random.choice([ACCEPTED, ACCEPTED, PROPOSED, REJECTED])
            values = random.choice([*NASTY, '{"grade":5}', '{"grade":2}'])
            task_id = f"task-{number % 3}"
            uploads.append(
                NewFeedback(
                    f"f-{number}", task_id, values, random.choice(["", "é\n"]), CompletionList(ids), state
                )._replace(author=random.choice([None, Actor("token-1", "é grader", "model")]))
            )
        uploads.append(NewFeedback(None, "task-0", '{"grade":4}', "by tag", Selector(("x",), True, 10_000)))
        uploads.append(NewFeedback("alone", "task-0", "{}", "", Selector(("no such",), True, 10)))
        assert not [outcome for outcome in feedback.record(tx, uploads) if isinstance(outcome, Refusal)]
        proposed = [new.id for new in uploads if new.state == "proposed" and new.id]
        feedback.accept(tx, proposed[0], '{"grade":1.0}')
        feedback.reject(tx, proposed[1])
        feedback_tasks.change(tx, "task-2", FeedbackTaskChanges(archived=True, name="renamed"))
        for number in random.sample(range(count), count // 20):
            completions.delete(tx, f"c-{number:05}")
        add_test_run(tx, TestRunRow(organization_id, "run-1", tx.now(), "é", "d" * 64, None, None, None))
        report = '{"tests": [\n{"nodeid": "\\u0000"}]}'
        add_test_run(
            tx, TestRunRow(organization_id, "run-2", tx.now(), "r", "d" * 64, tx.now(), '{"passed":1}', report)
        )


def _entry(random: Random, completion_id: str) -> Entry:
    members: dict[str, Any] = {
        "request": random.choice(NASTY),
        "response": random.choice(ANSWERS),
        "stacktrace": '[{"file":"é.py","line":"x = \\"\\u0000\\"","lineno":1}]',
        "tags": random.choices(TAGS, k=random.randint(0, 4)),
        "session_id": random.choice(["s/1", "é", "S"]),
        "status": random.choice(["started", "finished", "failed"]),
        "kind": random.choice(["chat", "prompt"]),
        "duration": random.choice([0.1 + 0.2, 3.0, 1e-9, 12345.678901]),
        "failure_kind": "k",
        "failure_reason": "é\x01\n",
    }
    some = {name: member for name, member in members.items() if random.random() < 0.7}
    fields: CompletionFields = cast(CompletionFields, some)
    return Entry(completion_id, fields)


def exported(database: Database, organization_id: str) -> list[bytes]:
    """The lines of an export, without its header."""
    return list(iter_export_lines(database, organization_id))[1:]


def iter_export_lines(database: Database, organization_id: str) -> Iterator[bytes]:
    """The lines of an export, each with its end."""
    with database.reading() as connection:
        lines, progress = first_chunk(database.tx(connection, organization_id))
    yield lines
    while progress is not None:
        with database.reading() as connection:
            lines, progress = next_chunk(database.tx(connection, organization_id), progress)
        yield from io.BytesIO(lines)


def import_lines(
    database: Database, organization_id: str, data: bytes, limits: Limits | None = None
) -> tuple[Tally, list[RefusedLine]]:
    """What became of the lines in `data`."""
    refused: list[RefusedLine] = []
    importer = Import(database, organization_id, limits or Limits(), refused.append)
    importer.import_file("file", io.BytesIO(data), lambda: None)
    return importer.tally, refused


def lines_of(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@contextmanager
def fresh(url_of: dict[str, str], kind: str, folder: Path) -> Iterator[Database]:
    """A migrated database of that kind with nothing in it."""
    if kind == "sqlite":
        database = Database(f"sqlite:///{folder}/fresh.db")
        migrations.migrate(database)
        yield database
        database.close()
        return
    name = f"fresh_{folder.name}".replace("-", "_").lower()[:60]
    with psycopg.connect(url_of[kind], autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
        database = Database(url_of[kind].replace("/postgres?", f"/{name}?"))
        migrations.migrate(database)
        yield database
        database.close()
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@contextmanager
def in_tx(database: Database, organization_id: str) -> Iterator[Tx]:
    with database.writing() as connection:
        yield database.tx(connection, organization_id)
