"""Fine-tuning rows: what each provider's request and response become, and which completions are chosen."""

import json
from typing import Any

import pytest

from log10_server.db.transaction import Tx
from log10_server.services import completions, feedback, feedback_tasks, training
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.filters import parsed
from log10_server.services.selectors import Listed
from log10_server.services.training import converted, row_of
from log10_server.services.transfer import begin

HELLO = {"role": "user", "content": "Hello"}
CALL = {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def answered(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}}]}


# Conversions


def test_openai_messages_and_the_answer_make_a_row() -> None:
    asked = [{"role": "system", "content": "Be kind."}, {**HELLO, "name": None}]

    row = converted({"model": "m", "messages": asked}, answered(content="Hi", tool_calls=None, refusal=None))

    assert row == {
        "messages": [{"role": "system", "content": "Be kind."}, HELLO, {"role": "assistant", "content": "Hi"}]
    }


def test_calls_of_tools_and_the_tools_go_along() -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    asked = [HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    asked.append({"role": "tool", "tool_call_id": "call-1", "content": "2"})

    row = converted({"messages": asked, "tools": tools}, answered(content=None, tool_calls=[CALL]))

    said = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert row == {"messages": [HELLO, said, asked[2], said], "tools": tools}


def test_the_older_function_call_goes_along() -> None:
    call, functions = {"name": "add", "arguments": "{}"}, [{"name": "add", "parameters": {}}]

    row = converted({"messages": [HELLO], "functions": functions}, answered(content=None, function_call=call))

    assert row is not None
    assert row["messages"][-1] == {"role": "assistant", "content": None, "function_call": call}
    assert row["functions"] == functions


ANTHROPIC_TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
OPENAI_TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
}


def test_anthropic_messages_become_openai_messages() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
    use = {"type": "tool_use", "id": "call-1", "name": "add", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": [{"type": "text", "text": "2"}]}
    request = {
        "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind.", "cache_control": {}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "See", "cache_control": {}}, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "I add."}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "And?"}]},
        ],
        "tools": [ANTHROPIC_TOOL],
    }
    response = {
        "role": "assistant",
        "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "2."}, use],
    }

    row = converted(request, response)

    assert row == {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                ],
            },
            {"role": "assistant", "content": "I add.", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call-1", "content": "2"},
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
            {"role": "assistant", "content": "It is 2.", "tool_calls": [CALL]},
        ],
        "tools": [OPENAI_TOOL],
    }


def test_an_anthropic_request_with_an_answer_in_openais_shape_is_what_log10_io_logs() -> None:
    row = converted({"system": "Be kind.", "messages": [HELLO]}, answered(content="Hi"))

    assert row is not None
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]


@pytest.mark.parametrize("prompt", ["Hello", ["Hello"]])
@pytest.mark.parametrize("response", [{"choices": [{"text": "Hi"}]}, {"completion": "Hi"}])
def test_a_prompt_becomes_a_users_message(prompt: Any, response: dict[str, Any]) -> None:
    assert converted({"prompt": prompt}, response) == {"messages": [HELLO, {"role": "assistant", "content": "Hi"}]}


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ({}, answered(content="Hi")),
        ({"messages": []}, answered(content="Hi")),
        ({"messages": "Hello"}, answered(content="Hi")),
        ({"prompt": ["a", "b"]}, answered(content="Hi")),
        ({"messages": [HELLO]}, {}),
        ({"messages": [HELLO]}, {"choices": []}),
        ({"messages": [HELLO]}, {"choices": [None]}),
        ({"messages": [HELLO]}, {"choices": "Hi"}),
        ({"messages": [HELLO]}, answered(content=None)),
        ({"messages": [HELLO]}, answered(content="", tool_calls=[])),
        ({"messages": [HELLO]}, answered(content=7)),
        ({"messages": [HELLO]}, {"content": [{"type": "thinking", "thinking": "…"}]}),
        ({"messages": [HELLO]}, {"error": {"message": "overloaded"}}),
    ],
)
def test_where_there_is_nothing_to_learn_there_is_no_row(request_: dict[str, Any], response: dict[str, Any]) -> None:
    assert converted(request_, response) is None


