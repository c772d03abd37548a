"""Exports all data of an organization, page by page, and imports what another server has exported.

Imported rows keep their ids, times, states and links. An import can be repeated, because it does not change
rows that are stored already. Each kind of row is one entry in `EXPORTERS` and one in `IMPORTERS`.
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

# Export


class ExportProgress(NamedTuple):
    """The position of an export. `kind` is an index into `EXPORTERS`; the next page begins after the cursor `after`.

    Rows created later than `until`, in microseconds, are left out, except sessions.
    """

    kind: int
    after: Cursor | None
    until: int


def begin(tx: Tx) -> ExportProgress:
    """Begin an export of everything that is stored now.

    Rows that are stored while the export runs are left out, except sessions: there is no index with which to find out
    when the newest session was created, and its time may lie in the future.
    """
    return ExportProgress(0, None, max(tx.now(), store.transfer.newest_instant(tx)))


def page(tx: Tx, progress: ExportProgress) -> tuple[list[Any], ExportProgress | None]:
    """Return the next rows, and the progress from which the export continues; the progress is None at the end.

    All rows of a page are of one kind, and its size is bounded. A page may be empty. Rows that a row refers to are
    exported before it.
    """
    kind, after, until = progress
    rows, next_cursor = EXPORTERS[kind](tx, Window(after, until))
    if next_cursor is not None:
        return rows, ExportProgress(kind, next_cursor, until)
    return rows, ExportProgress(kind + 1, None, until) if kind + 1 < len(EXPORTERS) else None


Page = tuple[list[Any], Cursor | None]


def _page_of(rows: list[Any]) -> Page:
    """Return these rows, and the cursor of the last one.

    Only an empty page has no cursor, so the end is only noticed by reading one more page after the last row.
    """
    return rows, Cursor(rows[-1].created_at, rows[-1].id) if rows else None


def _feedback_page(tx: Tx, window: Window) -> Page:
    rows, next_cursor = _page_of(store.transfer.list_feedback(tx, window))
    return feedback.with_completion_ids(tx, rows), next_cursor


EXPORTERS: list[Callable[[Tx, Window], Page]] = [
    lambda tx, window: _page_of(store.transfer.list_sessions(tx, window.after)),
    lambda tx, window: _page_of(store.transfer.list_tasks(tx, window)),
    lambda tx, window: _page_of(store.transfer.list_completions(tx, window)),
    _feedback_page,
    lambda tx, window: _page_of(store.transfer.list_test_runs(tx, window)),
]

# Import

Outcome = Literal["stored", "unchanged"] | Refusal


class ImportedSession(NamedTuple):
    """A session to import. `created_at` is in microseconds.

    In this class and the other imported rows, a `created_at` of None means the time of the import.
    """

    id: str
    created_at: int | None


class ImportedTask(NamedTuple):
    """A task to import. `content_digest` is the digest of the content with which the task was created.

    None means that the content in the file is that content.
    """

    task: NewFeedbackTask
    created_at: int | None
    archived: bool
    content_digest: str | None


class ImportedFeedback(NamedTuple):
    """Feedback to import. It has an id and a list of completions, some of which may not exist here.

    If its task does not exist, an archived task with the name `task_name` is created. The author is the one that the
    file names. `first_position` is the position of the first completion, if this is only a part of the feedback.
    """

    new: NewFeedback
    created_at: int | None
    completions_summary: str | None
    content_digest: str | None
    task_name: str | None
    author: str | None = None
    author_id: str | None = None
    author_kind: AuthorKind | None = None
    first_position: int = 0

    def split(self, size: int) -> list["ImportedFeedback"]:
        """Split into parts with at most `size` completions each, which are imported one after the other.

        Feedback without a summary is not split, because its summary counts its completions.
        """
        ids = list(_completion_ids(self))
        if len(ids) <= size or self.completions_summary is None:
            return [self]
        whole = self._replace(content_digest=self.content_digest or feedback.digest(self.new))
        return [
            whole._replace(
                new=self.new._replace(target=CompletionList(tuple(ids[start : start + size]))), first_position=start
            )
            for start in range(0, len(ids), size)
        ]


class ImportedTestRun(NamedTuple):
    """A test run to import. `summary` and `report` are JSON text.

    No report can be uploaded to an imported run, because the file does not contain its secret.
    """

    id: str
    created_at: int | None
    name: str
    uploaded_at: int | None
    summary: str | None
    report: str | None


def import_sessions(tx: Tx, batch: Sequence[ImportedSession]) -> list[Outcome]:
    """Import sessions. A session that is stored already is not changed, because a session has no content."""
    session_ids = [session.id for session in batch]
    added = store.sessions.add_missing(tx, {session.id: _created_at(tx, session.created_at) for session in batch})
    return _stored_once(added, session_ids)


def import_tasks(tx: Tx, batch: Sequence[ImportedTask]) -> list[Outcome]:
    """Import tasks. The caller has checked their schemas.

    A stored task with the same original content is not changed.

    The outcome is Conflict if a task with the same id has other content.
    """
    return [_import_task(tx, task) for task in batch]


def import_completions(tx: Tx, entries: Sequence[Entry]) -> list[Outcome]:
    """Import entries. They must have ids and `fills_gaps`, so that they only set fields that are not set yet.

    What was logged here after the export is newer than the file, so an import must not overwrite it.
    """
    changes = completions.would_change(tx, entries)
    changing = [entry for entry, is_change in zip(entries, changes, strict=True) if is_change]
    if not changing:
        return ["unchanged"] * len(entries)
    completions.record(tx, changing)
    return ["stored" if is_change else "unchanged" for is_change in changes]


def import_feedback(tx: Tx, batch: Sequence[ImportedFeedback]) -> list[Outcome]:
    """Import feedback. Stored feedback with the same content is not changed, with two exceptions.

    Completions that the file lists and that exist by now are linked to the stored feedback, and a stored proposal that
    is accepted or rejected in the file becomes accepted or rejected. The outcome is Conflict if feedback with the same
    id has other content.
    """
    before = store.feedback.find_many(tx, {_feedback_id(imported) for imported in batch})
    linked = {
        feedback_id: set(completion_ids)
        for feedback_id, completion_ids in store.feedback.list_completion_ids(tx, sorted(before)).items()
    }
    existing_ids = store.completions.find_existing_ids(
        tx, {completion_id for imported in batch for completion_id in _completion_ids(imported)}
    )
    summaries_by_id = _summarize(
        tx,
        [
            imported
            for imported in batch
            if _feedback_id(imported) not in before and imported.completions_summary is None
        ],
        existing_ids,
    )
    outcomes: list[Outcome] = []
    rows = dict(before)
    links: list[FeedbackCompletionRow] = []
    for imported in batch:
        feedback_id = _feedback_id(imported)
        stored_row = rows.get(feedback_id)
        row = _merged_feedback(stored_row, imported, imported.content_digest or feedback.digest(imported.new))
        if row is None:
            outcomes.append(Conflict(f"The feedback {feedback_id!r} already exists, with other content."))
            continue
        if stored_row is None:
            summary = imported.completions_summary
            row = row._replace(
                organization_id=tx.organization_id,
                created_at=_created_at(tx, imported.created_at),
                completions_summary=summaries_by_id.get(feedback_id, "") if summary is None else summary,
            )
        linked_ids = linked.setdefault(feedback_id, set())
        new_links = [
            FeedbackCompletionRow(tx.organization_id, feedback_id, completion_id, position, row.task_id)
            for position, completion_id in enumerate(_completion_ids(imported), imported.first_position)
            if completion_id in existing_ids and completion_id not in linked_ids
        ]
        linked_ids |= {link.completion_id for link in new_links}
        links += new_links
        outcomes.append("stored" if new_links or row != stored_row else "unchanged")
        rows[feedback_id] = row
    stored = [imported for imported, outcome in zip(batch, outcomes, strict=True) if not isinstance(outcome, Refusal)]
    _add_missing_tasks(tx, stored)
    _store_feedback(tx, before, rows, links)
    return outcomes


def _store_feedback(
    tx: Tx,
    before: Mapping[str, FeedbackRow],
    rows: Mapping[str, FeedbackRow],
    links: Sequence[FeedbackCompletionRow],
) -> None:
    """Store the rows that differ from `before`, and the links to completions.

    Completions that are graded by accepted feedback are removed from the ungraded index.
    """
    feedback.add(tx, [row for feedback_id, row in rows.items() if feedback_id not in before])
    changed = [row for feedback_id, row in rows.items() if feedback_id in before and row != before[feedback_id]]
    for row in changed:
        feedback.replace(tx, before[row.id], row)
    store.feedback.link_completions(tx, links)
    graded_by_task: dict[str, set[str]] = {}
    for link in links:
        if rows[link.feedback_id].state == ACCEPTED:
            graded_by_task.setdefault(link.task_id, set()).add(link.completion_id)
    accepted = {row.id: row.task_id for row in changed if row.state == ACCEPTED}
    for feedback_id, completion_ids in store.feedback.list_completion_ids(tx, sorted(accepted)).items():
        graded_by_task.setdefault(accepted[feedback_id], set()).update(completion_ids)
    for task_id in sorted(graded_by_task):
        ungraded_index.remove_graded(tx, task_id, sorted(graded_by_task[task_id]))


def import_test_runs(tx: Tx, batch: Sequence[ImportedTestRun]) -> list[Outcome]:
    """Import test runs. If a stored run has no report, it gets the report in the file.

    The outcome is Conflict if a run with the same id has other content.
    """
    return [_import_test_run(tx, test_run) for test_run in batch]


IMPORTERS: dict[type, Callable[[Tx, Sequence[Any]], list[Outcome]]] = {
    ImportedSession: import_sessions,
    ImportedTask: import_tasks,
    Entry: import_completions,
    ImportedFeedback: import_feedback,
    ImportedTestRun: import_test_runs,
}


def _created_at(tx: Tx, created_at: int | None) -> int:
    return tx.now() if created_at is None else created_at


def _stored_once(added: set[str], ids: Sequence[str]) -> list[Outcome]:
    """Return `stored` for the first occurrence of each id in `added`, and `unchanged` for all other ids."""
    not_yet_reported = set(added)
    outcomes: list[Outcome] = []
    for row_id in ids:
        outcomes.append("stored" if row_id in not_yet_reported else "unchanged")
        not_yet_reported.discard(row_id)
    return outcomes


def _import_task(tx: Tx, imported: ImportedTask) -> Outcome:
    try:
        row = feedback_tasks.new_row(tx, imported.task, _created_at(tx, imported.created_at))
        digest = imported.content_digest or row.content_digest
        _, is_new = feedback_tasks.ensure(tx, row._replace(archived=imported.archived, content_digest=digest))
    except Refusal as refusal:
        return refusal
    return "stored" if is_new else "unchanged"


def _import_test_run(tx: Tx, imported: ImportedTestRun) -> Outcome:
    stored = store.test_runs.find(tx, imported.id)
    created_at = _created_at(tx, imported.created_at)
    if stored is None:
        row = TestRunRow(
            organization_id=tx.organization_id,
            id=imported.id,
            created_at=created_at,
            name=imported.name,
            upload_digest=None,
            uploaded_at=imported.uploaded_at,
            summary=imported.summary,
            report=imported.report,
        )
        store.test_runs.add(tx, row)
        return "stored"
    if stored.name == imported.name:
        if imported.report is None:
            return "unchanged"
        if stored.report is None:
            uploaded_at = imported.uploaded_at or created_at
            store.test_runs.store_report(tx, imported.id, uploaded_at, imported.summary or "{}", imported.report)
            return "stored"
        if canonical(stored.report) == canonical(imported.report):
            return "unchanged"
    return Conflict(f"The test run {imported.id!r} already exists, with other content.")


def _add_missing_tasks(tx: Tx, batch: Sequence[ImportedFeedback]) -> None:
    """Create the tasks that the feedback refers to and that do not exist.

    They are archived, so no completion becomes ungraded because of them.
    """
    first_by_task: dict[str, ImportedFeedback] = {}
    for imported in batch:
        first_by_task.setdefault(imported.new.task_id, imported)
    for task_id in sorted(first_by_task.keys() - store.feedback_tasks.find_many(tx, first_by_task).keys()):
        imported = first_by_task[task_id]
        new = NewFeedbackTask(task_id, imported.task_name or task_id, "", "{}", ())
        row = feedback_tasks.new_row(tx, new, _created_at(tx, imported.created_at))
        store.feedback_tasks.add(tx, row._replace(archived=True))


def _merged_feedback(stored: FeedbackRow | None, imported: ImportedFeedback, digest: str) -> FeedbackRow | None:
    """Return the row after the import, or None if the stored row has other content.

    For a new row the caller must set the organization, the time and the summary.
    """
    new = imported.new
    if stored is None:
        return FeedbackRow(
            organization_id="",
            id=_feedback_id(imported),
            created_at=0,
            task_id=new.task_id,
            json_values=new.json_values,
            comment=new.comment,
            completions_summary="",
            content_digest=digest,
            state=new.state,
            author=imported.author,
            author_id=imported.author_id,
            author_kind=imported.author_kind,
        )
    if stored.content_digest != digest or stored.task_id != new.task_id:
        return None
    if stored.state == new.state:
        return stored if canonical(stored.json_values) == canonical(new.json_values) else None
    if stored.state == PROPOSED:
        return stored._replace(state=new.state, json_values=new.json_values)
    return stored if new.state == PROPOSED else None


def _summarize(tx: Tx, batch: Sequence[ImportedFeedback], existing_ids: set[str]) -> dict[str, str]:
    """Return the summary of the completions of each piece of feedback, by the id of the feedback."""
    if not batch:
        return {}
    targets = [
        [completion_id for completion_id in _completion_ids(imported) if completion_id in existing_ids]
        for imported in batch
    ]
    feedback_ids = map(_feedback_id, batch)
    return dict(zip(feedback_ids, summaries.summarize(tx, targets), strict=True))


def _feedback_id(imported: ImportedFeedback) -> str:
    return imported.new.id or ""


def _completion_ids(imported: ImportedFeedback) -> Iterator[str]:
    """Iterate over the ids of the completions that the feedback lists, each once."""
    target = imported.new.target
    return iter(dict.fromkeys(target.completion_ids if isinstance(target, CompletionList) else ()))
