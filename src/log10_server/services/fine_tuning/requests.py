"""Reads the messages of a request into a conversation, in the format of each provider."""

from collections.abc import Iterable, Mapping
from typing import Any

from log10_server.services.fine_tuning.blocks import (
    Block,
    joined_text,
    make_call,
    make_result,
    read_blocks,
    read_call,
    text_of,
)
from log10_server.services.fine_tuning.conversation import (
    Call,
    Content,
    Conversation,
    Part,
    Reason,
    Result,
    UntranslatableError,
)

# Types of items in the Responses API. The first refer to messages that only OpenAI stores, and the others belong to
# tools that OpenAI runs.
_STORED_ITEMS = ("item_reference", "compaction")
_PROVIDER_ITEMS = ("web_search_", "file_search_", "code_interpreter_", "image_generation_", "mcp_")
_SYSTEM_ROLES = frozenset({"system", "developer"})
_COHERE_ROLES = {"USER": "user", "CHATBOT": "assistant", "SYSTEM": "system", "TOOL": "tool"}


def read_request(request: Mapping[str, Any]) -> Conversation:
    """Return the conversation up to the answer.

    Raises UntranslatableError if the request contains something that a fine-tuning row can't, or is in no known format.
    """
    if request.get("connectors"):  # Connectors let Cohere search the web.
        raise UntranslatableError(Reason.PROVIDER_TOOL)
    if request.get("images") or request.get("documents"):  # Ollama and Cohere accept these next to the messages.
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    conversation = Conversation()
    if isinstance(messages := request.get("messages"), list) and messages:
        _add_system(conversation, request.get("system"))
        for message in messages:
            _add_message(conversation, message)
    elif request.get("contents") is not None:
        _add_gemini(conversation, request)
    elif request.get("input") is not None:
        _add_responses_input(conversation, request)
    elif isinstance(request.get("message"), str):
        _add_cohere(conversation, request)
    else:
        _add_system(conversation, request.get("system"))
        conversation.add_user(_prompt(request))
    return conversation


class Assistant:
    """Collects an assistant's turn that arrives in several pieces. The texts come first, and then the calls.

    When the turn is complete, `move_to` adds it to the conversation as one message.
    """

    def __init__(self) -> None:
        self.text: str | None = None
        self.calls: list[Call] = []

    def add(self, blocks: Iterable[Block]) -> None:
        """Add blocks to the turn.

        Raises UntranslatableError for images and results, which an assistant's message can't hold.
        """
        for block in blocks:
            if isinstance(block, Call):
                self.calls.append(block)
            elif isinstance(block, Result):
                raise UntranslatableError(Reason.INVALID_MESSAGE)
            else:
                self.text = (self.text or "") + joined_text([block])

    def add_message(self, message: Mapping[str, Any]) -> None:
        """Add an assistant's message with its `content`, `tool_calls`, `function_call` or `refusal`."""
        if message.get("annotations"):  # Annotations cite documents that the provider searched.
            raise UntranslatableError(Reason.PROVIDER_TOOL)
        content = message.get("content")
        if content is not None:
            self.add(read_blocks(content))
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            self.calls += map(read_call, calls)
        elif calls is not None:
            raise UntranslatableError(Reason.INVALID_TOOL)
        if not self.calls and message.get("function_call") is not None:
            self.calls.append(read_call(message["function_call"]))
        if not self.text and isinstance(refusal := message.get("refusal"), str):
            self.text = refusal
        if not self.text and not self.calls and message.get("audio") is not None:
            raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)

    def move_to(self, conversation: Conversation, name: Any = None) -> None:
        """Add the collected turn to the conversation as one message, and start with an empty turn again."""
        if self.text is not None or self.calls:
            conversation.add_assistant(self.text, self.calls, name)
        self.text, self.calls = None, []


def _add_message(conversation: Conversation, message: Any) -> None:
    """Add a message with `role` and `content`. All chat APIs except Gemini's use these members."""
    if not isinstance(message, dict):
        raise UntranslatableError(Reason.INVALID_MESSAGE)
    if message.get("images"):  # Ollama sends images without the media type that a data URL needs.
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    role, content, name = message.get("role"), message.get("content"), message.get("name")
    if role == "user":
        _add_user_blocks(conversation, content if isinstance(content, str) else read_blocks(content), name)
    elif role == "assistant":
        assistant = Assistant()
        assistant.add_message(message)
        if assistant.text is None and not assistant.calls:
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        assistant.move_to(conversation, name)
    elif isinstance(role, str) and role in _SYSTEM_ROLES:
        conversation.add_system(text_of(content), name)
    elif role in ("tool", "function"):
        called = message.get("tool_name") if name is None else name
        conversation.add_result(make_result(message.get("tool_call_id"), called, content))
    else:
        raise UntranslatableError(Reason.INVALID_MESSAGE)


def _add_user_blocks(conversation: Conversation, content: str | list[Block], name: Any = None) -> None:
    """Add a user's message.

    Anthropic, Gemini and Bedrock put tool results inside it, but OpenAI requires them before it.
    """
    if isinstance(content, str):
        conversation.add_user(content, name)
        return
    parts: list[Part] = []
    has_results = False
    for block in content:
        if isinstance(block, Call):
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        if isinstance(block, Result):
            conversation.add_result(block)
            has_results = True
        else:
            parts.append(block)
    if parts or not has_results:
        # OpenAI refuses a message with an empty text and other parts.
        conversation.add_user([part for part in parts if part.get("text") != ""] or ("" if parts else []), name)


