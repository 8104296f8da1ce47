"""Budgets of the server: how much is worked on at once, and who waits.

Belongs here: a gate in the order of arrival, with a time limit; work in threads, replies that count. Does not: what
a request does (`featurestore.web.serving.routes`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from featurestore.web.serving.encoding import Answer
from featurestore.web.serving.problems import Busy, TooLarge

T = TypeVar("T")

SMALL_BYTES = 1 << 22
"""What a reply without values takes, at the most (bytes)."""

_PATIENCE_S = 10.0
"""How long a request waits before it is turned away."""
_MOST_WAITING = 1024
_PIECE_BYTES = 1 << 18
_LEAST_SEND_S = 30.0
_SLOWEST_BYTES_PER_S = 1 << 16
"""A client that takes a reply more slowly is cut off: it would hold its memory."""


class Gate:
    """A number of units that requests take and give back, in the order of their arrival.

    Used from one event loop only.
    """

    def __init__(self, total: int, *, patience_s: float) -> None:
        self.total = total
        self._free = total
        self._patience_s = patience_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, units: int = 1) -> Callable[[], None]:
        """Take units, and return what gives them back, once.

        Raises
        ------
        Busy
            If they are not free in time.
        """
        assert units <= self.total
        if self._waiting or units > self._free:
            await self._wait(units)
        else:
            self._free -= units
        is_out = True

        def give_back() -> None:
            nonlocal is_out
            if is_out:
                is_out = False
                self._free += units
                self._admit()

        return give_back

    async def _wait(self, units: int) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            raise Busy("too many requests wait already; try again later")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (units, turn)
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # admitted at the last moment
                self._free += units
            else:
                with suppress(ValueError):
                    self._waiting.remove(place)
            self._admit()
            if isinstance(error, TimeoutError):
                raise Busy(
                    f"the server worked on other requests for {self._patience_s:g} s; try again later, or ask for less"
                ) from error
            raise

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            units, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= units
                turn.set_result(None)


class Budgets:
    """The budgets of a server.

    Parameters
    ----------
    max_values
        Of one reply.
    memory_bytes
        For all replies that are being made or sent.
    reads_at_once
        Requests that are worked on at the same time, each in a thread.
    """

    def __init__(self, *, max_values: int, memory_bytes: int, reads_at_once: int) -> None:
        self.max_values = max_values
        self.memory = Gate(memory_bytes, patience_s=_PATIENCE_S)
        self._reads = Gate(reads_at_once, patience_s=_PATIENCE_S)

    def check_values(self, n_values: int, *, what: str) -> None:
        """Refuse more values than a reply may hold; TooLarge says what to ask for instead."""
        if n_values > self.max_values:
            raise TooLarge(
                f"the values of {what} are {n_values:,}, and a reply has at most {self.max_values:,}; ask for fewer "
                "windows or bins at a time"
            )

    async def work(self, task: Callable[[], T]) -> T:
        """Do something in a thread, when it is this request's turn."""
        give_back = await self._reads.take()
        try:
            return await anyio.to_thread.run_sync(task)
        finally:
            give_back()

    async def reply(self, make: Callable[[], Answer], *, n_bytes: int = SMALL_BYTES) -> Response:
        """Make a reply in a thread; its memory counts until it is sent.

        Raises
        ------
        TooLarge
            If it takes more memory than all replies together may.
        Busy
            If there is no room for it in time.
        """
        if n_bytes > self.memory.total:
            raise TooLarge(
                f"the reply takes up to {n_bytes:,} bytes of memory, and this server has {self.memory.total:,}; ask "
                "for fewer windows or bins, or for application/x-npy, which takes the least"
            )
        give_back = await self.memory.take(n_bytes)
        try:
            made = await self.work(make)
        except BaseException:
            give_back()
            raise
        return _Counted(made, give_back)


class _Counted(Response):
    """A response that gives its memory back when it is sent, or the client does not take it."""

    def __init__(self, made: Answer, give_back: Callable[[], None]) -> None:
        super().__init__(made.body, made.status, headers=made.headers)
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it in pieces: the server waits before each until the client has taken the one before."""
        allowed_s = _LEAST_SEND_S + len(self.body) / _SLOWEST_BYTES_PER_S
        try:
            with suppress(TimeoutError):  # the server then closes the connection
                async with asyncio.timeout(allowed_s):
                    await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                    for first in range(0, len(self.body), _PIECE_BYTES):
                        piece = self.body[first : first + _PIECE_BYTES]
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body", "body": b""})
        finally:
            self._give_back()
