"""Fine-tuning rows: what each provider's request and response become, held to OpenAI's format by a strict checker."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from log10_server.services.fine_tuning.conversation import EXPLANATIONS, Reason, UntranslatableError
from log10_server.services.fine_tuning.rows import json_row
from tests.fine_tuning_format import faults_of
from tests.payload_corpus import (
    BEDROCK_USE,
    CORPUS,
    FUNCTION_CALL,
    OUTPUT,
    SCHEMA,
    SUNNY,
    TOOL,
    USE,
    Case,
    anthropic,
    bedrock,
    call,
    chat,
    gemini,
    message_item,
    response,
    text,
)
from tests.unit.any_json import any_json, json_objects

HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi."}


def row_of(request: Any, response: Any) -> dict[str, Any]:
    """The row of two payloads, after the strict checker found nothing wrong with it."""
    line = json_row(json.dumps(request), json.dumps(response)).text
    assert faults_of(line) == []
    row: dict[str, Any] = json.loads(line)
    return row


def messages_of(request: Any, response: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = row_of(request, response)["messages"]
    return messages


def reason_of(request: Any, response: Any) -> Reason:
    with pytest.raises(UntranslatableError) as refusal:
        json_row(json.dumps(request), json.dumps(response))
    return refusal.value.reason


# The corpus


@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_every_completion_becomes_a_row_of_the_format_or_has_a_reason(case: Case) -> None:
    if case.reason is None:
        assert row_of(case.request, case.response)
    else:
        assert reason_of(case.request, case.response) == case.reason


def test_the_corpus_has_every_reason_that_two_objects_can_have() -> None:
    assert {case.reason for case in CORPUS} == {None, *Reason} - {Reason.UNREADABLE}


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Reason)


# OpenAI's chat


def test_the_answer_follows_the_messages_and_the_tools_go_along() -> None:
    request = {"messages": [{"role": "system", "content": "Be kind."}, {**HELLO, "name": "ada"}], "tools": [TOOL]}

    row = row_of(request, chat(content="Hi.", tool_calls=None))

    assert row == {
        "messages": [{"role": "system", "content": "Be kind."}, {**HELLO, "name": "ada"}, HI],
        "tools": [TOOL],
    }


def test_the_role_developer_becomes_system() -> None:
    messages = messages_of({"messages": [{"role": "developer", "content": "Be kind."}, HELLO]}, chat(content="Hi."))

    assert messages[0] == {"role": "system", "content": "Be kind."}


def test_tools_and_calls_without_type_get_it() -> None:
    untyped_tool = {"function": TOOL["function"]}
    untyped_call = {name: member for name, member in call().items() if name != "type"}

    row = row_of({"messages": [HELLO], "tools": [untyped_tool]}, chat(content=None, tool_calls=[untyped_call]))

    assert row["tools"] == [TOOL]
    assert row["messages"][1] == {"role": "assistant", "tool_calls": [call()]}


def test_the_older_functions_become_tools_and_their_calls_tool_calls() -> None:
    function_call = call()["function"]
    request = {
        "messages": [
            HELLO,
            {"role": "assistant", "content": None, "function_call": function_call},
            {"role": "function", "name": "get_weather", "content": "sunny"},
        ],
        "functions": [TOOL["function"]],
    }

    row = row_of(request, chat(content=None, function_call=function_call))

    assert row["tools"] == [TOOL]
    assert row["messages"] == [
        HELLO,
        {"role": "assistant", "tool_calls": [call("call_1")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "assistant", "tool_calls": [call("call_2")]},
    ]


@pytest.mark.parametrize(
    ("indexes", "answer"), [((1, 0), "b"), ((0, 1), "a"), ((2, 1), "b"), ((None, None), "a"), (("1", "0"), "a")]
)
def test_of_several_answers_the_one_with_the_lowest_index_counts(indexes: tuple[Any, Any], answer: str) -> None:
    choices = [
        {"index": index, "message": {"role": "assistant", "content": content}}
        for index, content in zip(indexes, "ab", strict=True)
    ]

    assert messages_of({"messages": [HELLO]}, {"choices": choices})[-1]["content"] == answer


def test_a_refusal_is_the_text_of_the_answer() -> None:
    assert messages_of({"messages": [HELLO]}, chat(content=None, refusal="No."))[-1]["content"] == "No."


def test_an_id_that_repeats_gets_another_one_with_its_result() -> None:
    """Some programs number the calls of each answer anew."""
    turn = [{"role": "assistant", "tool_calls": [call("0")]}, {"role": "tool", "tool_call_id": "0", "content": "sunny"}]

    messages = messages_of({"messages": [HELLO, *turn, *turn]}, SUNNY)

    ids = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert ids == ["0", "call_2"]


@pytest.mark.parametrize("prompt", ["Hello", ["Hello"]])
@pytest.mark.parametrize("answer", [{"choices": [{"text": "Hi."}]}, {"completion": "Hi."}])
def test_a_prompt_becomes_a_users_message(prompt: Any, answer: dict[str, Any]) -> None:
    assert messages_of({"prompt": prompt}, answer) == [HELLO, HI]


# OpenAI's Responses API


def test_instructions_and_input_become_messages() -> None:
    messages = messages_of({"input": "Hello", "instructions": "Be kind."}, response(message_item("Hi.")))

    assert messages == [{"role": "system", "content": "Be kind."}, HELLO, HI]


def test_items_become_messages_and_neighbouring_calls_one_message() -> None:
    second = {**FUNCTION_CALL, "call_id": "call_b"}
    items = [HELLO, {"type": "reasoning"}, FUNCTION_CALL, second, {**OUTPUT, "call_id": "call_b"}, OUTPUT]

    messages = messages_of({"input": items}, response(message_item("Wait."), FUNCTION_CALL))

    assert messages == [
        HELLO,
        {"role": "assistant", "tool_calls": [call(), call("call_b")]},
        {"role": "tool", "tool_call_id": "call_b", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_a", "content": "sunny"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [call("call_3")]},
    ]


def test_the_last_event_of_a_stream_has_the_answer() -> None:
    event = {"type": "response.completed", "response": response(message_item("Hi."))}

    assert messages_of({"input": "Hello"}, event) == [HELLO, HI]


# Anthropic


def test_anthropics_blocks_become_messages_and_results_come_before_texts() -> None:
    request = {
        "system": [text("Be "), text("kind.")],
        "messages": [
            HELLO,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, text("Wait."), USE]},
            {
                "role": "user",
                "content": [
                    text("And?"),
                    {"type": "tool_result", "tool_use_id": USE["id"], "content": [text("sunny")]},
                ],
            },
        ],
        "tools": [{"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}],
    }

    row = row_of(request, anthropic(text("It is "), text("sunny.")))

    assert row == {
        "messages": [
            {"role": "system", "content": "Be kind."},
            HELLO,
            {"role": "assistant", "content": "Wait.", "tool_calls": [call("toolu_a")]},
            {"role": "tool", "tool_call_id": "toolu_a", "content": "sunny"},
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
            {"role": "assistant", "content": "It is sunny."},
        ],
        "tools": [TOOL],
    }


def test_the_beginning_of_an_answer_that_anthropic_continues_is_part_of_it() -> None:
    messages = messages_of({"messages": [HELLO, {"role": "assistant", "content": "{"}]}, anthropic(text('"a": 1}')))

    assert messages == [HELLO, {"role": "assistant", "content": '{"a": 1}'}]


# Gemini, Bedrock, Cohere


def test_geminis_calls_get_ids_and_results_find_them_by_name() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "Hello"}]},
        {"role": "model", "parts": [{"functionCall": {"name": name, "args": {}}} for name in ("f", "g", "f")]},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": name, "response": {"n": n}}} for n, name in enumerate("gff")],
        },
    ]

    messages = messages_of(
        {"systemInstruction": {"parts": [{"text": "Be kind."}]}, "contents": contents}, gemini(text("Hi."))
    )

    assert [message["role"] for message in messages] == ["system", "user", "assistant", *["tool"] * 3, "assistant"]
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["call_1", "call_2", "call_3"]
    assert [(message["tool_call_id"], message["content"]) for message in messages[3:6]] == [
        ("call_2", '{"n": 0}'),
        ("call_1", '{"n": 1}'),
        ("call_3", '{"n": 2}'),
    ]


def test_geminis_thoughts_are_no_part_of_the_answer() -> None:
    answer = gemini({"text": "Hm.", "thought": True}, {"text": "Hi.", "thought": None, "thoughtSignature": "s"})

    assert messages_of({"contents": "Hello"}, answer)[-1] == HI


def test_geminis_schemas_become_json_schemas() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "description": None},
            "days": {"type": "ARRAY", "items": {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]}},
        },
    }
    declarations = [{"name": "f", "parameters": parameters}, {"name": "g", "parametersJsonSchema": SCHEMA}]

    row = row_of({"contents": "Hello", "tools": [{"functionDeclarations": declarations}]}, gemini({"text": "Hi."}))

    assert [tool["function"] for tool in row["tools"]] == [
        {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {
                    "type": {"type": ["string", "null"]},
                    "days": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
                },
            },
        },
        {"name": "g", "parameters": SCHEMA},
    ]


def test_bedrocks_pieces_become_messages() -> None:
    result = {"toolResult": {"toolUseId": "tooluse_a", "content": [{"json": {"sky": "blue"}}]}}
    request = {
        "system": [{"text": "Be kind."}],
        "messages": [
            {"role": "user", "content": [{"text": "Hello"}]},
            {"role": "assistant", "content": [BEDROCK_USE]},
            {"role": "user", "content": [result]},
        ],
    }

    assert messages_of(request, bedrock({"text": "Hi."})) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "tool_calls": [call("tooluse_a")]},
        {"role": "tool", "tool_call_id": "tooluse_a", "content": '{"sky": "blue"}'},
        HI,
    ]


def test_coheres_history_becomes_messages() -> None:
    history = [{"role": "USER", "message": "Hello"}, {"role": "CHATBOT", "message": "Hi."}]
    request = {"preamble": "Be kind.", "chat_history": history, "message": "Hello"}

    messages = messages_of(request, {"text": "Hi.", "meta": {}})

    assert messages == [{"role": "system", "content": "Be kind."}, HELLO, HI, HELLO, HI]


# Provider's own tools


@pytest.mark.parametrize(
    ("tools", "lacks"),
    [
        ([TOOL], False),
        ([TOOL, {"type": "web_search"}], True),
        ([{"type": "web_search_20250305", "name": "web_search"}], True),
        ([{"googleSearch": {}}], True),
        ([{"functionDeclarations": [{"name": "f"}], "googleSearch": {}}], True),
        ([{"function_declarations": [{"name": "f"}], "google_search": None}], False),
        ([{"type": "custom", "custom": {"name": "f"}}], True),
        ([], False),
    ],
)
def test_a_tool_that_is_no_function_and_was_not_used_is_left_out_and_counted(tools: list[Any], lacks: bool) -> None:
    row = json_row(json.dumps({"messages": [HELLO], "tools": tools}), json.dumps(SUNNY))

    assert faults_of(row.text) == []
    assert row.lacks_tools is lacks


# Any JSON


def test_texts_come_out_as_they_came_in() -> None:
    request = (
        '{"messages":[{"role":"user","content":"\\u0000\\ud83d é"}],'
        '"tools":[{"name":"f","parameters":{"n":123456789012345678901234567890}}]}'
    )

    row = json_row(request, '{"choices":[{"message":{"content":"\\udc00"}}]}').text

    assert "\\u0000\\ud83d \\u00e9" in row
    assert "\\udc00" in row
    assert "123456789012345678901234567890" in row


@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
def test_a_number_that_can_not_be_written_leaves_the_row_out(number: str) -> None:
    request = f'{{"messages":[{{"role":"user","content":"a"}}],"tools":[{{"name":"f","parameters":{{"n":{number}}}}}]}}'

    with pytest.raises(UntranslatableError) as refusal:
        json_row(request, '{"choices":[{"message":{"content":"b"}}]}')

    assert refusal.value.reason == Reason.UNREADABLE


@pytest.mark.parametrize(
    ("request_", "response", "reason"),
    [
        (None, "{}", Reason.NO_MESSAGES),
        ("{}", None, Reason.NO_ANSWER),
        ("[]", json.dumps(SUNNY), Reason.NO_MESSAGES),
        ("{}", "[]", Reason.NO_ANSWER),
        ("{}", "[" * 100_000, Reason.UNREADABLE),
    ],
)
def test_payloads_that_are_no_objects_make_no_row(request_: str | None, response: str | None, reason: Reason) -> None:
    with pytest.raises(UntranslatableError) as refusal:
        json_row(request_, response)

    assert refusal.value.reason == reason


def judge(request: Any, response: Any) -> None:
    """A pair of payloads has a reason, or a row that the strict checker accepts; nothing else is raised."""
    try:
        row = json_row(json.dumps(request), json.dumps(response))
    except UntranslatableError:
        return
    assert faults_of(row.text) == []


@given(request=json_objects, response=json_objects)
def test_any_two_objects_make_a_row_of_the_format_or_none(request: Any, response: Any) -> None:
    judge(request, response)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a value."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for name, member in members for inner in places(member, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {**value, path[0]: replaced(value[path[0]], path[1:], new)}
    return [*value[: path[0]], replaced(value[path[0]], path[1:], new), *value[path[0] + 1 :]]


@given(data=st.data(), case=st.sampled_from(CORPUS), new=any_json)
def test_a_real_completion_with_any_json_anywhere_in_it_makes_a_row_of_the_format_or_none(
    data: st.DataObject, case: Case, new: Any
) -> None:
    payloads = [case.request, case.response]
    path = data.draw(st.sampled_from(places(payloads)[1:]))

    judge(*replaced(payloads, path, new))
