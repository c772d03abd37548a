"""The class `Context`, with which a request handler calls the services: who calls, and how to read and write."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NamedTuple, TypeVar

from log10_server.db.database import Connection
from log10_server.db.transaction import Tx
from log10_server.errors import Refusal, Unavailable
from log10_server.runtime.runtime import LONG_TIMEOUT_SECONDS, TIMEOUT_SECONDS, Runtime
from log10_server.settings import Limits
from log10_server.store.feedback import AuthorKind
from log10_server.store.organizations import OrganizationRow
from log10_server.store.pieces import Piece, Unread

T = TypeVar("T")
E = TypeVar("E")
R = TypeVar("R")

ReadPiece = Callable[[Tx, Unread, int], Piece[bytes]]

# A body of more bytes than this is parsed in a thread, because parsing it in the event loop would delay other calls.
LARGE_BODY = 1 << 18
# Most answers are one piece. Answers of at most SHORT_ANSWER_BYTES are not counted. Most of their bytes fit into the
# buffers of the operating system.
SHORT_ANSWER_BYTES = 1 << 16
FIRST_PIECE_BYTES = 1 << 18
PIECE_BYTES = 4 << 20


class Actor(NamedTuple):
    """Who makes a call, and is the author of the feedback that the call adds. `name` is the name to show."""

    id: str
    name: str
    kind: AuthorKind


class Caller(NamedTuple):
    """What a token identifies: the organization it belongs to, and the actor who uses it."""

    organization: OrganizationRow
    actor: Actor


class Context:
    """One authenticated call of the API. `size` is about how many bytes the call holds in memory."""

    __slots__ = ("actor", "answer_bytes", "has_left", "organization", "runtime", "size")

    def __init__(self, runtime: Runtime, caller: Caller, size: int = 0) -> None:
        self.runtime = runtime
        self.organization, self.actor = caller
        self.size = size
        self.has_left = False  # whether the caller has disconnected
        self.answer_bytes = 0  # counted for the answer (`hold_answer`)

    @property
    def limits(self) -> Limits:
        """The limits that an operator can set."""
        return self.runtime.settings.limits

    async def read(self, work: Callable[[Tx], T], *, is_continued: bool = False) -> T:
        """Run `work`, which reads a page of a list or a few rows, in a read transaction, and return its result.

        Raises Unavailable when the database is unavailable, too many reads are waiting, or there is no result in time.

        Set `is_continued` when a part of the answer was sent already, because a refusal would cut off the answer. Then
        the read is not refused because too many are waiting, and it may wait as long as a long read.
        """
        return await self.runtime.read(self.organization.id, self._with_tx(work), is_continued=is_continued)

    async def read_long(self, work: Callable[[Tx], T], *, is_continued: bool = False) -> T:
        """The same as `read`, for work that may read many rows, such as usage, an export, or a filter without an index.

        Few long reads run at a time, and they never delay those of `read` and `look_up`.
        """
        return await self.runtime.read_long(self.organization.id, self._with_tx(work), is_continued=is_continued)

    async def look_up(self, work: Callable[[Tx], T]) -> T:
        """The same as `read`, for what a write needs to know before it begins. Lists can't delay it."""
        return await self.runtime.look_up(self.organization.id, self._with_tx(work))

    def first_piece_bytes(self) -> int:
        """Return how many bytes of rows to read into the first piece of an answer.

        They are counted until `hold_answer`. When the answers of the organization hold too much memory already, they
        are fewer, and not counted, so that short answers are still possible and the others wait in `read_pieces`.
        """
        answers, organization_id = self.runtime.answer_bytes, self.organization.id
        if not self.answer_bytes and answers.try_add_first_piece(organization_id, FIRST_PIECE_BYTES):
            self.answer_bytes = FIRST_PIECE_BYTES
        return self.answer_bytes or SHORT_ANSWER_BYTES

    def hold_answer(self, size: int) -> None:
        """Count the bytes of an answer that is being sent, until the next call of this method. Short ones are not counted."""
        before, self.answer_bytes = self.answer_bytes, size if size > SHORT_ANSWER_BYTES else 0
        if self.answer_bytes:
            self.runtime.answer_bytes.add(self.organization.id, self.answer_bytes)
        if before:
            self.runtime.answer_bytes.subtract(self.organization.id, before)

    async def read_pieces(self, read: ReadPiece, unread: Unread) -> AsyncGenerator[bytes]:
        """Read the rest of an answer piece by piece. `read` returns the next piece, encoded, and what is unread then.

        The bytes of a piece are counted until the next one is requested, which must be when the client has received it.
        Before there is room for them, nothing is read. Raises Unavailable if that takes too long.
        """
        is_continued = False  # whether the answer has begun, so that a refusal would cut it off
        encoded: list[bytes] = []
        while unread.ids:
            size = max(PIECE_BYTES, unread.next_size)
            # A row that is larger than a piece is read in the lane of long reads, where fewer are read at a time.
            read_piece = self.read if size == PIECE_BYTES else self.read_long
            timeout = LONG_TIMEOUT_SECONDS if is_continued else TIMEOUT_SECONDS

            def work(tx: Tx, unread: Unread = unread, size: int = size) -> Piece[bytes]:
                return read(tx, unread, size)

            async with self.runtime.answer_bytes.reserve(self.organization.id, size, timeout):
                encoded, unread = await read_piece(work, is_continued=is_continued)
                while encoded:
                    is_continued = True
                    yield encoded.pop()  # no reference is kept, so the bytes are freed when they are sent

    async def write(self, work: Callable[[Tx], T], *, links: int = 0, alone: bool = False) -> T:
        """Run `work` in a transaction and return its result, once it is committed.

        `links` is about how many rows of link tables it writes, such as the tags of completions. Work that writes many
        needs them for its organization to take fair turns.

        `alone` runs the work in a separate transaction. Use it for slow work, so that no other write shares its commit.
        """
        return await self.runtime.write(self.organization.id, work, size=self.size, links=links, alone=alone)

    async def record(
        self, recorder: Callable[[Tx, Sequence[E]], Sequence[R | Refusal]], entry: E, *, links: int = 0
    ) -> R:
        """Record `entry`, and return the result of `recorder` for it, once it is committed.

        `links` is about how many rows of link tables the entry needs, as in `write`. Waiting entries of the same
        organization and recorder are recorded in one call. Raises the Refusal that `recorder` returns for this entry.
        """
        self.runtime.rollup.note(self.organization.id)
        return await self.runtime.writer.record(
            self.organization.id, recorder, entry, self.size, links, TIMEOUT_SECONDS
        )

    async def compute(self, work: Callable[[], T]) -> T:
        """Run `work`, which parses the body, and return its result.

        For a large body it runs in a thread, so that it does not delay other calls.
        """
        return await asyncio.to_thread(work) if self.size > LARGE_BODY else work()

    def _with_tx(self, work: Callable[[Tx], T]) -> Callable[[Connection], T]:
        database, organization_id = self.runtime.database, self.organization.id

        def run(connection: Connection) -> T:
            if self.has_left:  # while the read waited for a thread
                raise Unavailable("The caller has disconnected.", code="overloaded")
            return work(database.tx(connection, organization_id))

        return run
