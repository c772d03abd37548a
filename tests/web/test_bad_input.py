"""Every member of every body, with every odd value: a pointer to it, nothing half-written, never a fault of ours."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import func, select, union_all

from log10_server.db.database import Database
from log10_server.db.schema import metadata
from log10_server.settings import Limits, Settings
from tests.conftest import Api, Served, paths, problem, serve

ODD = {
    "null": "null",
    "true": "true",
    "0": "0",
    "-1": "-1",
    "1.5": "1.5",
    "beyond a double": "1e400",
    "beyond a double below": "-1e400",
    "a number of 400 digits": "1" + "0" * 400,
    "a number of 5000 digits": "-1" + "0" * 5000,
    "nothing": '""',
    "blank": '" "',
    "None": '"None"',
    "number in quotes": '"1"',
    "odd text": '"\\u202e\\ud83c\\udf4b\\u2028~"',
    "NUL": '"a\\u0000b"',
    "lone surrogate": '"\\ud800"',
    "10 000 characters": '"' + "x" * 10_000 + '"',
    "multi-byte": '"' + "€" * 3000 + '"',
    "[]": "[]",
    "[[]]": "[[]]",
    "[null]": "[null]",
    "[1]": "[1]",
    "[NUL]": '["\\u0000"]',
    "[lone surrogate]": '["\\ud800"]',
    "[nothing]": '[""]',
    "[{}]": "[{}]",
    "[{surrogate}, 1]": '[{"\\ud800":1},1]',
    "{}": "{}",
    '{"a": null}': '{"a":null}',
}
SHORT = {"nothing", "blank", "None", "number in quotes", "odd text"}
LONG = {"10 000 characters", "multi-byte"}

# The odd values that are right, by the kind of a member. `null` is a member left out.
TAKEN: dict[str, set[str]] = {
    "id": SHORT - {"nothing"},
    "word": set(),
    "short text": SHORT,
    "name": SHORT,
    "long text": SHORT | LONG,
    "object": {"{}", '{"a": null}'},
    "objects": {"[]", "[{}]"},
    "tags": {"[]", "[nothing]"},
    "tags or {}": {"[]", "[nothing]", "{}"},
    "seconds": {"0", "-1", "1.5"},
    "flag": {"true"},
    "at least one": {"a number of 400 digits"},
    "at least zero": {"0", "a number of 400 digits"},
    "ignored": set(ODD),
}
# Contract 3.2: refused or kept, as long as it is not altered; a bound is not.
EITHER = {"at least one": {"beyond a double"}, "at least zero": {"beyond a double"}}

PAYLOADS = {"request", "response", "stacktrace", "json_values", "json_schema"}

COMPLETION = {
    "id": "id",
    "kind": "word",
    "status": "word",
    "tags": "tags",
    "request": "object",
    "response": "object",
    "stacktrace": "objects",
    "stack_trace": "objects",
    "session_id": "short text",
    "duration": "seconds",
    "failure_kind": "name",
    "failure_reason": "long text",
    "created_at_ms": "ignored",
    "unknown": "ignored",
}


class Operation(NamedTuple):
    """A call with a body: its valid members, the kind of each member, and those that it can't do without."""

    method: str
    path: str
    valid: dict[str, Any]
    members: dict[str, str]
    needed: frozenset[str] = frozenset()


OPERATIONS = {
    "create": Operation("POST", "/completions", {"tags": ["a"]}, COMPLETION),
    "update": Operation("POST", "/completions/one", {"tags": ["a"]}, {**COMPLETION, "id": "word"}),
    "createFeedbackTask": Operation(
        "POST",
        "/feedback_task",
        {"name": "a task", "json_schema": {}, "completion_tags_selector": ["a"]},
        {
            "id": "id",
            "name": "name",
            "instruction": "long text",
            "json_schema": "object",
            "completion_tags_selector": "tags or {}",
            "unknown": "ignored",
        },
        frozenset({"name", "json_schema"}),
    ),
    "updateFeedbackTask": Operation(
        "PATCH",
        "/feedback_task/task",
        {"name": "another name"},
        {"name": "name", "instruction": "long text", "completion_tags_selector": "tags or {}", "archived": "flag"},
    ),
    "upload": Operation(
        "POST",
        "/feedback",
        {"task_id": "task", "json_values": {}, "completion_ids": ["one"]},
        {
            "id": "id",
            "task_id": "word",
            "json_values": "object",
            "comment": "long text",
            "completion_ids": "word",
            "allow_unmatched_feedback": "flag",
            "max_matched_completions": "at least one",
            "matched_completion_ids": "ignored",
        },
        frozenset({"task_id", "json_values", "completion_ids"}),
    ),
    "list": Operation(
        "GET",
        "/feedback",
        {},
        {
            "offset": "at least zero",
            "limit": "at least one",
            "task_id": "long text",
            "completion_id": "long text",
        },
    ),
}


