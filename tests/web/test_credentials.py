"""The headers that identify the caller, as they come over the wire, and the answers to callers without a valid token."""

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.conftest import Api, Served, problem
from tests.web.test_authentication import answered

MISSING = "The header X-Log10-Token is missing: every call needs a token of your organization."
UNKNOWN = "The token is unknown or revoked."
WRONG_HEADER = "Send the token in the header X-Log10-Token. The header Authorization is not read here."


def status(served: Served, *headers: bytes, path: bytes = b"/api/v1/feedback_task") -> int:
    """The status of a call whose headers are sent as they are, which no HTTP client does."""
    parts = urlsplit(served.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", *headers, b"", b""]))
        return answered(raw)[0]


def test_white_space_around_a_token_is_no_part_of_it(serving: Served, api: Api) -> None:
    token = api.organization.token.encode()
    for before, after in [(b"", b""), (b" ", b" "), (b"   ", b"\t"), (b"\t", b"   "), (b" \t ", b""), (b"", b" \t ")]:
        assert status(serving, b"X-Log10-Token:" + before + token + after) == 200, (before, after)


@pytest.mark.parametrize("name", [b"X-Log10-Organization", b"X-Log10-Organization-Id"])
def test_white_space_around_an_organization_is_no_part_of_it(serving: Served, api: Api, name: bytes) -> None:
    token = b"X-Log10-Token: " + api.organization.token.encode()

    for organization in [api.organization.id, api.organization.slug]:
        for around in [b"%s", b" %s ", b"\t%s\t", b"   %s   "]:
            assert status(serving, token, name + b":" + around % organization.encode()) == 200
    assert status(serving, token, name + b": another ") == 403
    assert status(serving, token, name + b": \t ") == 200


def test_the_same_token_with_and_without_white_space_is_one_token(serving: Served, api: Api) -> None:
    token = api.organization.token.encode()

    assert status(serving, b"X-Log10-Token: " + token, b"x-log10-token:\t" + token + b" ") == 200
    assert status(serving, b"X-Log10-Token: " + token, b"X-Log10-Token: another") == 401


def test_white_space_inside_a_token_is_a_part_of_it(serving: Served, api: Api) -> None:
    token = api.organization.token.encode()

    assert status(serving, b"X-Log10-Token: " + token[:4] + b" " + token[4:]) == 401


def test_missing_and_unknown_tokens_are_told_in_different_words(serving: Served, subtests: pytest.Subtests) -> None:
    for path in ["/api/v1/completions", "/api/completions", "/api/nothing", "/graphql"]:
        for headers, detail in [
            ({}, MISSING),
            ({"X-Log10-Token": ""}, MISSING),
            ({"X-Log10-Token": "unknown"}, UNKNOWN),
            ({"X-Log10-Token": "unknown", "Authorization": "Bearer unknown"}, UNKNOWN),
        ]:
            with subtests.test(path=path, headers=headers):
                answer = httpx.get(serving.url + path, headers=headers)

                assert problem(answer, 401, "unauthorized")["detail"] == detail


def test_a_token_in_authorization_is_answered_with_the_header_that_is_read(
    serving: Served, api: Api, subtests: pytest.Subtests
) -> None:
    for path in ["/api/v1/completions", "/api/completions", "/graphql"]:
        for scheme in ["Bearer ", "bearer ", "Basic ", ""]:
            with subtests.test(path=path, scheme=scheme):
                answer = httpx.get(serving.url + path, headers={"Authorization": scheme + api.organization.token})

                assert problem(answer, 401, "unauthorized")["detail"] == WRONG_HEADER
                assert api.organization.token not in answer.text
