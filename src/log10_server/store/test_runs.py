"""Test runs: what `pytest --log10` makes, and the report that it uploads."""

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
    """`upload_digest` is of the secret that may upload the report, once; None when nobody may (an imported run).

    `summary` is a JSON object of numbers; like `report` and `uploaded_at` it is None until the report has come.
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
    tx.insert_many(test_run, [row])


def find(tx: Tx, id: str) -> TestRunRow | None:
    found = tx.connection.execute(tx.rows(test_run).where(test_run.c.id == id)).first()
    return TestRunRow(*found) if found is not None else None


def find_without_report(tx: Tx, id: str) -> TestRunRow | None:
    """The run without its report."""
    return _first(tx, _listed(tx).where(test_run.c.id == id))


def store_report(tx: Tx, id: str, at: int, summary: str, report: str) -> None:
    values = {"uploaded_at": at, "summary": summary, "report": report}
    tx.connection.execute(tx.update(test_run).where(test_run.c.id == id).values(values))


def list_page(tx: Tx, offset: int, limit: int) -> list[TestRunRow]:
    """Newest first, without their reports."""
    newest = _listed(tx).order_by(test_run.c.created_at.desc(), test_run.c.id.desc())
    return [TestRunRow(*(*row, None)) for row in tx.connection.execute(newest.offset(offset).limit(limit))]


def count(tx: Tx) -> int:
    return tx.connection.scalar(select(func.count()).select_from(tx.rows(test_run, "id").subquery())) or 0


def _listed(tx: Tx) -> Select[Any]:
    """A report may have megabytes."""
    return tx.rows(test_run, *test_run.c.keys()[:-1])


def _first(tx: Tx, listed: Select[Any]) -> TestRunRow | None:
    found = tx.connection.execute(listed).first()
    return TestRunRow(*(*found, None)) if found is not None else None
