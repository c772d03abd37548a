"""The upload of a test run's report by `pytest --log10` (docs/api.md, "The calls of log10-io").

The upload needs no token, because a secret in the path authorizes it. So the path must not appear in any log, and
`SecretMaskingFilter` masks the secret in uvicorn's log.
"""

import logging
import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from log10_server.runtime.runtime import Runtime
from log10_server.services import test_runs
from log10_server.services.test_runs import ReportAddress, UploadedReport
from log10_server.strict_json import decoded, written
from log10_server.web.http.body import RequestBody, parse_members, require_json
from log10_server.web.http.routing import path_text
from log10_server.web.v1.test_runs import REPORT_PATH

router = APIRouter(include_in_schema=False)

_SECRET = re.compile(r"(/test_runs/[^/?\s]+/[^/?\s]+/)[^/?\s]+")


class SecretMaskingFilter(logging.Filter):
    """Masks the secret in the path of a report wherever it occurs in the arguments of a log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask secrets in the record. Returns True, because every record is logged."""
        if isinstance(record.args, tuple):
            record.args = tuple(_SECRET.sub(r"\1…", arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


def mask_secrets() -> None:
    """Mask secrets in uvicorn's access log for as long as this process runs. May be called again."""
    access_log = logging.getLogger("uvicorn.access")
    if not any(isinstance(added, SecretMaskingFilter) for added in access_log.filters):
        access_log.addFilter(SecretMaskingFilter())


@router.put(REPORT_PATH)
async def upload(request: Request) -> Response:
    """Store the report of a test run. The body is read only after the secret was checked."""
    runtime: Runtime = request.app.state.runtime
    address = ReportAddress(*(path_text(request.scope, name) for name in ReportAddress._fields))

    request_body = RequestBody(request.scope, request.receive)
    request_body.count_for(address.organization_id, runtime.held_bytes)

    async def read_body() -> UploadedReport:
        limits = runtime.settings.limits
        body = await request_body.read(limits.body_bytes)
        require_json(request_body.media_type)
        values = await parse_members(body, (), limits.nesting)
        return UploadedReport(decoded(body).strip(), values.get("summary"), values.get("tests"))

    try:
        await test_runs.upload_report(runtime, address, read_body)
    finally:
        request_body.release()
    return Response(written({"id": address.run_id}), media_type="application/json")
