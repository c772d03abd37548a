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
from log10_server.strict_json import written

T = TypeVar("T")

_AT_ONCE = 1000


def load_completions(
    database: Database, organization_id: str, numbers: range, size: int, tags_of: Callable[[int], Sequence[str]]
) -> None:
    """A completion for each number, with that number in its id and of `size` bytes."""
    texts = [tuple(map(written, bodies.payloads(size, seed))) for seed in range(97)]

    def entry(number: int) -> Entry:
        request, response = texts[number % len(texts)]
        fields: dict[str, Any] = {"request": request, "response": response, "kind": "chat", "duration": 1.25}
        fields["tags"] = list(tags_of(number))
        return Entry(completion_id(number), cast(CompletionFields, fields))

    for some in _in_pieces(map(entry, numbers)):
        with database.writing() as connection:
            completions.record(database.tx(connection, organization_id), some)


def load_feedback(database: Database, organization_id: str, about: Iterator[tuple[int, str]], json_values: str) -> None:
    """Feedback on each completion (by its number) of a task (by its id)."""
    uploads = (
        NewFeedback(None, task_id, json_values, "", CompletionList((completion_id(number),)))
        for number, task_id in about
    )
    for some in _in_pieces(uploads):
        with database.writing() as connection:
            feedback.record(database.tx(connection, organization_id), some)


def completion_id(number: int) -> str:
    """Ids in the order of their making, as the server's own are."""
    return f"{number:08d}-loaded-completion"


def _in_pieces(values: Iterator[T]) -> Iterator[list[T]]:
    while some := list(islice(values, _AT_ONCE)):
        yield some
