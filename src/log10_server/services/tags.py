"""Tags, as something to look for (docs/api.md, "Tags and selectors")."""

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.store.tags import TagRow

_MOST_FOUND = 100
_LONGEST_QUERY = 8192  # no tag is longer, and SQLite matches no longer pattern than 50 000


def search(tx: Tx, query: str) -> list[TagRow]:
    """Tags whose name contains `query`, ignoring case, the exact name first, then the shortest; 100 at most.

    A blank query gives those that were used last.
    """
    if not query.strip():
        return store.completion_tags.list_recently_used_tags(tx, _MOST_FOUND)
    if len(query) > _LONGEST_QUERY:
        return []
    return store.completion_tags.search_tags(tx, query, _MOST_FOUND)


def keys_of(tx: Tx, names: set[str]) -> dict[str, int]:
    """The keys of these tags."""
    return store.tags.find_keys(tx, names)
