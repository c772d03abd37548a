"""The errors that are reported to clients. `web/http/problems.py` turns them into HTTP responses.

Refusal
├── Malformed          the body is not JSON
├── Unauthorized       no token, or one that is unknown or revoked
├── Forbidden          the call names an organization that the token does not belong to
├── NotFound           no such path, or nothing with this id in the organization
├── NotAllowed         the path exists, but not for this method
├── Conflict           the id is already in use, or the stored content can't be changed
├── TooLarge           the body is larger than the limit
├── WrongMediaType     the path does not accept this media type
├── Invalid            the body is JSON, but fields are wrong; has `field_errors`
├── NotOffered         the hosted Log10 service had this, and this server does not
├── Unavailable        the database is unavailable, or too many calls are waiting
├── MalformedHttp      the request is not valid HTTP/1.1
├── TargetTooLong      the path and query of the request are longer than the limit
├── HeadersTooLarge    the headers of the request are larger than the limit
├── TimedOut           the headers or the body of the request did not arrive in time
└── InternalError      a bug in this program
"""

from collections.abc import Iterable
from typing import NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field. `path` is a JSON Pointer into the body, or `/query/NAME` for a query parameter."""

    path: str
    message: str


class Refusal(Exception):
    """An error that is reported to the client. `detail` is for people; `code` is for programs, and never changes."""

    code = "internal"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code


class Malformed(Refusal):
    """The body is not JSON in UTF-8.

    `syntax_error` is the JSON parser's message and the number of characters before the error, or None if the
    parser does not provide them.
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
    """The id is already used for other content, or the stored content can't be changed in this way."""

    code = "id_taken"


class TooLarge(Refusal):
    """The body, or a row of a batch, is larger than the limit."""

    code = "too_large"


class WrongMediaType(Refusal):
    """The path does not accept the `Content-Type` of the body."""

    code = "wrong_media_type"


class Invalid(Refusal):
    """The body is JSON, but it has wrong fields. `field_errors` says what is wrong with each of them."""

    code = "invalid"

    def __init__(
        self, field_errors: Iterable[FieldError], *, code: str | None = None, detail: str | None = None, more: int = 0
    ) -> None:
        """`more` is the number of errors that `field_errors` leaves out.

        The default `detail` lists the first errors.
        """
        self.field_errors = list(field_errors)
        super().__init__(detail or _join(self.field_errors, more), code=code)

    @classmethod
    def at(cls, path: str, message: str, *, code: str | None = None) -> "Invalid":
        """An Invalid with one error, for the field at `path`."""
        return cls([FieldError(path, message)], code=code)


class NotOffered(Refusal):
    """The hosted Log10 service had this, and this server does not."""

    code = "not_implemented"


class Unavailable(Refusal):
    """The database does not answer, or too many calls are waiting. The same call may succeed later."""

    code = "database_unavailable"


class MalformedHttp(Refusal):
    """The request is not valid HTTP/1.1, so the server can't know where it ends."""

    code = "malformed_http"


class TargetTooLong(Refusal):
    """The request's path and query are longer than the limit."""

    code = "target_too_long"


class HeadersTooLarge(Refusal):
    """The request's headers are larger than the limit, or too many."""

    code = "headers_too_large"


class TimedOut(Refusal):
    """The headers or the body of the request did not arrive in time."""

    code = "request_timeout"


class InternalError(Refusal):
    """A bug in this program."""

    code = "internal"


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the member reached by `parts`; no parts: the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def source_of(error: BaseException) -> str:
    """Where an unexpected error was raised, as `module:line` of the innermost frame in this package.

    It is safe to log, because it reveals nothing about the machine or the data. It is "outside" when no frame is in
    this package.
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
    """Join the first few errors to one text, which also says how many more there are."""
    texts = [f"{error.path}: {error.message}" if error.path else error.message for error in errors]
    shown = texts[:_MAX_ERRORS_IN_DETAIL]
    if len(texts) + more > len(shown):
        shown.append(f"and {len(texts) + more - len(shown)} more")
    return "; ".join(shown) + (f". The first {len(errors)} are listed." if more else "")
