"""Requests and responses as programs log them: every provider, with tools, images, streams, and what goes wrong.

Each case says what the training export makes of it: a row, or the reason why there is none.
"""

from typing import Any, NamedTuple

from log10_server.services.fine_tuning.conversation import Reason


class Case(NamedTuple):
    name: str
    request: dict[str, Any]
    response: dict[str, Any]
    reason: Reason | None = None


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA}}
QUESTION = {"role": "user", "content": "What is the weather in Zürich?"}
PIXEL = "iVBORw0KGgo="
URL = "https://example.com/street.png"


def call(call_id: str | None = "call_a", city: str = "Zürich", **more: Any) -> dict[str, Any]:
    arguments = f'{{"city": "{city}"}}'
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}, **more}


def without(holder: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: member for name, member in holder.items() if name not in names}


def chat(*choices: dict[str, Any], **message: Any) -> dict[str, Any]:
    """A response of OpenAI's chat API."""
    only = {"index": 0, "message": {"role": "assistant", "refusal": None, "annotations": [], **message}}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-2024-08-06",
        "choices": list(choices) or [{**only, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }


SUNNY = chat(content="Sunny.")
CALLED = {"role": "assistant", "content": None, "tool_calls": [call()]}
RESULT = {"role": "tool", "tool_call_id": "call_a", "content": "sunny"}


def parts(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


OPENAI_CHAT = [
    Case("text", {"model": "gpt-4o", "messages": [QUESTION]}, SUNNY),
    Case("developer role", {"messages": [{"role": "developer", "content": "Be brief."}, QUESTION]}, SUNNY),
    Case(
        "null members",
        {"messages": [{"role": "system", "content": "Be brief.", "name": None}, {**QUESTION, "name": None}]},
        chat(content="Sunny.", tool_calls=None, function_call=None, audio=None, reasoning_content="Hm."),
    ),
    Case("odd names", {"messages": [{**QUESTION, "name": "Ada Lovelace"}]}, SUNNY),
    Case(
        "image",
        parts(
            {"type": "text", "text": "Where?", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": None}},
        ),
        SUNNY,
    ),
    Case("image address alone", parts({"type": "image_url", "image_url": URL}), SUNNY),
    Case("plain texts as parts", parts("What", " is it?"), SUNNY),
    Case("empty text beside an image", parts({"type": "text", "text": ""}, {"type": "image_url", "image_url": URL}), SUNNY),
    Case("tools", {"messages": [QUESTION], "tools": [TOOL], "parallel_tool_calls": False}, chat(**without(CALLED, "role"))),
    Case(
        "tools and calls without type",
        {"messages": [QUESTION], "tools": [without(TOOL, "type")]},
        chat(content=None, tool_calls=[without(call(), "type")]),
    ),
    Case(
        "calls in a stream put together by a client",
        {"messages": [QUESTION], "tools": [TOOL], "stream": True},
        {"choices": [{"message": {"tool_calls": [{"index": 0, **call()}, {"index": 1, **call("call_b", "Bern")}]}}]},
    ),
    Case(
        "results of parallel calls",
        {
            "messages": [
                QUESTION,
                {**CALLED, "tool_calls": [call(), call("call_b", "Bern")]},
                {"role": "tool", "tool_call_id": "call_b", "content": [{"type": "text", "text": "rain"}]},
                {**RESULT, "name": "get_weather"},
            ],
            "tools": [TOOL],
        },
        SUNNY,
    ),
    Case("ids that are too long", {"messages": [QUESTION, {**CALLED, "tool_calls": [call("x" * 60)]}, {
        **RESULT, "tool_call_id": "x" * 60}]}, SUNNY),
    Case("no tool result content", {"messages": [QUESTION, CALLED, {**RESULT, "content": None}]}, SUNNY),
    Case("no arguments", {"messages": [QUESTION]}, chat(tool_calls=[
        {"id": "call_a", "type": "function", "function": {"name": "now", "arguments": ""}}])),
    Case(
        "older functions",
        {
            "messages": [
                QUESTION,
                {"role": "assistant", "content": None, "function_call": without(call()["function"])},
                {"role": "function", "name": "get_weather", "content": "sunny"},
            ],
            "functions": [TOOL["function"]],
        },
        chat(content=None, function_call=call()["function"]),
    ),
    Case(
        "choices out of order",
        {"messages": [QUESTION], "n": 2},
        chat(
            {"index": 1, "message": {"role": "assistant", "content": "Second."}},
            {"index": 0, "message": {"role": "assistant", "content": "First."}},
        ),
    ),
    Case("refusal", {"messages": [QUESTION]}, chat(content=None, refusal="I can't help with that.")),
    Case(
        "earlier refusal",
        {"messages": [QUESTION, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, QUESTION]},
        SUNNY,
    ),
    Case("text completion", {"prompt": "Once"}, {"choices": [{"index": 0, "text": " upon a time."}]}),
    Case("a provider's tool that was not used", {"messages": [QUESTION], "tools": [TOOL, {"type": "web_search"}]}, SUNNY),
    Case("no response yet", {"messages": [QUESTION]}, {}, Reason.NO_ANSWER),
    Case("empty answer", {"messages": [QUESTION]}, chat(content="", tool_calls=[]), Reason.NO_ANSWER),
    Case("failed", {"messages": [QUESTION]}, {"error": {"message": "overloaded"}}, Reason.NO_ANSWER),
    Case("odd choices", {"messages": [QUESTION]}, {"choices": [None, "x"]}, Reason.NO_ANSWER),
    Case("embeddings", {"model": "e", "encoding_format": "float"}, SUNNY, Reason.NO_MESSAGES),
    Case("several prompts", {"prompt": ["a", "b"]}, SUNNY, Reason.NO_MESSAGES),
    Case("null content", {"messages": [{"role": "user", "content": None}]}, SUNNY, Reason.INVALID_MESSAGE),
    Case("empty content", parts(), SUNNY, Reason.INVALID_MESSAGE),
    Case("unknown role", {"messages": [{"role": "narrator", "content": "a"}]}, SUNNY, Reason.INVALID_MESSAGE),
    Case("silent assistant", {"messages": [QUESTION, {"role": "assistant"}]}, SUNNY, Reason.INVALID_MESSAGE),
    Case("audio", parts({"type": "input_audio", "input_audio": {}}), SUNNY, Reason.UNSUPPORTED_CONTENT),
    Case("spoken answer", {"messages": [QUESTION]}, chat(content=None, audio={"id": "a"}), Reason.UNSUPPORTED_CONTENT),
    Case("file", parts({"type": "file", "file": {"file_id": "f"}}), SUNNY, Reason.UNSUPPORTED_CONTENT),
    Case("image in storage", parts({"type": "image_url", "image_url": "gs://b/a.png"}), SUNNY, Reason.UNSUPPORTED_CONTENT),
    Case("custom tool", {"messages": [QUESTION]}, chat(tool_calls=[{"type": "custom", "id": "a"}]), Reason.INVALID_TOOL),
    Case("cited pages", {"messages": [QUESTION]}, chat(content="Sunny.", annotations=[{"type": "url_citation"}]),
         Reason.PROVIDER_TOOL),
    Case("broken arguments", {"messages": [QUESTION]}, chat(tool_calls=[
        {"id": "a", "function": {"name": "f", "arguments": '{"city": "Zür'}}]), Reason.INVALID_TOOL),
    Case("unnamed tool", {"messages": [QUESTION], "tools": [{"type": "function"}]}, SUNNY, Reason.INVALID_TOOL),
    Case("tools that are no objects", {"messages": [QUESTION], "tools": ["<function f>"]}, SUNNY, Reason.INVALID_TOOL),
    Case("odd parameters", {"messages": [QUESTION], "tools": [{"type": "function", "function": {
        "name": "f", "parameters": []}}]}, SUNNY, Reason.INVALID_TOOL),
    Case("call without result", {"messages": [QUESTION, CALLED, QUESTION]}, SUNNY, Reason.UNMATCHED_TOOL_CALL),
    Case("result without call", {"messages": [RESULT]}, SUNNY, Reason.UNMATCHED_TOOL_CALL),
]  # fmt: skip


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A response of OpenAI's Responses API."""
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output), **more}


def message_item(text: str, **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], **more}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


