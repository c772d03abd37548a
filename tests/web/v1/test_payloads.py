"""Payloads come back exactly: key order, inner nulls, every digit; only white space and the spelling of escapes may go."""

import json
import re
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import Api, paths, problem

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


def tokens(text: str) -> list[str]:
    """The JSON tokens of `text`, without white space; strings in one spelling, numbers by their every character."""
    return [json.dumps(json.loads(token)) if token[0] == '"' else token for token in _TOKEN.findall(text)]


def member(text: str, name: str) -> list[list[str]]:
    """The tokens of the value of each member `name`, wherever it stands outside of another one found."""
    all_tokens = tokens(text)
    values: list[list[str]] = []
    place = 0
    while place < len(all_tokens) - 2:
        if all_tokens[place] == json.dumps(name) and all_tokens[place + 1] == ":":
            start = place = place + 2
            depth = 0
            while True:
                depth += (all_tokens[place] in "{[") - (all_tokens[place] in "}]")
                place += 1
                if depth == 0:
                    break
            values.append(all_tokens[start:place])
        else:
            place += 1
    return values


def body_with_request(payload: str, **more: str) -> bytes:
    """A body with this request, and other members as JSON text."""
    parts = {"request": payload, **more}
    return ("{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}").encode()


def nested(levels: int) -> str:
    return '{"a":[' * (levels // 2) + "1" + "]}" * (levels // 2)


PAYLOADS = {
    "empty": "{}",
    "key order": '{"z":1,"a":2,"m":{"10":1,"9":2,"01":3}}',
    "inner nulls": '{"a":null,"b":[null,{"c":null}],"null":"null"}',
    "spellings of numbers": '{"n":[1.0,1,1e0,1.00,10e-1,-0,-0.0,0.0,0e0,1E+2,1e2,100,1E-7,0.10,2.50]}',
    "beyond a double": '{"n":[1e400,-1e400,1e-400,123456789012345678901234567890,0.1000000000000000055511151231257827]}',
    "many digits": '{"n":' + "9" * 4001 + ',"m":-0.' + "7" * 5000 + "}",
    "escaped odd characters": '{"s":"\\u0000a\\ud83d","\\udc00":"\\ud83d\\ude00\\udbff","\\u0000":1}',
    "raw odd characters": '{"s":"😀é\u2028\u2029\ufeff\ufffe\U0010ffff\x7f\u0085","😀":"👩‍👩‍👧"}',
    "escapes": '{"s":"\\/\\"\\\\\\b\\f\\n\\r\\t\\u0041\\u00e9<>&\'"}',
    "duplicate names": '{"a":1,"b":2,"a":3,"a":null}',
    "a blank name": '{"":{"":[]},"  ":1}',
    "what looks like ours": '{"id":"x","response":{"request":{}},"status":"failed","tags":["t"],"organization_id":"other"}',
    "what looks like a string with JSON": '{"a":"{\\"b\\": [1, null]}"}',
    "percent and marks": '{"a":"%s %(x)s :name ? $1 {0} \'; DROP TABLE completion; --"}',
    "pretty printed": '{\r\n\t"a" : [ 1.0 ,\n 2 ] ,\n  "b":{ }\n}',
    "as deep as allowed": nested(198),
}
READINGS: dict[str, Callable[[Api, str], httpx.Response]] = {
    "get": lambda api, completion_id: api.get(f"/completions/{completion_id}"),
    "list": lambda api, _id: api.get("/completions"),
    "list of a tag": lambda api, _id: api.get("/completions", params={"tag": "t"}),
    "ungraded": lambda api, _id: api.get("/completions/ungraded"),
    "session": lambda api, _id: api.get("/sessions/s"),
    "merge of nothing": lambda api, completion_id: api.post(f"/completions/{completion_id}", json={}),
    "merge of another field": lambda api, completion_id: api.post(
        "/completions", json={"id": completion_id, "duration": 1.5}
    ),
}


def test_a_payload_is_answered_as_it_came_wherever_it_is_read(api: Api, subtests: pytest.Subtests) -> None:
    api.task(["t"])

    for kind, payload in PAYLOADS.items():
        with subtests.test(kind):
            body = body_with_request(
                payload, response=payload, stacktrace=f"[{payload}]", tags='["t"]', session_id='"s"'
            )
            expected = tokens(payload)

            created = api.post("/completions", content=body)

            assert created.status_code == 201, created.text[:500]
            answers = {"create": created}
            completion_id = created.json()["id"]
            for name, reading in READINGS.items():
                answers[name] = reading(api, completion_id)
            for name, answer in answers.items():
                assert answer.is_success, answer.text[:500]
                raw = answer.content.decode()
                assert member(raw, "request")[0] == expected, name
                assert member(raw, "stacktrace")[0] == ["[", *expected, "]"], name
            api.delete(f"/completions/{completion_id}")


def test_a_response_is_merged_as_it_came(api: Api, subtests: pytest.Subtests) -> None:
    for kind, payload in PAYLOADS.items():
        with subtests.test(kind):
            api.completion(id="c", request={"a": 1.5}, status="started")

            merged = api.post("/completions/c", content=b'{"status":"finished","response":' + payload.encode() + b"}")

            assert merged.status_code == 200, merged.text[:500]
            assert member(merged.text, "response") == [tokens(payload)]
            assert member(api.get("/completions/c").text, "response") == [tokens(payload)]
            api.delete("/completions/c")


def test_a_payload_of_a_megabyte_is_answered_as_it_came(api: Api) -> None:
    payload = '{"text":"' + "é" * 500_000 + '","n":1.50}'

    created = api.post("/completions/c", content=body_with_request(payload))

    for answer in (created, api.get("/completions/c")):
        assert f'"request":{payload}'.encode() in answer.content


def test_space_around_a_body_and_a_byte_order_mark_are_allowed(api: Api, subtests: pytest.Subtests) -> None:
    for before in ["", " \r\n\t", "\ufeff"]:
        with subtests.test(before=before):
            answer = api.post("/completions", content=before.encode() + b'{ "request" : { "a" : 1.0 } }\n\n')

            assert answer.status_code == 201
            assert member(answer.text, "request") == [tokens('{"a":1.0}')]


def test_a_payload_given_twice_is_the_last(api: Api) -> None:
    answer = api.post("/completions", content=b'{"request":{"a":1},"req\\u0075est":{"b":2}}')

    assert answer.json()["request"] == {"b": 2}


def test_a_null_payload_keeps_the_stored_payload(api: Api) -> None:
    api.completion(id="c", request={"a": None}, response={})

    answer = api.post("/completions/c", json={"request": None, "response": None, "stacktrace": None})

    assert answer.json()["request"] == {"a": None}
    assert answer.json()["response"] == {}
    assert "stacktrace" not in answer.json()


def test_the_older_spelling_of_a_stack_trace_is_taken(api: Api) -> None:
    answer = api.post("/completions", content=b'{"stack_trace":[{"line":1.0}]}')

    assert member(answer.text, "stacktrace") == [tokens('[{"line":1.0}]')]
    assert "stack_trace" not in answer.json()


def test_a_payload_that_is_no_object_is_invalid_at_its_place(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["request", "response"]:
        with subtests.test(name=name):
            for wrong in ["[]", '"{}"', "1", "true", "1e400", "9" * 5000, '"\\ud800"', '[{"a":1}]']:
                answer = api.post("/completions", content=f'{{"{name}":{wrong}}}'.encode())

                assert answer.status_code == 422, wrong
                assert paths(answer) == [f"/{name}"], wrong


def test_a_stack_trace_that_is_no_array_of_objects_is_invalid_at_its_place(api: Api, subtests: pytest.Subtests) -> None:
    for name in ["stacktrace", "stack_trace"]:
        with subtests.test(name=name):
            for wrong in [
                "{}",
                '"[]"',
                "1",
                "[1]",
                "[null]",
                '["a"]',
                '["\\ud83d"]',
                "[[]]",
                '[{},"x"]',
                '[{"a":"\\ud83d"},1]',
            ]:
                answer = api.post("/completions", content=f'{{"{name}":{wrong}}}'.encode())

                assert answer.status_code == 422, wrong
                assert paths(answer) == [f"/{name}"], wrong


BAD = {
    "nothing": b"",
    "space": b"  ",
    "truncated": b'{"request":{"a":1}',
    "truncated in a string": b'{"request":{"a":"1',
    "NaN": b'{"request":{"a":NaN}}',
    "Infinity": b'{"request":{"a":[-Infinity]}}',
    "a control character": b'{"request":{"a":"\x00"}}',
    "a line break in a string": b'{"request":{"a":"\n"}}',
    "invalid UTF-8": b'{"request":{"a":"\xff"}}',
    "a surrogate in UTF-8": b'{"request":{"a":"\xed\xa0\xbd"}}',
    "UTF-16": '{"request":{}}'.encode("utf-16"),
    "a comma too many": b'{"request":{"a":1,}}',
    "single quotes": b"{'request':{}}",
    "something after": b'{"request":{}}{}',
    "a bad escape": b'{"request":{"a":"\\x41"}}',
    "a leading zero": b'{"request":{"a":01}}',
    "no end": b"[" * 100_000,
    "no end of objects": b'{"request":' + b'{"a":' * 100_000,
}


def test_what_is_not_json_is_refused_and_stores_nothing(api: Api) -> None:
    for name, body in BAD.items():
        answer = api.post("/completions/c", content=body)

        assert answer.status_code == 400, name
        problem(answer, 400, "not_json")
    problem(api.get("/completions/c"), 404)


def test_a_body_that_is_no_object_is_invalid_as_a_whole(api: Api, subtests: pytest.Subtests) -> None:
    for body in [b"[]", b'"x"', b"null", b"1", b"true", b"1e400", b'[{"request":{}}]']:
        with subtests.test(body=body):
            assert paths(api.post("/completions", content=body)) == [""]


def test_what_nests_too_deeply_is_invalid_and_says_the_limit(api: Api, subtests: pytest.Subtests) -> None:
    for levels in [200, 1000, 100_000]:
        with subtests.test(levels=levels):
            answer = api.post("/completions", content=body_with_request(nested(levels)))

            assert "200" in problem(answer, 422)["detail"]


def test_brackets_in_strings_do_not_nest(api: Api) -> None:
    payload = '{"a":"' + '[{\\"' * 1000 + '"}'

    answer = api.post("/completions", content=body_with_request(payload))

    assert member(answer.text, "request") == [tokens(payload)]