def with_member(valid: dict[str, Any], member: str, spelled: str) -> bytes:
    members = {**{name: json.dumps(json_text) for name, json_text in valid.items()}, member: spelled}
    return ("{" + ",".join(f'"{name}":{json_text}' for name, json_text in members.items()) + "}").encode()


def counted(database: Database) -> dict[str, int]:
    """The number of rows of every table."""
    tables = metadata.sorted_tables
    counts = union_all(*(select(func.count()).select_from(table) for table in tables)).subquery()
    with database.reading() as connection:
        return dict(
            zip((table.name for table in tables), connection.execute(select(counts)).scalars().all(), strict=True)
        )


def nulls(answer: Any, at: str = "") -> Iterator[str]:
    """Where an answer says null, payloads left out."""
    if answer is None:
        yield at
    elif isinstance(answer, dict):
        for name, member in answer.items():
            if name not in PAYLOADS:
                yield from nulls(member, f"{at}/{name}")
    elif isinstance(answer, list):
        for index, item in enumerate(answer):
            yield from nulls(item, f"{at}/{index}")


def arranged(api: Api) -> None:
    api.completion(id="one", tags=["a"])
    api.task([], id="task")


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_an_odd_value_is_taken_or_refused_at_its_place_and_leaves_nothing_behind(
    api: Api, database: Database, operation_id: str
) -> None:
    operation = OPERATIONS[operation_id]
    arranged(api)
    wrong: list[str] = []

    def send(member: str, name: str) -> tuple[httpx.Response, str]:
        body = with_member(operation.valid, member, ODD[name])
        answer = api.request(operation.method, operation.path, content=body)
        return answer, f"{member} = {name}: {answer.status_code} {answer.text[:200]}"

    for member, kind in operation.members.items():
        taken = TAKEN[kind] | ({"null"} if member not in operation.needed else set())
        either = EITHER.get(kind, set())
        before = counted(database)
        for name in [name for name in ODD if name not in taken | either]:
            answer, described = send(member, name)
            if answer.status_code != 422:
                wrong.append(described)
            elif not any(path == f"/{member}" or path.startswith(f"/{member}/") for path in paths(answer)):
                wrong.append(f"{described} names {paths(answer)}")
        if counted(database) != before:
            wrong.append(f"{member}: a refusal left something behind")
        for name in [name for name in ODD if name in taken | either]:
            answer, described = send(member, name)
            if answer.is_success:
                if list(nulls(answer.json())):
                    wrong.append(described)
            elif name in taken or answer.status_code != 422:
                wrong.append(described)

    assert wrong == []


def test_both_or_neither_of_what_feedback_can_be_about_is_refused_at_both(
    api: Api, database: Database, subtests: pytest.Subtests
) -> None:
    for spelled in ['"completion_tags_selector":["a"],"completion_ids":["one"]', '"comment":""']:
        with subtests.test(spelled=spelled):
            arranged(api)
            before = counted(database)

            answer = api.post("/feedback", content='{"task_id":"task","json_values":{},' + spelled + "}")

            assert paths(answer) == ["/completion_tags_selector", "/completion_ids"]
            assert counted(database) == before


