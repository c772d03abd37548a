"""A request on its way to its endpoint, with what the authentication middleware has found out about it."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.types import Receive, Scope

from log10_server.errors import Forbidden
from log10_server.runtime.context import Context
from log10_server.settings import Settings
from log10_server.store.organizations import OrganizationRow
from log10_server.web.http.body import RequestBody
from log10_server.web.http.dialect import Dialect


class Call:
    """A request to a dialect. The authentication middleware sets its `context`.

    `query` has the names and values in the query string, in their order. If `is_head` is true, the request is a HEAD,
    and the body of the answer is not sent.
    """

    __slots__ = ("body", "context", "dialect", "is_head", "query", "receive", "scope")

    context: Context

    def __init__(self, dialect: Dialect, scope: Scope, receive: Receive, is_head: bool) -> None:
        self.dialect = dialect
        self.scope = scope
        self.receive = receive
        self.is_head = is_head
        self.body = RequestBody(scope, receive, dialect.content_encodings)
        self.query: list[tuple[str, str]] = []
        if scope["query_string"]:
            self.query = parse_qsl(scope["query_string"].decode("utf-8", "replace"), keep_blank_values=True)

    def note_disconnect(self) -> None:
        """Note that the caller has disconnected, so that reads of this call that still wait do not begin."""
        if hasattr(self, "context"):  # it is missing while the token is looked up
            self.context.has_left = True

    def check_organization_of_head(self) -> None:
        """Raises Forbidden when a header or the query names another organization than the token's."""
        names = self.dialect.organization_names
        if names is None:
            return
        organization = self.context.organization
        for header, content in self.scope["headers"]:
            if header in names.headers:
                check_organization(organization, content.decode("latin-1"))
        for parameter, content in self.query:
            if parameter == names.query:
                check_organization(organization, content)

    def check_organization_of_body(self, members: dict[str, Any]) -> None:
        """Raises Forbidden when the members of a body name another organization than the token's."""
        names = self.dialect.organization_names
        if names is not None:
            check_organization(self.context.organization, members.get(names.body))


def check_organization(organization: OrganizationRow, name: Any) -> None:
    """Raises Forbidden when `name` names another organization; null, blank and the word `None` name none."""
    if name is None or (isinstance(name, str) and name.strip() in {"", "None", organization.id, organization.slug}):
        return
    raise Forbidden("The request names an organization other than the token's.")


def base_url(scope: Scope, settings: Settings) -> str:
    """Return the URL of this server, without a slash at the end.

    It is the public URL from the settings. If that is not set, it is built from the scheme and the header Host of the
    request.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = next((content.decode("latin-1") for name, content in scope["headers"] if name == b"host"), "")
    if not host:
        # A request with HTTP/1.0 may have no Host, so the address at which it arrived is used instead.
        address, port = scope["server"]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{scope['scheme']}://{host}"


def call_of(scope: Scope) -> Call:
    """Return the call of a request that passed the authentication middleware."""
    call: Call = scope["log10"]
    return call


def _never_called() -> Any:
    """Declares an argument that `Endpoint` passes itself.

    FastAPI would take an argument without a dependency for a parameter of the request.
    """
    raise NotImplementedError


RequestContext = Annotated[Context, Depends(_never_called)]
RequestCall = Annotated[Call, Depends(_never_called)]
EndpointBody = Annotated[RequestBody, Depends(_never_called)]
