"""Selects completions with good feedback, and translates them into OpenAI's chat fine-tuning format."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services.filters import Predicate
from log10_server.services.fine_tuning.conversation import EXPLANATIONS, Reason, UntranslatableError
from log10_server.services.fine_tuning.rows import json_row
from log10_server.store.completions import Cursor
from log10_server.store.feedback import ACCEPTED
from log10_server.store.transfer import PayloadsRow, TaskFeedbackRow, Window
from log10_server.strict_json import value

_PARTS_PER_PAGE = 10  # the completions of a page are checked in so many parts
_FEEDBACK_PER_COMPLETION = (
    25  # if the completions of a page have more feedback of the task than this, the page ends early
)
_FEEDBACK_PER_READ = 50


@dataclass
class TrainingSummary:
    """The number of rows in an export, and of the completions that were left out, by reason."""

    rows: int = 0
    left_out: Counter[Reason] = field(default_factory=Counter)
    rows_with_tools_left_out: int = 0

    def add(self, other: "TrainingSummary") -> None:
        """Add the counts of another part of the same export."""
        self.rows += other.rows
        self.left_out += other.left_out
        self.rows_with_tools_left_out += other.rows_with_tools_left_out

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name, in the form of the last line of an export over HTTP."""
        return {
            "rows": self.rows,
            "left_out": self.left_out.total(),
            "left_out_by_reason": {str(reason): self.left_out[reason] for reason in Reason if self.left_out[reason]},
            "rows_with_tools_left_out": self.rows_with_tools_left_out,
        }

    def to_text(self) -> str:
        """Return the counts as sentences, one on each line."""
        lines = [f"Rows: {self.rows}; completions left out: {self.left_out.total()}."]
        lines += [f"  {count}: {EXPLANATIONS[reason]}." for reason, count in self.left_out.most_common()]
        if self.rows_with_tools_left_out:
            lines.append(
                f"Rows whose request also offered tools that the format has no place for, such as a web search: "
                f"{self.rows_with_tools_left_out}. Those tools are not in the rows."
            )
        return "\n".join(lines)


class TrainingCursor(NamedTuple):
    """The position of a training export. The next page begins with the feedback after the cursor `feedback`.

    If that is the feedback `next_feedback_id`, its completions up to the id `completion_id` are already done.
    """

    feedback: Cursor | None = None
    next_feedback_id: str = ""
    completion_id: str = ""


class TrainingPage(NamedTuple):
    """Rows as JSON texts, the counts of this page, and the cursor of the next page (None on the last page)."""

    rows: list[str]
    summary: TrainingSummary
    next_cursor: TrainingCursor | None


class _Candidate(NamedTuple):
    """A completion that feedback selects, the position of that feedback, and the cursor of what follows."""

    completion_id: str
    feedback: Cursor
    next_cursor: TrainingCursor


def page(tx: Tx, task_id: str, satisfied: Predicate, after: TrainingCursor | None, until: int) -> TrainingPage:
    """Return rows for the completions that have accepted feedback of the task with values that satisfy the filter.

    They are in the order of the feedback, oldest first, and the completions of one feedback in the order of their ids.
    A completion has one row, however much feedback is on it. If the task is unknown, there are no rows. Feedback that
    was stored after `until` is left out.
    """
    after = after or TrainingCursor()
    of_task = store.transfer.list_feedback_of_task(tx, task_id, Window(after.feedback, until))
    if not of_task:
        return TrainingPage([], TrainingSummary(), None)
    is_satisfied = {row.id: row.state == ACCEPTED and satisfied(value(row.json_values)) for row in of_task}
    candidates, next_cursor = _list_candidates(tx, of_task, is_satisfied, after)
    checked, next_cursor = _drop_repeated(tx, task_id, satisfied, is_satisfied, candidates, next_cursor)
    payloads = store.transfer.list_payloads(tx, [candidate.completion_id for candidate in checked])
    if payloads and payloads[-1].id != checked[-1].completion_id:
        last_id = payloads[-1].id
        next_cursor = next(candidate.next_cursor for candidate in checked if candidate.completion_id == last_id)
    rows, summary = _translate(payloads)
    return TrainingPage(rows, summary, next_cursor)


