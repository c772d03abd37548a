"""What is checked before an endpoint sees a body: size, media type, encoding, JSON (docs/api.md, "Errors")."""

import gzip
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from log10_server.web.app import create_app
from tests.conftest import Api, Organization, Served, paths, problem, serve

BODY = b'{"tags":["door"]}'
MOST = 4096


@pytest.fixture(scope="module")
def narrow(migrated: Database) -> Iterator[Served]:
    """A server that takes bodies of 4 KiB."""
    yield from serve(migrated, Settings(limits=Limits(body_bytes=MOST)))


def padded(size: int) -> bytes:
    """A completion whose JSON has this many bytes."""
    return b'{"request":{"a":"' + b"x" * (size - 20) + b'"}}'


@contextmanager
def connection(url: str) -> Iterator[socket.socket]:
    """A bare connection to the server; nothing on it waits longer than ten seconds."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        yield raw


def head(organization: Organization, line: str, *headers: str) -> bytes:
    lines = [line, "Host: localhost", f"X-Log10-Token: {organization.token}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answered(raw: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer on a connection: status, headers, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = raw.recv(65536)
        assert part, f"the connection was closed after {received!r}"
        received += part
    start, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = start.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(rest) < int(headers.get("content-length", "0")):
        rest += raw.recv(65536)
    return int(first.split()[1]), headers, rest


# Content-Type


def test_a_body_of_json_or_of_no_named_type_is_read(api: Api, subtests: pytest.Subtests) -> None:
    for media_type in [
        None,
        "",
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; Charset=UTF8",
        "application/json; version=1; charset=utf-8",
        "application/problem+json",
        "application/vnd.log10.v1+json; charset=utf-8",
    ]:
        with subtests.test(media_type=media_type):
            headers = {} if media_type is None else {"Content-Type": media_type}

            answer = api.post("/completions", content=BODY, headers=headers)

            assert answer.status_code == 201, answer.text
            assert answer.json()["tags"] == ["door"]


def test_a_body_of_another_type_is_refused_and_the_type_is_named(api: Api, subtests: pytest.Subtests) -> None:
    for media_type in [
        "text/plain",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonl",
        "application/x-ndjson",
        "application/json; charset=latin-1",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "application/hal+json; charset=utf-16",
        "text/x+json",
        "*/*",
        "nonsense",
    ]:
        with subtests.test(media_type=media_type):
            answer = api.post("/completions", content=BODY, headers={"Content-Type": media_type})

            assert media_type in problem(answer, 415, "wrong_media_type")["detail"]


def test_the_type_is_refused_before_the_json(api: Api) -> None:
    answer = api.post("/completions", content=b"{not json", headers={"Content-Type": "text/plain"})

    problem(answer, 415)


def test_a_compressed_body_is_refused_and_the_encoding_named(api: Api, subtests: pytest.Subtests) -> None:
    for encoding in ["gzip", "GZip", "deflate", "br", "zstd"]:
        for path in ["/completions", "/completions/batch"]:
            with subtests.test(encoding=encoding, path=path):
                answer = api.post(path, content=gzip.compress(BODY), headers={"Content-Encoding": encoding})

                assert encoding.lower() in problem(answer, 415, "wrong_media_type")["detail"]


def test_another_content_encoding_counts_for_nothing(api: Api, subtests: pytest.Subtests) -> None:
    for encoding in ["identity", "utf-8", ""]:
        with subtests.test(encoding=encoding):
            assert api.post("/completions", content=BODY, headers={"Content-Encoding": encoding}).status_code == 201


def test_a_call_that_needs_no_body_takes_none_under_any_type(api: Api, subtests: pytest.Subtests) -> None:
    for media_type in [None, "", "application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"]:
        with subtests.test(media_type=media_type):
            headers = {} if media_type is None else {"Content-Type": media_type}

            answer = api.post("/sessions", headers=headers)

            assert answer.status_code == 201, answer.text
            assert answer.json()["session"]["id"]


def test_a_call_that_needs_no_body_ignores_one_that_is_not_json(api: Api) -> None:
    answer = api.post("/sessions", content=b"\xff\x00", headers={"Content-Type": "application/octet-stream"})

    assert answer.status_code == 201, answer.text


def test_a_call_that_needs_no_body_still_belongs_to_the_organization_that_its_body_names(
    api: Api, other_api: Api
) -> None:
    answer = api.post("/sessions", json={"organization_id": other_api.organization.id})

    problem(answer, 403, "wrong_organization")


def test_an_empty_body_is_not_json(api: Api, subtests: pytest.Subtests) -> None:
    for path in ["/completions", "/completions/one", "/feedback", "/feedback_task"]:
        with subtests.test(path=path):
            problem(api.post(path), 400, "not_json")


# JSON


def test_a_byte_order_mark_is_allowed(api: Api) -> None:
    answer = api.post("/completions", content=b"\xef\xbb\xbf" + BODY)

    assert answer.status_code == 201, answer.text


def test_what_is_not_json_in_utf_8_is_refused_wherever_the_fault_stands(api: Api, subtests: pytest.Subtests) -> None:
    for text in [
        b" ",
        b"{",
        b'{"tags":["a"',
        b'{"tags":["a"]',
        b'{"tags":["a"]}}',
        b'{"tags":["a"]} x',
        b'{"tags":["a"],}',
        b'{"tags":["a",]}',
        b"{'tags':['a']}",
        b"{tags: []}",
        b'{"tags":[] /* none */}',
        b'// none\n{"tags":[]}',
        b'{"duration":NaN}',
        b'{"duration":Infinity}',
        b'{"duration":-Infinity}',
        b'{"request":{"a":NaN}}',
        b'{"unknown":[Infinity]}',
        b'{"duration":01}',
        b'{"duration":1.}',
        b'{"duration":.5}',
        b'{"duration":+1}',
        b'{"duration":0x10}',
        b'{"request":{"a":"\\x41"}}',
        b'{"request":{"a":"\\u12"}}',
        b'{"request":{"a":"line\nbreak"}}',
        b'{"request":{"a":True}}',
        b'{"tags" ["a"]}',
        b'{"tags":["\xff"]}',
        b'{"tags":["\xc3"]}',
        b'{"tags":["\xed\xa0\x80"]}',
        b'{"tags":["\xc0\xaf"]}',
        b'{"unknown":"\xfe"}',
        '{"tags":[]}'.encode("utf-16"),
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\x00{}",
        b"\xc2\xa0{}",
        b"nul",
        b"tags=a",
    ]:
        with subtests.test(text=text):
            problem(api.post("/completions", content=text), 400, "not_json")


def test_json_that_is_no_object_is_invalid_as_a_whole(api: Api, subtests: pytest.Subtests) -> None:
    for text in [b"[]", b"[{}]", b"null", b"true", b"1", b"1.5", b'"{}"', b"1e400", b"9" * 5000]:
        with subtests.test(text=text):
            assert paths(api.post("/completions", content=text)) == [""]


def test_of_repeated_members_the_last_counts(api: Api) -> None:
    answer = api.post("/completions", content=b'{"tags":["first"],"tags":5,"tags":["last"]}')

    assert answer.json()["tags"] == ["last"]


# Nesting


def nested(levels: int, opening: str, closing: str) -> bytes:
    """A completion whose whole body nests this deep."""
    inside = levels - 2
    return ('{"request":{"a":' + opening * inside + "1" + closing * inside + "}}").encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_200_levels_of_nesting_are_kept(api: Api, opening: str, closing: str) -> None:
    body = nested(200, opening, closing)

    answer = api.post("/completions", content=body)

    assert answer.status_code == 201, answer.text
    assert answer.json()["request"] == json.loads(body)["request"]


def test_deeper_nesting_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for opening, closing in [("[", "]"), ('{"a":', "}"), ('[{},{"b":', "}]")]:
        for levels in [201, 5000, 100_000]:
            with subtests.test(opening=opening, closing=closing, levels=levels):
                detail = problem(api.post("/completions", content=nested(levels, opening, closing)), 422)["detail"]

                assert "200 levels" in detail


def test_nesting_that_never_closes_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for text in [b"[" * 100_000, b'{"a":' * 100_000, b'{"request":' + b"[" * 100_000]:
        with subtests.test(text=text):
            assert api.post("/completions", content=text).status_code in {400, 422}


def test_brackets_inside_strings_nest_nothing(api: Api) -> None:
    text = '\\"' + "[{" * 500 + "\\\\"

    answer = api.post("/completions", content=b'{"request":{"a":"' + text.encode() + b'"}}')

    assert answer.json()["request"] == {"a": '"' + "[{" * 500 + "\\"}


# Size


def test_a_body_of_just_the_limit_is_read(narrow: Served, api: Api) -> None:
    answer = api.post(f"{narrow.url}/api/v1/completions", content=padded(MOST))

    assert answer.status_code == 201, answer.text


def test_a_body_over_the_limit_is_refused_and_the_limit_is_named(narrow: Served, api: Api) -> None:
    answer = api.post(f"{narrow.url}/api/v1/completions", content=padded(MOST + 1))

    assert str(MOST) in problem(answer, 413, "too_large")["detail"]


def test_a_chunked_body_over_the_limit_is_refused(narrow: Served, api: Api) -> None:
    chunks = (padded(MOST * 10)[start : start + 1000] for start in range(0, MOST * 10, 1000))

    problem(api.post(f"{narrow.url}/api/v1/completions", content=chunks), 413)


def test_a_chunked_body_within_the_limit_is_read(narrow: Served, api: Api) -> None:
    chunks = (padded(MOST)[start : start + 1000] for start in range(0, MOST, 1000))

    assert api.post(f"{narrow.url}/api/v1/completions", content=chunks).status_code == 201


def test_the_size_is_refused_before_the_type_and_the_json(narrow: Served, api: Api) -> None:
    url = f"{narrow.url}/api/v1/completions"

    problem(api.post(url, content=b"{" * (MOST + 1), headers={"Content-Type": "text/plain"}), 413)


def test_a_body_is_limited_where_none_is_needed(narrow: Served, api: Api) -> None:
    problem(api.post(f"{narrow.url}/api/v1/sessions", content=padded(MOST + 1)), 413)


def test_a_promised_body_that_is_too_large_is_refused_before_it_is_sent(
    narrow: Served, organization: Organization
) -> None:
    with connection(narrow.url) as raw:
        raw.sendall(head(organization, "POST /api/v1/completions HTTP/1.1", "Content-Length: 99999999999"))

        assert answered(raw)[0] == 413


def test_a_connection_goes_on_after_a_body_that_was_too_large(narrow: Served, organization: Organization) -> None:
    size = MOST * 50
    with connection(narrow.url) as raw:
        raw.sendall(head(organization, "POST /api/v1/completions HTTP/1.1", f"Content-Length: {size}"))
        raw.sendall(padded(size))
        first = answered(raw)
        raw.sendall(head(organization, "POST /api/v1/completions HTTP/1.1", f"Content-Length: {len(BODY)}") + BODY)

        second = answered(raw)

    assert (first[0], second[0]) == (413, 201)


def test_a_connection_goes_on_after_chunks_that_were_too_large(narrow: Served, organization: Organization) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with connection(narrow.url) as raw:
        raw.sendall(head(organization, "POST /api/v1/completions HTTP/1.1", "Transfer-Encoding: chunked"))
        raw.sendall(chunk * 20)
        first = answered(raw)
        raw.sendall(b"0\r\n\r\n")
        raw.sendall(head(organization, "GET /api/v1/feedback HTTP/1.1"))

        second = answered(raw)

    assert (first[0], second[0]) == (413, 200)


@pytest.mark.parametrize("path", ["/api/v1/completions", "/api/v1/nothing"])
def test_a_connection_goes_on_after_an_unread_body(serving: Served, database: Database, path: str) -> None:
    stranger = Organization("", "", "no-token-of-ours")
    with connection(serving.url) as raw:
        raw.sendall(head(stranger, f"POST {path} HTTP/1.1", "Content-Length: 300000") + b"x" * 300_000)
        first = answered(raw)
        raw.sendall(head(stranger, "GET /healthz HTTP/1.1"))

        second = answered(raw)

    assert (first[0], second[0]) == (401, 200)


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(serving: Served, organization: Organization) -> None:
    with connection(serving.url) as raw:
        raw.sendall(
            head(
                organization,
                "POST /api/v1/completions HTTP/1.1",
                "Expect: 100-continue",
                f"Content-Length: {len(BODY)}",
            )
        )
        first = answered(raw)
        raw.sendall(BODY)

        second = answered(raw)

    assert (first[0], second[0]) == (100, 201)


def test_a_client_that_asks_before_it_sends_too_much_is_refused_at_once(
    narrow: Served, organization: Organization
) -> None:
    with connection(narrow.url) as raw:
        raw.sendall(
            head(
                organization, "POST /api/v1/completions HTTP/1.1", "Expect: 100-continue", f"Content-Length: {MOST + 1}"
            )
        )

        assert answered(raw)[0] == 413


def test_a_body_that_breaks_off_leaves_nothing_behind(serving: Served, api: Api) -> None:
    with connection(serving.url) as raw:
        raw.sendall(
            head(api.organization, "POST /api/v1/completions HTTP/1.1", f"Content-Length: {len(BODY) + 1}") + BODY
        )

    assert api.get("/completions").json() == {"completions": []}


# Every refusal


def refused(api: Api) -> list[httpx.Response]:
    """A call for each kind of refusal that a client can cause."""
    task = api.task([], id="door-task")
    api.completion(id="door")
    conflicting = {"id": "door-task", "name": "another", "json_schema": {}}
    return [
        api.post("/completions", content=b"{"),
        httpx.get(f"{api.base_url}completions", headers={"X-Log10-Token": "nobody-knows-this"}),
        api.get("/completions", headers={"X-Log10-Organization": "another"}),
        api.get("/completions/none"),
        api.get("/nowhere"),
        api.put("/completions"),
        api.post("/feedback_task", json=conflicting),
        api.post("/completions", content=BODY, headers={"Content-Type": "text/plain"}),
        api.post("/completions", json={"tags": 5}),
        api.get("/completions", params={"limit": "abc"}),
        api.post("/feedback", json={"task_id": task["id"], "json_values": {}, "completion_ids": ["none"]}),
    ]


def test_every_refusal_has_the_one_shape(api: Api) -> None:
    answers = refused(api)

    assert [problem(answer, answer.status_code)["type"].rpartition(":")[2] for answer in answers] == [
        "not_json",
        "unauthorized",
        "wrong_organization",
        "not_found",
        "not_found",
        "method_not_allowed",
        "id_taken",
        "wrong_media_type",
        "invalid",
        "invalid",
        "unknown_completion",
    ]


def test_no_answer_and_no_log_shows_how_the_server_is_built_or_a_token(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    texts = "\n".join([answer.text for answer in refused(api)])

    for word in ["SELECT", "INSERT", "Traceback", ".py", "sqlalchemy", "psycopg", "sqlite", "/work", "site-packages"]:
        assert word not in texts
    assert "nobody-knows-this" not in texts + caplog.text
    assert api.organization.token not in texts + caplog.text


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://nobody:secret-word@127.0.0.1:9/log10"])
def test_an_unreachable_database_is_reported_with_the_time_to_try_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = Database(url)

    answers: list[httpx.Response] = []
    for served in serve(away, Settings()):
        headers: dict[str, Any] = {"X-Log10-Token": "some-token"}
        answers = [
            httpx.get(f"{served.url}/api/v1/completions", headers=headers),
            httpx.get(f"{served.url}/healthz"),
        ]
    away.close()

    for answer in answers:
        problem(answer, 503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert "secret-word" not in answer.text + caplog.text


def test_the_token_is_checked_before_the_path_and_the_body(database: Database, serving: Served) -> None:
    for path in ["completions", "nowhere", "completions/ungraded"]:
        answer = httpx.post(f"{serving.url}/api/v1/{path}", content=b"{", headers={"Content-Type": "text/plain"})

        problem(answer, 401, "unauthorized")


def test_the_server_can_be_built_before_its_database_is_there() -> None:
    app = create_app(Settings(), Database("sqlite:////nowhere/at/all.db"))

    assert app.openapi()["paths"]
