"""What is known of a completion after one more row about it (docs/api.md, "Completions"). Pure."""

from typing import TypedDict

FINAL = frozenset({"finished", "failed"})


class CompletionFields(TypedDict, total=False):
    """What a row says of a completion; a key that is absent says nothing.

    Payloads are JSON text, `tags` is the list in the order given, `duration` is in seconds. `model` and the token
    counts are derived from the payloads.
    """

    session_id: str
    kind: str
    status: str
    model: str
    input_tokens: int
    output_tokens: int
    duration: float
    failure_kind: str
    failure_reason: str
    tags: list[str]
    request: str
    response: str
    stacktrace: str


def merged(stored: CompletionFields, said: CompletionFields) -> CompletionFields:
    """What is known after `said`. A start that comes after the end only fills gaps."""
    late_start = stored.get("status") in FINAL and said.get("status") == "started"
    return {**said, **stored} if late_start else {**stored, **said}
