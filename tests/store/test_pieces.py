"""Rows with large payloads are read in pieces of bounded size, in the order of their ids."""

from log10_server import store
from log10_server.clock import uuid7
from log10_server.db.database import Database
from log10_server.db.transaction import Tx
from log10_server.services import completions
from log10_server.services.completions import Entry
from log10_server.store.pieces import Unread
from tests.conftest import new_organization


def record(tx: Tx, **requests: str | None) -> None:
    entries = [
        Entry(completion_id, {} if text is None else {"request": f'{{"text":"{text}"}}'})
        for completion_id, text in requests.items()
    ]
    completions.record(tx, entries)


SIZE_WITHOUT_TEXT = len('{"text":""}')


def test_rows_are_read_in_the_order_of_their_ids(tx: Tx) -> None:
    record(tx, a="1", b=None, c="3")

    rows, unread = store.completions.read_piece(tx, Unread(["c", "unknown", "a", "b"]), 1000)

    assert [row.id for row in rows] == ["c", "a", "b"]
    assert {row.id: row for row in rows} == store.completions.find_many(tx, ["a", "b", "c"])
    assert unread == Unread([])


def test_a_piece_ends_before_it_is_too_large(tx: Tx) -> None:
    """The size is in bytes: a character that is not ASCII counts as several."""
    record(tx, a="x" * 40, b="é" * 20, c="x", d="x")

    size = SIZE_WITHOUT_TEXT + 40
    ids = ["a", "b", "c", "d"]
    first = store.completions.read_piece(tx, Unread(ids), 2 * size)
    second = store.completions.read_piece(tx, first.unread, 2 * size)
    alone = store.completions.read_piece(tx, Unread(ids), 2 * size - 1)

    assert [row.id for row in first.rows] == ["a", "b"]
    assert first.unread.ids == ["c", "d"]
    assert [row.id for row in second.rows] == ["c", "d"]
    assert second.unread == Unread([])
    assert [row.id for row in alone.rows] == ["a"]


def test_a_row_that_is_larger_than_a_piece_is_not_read_before_its_size_is_known(tx: Tx) -> None:
    record(tx, small="x", large="x" * 5000, last="x")

    first = store.completions.read_piece(tx, Unread(["small", "large", "last"]), 100)
    nothing = store.completions.read_piece(tx, first.unread, 100)
    large = store.completions.read_piece(tx, nothing.unread, nothing.unread.next_size)

    assert [row.id for row in first.rows] == ["small"]
    assert nothing.rows == []
    assert nothing.unread == Unread(["large", "last"], SIZE_WITHOUT_TEXT + 5000)
    assert [row.id for row in large.rows] == ["large"]
    assert large.rows == [store.completions.find(tx, "large")]
    assert large.unread.ids == ["last"]


def test_a_list_of_many_ids_is_read_in_several_pieces(tx: Tx) -> None:
    ids = [uuid7(tx.now()) for _ in range(1500)]
    completions.record(tx, [Entry(completion_id, {}) for completion_id in ids])

    listed: list[str] = []
    unread = Unread(ids)
    while unread.ids:
        rows, unread = store.completions.read_piece(tx, unread, 100)
        listed += [row.id for row in rows]

    assert listed == ids


def test_rows_of_another_organization_are_not_read(database: Database, tx: Tx) -> None:
    record(tx, a="x")
    other = new_organization(database) if database.kind != "sqlite" else None
    other_id = "another organization" if other is None else other.id

    rows, unread = store.completions.read_piece(database.tx(tx.connection, other_id), Unread(["a"]), 1000)

    assert (rows, unread) == ([], Unread([]))
