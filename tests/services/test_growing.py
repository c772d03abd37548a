"""A query costs the same however many rows there are, counted in the instructions that SQLite runs.

Postgres chooses its plans by its statistics and is measured by hand; its statements are the same.
"""

import itertools
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from log10_server import store
from log10_server.db.thresholds import CommonTags, PageSearch
from log10_server.db.transaction import Tx
from log10_server.services import completions, feedback, feedback_tasks, selectors, training, ungraded
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.filters import parse_filter
from log10_server.services.merging import CompletionFields
from log10_server.services.selectors import CompletionList
from log10_server.store.completions import Cursor, Filters
from log10_server.store.feedback import ACCEPTED, PROPOSED
from log10_server.store.feedback import Filters as FeedbackFilters

FEW, MANY = 300, 3000

QUESTIONS: dict[str, Callable[[Tx], object]] = {
    "completions with two common tags": lambda tx: completions.list_page(tx, of_tags(tx, "a", "b"), 0, 10),
    "completions with a common and a rare tag": lambda tx: completions.list_page(tx, of_tags(tx, "a", "rare"), 0, 10),
    "common tags that are rare together": lambda tx: store.completion_tags.list_with_all_tags(
        tx, ids(tx, "even", "odd"), 10
    ),
    "failed completions": lambda tx: newest(tx, status="failed"),
    "started completions, of which there are none": lambda tx: newest(tx, status="started"),
    "finished completions": lambda tx: newest(tx, status="finished"),
    "prompts with a common tag": lambda tx: newest(tx, "a", kind="prompt"),
    "failed completions with two common tags": lambda tx: newest(tx, "a", "b", status="failed"),
    "a rare model": lambda tx: newest(tx, model="rare"),
    "a rare model with a common tag": lambda tx: newest(tx, "a", model="rare"),
    "a common model with a common tag": lambda tx: newest(tx, "a", model="common", status="finished", kind="chat"),
    "a model that there is not, with a common tag": lambda tx: newest(tx, "a", model="absent"),
    "a small session with a common tag": lambda tx: newest(tx, "a", session_id="small"),
    "a large session with a rare model": lambda tx: newest(tx, session_id="large", model="rare"),
    "three common tags that are rare together": lambda tx: newest(tx, "a", "even", "odd"),
    "common filters that exclude one another": lambda tx: newest(tx, "odd", model="even"),
    "a range of time with a common tag and model": lambda tx: newest(tx, "a", model="common", created_from=1),
    "the newest of a selector": lambda tx: store.completion_tags.list_with_all_tags(tx, ids(tx, "b", "a"), 10),
    "what all tasks want": lambda tx: ungraded.list_newest(tx, None, 0, 10),
    "what a task wants": lambda tx: ungraded.list_newest(tx, "graded", 0, 10),
    "feedback": lambda tx: listed(tx),
    "feedback of a task": lambda tx: listed(tx, task_id="graded"),
    "feedback on a completion": lambda tx: listed(tx, completion_id="c7"),
    "feedback of a task on a completion": lambda tx: listed(tx, completion_id="c7", task_id="graded", state=ACCEPTED),
    "proposals": lambda tx: listed(tx, state=PROPOSED),
    "proposals of a task": lambda tx: listed(tx, state=PROPOSED, task_id="graded"),
    "what is known of a completion's tags": lambda tx: store.feedback_tasks.find_existing_tags(tx, ["a", "rare"]),
    "a page of sessions in an export": lambda tx: store.transfer.list_sessions(tx, Cursor(0, "small")),
    "the training export of a task with little feedback": lambda tx: training.page(
        tx, "small", parse_filter("a = 1"), None, 2**62
    ),
    "the proposal for a completion": lambda tx: feedback.find_open_proposal(tx, "c7"),
}


def ids(tx: Tx, *tags: str) -> list[int]:
    return selectors.find_tag_ids(tx, tags)


def of_tags(tx: Tx, *tags: str) -> Filters:
    return Filters(tag_ids=ids(tx, *tags))


