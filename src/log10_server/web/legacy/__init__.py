"""The calls of `log10-io` that are not part of the versioned API (docs/api.md, "The calls of log10-io")."""

from log10_server.web.legacy import autoprompt, completions, metrics, pages, sessions, tags

ROUTERS = [
    completions.router,
    sessions.router,
    tags.router,
    pages.router,
    metrics.router,
    autoprompt.router,
]
