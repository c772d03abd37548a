"""Searches tags by name (docs/api.md, "Tags and selectors")."""

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.store.tags import TagRow

_MAX_RESULTS = 100
_MAX_QUERY_CHARACTERS = 8192  # no tag is longer; SQLite refuses patterns above 50 000 bytes


def search(tx: Tx, query: str) -> list[TagRow]:
    """List the tags whose name contains `query`, ignoring case. The exact name comes first, then the shortest names.

    At most 100 tags are listed. For a blank query they are the tags that were used last.
    """
    if not query.strip():
        return store.tag_search.list_recently_used(tx, _MAX_RESULTS)
    if len(query) > _MAX_QUERY_CHARACTERS:
        return []
    return store.tag_search.list_matching(tx, query, _MAX_RESULTS)


def find_keys(tx: Tx, names: set[str]) -> dict[str, int]:
    """Return the keys of the tags with these names, by name. Names that are not tags are left out."""
    return store.tags.find_keys(tx, names)
