"""The bodies of requests: completions as programs log them. Their text depends only on its size and a seed."""

import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

USERS = 1000
_TEXT = (
    "the model answer question of a user about order invoice weather travel summary please explain which day price "
    "number list short long because however important customer support ticket reply thanks for and with from"
)


def filler(size: int, seed: int) -> str:
    """About `size` bytes of words."""
    chosen = random.Random(seed).choices(_TEXT.split(), k=size // 4)
    return " ".join(chosen)[:size]


def payloads(size: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request and a response of OpenAI's shape that make a completion of about `size` bytes of JSON."""
    text = filler(size - 530, seed)
    half = len(text) // 2
    request = {
        "model": "gpt-4o",
        "temperature": 0.2,
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": text[:half]},
        ],
    }
    response = {
        "id": f"chatcmpl-{seed}",
        "object": "chat.completion",
        "created": 1706688000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text[half:]}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": half // 4, "completion_tokens": half // 4, "total_tokens": half // 2},
    }
    return request, response


def completion(size: int, seed: int, tags: Sequence[str], **more: Any) -> dict[str, Any]:
    """A whole completion as the versioned API takes it."""
    request, response = payloads(size, seed)
    return {"kind": "chat", "tags": list(tags), "request": request, "response": response, "duration": 1.25, **more}


def text(value: Any) -> str:
    """JSON in one line."""
    return json.dumps(value)


def common_tags(number: int) -> list[str]:
    """Two tags that most completions have, and that of one user of a thousand."""
    return ["prod", "model:gpt-4o", f"user:{number % USERS}"]


def log_rows(size: int, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row `started` and a row `finished` as `log10-io` sends them: payloads are JSON text in a string."""
    request, response = payloads(size, number)
    about = {
        "kind": "chat",
        "orig_module": "openai.api_resources.chat_completion",
        "orig_qualname": "ChatCompletion.create",
    }
    frames = [{"file": "app/answer.py", "line": "reply = client.chat(question)", "lineno": 40, "name": "answer"}]
    members = {**about, "request": json.dumps(request), "tags": common_tags(number)}
    return (
        {"status": "started", **members},
        {
            "status": "finished",
            **members,
            "response": json.dumps(response),
            "duration": 1250,
            "stacktrace": json.dumps(frames),
        },
    )


def write_lines(file: Path, values: Iterable[Any]) -> Path:
    """A file with a line of JSON for each value."""
    with file.open("w") as output:
        output.writelines(text(value) + "\n" for value in values)
    return file
