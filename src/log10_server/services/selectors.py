"""Finds the completions that match a selector (docs/api.md, "Tags and selectors")."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import FieldError, Invalid

# The refusal of a selector with too many matches says how many there are, but does not count further than this.
MAX_COUNTED_MATCHES = 1000


class Selector(NamedTuple):
    """Selects the completions that have all of these tags. A selector without tags matches none.

    A selector with more than `at_most` matches is refused.
    """

    tags: tuple[str, ...]
    may_match_none: bool
    at_most: int


class CompletionList(NamedTuple):
    """A list of completions, by their ids."""

    completion_ids: tuple[str, ...]


def find_tag_ids(tx: Tx, tags: Iterable[str]) -> list[int]:
    """Return the keys of the tags, each once.

    The result is empty if one of the tags does not exist, because then no completion can have all of them.
    """
    names = set(tags)
    keys = store.tags.find_keys(tx, names)
    return list(keys.values()) if len(keys) == len(names) else []


def resolve(tx: Tx, targets: Sequence[Selector | CompletionList]) -> list[list[str] | Invalid]:
    """Return, for each target, the ids of its completions, each once.

    The ids for a selector are newest first; those for a list are in its order. The result for a target is Invalid if it
    has an unknown id, more than `at_most` matches, or no match where one is required.
    """
    keys = store.tags.find_keys(tx, {tag for target in targets if isinstance(target, Selector) for tag in target.tags})
    existing_ids = store.completions.find_existing_ids(
        tx,
        {
            completion_id
            for target in targets
            if isinstance(target, CompletionList)
            for completion_id in target.completion_ids
        },
    )
    singles = _match_single_tags(tx, [target for target in targets if isinstance(target, Selector)], keys)
    results: list[list[str] | Invalid] = []
    for target in targets:
        if isinstance(target, CompletionList):
            results.append(_check_list(target.completion_ids, existing_ids))
            continue
        tags = dict.fromkeys(target.tags)
        tag_ids = [keys[tag] for tag in tags] if tags.keys() <= keys.keys() else []
        if len(tag_ids) == 1:
            ids = singles.get(tag_ids[0], [])[: target.at_most + 1]
        else:
            ids = store.completion_tags.list_with_all_tags(tx, tag_ids, target.at_most + 1)
        results.append(_check_matches(tx, target, tag_ids, ids))
    return results


def _match_single_tags(tx: Tx, selectors: Sequence[Selector], keys: Mapping[str, int]) -> dict[int, list[str]]:
    """Find the matches of all selectors that have exactly one tag, by the key of that tag.

    Most selectors have one tag, so a single query for all of them saves many queries.
    """
    single = [selector for selector in selectors if len(set(selector.tags)) == 1 and selector.tags[0] in keys]
    if not single:
        return {}
    tag_ids = sorted({keys[selector.tags[0]] for selector in single})
    return store.completion_tags.list_with_each_tag(tx, tag_ids, max(selector.at_most for selector in single) + 1)


def _check_list(completion_ids: Sequence[str], existing_ids: Container[str]) -> list[str] | Invalid:
    unique_ids = list(dict.fromkeys(completion_ids))
    unknown = [
        FieldError(
            f"/completion_ids/{completion_ids.index(completion_id)}", f"There is no completion {completion_id!r}."
        )
        for completion_id in unique_ids
        if completion_id not in existing_ids
    ]
    return Invalid(unknown, code="unknown_completion") if unknown else unique_ids


def _check_matches(tx: Tx, selector: Selector, tag_ids: Sequence[int], matches: list[str]) -> list[str] | Invalid:
    """Return the matches, or the reason why they are refused.

    The caller reads up to `at_most` + 1 matches, so that a number above `at_most` shows here.
    """
    path = "/completion_tags_selector"
    if len(matches) > selector.at_most:
        max_counted = max(MAX_COUNTED_MATCHES, selector.at_most)
        count = len(store.completion_tags.list_with_all_tags(tx, tag_ids, max_counted + 1))
        shown_count = f"more than {max_counted}" if count > max_counted else str(count)
        return Invalid.at(
            path,
            f"The selector matches {shown_count} completions; `max_matched_completions` allows {selector.at_most}.",
            code="too_many_matches",
        )
    if not matches and not selector.may_match_none:
        return Invalid.at(
            path,
            "No completion has all of these tags. Set `allow_unmatched_feedback` to store the feedback all the same.",
            code="no_match",
        )
    return matches