def _add_system(conversation: Conversation, content: Any) -> None:
    if content is not None and (text := text_of(content)):
        conversation.add_system(text)


def _add_gemini(conversation: Conversation, request: Mapping[str, Any]) -> None:
    """Add Gemini's `contents`: a text, or a list of contents with `parts`.

    Gemini's Python library also accepts bare parts.
    """
    for holder in (request, request.get("config")):
        if isinstance(holder, dict):
            if holder.get("cachedContent", holder.get("cached_content")) is not None:
                raise UntranslatableError(Reason.EARLIER_CONVERSATION)
            instruction = holder.get("systemInstruction", holder.get("system_instruction"))
            _add_system(conversation, instruction.get("parts") if isinstance(instruction, dict) else instruction)
    contents = request["contents"]
    for content in contents if isinstance(contents, list) else [contents]:
        if not _has_parts(content):
            _add_user_blocks(conversation, read_blocks(content))
        elif content.get("role") == "model":
            assistant = Assistant()
            assistant.add(read_blocks(content["parts"]))
            assistant.move_to(conversation)
        elif content.get("role") in (None, "user", "function", "tool"):
            _add_user_blocks(conversation, read_blocks(content["parts"]))
        else:
            raise UntranslatableError(Reason.INVALID_MESSAGE)
    if not conversation.messages:
        raise UntranslatableError(Reason.NO_MESSAGES)


def _has_parts(content: Any) -> bool:
    return isinstance(content, dict) and "parts" in content


def _add_responses_input(conversation: Conversation, request: Mapping[str, Any]) -> None:
    """Add the `instructions` and the `input` of the Responses API.

    The input is a text, or a list of items in the order in which they occurred.
    """
    if any(request.get(name) is not None for name in ("previous_response_id", "conversation", "prompt")):
        raise UntranslatableError(Reason.EARLIER_CONVERSATION)
    _add_system(conversation, request.get("instructions"))
    items = request["input"]
    assistant = Assistant()
    for item in items if isinstance(items, list) else [{"role": "user", "content": items}]:
        if is_assistant_item(item):
            add_assistant_item(assistant, item)
            continue
        assistant.move_to(conversation)
        if not isinstance(item, dict):
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        kind = item.get("type")
        if kind == "function_call_output":
            conversation.add_result(make_result(item.get("call_id"), None, item.get("output")))
        elif kind in (None, "message"):
            _add_message(conversation, item)
        else:
            raise UntranslatableError(reason_against_item(kind))
    assistant.move_to(conversation)
    if not conversation.messages:
        raise UntranslatableError(Reason.NO_MESSAGES)


def is_assistant_item(item: Any) -> bool:
    """Return whether an item of the Responses API is part of an assistant's turn."""
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind in ("function_call", "reasoning") or (kind in (None, "message") and item.get("role") == "assistant")


def reason_against_item(kind: Any) -> Reason:
    """Return the reason why a row can't hold this item of the Responses API.

    The caller has checked that the item is not a message, a function call or the output of one.
    """
    if not isinstance(kind, str):
        return Reason.INVALID_MESSAGE
    if kind in _STORED_ITEMS:
        return Reason.EARLIER_CONVERSATION
    return Reason.PROVIDER_TOOL if kind.startswith(_PROVIDER_ITEMS) else Reason.INVALID_TOOL


def add_assistant_item(assistant: Assistant, item: Mapping[str, Any]) -> None:
    """Add a message, a call or a thought of the Responses API; thoughts are left out."""
    if item.get("type") == "function_call":
        assistant.calls.append(make_call(item.get("call_id"), item.get("name"), item.get("arguments")))
    elif item.get("type") != "reasoning":
        assistant.add_message(item)


def _add_cohere(conversation: Conversation, request: Mapping[str, Any]) -> None:
    """Add what a request of Cohere's first API holds: `preamble`, `chat_history`, and `tool_results` or `message`."""
    if request.get("conversation_id") is not None:
        raise UntranslatableError(Reason.EARLIER_CONVERSATION)
    _add_system(conversation, request.get("preamble"))
    history = request.get("chat_history")
    for turn in history if isinstance(history, list) else []:
        role = turn.get("role") if isinstance(turn, dict) else None
        if not isinstance(role, str) or role not in _COHERE_ROLES:
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        if role == "TOOL":
            _add_cohere_results(conversation, turn.get("tool_results"))
        else:
            translated = {
                "role": _COHERE_ROLES[role],
                "content": turn.get("message"),
                "tool_calls": turn.get("tool_calls"),
            }
            _add_message(conversation, translated)
    results = request.get("tool_results")
    if results:
        _add_cohere_results(conversation, results)
    if request["message"] or not results:
        conversation.add_user(request["message"])


def _add_cohere_results(conversation: Conversation, results: Any) -> None:
    if not isinstance(results, list):
        raise UntranslatableError(Reason.INVALID_MESSAGE)
    for result in results:
        call = result.get("call") if isinstance(result, dict) else None
        if not isinstance(call, dict):
            raise UntranslatableError(Reason.INVALID_MESSAGE)
        conversation.add_result(make_result(None, call.get("name"), {"json": result.get("outputs")}))


def _prompt(request: Mapping[str, Any]) -> Content:
    prompt = request.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str) or not prompt:
        raise UntranslatableError(Reason.NO_MESSAGES)
    return prompt
