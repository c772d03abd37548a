"""The upload of a report: the address gives the right to it, once, and stands in no log (docs/api.md, "The calls of log10-io", "Tokens and organizations")."""

import json
import logging
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from log10_server.web.legacy.reports import SecretMaskingFilter
from tests.conftest import Api, Served, paths, problem, serve

REPORT = {
    "summary": {"passed": 1, "total": 1, "collected": 1},
    "tests": [{"nodeid": "t.py::test_a", "outcome": "passed"}],
}


def new_run(api: Api) -> dict[str, Any]:
    """Make a run, as `pytest --log10` does."""
    query = 'mutation { createTestRun(input: {name: "nightly"}) { id reportUploadUrl } }'
    answer = api.post(str(api.base_url.copy_with(path="/graphql")), json={"query": query})
    return dict(answer.json()["data"]["createTestRun"])


@pytest.fixture
def run(api: Api) -> dict[str, Any]:
    return new_run(api)


def test_the_address_is_enough_and_the_report_comes_back(api: Api, run: dict[str, Any]) -> None:
    """`pytest --log10` sends bytes with no header of its own, not even a media type."""
    answer = httpx.put(run["reportUploadUrl"], content=json.dumps(REPORT).encode())

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": run["id"]}
    assert api.get(f"/test_runs/{run['id']}").json()["report"] == REPORT


def test_a_report_comes_back_as_the_text_that_came(api: Api, run: dict[str, Any]) -> None:
    text = '{ "z":1.50, "a":null,\n "n":12345678901234567890123,"s":"\\u0000\\ud83d é 🌙","tests":[{"y":1E2}] }'

    httpx.put(run["reportUploadUrl"], content=b"\xef\xbb\xbf" + text.encode() + b"\n").raise_for_status()

    assert f'"report":{text}' in api.get(f"/test_runs/{run['id']}").text


def test_it_is_uploaded_once(api: Api, run: dict[str, Any]) -> None:
    httpx.put(run["reportUploadUrl"], json=REPORT).raise_for_status()

    again = httpx.put(run["reportUploadUrl"], json={"summary": {"passed": 99}})

    problem(again, 409, "report_taken")
    assert api.get(f"/test_runs/{run['id']}").json()["report"] == REPORT


def test_of_uploads_at_once_one_is_stored(api: Api, run: dict[str, Any]) -> None:
    statuses: list[int] = []

    def upload(number: int) -> None:
        statuses.append(httpx.put(run["reportUploadUrl"], json={"number": number}, timeout=30).status_code)

    threads = [threading.Thread(target=upload, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] + [409] * 7


def test_a_wrong_address_looks_the_same_whatever_is_wrong(api: Api, other_api: Api, run: dict[str, Any]) -> None:
    """Before and after the upload, so that nobody learns which runs there are."""
    *start, organization_id, run_id, secret, end = run["reportUploadUrl"].split("/")
    other_run = new_run(other_api)
    wrong = [
        [organization_id, run_id, "wrong", end],
        [organization_id, run_id, secret[:-1], end],
        [organization_id, run_id, "%00", end],
        [organization_id, "unknown", secret, end],
        [organization_id, "%00", secret, end],
        [organization_id, other_run["id"], secret, end],
        [other_api.organization.id, run_id, secret, end],
        [other_api.organization.id, other_run["id"], secret, end],
        ["unknown", run_id, secret, end],
        ["%00", run_id, secret, end],
    ]

    for _ in range(2):
        problems = [problem(httpx.put("/".join([*start, *parts]), json=REPORT), 404, "not_found") for parts in wrong]
        assert {body["detail"] for body in problems} == {problems[0]["detail"]}
        httpx.put(run["reportUploadUrl"], json=REPORT)

    assert "report" not in other_api.get(f"/test_runs/{other_run['id']}").json()


def test_a_refused_body_leaves_the_right_unused(api: Api, run: dict[str, Any]) -> None:
    url = run["reportUploadUrl"]

    problem(httpx.put(url, content=b"{"), 400, "not_json")
    problem(httpx.put(url, content=b'{"a":NaN}'), 400, "not_json")
    problem(httpx.put(url, content=b""), 400, "not_json")
    problem(httpx.put(url, content=b'{"a":"\xff"}'), 400, "not_json")
    problem(httpx.put(url, content=b"{}", headers={"Content-Type": "text/html"}), 415, "wrong_media_type")
    assert paths(httpx.put(url, content=b"[]")) == [""]
    assert paths(httpx.put(url, content=b'{"a":' + b"[" * 300 + b"]" * 300 + b"}")) == [""]
    assert "uploaded_at_ms" not in api.get(f"/test_runs/{run['id']}").json()

    assert httpx.put(url, json=REPORT).status_code == 200


def test_a_report_beyond_the_limit_is_413(migrated: Database, api: Api, run: dict[str, Any]) -> None:
    path = urlsplit(run["reportUploadUrl"]).path
    for served in serve(migrated, Settings(limits=Limits(body_bytes=1024))):
        problem(httpx.put(served.url + path, json={"long": "x" * 1024}), 413, "too_large")


def test_nothing_of_a_body_is_read_before_the_address_is_known_to_be_good(serving: Served, api: Api) -> None:
    parts = urlsplit(serving.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(b"PUT /test_runs/a/b/c/report HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")

        assert raw.recv(100).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_address_is_there_for_put_alone(run: dict[str, Any], method: str) -> None:
    answer = httpx.request(method, run["reportUploadUrl"])

    problem(answer, 405)
    assert answer.headers["Allow"] == "PUT"


def test_the_address_is_in_no_log(api: Api, run: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Uvicorn logs every request here, as it does with LOG10_SERVER_ACCESS_LOG=true."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client in this process logs what it asks for
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    secret = run["reportUploadUrl"].split("/")[-2]
    url = run["reportUploadUrl"]

    for address in (url, url, url + "?a=b", url.replace("/test_runs", "//test_runs"), url.removesuffix("/report")):
        httpx.put(address, json=REPORT)
    httpx.put(url.replace("/test_runs", "/%74est_runs"), json=REPORT)
    api.get("/test_runs/some-id")

    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert sum(f"{run['id']}/" in line for line in lines) == 6
    assert secret not in caplog.text
    assert any("GET /api/v1/test_runs/some-id HTTP" in line for line in lines)


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        ("/test_runs/o/r/SECRET/report", "/test_runs/o/r/…/report"),
        ("/test_runs/o/r/SECRET", "/test_runs/o/r/…"),
        ("/test_runs/o/r/SECRET?a=/b", "/test_runs/o/r/…?a=/b"),
        ("http://host/test_runs/o%20p/r/SECRET/report", "http://host/test_runs/o%20p/r/…/report"),
        ("/api/v1/test_runs/id", "/api/v1/test_runs/id"),
        ("/api/v1/test_runs?limit=5", "/api/v1/test_runs?limit=5"),
    ],
)
def test_the_filter_masks_the_secret_alone(line: str, logged: str) -> None:
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s" %d', ("client", line, 200), None)

    assert SecretMaskingFilter().filter(record)
    assert record.getMessage() == f'client - "{logged}" 200'
