"""Searches tags by name, and keeps the blocks of names that a search reads (docs/api.md, "Tags and selectors").

A name matches if it contains the query. Both are compared without regard to case, by Python's Unicode case folding, so
the answer does not depend on the database.
"""

from collections.abc import Iterator

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.store.tags import TagRow

_MAX_RESULTS = 100
_MAX_QUERY_CHARACTERS = 8192  # no tag is longer
# What a blank query reads to find the tags that were used last: the newest completions, and links from them to tags.
# Most often the first few completions have enough tags, so these are read alone first.
_FEW_COMPLETIONS = 50
_MAX_COMPLETIONS = 1000
_MAX_LINKS = 10_000
_MAX_BLOCK_CHARACTERS = 1 << 16
# Stands between the names in a block. Case folding leaves no ASCII capital letter, so no name and no query contains it.
_SEPARATOR = "A"

_Match = tuple[int, str, int, int]  # length, name as it is compared, key of the block (0: none), position or tag id


def search(tx: Tx, query: str) -> list[TagRow]:
    """List the tags whose name contains `query`, ignoring case. The exact name comes first, then the shortest names.

    Names of the same length are in the order of their letters. At most 100 tags are listed. For a blank query they are
    the tags that were used last.
    """
    if not query.strip():
        return _list_recently_used(tx)
    if len(query) > _MAX_QUERY_CHARACTERS:
        return []
    exact = list(store.tags.find_keys(tx, {query}).values())
    tag_ids = [*exact, *(tag_id for tag_id in _find_containing(tx, _folded(query)) if tag_id not in exact)]
    return _rows_in_order(tx, tag_ids[:_MAX_RESULTS])


def find_keys(tx: Tx, names: set[str]) -> dict[str, int]:
    """Return the keys of the tags with these names, by name. Names that are not tags are left out."""
    return store.tags.find_keys(tx, names)


def is_behind(tx: Tx) -> bool:
    """Return whether there are enough tags for the next block."""
    tags, characters = store.tag_search.count_next(tx, tx.thresholds.tags_in_block)
    return tags >= tx.thresholds.tags_in_block or characters >= _MAX_BLOCK_CHARACTERS


def add_block(tx: Tx) -> bool:
    """Copy the names of the oldest tags that are in no block into a new block.

    Returns whether there were enough for a block, so that there may be more. The names that remain are few enough for
    each search to read them.
    """
    entries = sorted(_next_block(tx))
    if entries:
        names = _SEPARATOR.join(folded for _, folded, _ in entries)
        store.tag_search.add_block(tx, names, [tag_id for _, _, tag_id in entries])
    return bool(entries)


def _next_block(tx: Tx) -> list[tuple[int, str, int]]:
    """Return the length, the name as it is compared and the key of each tag of the next block.

    The list is empty if there are not enough tags for a block.
    """
    entries: list[tuple[int, str, int]] = []
    characters = 0
    for tag_id, name in store.tag_search.iterate_after(tx, store.tag_search.newest_block_key(tx)):
        folded = _folded(name)
        entries.append((len(folded), folded, tag_id))
        characters += len(name)
        if len(entries) >= tx.thresholds.tags_in_block or characters >= _MAX_BLOCK_CHARACTERS:
            return entries
    return []


def _folded(text: str) -> str:
    return text.casefold()


def _find_containing(tx: Tx, folded_query: str) -> list[int]:
    """Return the keys of the tags whose name contains the query, the shortest names first.

    At most `_MAX_RESULTS` are returned.
    """
    newest_block = store.tag_search.newest_block_key(tx)
    best: list[_Match] = sorted(
        (len(folded), folded, 0, tag_id)
        for tag_id, name in store.tag_search.iterate_after(tx, newest_block)
        if folded_query in (folded := _folded(name))
    )[:_MAX_RESULTS]
    for block, names in store.tag_search.iterate_containing(tx, folded_query, newest_block):
        worst = best[-1][:2] if len(best) == _MAX_RESULTS else None
        if matches := list(_matches_in_block(block, names, folded_query, worst)):
            best = sorted([*best, *matches])[:_MAX_RESULTS]
    places = [(block, position) for _, _, block, position in best if block]
    found_ids = iter(store.tag_search.find_tag_ids(tx, places))
    return [next(found_ids) if block else number for _, _, block, number in best]


def _matches_in_block(block: int, names: str, folded_query: str, worst: tuple[int, str] | None) -> Iterator[_Match]:
    """Yield the best matches of a block, best first, up to `_MAX_RESULTS` and up to the match `worst`.

    The names of a block are sorted by length and then by their letters, so the search can end at the first match that
    is worse.
    """
    start = 0
    for _ in range(_MAX_RESULTS):
        match = names.find(folded_query, start)
        if match < 0:
            return
        first = names.rfind(_SEPARATOR, start, match) + 1 or start
        end = names.find(_SEPARATOR, match)
        end = len(names) if end < 0 else end
        name = names[first:end]
        if worst is not None and (len(name), name) > worst:
            return
        yield len(name), name, block, names.count(_SEPARATOR, 0, first)
        start = end + 1


def _list_recently_used(tx: Tx) -> list[TagRow]:
    """List the tags of the newest completions, newest first, and after them the tags that were created last.

    Only the newest completions are read. A tag that was last used before them is listed where its creation puts it.
    """
    tag_ids: list[int] = []
    for completions in (_FEW_COMPLETIONS, _MAX_COMPLETIONS):
        tag_ids = store.tag_search.list_recently_used(tx, completions, _MAX_LINKS)
        if len(tag_ids) >= _MAX_RESULTS:
            break
    else:
        tag_ids = list(dict.fromkeys([*tag_ids, *store.tag_search.list_newest(tx, 2 * _MAX_RESULTS)]))
    return _rows_in_order(tx, tag_ids[:_MAX_RESULTS])


def _rows_in_order(tx: Tx, tag_ids: list[int]) -> list[TagRow]:
    rows = store.tag_search.find_many(tx, tag_ids)
    return [rows[tag_id] for tag_id in tag_ids if tag_id in rows]
