"""The `log10` command line, unmodified: completions, feedback tasks and feedback."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.log10_io.conftest import Home

SCHEMA = {"type": "object", "properties": {"Coverage": {"type": "integer"}}, "required": ["Coverage"]}
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How are you?"}]}
ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Fine, thanks."}}]}


def log(home: Home, **fields: Any) -> str:
    """Log a completion; gives its id."""
    return str(home.post("/completions", **fields)["id"])


def make_task(home: Home, selector: str) -> str:
    """Make a task by the command line; gives its id."""
    schema = json.dumps(SCHEMA)
    told = home.log10(
        "feedback-task", "create", "--name", "quality", "--task_schema", schema,
        "--instruction", "Look closely.", "--completion_tags_selector", selector,
    )  # fmt: skip
    return told.strip().rsplit(" ", 1)[-1]


def give(home: Home, task_id: str, coverage: int, selector: str) -> str:
    """Give feedback by the command line; gives what it prints."""
    return home.log10(
        "feedback", "create", "--task_id", task_id, "--values", json.dumps({"Coverage": coverage}),
        "--completion_tags_selector", selector, "--comment", "by hand",
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_completions_list_shows_status_prompt_answer_and_tags(home: Home) -> None:
    log(home, id="shown-1", request=CHAT, response=ANSWER, tags=["prod", "demo"])
    log(home, id="shown-2", request=CHAT, tags=["prod"])

    table = home.log10("completions", "list")

    first = next(line for line in table.splitlines() if "shown-1" in line)
    second = next(line for line in table.splitlines() if "shown-2" in line)
    assert [cell.strip() for cell in first.split("│")][1:3] == ["shown-1", "success"]
    assert [cell.strip() for cell in first.split("│")][4:7] == ["How are you?", "Fine, thanks.", "prod, demo"]
    assert "started" in second


def test_completions_list_is_narrowed_by_tags_dates_limit_and_offset(home: Home) -> None:
    for number in range(4):
        log(home, id=f"numbered-{number}", request=CHAT, response=ANSWER, tags=["even" if number % 2 == 0 else "odd"])

    even = home.log10("completions", "list", "--tags", "even")
    paged = home.log10("completions", "list", "--limit", "1", "--offset", "1")
    long_ago = home.log10("completions", "list", "--from", "2020-01-01", "--to", "2020-02-01")
    around_now = home.log10("completions", "list", "--from", "2020-01-01", "--to", "2099-01-01")

    assert [f"numbered-{number}" in even for number in range(4)] == [True, False, True, False]
    assert [f"numbered-{number}" in paged for number in range(4)] == [False, False, True, False]
    assert "numbered" not in long_ago
    assert all(f"numbered-{number}" in around_now for number in range(4))


def test_completions_get_shows_the_whole_row(home: Home) -> None:
    log(home, id="whole", request=CHAT, response=ANSWER, tags=["prod"], duration=1.5)

    row = json.loads(home.log10("completions", "get", "--id", "whole"))

    assert row["request"] == CHAT
    assert row["response"] == ANSWER
    assert row["duration"] == 1500
    assert [tag["name"] for tag in row["tagResolved"]] == ["prod"]


def test_completions_download_writes_every_row_once(home: Home) -> None:
    for number in range(25):
        log(home, id=f"numbered-{number}", request=CHAT, response=ANSWER)

    home.log10("completions", "download", "--limit", "25", "--file", "rows.jsonl")

    got = [row["id"] for row in lines(home.folder / "rows.jsonl")]
    assert got == [f"numbered-{number}" for number in reversed(range(25))]


def test_feedback_tasks_are_made_listed_and_shown(home: Home) -> None:
    task_id = make_task(home, "prod,demo")

    table = home.log10("feedback-task", "list")
    shown = json.loads(home.log10("feedback-task", "get", "--id", task_id))

    row = next(line for line in table.splitlines() if task_id in line)
    assert [cell.strip() for cell in row.split("│")][3:6] == ["quality", "Coverage", "Look closely."]
    assert shown["json_schema"] == SCHEMA
    assert shown["completion_tags_selector"] == ["prod", "demo"]


def test_feedback_is_given_listed_and_shown(home: Home) -> None:
    completion_id = log(home, request=CHAT, response=ANSWER, tags=["prod"])
    task_id = make_task(home, "prod")

    give(home, task_id, 4, "prod")

    [stored] = home.get("/feedback")["feedback"]
    assert stored["json_values"] == {"Coverage": 4}
    assert stored["matched_completion_ids"] == [completion_id]
    assert stored["comment"] == "by hand"
    assert stored["id"] in home.log10("feedback", "list")
    assert json.loads(home.log10("feedback", "get", "--id", stored["id"]))["json_values"] == {"Coverage": 4}
    assert home.get("/completions/ungraded")["completions"] == []


def test_feedback_that_the_schema_forbids_is_refused_with_a_reason(home: Home) -> None:
    log(home, request=CHAT, tags=["prod"])
    task_id = make_task(home, "prod")

    ran = home.run(
        "-m", "log10", "feedback", "create", "--task_id", task_id, "--values", '{"Coverage": "high"}',
        "--completion_tags_selector", "prod", "--comment", "",
    )  # fmt: skip

    assert "/json_values/Coverage" in ran.stdout + ran.stderr
    assert home.get("/feedback")["feedback"] == []


@pytest.mark.parametrize(("offset", "limit"), [(0, 3), (2, 4), (0, 25), (20, 25), (0, 100)])
def test_feedback_download_pages_through_all(home: Home, offset: int, limit: int) -> None:
    log(home, request=CHAT, tags=["prod"])
    task_id = make_task(home, "prod")
    for number in range(27):
        upload(home, task_id, number)

    paging = ["--offset", str(offset), "--limit", str(limit)]
    home.log10("feedback", "download", "--task_id", task_id, "--file", "feedback.jsonl", *paging)

    got = [line["json_values"]["Coverage"] for line in lines(home.folder / "feedback.jsonl")]
    assert got == list(reversed(range(27)))[offset : offset + limit]


def test_feedback_list_is_narrowed_by_a_filter(home: Home) -> None:
    """The command asks GraphQL; where that is, is a constant of the package that a user sets in two lines."""
    log(home, request=CHAT, tags=["prod"])
    task_id = make_task(home, "prod")
    ids = {number: upload(home, task_id, number) for number in range(4, 8)}
    (home.folder / "sitecustomize.py").write_text(
        f"import log10._httpx_utils\nlog10._httpx_utils.GRAPHQL_URL = '{home.url}/graphql'\n"
    )

    ran = home.run(
        "-m",
        "log10",
        "feedback",
        "list",
        "--filter",
        "Coverage <= 5",
        "--task_id",
        task_id,
        PYTHONPATH=str(home.folder),
    )

    assert ran.returncode == 0, ran.stderr
    assert {number: completion_id in ran.stdout for number, completion_id in ids.items()} == {
        4: True,
        5: True,
        6: False,
        7: False,
    }


def upload(home: Home, task_id: str, coverage: int) -> str:
    values = {"Coverage": coverage}
    return str(home.post("/feedback", task_id=task_id, json_values=values, completion_tags_selector=["prod"])["id"])
