"""What one organization does, within its limits or against them, while another one is to be served as always."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import bodies
from benchmarks.cases import BATCH_PATH, VALUES
from benchmarks.client import Client
from benchmarks.crowds import Clients, Request, get, post
from benchmarks.history import MEASURED_TASK
from benchmarks.parts.starvation import new_schema
from benchmarks.servers import OTHER_TOKEN
from log10_server.settings import Limits

_MIB = 1 << 20
_NDJSON = "application/x-ndjson"
_LIST = get("/api/v1/completions?limit=1")
_CREATE = post("/api/v1/completions", bodies.marked_completion(2500, 1))
_LARGE_ROWS = 100  # of a megabyte each
_HUGE_ROWS = 20  # as large as a body may be
_STALLED_BYTES = 384 * _MIB
_LIMITS = Limits()  # the defaults, with which the server runs


@dataclass(frozen=True)
class Scenario:
    """`crowd` prepares what the first organization needs, and returns its clients. `probes` are further calls of the other."""

    name: str
    crowd: Callable[[Client], Sequence[Clients]]
    probes: Sequence[Clients] = ()


def probes() -> list[Clients]:
    """The cheap calls of the other organization, and of a health check."""
    return [_probe("list", [_LIST]), _probe("create", [_CREATE]), _probe("health", [get("/healthz")])]


def _probe(name: str, requests: Sequence[Request]) -> Clients:
    return Clients(name, 2, requests, OTHER_TOKEN, interval=0.1)


def scenarios() -> list[Scenario]:
    """They run in this order, because later ones read what earlier ones wrote."""
    heavy_usage = f"/api/v1/usage?group_by=tag&tag={bodies.COMMON_TAG}"
    small_batch = post(BATCH_PATH, f"{bodies.text(bodies.marked_completion(600, 1))}\n" * 10, _NDJSON)
    graphql = "{organization{feedbackV2(limit:10000){nodes{id completions{id}}}}}"
    checked = _probe("new task with a pattern, and feedback", new_schema("^[a-z]+$", "word"))
    return [
        Scenario("nothing", lambda _client: []),
        Scenario("32 clients that create", lambda _client: [Clients("create", 32, [_CREATE])]),
        Scenario("4 clients with batches of as many tags as are allowed", _linked_batches),
        Scenario("16 clients that upload feedback with as many matches as are allowed", _matching_uploads),
        Scenario("8 lists of 10 000 feedback by GraphQL", lambda _: [Clients("GraphQL", 8, [post("/graphql", {"query": graphql})])]),
        Scenario("8 usage by tag", lambda _: [Clients("usage", 8, [get(heavy_usage)])]),
        Scenario("16 searches of tags", lambda _: [Clients("search", 16, [get("/api/tags/search?query=7f"), get("/api/tags/search?query=zzz")])]),
        Scenario("4 exports", lambda _: [Clients("export", 4, [get("/api/v1/export")])]),
        Scenario("1 500 connections with random tokens", _random_tokens),
        Scenario("2 400 connections that create", lambda _: [Clients("create", 2400, [_CREATE])]),
        Scenario("30 clients with new slow schemas", _slow_schemas, [checked]),
        Scenario("384 MiB of the largest bodies without their last byte", _stalled_bodies),
        Scenario("384 MiB of the largest batches without their last byte", _stalled_batches, [_probe("batch of ten", [small_batch])]),
        Scenario("20 lists of 100 MB that nobody reads", _unread_lists),
        Scenario("2 lists of 20 of the largest completions", _huge_lists),
    ]  # fmt: skip


def _linked_batches(_client: Client) -> list[Clients]:
    """Batches with as many links as are allowed: few tags on many rows, and many tags on few rows. All tags are new."""

    def batch(rows: int, tags: int) -> Clients:
        names = [f"link-{bodies.OWN_TAG_MARK}-{number}" for number in range(rows * tags)]
        lines = (bodies.text({"kind": "chat", "tags": names[row * tags : (row + 1) * tags]}) for row in range(rows))
        return Clients(f"{rows} x {tags} tags", 2, [post(BATCH_PATH, "".join(f"{line}\n" for line in lines), _NDJSON)])

    wide = min(_LIMITS.batch_links // _LIMITS.tags, _LIMITS.batch_rows)
    return [
        batch(_LIMITS.batch_rows, min(_LIMITS.batch_links // _LIMITS.batch_rows, _LIMITS.tags)),
        batch(wide, _LIMITS.tags),
    ]


def _matching_uploads(client: Client) -> list[Clients]:
    """Feedback by a selector that matches as many completions as are allowed."""
    matches, tag = _LIMITS.matched_completions, f"matched-{time.time_ns()}"
    for first in range(0, matches, _LIMITS.batch_rows):
        rows = min(_LIMITS.batch_rows, matches - first)
        client.done("POST", BATCH_PATH, f'{{"kind":"chat","tags":["{tag}"]}}\n' * rows, media_type=_NDJSON)
    upload = {
        "task_id": MEASURED_TASK,
        "json_values": VALUES,
        "completion_tags_selector": [tag],
        "max_matched_completions": matches,
    }
    return [Clients(f"{matches} matches", 16, [post("/api/v1/feedback", upload)])]


def _random_tokens(_client: Client) -> list[Clients]:
    return [Clients("random token", 1500, [_LIST], token=f"random-{bodies.OWN_TAG_MARK}")]


def _slow_schemas(_client: Client) -> list[Clients]:
    return [Clients("slow schema", 30, new_schema("^(a+)+$", "a" * 40 + "!"))]


def _stalled_bodies(_client: Client) -> list[Clients]:
    size = _LIMITS.body_bytes - _MIB // 2
    body = bodies.text({"kind": "chat", "request": {"text": "x" * size}})
    return [Clients("stalled", _STALLED_BYTES // size, [post("/api/v1/completions", body)], behavior="stall")]


def _stalled_batches(_client: Client) -> list[Clients]:
    size = _LIMITS.batch_bytes - _MIB // 2
    row = bodies.text({"kind": "chat", "request": {"text": "x" * (size // 2)}}) + "\n"
    return [Clients("stalled", _STALLED_BYTES // size, [post(BATCH_PATH, row * 2, _NDJSON)], behavior="stall")]


def _unread_lists(client: Client) -> list[Clients]:
    _fill(client, "large", _LARGE_ROWS, 1_000_000)
    return [Clients("unread", 20, [get(f"/api/v1/completions?tag=large&limit={_LARGE_ROWS}")], behavior="leave unread")]


def _huge_lists(client: Client) -> list[Clients]:
    _fill(client, "huge", _HUGE_ROWS, _LIMITS.body_bytes - _MIB // 2)
    return [Clients("list", 2, [get(f"/api/v1/completions?tag=huge&limit={_HUGE_ROWS}")])]


def _fill(client: Client, tag: str, rows: int, size: int) -> None:
    for _ in range(rows):
        client.done("POST", "/api/v1/completions", {"tags": [tag], "request": {"text": "x" * size}})
