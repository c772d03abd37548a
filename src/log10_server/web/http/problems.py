"""Turns refusals into HTTP responses: `application/problem+json` by RFC 9457 (docs/api.md, "Errors").

All dialects of this server use this format.
"""

import json
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

# Every kind of error has one code. The meaning of a code never changes, because programs depend on it.
TITLES = {
    "not_json": "The body is not JSON",
    "malformed_http": "The request is not valid HTTP",
    "request_timeout": "The request did not arrive in time",
    "target_too_long": "The path and query are too long",
    "headers_too_large": "The headers are too large",
    "unauthorized": "A valid token is required",
    "wrong_organization": "The token belongs to another organization",
    "not_found": "Not found",
    "method_not_allowed": "The path does not have this method",
    "id_taken": "The id is in use with other content",
    "report_taken": "The test run already has its report",
    "decided_already": "The proposal was already accepted or rejected",
    "schema_is_fixed": "The schema of a feedback task never changes",
    "too_large": "The body is too large",
    "wrong_media_type": "The body must be JSON",
    "invalid": "The request is not valid",
    "invalid_schema": "The schema of the feedback task is not valid",
    "values_refused": "The values do not satisfy the schema of the feedback task",
    "validation_timeout": "The validation took too long",
    "unknown_task": "The feedback task does not exist",
    "task_archived": "The feedback task is archived",
    "unknown_completion": "The completion does not exist",
    "no_match": "The selector matches no completion",
    "too_many_matches": "The selector matches too many completions",
    "internal": "Internal error of the server",
    "not_implemented": "The server does not offer this operation",
    "database_unavailable": "The database cannot be reached",
    "no_answer": "The database did not answer in time",
    "overloaded": "The server is overloaded",
    "stopping": "The server is stopping",
}

MEANINGS = {
    400: "The body is not JSON.",
    401: "The token is missing, unknown or revoked.",
    403: "The request names an organization other than the token's.",
    404: "The organization has nothing with this id.",
    409: "The id is in use with other content, or the change is not possible any more.",
    413: "The body is larger than the limit.",
    415: "The media type of the body is not JSON.",
    422: "The request breaks a rule. `errors` names each field and the rule that it breaks.",
    500: "The server has a defect. Its log says where.",
    503: "The database cannot be reached, or the server is overloaded or stopping. `Retry-After` says when to try again.",
}

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1


class ProblemError(BaseModel):
    """One field that breaks a rule."""

    path: str = Field(
        description="A JSON Pointer to the field in the body, or `/query/NAME`. It is empty for the whole body."
    )
    message: str = Field(description="The rule that the field breaks.")


class Problem(BaseModel):
    """Why a call was refused (RFC 9457)."""

    type: str = Field(description="The code as a URN.")
    title: str = Field(description="The meaning of the code.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request, for people.")
    error: str = Field(description="The same text as `detail`.")
    code: Literal[tuple(TITLES)] = Field(description="What is wrong, for programs. A code never changes.")  # type: ignore[valid-type]
    errors: list[ProblemError] | None = Field(
        None, description="Each field that breaks a rule. Present only with status 422."
    )


# The part of the request that is wrong in the example of a 422. An endpoint shows the error that its callers meet most
# often.
InvalidPart = Literal["body", "query", "path"]

_INVALID_EXAMPLES: dict[InvalidPart, Refusal] = {
    "body": Invalid.at("/id", "Input should be a valid string"),
    "query": Invalid.at("/query/limit", "Must be a whole number."),
    "path": Invalid.at("/id", "The id in the path must not contain control characters."),
}

