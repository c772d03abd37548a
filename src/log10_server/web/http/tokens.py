"""Finds out who calls, from tokens. Callers without a valid token can take nothing from those with one.

Anyone can send random tokens from thousands of connections. So tokens that were valid before are looked up apart from
all others: with a thread and a database connection of their own, and without a limit. Other tokens are looked up at a
limited rate, and only a limited number of them may wait. All tokens that wait are looked up with one query.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from log10_server.db.database import Connection
from log10_server.errors import Unavailable
from log10_server.runtime.context import Caller
from log10_server.runtime.runtime import Runtime
from log10_server.services import organizations

# A token is looked up in the database again after this time, because a revoked token must be refused within a second
# (docs/api.md, "Tokens and organizations").
_TOKEN_SECONDS = 0.5
_MAX_CACHED_TOKENS = 10_000
_MAX_DIGESTS_OF_A_QUERY = 500
# Answering a call with a wrong token takes about 0.2 ms of the event loop. With these numbers at most 2 000 unknown
# tokens are looked up in a second, so most of the event loop is left for others.
_MAX_UNKNOWN_OF_A_QUERY = 50
_SECONDS_BETWEEN_UNKNOWN = 0.025
_MAX_WAITING_UNKNOWN = 2000

_Result = tuple[float, Caller | None]
Find = Callable[[Sequence[str]], Awaitable[Mapping[str, Caller]]]


class TokenFinder:
    """Finds the callers of tokens, and keeps them for half a second.

    Requests that arrive at the same time share one query. A caller that was found stays known after that time, so that
    its next look-up is not behind those of unknown tokens.
    """

    def __init__(self, runtime: Runtime) -> None:
        def of(digests: Sequence[str]) -> Callable[[Connection], Mapping[str, Caller]]:
            return lambda connection: organizations.find_callers(connection, digests)

        self._cached: OrderedDict[str, tuple[float, Caller]] = OrderedDict()
        self._known = _LookUps(lambda digests: runtime.read_known_tokens(of(digests)), _MAX_DIGESTS_OF_A_QUERY, 0)
        self._unknown = _LookUps(
            lambda digests: runtime.read_unknown_tokens(of(digests)), _MAX_UNKNOWN_OF_A_QUERY, _SECONDS_BETWEEN_UNKNOWN
        )

    async def find_caller(self, token: str) -> Caller | None:
        """Return the caller with this token, or None if it is unknown or revoked.

        Raises Unavailable when the database is unavailable, or when too many unknown tokens wait.
        """
        digest = organizations.digest(token)
        cached = self._cached.get(digest)
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        if cached is None and self._unknown.waiting >= _MAX_WAITING_UNKNOWN:
            raise Unavailable("Too many calls with an unknown token are waiting.", code="overloaded")
        began, caller = await (self._unknown if cached is None else self._known).find(digest)
        if caller is None:
            self._cached.pop(digest, None)
        else:
            self._cached[digest] = began + _TOKEN_SECONDS, caller
            self._cached.move_to_end(digest)
            if len(self._cached) > _MAX_CACHED_TOKENS:
                self._cached.popitem(last=False)
        return caller


class _LookUps:
    """Look-ups of tokens by their digests, `at_most` with each query, and `pause` seconds between two queries.

    The result of a look-up is the time at which its query began, and the caller.
    """

    def __init__(self, find: Find, at_most: int, pause: float) -> None:
        self._find = find
        self._at_most = at_most
        self._pause = pause
        self._waiting: dict[str, asyncio.Future[_Result]] = {}
        self._running: dict[str, asyncio.Future[_Result]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many tokens wait to be looked up."""
        return len(self._waiting)

    async def find(self, digest: str) -> _Result:
        """Return the caller whose token has this digest, or None, and when the query began."""
        result = self._running.get(digest) or self._waiting.get(digest)
        if result is None:
            loop = asyncio.get_running_loop()
            result = self._waiting[digest] = loop.create_future()
            result.add_done_callback(_retrieve_exception)
            if self._task is None:
                self._task = loop.create_task(self._run())
        return await asyncio.shield(result)  # other requests may wait for the same answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                digests = list(self._waiting)[: self._at_most]
                self._running = {digest: self._waiting.pop(digest) for digest in digests}
                began = time.monotonic()
                try:
                    callers = await self._find(digests)
                except Exception as error:
                    for result in self._running.values():
                        result.set_exception(error)
                else:
                    for digest, result in self._running.items():
                        result.set_result((began, callers.get(digest)))
                self._running = {}
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            self._task = None


def _retrieve_exception(result: asyncio.Future[_Result]) -> None:
    """Retrieve the exception even if all callers have gone. Otherwise asyncio would log it with a stack trace."""
    if not result.cancelled():
        result.exception()
