"""Every refusal this program can give; `web/http/problems.py` turns them into HTTP.

Refusal
├── Malformed          the body is not JSON
├── Unauthorized       no token, or one that is not known
├── Forbidden          the call names an organization that is not the token's
├── NotFound           no such path, or nothing of that id in this organization
├── NotAllowed         the path has no such method
├── Conflict           the id is taken, or the thing can't change
├── TooLarge           the body is larger than the limit
├── WrongMediaType     the body says it is something other than JSON
├── Invalid            JSON, but not what is wanted; carries `faults`
├── NotOffered         what another service offers and this one does not
├── Unavailable        the database is away, or too much is waiting
└── InternalError             our own fault
"""

from collections.abc import Iterable
from typing import NamedTuple


class FieldError(NamedTuple):
    """One thing that is wrong: where (`path`, a JSON Pointer into the body, or `/query/NAME`), and which rule."""

    path: str
    message: str


class Refusal(Exception):
    """Something this program will not do, said to a person (`detail`) and to a program (`code`, which never changes)."""

    code = "internal"

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code


class Malformed(Refusal):
    """`fault` is the reason, and how many characters stand before it, where both are known."""

    code = "not_json"

    def __init__(self, detail: str, *, fault: tuple[str, int] | None = None) -> None:
        super().__init__(detail)
        self.fault = fault


class Unauthorized(Refusal):
    code = "unauthorized"


class Forbidden(Refusal):
    code = "wrong_organization"


class NotFound(Refusal):
    code = "not_found"


class NotAllowed(Refusal):
    code = "method_not_allowed"

    def __init__(self, detail: str, *, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow


class Conflict(Refusal):
    code = "id_taken"


class TooLarge(Refusal):
    code = "too_large"


class WrongMediaType(Refusal):
    code = "wrong_media_type"


class Invalid(Refusal):
    code = "invalid"

    def __init__(
        self, faults: Iterable[FieldError], *, code: str | None = None, detail: str | None = None, more: int = 0
    ) -> None:
        """`more` is how many faults there are beyond these."""
        self.faults = list(faults)
        super().__init__(detail or _sentence(self.faults, more), code=code)

    @classmethod
    def at(cls, path: str, message: str, *, code: str | None = None) -> "Invalid":
        return cls([FieldError(path, message)], code=code)


class NotOffered(Refusal):
    code = "not_implemented"


class Unavailable(Refusal):
    code = "database_unavailable"


class InternalError(Refusal):
    code = "internal"


def pointer(*parts: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the member reached by `parts`; no parts: the whole document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def source_of(error: BaseException) -> str:
    """Where an unexpected error came from, as `module:line` of ours: enough to find it, and no path or data for a log."""
    found = "outside"
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.startswith("log10_server"):
            found = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


_SHOWN = 3


def _sentence(faults: list[FieldError], more: int) -> str:
    said = [f"{fault.path}: {fault.message}" if fault.path else fault.message for fault in faults[:_SHOWN]]
    if len(faults) + more > _SHOWN:
        said.append(f"and {len(faults) + more - _SHOWN} more")
    return "; ".join(said) + (f". The first {len(faults)} are listed." if more else "")
