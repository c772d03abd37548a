"""What a line of an import says: lines of an export, and of what `log10 … download` wrote, as services know them."""

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

Kept = ImportedSession | ImportedTask | Entry | ImportedFeedback | ImportedTestRun

_LATEST = microseconds(datetime(9999, 1, 1))


class NotThisFormat(Invalid):
    """The file is of a format that this program does not know; none of its lines can be read."""


def read(line: bytes, limits: Limits) -> Kept | None:
    """What the line says; None for a header. Raises Malformed or Invalid for what can't be taken, NotThisFormat."""
    said = members(line, _PAYLOADS, limits.nesting)
    kind = said.get("type")
    if kind == "header":
        _check_header(said)
        return None
    model = _MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        model = _guessed(said)
    return validated(model, said, limits).kept()


def _check_header(said: Mapping[str, Any]) -> None:
    if said.get("format") != FORMAT or said.get("version") != VERSION:
        raise NotThisFormat.at(
            "/version", f"This program reads version {VERSION} of the format {FORMAT!r}; nothing of the file was read."
        )


def _guessed(said: Mapping[str, Any]) -> type["Line"]:
    """The downloads of `log10` do not say what their lines are. Raises Invalid."""
    if "json_values" in said:
        return FeedbackLine
    if said.keys() & {"request", "response", "tagResolved", "status"}:
        return DownloadedCompletion
    raise Invalid.at("", "The line is none of an export, and neither a completion nor feedback of a download.")


def _instant(said: Any) -> Any:
    """Microseconds since 1970 from ISO 8601; without a zone it is UTC."""
    try:
        if isinstance(said, str):
            return microseconds(datetime.fromisoformat(said.strip()))
    except ValueError:
        pass
    raise PydanticCustomError("moment", "Must be a time in ISO 8601, such as 2026-01-31T08:00:00.123456+00:00.")


def _milliseconds(said: Any) -> Any:
    if type(said) in (int, float) and 0 <= said < _LATEST:
        return round(said * 1000)
    raise PydanticCustomError("moment", "Must be milliseconds since 1970.")


def _in_range(at: int) -> int:
    if not 0 <= at < _LATEST:
        raise PydanticCustomError("moment", "Must be a time from 1970 to 9998.")
    return at


def _name_of_tag(said: Any) -> Any:
    return said.get("name") if isinstance(said, dict) else said


def _names_of_tags(said: Any) -> Any:
    return [_name_of_tag(tag) for tag in said] if isinstance(said, list) else said


Instant = Annotated[int, BeforeValidator(_instant), AfterValidator(_in_range)]
InstantMs = Annotated[int, BeforeValidator(_milliseconds), AfterValidator(_in_range)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$", max_length=64)]
Model = Annotated[Name, StringConstraints(max_length=255)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Line(RequestModel):
    """A line that says something to keep."""

    def kept(self) -> Kept:
        raise NotImplementedError


class SessionLine(Line):
    id: Annotated[SessionId, StringConstraints(min_length=1)]
    created_at: Instant | None = None

    def kept(self) -> ImportedSession:
        return ImportedSession(self.id, self.created_at)


class TaskLine(TaskUpload, Line):
    id: Id
    created_at: Instant | None = None
    archived: bool | None = None
    content_digest: Digest | None = None

    def kept(self) -> ImportedTask:
        return ImportedTask(self.to_new_task(), self.created_at, bool(self.archived), self.content_digest)


class CompletionLine(CompletionUpload, Line):
    """`model` and the counts are as they were; where none is there, they are taken out of the payloads."""

    id: Id
    created_at: Instant | None = None
    model: Model | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None

    def kept(self) -> Entry:
        derived: DerivedFields = {}
        if self.model is not None:
            derived["model"] = self.model
        if self.input_tokens is not None:
            derived["input_tokens"] = self.input_tokens
        if self.output_tokens is not None:
            derived["output_tokens"] = self.output_tokens
        return Entry(self.id, self.to_fields(), self.created_at, fills_gaps=True, derived=derived)


class DownloadedCompletion(LogEntry, Line):
    """A row of `log10 completions download`. Where tags are resolved, `tags` holds their ids."""

    id: Id
    created_at: Instant | None = None
    created_at_ms: InstantMs | None = None
    tags: Annotated[Tags | None, BeforeValidator(_names_of_tags)] = None
    tagResolved: Annotated[Tags | None, BeforeValidator(_names_of_tags)] = None

    def kept(self) -> Entry:
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

    def kept(self) -> ImportedFeedback:
        new = NewFeedback(
            id=self.id,
            task_id=self.task_id,
            json_values=str(self.json_values),
            comment=self.comment or "",
            target=CompletionList(tuple(self.matched_completion_ids or ())),
            state=self.state or ACCEPTED,
        )
        at = self.created_at_ms if self.created_at is None else self.created_at
        return ImportedFeedback(
            new=new,
            created_at=at,
            completions_summary=self.completions_summary,
            content_digest=self.content_digest,
            task_name=self.task_name or None,
            author=self.author,
            author_id=self.author_id,
            author_kind=self.author_kind,
        )


class TestRunLine(Line):
    id: Id
    created_at: Instant | None = None
    name: Name
    uploaded_at: Instant | None = None
    summary: JsonObject | None = None
    report: JsonObject | None = None

    def kept(self) -> ImportedTestRun:
        summary, report = (None if text is None else str(text) for text in (self.summary, self.report))
        return ImportedTestRun(self.id, self.created_at, self.name, self.uploaded_at, summary, report)


_MODELS: dict[str, type[Line]] = {
    "session": SessionLine,
    "feedback_task": TaskLine,
    "completion": CompletionLine,
    "feedback": FeedbackLine,
    "test_run": TestRunLine,
}
_READ: list[type[Line]] = [*_MODELS.values(), DownloadedCompletion]
_PAYLOADS = {name for model in _READ for name in model.payloads}
