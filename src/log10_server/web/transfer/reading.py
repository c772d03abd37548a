"""Parses the lines of an import.

They come from an export of this server, or from a download of the `log10` command, such as `log10 completions
download`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from log10_server.clock import microseconds
from log10_server.errors import Invalid
from log10_server.services.completions import Entry
from log10_server.services.feedback import NewFeedback
from log10_server.services.merging import DerivedFields
from log10_server.services.selectors import CompletionList
from log10_server.services.transfer import ImportedFeedback, ImportedSession, ImportedTask, ImportedTestRun
from log10_server.settings import Limits
from log10_server.store.feedback import ACCEPTED, AuthorKind, State
from log10_server.strict_json import members
from log10_server.web.http.fields import (
    AnyText,
    Id,
    JsonObject,
    LongText,
    MatchedIds,
    Name,
    RequestModel,
    SessionId,
    Tags,
)
from log10_server.web.http.json_rows import validated
from log10_server.web.legacy.completions import LogEntry
from log10_server.web.transfer.lines import FORMAT, VERSION
from log10_server.web.v1.completions import CompletionUpload
from log10_server.web.v1.feedback_tasks import TaskUpload

ImportedRow = ImportedSession | ImportedTask | Entry | ImportedFeedback | ImportedTestRun

_LATEST = microseconds(datetime(9999, 1, 1))


class UnsupportedFormat(Invalid):
    """The header names a format or a version that this program does not read, so no line of the file is imported."""


def parse_line(line: bytes, limits: Limits) -> ImportedRow | None:
    """Return the row that a line holds, as an argument for the services, or None if the line is a header.

    Raises Malformed if the line is not JSON, Invalid if it is not a valid row, and UnsupportedFormat for a header of
    another format.
    """
    fields = members(line, _PAYLOADS, limits.nesting)
    kind = fields.get("type")
    if kind == "header":
        _check_header(fields)
        return None
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        model = _model_of_download(fields)
    return validated(model, fields, limits).to_row()


def _check_header(fields: Mapping[str, Any]) -> None:
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        raise UnsupportedFormat.at(
            "/version",
            f"This program reads version {VERSION} of the format {FORMAT!r}. Nothing was imported from the file.",
        )


def _model_of_download(fields: Mapping[str, Any]) -> type["Line"]:
    """Return the model for a line without `type`, which is how the `log10` command writes its downloads.

    Raises Invalid for other lines.
    """
    if "json_values" in fields:
        return FeedbackLine
    if fields.keys() & {"request", "response", "tagResolved", "status"}:
        return DownloadedCompletion
    raise Invalid.at("", "The line is neither from an export nor a downloaded completion or feedback.")


def _instant(value: Any) -> Any:
    """Convert a time in ISO 8601 to microseconds since 1970. A time without a zone is in UTC."""
    try:
        if isinstance(value, str):
            return microseconds(datetime.fromisoformat(value.strip()))
    except ValueError:
        pass
    raise PydanticCustomError("moment", "Must be a time in ISO 8601, such as 2026-01-31T08:00:00.123456+00:00.")


def _milliseconds(value: Any) -> Any:
    if type(value) in (int, float) and 0 <= value < _LATEST:
        return round(value * 1000)
    raise PydanticCustomError("moment", "Must be milliseconds since 1970.")


def _in_range(instant: int) -> int:
    if not 0 <= instant < _LATEST:
        raise PydanticCustomError("moment", "Must be a time from 1970 to 9998.")
    return instant


def _tag_name(tag: Any) -> Any:
    return tag.get("name") if isinstance(tag, dict) else tag


def _tag_names(tags: Any) -> Any:
    return [_tag_name(tag) for tag in tags] if isinstance(tags, list) else tags


Instant = Annotated[int, BeforeValidator(_instant), AfterValidator(_in_range)]
InstantMs = Annotated[int, BeforeValidator(_milliseconds), AfterValidator(_in_range)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$", max_length=64)]
Model = Annotated[Name, StringConstraints(max_length=255)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Line(RequestModel):
    """The base class of all lines that hold a row."""

    def to_row(self) -> ImportedRow:
        """Return the row that the services store."""
        raise NotImplementedError


class SessionLine(Line):
    """A session of an export."""

    id: Annotated[SessionId, StringConstraints(min_length=1)]
    created_at: Instant | None = None

    def to_row(self) -> ImportedSession:
        """Return the session. If the line has no time, the session is created with the current time."""
        return ImportedSession(self.id, self.created_at)


class TaskLine(TaskUpload, Line):
    """A feedback task of an export."""

    id: Id
    created_at: Instant | None = None
    archived: bool | None = None
    content_digest: Digest | None = None

    def to_row(self) -> ImportedTask:
        """Return the task, with the digest of the upload that created it."""
        return ImportedTask(self.to_new_task(), self.created_at, bool(self.archived), self.content_digest)


class CompletionLine(CompletionUpload, Line):
    """A completion of an export. A model or token count that the line lacks is derived from the payloads."""

    id: Id
    created_at: Instant | None = None
    model: Model | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None

    def to_row(self) -> Entry:
        """Return the completion. If it is stored already, the line only sets fields that are not set there."""
        derived: DerivedFields = {}
        if self.model is not None:
            derived["model"] = self.model
        if self.input_tokens is not None:
            derived["input_tokens"] = self.input_tokens
        if self.output_tokens is not None:
            derived["output_tokens"] = self.output_tokens
        return Entry(self.id, self.to_fields(), self.created_at, fills_gaps=True, derived=derived)


class DownloadedCompletion(LogEntry, Line):
    """A line of `log10 completions download`.

    If the line has `tagResolved`, the names of the tags are in it, and `tags` has their ids. Otherwise `tags` has the
    names.
    """

    id: Id
    created_at: Instant | None = None
    created_at_ms: InstantMs | None = None
    tags: Annotated[Tags | None, BeforeValidator(_tag_names)] = None
    tagResolved: Annotated[Tags | None, BeforeValidator(_tag_names)] = None

    def to_row(self) -> Entry:
        """Return the completion. If it is stored already, the line only sets fields that are not set there."""
        fields = self.to_fields()
        tags = self.tags if self.tagResolved is None else self.tagResolved
        if tags:
            fields["tags"] = tags
        else:
            fields.pop("tags", None)
        return Entry(
            self.id, fields, self.created_at_ms if self.created_at is None else self.created_at, fills_gaps=True
        )


class FeedbackLine(Line):
    """Feedback of an export, or of `log10 feedback download`."""

    id: Id
    task_id: Id
    json_values: JsonObject
    comment: LongText | None = None
    matched_completion_ids: MatchedIds | None = None
    state: State | None = None
    created_at: Instant | None = None
    created_at_ms: InstantMs | None = None
    completions_summary: AnyText | None = None
    content_digest: Digest | None = None
    task_name: Name | None = None
    author: AnyText | None = None
    author_id: AnyText | None = None
    author_kind: AuthorKind | None = None

    def to_row(self) -> ImportedFeedback:
        """Return the feedback, with the completions that the line lists."""
        new = NewFeedback(
            id=self.id,
            task_id=self.task_id,
            json_values=str(self.json_values),
            comment=self.comment or "",
            target=CompletionList(tuple(self.matched_completion_ids or ())),
            state=self.state or ACCEPTED,
        )
        return ImportedFeedback(
            new=new,
            created_at=self.created_at_ms if self.created_at is None else self.created_at,
            completions_summary=self.completions_summary,
            content_digest=self.content_digest,
            task_name=self.task_name or None,
            author=self.author,
            author_id=self.author_id,
            author_kind=self.author_kind,
        )


class TestRunLine(Line):
    """A test run of an export."""

    id: Id
    created_at: Instant | None = None
    name: Name
    uploaded_at: Instant | None = None
    summary: JsonObject | None = None
    report: JsonObject | None = None

    def to_row(self) -> ImportedTestRun:
        """Return the test run, with its report if it has one."""
        summary, report = (None if text is None else str(text) for text in (self.summary, self.report))
        return ImportedTestRun(self.id, self.created_at, self.name, self.uploaded_at, summary, report)


_MODELS: dict[str, type[Line]] = {
    "session": SessionLine,
    "feedback_task": TaskLine,
    "completion": CompletionLine,
    "feedback": FeedbackLine,
    "test_run": TestRunLine,
}
_ALL_MODELS: list[type[Line]] = [*_MODELS.values(), DownloadedCompletion]
_PAYLOADS = {name for model in _ALL_MODELS for name in model.payloads}
