"""The errors that a caller is told about. `web/http/problems.py` turns them into HTTP answers.

Refusal
├── Malformed          the body is not JSON
├── Unauthorized       no token, or one that is unknown
├── Forbidden          the call names an organization that is not the token's
├── NotFound           no such path, or nothing with this id in the organization
├── NotAllowed         the path has no such method
├── Conflict           the id is taken, or what is stored can't change
├── TooLarge           the body is larger than the limit
├── WrongMediaType     the body is not of a media type that the path takes
├── Invalid            JSON, but not what is wanted; carries `field_errors`
├── NotOffered         the hosted service had it, this server does not
├── Unavailable        the database is away, or too much is waiting
├── MalformedHttp      the request is not valid HTTP/1.1
├── TargetTooLong      its path and query are longer than the limit
├── HeadersTooLarge    its headers are larger than the limit
├── TimedOut           its head or its body did not come in time
└── InternalError      a defect of this program
"""

from collections.abc import Iterable
from typing import NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field. `path` is a JSON Pointer into the body, or `/query/NAME` for a query parameter."""

    path: str
    message: str


class Refusal(Exception):
    """An error that the caller is told about: `detail` is for people, `code` is for programs and never changes."""

    code = "internal"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code


class Malformed(Refusal):
    """The body is not JSON in UTF-8.

    `syntax_error` is the JSON parser's message and the number of characters before the error; None where the parser does
    not tell them.
    """

    code = "not_json"

    def __init__(self, detail: str, *, syntax_error: tuple[str, int] | None = None) -> None:
        super().__init__(detail)
        self.syntax_error = syntax_error


class Unauthorized(Refusal):
    """The call carries no token, or one that is unknown or revoked."""

    code = "unauthorized"


class Forbidden(Refusal):
    """The call names an organization that the token does not belong to."""

    code = "wrong_organization"


class NotFound(Refusal):
    """There is no such path, or nothing with this id in the organization of the call."""

    code = "not_found"


class NotAllowed(Refusal):
    """The path exists, but not for this method. `allow` lists its methods, as in the HTTP header `Allow`."""

    code = "method_not_allowed"

    def __init__(self, detail: str, *, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow


class Conflict(Refusal):
    """The id is taken by other content, or what is stored can't change in this way."""

    code = "id_taken"


class TooLarge(Refusal):
    """The body, or a row of a batch, is larger than the limit."""

    code = "too_large"


class WrongMediaType(Refusal):
    """The `Content-Type` of the body is not one that the path takes."""

    code = "wrong_media_type"


class Invalid(Refusal):
    """The body is JSON but not what is wanted. `field_errors` says for each wrong field what is wrong with it."""

    code = "invalid"

    def __init__(
        self, field_errors: Iterable[FieldError], *, code: str | None = None, detail: str | None = None, more: int = 0
    ) -> None:
        """`more` is how many errors there are beyond these. Without a `detail` the errors are its text."""
        self.field_errors = list(field_errors)
        super().__init__(detail or _join(self.field_errors, more), code=code)

    @classmethod
    def at(cls, path: str, message: str, *, code: str | None = None) -> "Invalid":
        """One error of the field at `path`."""
        return cls([FieldError(path, message)], code=code)


class NotOffered(Refusal):
    """The hosted Log10 service had this, and this server does not."""

    code = "not_implemented"


class Unavailable(Refusal):
    """The database does not answer, or too many calls are waiting. The same call may succeed later."""

    code = "database_unavailable"


class MalformedHttp(Refusal):
    """The request is not valid HTTP/1.1, so that nobody knows where it ends."""

    code = "malformed_http"


class TargetTooLong(Refusal):
    """The request's path and query are longer than the limit."""

    code = "target_too_long"


class HeadersTooLarge(Refusal):
    """The request's headers are larger than the limit, or too many."""

    code = "headers_too_large"


class TimedOut(Refusal):
    """The head or the body of the request did not come in time."""

    code = "request_timeout"


class InternalError(Refusal):
    """A defect of this program."""

    code = "internal"


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the member reached by `parts`; no parts: the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def source_of(error: BaseException) -> str:
    """Where an unexpected error was raised, as `module:line` of the innermost frame in this package.

    A log may hold this, because it tells nothing about the machine or the data. "outside" when no frame is ours.
    """
    source = "outside"
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.startswith("log10_server"):
            source = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return source


_MAX_ERRORS_IN_DETAIL = 3


def _join(errors: list[FieldError], more: int) -> str:
    """The first errors as one text, and how many there are beyond these."""
    texts = [f"{error.path}: {error.message}" if error.path else error.message for error in errors]
    shown = texts[:_MAX_ERRORS_IN_DETAIL]
    if len(texts) + more > len(shown):
        shown.append(f"and {len(texts) + more - len(shown)} more")
    return "; ".join(shown) + (f". The first {len(errors)} are listed." if more else "")
