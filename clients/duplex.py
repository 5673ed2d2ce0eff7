"""Calls that write and read at once, with the ending that the server gave them.

grpc.aio overwrites the status of a call with `INTERNAL: Internal error from Core` when a write fails because the server
has just ended the call (grpc/grpc#36066), so a refusal while audio flows would look like a crash. Each status that is
set on a call runs its done callbacks, so the server's own is noted there, whichever of the two comes first.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

import grpc

from clients.errors import naming_errors

T = TypeVar("T")

_MASK: Final = "Internal error from Core"
_STATUS_SECONDS: Final = 1.0


class Call(Protocol):
    """What is needed of a bidirectional grpc.aio call."""

    async def write(self, request: Any, /) -> None: ...
    async def read(self) -> Any: ...
    async def done_writing(self) -> None: ...
    def cancel(self) -> bool: ...
    def add_done_callback(self, callback: Any, /) -> None: ...


class Ending:
    """The status that the server gave ``call``, even where grpc.aio masks it."""

    def __init__(self, call: Any) -> None:
        self._given: grpc.aio.AioRpcError | None = None
        self._known = asyncio.Event()
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        details = _now(call.details())
        if details != _MASK:
            self._given = grpc.aio.AioRpcError(
                _now(call.code()), _now(call.initial_metadata()), _now(call.trailing_metadata()), details
            )
            self._known.set()

    async def unmask(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """``error``, or what the server really said. A reply that was lost behind the mask is UNAVAILABLE."""
        if error.details() != _MASK:
            return error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STATUS_SECONDS):
                await self._known.wait()
        given = self._given
        if given is None or given.code() is grpc.StatusCode.OK:
            return _lost(error)
        return given


def _lost(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, error.initial_metadata(), error.trailing_metadata(), "the reply was lost"
    )


def _now(status: Coroutine[Any, Any, T]) -> T:
    """The value of a status coroutine inside a done callback, where it is known and nothing suspends."""
    try:
        status.send(None)
    except StopIteration as finished:
        value: T = finished.value
        return value
    raise RuntimeError("the status of a finished call is not known")


class Duplex:
    """A bidirectional call. Only `read` reports how it ended, with SeleneError."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ending = Ending(call)

    async def write(self, request: Any) -> bool:
        """Waits until the message is past flow control; False when the call is over."""
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False
        return True

    async def half_close(self) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()

    async def read(self) -> Any:
        """The next message, or None at the end."""
        with naming_errors():
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise await self._ending.unmask(error) from error
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        self._call.cancel()
