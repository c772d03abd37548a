"""Tables and every statement on them, a file for each noun. No rules, no HTTP."""

from log10_server.store import (
    completion_tags,
    completions,
    feedback,
    feedback_tasks,
    organizations,
    sessions,
    tag_search,
    tags,
    test_runs,
    transfer,
    ungraded,
    usage,
)

__all__ = [
    "completion_tags",
    "completions",
    "feedback",
    "feedback_tasks",
    "organizations",
    "sessions",
    "tag_search",
    "tags",
    "test_runs",
    "transfer",
    "ungraded",
    "usage",
]
