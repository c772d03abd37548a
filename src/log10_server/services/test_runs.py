"""Creates and lists the runs of `pytest --log10`, and stores their reports.

A run is created first, gets its report once, and is then read with the completions of each of its tests.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import Any, NamedTuple

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, NotFound
from log10_server.runtime.runtime import Runtime
from log10_server.services import durations
from log10_server.services.organizations import digest
from log10_server.store.test_runs import TestRunRow
from log10_server.strict_json import value, written

# A report may name any number of tests and tags, so these bounds limit what one call looks up for it.
TESTS_LOOKED_UP = 1000
COMPLETIONS_OF_A_TEST = 100
_GROUPS_LOOKED_UP = 20
_TAGS_LOOKED_UP = 10
_COUNTS_KEPT = 100
# All wrong addresses get the same text, so that nobody can find out from it which runs exist.
_NO_REPORT_EXPECTED = "There is no test run that waits for a report at this address."


class ReportAddress(NamedTuple):
    """The parts of the address to which the report of a run is uploaded.

    The secret authorizes the upload, so no token is needed.
    """

    organization_id: str
    run_id: str
    secret: str


class UploadedReport(NamedTuple):
    """A report as it was sent: its JSON text, and the parsed values of two of its members.

    The value of a member that the report lacks is None.
    """

    text: str
    summary: Any
    tests: Any


class TestOutcome(NamedTuple):
    """One test of a report, and the newest completions that have its tags.

    `seconds` is None if the report has no duration for the test.
    """

    nodeid: str
    outcome: str | None
    seconds: float | None
    tags: list[str]
    completion_ids: list[str]


def create(tx: Tx, name: str) -> tuple[TestRunRow, str]:
    """Create a run. Returns it with the secret that authorizes one upload of its report.

    Only a digest of the secret is stored.
    """
    at, secret = tx.now(), secrets.token_urlsafe(32)
    row = TestRunRow(tx.organization_id, uuid7(at), at, name, digest(secret), None, None, None)
    store.test_runs.add(tx, row)
    return row, secret


def get(tx: Tx, run_id: str) -> TestRunRow:
    """Return the run with this id. Raises NotFound."""
    row = store.test_runs.find(tx, run_id)
    if row is None:
        raise NotFound(f"There is no test run {run_id!r}.")
    return row


def list_newest(tx: Tx, offset: int, limit: int) -> list[TestRunRow]:
    """List a page of runs, newest first, without their reports."""
    return store.test_runs.list_page(tx, offset, limit)


def count(tx: Tx) -> int:
    """Count the runs of the organization."""
    return store.test_runs.count(tx)


async def upload_report(
    runtime: Runtime, address: ReportAddress, read_body: Callable[[], Awaitable[UploadedReport]]
) -> None:
    """Store the report of a run. A run takes only one report.

    `read_body` is called only after the address was checked, so that a stranger can't make the server read a body.
    Raises NotFound for an unknown run and for a wrong secret, with the same text, so that the caller can't tell them
    apart; Conflict if the run has its report already; and the errors of `read_body`.
    """
    if "\0" in "".join(address):  # Postgres would refuse the query
        raise NotFound(_NO_REPORT_EXPECTED)
    # Strangers can make this call, so it waits for the turn of no organization, not for that of the named one.
    await runtime.look_up(
        "",
        lambda connection: _check_address(runtime.database.tx(connection, address.organization_id), address),
    )
    report = await read_body()
    summary = await asyncio.to_thread(_summary_of, report)

    def store_report(tx: Tx) -> None:
        _check_address(tx, address)  # checked again: another upload may have stored its report
        store.test_runs.store_report(tx, address.run_id, tx.now(), summary, report.text)

    await runtime.write(address.organization_id, store_report, size=len(report.text))


def _check_address(tx: Tx, address: ReportAddress) -> None:
    row = store.test_runs.find_without_report(tx, address.run_id)
    # The digest stays after the upload, so that a wrong secret does not reveal whether a run has its report.
    if row is None or row.upload_digest is None or not compare_digest(row.upload_digest, digest(address.secret)):
        raise NotFound(_NO_REPORT_EXPECTED)
    if row.uploaded_at is not None:
        raise Conflict("The test run has its report already; it is uploaded once.", code="report_taken")


def _summary_of(report: UploadedReport) -> str:
    """Return the counts of a report as a JSON object.

    The counts are the numbers in the report's summary. If there are none, the outcomes of its tests are counted.
    """
    summary = report.summary if isinstance(report.summary, dict) else {}
    numbers = {name: member for name, member in summary.items() if _is_number(member)}
    if not numbers:
        outcomes = Counter(test.outcome for test in _read_tests(report.tests) if test.outcome is not None)
        numbers = {"passed": 0, "failed": 0, **outcomes, "total": sum(outcomes.values())}
    return written(dict(list(numbers.items())[:_COUNTS_KEPT]))


def list_outcomes(tx: Tx, row: TestRunRow) -> list[TestOutcome]:
    """List the tests of a run's report, in the order of the report.

    Only the first 1000 tests get the completions that have their tags.
    """
    if row.report is None:
        return []
    tests = list(_read_tests(value(row.report).get("tests")))
    looked_up = tests[:TESTS_LOOKED_UP]
    completion_ids = find_completions(tx, [_logged_tags(test) for test in looked_up])
    return [
        *(test._replace(completion_ids=ids) for test, ids in zip(looked_up, completion_ids, strict=True)),
        *tests[TESTS_LOOKED_UP:],
    ]


def find_completions(tx: Tx, selectors: Sequence[Sequence[str]]) -> list[list[str]]:
    """For each selector, list up to 100 completions that have all of its tags, newest first.

    The tests of a run usually share one tag, and each test also has a unique tag. So all selectors that differ only
    in one tag are looked up in a single statement. A report may need at most 20 statements; the selectors beyond these
    get no completions.
    """
    keys = store.tags.find_keys(tx, {tag for selector in selectors for tag in selector if _can_be_tag(tag)})
    common = _common_tags(selectors)
    groups: dict[frozenset[int], set[int]] = {}  # by shared tags, the tags that one selector has alone
    parts: list[tuple[frozenset[int], int] | None] = []
    for selector in selectors:
        tags = sorted(set(selector), key=lambda tag: (tag not in common, tag))
        if 0 < len(tags) <= _TAGS_LOOKED_UP and keys.keys() >= set(tags):
            shared, own = frozenset(keys[tag] for tag in tags[:-1] or tags), keys[tags[-1]]
            groups.setdefault(shared, set()).add(own)
            parts.append((shared, own))
        else:
            parts.append(None)
    by_group = {
        shared: store.completion_tags.list_with_all_tags_and_each(
            tx, sorted(own), sorted(shared), COMPLETIONS_OF_A_TEST
        )
        for shared, own in list(groups.items())[:_GROUPS_LOOKED_UP]
    }
    return [[] if part is None else by_group.get(part[0], {}).get(part[1], []) for part in parts]


def _logged_tags(test: TestOutcome) -> list[str]:
    """Return the tags of the test's completions.

    The plugin logs completions with the whole name of a test, but shortens `test_a[x::y]` to `y]` in the selector that
    it reports.
    """
    start, bracket, parameters = test.nodeid.partition("[")
    cut, name = test.nodeid.rpartition("::")[2], start.rpartition("::")[2] + bracket + parameters
    return [name if tag == cut and "::" in start else tag for tag in test.tags]


def _common_tags(selectors: Sequence[Sequence[str]]) -> set[str]:
    """Return the tags that are in every selector."""
    first, *others = [set(selector) for selector in selectors if selector] or [set()]
    return first.intersection(*others)


def _read_tests(tests: Any) -> Iterator[TestOutcome]:
    """Read the tests of a report. Members that do not have the expected type are left out."""
    for test in tests if isinstance(tests, list) else []:
        if not isinstance(test, dict):
            continue
        nodeid, outcome, tags = test.get("nodeid"), test.get("outcome"), test.get("log10_completion_tags_selector")
        yield TestOutcome(
            nodeid=nodeid if isinstance(nodeid, str) else "",
            outcome=outcome if isinstance(outcome, str) else None,
            seconds=_seconds(test),
            tags=[tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else [],
            completion_ids=[],
        )


def _seconds(test: Mapping[str, Any]) -> float | None:
    """Return the sum of the durations of all stages. If the test has no stages, return its own duration."""
    stages = [
        stage["duration"] for name in _STAGES if isinstance(stage := test.get(name), dict) and "duration" in stage
    ]
    parts = [seconds for seconds in stages or [test.get("duration")] if _is_number(seconds)]
    return durations.total(parts) if parts else None


_STAGES = ("setup", "call", "teardown")
_EXACT = 2**53


def _is_number(member: Any) -> bool:
    return isinstance(member, int | float) and not isinstance(member, bool) and abs(member) <= _EXACT


def _can_be_tag(text: Any) -> bool:
    """Return whether a tag may have this name. A report may contain lone surrogates, which a tag may not."""
    return isinstance(text, str) and text.encode("utf-8", "ignore").decode() == text
