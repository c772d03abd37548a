"""The one table from refusals to HTTP: `application/problem+json` by RFC 9457 (docs/api.md, "Errors")."""

from collections.abc import Collection, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import Response

from log10_server.errors import (
    Conflict,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    Invalid,
    Malformed,
    MalformedHttp,
    NotAllowed,
    NotFound,
    NotOffered,
    Refusal,
    TargetTooLong,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
    WrongMediaType,
)
from log10_server.strict_json import written

STATUS: dict[type[Refusal], int] = {
    Malformed: 400,
    MalformedHttp: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    NotAllowed: 405,
    TimedOut: 408,
    Conflict: 409,
    TooLarge: 413,
    TargetTooLong: 414,
    WrongMediaType: 415,
    Invalid: 422,
    HeadersTooLarge: 431,
    InternalError: 500,
    NotOffered: 501,
    Unavailable: 503,
}

# The closed list of codes: one for each kind of fault. A code never changes its meaning.
TITLES = {
    "not_json": "The body is not JSON",
    "malformed_http": "The request is not valid HTTP",
    "request_timeout": "The request did not come in time",
    "target_too_long": "The path and query are too long",
    "headers_too_large": "The headers are too large",
    "unauthorized": "A valid token is needed",
    "wrong_organization": "The token belongs to another organization",
    "not_found": "Not found",
    "method_not_allowed": "The path has no such method",
    "id_taken": "The id is taken by other content",
    "report_taken": "The report was uploaded before",
    "decided_already": "The proposal was decided on before",
    "schema_is_fixed": "A task's schema never changes",
    "too_large": "The body is too large",
    "wrong_media_type": "The body must be JSON",
    "invalid": "The request is not valid",
    "invalid_schema": "The task's schema is not valid",
    "values_refused": "The task's schema refuses the values",
    "validation_timeout": "Validating took too long",
    "unknown_task": "There is no such feedback task",
    "task_archived": "The feedback task is archived",
    "unknown_completion": "There is no such completion",
    "no_match": "No completion matches",
    "too_many_matches": "Too many completions match",
    "internal": "The server has a defect",
    "not_implemented": "This server does not do that",
    "database_unavailable": "The database can't be reached",
    "no_answer": "The database did not answer in time",
    "overloaded": "The server is overloaded",
    "stopping": "The server is stopping",
}

MEANINGS = {
    400: "The body is not JSON.",
    401: "No token, or one that is unknown or revoked.",
    403: "The call names an organization that is not the token's.",
    404: "There is nothing of this id.",
    409: "The id is taken by other content, or what should change never does.",
    413: "The body is larger than the limit.",
    415: "The body is something other than JSON.",
    422: "Understood, but not valid; `errors` says where and why.",
    500: "A defect of the server.",
    503: "The database is away, or the server is overloaded; `Retry-After` says when to try again.",
}

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1


class ProblemError(BaseModel):
    """One thing that is wrong with a request."""

    path: str = Field(description="A JSON Pointer into the body, or `/query/NAME`; empty: the whole body.")
    message: str = Field(description="The rule that is broken.")


class Problem(BaseModel):
    """Why a call was refused (RFC 9457)."""

    type: str = Field(description="A URN of the code.")
    title: str = Field(description="What the code means.")
    status: int = Field(description="The status of the answer.")
    detail: str = Field(description="What is wrong with this call, for a person.")
    error: str = Field(description="The detail again.")
    code: Literal[tuple(TITLES)] = Field(description="What is wrong, for a program; a code never changes.")  # type: ignore[valid-type]
    errors: list[ProblemError] | None = Field(None, description="With status 422: each place and its rule.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The responses of these statuses for the OpenAPI document, as an endpoint declares them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


def describe_refusals(statuses: Collection[int]) -> Mapping[str, Any]:
    """The responses of these statuses for the OpenAPI document."""
    return {str(status): response for status, response in documented(*sorted(statuses)).items()}


def problem(refusal: Refusal) -> Response:
    """The answer to a refused call. `error` repeats the detail: it is what `log10-io` reads and shows."""
    status = status_of(refusal)
    body: dict[str, Any] = {
        "type": f"urn:log10-server:problem:{refusal.code}",
        "title": TITLES[refusal.code],
        "status": status,
        "detail": refusal.detail,
        "error": refusal.detail,
        "code": refusal.code,
    }
    if isinstance(refusal, Invalid):
        body["errors"] = [fault._asdict() for fault in refusal.field_errors]
    return Response(written(body), status, _headers(refusal), MEDIA_TYPE)


def status_of(refusal: Refusal) -> int:
    return next(STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)


def _headers(refusal: Refusal) -> Mapping[str, str]:
    if isinstance(refusal, Unavailable):
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if isinstance(refusal, NotAllowed):
        return {"Allow": refusal.allow}
    if isinstance(refusal, Unauthorized):
        return {"WWW-Authenticate": 'Log10Token header="X-Log10-Token"'}
    return {}
