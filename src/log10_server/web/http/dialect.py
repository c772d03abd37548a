"""What a dialect is: one API that this server speaks, as an object that `web/app.py` is given.

A dialect owns paths, knows how a caller proves who they are, and answers refusals in its own shape. What no dialect and
no declared public path owns is refused by the default dialect: 401 without a good token, 404 with one.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import APIRouter
from starlette.responses import Response

from log10_server.errors import Refusal
from log10_server.web.http.body import RequestBody, is_json
from log10_server.web.http.problems import InvalidPart

Headers = Sequence[tuple[bytes, bytes]]


class Credential(Protocol):
    """How a caller of a dialect proves who they are."""

    async def find_tokens(self, headers: Headers, body: RequestBody) -> Collection[str]:
        """The different tokens that the request carries. Reading the body is for dialects that send the token in it."""
        ...

    def explain_missing(self, headers: Headers) -> str:
        """What to tell a caller whose request carries no token."""
        ...


@dataclass(frozen=True, slots=True)
class HeaderCredential:
    """A token in one of several headers; `scheme` is the word before it, such as `Bearer`."""

    names: frozenset[bytes]
    missing: str
    scheme: str = ""

    async def find_tokens(self, headers: Headers, body: RequestBody) -> Collection[str]:  # noqa: ARG002
        """The different tokens in the headers. White space around a header's value is no part of it."""
        tokens = {content.strip().decode("latin-1") for name, content in headers if name in self.names}
        if self.scheme:
            return {_after_scheme(token, self.scheme) for token in tokens} - {""}
        return tokens - {""}

    def explain_missing(self, headers: Headers) -> str:
        """The text that was given."""
        del headers
        return self.missing


def _after_scheme(content: str, scheme: str) -> str:
    word, _, token = content.partition(" ")
    return token.strip() if word.lower() == scheme.lower() else ""


@dataclass(frozen=True, slots=True)
class OrganizationNames:
    """Where a call may name the organization that it is for; each name must be that of the token's organization."""

    headers: frozenset[bytes]
    query: str
    body: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API: its paths, its credential, its refusals, what it takes, and its routes.

    `prefixes` own themselves and every path below them, `paths` only themselves; the longest owner of a path wins. So a
    dialect may own a part of what another one owns. A dialect without a credential is public.
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
    # For the OpenAPI document: security schemes by name, parameters of every operation, and the response of each status,
    # with examples that suit an endpoint with a body, with a query, or with neither.
    security_schemes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters: Sequence[Mapping[str, Any]] = ()
    describe_refusals: Callable[[Collection[int], InvalidPart], Mapping[str, Any]] = lambda statuses, part: {}  # noqa: ARG005

    @property
    def is_public(self) -> bool:
        """Whether its paths are answered without asking who calls."""
        return self.credential is None


Answer = Callable[..., Awaitable[None]]