# The example that the OpenAPI document shows for each code that it mentions.
_EXAMPLES: tuple[Refusal, ...] = (
    Malformed("Not JSON: Expecting a member's name in double quotes at line 1, column 2."),
    Unauthorized("The token is unknown or revoked."),
    Forbidden("The request names an organization other than the token's."),
    NotFound("There is no completion 'greeting-9'."),
    Conflict("The feedback 'feedback-1' already exists, with other content."),
    Conflict("The feedback 'feedback-1' is already accepted.", code="decided_already"),
    Conflict(
        "The `json_schema` of a feedback task never changes, because feedback was validated against it. Create another task.",
        code="schema_is_fixed",
    ),
    TooLarge("The body is larger than 8388608 bytes."),
    WrongMediaType("The body must be JSON, not 'text/plain': send Content-Type: application/json."),
    Invalid.at(
        "/json_schema/type",
        'Must be one of "array", "boolean", "integer", "null", "number", "object", "string"; it is "objekt".',
        code="invalid_schema",
    ),
    Invalid.at("/json_values/grade", "Must be at most 5; it is 9.", code="values_refused"),
    Invalid.at("/json_values", "Validation takes longer than the limit of 1 s.", code="validation_timeout"),
    Invalid.at("/task_id", "There is no feedback task 'greeting-quality'.", code="unknown_task"),
    Invalid.at("/task_id", "The feedback task 'greeting-quality' is archived.", code="task_archived"),
    Invalid.at("/completion_ids/0", "There is no completion 'greeting-9'.", code="unknown_completion"),
    Invalid.at(
        "/completion_tags_selector",
        "No completion has all of these tags. Set `allow_unmatched_feedback` to store the feedback all the same.",
        code="no_match",
    ),
    Invalid.at(
        "/completion_tags_selector",
        "The selector matches 250 completions; `max_matched_completions` allows 100.",
        code="too_many_matches",
    ),
    InternalError("The server has a defect; it was logged."),
    Unavailable("The database can't be reached or is busy. Try again."),
    Unavailable(
        "The connection to the database was lost during the commit, so the request is stored completely or not at all. "
        "If it has an id, it can safely be sent again.",
        code="no_answer",
    ),
    Unavailable("Too many writes are waiting. Try again in a moment.", code="overloaded"),
    Unavailable("The server is stopping.", code="stopping"),
)
_EXAMPLE_OF_CODE = {refusal.code: refusal for refusal in _EXAMPLES}

_USUAL_CODES: dict[int, tuple[str, ...]] = {
    400: ("not_json",),
    401: ("unauthorized",),
    403: ("wrong_organization",),
    404: ("not_found",),
    409: ("id_taken",),
    413: ("too_large",),
    415: ("wrong_media_type",),
    422: ("invalid",),
    500: ("internal",),
    503: ("database_unavailable", "no_answer", "overloaded", "stopping"),
}


def documented(*codes: str, invalid_part: InvalidPart = "body") -> dict[int | str, dict[str, Any]]:
    """Return the responses with these codes, for the OpenAPI document.

    An endpoint declares them. Each code has an example.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        refusal = _INVALID_EXAMPLES[invalid_part] if code == "invalid" else _EXAMPLE_OF_CODE[code]
        status = status_of(refusal)
        if status not in responses:
            content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
            responses[status] = {"description": MEANINGS[status], "content": {MEDIA_TYPE: content}}
        example = {"summary": TITLES[code], "value": json.loads(bytes(problem(refusal).body))}
        responses[status]["content"][MEDIA_TYPE]["examples"][code] = example
    return responses


def describe_refusals(statuses: Collection[int], invalid_part: InvalidPart) -> Mapping[str, Any]:
    """Return the responses with these statuses, for the OpenAPI document.

    They show the codes that any endpoint may send.
    """
    codes = [code for status in sorted(statuses) for code in _USUAL_CODES[status]]
    return {str(status): response for status, response in documented(*codes, invalid_part=invalid_part).items()}


def problem(refusal: Refusal) -> Response:
    """Return the response to a refused call.

    The member `error` repeats the detail, because `log10-io` reads and shows that member.
    """
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
        body["errors"] = [error._asdict() for error in refusal.field_errors]
    return Response(written(body), status, _headers(refusal), MEDIA_TYPE)


def status_of(refusal: Refusal) -> int:
    """Return the HTTP status for the class of a refusal. If the class has none, the nearest base class decides."""
    return next(STATUS[kind] for kind in type(refusal).__mro__ if kind in STATUS)


def _headers(refusal: Refusal) -> Mapping[str, str]:
    if isinstance(refusal, Unavailable):
        return {"Retry-After": str(RETRY_AFTER_SECONDS)}
    if isinstance(refusal, NotAllowed):
        return {"Allow": refusal.allow}
    if isinstance(refusal, Unauthorized):
        return {"WWW-Authenticate": 'Log10Token header="X-Log10-Token"'}
    return {}
