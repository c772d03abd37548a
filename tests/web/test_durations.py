"""Durations in every answer that has one: without the noise of binary fractions, and whole ones without a fraction."""

from typing import Any

import httpx
import pytest

from tests.conftest import Api


def call(api: Api, method: str, path: str, **options: Any) -> httpx.Response:
    """A call by a path from the root."""
    answer = api.request(method, api.base_url.join(path), **options)
    assert answer.is_success, answer.text
    return answer


def log_in_milliseconds(api: Api, completion_id: str, milliseconds: float) -> None:
    """As `log10-io` does."""
    call(api, "POST", f"/api/completions/{completion_id}", json={"status": "finished", "duration": milliseconds})


# In doubles 1100.1 / 1000 is 1.1000999999999999, and 4.1 / 1000 is 0.0040999999999999995.
@pytest.mark.parametrize(
    ("milliseconds", "shown_milliseconds", "shown_seconds"),
    [("1234", "1234", "1.234"), ("1100.1", "1100.1", "1.1001"), ("4.1", "4.1", "0.0041"), ("2000.0", "2000", "2")],
)
def test_milliseconds_of_a_log_row_are_shown_as_sent_in_every_answer(
    api: Api, milliseconds: str, shown_milliseconds: str, shown_seconds: str
) -> None:
    body = f'{{"status":"finished","duration":{milliseconds}}}'
    headers = {"Content-Type": "application/json"}

    logged = call(api, "POST", "/api/completions/c", content=body, headers=headers).text

    assert f'"duration":{shown_seconds},' in f"{logged[:-1]},"
    for path in ("/api/completions/c", "/api/completions"):
        assert f'"duration":{shown_milliseconds},' in call(api, "GET", path).text
    for path in ("/api/v1/completions/c", "/api/v1/completions", "/api/v1/export"):
        assert f'"duration":{shown_seconds},' in call(api, "GET", path).text.replace("}", ",}")
    usage = call(api, "GET", "/api/v1/usage?group_by=day").text
    assert usage.count(f'"mean_duration":{shown_seconds},"p95_duration":{shown_seconds},') == 2


def test_seconds_of_the_versioned_api_are_shown_in_milliseconds_without_noise(api: Api) -> None:
    api.completion(id="c", duration=1.1001)

    assert '"duration":1.1001}' in api.get("/completions/c").text
    assert '"duration":1100.1,' in call(api, "GET", "/api/completions/c").text


def test_a_mean_of_the_usage_has_no_noise(api: Api) -> None:
    """In doubles 0.1 + 0.2 is 0.30000000000000004."""
    log_in_milliseconds(api, "a", 100)
    log_in_milliseconds(api, "b", 200)

    assert '"mean_duration":0.15,"p95_duration":0.2,' in api.get("/usage").text


def test_the_stages_of_a_test_add_up_without_noise(api: Api) -> None:
    mutation = 'mutation { createTestRun(input: {name: "nightly"}) { id reportUploadUrl } }'
    run = call(api, "POST", "/graphql", json={"query": mutation}).json()["data"]["createTestRun"]
    tests = [
        {"nodeid": "t.py::a", "setup": {"duration": 0.1}, "call": {"duration": 0.2}, "teardown": {"duration": 0}},
        {"nodeid": "t.py::b", "setup": {"duration": 0.25}, "call": {"duration": 0.75}},
    ]
    httpx.put(run["reportUploadUrl"], json={"tests": tests}).raise_for_status()

    answered = api.get(f"/test_runs/{run['id']}").text

    assert '"duration":0.3,' in answered
    assert '"duration":1,' in answered
