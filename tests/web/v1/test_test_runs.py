"""Test runs: their list, and one with its report and the completions of each test."""

import json
from typing import Any

import httpx
import pytest

from log10_server.services.test_runs import COMPLETIONS_OF_A_TEST, TESTS_LOOKED_UP
from tests.conftest import Api, paths, problem

Run = dict[str, Any]


def new_run(api: Api, name: str = "nightly") -> Run:
    query = "mutation($name: String!) { createTestRun(input: {name: $name}) { id name reportUploadUrl } }"
    url = str(api.base_url.copy_with(path="/graphql"))
    answer = api.post(url, json={"query": query, "variables": {"name": name}})
    return dict(answer.json()["data"]["createTestRun"])


def reported(api: Api, report: Any, run: Run | None = None) -> Run:
    """A run whose report has come, as it is answered."""
    run = run or new_run(api)
    httpx.put(run["reportUploadUrl"], content=json.dumps(report), timeout=30).raise_for_status()
    return dict(api.get(f"/test_runs/{run['id']}").json())


def test(name: str, run: Run, **fields: Any) -> Run:
    """One test of a report, as `pytest --log10` writes it."""
    tags = [f"{run['name']}-{run['id']}", name]
    return {"nodeid": f"test_a.py::{name}", "outcome": "passed", "log10_completion_tags_selector": tags, **fields}


test.__test__ = False  # type: ignore[attr-defined]


def listed(api: Api, **query: Any) -> list[str]:
    return [run["id"] for run in api.get("/test_runs", params=query).json()["test_runs"]]


def test_a_new_run_has_no_report_yet(api: Api) -> None:
    run = new_run(api, "nightly 🌙")

    [shown] = api.get("/test_runs").json()["test_runs"]
    fetched = api.get(f"/test_runs/{run['id']}").json()

    created_at = shown.pop("created_at_ms")
    assert isinstance(created_at, int)
    assert shown == {"id": run["id"], "organization_id": api.organization.id, "name": "nightly 🌙"}
    assert fetched == {**shown, "created_at_ms": created_at, "tests": []}


def test_the_list_is_newest_first_and_pages_by_offset(api: Api) -> None:
    ids = [new_run(api)["id"] for _ in range(5)][::-1]

    assert listed(api) == ids
    assert listed(api, offset=1, limit=2) == ids[1:3]
    assert listed(api, offset=5) == []
    assert "X-Total-Count" not in api.get("/test_runs").headers
    assert api.get("/test_runs", params={"limit": 1, "total": "true"}).headers["X-Total-Count"] == "5"
    assert paths(api.get("/test_runs", params={"limit": 0, "offset": -1})) == ["/query/offset", "/query/limit"]


def test_the_list_shows_the_counts_and_no_report(api: Api) -> None:
    run = reported(
        api, {"summary": {"passed": 2, "failed": 1, "total": 3, "collected": 4, "deselected": 1}, "tests": []}
    )

    [shown] = api.get("/test_runs").json()["test_runs"]

    assert shown["summary"] == {"passed": 2, "failed": 1, "total": 3, "collected": 4, "deselected": 1}
    assert shown["uploaded_at_ms"] >= shown["created_at_ms"]
    assert shown == {name: run[name] for name in run.keys() - {"tests", "report"}}


@pytest.mark.parametrize(
    ("summary", "counts"),
    [
        ({"passed": 5, "odd": "text", "flag": True, "none": None, "seconds": 1.5}, {"passed": 5, "seconds": 1.5}),
        ({"passed": 1e300}, {"passed": 1, "failed": 1, "skipped": 1, "total": 3}),
        ({}, {"passed": 1, "failed": 1, "skipped": 1, "total": 3}),
        (None, {"passed": 1, "failed": 1, "skipped": 1, "total": 3}),
        ([5], {"passed": 1, "failed": 1, "skipped": 1, "total": 3}),
    ],
)
def test_an_odd_summary_is_read_as_far_as_it_holds_numbers(api: Api, summary: Any, counts: dict[str, int]) -> None:
    tests = [{"outcome": outcome} for outcome in ("passed", "failed", "skipped", 5, None)]

    run = reported(api, {"summary": summary, "tests": [*tests, "odd"]})

    assert run["summary"] == counts


