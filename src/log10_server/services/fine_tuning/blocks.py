"""Reads the blocks of a message's content: texts, images, tool calls and tool results, in the format of each provider.

In OpenAI's and Anthropic's formats a block has a `type`. In Gemini's and Bedrock's it has one member, whose name says
what the block is.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from log10_server.services.fine_tuning.conversation import (
    Call,
    Part,
    Reason,
    Result,
    UntranslatableError,
    arguments_text,
    function_name,
    image_part,
    text_part,
)

Block = Part | Call | Result

# A model's thoughts are not part of its answer, and a cache point has no content, so blocks of these types are left
# out.
_SKIPPED_TYPES = frozenset({"thinking", "redacted_thinking", "reasoning"})
_SKIPPED_MEMBERS = ("reasoningContent", "cachePoint")
_PROVIDER_MEMBERS = ("executableCode", "executable_code", "codeExecutionResult", "code_execution_result")


def read_blocks(content: Any) -> list[Block]:
    """Return the blocks of the content of a message. Thoughts are left out.

    The content may be a text, a list of blocks or a single block. Raises UntranslatableError for blocks that a
    fine-tuning row can't hold.
    """
    if isinstance(content, str | dict):
        content = [content]
    if not isinstance(content, list):
        raise UntranslatableError(Reason.INVALID_MESSAGE)
    return [block for block in map(_read_block, content) if block is not None]


def text_of(content: Any) -> str:
    """Return the text of the content of a message. Raises UntranslatableError if it has blocks other than texts."""
    return joined_text(read_blocks(content))


def joined_text(blocks: Iterable[Block]) -> str:
    """Return the texts of the blocks, joined. Raises UntranslatableError if a block is not a text."""
    texts = []
    for block in blocks:
        if not isinstance(block, dict) or block["type"] != "text":
            raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
        texts.append(block["text"])
    return "".join(texts)


def result_text(content: Any) -> str:
    """Return the text of a tool's result. If a provider sends the result as JSON data, it is written as JSON text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    pieces = content if isinstance(content, list) else [content]
    return "".join(map(_result_piece, pieces))


def json_text(data: Any) -> str:
    """Write `data` as JSON text. Characters beyond ASCII are not escaped. Raises ValueError for infinity and NaN."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def read_call(call: Any) -> Call:
    """Read a tool call in OpenAI's chat format. `type` may be missing.

    Cohere and Ollama send the arguments as an object.
    """
    if not isinstance(call, dict):
        raise UntranslatableError(Reason.INVALID_TOOL)
    kind = call.get("type")
    if kind not in (None, "", "function"):  # Arguments of OpenAI's custom tools are any text.
        raise UntranslatableError(Reason.INVALID_TOOL)
    function = call.get("function")
    if not isinstance(function, dict):
        function = call
    arguments = function.get("arguments")
    return make_call(
        call.get("id"), function.get("name"), function.get("parameters") if arguments is None else arguments
    )


def make_call(call_id: Any, name: Any, arguments: Any) -> Call:
    """Build a call.

    Raises UntranslatableError if OpenAI would refuse the name, or if the arguments are not a JSON object.
    """
    if arguments is None:
        arguments = {}
    text = arguments if isinstance(arguments, str) else json_text(arguments)
    return Call(_text_or_none(call_id), function_name(name), arguments_text(text))


def make_result(call_id: Any, name: Any, content: Any) -> Result:
    """Build the result of a tool call. An id or name that is not a text is ignored."""
    return Result(_text_or_none(call_id), _text_or_none(name), result_text(content))


def _read_block(block: Any) -> Block | None:
    if isinstance(block, str):
        return text_part(block)
    if not isinstance(block, dict):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    kind = block.get("type")
    if not isinstance(kind, str):
        return _read_untyped_block(block)
    match kind:
        case "text" | "input_text" | "output_text":
            if block.get("annotations"):  # Annotations cite documents that the provider searched.
                raise UntranslatableError(Reason.PROVIDER_TOOL)
            return text_part(block.get("text"))
        case "refusal":
            return text_part(block.get("refusal"))
        case "image_url" | "input_image":
            image = block.get("image_url")
            return (
                image_part(image.get("url"), image.get("detail"))
                if isinstance(image, dict)
                else image_part(image, block.get("detail"))
            )
        case "image":
            return _anthropic_image(block.get("source"))
        case "tool_use":
            return make_call(block.get("id"), block.get("name"), block.get("input"))
        case "tool_result":
            return make_result(block.get("tool_use_id"), None, block.get("content"))
    if kind in _SKIPPED_TYPES:
        return None
    own_tool = kind.endswith(("_tool_use", "_tool_result"))
    raise UntranslatableError(Reason.PROVIDER_TOOL if own_tool else Reason.UNSUPPORTED_CONTENT)


def _read_untyped_block(block: Mapping[str, Any]) -> Block | None:
    """Read a block in Gemini's or Bedrock's format. Gemini's Python library writes members that are not set as null."""
    if block.get("thought") is True:
        return None
    for name, member in block.items():
        if name in _SKIPPED_MEMBERS:
            return None
        if name in _PROVIDER_MEMBERS and member is not None:
            raise UntranslatableError(Reason.PROVIDER_TOOL)
        if name == "text" and member is not None:
            return text_part(member)
        if not isinstance(member, dict):
            continue
        match name:
            case "functionCall" | "function_call":
                return make_call(member.get("id"), member.get("name"), member.get("args"))
            case "functionResponse" | "function_response":
                return make_result(member.get("id"), member.get("name"), {"json": member.get("response")})
            case "inlineData" | "inline_data":
                return _inline_image(member.get("mimeType", member.get("mime_type")), member.get("data"))
            case "fileData" | "file_data":
                return _linked_image(member)
            case "toolUse":
                return make_call(member.get("toolUseId"), member.get("name"), member.get("input"))
            case "toolResult":
                return make_result(member.get("toolUseId"), None, member.get("content"))
            case "image":
                source = member.get("source")
                data = source.get("bytes") if isinstance(source, dict) else None
                return _inline_image(f"image/{member.get('format')}", data)
    if block and all(member is None for member in block.values()):
        return None
    raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)


def _anthropic_image(source: Any) -> Part:
    if not isinstance(source, dict):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    if source.get("type") == "url" or "url" in source:
        return image_part(source.get("url"))
    return _inline_image(source.get("media_type"), source.get("data"))


def _linked_image(file: Mapping[str, Any]) -> Part:
    media_type = file.get("mimeType", file.get("mime_type"))
    if not isinstance(media_type, str) or not media_type.startswith("image/"):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    return image_part(file.get("fileUri", file.get("file_uri")))


def _inline_image(media_type: Any, data: Any) -> Part:
    if not isinstance(media_type, str) or not isinstance(data, str):
        raise UntranslatableError(Reason.UNSUPPORTED_CONTENT)
    return image_part(f"data:{media_type};base64,{data}")


def _result_piece(piece: Any) -> str:
    if isinstance(piece, dict):
        if "json" in piece:  # Bedrock
            return json_text(piece["json"])
        document = piece.get("document")
        if piece.get("type") == "document" and isinstance(document, dict):  # Cohere
            data = document.get("data")
            return data if isinstance(data, str) else json_text(data)
    return text_of([piece])


def _text_or_none(text: Any) -> str | None:
    return text if isinstance(text, str) and text else None
