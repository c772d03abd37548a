"""The bodies that the benchmark sends have the size they claim, and both the server and `limit` accept them."""

import asyncio
from typing import Any

import httpx
import pytest

from benchmarks import bodies, cases
from benchmarks.limit import create_app
from tests.conftest import Api


def limit(method: str, path: str, body: Any = None, lists: dict[str, Any] | None = None) -> httpx.Response:
    """What the bare endpoint answers."""

    async def respond() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(lists or {}))
        async with httpx.AsyncClient(transport=transport, base_url="http://limit") as client:
            return await client.request(method, path, json=body)

    return asyncio.run(respond())


@pytest.mark.parametrize("size", [600, 2500, 50_000])
def test_a_completion_is_as_large_as_it_says(size: int) -> None:
    sizes = [len(bodies.text(bodies.completion(size, number)).encode()) for number in range(20)]

    assert size * 0.95 <= min(sizes)
    assert max(sizes) <= size * 1.05


def test_a_marked_body_is_as_large_as_the_one_that_it_stands_for() -> None:
    number = 7

    marked = bodies.text(bodies.marked_completion(2500, number))

    own, session = bodies.own_tag(number).removeprefix("request-"), bodies.session_id(number).removeprefix("session-")
    filled = marked.replace(bodies.OWN_TAG_MARK, own).replace(bodies.SESSION_MARK, session)
    assert filled == bodies.text(bodies.completion(2500, number))


def test_a_completion_has_what_its_description_says() -> None:
    text = bodies.text(bodies.completion(2500, 3))

    assert 0.02 < sum(ord(character) > 127 for character in text) / len(text) < 0.08
    assert any(character in text for character in "äöüß")
    assert any(0x3040 <= ord(character) <= 0x9FFF for character in text)
    assert any(ord(character) > 0x1F000 for character in bodies.filler(50_000, 1))
    assert len({bodies.session_id(number) for number in range(1000)}) == 1000
    assert len({bodies.own_tag(number) for number in range(1000)}) == 1000
    assert sum(bodies.tags(number)[1] == "user-7" for number in range(1000)) == 10
    assert cases.TASK["completion_tags_selector"] == [bodies.tags(3)[2]]


def test_the_server_and_the_limit_take_the_same_bodies(api: Api) -> None:
    started, finished = bodies.log_rows(2500, 1)
    api.post("/feedback_task", json=cases.TASK)
    api.completion(tags=bodies.tags(1))
    sent: list[tuple[str, Any]] = [
        ("/api/v1/completions", bodies.completion(2500, 1)),
        ("/api/v1/completions", bodies.completion(50_000, 1)),
        ("/api/completions/some-id", started),
        ("/api/completions/some-id", finished),
        ("/api/v1/feedback", cases.feedback_on(1)),
    ]

    answered = [api.post(api.base_url.join(path), json=body) for path, body in sent]

    assert [answer.status_code for answer in answered] == [201, 201, 200, 200, 200]
    assert [limit("POST", path, body).status_code for path, body in sent] == [201, 201, 200, 200, 200]
    assert api.get("/completions/some-id").json()["status"] == "finished"


def test_the_limit_refuses_what_its_models_forbid() -> None:
    assert limit("POST", "/api/v1/completions", {"tags": "not a list"}).status_code == 422
    assert limit("POST", "/api/v1/feedback", {"json_values": {}}).status_code == 422


def test_the_lists_of_the_limit_are_the_servers(api: Api) -> None:
    for number in range(3):
        api.completion(**bodies.completion(2500, number))
    api.post("/feedback_task", json=cases.TASK)
    api.post("/feedback", json=cases.feedback_on(1))
    lists = {path: api.get(api.base_url.join(path)).json() for path in cases.LISTS}

    for path in cases.LISTS:
        answer = limit("GET", path, lists=lists)
        assert answer.json() == lists[path]
        assert len(answer.json()[path.rsplit("/", 1)[1].replace("ungraded", "completions")]) > 0
