"""The fields of a completion, and how a row merges into what is stored (docs/api.md, "Completions"). No I/O."""

from typing import TypedDict

FINAL = frozenset({"finished", "failed"})


class CompletionFields(TypedDict, total=False):
    """The fields that a row sets. A key that is absent keeps its stored value.

    Payloads are JSON text, `tags` is the list in the order in which it was sent, `duration` is in seconds. `model` and the token
    counts are derived from the payloads.
    """

    session_id: str
    kind: str
    status: str
    duration: float
    failure_kind: str
    failure_reason: str
    tags: list[str]
    request: str
    response: str
    stacktrace: str


class DerivedFields(TypedDict, total=False):
    """What is derived from the payloads of a completion; a key that is absent is unknown."""

    model: str
    input_tokens: int
    output_tokens: int


class AllFields(CompletionFields, DerivedFields, total=False):
    """The fields of a row or of a stored completion, with the derived ones."""


def merged(stored: AllFields, incoming: AllFields) -> AllFields:
    """Merge a row into what is stored. A start that arrives after the end only fills gaps."""
    late_start = stored.get("status") in FINAL and incoming.get("status") == "started"
    return {**incoming, **stored} if late_start else {**stored, **incoming}
