"""A request to upgrade is served as HTTP/1.1 with its whole body (docs/api.md, "Errors").

Java's HttpClient and `curl --http2` send `Upgrade: h2c` with every request. The parser of uvicorn stops after such
a head, and uvicorn drops the body. A create would be answered with 400, and a batch of JSON Lines with 201 and 0 rows.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from tests.conftest import Api, Served
from tests.web.server.raw_http import Client, connected, request

UPGRADES = ["h2c", "websocket", "TLS/1.0, HTTP/2.0", "anything"]
ROWS = b'{"tags":["upgraded"]}\n{"tags":["upgraded"]}\n'


def upgrade(name: str = "h2c") -> tuple[str, ...]:
    return ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {name}", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")


def create(api: Api, *headers: str, chunks: int = 0, tag: str = "upgraded") -> bytes:
    body = json.dumps({"tags": [tag], "request": {"text": "x" * 3000}}).encode()
    return request(api.organization.token, "POST /api/v1/completions HTTP/1.1", *headers, body=body, chunks=chunks)


def stored_count(api: Api, tag: str = "upgraded") -> int:
    return len(api.get("/completions", params={"tag": tag}).json()["completions"])


@pytest.mark.parametrize("chunks", [0, 1, 7])
@pytest.mark.parametrize("name", UPGRADES)
def test_the_whole_body_and_the_next_request_are_read(serving: Served, api: Api, name: str, chunks: int) -> None:
    with connected(serving.url) as client:
        for message in (create(api, *upgrade(name), chunks=chunks), create(api), create(api, *upgrade(name))):
            client.send(message)
            answer = client.answer()

            assert answer.status == 201, answer
            assert answer.json()["tags"] == ["upgraded"]
            assert len(answer.json()["request"]["text"]) == 3000

    assert stored_count(api) == 3


@pytest.mark.parametrize("chunks", [0, 3])
@pytest.mark.parametrize("size", [1, 7, 150, 1000])
def test_the_request_may_arrive_in_any_pieces(serving: Served, api: Api, size: int, chunks: int) -> None:
    message = create(api, *upgrade(), chunks=chunks)
    pieces = [message[start : start + size] for start in range(0, len(message), size)]

    with connected(serving.url) as client:
        answer = client.send(*pieces, pause=0).answer()

    assert answer.status == 201, answer
    assert stored_count(api) == 1


def test_head_and_body_may_arrive_separately(serving: Served, api: Api) -> None:
    head, end, body = create(api, *upgrade()).partition(b"\r\n\r\n")

    with connected(serving.url) as client:
        answer = client.send(head + end, body, pause=0.2).answer()

    assert answer.status == 201, answer


def test_pipelined_requests_are_all_answered_in_order(serving: Served, api: Api) -> None:
    tags = [f"number {number}" for number in range(9)]
    message = b"".join(
        create(api, *(upgrade() if number % 3 else ()), chunks=number % 2, tag=tag) for number, tag in enumerate(tags)
    )

    with connected(serving.url) as client:
        client.send(message)
        answers = [client.answer() for _ in tags]

    assert [answer.json()["tags"] for answer in answers] == [[tag] for tag in tags]


def test_a_batch_of_lines_is_stored_and_counted(serving: Served, api: Api) -> None:
    message = request(
        api.organization.token,
        "POST /api/v1/completions/batch HTTP/1.1",
        "Content-Type: application/x-ndjson",
        *upgrade(),
        body=ROWS,
    )

    with connected(serving.url) as client:
        answer = client.send(message).answer()

    assert answer.status == 201
    assert answer.json()["rows"] == 2
    assert stored_count(api) == 2


def test_a_request_without_a_body_is_answered(serving: Served, api: Api) -> None:
    with connected(serving.url) as client:
        for _ in range(2):
            client.send(request(api.organization.token, "GET /api/v1/feedback_task HTTP/1.1", *upgrade()))
            assert client.answer().json() == []


def test_every_route_with_a_body_answers_as_it_does_without_an_upgrade(serving: Served, api: Api) -> None:
    """The bodies are not JSON, so nothing is stored, and a route that reads its body refuses it with the same message."""
    routes = [
        (method, route.path_format)
        for route in serving.app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
        if method in {"POST", "PUT", "PATCH", "DELETE"}
    ]
    assert len(routes) > 12
    wrong = []

    for method, path in routes:
        line = f"{method} {path.replace('{', '').replace('}', '')} HTTP/1.1"
        answers = []
        for headers, chunks in [((), 0), (upgrade(), 0), (upgrade("websocket"), 2)]:
            with connected(serving.url) as client:
                answers.append(
                    client.send(
                        request(api.organization.token, line, *headers, body=b'{"a" 1}', chunks=chunks)
                    ).answer()
                )
        if len({(answer.status, answer.body) for answer in answers}) != 1:
            wrong.append((line, [answer.status for answer in answers]))

    assert wrong == []


def test_a_truncated_body_leaves_nothing_behind(serving: Served, api: Api) -> None:
    for chunks in (0, 3):
        with connected(serving.url) as client:
            client.send(create(api, *upgrade(), chunks=chunks)[:-10], pause=0.1)

    assert stored_count(api) == 0


def test_a_client_that_expects_100_continue_gets_it(serving: Served, api: Api) -> None:
    head, end, body = create(api, *upgrade(), "Expect: 100-continue").partition(b"\r\n\r\n")

    with connected(serving.url) as client:
        assert client.send(head + end).answer().status == 100
        assert client.send(body).answer().status == 201


def test_the_connection_ends_when_the_client_sends_close(serving: Served, api: Api) -> None:
    message = create(api, "Connection: close, Upgrade", "Upgrade: h2c")

    with connected(serving.url) as client:
        assert client.send(message).answer().status == 201
        assert client.is_closed()


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Content-Length: 2\r\nContent-Length: 3",
        "Transfer-Encoding: gzip",
        "Content-Length: 0x2",
    ],
)
def test_invalid_framing_is_refused_with_an_upgrade_too(serving: Served, api: Api, framing: str) -> None:
    message = request(api.organization.token, "POST /api/v1/completions HTTP/1.1", *upgrade(), framing) + b"{}"

    with connected(serving.url) as client:
        client.send(message).answer().problem(400, "malformed_http")
        assert client.is_closed()


def test_a_tunnel_is_refused(serving: Served) -> None:
    with connected(serving.url) as client:
        client.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n").answer().problem(
            501, "not_implemented"
        )


def has_http2(curl: str | None) -> bool:
    return (
        curl is not None
        and "HTTP2" in subprocess.run([curl, "--version"], capture_output=True, text=True, check=True).stdout
    )


CURL = shutil.which("curl")
JAVA = shutil.which("java") if shutil.which("javac") else None


@pytest.mark.skipif(not has_http2(CURL), reason="needs a curl with HTTP2 among its features (curl --version)")
@pytest.mark.parametrize("chunked", [False, True])
def test_curl_with_http2_creates_and_sends_a_batch(serving: Served, api: Api, chunked: bool) -> None:
    shared = [str(CURL), "-sS", "-v", "--http2", "-H", f"X-Log10-Token: {api.organization.token}"]
    shared += ["-H", "Transfer-Encoding: chunked"] if chunked else []
    completion = [
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"tags":["upgraded"]}',
        f"{serving.url}/api/v1/completions",
    ]
    lines = [
        "-H",
        "Content-Type: application/x-ndjson",
        "--data-binary",
        "@-",
        f"{serving.url}/api/v1/completions/batch",
    ]

    created = subprocess.run([*shared, *completion], capture_output=True, text=True, check=True)
    batch = subprocess.run([*shared, *lines], input=ROWS.decode(), capture_output=True, text=True, check=True)

    assert "upgrade: h2c" in created.stderr.lower()
    assert json.loads(created.stdout)["tags"] == ["upgraded"]
    assert json.loads(batch.stdout)["rows"] == 2
    assert stored_count(api) == 3


JAVA_PROGRAM = """
import java.net.URI;
import java.net.http.*;

public class Upgrading {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String body : new String[] {"{\\"tags\\":[\\"upgraded\\"]}\\n", "{\\"tags\\":[\\"upgraded\\"]}\\n{\\"tags\\":[]}\\n"}) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/api/v1/completions/batch"))
                .header("X-Log10-Token", arguments[1]).header("Content-Type", "application/x-ndjson")
                .POST(HttpRequest.BodyPublishers.ofString(body)).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@pytest.mark.skipif(JAVA is None, reason="needs a Java development kit of version 11 or newer")
def test_the_http_client_of_java_sends_two_batches(serving: Served, api: Api, tmp_path: Path) -> None:
    source = tmp_path / "Upgrading.java"
    source.write_text(JAVA_PROGRAM)

    result = subprocess.run(
        [str(JAVA), str(source), serving.url, api.organization.token],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first.startswith("201 ")
    assert json.loads(first[4:])["rows"] == 1
    assert json.loads(second[4:])["rows"] == 2


def test_a_client_that_requests_an_upgrade_every_time_is_served(serving: Served, api: Api) -> None:
    client = Client(serving.url)
    try:
        for _ in range(50):
            assert client.send(create(api, *upgrade())).answer().status == 201
    finally:
        client.close()