FLAT_TOOL = {"type": "function", **TOOL["function"], "strict": True}  # type: ignore[dict-item]
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
FUNCTION_CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_a",
    "name": "get_weather",
    "arguments": '{"city": "Zürich"}',
}
OUTPUT = {"type": "function_call_output", "call_id": "call_a", "output": "sunny"}

OPENAI_RESPONSES = [
    Case("text", {"model": "gpt-4.1", "input": "Hello", "instructions": "Be brief."}, response(message_item("Hi."))),
    Case("stream", {"input": "Hello"}, {"type": "response.completed", "response": response(message_item("Hi."))}),
    Case(
        "items",
        {
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "input_text", "text": "Where?"}, {
                    "type": "input_image", "image_url": URL, "detail": "high"}]},
                message_item("Zürich."),
                {"role": "user", "content": "And the weather?"},
                THOUGHT,
                FUNCTION_CALL,
                {**FUNCTION_CALL, "call_id": "call_b"},
                OUTPUT,
                {**OUTPUT, "call_id": "call_b", "output": [{"type": "input_text", "text": "rain"}]},
            ],
            "tools": [FLAT_TOOL, {"type": "web_search_preview"}],
            "parallel_tool_calls": True,
        },
        response(THOUGHT, message_item("Sunny.")),
    ),
    Case("calls", {"input": "Weather?", "tools": [FLAT_TOOL]}, response(THOUGHT, message_item("Let me see."), FUNCTION_CALL)),
    Case("one turn in pieces", {"input": [QUESTION, message_item("Wait."), FUNCTION_CALL, OUTPUT]}, response(message_item("Sunny."))),
    Case("refusal", {"input": "Hello"}, response({**message_item(""), "content": [{"type": "refusal", "refusal": "No."}]})),
    Case("search", {"input": "Hello"}, response({"type": "web_search_call"}, message_item("Hi.")), Reason.PROVIDER_TOOL),
    Case("custom tool", {"input": "Hello"}, response({"type": "custom_tool_call", "input": "a"}), Reason.INVALID_TOOL),
    Case("earlier search", {"input": [{"type": "web_search_call"}]}, response(message_item("Hi.")), Reason.PROVIDER_TOOL),
    Case("citations", {"input": "Hello"}, response(message_item("Hi.", annotations=[{"type": "file_citation"}])),
         Reason.PROVIDER_TOOL),
    Case("stored conversation", {"input": [OUTPUT], "previous_response_id": "resp_0"}, response(message_item("Hi.")),
         Reason.EARLIER_CONVERSATION),
    Case("stored item", {"input": [{"type": "item_reference", "id": "a"}]}, response(message_item("Hi.")),
         Reason.EARLIER_CONVERSATION),
    Case("file", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
         response(message_item("Hi.")), Reason.UNSUPPORTED_CONTENT),
    Case("thought only", {"input": "Hello"}, response(THOUGHT, status="incomplete"), Reason.NO_ANSWER),
    Case("failed", {"input": "Hello"}, response(status="failed", error={"code": "server_error"}), Reason.NO_ANSWER),
    Case("no input", {"input": []}, response(message_item("Hi.")), Reason.NO_MESSAGES),
]  # fmt: skip

