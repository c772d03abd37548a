"""Encodes rows as the lines of an export. Each line is one JSON object.

Members that are not set are left out, and payloads stay unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any

from log10_server.clock import utc
from log10_server.services import durations
from log10_server.services.feedback import StoredFeedback
from log10_server.store.completions import CompletionRow
from log10_server.store.feedback_tasks import FeedbackTaskRow
from log10_server.store.sessions import SessionRow
from log10_server.store.test_runs import TestRunRow
from log10_server.strict_json import JsonText, written

FORMAT = "log10-server"
VERSION = 1


def encode_header(organization_id: str, exported_at: int) -> str:
    """Return the first line of an export. `exported_at` is in microseconds."""
    return _line(
        "header", format=FORMAT, version=VERSION, organization_id=organization_id, exported_at=_iso_time(exported_at)
    )


def encode_line(row: Any) -> str:
    """Return one line, with its line break, for a row of any exported kind. Raises KeyError for other types."""
    return _ENCODERS[type(row)](row)


def _session(row: SessionRow) -> str:
    return _line("session", id=row.id, created_at=_iso_time(row.created_at))


def _task(row: FeedbackTaskRow) -> str:
    return _line(
        "feedback_task",
        id=row.id,
        created_at=_iso_time(row.created_at),
        name=row.name,
        instruction=row.instruction or None,
        json_schema=_payload(row.json_schema),
        completion_tags_selector=_payload(row.selector),
        archived=row.archived or None,
        content_digest=row.content_digest,
    )


def _completion(row: CompletionRow) -> str:
    return _line(
        "completion",
        id=row.id,
        created_at=_iso_time(row.created_at),
        session_id=row.session_id,
        kind=row.kind,
        status=row.status,
        tags=_payload(row.tags),
        duration=durations.compact(row.duration),
        failure_kind=row.failure_kind,
        failure_reason=row.failure_reason,
        model=row.model,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        request=_payload(row.request),
        response=_payload(row.response),
        stacktrace=_payload(row.stacktrace),
    )


def _feedback(matched: StoredFeedback) -> str:
    row = matched.feedback
    return _line(
        "feedback",
        id=row.id,
        created_at=_iso_time(row.created_at),
        task_id=row.task_id,
        state=row.state,
        json_values=_payload(row.json_values),
        comment=row.comment or None,
        matched_completion_ids=matched.completion_ids,
        completions_summary=row.completions_summary,
        content_digest=row.content_digest,
        author=row.author,
        author_id=row.author_id,
        author_kind=row.author_kind,
    )


def _test_run(row: TestRunRow) -> str:
    return _line(
        "test_run",
        id=row.id,
        created_at=_iso_time(row.created_at),
        name=row.name,
        uploaded_at=None if row.uploaded_at is None else _iso_time(row.uploaded_at),
        summary=_payload(row.summary),
        report=_payload(row.report),
    )


_ENCODERS: Mapping[type, Callable[[Any], str]] = {
    SessionRow: _session,
    FeedbackTaskRow: _task,
    CompletionRow: _completion,
    StoredFeedback: _feedback,
    TestRunRow: _test_run,
}


def _line(type_: str, /, **members: Any) -> str:
    parts = [f'"type":"{type_}"']
    for name, member in members.items():
        if member is not None:
            parts.append(f'"{name}":{member if isinstance(member, JsonText) else written(member)}')
    return "{" + ",".join(parts) + "}\n"


def _payload(text: str | None) -> JsonText | None:
    """Return the payload on one line.

    JSON allows line breaks between members. Each of them is replaced by a space.
    """
    if text is None:
        return None
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")
    return JsonText(text)


def _iso_time(microseconds: int) -> str:
    return utc(microseconds).isoformat(timespec="microseconds")
