"""What a server must say once all is quiet, computed from what it lists: the plain query behind what is kept."""

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
    found: list[dict[str, Any]] = []
    while page := api.get("/feedback", params={"limit": 1000, "offset": len(found)}).json()["feedback"]:
        found += page
    return found


def ungraded(api: httpx.Client, **query: Any) -> list[str]:
    found: list[str] = []
    while page := api.get("/completions/ungraded", params={"limit": 1000, "offset": len(found), **query}).json()[
        "completions"
    ]:
        found += [completion["id"] for completion in page]
    return found


def everything_agrees(api: httpx.Client) -> None:
    """The index over tags, what is ungraded, and what feedback matched, against the completions as they are listed."""
    listed = list(completions(api))
    tags = {completion["id"]: set(completion["tags"]) for completion in listed}
    for tag in sorted(set().union(*tags.values())):
        assert [completion["id"] for completion in completions(api, tag=tag)] == [id for id in tags if tag in tags[id]]
    given = feedback(api)
    graded = {(one["task_id"], id) for one in given for id in one["matched_completion_ids"]}
    assert {id for _, id in graded} <= tags.keys()
    wanting: set[str] = set()
    for task in api.get("/feedback_task").json():
        selector = set(task["completion_tags_selector"])
        asks = bool(selector) and not task["archived"]
        theirs = [id for id in tags if asks and selector <= tags[id] and (task["id"], id) not in graded]
        assert ungraded(api, task_id=task["id"]) == theirs
        wanting.update(theirs)
    assert ungraded(api) == [id for id in tags if id in wanting]
