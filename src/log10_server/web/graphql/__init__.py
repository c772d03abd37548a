"""The GraphQL dialect at `/graphql`: what `log10-io` queries (docs/api.md, "The calls of log10-io"), and introspection."""

from log10_server.web.graphql.routes import PATH, router

ROUTERS = [router]

__all__ = ["PATH", "ROUTERS"]
