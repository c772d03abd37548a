"""`/api/v1/test_runs`: list the runs of `pytest --log10`, and get one with its report and each test's completions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from msgspec import Meta, Raw
from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from log10_server.db.transaction import Tx
from log10_server.services import durations, test_runs
from log10_server.services.test_runs import TestOutcome
from log10_server.store.test_runs import TestRunRow
from log10_server.web.http.answers import EXAMPLE_ORGANIZATION, EXAMPLE_TIME_MS, Answer, ObjectText, Reply
from log10_server.web.http.call import RequestContext
from log10_server.web.http.endpoint import Endpoint
from log10_server.web.http.fields import Flag
from log10_server.web.http.queries import refuse_unknown_parameters
from log10_server.web.v1.paging import DEFAULT_PAGE, PageLimit, PageOffset

router = APIRouter(prefix="/api/v1/test_runs", tags=["TestRuns"], route_class=Endpoint)


# The path to which `pytest --log10` uploads its report. It is outside `/api`, because the upload needs no token: the
# secret in the path authorizes it (docs/api.md, "The calls of log10-io").
REPORT_PATH = "/test_runs/{organization_id:id}/{run_id:id}/{secret:id}/report"


def report_path(row: TestRunRow, secret: str) -> str:
    """Return the path to which the report of this run is uploaded."""
    return f"/test_runs/{quote(row.organization_id, safe='')}/{row.id}/{secret}/report"


_RUN_ID = "4f4dfb4c-7d2c-4a8e-9d5a-3f9f6a1f7a10"
_SUMMARY: JsonDict = {"passed": 1, "total": 1, "collected": 1}
_REPORT: JsonDict = {
    "summary": _SUMMARY,
    "tests": [
        {
            "nodeid": "tests/test_greeting.py::test_greeting",
            "outcome": "passed",
            "call": {"duration": 0.9, "outcome": "passed"},
            "log10_completion_tags_selector": [f"nightly-{_RUN_ID}", "test_greeting"],
        }
    ],
}
_ANSWER: JsonDict = {
    "id": _RUN_ID,
    "organization_id": EXAMPLE_ORGANIZATION,
    "name": "nightly",
    "created_at_ms": EXAMPLE_TIME_MS,
    "uploaded_at_ms": EXAMPLE_TIME_MS + 4000,
    "summary": _SUMMARY,
}
_TEST: JsonDict = {
    "nodeid": "tests/test_greeting.py::test_greeting",
    "outcome": "passed",
    "duration": 0.9,
    "completion_tags_selector": [f"nightly-{_RUN_ID}", "test_greeting"],
    "completion_ids": ["greeting-1"],
}


class TestRun(Answer, kw_only=True):
    """One run of `pytest --log10`. Two members are absent until the run's report is uploaded."""

    openapi_example: ClassVar[Mapping[str, Any]] = _ANSWER

    id: Annotated[str, Meta(description="The run's id; `NAME-ID` is a tag of all its completions.")]
    organization_id: Annotated[str, Meta(description="The organization that the run belongs to.")]
    name: Annotated[str, Meta(description="The name of the run.")]
    created_at_ms: Annotated[int, Meta(description="When the run began, in milliseconds since 1970 (UTC).")]
    uploaded_at_ms: Annotated[
        int | None, Meta(description="When the report was uploaded, in milliseconds since 1970 (UTC).")
    ] = None
    summary: Annotated[
        ObjectText | None,
        Meta(description="The counts of the report, by name: `passed`, `failed`, `total`, `collected` and others."),
    ] = None

    @classmethod
    def of(cls, row: TestRunRow) -> "TestRun":
        """Build the answer for a list. It does not contain the report."""
        return cls(
            id=row.id,
            organization_id=row.organization_id,
            name=row.name,
            created_at_ms=row.created_at // 1000,
            uploaded_at_ms=None if row.uploaded_at is None else row.uploaded_at // 1000,
            summary=None if row.summary is None else Raw(row.summary),
        )


