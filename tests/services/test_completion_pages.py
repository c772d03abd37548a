"""A client that follows the cursors of a list sees each completion that passes the filters once (docs/api.md, "Lists").

The bounds of a search are so low here that most pages end before they are full.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from log10_server import store
from log10_server.db.database import Database
from log10_server.db.thresholds import CommonTags, PageSearch
from log10_server.db.transaction import Tx
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.services.merging import CompletionFields
from log10_server.store.completions import CompletionRow, Cursor, Filters
from tests.services.test_ungraded import rows

TAGS = "abcdefghijkl"  # more than can drive a search
MODELS = ["large", "small", "rare"]


@pytest.fixture(autouse=True)
def _low_bounds(database: Database) -> Iterator[None]:
    thresholds = database.thresholds
    before = thresholds.common_tags, thresholds.page_search
    thresholds.common_tags = CommonTags(min_completions=3, sample_one_in=1, max_tags_for_pairs=6)
    thresholds.page_search = PageSearch(piece=3, max_candidates=6, seconds=60)
    yield
    thresholds.common_tags, thresholds.page_search = before


def random_fields(chance: random.Random) -> CompletionFields:
    """A row with any status or none, any kind or none, and tags of which some are hardly ever together."""
    even = chance.random() < 0.5
    tags = [tag for number, tag in enumerate(TAGS) if chance.random() < (0.8 if (number % 2 == 0) == even else 0.03)]
    members: dict[str, Any] = {"tags": tags, "session_id": chance.choice(["s1", "s2", "s3", f"s{chance.random()}"])}
    if chance.random() < 0.9:
        members["request"] = json.dumps({"model": chance.choices(MODELS, [50, 50, 3])[0]})
    if chance.random() < 0.9:
        members["response"] = "{}"
    for name, values, weights in (
        ("status", ["started", "failed", "finished", None], [3, 10, 60, 27]),
        ("kind", ["prompt", "chat", None], [10, 60, 30]),
    ):
        value = chance.choices(values, weights)[0]
        if value is not None:
            members[name] = value
    return members  # type: ignore[return-value]


def record_random(tx: Tx, chance: random.Random, count: int) -> list[CompletionRow]:
    """Record completions, some of them at the same instant, and change some; newest first."""
    entries = [
        Entry(f"c{number:03}", random_fields(chance), created_at=chance.randrange(count)) for number in range(count)
    ]
    completions.record_all(tx, entries)
    completions.record_all(
        tx, [Entry(f"c{chance.randrange(count):03}", random_fields(chance)) for _ in range(count // 5)]
    )
    stored = [CompletionRow(*row) for row in rows(tx, "completion", *CompletionRow._fields)]
    return sorted(stored, key=lambda row: (row.created_at, row.id), reverse=True)


def store_pairs(tx: Tx) -> None:
    """Do what the background loop does after tags have become common."""
    while store.common_tags.add_pairs(tx):
        pass


def random_filters(chance: random.Random, count: int) -> tuple[list[str], Filters]:
    tags = chance.sample(TAGS, chance.choice([0, 0, 1, 2, 3, 4, 10]))
    start, end = sorted(chance.randrange(count) for _ in range(2))
    return tags, Filters(
        ids=[f"c{chance.randrange(count + 9):03}" for _ in range(count // 2)] if chance.random() < 0.1 else None,
        session_id=chance.choice([None, None, "s1", "s2", "unknown"]),
        status=chance.choice([None, None, "started", "failed", "finished"]),
        kind=chance.choice([None, None, "prompt", "chat"]),
        model=chance.choice([None, None, *MODELS, "unknown"]),
        created_from=start if chance.random() < 0.3 else None,
        created_to=end if chance.random() < 0.3 else None,
    )


def passes(row: CompletionRow, tags: list[str], filters: Filters) -> bool:
    """Whether a row passes the filters, said as plainly as possible."""
    status = row.status or ("started" if row.response is None else "finished")
    return (
        set(tags) <= set(json.loads(row.tags or "[]"))
        and (filters.ids is None or row.id in filters.ids)
        and filters.session_id in (None, row.session_id)
        and filters.status in (None, status)
        and filters.kind in (None, row.kind or "chat")
        and filters.model in (None, row.model)
        and (filters.created_from is None or row.created_at >= filters.created_from)
        and (filters.created_to is None or row.created_at <= filters.created_to)
    )


def read_all_pages(tx: Tx, tags: list[str], filters: Filters, limit: int) -> list[list[str]]:
    pages: list[list[str]] = []
    after: Cursor | None = None
    while not pages or after is not None:
        page, after = completions.list_newest(tx, tags, filters, after, limit)
        pages.append(page)
    return pages


@pytest.mark.parametrize("seed", range(6))
def test_the_pages_of_any_filters_have_every_match_once_and_in_order(tx: Tx, seed: int) -> None:
    chance = random.Random(seed)
    stored = record_random(tx, chance, 150)
    if seed % 2:  # otherwise the rows for pairs of common tags are not complete
        store_pairs(tx)
    lengths: set[int] = set()

    for _ in range(60):
        tags, filters = random_filters(chance, 150)
        pages = read_all_pages(tx, tags, filters, 4)

        assert [completion_id for page in pages for completion_id in page] == [
            row.id for row in stored if passes(row, tags, filters)
        ], filters
        lengths |= {len(page) for page in pages[:-1]}
    assert {0, 4} <= lengths


def test_a_filter_that_few_completions_pass_needs_one_page(tx: Tx) -> None:
    """The rare filter drives the search, however many completions pass the others."""
    for number in range(90):
        fields: CompletionFields = {"tags": ["common", "also common"], "session_id": "long", "status": "finished"}
        if number in (3, 5):
            fields |= {"status": "failed", "kind": "prompt", "request": '{"model": "rare"}'}
        completions.record(tx, [Entry(f"c{number}", fields)])
    common = ["common", "also common"]

    for filters in (
        Filters(status="failed"),
        Filters(status="failed", session_id="long"),
        Filters(kind="prompt", session_id="long"),
        Filters(model="rare", session_id="long"),
        Filters(status="failed", kind="prompt", model="rare", session_id="long"),
        Filters(model="absent", session_id="long"),
    ):
        page, next_cursor = completions.list_newest(tx, common, filters, None, 10)

        assert page == ([] if filters.model == "absent" else ["c5", "c3"])
        assert next_cursor is None


def test_common_tags_that_are_never_together_need_one_page(tx: Tx) -> None:
    for number in range(90):
        completions.record(tx, [Entry(f"c{number}", {"tags": ["all", f"{number % 2}"]})])
    store_pairs(tx)

    assert completions.list_newest(tx, ["all", "0", "1"], Filters(), None, 10) == ([], None)


def test_a_page_ends_when_its_time_is_over(tx: Tx) -> None:
    completions.record(tx, [Entry(f"c{number:02}", {"session_id": "s", "status": "failed"}) for number in range(40)])
    completions.record(tx, [Entry("last", {"session_id": "s"}, created_at=1)])
    tx.thresholds.page_search = PageSearch(piece=10, max_candidates=1000, seconds=0)
    filters = Filters(session_id="s", status="started", kind="chat")

    pages = read_all_pages(tx, [], filters, 10)

    assert pages == [["last"]]
    assert [len(page) for page in read_all_pages(tx, [], Filters(session_id="s", status="finished"), 10)] == [0] * 5
