"""Selectors: which completions have all of the given tags (docs/api.md, "Tags and selectors")."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.errors import FieldError, Invalid

MAX_COUNTED_MATCHES = 1000


class Selector(NamedTuple):
    """The tags that a completion must have, all of them; no tags match nothing."""

    tags: tuple[str, ...]
    may_match_none: bool
    at_most: int


class CompletionList(NamedTuple):
    """Completions by their ids."""

    completion_ids: tuple[str, ...]


def find_tag_ids(tx: Tx, tags: Iterable[str]) -> list[int]:
    """The keys of `tags`, each once; none when one of them is no tag, as nothing can have them all."""
    names = set(tags)
    keys = store.tags.find_keys(tx, names)
    return list(keys.values()) if len(keys) == len(names) else []


def resolve(tx: Tx, targets: Sequence[Selector | CompletionList]) -> list[list[str] | Invalid]:
    """For each target the ids of the completions meant: of a selector newest first, of a list in its order, each once.

    Invalid stands in the place of a target with an unknown id (it says which), no match, or more than `at_most`
    matches (it says how many).
    """
    keys = store.tags.find_keys(tx, {tag for target in targets if isinstance(target, Selector) for tag in target.tags})
    there = store.completions.find_existing_ids(
        tx, {id for target in targets if isinstance(target, CompletionList) for id in target.completion_ids}
    )
    singles = _match_single_tags(tx, [target for target in targets if isinstance(target, Selector)], keys)
    found: list[list[str] | Invalid] = []
    for target in targets:
        if isinstance(target, CompletionList):
            found.append(_check_list(target.completion_ids, there))
            continue
        tags = dict.fromkeys(target.tags)
        tag_ids = [keys[tag] for tag in tags] if tags.keys() <= keys.keys() else []
        if len(tag_ids) == 1:
            ids = singles.get(tag_ids[0], [])[: target.at_most + 1]
        else:
            ids = store.completion_tags.list_with_all_tags(tx, tag_ids, target.at_most + 1)
        found.append(_check_matches(tx, target, tag_ids, ids))
    return found


def _match_single_tags(tx: Tx, selectors: Sequence[Selector], keys: Mapping[str, int]) -> dict[int, list[str]]:
    """What those selectors match that name one tag, as most do: all of them in one look."""
    single = [selector for selector in selectors if len(set(selector.tags)) == 1 and selector.tags[0] in keys]
    if not single:
        return {}
    tag_ids = sorted({keys[selector.tags[0]] for selector in single})
    return store.completion_tags.list_with_each_tag(tx, tag_ids, max(selector.at_most for selector in single) + 1)


def _check_list(ids: Sequence[str], there: Container[str]) -> list[str] | Invalid:
    once = list(dict.fromkeys(ids))
    unknown = [
        FieldError(f"/completion_ids/{ids.index(id)}", f"There is no completion {id!r}.")
        for id in once
        if id not in there
    ]
    return Invalid(unknown, code="unknown_completion") if unknown else once


def _check_matches(tx: Tx, selector: Selector, keys: Sequence[int], found: list[str]) -> list[str] | Invalid:
    """What it matches, of which `found` has one more than is allowed at most."""
    at = "/completion_tags_selector"
    if len(found) > selector.at_most:
        most = max(MAX_COUNTED_MATCHES, selector.at_most)
        counted = len(store.completion_tags.list_with_all_tags(tx, keys, most + 1))
        many = f"more than {most}" if counted > most else str(counted)
        return Invalid.at(
            at,
            f"The selector matches {many} completions; `max_matched_completions` allows {selector.at_most}.",
            code="too_many_matches",
        )
    if not found and not selector.may_match_none:
        return Invalid.at(
            at,
            "No completion has all of these tags. Set `allow_unmatched_feedback` to store the feedback all the same.",
            code="no_match",
        )
    return found