class TestOfRun(Answer, kw_only=True):
    """One test of a report."""

    openapi_example: ClassVar[Mapping[str, Any]] = _TEST

    nodeid: Annotated[str, Meta(description="The test's node id, as pytest writes it.")]
    outcome: Annotated[
        str | None, Meta(description="How the test ended: `passed`, `failed`, `skipped`, `error` or others.")
    ] = None
    duration: Annotated[
        float | None, Meta(description="How long setup, call and teardown took together, in seconds.")
    ] = None
    completion_tags_selector: Annotated[list[str], Meta(description="The tags that the test's completions have.")]
    completion_ids: Annotated[
        list[str],
        Meta(
            description="The completions that have all of these tags, newest first, 100 at most. "
            "Empty for tests after the first 1000 of a report."
        ),
    ]

    @classmethod
    def of(cls, test: TestOutcome) -> "TestOfRun":
        """Build the answer for a test of the report, with the completions that were found for it."""
        return cls(
            nodeid=test.nodeid,
            outcome=test.outcome,
            duration=durations.compact(test.seconds),
            completion_tags_selector=test.tags,
            completion_ids=test.completion_ids,
        )


class TestRunWithTests(TestRun, kw_only=True):
    """A test run with its tests and its report."""

    openapi_example: ClassVar[Mapping[str, Any]] = {**_ANSWER, "tests": [_TEST], "report": _REPORT}

    tests: Annotated[
        list[TestOfRun], Meta(description="The tests in the order of the report; empty until the report is uploaded.")
    ]
    report: Annotated[ObjectText | None, Meta(description="The report, exactly as it was uploaded.")] = None

    @classmethod
    def with_tests(cls, row: TestRunRow, tests: list[TestOutcome]) -> "TestRunWithTests":
        """Build the answer for a run that is fetched by its id."""
        run = TestRun.of(row)
        return cls(
            id=run.id,
            organization_id=run.organization_id,
            name=run.name,
            created_at_ms=run.created_at_ms,
            uploaded_at_ms=run.uploaded_at_ms,
            summary=run.summary,
            tests=[TestOfRun.of(test) for test in tests],
            report=None if row.report is None else Raw(row.report),
        )


class TestRunPage(Answer, kw_only=True):
    """A page of test runs, newest first."""

    openapi_example: ClassVar[Mapping[str, Any]] = {"test_runs": [_ANSWER]}

    test_runs: Annotated[list[TestRun], Meta(description="The test runs on this page.")]


class TestRunQuery(BaseModel):
    """The query of the list of test runs."""

    offset: PageOffset = 0
    limit: PageLimit = DEFAULT_PAGE
    total: Flag = Field(
        False, description="Whether to count all test runs. The count is in the header `X-Total-Count`."
    )


TestRunId = Annotated[str, Path(alias="testRunId", description="The test run's id.")]


@router.get("", operation_id="listTestRuns")
@refuse_unknown_parameters
async def list_test_runs(query: Annotated[TestRunQuery, Query()], context: RequestContext) -> Reply[TestRunPage]:
    """List test runs, newest first. Their reports are left out."""
    limit = min(query.limit, context.limits.page)

    def read(tx: Tx) -> tuple[list[TestRunRow], int | None]:
        return test_runs.list_newest(tx, query.offset, limit), test_runs.count(tx) if query.total else None

    rows, total = await context.read(read)
    page = TestRunPage(test_runs=[TestRun.of(row) for row in rows])
    return Reply(page, {} if total is None else {"X-Total-Count": str(total)})


@router.get("/{testRunId:id}", operation_id="getTestRun")
@refuse_unknown_parameters
async def get(test_run_id: TestRunId, context: RequestContext) -> TestRunWithTests:
    """Get a test run with its report and the completions of each test."""

    def read(tx: Tx) -> tuple[TestRunRow, list[TestOutcome]]:
        row = test_runs.get(tx, test_run_id)
        return row, test_runs.list_outcomes(tx, row)

    row, tests = await context.read(read)
    return TestRunWithTests.with_tests(row, tests)