def test_an_odd_organization_in_a_body_is_another_one(api: Api, database: Database) -> None:
    arranged(api)
    before = counted(database)
    wrong: list[str] = []

    for operation in OPERATIONS.values():
        for name, spelled in ODD.items():
            if name in {"null", "nothing", "blank", "None"}:
                continue
            body = with_member(operation.valid, "organization_id", spelled)
            answer = api.request(operation.method, operation.path, content=body)
            if answer.status_code != 403:
                wrong.append(f"{operation.path} {name}: {answer.status_code}")

    assert wrong == []
    assert counted(database) == before


def test_an_organization_that_is_not_named_in_a_body_is_the_one_of_the_token(
    api: Api, subtests: pytest.Subtests
) -> None:
    for spelled in ["null", '""', '" "', '"None"']:
        with subtests.test(spelled=spelled):
            answer = api.post("/completions", content=f'{{"organization_id":{spelled}}}')

            assert answer.json()["organization_id"] == api.organization.id


def test_every_fault_of_a_body_is_told_at_once(api: Api) -> None:
    body = {"kind": "x", "tags": ["ok", 5, None], "request": [], "duration": "1"}

    assert paths(api.post("/completions", json=body)) == ["/kind", "/tags/1", "/tags/2", "/request", "/duration"]


def test_a_payload_with_odd_usage_is_kept(api: Api, subtests: pytest.Subtests) -> None:
    for usage in ["1" + "0" * 400, "1" + "0" * 5000, "1e400", "-5", '"many"', "null", "[]", "1.5"]:
        for member in ["request", "response"]:
            with subtests.test(usage=usage, member=member):
                payload = f'{{"model":"\\ud800","usage":{{"prompt_tokens":{usage},"completion_tokens":{usage}}}}}'

                answer = api.post("/completions", content=f'{{"{member}":{payload}}}')

                assert answer.status_code == 201, answer.text
                assert payload in answer.text


# Limits (docs/api.md, "Limits"): each is the longest that is taken.

TEXTS = [
    ("create", "id", 255),
    ("create", "session_id", 512),
    ("create", "failure_kind", 4096),
    ("create", "failure_reason", 1 << 20),
    ("createFeedbackTask", "id", 255),
    ("createFeedbackTask", "name", 4096),
    ("createFeedbackTask", "instruction", 1 << 20),
    ("updateFeedbackTask", "name", 4096),
    ("updateFeedbackTask", "instruction", 1 << 20),
    ("upload", "id", 255),
    ("upload", "comment", 1 << 20),
]


def sent(api: Api, operation_id: str, **more: Any) -> httpx.Response:
    operation = OPERATIONS[operation_id]
    return api.request(operation.method, operation.path, json={**operation.valid, **more})


