"""Tables and every statement on them, a file for each noun. No rules, no HTTP."""

from log10_server.store import (
    completions,
    feedback,
    feedback_tasks,
    organizations,
    sessions,
    completion_tags,
    tags,
    test_runs,
    transfer,
    ungraded,
    usage,
)

__all__ = [
    "completions",
    "feedback",
    "feedback_tasks",
    "organizations",
    "sessions",
    "completion_tags",
    "tags",
    "test_runs",
    "transfer",
    "ungraded",
    "usage",
]
