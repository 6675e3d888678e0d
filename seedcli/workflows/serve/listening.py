"""Answers of the engine's threads, heard in the event loop of the server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from starlette.requests import Request

from seedcli.workflows.serve.answer import Asked, Ended, Event, Failed, OutOfTimeError, Writing
from seedcli.workflows.serve.engine import Engine
from seedcli.workflows.serve.errors import ApiError
from seedcli.workflows.serve.service import note

T = TypeVar("T")
QUIET_S = 15.0  # after so long without an event a stream says that it is alive
_LATE_S = 30.0  # a step of the model may end after the deadline


class Listening:
    """The answers of one request; as a context it leaves those that are not complete.

    Attributes:
        writings: In the order in which they were asked for.
    """

    def __init__(self, engine: Engine, asked: Sequence[Asked]):
        """Asks for them.

        Raises:
            BusyError: Too many wait.
        """
        self._engine, self._asked = engine, asked
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self.writings: list[Writing] = engine.ask(
            asked, [_teller(loop, self._events, index) for index in range(len(asked))]
        )

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for writing in self.writings:
            self._engine.leave(writing)

    async def events(
        self, complete: Callable[[], bool]
    ) -> AsyncGenerator[tuple[int, Event] | None]:
        """Events with the number of their answer, until all is complete; None where nothing came
        for a while.

        Raises:
            OutOfTimeError: The deadline came.
            Exception: What an answer failed of.
        """
        deadline = self._asked[0].deadline
        ended = 0
        while not complete():
            # words end by themselves at the deadline
            limit = deadline + (0 if ended == len(self._asked) else _LATE_S)
            left = limit - time.monotonic()
            try:
                index, event = await asyncio.wait_for(
                    self._events.get(), min(max(left, 0.001), QUIET_S)
                )
            except TimeoutError:
                if time.monotonic() >= limit:
                    raise OutOfTimeError from None
                yield None
                continue
            if isinstance(event, Failed):
                raise event.error
            ended += isinstance(event, Ended)
            yield index, event


def _teller(
    loop: asyncio.AbstractEventLoop, events: asyncio.Queue[tuple[int, Event]], index: int
) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(events.put_nowait, (index, event))

    return tell


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """What a coroutine comes to, unless the client leaves before; the coroutine is then ended.

    Raises:
        ApiError: The client left; nobody hears it.
    """
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        note(request, left=True)
        raise ApiError(499, "the client left")
    finally:
        for task in (doing, gone):
            task.cancel()
        await asyncio.gather(doing, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
