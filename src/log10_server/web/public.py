"""The dialect for everything that needs no token.

It has the front page, the documentation, the health check and the upload of reports.
"""

from log10_server.web import docs, health
from log10_server.web.http.dialect import Dialect
from log10_server.web.http.problems import problem
from log10_server.web.legacy import reports

PUBLIC = Dialect(
    name="public",
    routers=(docs.router, health.router, reports.router),
    credential=None,
    refuse=problem,
    paths=("/", "/redoc", "/openapi.json", "/favicon.ico", "/healthz"),
    # A report upload needs no token, because its address contains a secret. The secret is checked before the body is
    # read.
    prefixes=("/docs", "/test_runs"),
)
