"""The table of test runs. `pytest --log10` creates a run, and later uploads its report."""

from typing import Any, NamedTuple

from sqlalchemy import Column, Select, Text, func, select

from log10_server.db.schema import Digest, Instant, Key, Payload, check_columns, ordered_index, owned_table
from log10_server.db.transaction import Tx

test_run = owned_table(
    "test_run",
    ("id",),
    Column("id", Key),
    Column("created_at", Instant, nullable=False),
    Column("name", Text, nullable=False),
    Column("upload_digest", Digest),
    Column("uploaded_at", Instant),
    Column("summary", Payload),
    Column("report", Payload),
)
ordered_index(test_run, "created_at", "id")


class TestRunRow(NamedTuple):
    """A test run, with or without its report.

    `upload_digest` is the digest of a secret, with which the report can be uploaded once. It is None for an imported
    run, to which no report can be uploaded.

    `summary` is a JSON object of numbers. `summary`, `report` and `uploaded_at` are None until the report is uploaded.
    """

    organization_id: str
    id: str
    created_at: int
    name: str
    upload_digest: str | None
    uploaded_at: int | None
    summary: str | None
    report: str | None


check_columns(TestRunRow, test_run)


def add(tx: Tx, row: TestRunRow) -> None:
    """Insert a new run."""
    tx.insert_many(test_run, [row])


def find(tx: Tx, run_id: str) -> TestRunRow | None:
    """The run with this id, including its report, or None."""
    row = tx.connection.execute(tx.rows(test_run).where(test_run.c.id == run_id)).first()
    return TestRunRow(*row) if row is not None else None


def find_without_report(tx: Tx, run_id: str) -> TestRunRow | None:
    """The run with this id, or None. Its report is not read, and is None in the result."""
    row = tx.connection.execute(_without_reports(tx).where(test_run.c.id == run_id)).first()
    return TestRunRow._make((*row, None)) if row is not None else None


def store_report(tx: Tx, run_id: str, uploaded_at: int, summary: str, report: str) -> None:
    """Store the uploaded report of a run."""
    values = {"uploaded_at": uploaded_at, "summary": summary, "report": report}
    tx.connection.execute(tx.update(test_run).where(test_run.c.id == run_id).values(values))


def list_page(tx: Tx, offset: int, limit: int) -> list[TestRunRow]:
    """A page of runs, newest first, without their reports."""
    newest = _without_reports(tx).order_by(test_run.c.created_at.desc(), test_run.c.id.desc())
    return [TestRunRow._make((*row, None)) for row in tx.connection.execute(newest.offset(offset).limit(limit))]


def count(tx: Tx) -> int:
    """How many runs there are."""
    return tx.connection.scalar(select(func.count()).select_from(tx.rows(test_run, "id").subquery())) or 0


def _without_reports(tx: Tx) -> Select[Any]:
    """A query for all columns except the last one, the report, which may have megabytes."""
    return tx.rows(test_run, *test_run.c.keys()[:-1])