ANTHROPIC_TOOL = {"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}
USE = {"type": "tool_use", "id": "toolu_a", "name": "get_weather", "input": {"city": "Zürich"}}


def anthropic(*content: Any) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": list(content), "stop_reason": "end_turn"}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


ANTHROPIC = [
    Case("text", {"system": "Be brief.", "max_tokens": 9, "messages": [QUESTION]}, anthropic(text("Sunny."))),
    Case(
        "blocks",
        {
            "system": [text("Be "), text("brief.", cache_control={"type": "ephemeral"})],
            "messages": [
                {"role": "user", "content": [text("Where?"), {"type": "image", "source": {
                    "type": "base64", "media_type": "image/png", "data": PIXEL}}]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, USE]},
                {"role": "user", "content": [
                    text("Well?"), {"type": "tool_result", "tool_use_id": "toolu_a", "content": [text("sunny")]}]},
            ],
            "tools": [ANTHROPIC_TOOL, {"type": "custom", **ANTHROPIC_TOOL}],
        },
        anthropic(text("Sunny, "), text("I think."), {**USE, "id": "toolu_b"}),
    ),
    Case("image by address", parts({"type": "image", "source": {"type": "url", "url": URL}}), anthropic(text("Sunny."))),
    Case("answer in OpenAI's shape", {"system": "Be brief.", "messages": [QUESTION], "tools": [ANTHROPIC_TOOL]},
         chat(content="", tool_calls=[without(call(), "type")])),
    Case("begun answer", {"messages": [QUESTION, {"role": "assistant", "content": "It is"}]}, anthropic(text(" sunny."))),
    Case("empty result", {"messages": [QUESTION, {"role": "assistant", "content": [USE]}, {
        "role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_a"}]}]}, anthropic(text("Sunny."))),
    Case("older completion", {"prompt": "Hello"}, {"type": "completion", "completion": " Hi."}),
    Case("search", {"messages": [QUESTION], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
         anthropic({"type": "server_tool_use", "id": "a"}, {"type": "web_search_tool_result"}, text("Sunny.")),
         Reason.PROVIDER_TOOL),
    Case("search not used", {"messages": [QUESTION], "tools": [{"type": "web_search_20250305", "name": "web_search"}]},
         anthropic(text("Sunny."))),
    Case("document", parts({"type": "document", "source": {}}), anthropic(text("A.")), Reason.UNSUPPORTED_CONTENT),
    Case("image as a result", {"messages": [QUESTION, {"role": "assistant", "content": [USE]}, {
        "role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_a", "content": [
            {"type": "image", "source": {"type": "url", "url": URL}}]}]}]},
         anthropic(text("Sunny.")), Reason.UNSUPPORTED_CONTENT),
    Case("thought only", {"messages": [QUESTION]}, anthropic({"type": "thinking", "thinking": "Hm."}), Reason.NO_ANSWER),
]  # fmt: skip


