"""Two server processes on one database, under many clients that write the same rows in every order and at once."""

import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

import httpx
import pytest

from tests.concurrency.consistency import client_of, completions, everything_agrees
from tests.running import Program, Served

CLIENTS = 32
COMPLETIONS = 120
TAGS = ["red", "green", "blue", "slow", "dear"]

Row = tuple[str, dict[str, Any]]


@pytest.fixture
def servers(program: Program) -> list[Served]:
    first = program.serve()
    return [first, program.serve()]


@pytest.fixture
def token(servers: list[Served]) -> str:
    return servers[0].exported()["LOG10_TOKEN"]


def opening(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "status": "started",
        "kind": "chat",
        "request": {
            "model": f"model-{number % 3}",
            "messages": [{"role": "user", "content": f"UsageSelection {number}"}],
        },
        "tags": chance.sample(TAGS, chance.randint(1, 3)),
        "session_id": f"session-{number % 7}",
        "duration": 0.5,
    }


def closing(number: int, chance: random.Random) -> dict[str, Any]:
    """Some carry no tags, some others than the opening row, some an empty list, which clears."""
    row: dict[str, Any] = {
        "status": "finished",
        "response": {"choices": [{"text": f"{number}"}]},
        "duration": number / 8,
    }
    if number % 5 == 0:
        row = {"status": "failed", "failure_kind": "timeout", "failure_reason": f"reason {number}", "duration": 9.5}
    if number % 3 == 0:
        row["tags"] = chance.sample(TAGS, chance.randint(0, 2))
    return row


def in_every_order(rows: dict[str, list[dict[str, Any]]], chance: random.Random) -> Iterator[Row]:
    """Each row one to three times, those of a few completions mixed, so that rows of one completion meet."""
    ids = list(rows)
    for start in range(0, len(ids), 4):
        few = [
            (completion_id, row)
            for completion_id in ids[start : start + 4]
            for row in rows[completion_id]
            for _ in range(chance.randint(1, 3))
        ]
        chance.shuffle(few)
        yield from few


class Clients:
    """Clients in threads, each of which goes from one server to the other; all that is answered is noted."""

    def __init__(self, servers: list[Served], token: str) -> None:
        self.servers = servers
        self.token = token
        self.refused: list[tuple[int, str]] = []
        self.statuses: set[int] = set()

    def each(self, number: int, act: Callable[[httpx.Client], httpx.Response | None]) -> None:
        """Repeat `act` on one server after the other until it has nothing to do."""
        both = [client_of(served, self.token) for served in self.servers]
        try:
            for api in itertools.islice(itertools.cycle(both), number % 2, None):
                answer = act(api)
                if answer is None:
                    return
                self.statuses.add(answer.status_code)
                if answer.status_code >= 500 or "locked" in answer.text:
                    self.refused.append((answer.status_code, answer.text))
        finally:
            for api in both:
                api.close()


def sends(work: SimpleQueue[Row], number: int) -> Callable[[httpx.Client], httpx.Response | None]:
    turns = itertools.count(number)

    def act(api: httpx.Client) -> httpx.Response | None:
        try:
            completion_id, row = work.get_nowait()
        except Empty:
            return None
        if next(turns) % 3:
            return api.post(f"/completions/{completion_id}", json=row)
        return api.post("/completions", json={"id": completion_id, **row})

    return act


