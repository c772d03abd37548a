"""Fills a database with a long history by calling the services, so that all tables are as a server would leave them."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

from benchmarks import bodies
from log10_server.db.database import Database
from log10_server.services import completions, feedback
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.merging import CompletionFields
from log10_server.services.selectors import CompletionList

T = TypeVar("T")

TEXTS = 97  # how many different texts the loaded completions have
_ROWS_IN_TRANSACTION = 1000
Upload = tuple[int, str, str]  # the number of a completion, the id of a task, the values as JSON


def load_completions(
    database: Database, organization_id: str, numbers: range, size: int, fields_of: Callable[[int], dict[str, Any]]
) -> None:
    """A completion of `size` bytes for each number.

    `fields_of` may replace its fields, and may set `created_at`, and the `model` that is named in the request.
    """
    texts = [tuple(map(bodies.text, bodies.payloads(size, seed))) for seed in range(TEXTS)]

    def entry(number: int) -> Entry:
        request, response = texts[number % TEXTS]
        fields = {
            "request": request,
            "response": response,
            "kind": "chat",
            "duration": 1.25,
            "tags": bodies.tags(number),
            "session_id": bodies.session_id(number),
            **fields_of(number),
        }
        created_at = fields.pop("created_at", None)
        if model := fields.pop("model", None):
            fields["request"] = fields["request"].replace('"gpt-4o"', f'"{model}"', 1)
        present = {name: value for name, value in fields.items() if value is not None}
        return Entry(completion_id(number), cast(CompletionFields, present), created_at=created_at)

    for entries in _in_pieces(map(entry, numbers)):
        with database.writing() as connection:
            completions.record(database.tx(connection, organization_id), entries)


def load_feedback(database: Database, organization_id: str, uploads: Iterator[Upload]) -> None:
    """Feedback on one completion each."""
    rows = (
        NewFeedback(None, task_id, json_values, "", CompletionList((completion_id(number),)))
        for number, task_id, json_values in uploads
    )
    for some in _in_pieces(rows):
        with database.writing() as connection:
            feedback.record(database.tx(connection, organization_id), some)


def completion_id(number: int) -> str:
    """Ids in the order of their making, as the server's own are."""
    return f"{number:08d}-loaded-completion"


def _in_pieces(values: Iterator[T]) -> Iterator[Sequence[T]]:
    while some := list(islice(values, _ROWS_IN_TRANSACTION)):
        yield some
