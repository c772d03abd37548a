"""Lists of large completions and exports are read and sent in pieces. The bytes are the same as if they were sent at once."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from log10_server.runtime.answer_bytes import AnswerBytes
from log10_server.runtime.context import FIRST_PIECE_BYTES, PIECE_BYTES
from tests.conftest import Api, Served, problem
from tests.web.server.raw_http import Client, connected

# The sizes of the payloads of a list, newest first. Between them they end a piece before and after a large row.
SIZES = {
    "one piece": [10, 1000],
    "several pieces": [FIRST_PIECE_BYTES, 10, PIECE_BYTES, 10, PIECE_BYTES - 1000, PIECE_BYTES // 2, 10],
    "a large row first": [PIECE_BYTES + 10, 10],
    "a large row last": [10, PIECE_BYTES + 10],
}


def log(api: Api, sizes: list[int]) -> list[bytes]:
    """Log completions with payloads of these sizes, the last one first. Returns what was answered for each."""
    answers = []
    for size in reversed(sizes):
        body = {"request": {"text": "é" * (size // 2)}, "tags": ["large"], "session_id": "session"}
        answers.append(api.post("/completions", content=json.dumps(body, ensure_ascii=False)).content)
    return answers[::-1]


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def held(served: Served) -> int:
    answers: AnswerBytes = served.app.state.runtime.answer_bytes
    return answers._total


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_lists_have_the_same_bytes_in_pieces_as_at_once(serving: Served, api: Api, sizes: list[int]) -> None:
    api.task(["large"])
    logged = log(api, sizes)

    listed = api.get("/completions")
    ungraded = api.get("/completions/ungraded")
    of_session = api.get("/sessions/session")
    begin_of_next = api.get("/completions", params={"limit": len(sizes) - 1})

    assert listed.content == b'{"completions":[' + b",".join(logged) + b"]}"
    assert listed.headers["content-type"] == "application/json"
    assert ungraded.content == listed.content
    session = api.get("/sessions/session", params={"limit": 1}).json()["session"]
    head = b'{"session":' + json.dumps(session, separators=(",", ":")).encode()
    assert of_session.content == head + b',"completions":[' + b",".join(logged[::-1]) + b"]}"
    cursor = begin_of_next.json()["next_cursor"]
    expected = b'{"completions":[' + b",".join(logged[:-1]) + b'],"next_cursor":"' + cursor.encode() + b'"}'
    assert begin_of_next.content == expected
    wait_until(lambda: held(serving) == 0)


def test_a_large_completion_is_answered_unchanged(serving: Served, api: Api) -> None:
    for size in (FIRST_PIECE_BYTES, PIECE_BYTES + 10):
        (logged,) = log(api, [size])
        completion_id = json.loads(logged)["id"]

        assert api.get(f"/completions/{completion_id}").content == logged
        assert api.head(f"/completions/{completion_id}").content == b""
    wait_until(lambda: held(serving) == 0)


def test_log_rows_are_sent_in_pieces(serving: Served, api: Api) -> None:
    logged = [json.loads(answer) for answer in log(api, SIZES["several pieces"])]
    url = str(api.base_url.copy_with(path="/api/completions"))

    rows = api.get(url).json()
    singles = [api.get(f"{url}/{completion['id']}").json()["data"] for completion in logged]

    assert rows == {"data": singles, "total": len(logged)}
    assert [row["request"] for row in singles] == [completion["request"] for completion in logged]


def test_a_list_changes_neither_order_nor_rows_while_it_is_sent(serving: Served, api: Api, other_api: Api) -> None:
    """What is logged later is not in it, and what is deleted before its piece is read is left out."""
    logged = [json.loads(answer) for answer in log(api, [10, 10] + [PIECE_BYTES] * 6)]
    log(other_api, [10, PIECE_BYTES])

    with api.stream("GET", "/completions") as answer:
        pieces = answer.iter_raw(1000)
        text = next(pieces)
        api.delete(f"/completions/{logged[-1]['id']}")
        api.completion(id="later")
        text += b"".join(pieces)

    listed = [completion["id"] for completion in json.loads(text)["completions"]]
    assert listed == [completion["id"] for completion in logged[:-1]]


def test_the_first_piece_of_a_list_leaves_room_for_its_second(
    serving: Served, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pieces of 113 lists filled the share of an organization, and all of them waited for the second."""
    logged = log(api, [10, FIRST_PIECE_BYTES])
    monkeypatch.setattr("log10_server.runtime.context.TIMEOUT_SECONDS", 0.1)
    answers: AnswerBytes = serving.app.state.runtime.answer_bytes
    room_for_one_piece = serving.app.state.runtime.settings.answer_bytes // 2 - PIECE_BYTES
    answers.add(api.organization.id, room_for_one_piece)
    try:
        listed = api.get("/completions")
    finally:
        answers.subtract(api.organization.id, room_for_one_piece)

    assert listed.content == b'{"completions":[' + b",".join(logged) + b"]}"


