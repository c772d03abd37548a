"""`GET /api/metrics/modelStats`, over HTTP (docs/api.md, "The calls of log10-io")."""

from typing import Any

import pytest

from log10_server import store
from log10_server.clock import MICROSECONDS
from log10_server.db.database import Database
from log10_server.store.completion_tags import CompletionTagRow
from log10_server.store.completions import CompletionRow
from log10_server.strict_json import written
from tests.conftest import Api, Organization, paths

DAY = 86_400 * MICROSECONDS
THE_25TH = 19_838 * DAY  # 2024-04-25


def stats(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = api.get(api.base_url.join("/api/metrics/modelStats"), params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"data"}
    return list(answer.json()["data"])


def days(api: Api, **query: Any) -> list[tuple[str, int]]:
    return [(line["timestamp"], line["completions_count"]) for line in stats(api, **query)]


@pytest.fixture
def at_midnight(database: Database, organization: Organization) -> None:
    """Completions that began just before, at and after the midnights around 2024-04-25; the API can't set that."""
    with database.writing() as connection:
        tx = database.tx(connection, organization.id)
        nothing: dict[str, Any] = dict.fromkeys(CompletionRow._fields)
        fixed: dict[str, Any] = {
            "organization_id": organization.id,
            "input_tokens": 9,
            "output_tokens": 3,
            "tags": written(["a"]),
        }
        instants = [THE_25TH - 1, THE_25TH, THE_25TH + DAY - 1, THE_25TH + DAY]
        store.completions.add(
            tx,
            [CompletionRow(**{**nothing, **fixed, "id": str(at), "created_at": at, "model": "m"}) for at in instants],
        )
        key = store.tags.ensure(tx, ["a"])["a"]
        store.completion_tags.add_tags(tx, [CompletionTagRow(organization.id, str(at), key, at) for at in instants])


def test_a_line_is_as_log10_documents_it(api: Api, at_midnight: None) -> None:
    assert stats(api, startDate="2024-04-25", endDate="2024-04-25", organization_id=api.organization.id) == [
        {
            "metric": "tokens_per_model_per_day",
            "timestamp": "2024-04-25T00:00:00.000Z",
            "total_tokens": 24,
            "input_tokens": 18,
            "output_tokens": 6,
            "completions_count": 2,
            "model": "m",
        }
    ]


BEFORE, ON, AFTER = (f"2024-04-{day}T00:00:00.000Z" for day in (24, 25, 26))


def test_both_days_are_whole_and_included(api: Api, at_midnight: None, subtests: pytest.Subtests) -> None:
    for query, expected in [
        ({}, [(AFTER, 1), (ON, 2), (BEFORE, 1)]),
        ({"startDate": "2024-04-25"}, [(AFTER, 1), (ON, 2)]),
        ({"endDate": "2024-04-25"}, [(ON, 2), (BEFORE, 1)]),
        ({"startDate": "2024-04-25", "endDate": "2024-04-25", "tags": "a"}, [(ON, 2)]),
        ({"startDate": "2024-04-26", "endDate": "2024-04-25"}, []),
        ({"startDate": "0001-01-01", "endDate": "9999-12-31"}, [(AFTER, 1), (ON, 2), (BEFORE, 1)]),
        ({"startDate": "", "endDate": "None"}, [(AFTER, 1), (ON, 2), (BEFORE, 1)]),
    ]:
        with subtests.test(query=query, expected=expected):
            assert days(api, **query) == expected


def test_calls_without_counts_are_counted_and_add_nothing(api: Api) -> None:
    api.completion(response={"model": "gpt-4o", "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    api.completion(response={"model": "gpt-4o", "usage": {"prompt_tokens": -1, "completion_tokens": 3}})
    api.completion(response={"model": "gpt-4o"})
    api.completion(request={}, status="started")

    lines = {line["model"]: line for line in stats(api)}

    assert {name: lines["gpt-4o"][name] for name in ("input_tokens", "output_tokens", "total_tokens")} == {
        "input_tokens": 9,
        "output_tokens": 6,
        "total_tokens": 15,
    }
    assert lines["gpt-4o"]["completions_count"] == 3
    assert (lines["unknown"]["total_tokens"], lines["unknown"]["completions_count"]) == (0, 1)


def test_models_of_a_day_are_in_the_order_of_their_names(api: Api) -> None:
    for model in ("b", "a", "B", "é", "zeta"):
        api.completion(request={"model": model})

    # Should the day end meanwhile, the later ones come first.
    lines = sorted(stats(api), key=lambda line: str(line["timestamp"]), reverse=True)

    assert lines == stats(api)
    if len({line["timestamp"] for line in lines}) == 1:
        assert [line["model"] for line in lines] == ["B", "a", "b", "zeta", "é"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("a", 2),
        ("a,b", 1),
        (["a", "b"], 1),
        (["a,b", "c d[1/2]"], 1),
        ("a,,", 2),
        ("", 3),
        (",", 3),
        ("a,no such tag", 0),
        ("A", 0),
    ],
)
def test_all_tags_must_be_there(api: Api, tags: str | list[str], expected: int) -> None:
    api.completion(tags=["a", "b", "c d[1/2]"])
    api.completion(tags=["a"])
    api.completion()

    assert sum(line["completions_count"] for line in stats(api, tags=tags)) == expected


def test_a_wrong_date_is_refused(api: Api, subtests: pytest.Subtests) -> None:
    for date in [
        "2024-02-30",
        "2024-4-25",
        "20240425",
        "2024-W17-4",
        "25.04.2024",
        "yesterday",
        "1",
        "2024-04-25T00:00:00Z",
    ]:
        for name in ["startDate", "endDate"]:
            with subtests.test(date=date, name=name):
                assert paths(
                    api.get(api.base_url.join("/api/metrics/modelStats"), params={name: date}), code="invalid"
                ) == [f"/query/{name}"]


def test_the_calls_of_another_organization_do_not_count(api: Api, other_api: Api) -> None:
    other_api.completion(tags=["a"], response={"model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 3}})

    assert stats(api) == []
    assert stats(api, tags="a") == []
    assert stats(api, organization_id=api.organization.slug) == []
    answer = api.get(
        api.base_url.join("/api/metrics/modelStats"), params={"organization_id": other_api.organization.id}
    )
    assert answer.status_code == 403
