"""The dialect of `log10-io` (docs/api.md, "The calls of log10-io"), where it goes beyond the document."""

from log10_server.web.legacy import autoprompt, completions, metrics, pages, sessions, tags

ROUTERS = [
    completions.router,
    sessions.router,
    tags.router,
    pages.router,
    metrics.router,
    autoprompt.router,
]