def _list_candidates(
    tx: Tx, of_task: Sequence[TaskFeedbackRow], is_satisfied: Mapping[str, bool], after: TrainingCursor
) -> tuple[list[_Candidate], TrainingCursor]:
    """List the completions of the satisfying feedback, each once, and return the cursor after the last one.

    A page has only a few of them.
    """
    ids = [row.id for row in of_task if is_satisfied[row.id]]
    begun = [each for each in ids if each == after.next_feedback_id]
    page_size = tx.thresholds.training_page_size
    links = store.feedback.list_links(tx, begun, after.completion_id, page_size + 1)
    links |= store.feedback.list_links(tx, ids[len(begun) :], "", page_size + 1)
    candidates: dict[str, _Candidate] = {}
    previous = after.feedback
    for row in of_task:
        position = Cursor(row.created_at, row.id)
        for completion_id in links.get(row.id, []):
            if len(candidates) == page_size:
                return list(candidates.values()), [*candidates.values()][-1].next_cursor
            next_cursor = TrainingCursor(previous, row.id, completion_id)
            candidates.setdefault(completion_id, _Candidate(completion_id, position, next_cursor))
        previous = position
    return list(candidates.values()), TrainingCursor(previous)


def _drop_repeated(
    tx: Tx,
    task_id: str,
    satisfied: Predicate,
    is_satisfied: dict[str, bool],
    candidates: Sequence[_Candidate],
    next_cursor: TrainingCursor,
) -> tuple[list[_Candidate], TrainingCursor]:
    """Leave out the completions that earlier feedback has selected, on this page or another one.

    If there is much earlier feedback, fewer candidates are checked, and the cursor is the one after the last of these.
    """
    page_size = tx.thresholds.training_page_size
    part_size = max(1, page_size // _PARTS_PER_PAGE)
    checked: list[_Candidate] = []
    read = 0
    for start in range(0, len(candidates), part_size):
        part = candidates[start : start + part_size]
        accepted = store.transfer.list_accepted_feedback(tx, task_id, [each.completion_id for each in part])
        earlier = {
            each.completion_id: [position for position in accepted[each.completion_id] if position < each.feedback]
            for each in part
            if each.completion_id in accepted
        }
        _evaluate(tx, satisfied, is_satisfied, chain.from_iterable(earlier.values()))
        checked += [
            each
            for each in part
            if not any(is_satisfied.get(position.id) for position in earlier.get(each.completion_id, ()))
        ]
        read += sum(map(len, accepted.values()))
        if read > _FEEDBACK_PER_COMPLETION * page_size and start + len(part) < len(candidates):
            return checked, part[-1].next_cursor
    return checked, next_cursor


def _evaluate(tx: Tx, satisfied: Predicate, is_satisfied: dict[str, bool], positions: Iterable[Cursor]) -> None:
    """Add to `is_satisfied` the feedback at these positions. Its values may be large, so only a few are read at once."""
    feedback_ids = sorted({position.id for position in positions} - is_satisfied.keys())
    for start in range(0, len(feedback_ids), _FEEDBACK_PER_READ):
        tx.check_deadline()
        for row in store.feedback.find_many(tx, feedback_ids[start : start + _FEEDBACK_PER_READ]).values():
            is_satisfied[row.id] = satisfied(value(row.json_values))


def _translate(payloads: Iterable[PayloadsRow]) -> tuple[list[str], TrainingSummary]:
    """Translate completions into rows, and count the ones that the format can't express."""
    rows: list[str] = []
    summary = TrainingSummary()
    for _, request, response in payloads:
        try:
            row = json_row(request, response)
        except UntranslatableError as error:
            summary.left_out[error.reason] += 1
        else:
            rows.append(row.text)
            summary.rows_with_tools_left_out += row.lacks_tools
    summary.rows = len(rows)
    return rows, summary
