"""Checks that the indexes of a server agree with its completions and feedback, by a plain computation over its lists."""

from collections.abc import Iterator
from typing import Any

import httpx

from tests.running import Served


def client_of(served: Served, token: str, seconds: float = 30) -> httpx.Client:
    return httpx.Client(
        base_url=f"{served.url}/api/v1", headers={"X-Log10-Token": token}, trust_env=False, timeout=seconds
    )


def completions(api: httpx.Client, **filters: Any) -> Iterator[dict[str, Any]]:
    """All completions, newest first."""
    cursor = ""
    while True:
        page = api.get("/completions", params={"limit": 1000, "cursor": cursor, **filters}).json()
        yield from page["completions"]
        cursor = page.get("next_cursor", "")
        if not cursor:
            return


def feedback(api: httpx.Client) -> list[dict[str, Any]]:
    """All feedback, newest first."""
    items: list[dict[str, Any]] = []
    while page := api.get("/feedback", params={"limit": 1000, "offset": len(items)}).json()["feedback"]:
        items += page
    return items


def ungraded(api: httpx.Client, **query: Any) -> list[str]:
    ids: list[str] = []
    while page := api.get("/completions/ungraded", params={"limit": 1000, "offset": len(ids), **query}).json()[
        "completions"
    ]:
        ids += [completion["id"] for completion in page]
    return ids


def everything_agrees(api: httpx.Client) -> None:
    """The index over tags, what is ungraded, and what feedback matched, against the completions as they are listed."""
    listed = list(completions(api))
    tags = {completion["id"]: set(completion["tags"]) for completion in listed}
    for tag in sorted(set().union(*tags.values())):
        assert [completion["id"] for completion in completions(api, tag=tag)] == [
            completion_id for completion_id in tags if tag in tags[completion_id]
        ]
    all_feedback = feedback(api)
    graded = {
        (item["task_id"], completion_id) for item in all_feedback for completion_id in item["matched_completion_ids"]
    }
    assert {completion_id for _, completion_id in graded} <= tags.keys()
    wanting: set[str] = set()
    for task in api.get("/feedback_task").json():
        selector = set(task["completion_tags_selector"])
        asks = bool(selector) and not task["archived"]
        expected = [
            completion_id
            for completion_id in tags
            if asks and selector <= tags[completion_id] and (task["id"], completion_id) not in graded
        ]
        assert ungraded(api, task_id=task["id"]) == expected
        wanting.update(expected)
    assert ungraded(api) == [completion_id for completion_id in tags if completion_id in wanting]
