"""Sizes at which the store switches to another method. They affect the cost of a call, never its result."""

from dataclasses import dataclass, field
from typing import NamedTuple


class CommonTags(NamedTuple):
    """When a tag counts as common, and how often that is checked (`store/completion_tags`)."""

    min_completions: int = 1000  # a tag on more completions than this is common
    sample_one_in: int = 256  # the check runs for one in this many completions
    max_tags_for_pairs: int = 24  # for a completion with more tags no pairs are stored
    marked_at_once: int = 2  # one transaction marks no more tags than this as common
    completions_per_step: int = 100  # one step adds the pairs of one tag on so many completions (`store/common_tags`)


class RollupSizes(NamedTuple):
    """How many completions the roll-up covers in one step, and how many of the newest it never covers.

    A step ends earlier if the completions have many tags, because it reads every tag of each of them. `tag_bytes` is
    how long the JSON of their tags may be. 200 000 bytes are at most about 30 000 tags, which SQLite reads in 50 to 70 ms.
    A completion that is merged while it is not covered costs nothing more, and most are merged soon after they began.
    """

    batch_size: int = 1000
    uncovered: int = 1000
    tag_bytes: int = 200_000


class PageSearch(NamedTuple):
    """How a search for a page of completions is cut into pieces, and when the page ends early (`store/completion_pages`).

    `seconds` is checked after each piece.
    """

    piece: int = 1000  # candidates
    max_candidates: int = 50_000
    seconds: float = 0.1


class FeedbackBlockSizes(NamedTuple):
    """How many pieces of feedback are in a block, and after how many changes blocks are made again."""

    rows: int = 1000
    max_changes: int = 100


@dataclass
class Thresholds:
    """The sizes that one `Database` uses. Tests lower them, so that a few rows are enough to reach them."""

    common_tags: CommonTags = field(default_factory=CommonTags)
    page_search: PageSearch = field(default_factory=PageSearch)
    backfill_batch_size: int = 250  # completions that one step of a backfill looks at (`store/ungraded`)
    links_per_step: int = 500  # completions that one step of the deletion of feedback removes (`services/feedback`)
    max_graded_at_once: int = 5000  # of more, the index of the task is built again (`services/ungraded_index`)
    training_page_size: int = 200  # completions that one page of a training export looks at (`services/training`)
    rollup: RollupSizes = field(default_factory=RollupSizes)  # (see `services/rollup`)
    usage_sums_at_once: int = 500  # sums of tags that are in memory at a time (`store/usage_sums`)
    feedback_blocks: FeedbackBlockSizes = field(default_factory=FeedbackBlockSizes)  # (see `services/feedback_blocks`)
    tags_in_block: int = 2000  # the names that are copied into one block for searches (`services/tags`)
    list_range_size: int = 2000  # rows of a range; one of more than twice as many is split (`store/counted_ranges`)
