"""Tags: searched by name (docs/api.md, "Tags and selectors")."""

from log10_server import store
from log10_server.db.transaction import Tx
from log10_server.store.tags import TagRow

_MAX_RESULTS = 100
_MAX_QUERY_CHARACTERS = 8192  # no tag is longer, and SQLite matches no longer pattern than 50 000


def search(tx: Tx, query: str) -> list[TagRow]:
    """Tags whose name contains `query`, ignoring case, the exact name first, then the shortest; 100 at most.

    A blank query gives the tags that were used last.
    """
    if not query.strip():
        return store.tag_search.list_recently_used(tx, _MAX_RESULTS)
    if len(query) > _MAX_QUERY_CHARACTERS:
        return []
    return store.tag_search.list_matching(tx, query, _MAX_RESULTS)


def find_keys(tx: Tx, names: set[str]) -> dict[str, int]:
    """The key of each of `names` that is a tag, by name."""
    return store.tags.find_keys(tx, names)