@pytest.mark.parametrize("report", [{}, {"tests": {}}, {"tests": None}, {"tests": [1, None, []], "summary": "good"}])
def test_a_report_without_tests_counts_none(api: Api, report: Any) -> None:
    run = reported(api, report)

    assert run["summary"] == {"passed": 0, "failed": 0, "total": 0}
    assert run["tests"] == []
    assert run["report"] == report


def test_each_test_comes_with_its_completions_newest_first(api: Api) -> None:
    """By both tags: neither another run's completions of the same test nor the run's other completions."""
    names = ["test_a", "test_b[x/y z-🌙]", "test_without"]
    run, other = new_run(api), new_run(api)
    session = f"nightly-{run['id']}"
    for number in range(3):
        for name in names[:2]:
            api.completion(id=f"{names.index(name)}-{number}", tags=[name, session, "more"])
        api.completion(tags=["test_a", f"nightly-{other['id']}"])
        api.completion(tags=[session])

    stages = {"setup": {"duration": 0.25}, "call": {"duration": 1.5, "outcome": "failed"}, "teardown": {}}
    report = {"tests": [test(names[0], run), test(names[1], run, outcome="failed", **stages), test(names[2], run)]}
    tests = reported(api, report, run)["tests"]

    assert tests == [
        {
            "nodeid": "test_a.py::test_a",
            "outcome": "passed",
            "completion_tags_selector": [session, "test_a"],
            "completion_ids": ["0-2", "0-1", "0-0"],
        },
        {
            "nodeid": f"test_a.py::{names[1]}",
            "outcome": "failed",
            "duration": 1.75,
            "completion_tags_selector": [session, names[1]],
            "completion_ids": ["1-2", "1-1", "1-0"],
        },
        {
            "nodeid": "test_a.py::test_without",
            "outcome": "passed",
            "completion_tags_selector": [session, "test_without"],
            "completion_ids": [],
        },
    ]


def test_a_name_that_the_plugin_cuts_in_its_selector_is_found_whole(api: Api) -> None:
    """It logs `item.name`, and puts what stands behind the last `::` of the node's id into its selector."""
    run = new_run(api)
    session = f"nightly-{run['id']}"
    for name in ("test_a[x::y]", "test_a[[z]::]", "test_b"):
        api.completion(id=name.replace("test_", ""), tags=[name, session])
    nodes = [("t.py::test_a[x::y]", "y]"), ("t.py::TestIt::test_a[[z]::]", "]"), ("odd[dir/t.py::test_b", "test_b")]

    tests = [{"nodeid": nodeid, "log10_completion_tags_selector": [session, cut]} for nodeid, cut in nodes]
    listed = reported(api, {"tests": tests}, run)["tests"]

    assert [entry["completion_ids"] for entry in listed] == [["a[x::y]"], ["a[[z]::]"], ["b"]]
    assert [entry["completion_tags_selector"][1] for entry in listed] == ["y]", "]", "test_b"]


def test_completions_that_come_after_the_report_are_found_too(api: Api) -> None:
    run = new_run(api)
    reported(api, {"tests": [test("test_a", run)]}, run)

    api.completion(id="late", tags=["test_a", f"nightly-{run['id']}"])

    assert api.get(f"/test_runs/{run['id']}").json()["tests"][0]["completion_ids"] == ["late"]


