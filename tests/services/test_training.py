"""Which completions a training export takes, and how those that it leaves out are counted."""

import json
from collections import Counter

import pytest

from log10_server.db.transaction import Tx
from log10_server.services import completions, feedback, feedback_tasks, training
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.filters import parse_filter
from log10_server.services.fine_tuning.conversation import Reason
from log10_server.services.selectors import CompletionList
from log10_server.services.training import TrainingSummary
from log10_server.services.transfer import begin
from log10_server.store.feedback import State


def chosen(tx: Tx, filter_text: str, task_id: str = "t") -> tuple[list[str], TrainingSummary]:
    """The answers in the rows, and what was counted."""
    answers, summary, after, until = [], TrainingSummary(), None, begin(tx).until
    while True:
        page = training.page(tx, task_id, parse_filter(filter_text), after, until)
        answers += [json.loads(row)["messages"][-1]["content"] for row in page.rows]
        summary.add(page.summary)
        if (after := page.next_cursor) is None:
            return answers, summary


def log(tx: Tx, *ids: str, response: str | None = '{{"choices":[{{"message":{{"content":"{}"}}}}]}}') -> None:
    entries = [Entry(id, {"request": '{"messages":[{"role":"user","content":"a"}]}'}) for id in ids]
    if response is not None:
        for entry in entries:
            entry.fields["response"] = response.format(entry.completion_id)
    completions.record(tx, entries)


def grade(tx: Tx, values: str, *ids: str, state: State = "accepted", task_id: str = "t") -> None:
    (outcome,) = feedback.record(tx, [NewFeedback(None, task_id, values, "", CompletionList(ids), state)])
    assert isinstance(outcome, feedback.StoredFeedback)


@pytest.fixture
def tasks(tx: Tx) -> None:
    for id in ("t", "other"):
        feedback_tasks.create(tx, NewFeedbackTask(id, id, "", "{}", ()))


@pytest.mark.usefixtures("tasks")
def test_completions_are_chosen_by_the_values_of_accepted_feedback_of_the_task(tx: Tx) -> None:
    log(tx, "good", "bad", "proposed", "rejected", "elsewhere", "ungraded")
    grade(tx, '{"grade":5}', "good")
    grade(tx, '{"grade":3}', "bad")
    grade(tx, '{"grade":5}', "proposed", state="proposed")
    grade(tx, '{"grade":5}', "rejected", state="rejected")
    grade(tx, '{"grade":5}', "elsewhere", task_id="other")

    assert chosen(tx, "grade >= 4") == (["good"], TrainingSummary(1))
    assert chosen(tx, "grade >= 4", "other") == (["elsewhere"], TrainingSummary(1))
    assert chosen(tx, "grade >= 4", "unknown") == ([], TrainingSummary())


@pytest.mark.usefixtures("tasks")
def test_each_completion_is_there_once_and_the_oldest_first(tx: Tx) -> None:
    log(tx, "b", "a", "c")
    for _ in range(3):
        grade(tx, '{"grade":5}', "c", "a", "b")

    assert chosen(tx, "grade = 5") == (["b", "a", "c"], TrainingSummary(3))


@pytest.mark.usefixtures("tasks")
def test_completions_without_a_row_are_counted_by_reason(tx: Tx) -> None:
    log(tx, "good")
    log(tx, "open", "not chosen", response=None)
    log(tx, "failed", response='{{"error":1}}')
    log(tx, "searched", response='{{"output":[{{"type":"web_search_call"}}]}}')
    grade(tx, '{"grade":5}', "good", "open", "failed", "searched")
    grade(tx, '{"grade":1}', "not chosen")

    left_out = Counter({Reason.NO_ANSWER: 2, Reason.PROVIDER_TOOL: 1})
    assert chosen(tx, "grade = 5") == (["good"], TrainingSummary(1, left_out))


@pytest.mark.usefixtures("tasks")
def test_more_than_a_page_is_read_to_its_end(tx: Tx) -> None:
    ids = [f"c-{number:04}" for number in range(1201)]
    log(tx, *ids)
    for start in range(0, 1201, 400):
        grade(tx, '{"grade":5}', *ids[start : start + 400])

    assert chosen(tx, "grade = 5") == (ids, TrainingSummary(1201))


def test_a_summary_tells_each_reason_in_words_and_by_its_name() -> None:
    summary = TrainingSummary(5, Counter({Reason.NO_ANSWER: 1, Reason.PROVIDER_TOOL: 2}), rows_with_tools_left_out=3)

    assert summary.to_json() == {
        "rows": 5,
        "left_out": 3,
        "left_out_by_reason": {"no_answer": 1, "provider_tool": 2},
        "rows_with_tools_left_out": 3,
    }
    assert summary.to_text().splitlines() == [
        "Rows: 5; completions left out: 3.",
        "  2: the provider ran one of its built-in tools, such as a web search.",
        "  1: the response has no answer (it failed, is empty or still open).",
        "Rows whose request also offered tools that the format has no place for, such as a web search: 3. "
        "Those tools are not in the rows.",
    ]
