"""All tables, and all SQL statements on them, with one module for each kind of data.

Business rules are in the services, and HTTP is in `web`.
"""

from log10_server.store import (
    common_tags,
    completion_pages,
    completion_tags,
    completions,
    counted_completions,
    counted_ranges,
    covered,
    feedback,
    feedback_blocks,
    feedback_tasks,
    organizations,
    rollups,
    sessions,
    tag_search,
    tags,
    test_runs,
    transfer,
    ungraded,
    usage,
    usage_sums,
)

__all__ = [
    "common_tags",
    "completion_pages",
    "completion_tags",
    "completions",
    "counted_completions",
    "counted_ranges",
    "covered",
    "feedback",
    "feedback_blocks",
    "feedback_tasks",
    "organizations",
    "rollups",
    "sessions",
    "tag_search",
    "tags",
    "test_runs",
    "transfer",
    "ungraded",
    "usage",
    "usage_sums",
]
