"""What is answered without a token, all of it: the front page, the documentation, the health check, report uploads."""

from log10_server.web import docs, health
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.problems import problem
from log10_server.web.legacy import reports

PUBLIC = Dialect(
    name="public",
    routers=(docs.router, health.router, reports.router),
    credential=None,
    refuse=problem,
    paths=("/", "/redoc", "/openapi.json", "/healthz"),
    # The address of a report upload carries a secret that is checked before its body is read.
    prefixes=("/docs", "/test_runs"),
)
