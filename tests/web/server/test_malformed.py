"""Data that is not valid HTTP/1.1 is refused with a problem, after the answers to the requests before it."""

import pytest

from tests.conftest import Api, Served
from tests.web.server.raw_http import connected, request

CREATE = "POST /api/v1/completions HTTP/1.1"

MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a method that does not exist": b"FOO /healthz HTTP/1.1\r\n\r\n",
    "no version": b"GET /healthz\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a request of HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    "another protocol": b"GET /healthz SIP/2.0\r\n\r\n",
    "a space in the target": b"GET /healthz and more HTTP/1.1\r\nHost: x\r\n\r\n",
    "UTF-8 in the target": "GET /api/v1/completions/ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "UTF-8 in the query": "GET /api/v1/completions?tag=ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "NUL in the target": b"GET /health\0z HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is no path": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: x\0y\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
    "a bracket in a header's name": b"GET /healthz HTTP/1.1\r\nHo(st: x\r\n\r\n",
    "UTF-8 in a header's name": "GET /healthz HTTP/1.1\r\nHöst: x\r\n\r\n".encode(),
    "a header without a name": b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nHost\r\n\r\n",
    "a header over two lines": b"GET /healthz HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "lines that end in a line feed": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "a carriage return in a header": b"GET /healthz HTTP/1.1\r\nHost: x\ry\r\n\r\n",
}
FRAMINGS = {
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 2",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3",
    "one length twice": b"Content-Length: 2\r\nContent-Length: 2",
    "a list of lengths": b"Content-Length: 2, 2",
    "a length with a sign": b"Content-Length: +2",
    "a negative length": b"Content-Length: -2",
    "a length in hexadecimal": b"Content-Length: 0x2",
    "a length with a fraction": b"Content-Length: 2.0",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999999",
    "no length": b"Content-Length:",
    "an unknown encoding": b"Transfer-Encoding: nonsense",
    "the encoding identity": b"Transfer-Encoding: identity",
    "chunks before another encoding": b"Transfer-Encoding: chunked, gzip",
    "chunks twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "a name that ends in chunked": b"Transfer-Encoding: xchunked",
}
CHUNKS = {
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "a size that is no number": b"z\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"fffffffffffffffff\r\n{}",
    "a size that is too small": b"1\r\n{}\r\n0\r\n\r\n",
    "lines that end in a line feed": b"2\n{}\n0\n\n",
    "a space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_malformed_data_is_refused_with_a_problem_and_ends_the_connection(
    serving: Served, name: str, in_pieces: bool
) -> None:
    message = MALFORMED[name]
    pieces = [message[start : start + 5] for start in range(0, len(message), 5)] if in_pieces else [message]

    with connected(serving.url) as client:
        answer = client.send(*pieces, pause=0).answer()

        answer.problem(400, "malformed_http")
        assert answer.headers["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_body_whose_end_is_not_clear_is_refused_and_not_stored(serving: Served, api: Api, name: str) -> None:
    head = request(api.organization.token, CREATE).removesuffix(b"\r\n")

    with connected(serving.url) as client:
        client.send(head + FRAMINGS[name] + b"\r\n\r\n{}").answer().problem(400, "malformed_http")
        assert client.is_closed()

    assert api.get("/completions").json()["completions"] == []


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("pause", [None, 0.1])
def test_malformed_chunks_are_refused_and_not_stored(serving: Served, api: Api, name: str, pause: float | None) -> None:
    head = request(api.organization.token, CREATE, "Transfer-Encoding: chunked")
    pieces = [head + CHUNKS[name]] if pause is None else [head, CHUNKS[name]]

    with connected(serving.url) as client:
        client.send(*pieces, pause=pause or 0).answer().problem(400, "malformed_http")
        assert client.is_closed()

    assert api.get("/completions").json()["completions"] == []


def test_malformed_data_is_answered_after_the_requests_before_it(serving: Served, api: Api) -> None:
    """If the refusal came first, the client would take it for the answer to another request."""
    create = request(api.organization.token, CREATE, body=b'{"tags":["before"]}')

    with connected(serving.url) as client:
        client.send(create * 3 + b"FOO / HTTP/1.1\r\n\r\n" + create)
        answers = [client.answer() for _ in range(4)]

        assert [answer.status for answer in answers] == [201, 201, 201, 400]
        answers[3].problem(400, "malformed_http")
        assert client.is_closed()
    assert len(api.get("/completions").json()["completions"]) == 3


def test_a_malformed_body_is_answered_after_the_requests_before_it(serving: Served, api: Api) -> None:
    create = request(api.organization.token, CREATE, body=b'{"tags":["before"]}')
    broken = request(api.organization.token, CREATE, "Transfer-Encoding: chunked") + b"z\r\n"

    with connected(serving.url) as client:
        client.send(create + create + broken)

        assert [client.answer().status for _ in range(3)] == [201, 201, 400]
        assert client.is_closed()
    assert len(api.get("/completions").json()["completions"]) == 2


def test_a_detail_says_what_is_wrong(serving: Served) -> None:
    with connected(serving.url) as client:
        detail = client.send(MALFORMED["a space before the colon"]).answer().problem(400, "malformed_http")["detail"]

    assert "header" in detail


def test_a_trailer_is_not_a_header(serving: Served, api: Api) -> None:
    """Trailers arrive after authentication, so a token or a media type in them must be ignored."""
    without_a_token = (
        b"POST /api/v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    trailer = f"X-Log10-Token: {api.organization.token}\r\n\r\n".encode()

    with connected(serving.url) as client:
        client.send(without_a_token + trailer).answer().problem(401, "unauthorized")


def test_trailers_and_chunk_extensions_are_accepted_and_ignored(serving: Served, api: Api) -> None:
    head = request(api.organization.token, CREATE, "Transfer-Encoding: chunked")
    body = b'2;name=value;other="quoted"\r\n{}\r\n0;last\r\nExpires: never\r\nContent-Type: text/plain\r\n\r\n'

    with connected(serving.url) as client:
        for _ in range(2):
            assert client.send(head + body).answer().status == 201


# Valid messages


@pytest.mark.parametrize(
    "authority", ["http://localhost", "http://127.0.0.1:1", "https://user@example.com", "HTTP://[::1]:80"]
)
def test_a_target_in_absolute_form_is_served(serving: Served, api: Api, authority: str) -> None:
    with connected(serving.url) as client:
        message = request(api.organization.token, f"POST {authority}/api/v1/completions?x=y HTTP/1.1", body=b"{}")
        assert client.send(message).answer().status == 201
        for target in ("/", authority, f"{authority}?a=b"):  # without a path, it is `/`
            assert client.send(request(api.organization.token, f"GET {target} HTTP/1.1")).answer().status == 307


def test_the_target_of_options_for_the_whole_server_has_no_path(serving: Served) -> None:
    with connected(serving.url) as client:
        assert client.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").answer().status in (401, 404)


@pytest.mark.parametrize("chunks", [0, 2])
def test_http_1_0_is_served_and_its_connection_ends(serving: Served, api: Api, chunks: int) -> None:
    message = request(
        api.organization.token, "POST /api/v1/completions HTTP/1.0", body=b'{"tags":["old"]}', chunks=chunks
    )

    with connected(serving.url) as client:
        answer = client.send(message).answer()

        assert answer.status == 201
        assert answer.json()["tags"] == ["old"]
        assert client.is_closed()


def test_empty_lines_before_a_request_are_ignored(serving: Served) -> None:
    with connected(serving.url) as client:
        for _ in range(2):
            assert client.send(b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200


def test_thousands_of_pipelined_requests_are_answered_in_order(serving: Served, api: Api) -> None:
    """The server stops reading until the client has read its answers, so it never keeps many of them in memory."""
    count = 3000
    token = api.organization.token
    messages = [request(token, f"GET /api/v1/completions/number-{number} HTTP/1.1") for number in range(count)]

    with connected(serving.url) as client:
        client.socket.setblocking(True)
        sent = 0
        for start in range(0, count, 500):
            client.send(b"".join(messages[start : start + 500]))
            sent += 500
        statuses = [client.answer().status for _ in range(count)]

    assert statuses == [404] * count


@pytest.mark.parametrize("chunks", [0, 3])
def test_a_large_body_ends_where_the_next_request_begins(serving: Served, api: Api, chunks: int) -> None:
    token = api.organization.token
    body = b'{"tags": ["large"], "request": {"text": "' + b"x" * 300_000 + b'"}}'
    messages = [
        request(token, CREATE, body=body, chunks=chunks),
        *[request(token, "GET /api/v1/completions/missing HTTP/1.1") for _ in range(5)],
    ]

    with connected(serving.url) as client:
        client.send(b"".join(messages * 2))
        statuses = [client.answer().status for _ in range(2 * len(messages))]

    assert statuses == [201, *[404] * 5] * 2
    assert len(api.get("/completions", params={"tag": "large"}).json()["completions"]) == 2