def test_texts_come_out_as_they_came_in() -> None:
    request = (
        '{"messages":[{"role":"user","content":"\\u0000\\ud83d é"}],"tools":[{"n":123456789012345678901234567890}]}'
    )

    row = row_of(request, '{"choices":[{"message":{"content":"\\udc00"}}]}')

    assert row is not None
    assert "\\u0000\\ud83d \\u00e9" in row
    assert "\\udc00" in row
    assert "123456789012345678901234567890" in row


@pytest.mark.parametrize("number", ["1e400", "9" * 5000])
def test_a_number_that_can_not_be_written_leaves_the_row_out(number: str) -> None:
    request = f'{{"messages":[{{"role":"user","content":"a"}}],"tools":[{{"n":{number}}}]}}'

    assert row_of(request, '{"choices":[{"message":{"content":"b"}}]}') is None


def test_a_completion_without_both_payloads_makes_no_row() -> None:
    assert row_of(None, "{}") is None
    assert row_of("{}", None) is None


# Which completions


def chosen(tx: Tx, filter: str, task_id: str = "t") -> tuple[list[str], int]:
    """What the assistants of the rows say, and how many completions were left out."""
    said, left_out, after, until = [], 0, None, begin(tx).until
    while True:
        page = training.page(tx, task_id, parsed(filter), after, until)
        said += [json.loads(row)["messages"][-1]["content"] for row in page.rows]
        left_out += page.left_out
        if (after := page.next_cursor) is None:
            return said, left_out


def log(tx: Tx, *ids: str, response: str | None = '{{"choices":[{{"message":{{"content":"{}"}}}}]}}') -> None:
    entries = [Entry(id, {"request": '{"messages":[{"role":"user","content":"a"}]}'}) for id in ids]
    if response is not None:
        for entry in entries:
            entry.fields["response"] = response.format(entry.completion_id)
    completions.record(tx, entries)


def grade(tx: Tx, values: str, *ids: str, state: str = "accepted", task_id: str = "t") -> None:
    (given,) = feedback.record(tx, [NewFeedback(None, task_id, values, "", Listed(ids), state)])
    assert isinstance(given, feedback.Matched)


@pytest.fixture
def tasks(tx: Tx) -> None:
    for id in ("t", "other"):
        feedback_tasks.create(tx, NewFeedbackTask(id, id, "", "{}", ()))


@pytest.mark.usefixtures("tasks")
def test_completions_are_chosen_by_the_values_of_accepted_feedback_of_the_task(tx: Tx) -> None:
    log(tx, "good", "bad", "proposed", "rejected", "elsewhere", "ungraded")
    grade(tx, '{"grade":5}', "good")
    grade(tx, '{"grade":3}', "bad")
    grade(tx, '{"grade":5}', "proposed", state="proposed")
    grade(tx, '{"grade":5}', "rejected", state="rejected")
    grade(tx, '{"grade":5}', "elsewhere", task_id="other")

    assert chosen(tx, "grade >= 4") == (["good"], 0)
    assert chosen(tx, "grade >= 4", "other") == (["elsewhere"], 0)
    assert chosen(tx, "grade >= 4", "unknown") == ([], 0)


@pytest.mark.usefixtures("tasks")
def test_each_completion_is_there_once_and_the_oldest_first(tx: Tx) -> None:
    log(tx, "b", "a", "c")
    for _ in range(3):
        grade(tx, '{"grade":5}', "c", "a", "b")

    assert chosen(tx, "grade = 5") == (["b", "a", "c"], 0)


@pytest.mark.usefixtures("tasks")
def test_what_has_no_usable_response_is_counted(tx: Tx) -> None:
    log(tx, "good")
    log(tx, "open", "not chosen", response=None)
    log(tx, "failed", response='{{"error":1}}')
    grade(tx, '{"grade":5}', "good", "open", "failed")
    grade(tx, '{"grade":1}', "not chosen")

    assert chosen(tx, "grade = 5") == (["good"], 2)


@pytest.mark.usefixtures("tasks")
def test_more_than_a_page_is_read_to_its_end(tx: Tx) -> None:
    ids = [f"c-{number:04}" for number in range(1201)]
    log(tx, *ids)
    for start in range(0, 1201, 400):
        grade(tx, '{"grade":5}', *ids[start : start + 400])

    assert chosen(tx, "grade = 5") == (ids, 0)
