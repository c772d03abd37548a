"""Many rows in one call: all of them or none, the rules of single rows, and a pointer to every fault (docs/api.md, "Completions")."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

import httpx
import pytest

from log10_server.db.database import Database
from log10_server.settings import Limits, Settings
from tests.concurrency.consistency import everything_agrees
from tests.conftest import Api, Served, paths, problem, serve
from tests.web.test_authentication import answered, connection, head
from tests.web.test_bad_input import counted
from tests.web.v1.test_completions import CLOSING, OPENING, client_fields

LINES = "application/x-ndjson"
Rows = Sequence[dict[str, Any]]


def as_array(rows: Rows) -> dict[str, Any]:
    return {"content": json.dumps(rows).encode(), "headers": {"Content-Type": "application/json"}}


def as_lines(rows: Rows) -> dict[str, Any]:
    return {"content": "\n".join(map(json.dumps, rows)).encode(), "headers": {"Content-Type": LINES}}


def lines(api: Api, content: bytes | str) -> httpx.Response:
    return api.post("/completions/batch", content=content, headers={"Content-Type": LINES})


def array(api: Api, content: bytes | str) -> httpx.Response:
    return api.post("/completions/batch", content=content)


@pytest.fixture(params=[as_array, as_lines])
def spelled(request: pytest.FixtureRequest) -> Callable[[Rows], dict[str, Any]]:
    """Both ways to send a batch."""
    spelling: Callable[[Rows], dict[str, Any]] = request.param
    return spelling


Spelled = Callable[[Rows], dict[str, Any]]


@pytest.fixture(scope="module")
def wide(migrated: Database) -> Iterator[Served]:
    """A server whose operator allows larger batches than the default."""
    yield from serve(migrated, Settings(limits=Limits(batch_rows=10_000, batch_links=100_000, batch_bytes=128 << 20)))


@pytest.fixture
def wide_api(wide: Served, api: Api) -> Iterator[Api]:
    with Api(wide.url, api.organization) as client:
        yield client


def stored(api: Api, sent: dict[str, Any]) -> list[str]:
    """The ids that a batch was answered with."""
    answer = api.post("/completions/batch", **sent)
    assert answer.status_code == 201, answer.text
    assert answer.json()["rows"] == len(answer.json()["ids"])
    assert answer.json().keys() == {"rows", "ids"}
    return list(answer.json()["ids"])


# Stored


def test_every_row_is_stored_and_the_ids_are_in_the_order_of_the_rows(api: Api, spelled: Spelled) -> None:
    rows: Rows = [
        {"id": "b", "tags": ["x"], "request": {"model": "m", "n": 1}},
        {"response": {"a": None}},
        {"id": "a", "session_id": "s", "duration": 1.5},
    ]

    ids = stored(api, spelled(rows))

    assert (ids[0], ids[2]) == ("b", "a")
    assert uuid.UUID(ids[1]).version == 7
    for completion_id, row in zip(ids, rows, strict=True):
        alone = client_fields(api.completion(**{**row, "id": f"alone-{completion_id}"}))
        assert client_fields(api.get(f"/completions/{completion_id}").json()) == alone
    assert api.get("/sessions/s").status_code == 200


def test_no_rows_are_a_batch(api: Api) -> None:
    for answer in (array(api, b" [ ] "), lines(api, b"\n"), lines(api, b"\n \n")):
        assert (answer.status_code, answer.json()) == (201, {"rows": 0, "ids": []})


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson", ""])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_zero_bytes_is_no_batch(api: Api, media_type: str, chunked: bool) -> None:
    """A client whose body was lost on its way used to get 201 with 0 rows, as if it had been stored."""
    body = iter([b""]) if chunked else b""

    answer = api.post("/completions/batch", content=body, headers={"Content-Type": media_type})

    assert "empty" in problem(answer, 400, "not_json")["detail"]


def test_blank_lines_are_no_rows_and_the_last_line_needs_no_end(api: Api) -> None:
    answer = lines(api, b'\xef\xbb\xbf\n{"id":"a"}\r\n\n  \n{"id":"b"}\n\t{"id":"c"} ')

    assert answer.json()["ids"] == ["a", "b", "c"]


def test_json_lines_go_by_several_names(api: Api, subtests: pytest.Subtests) -> None:
    for media_type in [
        LINES,
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "Application/X-NDJSON; charset=UTF-8",
    ]:
        with subtests.test(media_type=media_type):
            answer = api.post("/completions/batch", content=b"{}\n{}", headers={"Content-Type": media_type})

            assert answer.json()["rows"] == 2


def test_payloads_come_back_exactly(api: Api) -> None:
    request = '{"z":1e400,"a":[0.10,"\\u0000\\ud83d",null],"é":{"z":1,"a":2}}'

    for number, answer in enumerate(
        [array(api, f'[{{"id":"0","request":{request}}}]'), lines(api, f'{{"id":"1","request":{request}}}')]
    ):
        assert answer.status_code == 201, answer.text
        assert f'"request":{request}' in api.get(f"/completions/{number}").text


@pytest.mark.parametrize("rows", [*permutations([OPENING, CLOSING, {"status": "started", "kind": "chat"}])])
def test_rows_of_one_id_merge_in_their_order_as_single_rows_do(
    api: Api, spelled: Spelled, rows: tuple[dict[str, Any], ...]
) -> None:
    for row in rows:
        api.completion(id="alone", **row)

    ids = stored(api, spelled([{"id": "c", **row} for row in rows]))

    assert ids == ["c"] * 3
    assert client_fields(api.get("/completions/c").json()) == client_fields(api.get("/completions/alone").json())


def test_rows_merge_into_what_is_stored(api: Api, spelled: Spelled) -> None:
    first = api.completion(id="c", **OPENING)

    stored(api, spelled([{"id": "c", "duration": 2}, {"id": "d"}, {"id": "c", "tags": []}]))

    assert api.get("/completions/c").json() == {**first, "duration": 2, "tags": []}


def test_rows_of_one_id_merge_however_far_apart_they_stand(wide_api: Api) -> None:
    """More rows than go to the database in one statement."""
    api = wide_api
    rows: Rows = [{"id": "c", **OPENING}, *({"id": f"r-{n}"} for n in range(1200)), {"id": "c", **CLOSING}]

    ids = stored(api, as_lines(rows))

    assert ids == [row["id"] for row in rows]
    assert client_fields(api.get("/completions/c").json()) == {**OPENING, **CLOSING}


def test_rows_are_listed_newest_last_row_first(api: Api, spelled: Spelled) -> None:
    ids = stored(api, spelled([{"tags": ["t"]}] * 5))

    listed = [completion["id"] for completion in api.get("/completions", params={"tag": "t"}).json()["completions"]]

    assert listed == ids[::-1] == sorted(ids, reverse=True)


def test_a_body_may_come_in_parts_of_any_size(api: Api, spelled: Spelled) -> None:
    sent = spelled(
        [{"id": "é", "tags": ['",}]\\']}, {"id": "b", "request": {"a": [{}, "\\"]}}, {"id": "é", "tags": ["x"]}]
    )
    content = sent.pop("content")

    for size in (1, 7, len(content)):
        parts = iter([content[start : start + size] for start in range(0, len(content), size)])
        assert stored(api, {**sent, "content": parts}) == ["é", "b", "é"]


def test_a_large_batch_is_stored_whole(wide_api: Api, database: Database) -> None:
    api = wide_api
    rows = [{"id": f"c-{n}", "tags": ["large", f"t-{n % 7}"], "request": {"a": "x" * 2000}} for n in range(1500)]

    assert stored(api, as_array(rows)) == [row["id"] for row in rows]

    assert counted(database)["completion"] == 1500
    assert counted(database)["completion_tag"] == 3000


# Ungraded


def test_what_wants_feedback_is_kept_as_for_single_rows(api: Api, spelled: Spelled) -> None:
    task = api.task(["a"])
    api.task(["a", "b"], id="both")
    api.completion(id="old", tags=["a", "b"])
    api.completion(id="graded", tags=["a"])
    api.upload(task["id"], completion_ids=["graded"])
    rows: Rows = [
        {"id": "x", "tags": ["a"]},
        {"id": "y", "tags": ["b", "a"]},
        {"id": "z", "tags": ["b"]},
        {"id": "old", "tags": ["b"]},
        {"id": "graded", "tags": ["a", "b"]},
        {"id": "x", "tags": []},
        {"id": "w", "tags": ["a"]},
    ]

    stored(api, spelled(rows))

    assert api.ungraded(task_id=task["id"]) == ["w", "y"]
    assert api.ungraded(task_id="both") == ["y", "graded"]
    everything_agrees(api)


# Refused


def test_one_wrong_row_and_nothing_is_stored(wide_api: Api, database: Database, spelled: Spelled) -> None:
    api = wide_api
    api.completion(id="old", tags=["a"])
    before = counted(database)
    rows = [{"tags": [f"t-{n}"], "session_id": f"s-{n}"} for n in range(700)]

    answer = api.post("/completions/batch", **spelled([{"id": "old", "tags": ["b"]}, *rows, {"tags": [5]}]))

    assert paths(answer, 422, "invalid") == ["/701/tags/0"]
    assert counted(database) == before
    assert api.get("/completions/old").json()["tags"] == ["a"]


def test_every_fault_of_every_row_is_told_by_its_place(api: Api, spelled: Spelled) -> None:
    rows: Any = [{}, {"kind": "x", "tags": ["ok", 5, None]}, {}, [], 7, None, {"id": "a/b", "request": []}]

    answer = api.post("/completions/batch", **spelled(rows))

    assert paths(answer) == ["/1/kind", "/1/tags/1", "/1/tags/2", "/3", "/4", "/5", "/6/id", "/6/request"]
    assert "/1/kind: " in answer.json()["detail"]
    assert "and 5 more" in answer.json()["detail"]


def test_the_first_hundred_faults_are_listed_and_the_others_counted(api: Api, spelled: Spelled) -> None:
    rows: Rows = [{"tags": [1, 2, 3]}, *[{"kind": "x"}] * 499]

    answer = api.post("/completions/batch", **spelled(rows))

    assert paths(answer) == ["/0/tags/0", "/0/tags/1", "/0/tags/2", *(f"/{number}/kind" for number in range(1, 98))]
    assert "and 499 more. The first 100 are listed." in answer.json()["detail"]


def test_an_array_that_says_it_is_json_lines_is_told_how_to_be_sent(api: Api) -> None:
    answer = lines(api, '[{"tags":["a"]}]')

    assert paths(answer) == ["/0"]
    assert "application/json" in answer.text


def test_nesting_is_limited_in_each_row(api: Api, spelled: Spelled) -> None:
    def nested(levels: int) -> str:
        return '{"request":' + '{"a":' * (levels - 1) + "1" + "}" * levels

    for levels in (201, 1500, 100_000):
        for answer in (array(api, f"[{{}},{nested(levels)},5]"), lines(api, f"{{}}\n{nested(levels)}\n5")):
            assert paths(answer) == ["/1", "/2"]
            assert "200 levels" in answer.text
    assert array(api, f"[{nested(200)}]").status_code == 201


def test_a_line_that_is_not_json_is_named(api: Api, database: Database, subtests: pytest.Subtests) -> None:
    for text, detail in [
        ('{}\n{"a":1 "b"}\n{"tags":5}', "Row 1 is not JSON: Expecting ',' or '}' at line 2, column 8."),
        ('\n\n{}\n\n{"é":}', "Row 1 is not JSON: Expecting value at line 5, column 6."),
        ('{"a":NaN}', "Row 0 (line 1): Not JSON: NaN is not JSON."),
        ("{}{}", "Row 0 is not JSON: Extra data at line 1, column 3."),
        ("[\n{}\n]", "Row 0 is not JSON: Expecting value at line 1, column 2."),
    ]:
        with subtests.test(text=text, detail=detail):
            before = counted(database)

            assert problem(lines(api, text), 400, "not_json")["detail"] == detail

            assert counted(database) == before


def test_an_array_that_is_not_json_says_where(api: Api, subtests: pytest.Subtests) -> None:
    for text, detail in [
        ('[{}, {"a":1 "b"}, {"tags":5}]', "Row 1 is not JSON: Expecting ',' or '}' at byte 12."),
        ('[{"é":1}, {"é":}]', "Row 1 is not JSON: Expecting value at byte 17."),
        ("[{},]", "Row 1 is not JSON: Expecting value at byte 4."),
        ("[{},,{}]", "Row 1 is not JSON: Expecting value at byte 4."),
        ("[{}", "Not JSON: the array is not closed. The body ends at byte 3."),
        ("[{}]]", "Not JSON: Extra data at byte 4."),
        ("[{}] [{}]", "Not JSON: Extra data at byte 5."),
        (
            '{"a":1}\n{"b":2}',
            "Not JSON: Extra data at line 2, column 1. JSON Lines are sent as application/x-ndjson.",
        ),
        ("", "The body is empty: a batch without rows is the array []."),
    ]:
        with subtests.test(text=text, detail=detail):
            for size in (1, len(text) or 1):
                parts = iter([text[start : start + size].encode() for start in range(0, len(text), size)])

                answer = api.post("/completions/batch", content=parts)

                assert problem(answer, 400, "not_json")["detail"] == detail


def test_json_that_is_no_array_is_invalid_as_a_whole(api: Api, subtests: pytest.Subtests) -> None:
    for text in ["{}", ' {"id":"a"}', "null", "1", '"[]"']:
        with subtests.test(text=text):
            answer = array(api, text)

            assert paths(answer) == [""]
            assert "application/x-ndjson" in answer.json()["detail"]


def test_the_same_batch_has_the_same_answer_wherever_it_is_cut(api: Api) -> None:
    """One call for each byte at which it can be cut in two, right and wrong."""
    right = '\ufeff [ {"id":"é\\"","tags":["]\\\\"]},{"id":"b"} , {"id":"b","request":{"a":[1,{}]}} ] '
    wrong = right.replace('{"id":"b"}', '{"id":1}').replace("[1,{}]", "[1,{]")
    for text, status in ((right, 201), (wrong, 400)):
        content = text.encode()
        whole = array(api, content)
        assert whole.status_code == status
        for cut in range(len(content) + 1):
            parts = iter([content[:cut], content[cut:]])
            assert api.post("/completions/batch", content=parts).text == whole.text


# Whose


def test_a_row_that_names_another_organization_is_refused_with_all_others(
    api: Api, other_api: Api, database: Database, spelled: Spelled
) -> None:
    before = counted(database)
    own, other = api.organization, other_api.organization

    wrong: list[Any] = [other.id, other.slug, 5, []]
    for named in wrong:
        rows: Rows = [
            {"organization_id": own.slug},
            {"organization_id": None},
            {"tags": 5},
            {"organization_id": named},
        ]
        answer = api.post("/completions/batch", **spelled(rows))

        assert "Row 3" in problem(answer, 403, "wrong_organization")["detail"]
    assert counted(database) == before
    assert len(stored(api, spelled([{"organization_id": name} for name in (own.id, own.slug, "", None)]))) == 4


def test_ids_of_another_organization_make_rows_of_ones_own(api: Api, other_api: Api, spelled: Spelled) -> None:
    other_api.completion(id="c", tags=["theirs"])

    stored(api, spelled([{"id": "c", "duration": 1}]))

    assert api.get("/completions/c").json()["tags"] == []
    assert other_api.get("/completions/c").json()["tags"] == ["theirs"]


# Limits and order


@pytest.fixture(scope="module")
def narrow(migrated: Database) -> Iterator[Served]:
    """A server that takes 5 rows of 2 KiB, and 8 KiB and 7 tags in all."""
    yield from serve(migrated, Settings(limits=Limits(batch_rows=5, batch_links=7, batch_bytes=8192, body_bytes=2048)))


@pytest.fixture
def tight(narrow: Served, api: Api) -> Iterator[Api]:
    with Api(narrow.url, api.organization) as client:
        yield client


def padded(size: int) -> dict[str, Any]:
    """A row of this many bytes as JSON."""
    return {"request": {"a": "x" * (size - 22)}}


def test_as_many_rows_as_allowed_are_taken(tight: Api, spelled: Spelled) -> None:
    assert len(stored(tight, spelled([{}] * 5))) == 5


def test_more_rows_than_allowed_are_too_large(tight: Api, database: Database, spelled: Spelled) -> None:
    before = counted(database)

    answer = tight.post("/completions/batch", **spelled([{}] * 6))

    assert "more than 5 rows" in problem(answer, 413, "too_large")["detail"]
    assert counted(database) == before


def test_more_tags_in_all_rows_than_allowed_are_too_large(tight: Api, database: Database, spelled: Spelled) -> None:
    """1 000 rows with 1 000 tags each were one transaction, and nobody else could write for 18 seconds."""
    assert len(stored(tight, spelled([{"tags": ["a", "b"]}, {}, {"tags": ["a", "b", "c", "d", "e"]}]))) == 3
    before = counted(database)

    answer = tight.post("/completions/batch", **spelled([{"tags": ["a"] * 4}, {"tags": ["b", "c", "d", "e"]}]))

    assert "more than 7 tags" in problem(answer, 413, "too_large")["detail"]
    assert counted(database) == before


def test_each_row_may_be_as_long_as_a_body(tight: Api, spelled: Spelled) -> None:
    assert len(json.dumps(padded(2048))) == 2048
    assert len(stored(tight, spelled([{}, padded(2048), padded(2048)]))) == 3

    answer = tight.post("/completions/batch", **spelled([{}, padded(2049), {}]))

    assert problem(answer, 413, "too_large")["detail"] == "Row 1 is larger than 2048 bytes."


def test_the_whole_may_be_as_long_as_its_own_limit(tight: Api, spelled: Spelled) -> None:
    sent = spelled([{}])
    fits = sent["content"] + b"\n" * (8192 - len(sent["content"]))
    assert stored(tight, {**sent, "content": fits})

    for content in (fits + b" ", iter([fits, b" "])):
        assert "8192" in problem(tight.post("/completions/batch", **{**sent, "content": content}), 413)["detail"]


def test_a_promised_body_that_is_too_large_is_refused_before_it_is_sent(tight: Api) -> None:
    with connection(str(tight.base_url)) as raw:
        raw.sendall(head(tight.organization, "POST /api/v1/completions/batch HTTP/1.1", "Content-Length: 99999999999"))

        assert answered(raw)[0] == 413


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/xml", "application/jsonlines", "application/x-ndjson; charset=latin-1"]
)
def test_another_type_is_refused_before_the_json(api: Api, media_type: str) -> None:
    answer = api.post("/completions/batch", content=b"{", headers={"Content-Type": media_type})

    assert media_type in problem(answer, 415, "wrong_media_type")["detail"]


def test_refusals_come_in_the_documented_order(tight: Api, other_api: Api) -> None:
    large = b"[" * 9000
    other_row = json.dumps({"organization_id": other_api.organization.id})

    def status(content: bytes | str, media_type: str = "application/json", **more_headers: str) -> int:
        headers = {"Content-Type": media_type, **more_headers}
        return tight.post("/completions/batch", content=content, headers=headers).status_code

    assert status(large, "text/plain", **{"X-Log10-Token": "nobody"}) == 401
    assert status(large, "text/plain", **{"X-Log10-Organization": "another"}) == 403
    assert status(large, "text/plain") == 413
    assert status(b"[", "text/plain") == 415
    assert status(f'[{{"tags":5}},{other_row},{{]') == 400
    assert status(f'[{{"tags":5}},{other_row}]') == 403
    assert status('[{"tags":5}]') == 422


# At the same time


def test_a_caller_that_goes_away_leaves_nothing_behind(serving: Served, api: Api, database: Database) -> None:
    before = counted(database)
    content = as_lines([{"id": f"c-{n}", "tags": ["gone"], "request": {"a": "x" * 3000}} for n in range(400)])[
        "content"
    ]
    with connection(serving.url) as raw:
        raw.sendall(
            head(
                api.organization,
                "POST /api/v1/completions/batch HTTP/1.1",
                f"Content-Length: {len(content) + 1}",
                f"Content-Type: {LINES}",
            )
            + content
        )
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass

    assert stored(api, as_lines([{"id": "after"}])) == ["after"]
    assert counted(database)["completion"] == before["completion"] + 1
    assert api.get("/completions", params={"tag": "gone"}).json() == {"completions": []}


def test_batches_and_single_rows_at_once_lose_nothing(serving: Served, api: Api) -> None:
    """Opening rows come in batches and closing rows alone, of the same completions and in every order."""
    ids = [f"c-{number}" for number in range(60)]
    api.task(["a"], id="task")
    failed: list[str] = []

    def send(rows: list[dict[str, Any]], size: int) -> None:
        with Api(serving.url, api.organization) as mine:
            for start in range(0, len(rows), size):
                answer = (
                    mine.post("/completions/batch", **as_array(rows[start : start + size]))
                    if size > 1
                    else mine.post("/completions", json=rows[start])
                )
                if answer.status_code != 201:
                    failed.append(answer.text)

    openings = [{"id": completion_id, **OPENING} for completion_id in ids]
    closings = [{"id": completion_id, **CLOSING} for completion_id in reversed(ids)]
    threads = [
        threading.Thread(target=send, args=arguments)
        for arguments in ((openings, 150), (openings, 20), (closings, 1), (closings, 7), (openings[::-1], 1))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    for completion in api.get("/completions", params={"limit": 1000}).json()["completions"]:
        assert client_fields(completion) == {**OPENING, **CLOSING}
    assert sorted(api.ungraded(limit=1000, task_id="task")) == sorted(ids)
    everything_agrees(api)


def test_others_are_answered_while_a_large_batch_is_read(serving: Served, api: Api) -> None:
    """A batch that stops half-way holds nobody up, and is stored once the rest has come."""
    content = as_array([{"tags": ["slow"], "request": {"a": "x" * 2000}} for _ in range(500)])["content"]
    with connection(serving.url) as raw:
        raw.sendall(
            head(api.organization, "POST /api/v1/completions/batch HTTP/1.1", f"Content-Length: {len(content)}")
        )
        raw.sendall(content[:-1])
        meanwhile = api.completion(id="meanwhile")
        raw.sendall(content[-1:])

        status, _, body = answered(raw)

    assert status == 201
    assert json.loads(body)["rows"] == 500
    assert meanwhile["id"] == "meanwhile"


def test_batches_that_are_too_much_together_are_put_off(migrated: Database, database: Database, api: Api) -> None:
    half = as_array([{"request": {"a": "x" * 2000}} for _ in range(350)])["content"]
    for served in serve(migrated, Settings(waiting_bytes=1 << 20)):
        with connection(served.url) as raw, Api(served.url, api.organization) as mine:
            raw.sendall(
                head(api.organization, "POST /api/v1/completions/batch HTTP/1.1", f"Content-Length: {len(half)}")
            )
            raw.sendall(half[:-1])
            while served.app.state.runtime.held_bytes.total < len(half) - 1:
                time.sleep(0.001)
            answer = mine.post("/completions/batch", content=half)
            raw.sendall(half[-1:])

            assert answered(raw)[0] == 201
            assert int(answer.headers["Retry-After"]) >= 1
            problem(answer, 503, "overloaded")
            assert stored(mine, as_array([{}]))
