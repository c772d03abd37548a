"""Test runs of `pytest --log10`: list them, and read one with its report and the completions of each test."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from log10_server.db.transaction import Tx
from log10_server.services import test_runs
from log10_server.services.test_runs import TestOutcome
from log10_server.store.test_runs import TestRunRow
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Flag, JsonObject, Limit, Offset, Reply, Wire, as_members
from log10_server.web.v1.completions import DEFAULT_PAGE

router = APIRouter(prefix="/api/v1/test_runs", tags=["TestRuns"], route_class=Endpoint)


# Where `pytest --log10` puts its report: outside `/api`, since the address itself gives the right (docs/api.md, "The calls of log10-io").
REPORT_PATH = "/test_runs/{organization_id:id}/{run_id:id}/{secret:id}/report"


def report_path(row: TestRunRow, secret: str) -> str:
    return f"/test_runs/{quote(row.organization_id, safe='')}/{row.id}/{secret}/report"


class TestRun(Wire):
    """One run of `pytest --log10`. What comes with its report is absent until that is uploaded."""

    id: str = Field(description="The run's id; `NAME-ID` is the tag of all its completions.")
    organization_id: str = Field(description="The organization that the run belongs to.")
    name: str = Field(description="What the session is called.")
    created_at_ms: int = Field(description="When the run began, in milliseconds since 1970.")
    uploaded_at_ms: int | None = Field(None, description="When its report came, in milliseconds since 1970.")
    summary: JsonObject | None = Field(
        None, description="The counts of the report, by name: `passed`, `failed`, `total`, `collected` and others."
    )

    @classmethod
    def of(cls, row: TestRunRow) -> "TestRun":
        return cls.made(
            id=row.id,
            organization_id=row.organization_id,
            name=row.name,
            created_at_ms=row.created_at // 1000,
            uploaded_at_ms=None if row.uploaded_at is None else row.uploaded_at // 1000,
            summary=None if row.summary is None else JsonObject(row.summary),
        )


class TestOfRun(Wire):
    """One test of a report."""

    nodeid: str = Field(description="The test, as pytest names it.")
    outcome: str | None = Field(None, description="How it ended: `passed`, `failed`, `skipped`, `error` or others.")
    duration: float | int | None = Field(None, description="How long its stages took together, in seconds.")
    completion_tags_selector: list[str] = Field(description="The tags that its completions have.")
    completion_ids: list[str] = Field(
        description="The completions that have all of these tags, newest first, 100 at most; "
        "empty for tests behind the first 1000 of a report."
    )

    @classmethod
    def of(cls, test: TestOutcome) -> "TestOfRun":
        return cls.made(
            nodeid=test.nodeid,
            outcome=test.outcome,
            duration=test.seconds,
            completion_tags_selector=test.tags,
            completion_ids=test.completion_ids,
        )


class TestRunWithTests(TestRun):
    """A test run with what its report says."""

    tests: list[TestOfRun] = Field(description="The tests, in the order of the report; none until it has come.")
    report: JsonObject | None = Field(None, description="The report as it came.")


class TestRunPage(Wire):
    """Test runs, newest first."""

    test_runs: list[TestRun] = Field(description="The test runs of this page.")


class TestRunQuery(BaseModel):
    offset: Offset = Field(0, description="How many to leave out at the start.")
    limit: Limit = Field(DEFAULT_PAGE, description="How many at most; more than 1000 means 1000.")
    total: Flag = Field(False, description="Whether to count all, into the header `X-Total-Count`.")


TestRunId = Annotated[str, Path(alias="testRunId", description="The test run's id.")]


@router.get("", operation_id="listTestRuns", response_model=TestRunPage)
async def list_test_runs(query: Annotated[TestRunQuery, Query()], context: RequestContext) -> Reply:
    """List test runs, newest first, without their reports."""
    limit = min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[list[TestRunRow], int | None]:
        return test_runs.list_newest(tx, query.offset, limit), test_runs.count(tx) if query.total else None

    rows, total = await context.read(read)
    page = TestRunPage.made(test_runs=[TestRun.of(row) for row in rows])
    return Reply(page, {} if total is None else {"X-Total-Count": str(total)})


@router.get("/{testRunId:id}", operation_id="getTestRun")
async def get(test_run_id: TestRunId, context: RequestContext) -> TestRunWithTests:
    """Fetch a test run with its report, and with the completions of each test."""

    def read(tx: Tx) -> tuple[TestRunRow, list[TestOutcome]]:
        row = test_runs.get(tx, test_run_id)
        return row, test_runs.outcomes(tx, row)

    row, tests = await context.read(read)
    return TestRunWithTests.made(
        **as_members(TestRun.of(row)),
        tests=[TestOfRun.of(test) for test in tests],
        report=None if row.report is None else JsonObject(row.report),
    )
