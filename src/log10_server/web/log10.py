"""The Log10 API, as two dialects: `/api` and `/graphql`.

Both read the token from the header `X-Log10-Token`. `/graphql` also reads `X-API-Token`, which `log10-io` sends there.
"""

from dataclasses import dataclass

from log10_server.web import graphql, legacy, v1
from log10_server.web.http.dialect import Dialect, HeaderCredential, Headers, OrganizationNames
from log10_server.web.http.problems import describe_refusals, problem
from log10_server.web.transfer import routes as transfer


@dataclass(frozen=True, slots=True)
class Log10Credential(HeaderCredential):
    """A token in the header `X-Log10-Token`.

    If a caller sends no such header but `Authorization`, the error says that this header is not read.
    """

    def explain_missing(self, headers: Headers) -> str:
        """Return the error text for a request without a token. It says which header the caller must send."""
        if any(name == b"authorization" for name, _ in headers):
            return "Send the token in the header X-Log10-Token. The header Authorization is not read here."
        return self.missing


_MISSING = "The header X-Log10-Token is missing: every call needs a token of your organization."
_ORGANIZATION_NAMES = OrganizationNames(
    headers=frozenset({b"x-log10-organization", b"x-log10-organization-id"}),
    query="organization_id",
    body="organization_id",
)
_SECURITY = {
    "Log10Token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Log10-Token",
        "description": "A token of your organization.",
    }
}
_ORGANIZATION_PARAMETER = {
    "name": "X-Log10-Organization",
    "in": "header",
    "required": False,
    "description": "The id or the slug of the token's organization. May be left out.",
    "schema": {"type": "string", "title": "X-Log10-Organization"},
}

LOG10 = Dialect(
    name="log10",
    # `legacy` and `v1` have some paths in common. Routes are tried in order, and those of `legacy` only match calls of
    # `log10-io`, so `legacy` must come first.
    routers=(*legacy.ROUTERS, *v1.ROUTERS, transfer.router),
    prefixes=("/api",),
    credential=Log10Credential(frozenset({b"x-log10-token"}), _MISSING),
    refuse=problem,
    organization_names=_ORGANIZATION_NAMES,
    security_schemes=_SECURITY,
    parameters=(_ORGANIZATION_PARAMETER,),
    describe_refusals=describe_refusals,
)

GRAPHQL = Dialect(
    name="graphql",
    routers=graphql.ROUTERS,
    prefixes=(graphql.PATH,),
    credential=Log10Credential(frozenset({b"x-log10-token", b"x-api-token"}), _MISSING),
    refuse=problem,
    organization_names=_ORGANIZATION_NAMES,
    security_schemes=_SECURITY,
    describe_refusals=describe_refusals,
)
