"""Selectors: which completions have all of the given tags (contract 3.5)."""

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from log10_server import store
from log10_server.errors import Fault, Invalid
from log10_server.store.database import Tx

COUNTED = 1000


class Selector(NamedTuple):
    """The tags that a completion must have, all of them; no tags match nothing."""

    tags: tuple[str, ...]
    may_match_none: bool
    at_most: int


class Listed(NamedTuple):
    """Completions by their ids."""

    completion_ids: tuple[str, ...]


def tag_ids(tx: Tx, tags: Iterable[str]) -> list[int]:
    """The keys of `tags`, each once; none when one of them is no tag, as nothing can have them all."""
    names = set(tags)
    keys = store.tags.known(tx, names)
    return list(keys.values()) if len(keys) == len(names) else []


def resolve(tx: Tx, targets: Sequence[Selector | Listed]) -> list[list[str] | Invalid]:
    """For each target the ids of the completions meant: of a selector newest first, of a list in its order, each once.

    Invalid stands in the place of a target with an unknown id (it says which), no match, or more than `at_most`
    matches (it says how many).
    """
    keys = store.tags.known(tx, {tag for target in targets if isinstance(target, Selector) for tag in target.tags})
    there = store.completions.existing(
        tx, {id for target in targets if isinstance(target, Listed) for id in target.completion_ids}
    )
    found: list[list[str] | Invalid] = []
    for target in targets:
        if isinstance(target, Listed):
            found.append(_listed(target.completion_ids, there))
        else:
            tags = dict.fromkeys(target.tags)
            found.append(_selected(tx, target, [keys[tag] for tag in tags] if tags.keys() <= keys.keys() else []))
    return found


def _listed(ids: Sequence[str], there: Container[str]) -> list[str] | Invalid:
    once = list(dict.fromkeys(ids))
    unknown = [
        Fault(f"/completion_ids/{ids.index(id)}", f"There is no completion {id!r}.") for id in once if id not in there
    ]
    return Invalid(unknown, code="unknown_completion") if unknown else once


def _selected(tx: Tx, selector: Selector, keys: Sequence[int]) -> list[str] | Invalid:
    at = "/completion_tags_selector"
    found = store.tagged.having_all_tags(tx, keys, selector.at_most + 1)
    if len(found) > selector.at_most:
        most = max(COUNTED, selector.at_most)
        counted = len(store.tagged.having_all_tags(tx, keys, most + 1))
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
