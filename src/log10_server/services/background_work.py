"""All the work that the background loop of each server process does for an organization, in pieces (`runtime/rollup`)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.services import feedback_blocks, rollup, tags
from log10_server.services.rollup import list_organizations

__all__ = ["advance", "is_behind", "list_organizations"]


class _Job(NamedTuple):
    """Work that is done in pieces. `advance` does the next one, and returns whether there was one."""

    is_behind: Callable[[Tx], bool]
    advance: Callable[[Tx], bool]


# The roll-up has the most pieces when a database of an older version is opened, so it comes last.
_JOBS: Sequence[_Job] = (
    _Job(tags.is_behind, tags.add_block),
    _Job(store.common_tags.is_behind, store.common_tags.add_pairs),
    _Job(feedback_blocks.is_behind, feedback_blocks.advance),
    _Job(rollup.is_behind, rollup.advance),
)


def is_behind(tx: Tx) -> bool:
    """Return whether a job has a piece to do."""
    return any(job.is_behind(tx) for job in _JOBS)


def advance(tx: Tx) -> bool:
    """Do the next piece of the first job that has one. Returns whether there was one."""
    return any(job.advance(tx) for job in _JOBS)
