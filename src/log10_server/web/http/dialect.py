"""A dialect is one API that this server speaks. `web/app.py` lists all dialects.

A dialect owns paths, finds the token in a request, and answers refusals in its own format. A path that no dialect owns
is refused by the first dialect: with 401 if the request has no valid token, and with 404 otherwise.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.responses import Response

from log10_server.errors import Refusal
from log10_server.web.http.body import RequestBody, is_json
from log10_server.web.http.problems import InvalidPart

Headers = Sequence[tuple[bytes, bytes]]


class Credential(Protocol):
    """The way in which a caller of a dialect proves who they are."""

    async def find_tokens(self, headers: Headers, body: RequestBody) -> Collection[str]:
        """Return the different tokens in the request.

        If a dialect's callers send the token in the body, its credential reads the body here.
        """
        ...

    def explain_missing(self, headers: Headers) -> str:
        """Return the error text for a request without a token."""
        ...


@dataclass(frozen=True, slots=True)
class HeaderCredential:
    """A token in one of several headers.

    `names` are the headers in lower case, `missing` is the error text for a request without a token, and `scheme` is the
    word before the token, such as `Bearer`.
    """

    names: frozenset[bytes]
    missing: str
    scheme: str = ""

    async def find_tokens(self, headers: Headers, body: RequestBody) -> Collection[str]:  # noqa: ARG002
        """Return the different tokens in the headers, without the white space around them."""
        tokens = {content.strip().decode("latin-1") for name, content in headers if name in self.names}
        if self.scheme:
            return {_after_scheme(token, self.scheme) for token in tokens} - {""}
        return tokens - {""}

    def explain_missing(self, headers: Headers) -> str:
        """Return the text `missing`."""
        del headers
        return self.missing


def _after_scheme(content: str, scheme: str) -> str:
    word, _, token = content.partition(" ")
    return token.strip() if word.lower() == scheme.lower() else ""


@dataclass(frozen=True, slots=True)
class OrganizationNames:
    """The places in which a request may name an organization.

    If it names another organization than the one of its token, it is refused.
    """

    headers: frozenset[bytes]
    query: str
    body: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API: its paths, its credential, the format of its refusals, the bodies that it accepts, and its routes.

    A prefix stands for itself and every path below it, and one of `paths` only for itself. A path belongs to the
    longest prefix that matches, so a dialect may own paths below the prefix of another one. A dialect without a
    credential is public.
    """

    name: str
    routers: Sequence[APIRouter]
    credential: Credential | None
    refuse: Callable[[Refusal], Response]
    prefixes: Collection[str] = ()
    paths: Collection[str] = ()
    accepts_media_type: Callable[[str | None], bool] = is_json
    content_encodings: frozenset[str] = frozenset()
    organization_names: OrganizationNames | None = None
    # These are for the OpenAPI document: security schemes by name, parameters of every operation, and the response for
    # each status, with examples that suit an endpoint with a body, with a query, or with neither.
    security_schemes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters: Sequence[Mapping[str, Any]] = ()
    describe_refusals: Callable[[Collection[int], InvalidPart], Mapping[str, Any]] = lambda statuses, part: {}  # noqa: ARG005

    @property
    def is_public(self) -> bool:
        """Return whether the paths of this dialect need no token."""
        return self.credential is None
