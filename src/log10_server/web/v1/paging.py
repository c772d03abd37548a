"""Pages of lists: the query parameters that choose a page, its default length, and the cursors of completions."""

import base64
import binascii
from typing import Annotated, Any

from msgspec import Meta
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from log10_server.store.completions import Cursor
from log10_server.web.http.fields import Limit, Offset, in_query

DEFAULT_PAGE = 50

NextCursor = Annotated[
    str | None,
    Meta(
        description="Send it as `cursor` to get the next page. Absent on the last page; only then is a page the last one, "
        "however short it is."
    ),
]


def encode_cursor(next_cursor: Cursor | None) -> str | None:
    """Return the cursor as a text whose format clients must not rely on, or None on the last page."""
    if next_cursor is None:
        return None
    return base64.urlsafe_b64encode(f"{next_cursor.created_at}:{next_cursor.id}".encode()).decode().rstrip("=")


def _decode_cursor(text: Any) -> Cursor:
    try:
        padded = text + "=" * (-len(text) % 4)
        created_at, colon, completion_id = (
            base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(":")
        )
        if not colon or "\0" in completion_id or not (created_at.isascii() and created_at.isdecimal()):
            raise ValueError
        if len(created_at) > _MAX_DIGITS:
            raise ValueError
        return Cursor(int(created_at), completion_id)
    except (ValueError, binascii.Error):
        raise PydanticCustomError("cursor", "Is not a `next_cursor` of this list.") from None


_MAX_DIGITS = 18  # an instant with more digits may not fit into the 64 bits that the databases store

# Query parameters of lists. A cursor is the result of `encode_cursor`.
PageLimit = Annotated[Limit, Field(description="How many to answer at most. More than 1000 means 1000.")]
PageOffset = Annotated[Offset, Field(description="How many to skip at the start of the list.")]
PageCursor = Annotated[
    Annotated[Cursor, BeforeValidator(_decode_cursor), in_query("string")] | None,
    Field(description="The `next_cursor` of the previous page."),
]
