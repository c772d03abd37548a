"""The system clock steps back while the server runs: later rows sort before earlier ones, and nothing else changes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from log10_server.clock import Clock
from log10_server.db.database import Database
from log10_server.settings import Settings
from tests.conftest import Api, new_organization, serve

START = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
HOUR = 3600


class SystemClock:
    """A system clock that a test sets by hand. It stands still until then."""

    def __init__(self) -> None:
        self.seconds = START

    def __call__(self) -> int:
        return int(self.seconds) * 10**9


@pytest.fixture
def system() -> SystemClock:
    return SystemClock()


@pytest.fixture
def stepping_api(database: Database, system: SystemClock) -> Iterator[Api]:
    """The API of a server whose system clock the test sets."""
    own_database = Database(database.url.render_as_string(hide_password=False), clock=Clock(system))
    for served in serve(own_database, Settings()):
        with Api(served.url, new_organization(database)) as client:
            yield client
    own_database.close()


def listed(api: Api, path: str, **query: str) -> list[str]:
    """The ids of a list of completions, read one by one through its cursor."""
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(path, params={"limit": "1", "cursor": cursor, **query}).json()
        ids += [completion["id"] for completion in page["completions"]]
        cursor = page.get("next_cursor")
    return ids


def test_after_a_large_step_back_created_at_continues_from_the_clock(stepping_api: Api, system: SystemClock) -> None:
    times = []
    for number, seconds in enumerate([0, -1, -HOUR, -HOUR - 1, -HOUR + 1]):
        system.seconds = START + seconds
        times.append(stepping_api.completion(id=str(number))["created_at_ms"] - int(START) * 1000)

    assert times == [0, 0, -HOUR * 1000, -HOUR * 1000, (-HOUR + 1) * 1000]


def test_lists_show_each_completion_once_when_later_ones_sort_before_earlier_ones(
    stepping_api: Api, system: SystemClock
) -> None:
    stepping_api.task(["tag"])
    for name in ["first", "second"]:
        stepping_api.completion(id=name, session_id="session", tags=["tag"])

    system.seconds -= HOUR
    stepping_api.task(["tag", "new tag"])
    for name in ["third", "fourth"]:
        stepping_api.completion(id=name, session_id="session", tags=["tag", "new tag"])

    newest_first = ["second", "first", "fourth", "third"]
    assert listed(stepping_api, "/completions") == newest_first
    assert listed(stepping_api, "/completions", tag="tag") == newest_first
    assert listed(stepping_api, "/sessions/session") == newest_first[::-1]
    assert stepping_api.ungraded() == newest_first


def test_feedback_given_after_a_step_back_grades_and_is_exported(stepping_api: Api, system: SystemClock) -> None:
    task = stepping_api.task(["tag"])
    stepping_api.completion(id="first", tags=["tag"])

    system.seconds -= HOUR
    stepping_api.completion(id="second", tags=["tag"])
    stepping_api.upload(task["id"], id="given", completion_tags_selector=["tag"])
    lines = [json.loads(line) for line in stepping_api.get("/export").text.splitlines()]

    assert stepping_api.ungraded() == []
    assert {"first", "second", "given", task["id"]} <= {line.get("id") for line in lines}


def test_a_tag_that_is_new_at_an_instant_used_before_is_stored(stepping_api: Api, system: SystemClock) -> None:
    """The key of a tag is its instant, which a step back gives a second time."""
    system.seconds += HOUR
    stepping_api.completion(id="first", tags=["a", "b"])
    system.seconds += HOUR
    stepping_api.completion(id="later", tags=["c"])

    system.seconds -= HOUR
    stepping_api.completion(id="second", tags=["d", "e", "f"])

    assert stepping_api.get("/completions/second").json()["tags"] == ["d", "e", "f"]
    assert listed(stepping_api, "/completions", tag="a") == ["first"]
    assert listed(stepping_api, "/completions", tag="d") == ["second"]
