"""Selects completions with good feedback, and translates them into OpenAI's chat fine-tuning format."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services.filters import Predicate
from log10_server.services.fine_tuning.conversation import EXPLANATIONS, Reason, UntranslatableError
from log10_server.services.fine_tuning.rows import json_row
from log10_server.store.completions import CompletionRow, Cursor
from log10_server.store.transfer import Window
from log10_server.strict_json import value

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


class TrainingPage(NamedTuple):
    """Rows as JSON texts, the counts of this page, and the cursor of the next page (None on the last page)."""

    rows: list[str]
    summary: TrainingSummary
    next_cursor: Cursor | None


def page(tx: Tx, task_id: str, satisfied: Predicate, after: Cursor | None, until: int) -> TrainingPage:
    """Return rows for the completions that have accepted feedback of the task with values that satisfy the filter.

    The oldest completion comes first. A completion has one row, however much feedback is on it. If the task is unknown,
    there are no rows.
    """
    candidates = store.transfer.list_completions_with_feedback(tx, task_id, Window(after, until))
    if not candidates:
        return TrainingPage([], TrainingSummary(), None)
    chosen = _satisfying(tx, task_id, satisfied, candidates)
    rows: list[str] = []
    summary = TrainingSummary()
    for completion in candidates:
        if completion.id not in chosen:
            continue
        try:
            row = json_row(completion.request, completion.response)
        except UntranslatableError as error:
            summary.left_out[error.reason] += 1
        else:
            rows.append(row.text)
            summary.rows_with_tools_left_out += row.lacks_tools
    summary.rows = len(rows)
    return TrainingPage(rows, summary, Cursor(candidates[-1].created_at, candidates[-1].id))


def _satisfying(tx: Tx, task_id: str, satisfied: Predicate, candidates: list[CompletionRow]) -> set[str]:
    """Return the ids of the candidates that have satisfying feedback.

    Feedback values may be large, so only a few are read at a time.
    """
    completions_of = store.transfer.list_accepted_feedback(tx, task_id, [completion.id for completion in candidates])
    chosen: set[str] = set()
    feedback_ids = sorted(completions_of)
    for start in range(0, len(feedback_ids), _FEEDBACK_PER_READ):
        rows = store.feedback.find_many(tx, feedback_ids[start : start + _FEEDBACK_PER_READ])
        for feedback_id, row in rows.items():
            if satisfied(value(row.json_values)):
                chosen.update(completions_of[feedback_id])
    return chosen
