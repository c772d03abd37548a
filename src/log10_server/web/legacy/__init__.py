"""The dialect of `log10-io` (contract 2), where it goes beyond the document."""

from log10_server.web.legacy import completions, pages, sessions, tags

ROUTERS = [completions.router, sessions.router, tags.router, pages.router]
