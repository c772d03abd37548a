"""Moving in and out: everything of an organization page by page, and taking in what was made elsewhere.

What is taken in keeps its ids, instants, states and links, and may come again: what is stored already is recognised
and left alone. Each kind of thing is one entry in `PARTS` (out) and one in `IMPORTERS` (in).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, Refusal
from log10_server.services import completions, feedback, feedback_tasks, summaries, ungraded_index
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.feedback_tasks import NewFeedbackTask
from log10_server.services.selectors import CompletionList
from log10_server.store.completions import Cursor
from log10_server.store.feedback import ACCEPTED, PROPOSED, AuthorKind, FeedbackCompletionRow, FeedbackRow
from log10_server.store.test_runs import TestRunRow
from log10_server.store.transfer import Window
from log10_server.strict_json import canonical

# Out


class Progress(NamedTuple):
    """How far an export is: in the part of this number behind `after`; what is newer than `until` is left out."""

    part: int
    after: Cursor | None
    until: int


def begin(tx: Tx) -> Progress:
    """An export of what is stored now; what comes while it runs is left out."""
    return Progress(0, None, max(tx.now(), store.transfer.newest_instant(tx)))


def page(tx: Tx, progress: Progress) -> tuple[list[Any], Progress | None]:
    """The next rows, of bounded size and all of one kind, maybe none; and how it goes on, None at the end.

    Whatever a row refers to is in a page before it.
    """
    number, after, until = progress
    rows, last = PARTS[number](tx, Window(after, until))
    if last is not None:
        return rows, Progress(number, last, until)
    return rows, Progress(number + 1, None, until) if number + 1 < len(PARTS) else None


Paged = tuple[list[Any], Cursor | None]


def _ended(rows: list[Any]) -> Paged:
    """These rows, and the place of the last; a page is known to be the last one when it is empty."""
    return rows, Cursor(rows[-1].created_at, rows[-1].id) if rows else None


def _feedback_page(tx: Tx, window: Window) -> Paged:
    rows, last = _ended(store.transfer.list_feedback(tx, window))
    return feedback.with_completion_ids(tx, rows), last


PARTS: list[Callable[[Tx, Window], Paged]] = [
    lambda tx, window: _ended(store.transfer.list_sessions(tx, window)),
    lambda tx, window: _ended(store.transfer.list_tasks(tx, window)),
    lambda tx, window: _ended(store.transfer.list_completions(tx, window)),
    _feedback_page,
    lambda tx, window: _ended(store.transfer.list_test_runs(tx, window)),
]

# In

Outcome = Literal["stored", "unchanged"] | Refusal


class ImportedSession(NamedTuple):
    """A session from elsewhere; no instant is now, in microseconds."""

    id: str
    created_at: int | None


class ImportedTask(NamedTuple):
    """A task from elsewhere; without a digest of what it was made with, that is what it is now."""

    task: NewFeedbackTask
    created_at: int | None
    archived: bool
    content_digest: str | None


class ImportedFeedback(NamedTuple):
    """Feedback from elsewhere, which has an id and lists its completions; some of them may be gone.

    A task that is not there is made, archived, by the name given. The author is that of the file, if it names one.
    """

    given: NewFeedback
    created_at: int | None
    completions_summary: str | None
    content_digest: str | None
    task_name: str | None
    author: str | None = None
    author_id: str | None = None
    author_kind: AuthorKind | None = None


class ImportedTestRun(NamedTuple):
    """A test run from elsewhere; `summary` and `report` are JSON texts. Nobody may upload to it here."""

    id: str
    created_at: int | None
    name: str
    uploaded_at: int | None
    summary: str | None
    report: str | None


def import_sessions(tx: Tx, kept: Sequence[ImportedSession]) -> list[Outcome]:
    """A session has no content: one that is there is left as it is."""
    made = store.sessions.add_missing(tx, {one.id: _at(tx, one.created_at) for one in kept})
    return _once(made, [one.id for one in kept])


def import_tasks(tx: Tx, kept: Sequence[ImportedTask]) -> list[Outcome]:
    """A task that is there and was made with the same content stays as it is now; schemas have been checked before.

    Refused is an id that is taken by other content: Conflict.
    """
    return [_restored_task(tx, one) for one in kept]


def import_completions(tx: Tx, entries: Sequence[Entry]) -> list[Outcome]:
    """Entries have ids and only fill gaps: what has been logged here since is newer, and stays."""
    told = completions.would_change(tx, entries)
    new = [entry for entry, tells in zip(entries, told, strict=True) if tells]
    if not new:
        return ["unchanged"] * len(entries)
    sessions: dict[str, int] = {}
    for entry in new:
        if "session_id" in entry.fields and entry.created_at is not None:
            id = entry.fields["session_id"]
            sessions[id] = min(entry.created_at, sessions.get(id, entry.created_at))
    store.sessions.add_missing(tx, sessions)
    recorded = iter(completions.record(tx, new))
    return [_stored(next(recorded)) if tells else "unchanged" for tells in told]


def import_feedback(tx: Tx, kept: Sequence[ImportedFeedback]) -> list[Outcome]:
    """Feedback that is there with the same content stays; completions that have come since are linked to it, and a
    decision on what is a proposal here is taken over.

    Refused is an id that is taken by other content: Conflict.
    """
    before = store.feedback.find_many(tx, {_id(one) for one in kept})
    linked = {id: set(ids) for id, ids in store.feedback.list_completion_ids(tx, sorted(before)).items()}
    there = store.completions.find_existing_ids(tx, {id for one in kept for id in _named(one)})
    outcomes: list[Outcome] = []
    rows = dict(before)
    links: list[FeedbackCompletionRow] = []
    lines = _summaries(tx, [one for one in kept if _id(one) not in before and one.completions_summary is None], there)
    for one in kept:
        id, digest = _id(one), one.content_digest or feedback.digest(one.given)
        known = rows.get(id)
        row = _merged_feedback(known, one, digest)
        if row is None:
            outcomes.append(Conflict(f"The feedback {id!r} is there already, with other content."))
            continue
        if known is None:
            at = _at(tx, one.created_at)
            line = lines.get(id, "") if one.completions_summary is None else one.completions_summary
            row = row._replace(organization_id=tx.organization_id, created_at=at, completions_summary=line)
        theirs = linked.setdefault(id, set())
        more = [
            FeedbackCompletionRow(tx.organization_id, id, completion_id, position, row.task_id)
            for position, completion_id in enumerate(_named(one))
            if completion_id in there and completion_id not in theirs
        ]
        theirs |= {link.completion_id for link in more}
        links += more
        outcomes.append("stored" if more or row != known else "unchanged")
        rows[id] = row
    stored = [one for one, outcome in zip(kept, outcomes, strict=True) if not isinstance(outcome, Refusal)]
    _make_missing_tasks(tx, stored)
    _store_feedback(tx, before, rows, links)
    return outcomes


def _store_feedback(
    tx: Tx,
    before: Mapping[str, FeedbackRow],
    rows: Mapping[str, FeedbackRow],
    links: Sequence[FeedbackCompletionRow],
) -> None:
    store.feedback.add(tx, [row for id, row in rows.items() if id not in before])
    decided = [row for id, row in rows.items() if id in before and row != before[id]]
    for row in decided:
        store.feedback.replace(tx, row)
    store.feedback.link_completions(tx, links)
    graded: dict[str, set[str]] = {}
    for link in links:
        if rows[link.feedback_id].state == ACCEPTED:
            graded.setdefault(link.task_id, set()).add(link.completion_id)
    accepted = {row.id: row.task_id for row in decided if row.state == ACCEPTED}
    for id, completion_ids in store.feedback.list_completion_ids(tx, sorted(accepted)).items():
        graded.setdefault(accepted[id], set()).update(completion_ids)
    for task_id in sorted(graded):
        ungraded_index.remove_graded(tx, task_id, sorted(graded[task_id]))


def import_test_runs(tx: Tx, kept: Sequence[ImportedTestRun]) -> list[Outcome]:
    """A report that has come since is taken over. Refused is an id that is taken by other content: Conflict."""
    return [_restored_test_run(tx, one) for one in kept]


IMPORTERS: dict[type, Callable[[Tx, Sequence[Any]], list[Outcome]]] = {
    ImportedSession: import_sessions,
    ImportedTask: import_tasks,
    Entry: import_completions,
    ImportedFeedback: import_feedback,
    ImportedTestRun: import_test_runs,
}


def _at(tx: Tx, created_at: int | None) -> int:
    return tx.now() if created_at is None else created_at


def _once(made: set[str], ids: Sequence[str]) -> list[Outcome]:
    """`stored` for the first of each id that was made."""
    left = set(made)
    outcomes: list[Outcome] = []
    for id in ids:
        outcomes.append("stored" if id in left else "unchanged")
        left.discard(id)
    return outcomes


def _stored(result: object) -> Outcome:
    return result if isinstance(result, Refusal) else "stored"


def _restored_task(tx: Tx, one: ImportedTask) -> Outcome:
    try:
        row = feedback_tasks.new_row(tx, one.task, _at(tx, one.created_at))
        digest = one.content_digest or row.content_digest
        _, is_new = feedback_tasks.ensure(tx, row._replace(archived=one.archived, content_digest=digest))
    except Refusal as refusal:
        return refusal
    return "stored" if is_new else "unchanged"


def _restored_test_run(tx: Tx, one: ImportedTestRun) -> Outcome:
    stored = store.test_runs.find(tx, one.id)
    at = _at(tx, one.created_at)
    if stored is None:
        row = TestRunRow(tx.organization_id, one.id, at, one.name, None, one.uploaded_at, one.summary, one.report)
        store.test_runs.add(tx, row)
        return "stored"
    if stored.name == one.name:
        if one.report is None or (stored.report is not None and canonical(stored.report) == canonical(one.report)):
            return "unchanged"
        if stored.report is None:
            store.test_runs.store_report(tx, one.id, one.uploaded_at or at, one.summary or "{}", one.report)
            return "stored"
    return Conflict(f"The test run {one.id!r} is there already, with other content.")


def _make_missing_tasks(tx: Tx, kept: Sequence[ImportedFeedback]) -> None:
    """An archived task asks for nothing, so nothing else changes with it."""
    wanted: dict[str, ImportedFeedback] = {}
    for one in kept:
        wanted.setdefault(one.given.task_id, one)
    for id in sorted(wanted.keys() - store.feedback_tasks.find_many(tx, wanted).keys()):
        one = wanted[id]
        new = NewFeedbackTask(id, one.task_name or id, "", "{}", ())
        store.feedback_tasks.add(tx, feedback_tasks.new_row(tx, new, _at(tx, one.created_at))._replace(archived=True))


def _merged_feedback(known: FeedbackRow | None, one: ImportedFeedback, digest: str) -> FeedbackRow | None:
    """The row after `one`; None when what is known has other content. Organization, instant and summary of a new one
    are the caller's.
    """
    given = one.given
    if known is None:
        return FeedbackRow(
            organization_id="",
            id=_id(one),
            created_at=0,
            task_id=given.task_id,
            json_values=given.json_values,
            comment=given.comment,
            completions_summary="",
            content_digest=digest,
            state=given.state,
            author=one.author,
            author_id=one.author_id,
            author_kind=one.author_kind,
        )
    if known.content_digest != digest or known.task_id != given.task_id:
        return None
    if known.state == given.state:
        return known if canonical(known.json_values) == canonical(given.json_values) else None
    if known.state == PROPOSED:
        return known._replace(state=given.state, json_values=given.json_values)
    return known if given.state == PROPOSED else None


def _summaries(tx: Tx, kept: Sequence[ImportedFeedback], there: set[str]) -> dict[str, str]:
    if not kept:
        return {}
    lines = summaries.summarize(tx, [[id for id in _named(one) if id in there] for one in kept])
    return {_id(one): line for one, line in zip(kept, lines, strict=True)}


def _id(one: ImportedFeedback) -> str:
    return one.given.id or ""


def _named(one: ImportedFeedback) -> Iterator[str]:
    target = one.given.target
    return iter(dict.fromkeys(target.completion_ids if isinstance(target, CompletionList) else ()))
