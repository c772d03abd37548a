"""The upload address of a test report, over IPv6 and without a `Host` header."""

import json
import socket

import pytest

from tests.running import Program
from tests.web.server.raw_http import connected

MUTATION = """mutation CreateTestRun($input: CreateTestRunInput!) {
  createTestRun(input: $input) { id name reportUploadUrl createdAt organization { slug } }
}"""


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs the loopback address ::1")
def test_a_report_can_be_uploaded_to_the_address_in_an_answer_without_a_host(on_sqlite: Program) -> None:
    """Without brackets around the IPv6 address, no client could parse the URL."""
    served = on_sqlite.serve(LOG10_SERVER_HOST="::1")
    exported = served.exported()
    variables = {"input": {"name": "a run", "organizationId": exported["LOG10_ORG_ID"]}}
    body = json.dumps({"query": MUTATION, "variables": variables}).encode()
    head = f"POST /graphql HTTP/1.0\r\nX-Api-Token: {exported['LOG10_TOKEN']}\r\nContent-Length: {len(body)}\r\n\r\n"

    with connected(served.url) as client:
        run = client.send(head.encode() + body).answer().json()["data"]["createTestRun"]
    address = run["reportUploadUrl"]
    with connected(served.url) as client:
        line = f"PUT {address} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
        uploaded = client.send(line.encode() + b"{}").answer()

    assert address.startswith(served.url + "/")
    assert served.url.startswith("http://[::1]:")
    assert uploaded.status < 300, uploaded