def meddles(number: int, work: SimpleQueue[Row]) -> Callable[[httpx.Client], httpx.Response | None]:
    """Makes and changes tasks, gives and takes back feedback, logs and deletes completions of its own."""
    chance = random.Random(1000 + number)
    tasks: list[str] = []
    feedback_ids: list[str] = []
    turns = iter(range(60))

    def some() -> str:
        return f"mine-{chance.randrange(12)}"

    def make_task(api: httpx.Client) -> httpx.Response:
        tasks.append(f"task-{number}-{len(tasks)}")
        selector = chance.sample(TAGS, chance.randint(0, 2))
        return api.post(
            "/feedback_task",
            json={"id": tasks[-1], "name": "a task", "json_schema": {}, "completion_tags_selector": selector},
        )

    def change_task(api: httpx.Client) -> httpx.Response:
        changes: dict[str, Any] = {"archived": chance.random() < 0.2}
        if chance.random() < 0.7:
            changes["completion_tags_selector"] = chance.sample(TAGS, chance.randint(0, 2))
        return api.patch(f"/feedback_task/{chance.choice(tasks)}", json=changes)

    def give(api: httpx.Client) -> httpx.Response:
        about: dict[str, Any] = {"completion_tags_selector": chance.sample(TAGS, 2), "max_matched_completions": 1000}
        if chance.random() < 0.5:
            about = {"completion_ids": [some(), f"c-{chance.randrange(COMPLETIONS)}"]}
        feedback_ids.append(f"feedback-{number}-{len(feedback_ids)}")
        body = {"id": feedback_ids[-1], "task_id": chance.choice(tasks), "json_values": {"n": 1}, **about}
        return api.post("/feedback", json=body)

    def take_back(api: httpx.Client) -> httpx.Response:
        return api.delete(f"/feedback/{chance.choice(feedback_ids)}") if feedback_ids else give(api)

    def log_own(api: httpx.Client) -> httpx.Response:
        return api.post(f"/completions/{some()}", json={"tags": chance.sample(TAGS, 2), "session_id": "own"})

    def delete_own(api: httpx.Client) -> httpx.Response:
        return api.delete(f"/completions/{some()}")

    def act(api: httpx.Client) -> httpx.Response | None:
        if next(turns, None) is None:
            return None
        if not tasks or chance.random() < 0.05:
            return make_task(api)
        return chance.choice([change_task, give, give, take_back, log_own, log_own, delete_own])(api)

    return act


def test_rows_in_every_order_to_two_processes_merge_as_documented(
    program: Program, servers: list[Served], token: str
) -> None:
    """One story of one load, since a second one would take as long again: statuses, merge, indexes, ungraded, logs."""
    chance = random.Random(7)
    numbers = range(COMPLETIONS)
    rows = {f"c-{number}": [opening(number, chance), closing(number, chance)] for number in numbers}
    work: SimpleQueue[Row] = SimpleQueue()
    for row in in_every_order(rows, chance):
        work.put(row)
    clients = Clients(servers, token)

    with ThreadPoolExecutor(CLIENTS + 6) as pool:
        running = [pool.submit(clients.each, number, sends(work, number)) for number in range(CLIENTS)]
        running += [pool.submit(clients.each, number, meddles(number, work)) for number in range(6)]
        for future in running:
            future.result()

    assert clients.refused == []
    assert clients.statuses <= {200, 201, 204, 404, 422}
    for served in servers:
        with client_of(served, token) as api:
            stored = {completion["id"]: completion for completion in completions(api)}
            for completion_id, (opened, closed) in rows.items():
                merged = {**opened, **closed}
                assert {name: stored[completion_id].get(name) for name in merged} == merged, completion_id
            for session in range(7):
                listed = api.get(f"/sessions/session-{session}", params={"limit": 1000}).json()["completions"]
                expected = {
                    completion_id
                    for completion_id, completion in stored.items()
                    if completion.get("session_id") == f"session-{session}"
                }
                assert {completion["id"] for completion in listed} == expected
            everything_agrees(api)
        assert "ERROR" not in served.output()
        assert "locked" not in served.output()


def test_what_one_process_answered_the_other_reads_at_once(servers: list[Served], token: str) -> None:
    with client_of(servers[0], token) as first, client_of(servers[1], token) as second:
        for number in range(30):
            first.post(f"/completions/{number}", json={"tags": ["seen"]})
            assert second.get(f"/completions/{number}").status_code == 200
            second.delete(f"/completions/{number}")
            assert first.get(f"/completions/{number}").status_code == 404


def test_repeats_of_one_upload_at_once_to_two_processes_store_one(servers: list[Served], token: str) -> None:
    """Feedback, a task and a completion with ids of the client's own making."""
    with client_of(servers[0], token) as api:
        api.post("/completions", json={"id": "graded"})
    task = {"id": "task", "name": "a task", "json_schema": {"type": "object"}, "completion_tags_selector": ["a"]}
    upload = {"id": "given", "task_id": "task", "json_values": {"grade": 1}, "completion_ids": ["graded"]}

    def send(path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        def once(number: int) -> httpx.Response:
            with client_of(servers[number % 2], token) as api:
                return api.post(path, json=body)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(once, range(32)))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        return [answer.json() for answer in answers]

    tasks, uploads = send("/feedback_task", task), send("/feedback", upload)

    assert all(answer == tasks[0] for answer in tasks)
    assert all(answer == uploads[0] for answer in uploads)
    with client_of(servers[1], token) as api:
        assert len(api.get("/feedback_task").json()) == 1
        assert len(api.get("/feedback").json()["feedback"]) == 1
