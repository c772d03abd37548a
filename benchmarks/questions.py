"""Every request that is measured as history grows, with its goal and with what its answer must contain."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks import bodies, history
from benchmarks.figures import FLAT, Goal, at_most
from benchmarks.loading import completion_id

PAGE = 50
_SEARCH_MS = at_most(100)  # for searches of tags, filters over values, and usage from kept sums
_MANY_TAGS_MS = at_most(1000)
_YEAR_DAYS: dict[str, Any] = {"created_from": "2025-01-01", "created_to": "2025-12-31"}
_PART_DAYS: dict[str, Any] = {"created_from": "2025-01-15T08:30:00Z", "created_to": "2025-11-15T17:45:00Z"}


class Question(NamedTuple):
    """A request. `rows` says how many rows of which member the answer has; `status` is what it must be answered with."""

    name: str
    path: str
    goal: Goal = FLAT
    rows: tuple[str, int] | None = None
    body: Any = None
    status: int = 200


class Known(NamedTuple):
    """The history that is asked about. `tag_id` gives the id of a tag, for the calls that filter by ids."""

    size: int
    feedback: int
    tag_id: Callable[[str], str]


def questions(known: Known) -> list[Question]:
    """All requests that only read."""
    return [
        *_completions(known),
        *_log_rows(known),
        *_tags(),
        *_ungraded(known),
        *_feedback(known),
        *_graphql(known),
        *_usage(),
    ]


def _v1(name: str, path: str, key: str, count: int | None = None, goal: Goal = FLAT, **query: Any) -> Question:
    rows = None if count is None else (key, count)
    return Question(f"{name}", _path(f"/api/v1{path}", query), goal, rows)


def _path(path: str, query: dict[str, Any]) -> str:
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def _completions(known: Known) -> list[Question]:
    def listed(name: str, count: int | None = None, goal: Goal = FLAT, **query: Any) -> Question:
        return _v1(f"completions, {name}", "/completions", "completions", count, goal, limit=PAGE, **query)

    common, failed = bodies.COMMON_TAG, known.size // 1000
    middle = known.size // 2
    return [
        listed("newest", PAGE),
        listed("status=started", history.RARE, status="started"),
        listed("status=failed", min(failed, PAGE), status="failed"),
        listed("status=finished", PAGE, status="finished"),
        listed("kind=prompt", min(known.size // 2000, PAGE), kind="prompt"),
        listed("model that is rare", history.RARE, model=history.RARE_MODEL),
        listed("model that is absent", 0, model="absent-model"),
        listed("model that is common", PAGE, model="gpt-4o-mini"),
        listed("status=failed of a common model", None, status="failed", model="gpt-4o-mini"),
        listed("status=started of a rare model", 0, status="started", model=history.RARE_MODEL),
        listed("kind=prompt, status=failed", 0, kind="prompt", status="failed"),
        listed("a small session", history.SMALL_SESSION, session_id="small-session"),
        listed("a tag of its own", 1, tag=bodies.own_tag(middle)),
        listed("a tag of 1 %", PAGE, tag="user-7"),
        listed("a common tag", PAGE, tag=common),
        listed("a common tag and a small session", history.SMALL_SESSION, tag=common, session_id="small-session"),
        listed("a common tag and a rare model", history.RARE, tag=common, model=history.RARE_MODEL),
        listed("a common tag, status=started", history.RARE, tag=common, status="started"),
        listed("a common tag, status=failed", min(failed, PAGE), tag=common, status="failed"),
        listed("a common tag, kind=prompt", None, tag=common, kind="prompt"),
        listed("a tag of 1 %, status=failed", None, tag="user-1", status="failed"),
        listed("two tags of a half, ten have both", history.RARE, tag=["checked", "unchecked"]),
        listed("a common tag and one of 1 %", PAGE, tag=[common, "user-7"]),
        listed("three common tags", history.RARE, at_most(100), tag=[common, "checked", "unchecked"]),
        listed("three common tags and a rare model", None, at_most(100), tag=[common, "checked", "user-0"],
               model=history.RARE_MODEL),
        listed("three days in the middle", PAGE, created_from="2025-07-01", created_to="2025-07-03"),
        listed("a common tag before a day", PAGE, tag=common, created_to="2025-07-01"),
        listed("status=failed before a day", None, status="failed", created_to="2025-07-02"),
        _v1("a session and its completions", "/sessions/small-session", "completions", history.SMALL_SESSION),
        Question("one completion", f"/api/v1/completions/{completion_id(middle)}"),
    ]  # fmt: skip


def _log_rows(known: Known) -> list[Question]:
    def listed(name: str, count: int | None, **query: Any) -> Question:
        return Question(
            f"log rows, {name}", _path("/api/completions", query), FLAT, None if count is None else ("data", count)
        )

    def ids(*tags: str) -> str:
        return ",".join(map(known.tag_id, tags))

    deep = known.size // 2
    july = '{"from":"2025-07-01","to":"2025-07-31"}'
    return [
        listed("newest ten", 10, limit=10),
        listed("offset of a half", 10, limit=10, offset=deep),
        listed("a common tag", 10, limit=10, tagFilter=ids(bodies.COMMON_TAG)),
        listed("a common tag, offset of a half", 10, limit=10, offset=deep, tagFilter=ids(bodies.COMMON_TAG)),
        listed("a tag of 1 %", 10, limit=10, tagFilter=ids("user-7")),
        listed("two tags of a half, ten have both", 10, limit=10, tagFilter=ids("checked", "unchecked")),
        listed("a month", 10, limit=10, createdFilter=july),
        listed("a common tag in a month", 10, limit=10, tagFilter=ids(bodies.COMMON_TAG), createdFilter=july),
        Question("log row, one", f"/api/completions/{completion_id(deep)}"),
    ]  # fmt: skip


def _tags() -> list[Question]:
    def searched(name: str, text: str) -> Question:
        return Question(f"search of tags, {name}", _path("/api/tags/search", {"query": text}), _SEARCH_MS)

    return [
        searched("blank", ""),
        searched("one hit in the middle of a name", bodies.own_tag(5)[10:]),
        searched("a whole name", bodies.own_tag(6)),
        searched("hits of the hundred", "user-1"),
        searched("in nearly every name", "request"),
        searched("one character", "q"),
        searched("two characters that are digits", "7f"),
        searched("a miss", "zzz nothing"),
        searched("a miss of common parts", "request-production"),
    ]


def _ungraded(known: Known) -> list[Question]:
    def listed(name: str, count: int, **query: Any) -> Question:
        return _v1(f"ungraded, {name}", "/completions/ungraded", "completions", count, limit=PAGE, **query)

    return [
        listed("of all tasks", PAGE),
        listed("of all tasks, offset of a half", PAGE, offset=known.size // 2),
        listed("of a task with a common tag", PAGE, task_id="task-0"),
        listed("of a task with a common tag, offset of a half", PAGE, task_id="task-0", offset=known.size // 2),
        listed("of a task that is all graded", 0, task_id=f"task-{history.GRADED_USER}"),
    ]


def _feedback(known: Known) -> list[Question]:
    def listed(name: str, count: int | None = None, goal: Goal = FLAT, **query: Any) -> Question:
        return _v1(f"feedback, {name}", "/feedback", "feedback", count, goal, limit=PAGE, **query)

    def envelope(name: str, count: int | None = None, **query: Any) -> Question:
        query = {"organization_id": "", "limit": PAGE, **query}
        rows = None if count is None else ("data", count)
        return Question(f"feedback of log10-io, {name}", _path("/api/v1/feedback", query), FLAT, rows)

    deep = known.feedback // 2
    task = f"task-{history.GRADED_USER}"
    graded = known.size // bodies.USERS
    return [
        listed("newest", PAGE),
        listed("total", PAGE, total="true"),
        listed("offset of a half", PAGE, offset=deep),
        listed("a task", PAGE, task_id=task),
        listed("a task, total", PAGE, task_id=task, total="true"),
        listed("a task, offset of a half", PAGE, task_id=task, offset=graded // 2 - PAGE),
        listed("a completion", None, completion_id=completion_id(history.GRADED_USER)),
        listed("a filter, one of 1 000 matches", None, _SEARCH_MS, filter="grade = 999"),
        listed(
            "a filter with two conditions", None, _SEARCH_MS, filter='grade > 990 and note = "note 3 of the reviewer"'
        ),
        listed("a filter that half matches", PAGE, _SEARCH_MS, filter="ok = true"),
        listed("a filter that nothing matches", 0, _SEARCH_MS, filter="grade = 1001"),
        listed("a filter by an unknown field", 0, _SEARCH_MS, filter="unknown = 1"),
        listed("a filter with not", None, _SEARCH_MS, filter="not ok = true and not grade < 999"),
        listed("a filter in a task", None, _SEARCH_MS, task_id=task, filter="grade = 7"),
        envelope("newest", PAGE),
        envelope("offset of a half", PAGE, offset=deep),
        envelope("a task", PAGE, task_id=task),
        envelope("a task, offset of a half", PAGE, task_id=task, offset=graded // 2 - PAGE),
        _v1("feedback tasks", "/feedback_task", "tasks", None, limit=PAGE),
        _v1("test runs", "/test_runs", "test_runs", None, limit=PAGE),
    ]


def _graphql(known: Known) -> list[Question]:
    def asked(name: str, arguments: str, goal: Goal = FLAT) -> Question:
        fields = "pageInfo{totalCount hasNextPage} nodes{id jsonValues completions{id}}"
        query = f"{{organization{{feedbackV2({arguments}){{{fields}}}}}}}"
        return Question(f"GraphQL feedbackV2, {name}", "/graphql", goal, body={"query": query})

    one = f'{{organization{{completion(id:"{completion_id(known.size // 2)}"){{id tags status}}}}}}'
    return [
        asked("plain", f"limit:{PAGE}"),
        asked("a page in the middle", f"limit:{PAGE},page:{known.feedback // 2 // PAGE}"),
        asked("a task", f'limit:{PAGE},taskId:"task-{history.GRADED_USER}"'),
        asked("a filter that matches little", f'limit:{PAGE},filter:"grade = 999"', _SEARCH_MS),
        asked("a filter that half matches", f'limit:{PAGE},filter:"ok = true"', _SEARCH_MS),
        asked("a filter that nothing matches", f'limit:{PAGE},filter:"grade = 1001"', _SEARCH_MS),
        Question("GraphQL completion", "/graphql", body={"query": one}),
    ]


def _usage() -> list[Question]:
    def summed(name: str, *, goal: Goal = _SEARCH_MS, **query: Any) -> Question:
        return Question(f"usage, {name}", _path("/api/v1/usage", query), goal)

    def stats(name: str, **query: Any) -> Question:
        return Question(f"modelStats, {name}", _path("/api/metrics/modelStats", query), _SEARCH_MS)

    common = bodies.COMMON_TAG
    groups = ("day", "model", "status", "tag")
    return [
        summed("total"),
        *(summed(f"by {group}", group_by=group) for group in groups),
        *(summed(f"by {group}, the days of a year", group_by=group, **_YEAR_DAYS) for group in groups),
        *(summed(f"by {group}, partial days at the ends", group_by=group, **_PART_DAYS) for group in groups),
        summed("of a model", model="gpt-4o-mini"),
        summed("of a model, by day", model="gpt-4o-mini", group_by="day"),
        summed("of a common tag", tag=common),
        summed("of a common tag, by day", tag=common, group_by="day"),
        summed("of a common tag, by model", tag=common, group_by="model"),
        summed("of a tag of 1 %", tag="user-7"),
        summed("of a tag of its own", tag=bodies.own_tag(8)),
        summed("of two tags, one of 1 %", goal=_MANY_TAGS_MS, tag=[common, "user-7"]),
        summed("of two tags, one of 1 %, by model", goal=_MANY_TAGS_MS, tag=[common, "user-7"], group_by="model"),
        stats("all"),
        stats("a year", startDate="2025-01-01", endDate="2025-12-31"),
        stats("a common tag", tags=common),
        stats("a tag of 1 %", tags="user-7"),
    ]
