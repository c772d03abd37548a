"""The upload of a test run's report by `pytest --log10`: its address alone gives the right to it, once (docs/api.md, "The calls of log10-io").

It lies outside `/api` and needs no token. The address must appear in no log: `WithoutSecrets` sees to uvicorn's.
"""

import asyncio
import logging
import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from log10_server.db.database import Connection
from log10_server.db.transaction import Tx
from log10_server.errors import NotFound
from log10_server.runtime.runtime import Runtime
from log10_server.services import test_runs
from log10_server.strict_json import decoded, written
from log10_server.web.http.body import RequestBody, parse_members, require_json
from log10_server.web.http.routing import path_text
from log10_server.web.v1.test_runs import REPORT_PATH

router = APIRouter(include_in_schema=False)

_PARTS = "organization_id", "run_id", "secret"  # of REPORT_PATH

_SECRET = re.compile(r"(/test_runs/[^/?\s]+/[^/?\s]+/)[^/?\s]+")


class WithoutSecrets(logging.Filter):
    """Masks the secret of a report's address wherever a line's arguments hold one."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_SECRET.sub(r"\1…", said) if isinstance(said, str) else said for said in record.args)
        return True


def keep_secrets() -> None:
    """Mask them in uvicorn's access log, for as long as this process runs."""
    access = logging.getLogger("uvicorn.access")
    if not any(isinstance(one, WithoutSecrets) for one in access.filters):
        access.addFilter(WithoutSecrets())


@router.put(REPORT_PATH)
async def upload(request: Request) -> Response:
    """Store the report of a run. Nothing of the body is read before the address is known to be good."""
    runtime: Runtime = request.app.state.runtime
    limits = runtime.settings.limits
    organization_id, run_id, secret = (path_text(request.scope, name) for name in _PARTS)
    if "\0" in organization_id + run_id + secret:  # Postgres would refuse the query
        raise NotFound(test_runs.NO_REPORT_EXPECTED)

    def check(connection: Connection) -> None:
        test_runs.check_upload(runtime.database.tx(connection, organization_id), run_id, secret)

    await runtime.read(check)
    request_body = RequestBody(request.scope, request.receive)
    body = await request_body.read(limits.body_bytes)
    require_json(request_body.media_type)
    said = await parse_members(body, (), limits.nesting)
    text = decoded(body).strip()
    report = await asyncio.to_thread(test_runs.make_report, text, said.get("summary"), said.get("tests"))

    def store(tx: Tx) -> None:
        test_runs.store_report(tx, run_id, secret, report)

    await runtime.write(organization_id, store, size=len(body))
    return Response(written({"id": run_id}), media_type="application/json")