def gemini(*parts: Any, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "finishReason": "STOP", **more}], "modelVersion": "gemini-2.5-flash"}


GEMINI_SCHEMA = {"type": "OBJECT", "properties": {"city": {"type": "STRING", "nullable": True}, "days": {
    "type": "ARRAY", "items": {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]}}}}  # fmt: skip
DECLARATION = {"name": "get_weather", "description": "The weather.", "parameters": GEMINI_SCHEMA}

GEMINI = [
    Case("text", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}, gemini({"text": "Hi."})),
    Case(
        "tools and images",
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"parts": [{"text": "Where?"}, {"inlineData": {"mimeType": "image/png", "data": PIXEL}}]},
                {"role": "model", "parts": [
                    {"text": "Hm.", "thought": True},
                    {"functionCall": {"name": "get_weather", "args": {"city": "Zürich"}}, "thoughtSignature": "s"},
                    {"functionCall": {"name": "get_weather", "args": {"city": "Bern"}}},
                ]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "get_weather", "response": {"result": "sunny"}}},
                    {"functionResponse": {"name": "get_weather", "response": {"result": "rain"}}},
                ]},
            ],
            "tools": [{"functionDeclarations": [DECLARATION]}, {"googleSearch": {}}],
        },
        gemini({"text": "Sunny."}, {"functionCall": {"name": "get_weather", "args": {}}}),
    ),
    Case(
        "as its Python library writes it",
        {
            "model": "gemini-2.5-flash",
            "contents": "Weather?",
            "config": {"system_instruction": "Be brief.", "tools": [{
                "function_declarations": [{"name": "now", "parameters": None, "parameters_json_schema": SCHEMA}],
                "google_search": None}]},
        },
        {"candidates": [{"content": {"parts": [{"text": None, "thought": None, "function_call": {
            "id": None, "name": "now", "args": {}}}, {"text": None}], "role": "model"}, "index": None}]},
    ),
    Case("contents in bare forms", {"contents": ["Hello", {"text": "there"}]}, gemini({"text": "Hi."})),
    Case("linked image", {"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": URL}}]}]},
         gemini({"text": "Hi."})),
    Case("candidates out of order", {"contents": "Hello"}, {"candidates": [
        {"index": 1, "content": {"parts": [{"text": "Second."}]}},
        {"index": 0, "content": {"parts": [{"text": "First."}]}}]}),
    Case("search", {"contents": "Hello"}, gemini({"text": "Hi."}, groundingMetadata={"webSearchQueries": ["a"]}),
         Reason.PROVIDER_TOOL),
    Case("code", {"contents": "Hello"}, gemini({"executableCode": {"code": "1"}}, {"text": "1"}), Reason.PROVIDER_TOOL),
    Case("video", {"contents": [{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": URL}}]}]},
         gemini({"text": "Hi."}), Reason.UNSUPPORTED_CONTENT),
    Case("cached content", {"cachedContent": "c", "contents": "Hello"}, gemini({"text": "Hi."}),
         Reason.EARLIER_CONVERSATION),
    Case("blocked", {"contents": "Hello"}, {"promptFeedback": {"blockReason": "SAFETY"}}, Reason.NO_ANSWER),
    Case("odd function name", {"contents": "Hello"}, gemini({"functionCall": {"name": "a.b:c"}}), Reason.INVALID_TOOL),
]  # fmt: skip


def bedrock(*content: Any) -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "usage": {"inputTokens": 1}}


BEDROCK_USE = {"toolUse": {"toolUseId": "tooluse_a", "name": "get_weather", "input": {"city": "Zürich"}}}

OTHERS = [
    Case(
        "Bedrock",
        {
            "modelId": "anthropic.claude-3-haiku",
            "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [{"text": "Where?"}, {
                    "image": {"format": "png", "source": {"bytes": PIXEL}}}]},
                {"role": "assistant", "content": [{"reasoningContent": {}}, BEDROCK_USE]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_a", "status": "success", "content": [
                    {"json": {"sky": "blue"}}, {"text": "sunny"}]}}]},
            ],
            "toolConfig": {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}, {
                "cachePoint": {"type": "default"}}], "toolChoice": {"auto": {}}},
        },
        bedrock({"text": "Sunny."}),
    ),
    Case("Bedrock, a call", {"messages": [{"role": "user", "content": [{"text": "Weather?"}]}]}, bedrock(BEDROCK_USE)),
    Case("Bedrock, a document", {"messages": [{"role": "user", "content": [{"document": {}}]}]},
         bedrock({"text": "A."}), Reason.UNSUPPORTED_CONTENT),
    Case(
        "Cohere's first API",
        {
            "message": "And Bern?",
            "preamble": "Be brief.",
            "chat_history": [
                {"role": "USER", "message": "Zürich?"},
                {"role": "CHATBOT", "message": "", "tool_calls": [{"name": "get_weather", "parameters": {"city": "Z"}}]},
                {"role": "TOOL", "tool_results": [{"call": {"name": "get_weather", "parameters": {}}, "outputs": [{}]}]},
                {"role": "CHATBOT", "message": "Sunny."},
            ],
            "tools": [{"name": "get_weather", "description": "The weather.", "parameter_definitions": {
                "city": {"type": "str", "description": "A city.", "required": True}, "days": {"type": "List[int]"}}}],
        },
        {"text": "", "tool_calls": [{"name": "get_weather", "parameters": {"city": "Bern"}}], "meta": {}},
    ),
    Case("Cohere's first API, a stream", {"message": "Hello"}, {"event_type": "stream-end", "response": {"text": "Hi."}}),
    Case("Cohere's first API, stored", {"message": "Hello", "conversation_id": "c"}, {"text": "Hi."},
         Reason.EARLIER_CONVERSATION),
    Case(
        "Cohere's second API",
        {
            "messages": [QUESTION, {"role": "assistant", "tool_plan": "I look.", "tool_calls": [call()]}, {
                "role": "tool", "tool_call_id": "call_a", "content": [
                    {"type": "document", "document": {"data": '{"sky": "blue"}'}}]}],
            "tools": [TOOL],
        },
        {"message": {"role": "assistant", "content": [text("Sunny.")]}, "finish_reason": "COMPLETE"},
    ),
    Case(
        "Ollama",
        {
            "model": "llama3.2",
            "messages": [
                QUESTION,
                {"role": "assistant", "content": "", "tool_calls": [
                    {"function": {"name": "get_weather", "arguments": {"city": "Zürich"}}}]},
                {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
            ],
            "tools": [TOOL],
        },
        {"message": {"role": "assistant", "content": "Sunny.", "thinking": "Hm."}, "done": True},
    ),
    Case("Ollama, an image", {"messages": [{**QUESTION, "images": [PIXEL]}]}, {"message": {"content": "A street."}},
         Reason.UNSUPPORTED_CONTENT),
    Case("Ollama, a completion with an image", {"prompt": "What?", "images": [PIXEL]}, {"response": "A street."},
         Reason.UNSUPPORTED_CONTENT),
    Case("Cohere, documents", {"messages": [QUESTION], "documents": [{"data": "a"}]}, {"message": {"content": "A."}},
         Reason.UNSUPPORTED_CONTENT),
    Case("Cohere, a search", {"message": "Hello", "connectors": [{"id": "web-search"}]}, {"text": "Hi."},
         Reason.PROVIDER_TOOL),
    Case("Ollama, a completion", {"model": "l", "system": "Be brief.", "prompt": "Hello"}, {"response": "Hi.", "done": True}),
]  # fmt: skip

CORPUS = [
    Case(f"{provider}: {case.name}", *case[1:])
    for provider, cases in {
        "OpenAI chat": OPENAI_CHAT,
        "OpenAI Responses": OPENAI_RESPONSES,
        "Anthropic": ANTHROPIC,
        "Gemini": GEMINI,
        "others": OTHERS,
    }.items()
    for case in cases
]
