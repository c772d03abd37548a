"""Which completions a training export takes, and how those that it leaves out are counted."""

import json
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from log10_server.db.database import Database
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
from log10_server.store.feedback import ACCEPTED, PROPOSED, State


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
    entries = [
        Entry(completion_id, {"request": '{"messages":[{"role":"user","content":"a"}]}'}) for completion_id in ids
    ]
    if response is not None:
        for entry in entries:
            entry.fields["response"] = response.format(entry.completion_id)
    completions.record(tx, entries)


def grade(tx: Tx, values: str, *ids: str, state: State = "accepted", task_id: str = "t") -> None:
    (outcome,) = feedback.record(tx, [NewFeedback(None, task_id, values, "", CompletionList(ids), state)])
    assert isinstance(outcome, feedback.StoredFeedback)


@pytest.fixture
def tasks(tx: Tx) -> None:
    for task_id in ("t", "other"):
        feedback_tasks.create(tx, NewFeedbackTask(task_id, task_id, "", "{}", ()))


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
def test_each_completion_has_one_row_in_the_order_of_the_feedback(tx: Tx) -> None:
    log(tx, "d", "b", "a", "c")
    grade(tx, '{"grade":1}', "a")
    for _ in range(3):
        grade(tx, '{"grade":5}', "c", "b")
    grade(tx, '{"grade":5}', "d", "b", "a")

    assert chosen(tx, "grade = 5") == (["b", "c", "a", "d"], TrainingSummary(4))


@pytest.fixture
def small_pages(database: Database) -> Iterator[None]:
    """A page of a training export has two completions."""
    before, database.thresholds.training_page_size = database.thresholds.training_page_size, 2
    yield
    database.thresholds.training_page_size = before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.usefixtures("tasks", "small_pages")
def test_pages_have_the_completions_that_a_plain_computation_selects(tx: Tx, seed: int) -> None:
    random = Random(seed)
    ids = [f"c{number}" for number in range(15)]
    log(tx, *ids)
    expected: dict[str, None] = {}
    for _ in range(40):
        graded = random.sample(ids, random.choice([1, 1, 2, 7]))
        state: State
        grade_given, state = random.randint(1, 5), random.choice([ACCEPTED, ACCEPTED, PROPOSED])
        grade(tx, f'{{"grade":{grade_given}}}', *graded, state=state)
        if grade_given >= 4 and state == ACCEPTED:
            expected |= dict.fromkeys(sorted(graded))

    assert chosen(tx, "grade >= 4") == (list(expected), TrainingSummary(len(expected)))


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