def test_no_more_than_a_hundred_completions_are_named_for_a_test(api: Api) -> None:
    run = new_run(api)
    tags = ["test_a", f"nightly-{run['id']}"]
    ids = [api.completion(tags=tags)["id"] for _ in range(COMPLETIONS_OF_A_TEST + 3)]

    [entry] = reported(api, {"tests": [test("test_a", run)]}, run)["tests"]

    assert entry["completion_ids"] == ids[:2:-1]


def test_of_a_very_long_report_the_first_thousand_tests_are_looked_up(api: Api) -> None:
    run = new_run(api)
    names = [f"test_{number}" for number in range(TESTS_LOOKED_UP + 5)]
    for name in (names[0], names[TESTS_LOOKED_UP - 1], names[TESTS_LOOKED_UP]):
        api.completion(id=name, tags=[name, f"nightly-{run['id']}"])

    tests = reported(api, {"tests": [test(name, run) for name in names]}, run)["tests"]

    assert [entry["completion_tags_selector"][1] for entry in tests] == names
    assert [entry["completion_ids"] for entry in tests if entry["completion_ids"]] == [
        [names[0]],
        [names[TESTS_LOOKED_UP - 1]],
    ]


@pytest.mark.parametrize(
    ("selector", "read"),
    [
        (None, []),
        ("text", []),
        ([], []),
        ([1, None, {}], []),
        (["\ud83d", "a"], ["\ud83d", "a"]),
        (["a\0", "a"], ["a\0", "a"]),
        (["unknown", "a"], ["unknown", "a"]),
        (["x" * 100_000], ["x" * 100_000]),
        ([str(number) for number in range(1000)], [str(number) for number in range(1000)]),
    ],
)
def test_an_odd_selector_finds_nothing(api: Api, selector: Any, read: list[str]) -> None:
    api.completion(tags=["a", *map(str, range(20))])

    [entry] = reported(api, {"tests": [{"nodeid": 5, "log10_completion_tags_selector": selector}]})["tests"]

    assert entry == {"nodeid": "", "completion_tags_selector": read, "completion_ids": []}


def test_selectors_of_any_form_are_looked_up(api: Api) -> None:
    api.completion(id="one", tags=["a", "b", "c"])
    api.completion(id="two", tags=["a", "b"])
    api.completion(id="three", tags=["d"])
    selectors = [["a"], ["b", "a"], ["c", "b", "a"], ["d"], ["a", "d"], ["d", "d"]]

    tests = reported(api, {"tests": [{"log10_completion_tags_selector": selector} for selector in selectors]})["tests"]

    assert [entry["completion_ids"] for entry in tests] == [
        ["two", "one"],
        ["two", "one"],
        ["one"],
        ["three"],
        [],
        ["three"],
    ]


@pytest.mark.parametrize(
    ("reported_test", "seconds"),
    [
        ({"duration": 2}, 2),
        ({"duration": "long"}, None),
        ({"duration": 1e300}, None),
        ({"setup": {"duration": 1}, "duration": 9}, 1),
        ({"setup": {"duration": None}, "call": {"duration": 0.5}, "teardown": "odd"}, 0.5),
        ({"setup": []}, None),
    ],
)
def test_the_duration_is_that_of_the_stages(api: Api, reported_test: dict[str, Any], seconds: float | None) -> None:
    [entry] = reported(api, {"tests": [reported_test]})["tests"]

    assert entry.get("duration") == seconds


def test_nothing_of_another_organization_is_seen(api: Api, other_api: Api) -> None:
    run = new_run(api)
    tags = ["test_a", f"nightly-{run['id']}"]
    other_api.completion(id="theirs", tags=tags)
    mine = reported(api, {"tests": [test("test_a", run)]}, run)

    unknown = problem(other_api.get("/test_runs/unknown"), 404, "not_found")
    foreign = problem(other_api.get(f"/test_runs/{run['id']}"), 404, "not_found")

    assert mine["tests"][0]["completion_ids"] == []
    assert unknown["detail"].replace("unknown", run["id"]) == foreign["detail"]
    assert listed(other_api) == []
