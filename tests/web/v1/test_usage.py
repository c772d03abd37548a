"""`GET /api/v1/usage`, over HTTP."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conftest import Api, paths


def log(api: Api, model: str | None = None, tokens: tuple[int, int] | None = None, **fields: Any) -> None:
    response: dict[str, Any] = {}
    if model is not None:
        response["model"] = model
    if tokens is not None:
        response["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    api.completion(**{"response": response, **fields})


def usage(api: Api, **query: Any) -> Any:
    answer = api.get("/usage", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


NOTHING = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "calls_with_unknown_tokens": 0}


def test_an_organization_without_calls_has_totals_of_nothing(api: Api) -> None:
    assert usage(api) == {"usage": [NOTHING], "total": NOTHING}
    assert usage(api, group_by="day") == {"usage": [], "total": NOTHING}


def test_without_a_group_there_is_one_line_of_totals(api: Api) -> None:
    log(api, "gpt-4o", (9, 3), duration=1)
    log(api, "gpt-4o", (1, 1), duration=2.5, status="failed")
    log(api, "claude", status="finished")
    log(api, status="started")

    total = {
        "calls": 4,
        "input_tokens": 10,
        "output_tokens": 4,
        "calls_with_unknown_tokens": 2,
        "mean_duration": 1.75,
        "p95_duration": 2.5,
        "success_rate": pytest.approx(2 / 3),
    }
    assert usage(api) == {"usage": [total], "total": total}


def test_the_tokens_of_both_providers_count_and_placeholders_do_not(api: Api) -> None:
    log(api, "gpt-4o", (9, 3))
    api.completion(response={"model": "claude", "usage": {"input_tokens": 5, "output_tokens": 2}})
    log(api, "gpt-4o", (-1, -1))
    log(api, "gpt-4o", (4, -1))

    assert usage(api)["total"] == {
        "calls": 4,
        "input_tokens": 18,
        "output_tokens": 5,
        "calls_with_unknown_tokens": 2,
        "success_rate": 1,
    }


def test_groups_are_named_and_the_largest_comes_first(api: Api) -> None:
    log(api, "gpt-4o", tags=["a", "b"])
    log(api, "gpt-4o", tags=["b"], status="failed")
    log(api, None)

    def groups(by: str) -> list[tuple[str, int]]:
        return [(line["group"], line["calls"]) for line in usage(api, group_by=by)["usage"]]

    assert groups("model") == [("gpt-4o", 2), ("unknown", 1)]
    assert groups("tag") == [("b", 2), ("a", 1)]
    assert groups("status") == [("finished", 2), ("failed", 1)]
    days = {day for day, _ in groups("day")}
    assert max(days) == f"{datetime.now(UTC):%Y-%m-%d}"


def test_a_call_under_two_tags_is_once_in_the_total(api: Api) -> None:
    log(api, "gpt-4o", (9, 3), tags=["a", "b"])

    answer = usage(api, group_by="tag")

    assert [line["input_tokens"] for line in answer["usage"]] == [9, 9]
    assert (answer["total"]["calls"], answer["total"]["input_tokens"]) == (1, 9)


def test_what_is_counted_can_be_narrowed(api: Api) -> None:
    log(api, "gpt-4o", tags=["a", "b"])
    log(api, "claude", tags=["a"])
    log(api)

    def calls(**query: Any) -> int:
        answer = usage(api, **query)
        return int(answer["total"]["calls"])

    assert calls(tag="a") == 2
    assert calls(tag=["a", "b"]) == 1
    assert calls(tag=["a", "no such tag"]) == 0
    assert calls(model="claude") == 1
    assert calls(model="unknown") == 1
    assert calls(model="gpt") == 0
    assert calls(tag="", model=" ", group_by="None", created_from="") == 3
    assert calls(created_from="2024-01-01") == 3
    assert calls(created_from="2024-01-01", created_to="2024-01-02") == 0
    assert calls(created_to="9999-12-31T23:59:59") == 3


def test_a_date_as_the_end_of_the_time_means_the_whole_day(api: Api) -> None:
    log(api, "gpt-4o", (9, 3))
    day = usage(api, group_by="day")["usage"][0]["group"]

    assert usage(api, created_from=day, created_to=day)["total"]["calls"] == 1
    assert usage(api, created_to=f"{day}T00:00")["total"]["calls"] == 0


def test_a_completion_counts_with_what_is_known_of_it_now(api: Api) -> None:
    api.completion(id="c", status="started", request={"model": "gpt-4o"})
    assert usage(api, group_by="status")["usage"][0]["group"] == "started"

    api.completion(id="c", status="finished", response={"usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    assert usage(api)["total"]["output_tokens"] == 3

    api.delete("/completions/c")
    assert usage(api)["total"] == NOTHING


def test_sums_beyond_a_double_are_exact_in_the_answer(api: Api) -> None:
    log(api, "m", (2**63 - 1, 2**53 + 1))
    log(api, "m", (2**63 - 1, 2**53))

    total = usage(api, group_by="day")["total"]

    assert (total["input_tokens"], total["output_tokens"]) == (2**64 - 2, 2**54 + 1)


def test_the_largest_durations_are_answered(api: Api) -> None:
    log(api, duration=1.7e308)
    log(api, duration=1.7e308)

    assert usage(api, group_by="day")["total"]["mean_duration"] == pytest.approx(1.7e308)


def test_the_limit_is_of_groups(api: Api) -> None:
    for model in ("a", "b", "c", "c"):
        log(api, model)

    answer = usage(api, group_by="model", limit=2)

    assert [line["group"] for line in answer["usage"]] == ["c", "a"]
    assert answer["total"]["calls"] == 4
    assert len(usage(api, group_by="model", limit=10**30)["usage"]) == 3


def test_the_calls_of_another_organization_do_not_count(api: Api, other_api: Api) -> None:
    log(other_api, "gpt-4o", (9, 3), tags=["a"], duration=1)

    for by in ("day", "model", "tag", "status"):
        assert usage(api, group_by=by, tag="a") == {"usage": [], "total": NOTHING}
        assert usage(api, group_by=by) == {"usage": [], "total": NOTHING}
    assert usage(api, model="gpt-4o")["total"] == NOTHING


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group_by", "week"),
        ("created_from", "yesterday"),
        ("created_to", "2024-13-01"),
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "1.5"),
        ("limit", "abc"),
    ],
)
def test_a_query_that_can_not_be_read_is_refused(api: Api, name: str, value: str) -> None:
    assert paths(api.get("/usage", params={name: value}), code="invalid") == [f"/query/{name}"]
