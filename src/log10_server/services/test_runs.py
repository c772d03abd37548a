"""Test runs of `pytest --log10`: made, given their report once, and read with the completions of each test."""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import Any, NamedTuple

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.transaction import Tx
from log10_server.errors import Conflict, NotFound
from log10_server.services import durations
from log10_server.services.organizations import digest
from log10_server.store.test_runs import TestRunRow
from log10_server.strict_json import value, written

# How much of a report is looked up in one call: reports come from outside and may name anything.
TESTS_LOOKED_UP = 1000
COMPLETIONS_OF_A_TEST = 100
_GROUPS_LOOKED_UP = 20
_TAGS_LOOKED_UP = 10
_COUNTS_KEPT = 100
# The same whatever is wrong with an address, so that nobody learns which runs there are.
NO_REPORT_EXPECTED = "There is no test run that waits for a report at this address."


class Report(NamedTuple):
    """A report as it came, and its counts as a JSON object."""

    text: str
    summary: str


class TestOutcome(NamedTuple):
    """One test of a report, and the newest completions that have its tags; `seconds` is None where nothing says it."""

    nodeid: str
    outcome: str | None
    seconds: float | None
    tags: list[str]
    completion_ids: list[str]


def create(tx: Tx, name: str) -> tuple[TestRunRow, str]:
    """Make a run. The secret, of which only a digest is kept, gives the right to upload its report once."""
    at, secret = tx.now(), secrets.token_urlsafe(32)
    row = TestRunRow(tx.organization_id, uuid7(at), at, name, digest(secret), None, None, None)
    store.test_runs.add(tx, row)
    return row, secret


def get(tx: Tx, run_id: str) -> TestRunRow:
    """Raises NotFound."""
    row = store.test_runs.find(tx, run_id)
    if row is None:
        raise NotFound(f"There is no test run {run_id!r}.")
    return row


def list_newest(tx: Tx, offset: int, limit: int) -> list[TestRunRow]:
    """Newest first, without their reports."""
    return store.test_runs.list_page(tx, offset, limit)


def count(tx: Tx) -> int:
    return store.test_runs.count(tx)


def check_upload(tx: Tx, run_id: str, secret: str) -> None:
    """Raises NotFound for an unknown run or a wrong secret, which look the same; Conflict when a report has come."""
    _check(store.test_runs.find_without_report(tx, run_id), secret)


def store_report(tx: Tx, run_id: str, secret: str, report: Report) -> None:
    """Use up the right to upload. Raises as `check_upload`."""
    _check(store.test_runs.find_without_report(tx, run_id), secret)
    store.test_runs.store_report(tx, run_id, tx.now(), report.summary, report.text)


def _check(row: TestRunRow | None, secret: str) -> None:
    # The digest stays after the upload, so that a wrong secret learns nothing about a run that has its report.
    if row is None or row.upload_digest is None or not compare_digest(row.upload_digest, digest(secret)):
        raise NotFound(NO_REPORT_EXPECTED)
    if row.uploaded_at is not None:
        raise Conflict("The test run has its report already; it is uploaded once.", code="report_taken")


def make_report(text: str, summary: Any, tests: Any) -> Report:
    """A report whose members `summary` and `tests` have been read.

    Its counts are the numbers that the summary holds; where it holds none, the outcomes of the tests are counted.
    """
    numbers = {name: said for name, said in summary.items() if _is_number(said)} if isinstance(summary, dict) else {}
    if not numbers:
        outcomes = Counter(test.outcome for test in _read_tests(tests) if test.outcome is not None)
        numbers = {"passed": 0, "failed": 0, **outcomes, "total": sum(outcomes.values())}
    return Report(text, written(dict(list(numbers.items())[:_COUNTS_KEPT])))


def list_outcomes(tx: Tx, row: TestRunRow) -> list[TestOutcome]:
    """The tests of a run's report, in its order; those of the first 1000 with the completions of their tags."""
    if row.report is None:
        return []
    tests = list(_read_tests(value(row.report).get("tests")))
    looked_up = tests[:TESTS_LOOKED_UP]
    found = find_completions(tx, [_logged_tags(test) for test in looked_up])
    return [
        *(test._replace(completion_ids=ids) for test, ids in zip(looked_up, found, strict=True)),
        *tests[TESTS_LOOKED_UP:],
    ]


def find_completions(tx: Tx, selectors: Sequence[Sequence[str]]) -> list[list[str]]:
    """For each selector the completions that have all of its tags, newest first, 100 at most.

    The tests of a run share one tag and each adds one of its own, so selectors that differ in one tag are looked up
    together: a report costs a few statements, however many tests it has. What would cost many finds nothing.
    """
    keys = store.tags.find_keys(tx, {tag for selector in selectors for tag in selector if _can_be_tag(tag)})
    common = _common_tags(selectors)
    groups: dict[frozenset[int], set[int]] = {}  # by the tags that selectors share: each one's own
    places: list[tuple[frozenset[int], int] | None] = []
    for selector in selectors:
        tags = sorted(set(selector), key=lambda tag: (tag not in common, tag))
        if 0 < len(tags) <= _TAGS_LOOKED_UP and keys.keys() >= set(tags):
            shared, own = frozenset(keys[tag] for tag in tags[:-1] or tags), keys[tags[-1]]
            groups.setdefault(shared, set()).add(own)
            places.append((shared, own))
        else:
            places.append(None)
    found = {
        shared: store.completion_tags.list_with_all_tags_and_each(
            tx, sorted(own), sorted(shared), COMPLETIONS_OF_A_TEST
        )
        for shared, own in list(groups.items())[:_GROUPS_LOOKED_UP]
    }
    return [[] if place is None else found.get(place[0], {}).get(place[1], []) for place in places]


def _logged_tags(test: TestOutcome) -> list[str]:
    """The tags that its completions have. The plugin's selector cuts `test_a[x::y]` to `y]`; what it logs is not cut."""
    start, bracket, parameters = test.nodeid.partition("[")
    cut, name = test.nodeid.rpartition("::")[2], start.rpartition("::")[2] + bracket + parameters
    return [name if tag == cut and "::" in start else tag for tag in test.tags]


def _common_tags(selectors: Sequence[Sequence[str]]) -> set[str]:
    """The tags that every selector names."""
    first, *others = [set(selector) for selector in selectors if selector] or [set()]
    return first.intersection(*others)


def _read_tests(said: Any) -> Iterator[TestOutcome]:
    """The tests of a report; what is no test, or odd in one, is left out."""
    for test in said if isinstance(said, list) else []:
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
    """The stages together; without stages what the test itself says."""
    stages = [
        stage["duration"] for name in _STAGES if isinstance(stage := test.get(name), dict) and "duration" in stage
    ]
    said = [seconds for seconds in stages or [test.get("duration")] if _is_number(seconds)]
    return durations.total(said) if said else None


_STAGES = ("setup", "call", "teardown")
_EXACT = 2**53


def _is_number(said: Any) -> bool:
    return isinstance(said, int | float) and not isinstance(said, bool) and abs(said) <= _EXACT


def _can_be_tag(text: Any) -> bool:
    """A lone surrogate can't be in a tag, but in a report."""
    return isinstance(text, str) and text.encode("utf-8", "ignore").decode() == text