@pytest.mark.parametrize(("operation_id", "member", "most"), TEXTS)
def test_a_text_is_measured_in_bytes_of_utf_8(api: Api, operation_id: str, member: str, most: int) -> None:
    arranged(api)
    for character in ("x", "ü", "€", "🍋"):
        size = len(character.encode())
        fits = character * (most // size) + "x" * (most % size)
        answer = sent(api, operation_id, **{member: fits})

        too_long = sent(api, operation_id, **{member: character + fits[: -size or None][1:] + character})

        assert answer.is_success, answer.text[:300]
        assert answer.json()[member] == fits
        if len((character + fits[: -size or None][1:] + character).encode()) > most:
            assert paths(too_long) == [f"/{member}"]
            assert str(most) in problem(too_long, 422)["detail"]


@pytest.mark.parametrize(("operation_id", "member", "most"), TEXTS)
def test_a_text_of_one_byte_too_many_is_refused_with_the_limit(
    api: Api, operation_id: str, member: str, most: int
) -> None:
    arranged(api)
    for text in ("x" * (most + 1), "ü" * (most // 2) + "x" * (most % 2 + 1), "x" * (most - 3) + "🍋"):
        answer = sent(api, operation_id, **{member: text})

        assert paths(answer) == [f"/{member}"]
        assert str(most) in problem(answer, 422)["detail"]


def test_1000_tags_of_a_completion_are_kept_and_1001_refused(api: Api) -> None:
    tags = [f"tag {number}" for number in range(1001)]

    kept, refused = api.completion(tags=tags[:1000]), sent(api, "create", tags=tags)

    assert kept["tags"] == tags[:1000]
    assert paths(refused) == ["/tags"]
    assert "1000" in problem(refused, 422)["detail"]


@pytest.mark.parametrize("operation_id", ["createFeedbackTask", "updateFeedbackTask"])
def test_100_tags_of_a_selector_are_kept_and_101_refused(api: Api, operation_id: str) -> None:
    arranged(api)
    tags = [f"tag {number}" for number in range(101)]

    kept = sent(api, operation_id, completion_tags_selector=tags[:100])
    refused = sent(api, operation_id, completion_tags_selector=tags)

    assert kept.json()["completion_tags_selector"] == tags[:100]
    assert paths(refused) == ["/completion_tags_selector"]
    assert "100" in problem(refused, 422)["detail"]


@pytest.mark.parametrize(
    ("operation_id", "member"), [("create", "tags"), ("createFeedbackTask", "completion_tags_selector")]
)
def test_a_tag_of_8192_bytes_is_kept_and_a_longer_one_refused(api: Api, operation_id: str, member: str) -> None:
    for longest in ("x" * 8192, "ü" * 4096, "🍋" * 2048):
        kept = sent(api, operation_id, **{member: ["short", longest]})
        refused = sent(api, operation_id, **{member: ["short", longest + "x"]})

        assert kept.json()[member] == ["short", longest]
        assert paths(refused) == [f"/{member}/1"]


def test_1000_completion_ids_are_taken_and_1001_refused(api: Api) -> None:
    arranged(api)

    taken = sent(api, "upload", completion_ids=["one"] * 1000)
    refused = sent(api, "upload", completion_ids=["one"] * 1001)

    assert taken.json()["matched_completion_ids"] == ["one"]
    assert paths(refused) == ["/completion_ids"]


# Limits are settings.


@pytest.fixture(scope="module")
def tight(migrated: Database) -> Iterator[Served]:
    """A server whose operator has lowered every limit."""
    limits = Limits(
        nesting=8,
        tags=3,
        selector_tags=2,
        tag_bytes=5,
        completion_ids=2,
        id_bytes=36,
        session_id_bytes=36,
        name_bytes=6,
        text_bytes=10,
        matched_completions=1,
        page=2,
    )
    yield from serve(migrated, Settings(limits=limits))


def test_a_lowered_limit_is_kept_and_named(tight: Served, api: Api, subtests: pytest.Subtests) -> None:
    api.task([], id="task")
    api.completion(tags=["a"])
    api.completion(tags=["a"])

    for path, body, at, limit in [
        ("completions", {"tags": ["a", "b", "c", "d"]}, "/tags", 3),
        ("completions", {"tags": ["sixsix"]}, "/tags/0", 5),
        ("completions", {"id": "x" * 37}, "/id", 36),
        ("completions/" + "x" * 37, {}, "/id", 36),
        ("completions", {"session_id": "x" * 37}, "/session_id", 36),
        ("completions", {"failure_kind": "1234567"}, "/failure_kind", 6),
        ("completions", {"failure_reason": "ü" * 6}, "/failure_reason", 10),
        ("completions", {"request": {"a": [[[[[[[]]]]]]]}}, "", 8),
        ("feedback_task", {"name": "1234567", "json_schema": {}}, "/name", 6),
        (
            "feedback_task",
            {"name": "", "json_schema": {}, "completion_tags_selector": ["a", "b", "c"]},
            "/completion_tags_selector",
            2,
        ),
        ("feedback", {"task_id": "task", "json_values": {}, "completion_ids": ["a", "b", "c"]}, "/completion_ids", 2),
        (
            "feedback",
            {"task_id": "task", "json_values": {}, "completion_tags_selector": ["a"], "max_matched_completions": 5},
            "/completion_tags_selector",
            1,
        ),
    ]:
        with subtests.test(path=path, at=at):
            answer = api.post(f"{tight.url}/api/v1/{path}", json=body)

            assert paths(answer) == [at]
            assert str(limit) in problem(answer, 422)["detail"]


def test_a_lowered_limit_of_a_page_is_kept(tight: Served, api: Api) -> None:
    for _ in range(3):
        api.completion()

    answer = api.get(f"{tight.url}/api/v1/completions", params={"limit": 3})

    assert len(answer.json()["completions"]) == 2
