"""Defines the fields of a completion, and how a row is merged into a stored completion (docs/api.md, "Completions").

Nothing here reads or writes the database.
"""

from typing import TypedDict

FINAL = frozenset({"finished", "failed"})


class CompletionFields(TypedDict, total=False):
    """The fields that a row sets. If a key is absent, the stored value stays.

    `request`, `response` and `stacktrace` are JSON texts, `tags` has the tags in the order in which they were sent, and
    `duration` is in seconds.
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
    """The model and the token counts, which are derived from the payloads. An absent key means unknown."""

    model: str
    input_tokens: int
    output_tokens: int


class AllFields(CompletionFields, DerivedFields, total=False):
    """All fields of a row or of a stored completion: those that were sent, and those derived from the payloads."""


def merged(stored: AllFields, incoming: AllFields) -> AllFields:
    """Merge a row into a stored completion. The values of the row win, with one exception.

    A row with the status `started` may arrive after the row that finished the completion. It is older, so it only sets
    fields that are not set.
    """
    late_start = stored.get("status") in FINAL and incoming.get("status") == "started"
    return {**incoming, **stored} if late_start else {**stored, **incoming}