def test_a_large_completion_that_is_deleted_while_it_is_read_is_not_found(serving: Served, api: Api) -> None:
    """Its size was read, then it was deleted, and the answer was a success with an empty body."""
    runtime = serving.app.state.runtime
    answers: AnswerBytes = runtime.answer_bytes
    for prefix in ("/api/v1", "/api"):
        (logged,) = log(api, [FIRST_PIECE_BYTES])
        completion_id = json.loads(logged)["id"]
        url = str(api.base_url.copy_with(path=f"{prefix}/completions/{completion_id}"))
        answers.add(api.organization.id, 32 << 20)
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(api.get, url)
            wait_until(lambda: bool(answers._waiting))
            loop = answers._waiting[api.organization.id][0].admitted.get_loop()
            api.delete(f"/completions/{completion_id}")
            loop.call_soon_threadsafe(answers.subtract, api.organization.id, 32 << 20)

        problem(answer.result(), 404, "not_found")
    wait_until(lambda: held(serving) == 0)


def get(client: Client, api: Api, path: str) -> None:
    client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Log10-Token: {api.organization.token}\r\n\r\n".encode())


def test_clients_that_do_not_read_hold_a_bounded_number_of_bytes(serving: Served, api: Api, other_api: Api) -> None:
    """Twenty lists of 100 MB that nobody read held 2.4 GB. Others still get short and long answers."""
    log(api, [PIECE_BYTES] * 8)
    (short,) = log(other_api, [10])
    with ExitStack() as stack:
        for _ in range(20):
            get(stack.enter_context(connected(serving.url)), api, "/api/v1/completions")
        limit = serving.app.state.runtime.settings.answer_bytes
        wait_until(lambda: held(serving) >= limit // 2 - PIECE_BYTES)

        for _ in range(20):
            assert held(serving) <= limit // 2
            assert other_api.get("/completions").content == b'{"completions":[' + short + b"]}"
        (large,) = log(other_api, [PIECE_BYTES + 10])
        assert other_api.get("/completions", params={"limit": 1}).content.startswith(b'{"completions":[' + large)
        assert api.get("/completions", params={"tag": "none"}).json() == {"completions": []}
    wait_until(lambda: held(serving) == 0)


def test_exports_that_nobody_reads_hold_a_bounded_number_of_bytes(serving: Served, api: Api, other_api: Api) -> None:
    """Three hundred exports that nobody read held 1.2 GB, because only lists were counted."""
    log(api, [PIECE_BYTES] * 8)
    (short,) = log(other_api, [10])
    with ExitStack() as stack:
        for _ in range(20):
            get(stack.enter_context(connected(serving.url)), api, "/api/v1/export")
        limit = serving.app.state.runtime.settings.answer_bytes
        wait_until(lambda: held(serving) >= limit // 2 - PIECE_BYTES)

        for _ in range(20):
            assert held(serving) <= limit // 2
            assert other_api.get("/completions").content == b'{"completions":[' + short + b"]}"
        assert other_api.get("/export").content.count(b"\n") == 2
    wait_until(lambda: held(serving) == 0)


@pytest.mark.parametrize("path", ["/export", "/export/training?task_id=t"])
def test_an_export_is_refused_while_there_is_no_room_and_not_cut_off(
    serving: Served, api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The header of an export was sent before anything else was known, so a refusal would have cut it off."""
    monkeypatch.setattr("log10_server.web.transfer.routes.LONG_TIMEOUT_SECONDS", 0.1)
    answers: AnswerBytes = serving.app.state.runtime.answer_bytes
    answers.add(api.organization.id, 32 << 20)
    try:
        refused = api.get(path)
    finally:
        answers.subtract(api.organization.id, 32 << 20)

    problem(refused, 503, "overloaded")
    assert api.get(path).status_code == 200
    wait_until(lambda: held(serving) == 0)


def test_a_long_answer_is_refused_while_there_is_no_room_and_a_short_one_is_not(
    serving: Served, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(api, [10, FIRST_PIECE_BYTES])
    monkeypatch.setattr("log10_server.runtime.context.TIMEOUT_SECONDS", 0.1)
    answers: AnswerBytes = serving.app.state.runtime.answer_bytes
    answers.add(api.organization.id, 32 << 20)
    try:
        short = api.get("/completions", params={"limit": 1})
        refused = api.get("/completions")
    finally:
        answers.subtract(api.organization.id, 32 << 20)

    assert len(short.json()["completions"]) == 1
    problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert len(api.get("/completions").json()["completions"]) == 2
