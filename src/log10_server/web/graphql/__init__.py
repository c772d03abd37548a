"""The dialect of GraphQL at `/graphql`: three documents of `log10-io` (docs/api.md, "The calls of log10-io"), and what one explores from there."""

from log10_server.web.graphql.routes import PATH, router

ROUTERS = [router]

__all__ = ["PATH", "ROUTERS"]