def newest(tx: Tx, *tags: str, **filters: Any) -> object:
    return completions.list_newest(tx, tags, Filters(**filters), None, 10)


def listed(tx: Tx, **filters: Any) -> list[feedback.StoredFeedback]:
    return feedback.list_page(tx, FeedbackFilters(**filters), None, 0, 10)


def grown(tx: Tx, start: int, end: int) -> None:
    """Completions of common tags, some of which are hardly ever together, all graded but the first few; and tasks."""
    numbers = range(start, end)
    for number in numbers[::10]:
        task = NewFeedbackTask(f"t{number}", f"task {number}", "", "{}", (f"own {number}", "nobody's"))
        feedback_tasks.create(tx, task)
    entries = [
        Entry(
            f"c{number}",
            {
                "tags": ["a", "b", "even" if number % 2 else "odd"],
                "session_id": "large",
                "status": "finished",
                "request": f'{{"model": "{"common" if number % 3 else "even" if number % 2 else "odd"}"}}',
            },
        )
        for number in numbers
    ]
    completions.record(tx, entries)
    graded = [
        NewFeedback(None, "graded", "{}", "", CompletionList((f"c{number}",))) for number in numbers if number > 20
    ]
    feedback.record(tx, graded)
    store.sessions.add_missing(tx, {f"large {number}": number for number in numbers})
    while store.common_tags.add_pairs(tx):
        pass


def steps(tx: Tx, ask: Callable[[Tx], object]) -> int:
    """How many instructions SQLite runs meanwhile."""
    driver = tx.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    ask(tx)  # a statement is prepared once
    counted = itertools.count()
    driver.set_progress_handler(lambda: next(counted) and 0, 1)
    try:
        ask(tx)
    finally:
        driver.set_progress_handler(None, 0)
    return next(counted)


@pytest.fixture
def costs(tx: Tx) -> dict[str, list[int]]:
    """What each question costs with few, and with many."""
    if tx.backend.name == "postgresql":
        pytest.skip("only SQLite counts what it does; Postgres would need its statistics to be made first")
    before = tx.thresholds.common_tags, tx.thresholds.page_search
    tx.thresholds.common_tags = CommonTags(min_completions=50, sample_one_in=1)
    tx.thresholds.page_search = PageSearch(piece=20, max_candidates=60, seconds=60)
    feedback_tasks.create(tx, NewFeedbackTask("graded", "a task", "", "{}", ("a",)))
    grown(tx, 0, FEW)
    completions.record(tx, [Entry(f"both {number}", {"tags": ["even", "odd", "rare", "a"]}) for number in range(10)])
    rare: CompletionFields = {"status": "failed", "kind": "prompt", "request": '{"model": "rare"}'}
    small: CompletionFields = {"tags": ["a", "b"], "session_id": "small"}
    completions.record(tx, [Entry(f"rare {number}", {**small, **rare}) for number in range(9)])
    feedback.record(tx, [NewFeedback("p", "graded", "{}", "", CompletionList(("c7",)), PROPOSED)])
    feedback_tasks.create(tx, NewFeedbackTask("small", "a task", "", "{}", ()))
    feedback.record(tx, [NewFeedback("q", "small", '{"a":1}', "", CompletionList(("c7", "c8")))])
    store.sessions.add_missing(tx, {f"small {number}": number for number in range(10)})
    few = {name: steps(tx, ask) for name, ask in QUESTIONS.items()}
    grown(tx, FEW, MANY)
    counts = {name: [few[name], steps(tx, ask)] for name, ask in QUESTIONS.items()}
    tx.thresholds.common_tags, tx.thresholds.page_search = before
    return counts


def test_no_question_costs_more_when_there_is_more(costs: dict[str, list[int]]) -> None:
    dearer = {name: (few, many) for name, (few, many) in costs.items() if many > 1.5 * few}

    assert dearer == {}
    assert min(few for few, _ in costs.values()) > 10
