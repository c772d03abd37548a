"""The GraphQL dialect at `/graphql`, for the queries of `log10-io` (docs/api.md, "The calls of log10-io")."""

from log10_server.web.graphql.routes import PATH, router

ROUTERS = [router]

__all__ = ["PATH", "ROUTERS"]
