"""The bodies of requests: completions as programs log them. Their text depends only on their size and a number.

A completion has a session of its own, a tag of its own, a tag that 1 % of all completions have, and a tag that all have
and that a feedback task wants. Its text is mostly English, with German, Japanese and emoji in it, in UTF-8.

`wrk` sends the bodies of a file in turn. So that each request still has a new session and a new tag, these bodies have
marks (`OWN_TAG_MARK`, `SESSION_MARK`), which `load/marks.lua` replaces with random digits in each request.
"""

import json
import random
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

COMMON_TAG = "production"
USERS = 100  # each has a tag, which 1 % of all completions have
OWN_TAG_MARK = "@own-tag-@@@"  # of 12 and of 16 characters, as the digits that replace them
SESSION_MARK = "@session-id-@@@@"
DESCRIPTION = (
    "each completion has a new session, a tag of its own, a tag that 1 % have, and a common tag that a task wants; "
    "its text is English with German, Japanese and emoji (about 5 % of its characters are not ASCII)"
)

_TEXTS = {  # the words of each language, and how many of a hundred words are in it
    (
        "the model answer question of a user about order invoice weather travel summary please explain which day price "
        "number list short long because however important customer support ticket reply thanks for and with from"
    ): 82,
    "Grüße Straße für Rückfrage Lieferung bestätigen natürlich Überweisung nächste möglich Auftrag schön": 13,
    "請求書 天気 ありがとう 質問 今日 配送 東京 確認": 4,
    "🙂 🚀 ✅ 🎉": 1,
}
_WORDS = [word for words in _TEXTS for word in words.split()]
_WEIGHTS = [share / len(words.split()) for words, share in _TEXTS.items() for _ in words.split()]


def filler(size: int, seed: int) -> str:
    """Words that are `size` bytes of UTF-8, or up to three fewer."""
    chosen = random.Random(seed).choices(_WORDS, _WEIGHTS, k=size // 4 + 1)
    return " ".join(chosen).encode()[:size].decode("utf-8", "ignore")


def payloads(size: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request and a response of OpenAI's shape that make a completion of about `size` bytes of JSON."""
    return _payloads(filler(max(size - _overhead(), 0), seed), seed)


def _payloads(words: str, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    half = len(words) // 2
    request = {
        "model": "gpt-4o",
        "temperature": 0.2,
        "messages": [
            {"role": "system", "content": "Answer in one sentence."},
            {"role": "user", "content": words[:half]},
        ],
    }
    response = {
        "id": f"chatcmpl-{seed}",
        "object": "chat.completion",
        "created": 1706688000,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": words[half:]}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": half // 4, "completion_tokens": half // 4, "total_tokens": half // 2},
    }
    return request, response


@cache
def _overhead() -> int:
    """The bytes of a completion without its text."""
    request, response = _payloads("", 1000)
    return len(text(_completion(request, response, tags(1), session_id(1))).encode())


def completion(size: int, number: int, **more: Any) -> dict[str, Any]:
    """A whole completion as the versioned API takes it, with the tags and the session of this number."""
    request, response = payloads(size, number)
    return {**_completion(request, response, tags(number), session_id(number)), **more}


def marked_completion(size: int, number: int) -> dict[str, Any]:
    """The same with marks, so that the load tool gives each request a new session and a new tag."""
    return completion(size, number, tags=marked_tags(number), session_id=f"session-{SESSION_MARK}")


def _completion(request: Any, response: Any, names: Sequence[str], session: str) -> dict[str, Any]:
    return {
        "kind": "chat",
        "tags": list(names),
        "session_id": session,
        "request": request,
        "response": response,
        "duration": 1.25,
    }


def tags(number: int) -> list[str]:
    """The tag that only this completion has, that of its user, and the common one."""
    return [own_tag(number), f"user-{number % USERS}", COMMON_TAG]


def marked_tags(number: int) -> list[str]:
    """The same with a mark in the tag that only one completion has."""
    return [f"request-{OWN_TAG_MARK}", *tags(number)[1:]]


def own_tag(number: int) -> str:
    """Tags of consecutive numbers are in no order, as the ids of requests are not."""
    return f"request-{_digits(f'tag {number}', len(OWN_TAG_MARK))}"


def session_id(number: int) -> str:
    """The id of the session that only this completion has, in no order either."""
    return f"session-{_digits(f'session {number}', len(SESSION_MARK))}"


def _digits(name: str, count: int) -> str:
    return blake2b(name.encode(), digest_size=count // 2).hexdigest()


def text(value: Any) -> str:
    """JSON in one line, as short as it can be, with characters beyond ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def log_rows(size: int, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row `started` and a row `finished` as `log10-io` sends them.

    Payloads are JSON text in a string. In this text `log10-io` writes characters beyond ASCII as escapes.
    """
    request, response = payloads(size, number)
    frames = [{"file": "app/answer.py", "line": "reply = client.chat(question)", "lineno": 40, "name": "answer"}]
    members = {
        "kind": "chat",
        "orig_module": "openai.api_resources.chat_completion",
        "orig_qualname": "ChatCompletion.create",
        "request": json.dumps(request),
        "tags": marked_tags(number),
        "session_id": f"session-{SESSION_MARK}",
    }
    finished = {"response": json.dumps(response), "duration": 1250, "stacktrace": json.dumps(frames)}
    return {"status": "started", **members}, {"status": "finished", **members, **finished}


def write_lines(file: Path, values: Iterable[Any]) -> Path:
    """A file with a line of JSON for each value."""
    with file.open("w", encoding="utf-8") as output:
        output.writelines(text(value) + "\n" for value in values)
    return file
