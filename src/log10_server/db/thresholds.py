"""Sizes at which the store changes how it works. They change what a call costs, never what it answers."""

from dataclasses import dataclass, field
from typing import NamedTuple


class CommonTags(NamedTuple):
    """When a tag counts as common, and how often that is checked (`store/completion_tags`)."""

    min_completions: int = 1000  # a tag on more completions than this is common
    sample_one_in: int = 256  # the check runs for one completion in so many
    max_tags_for_pairs: int = 24  # a completion with more tags than this keeps no pairs of them


@dataclass
class Thresholds:
    """The sizes that one `Database` works with. Tests lower them, so that a few rows reach them."""

    common_tags: CommonTags = field(default_factory=CommonTags)
    backfill_batch_size: int = 1000  # completions that one step of a backfill looks at (`store/ungraded`)
