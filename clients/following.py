"""Watches that outlast their calls: what `watch` of every client has in common."""

import sys
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any, Final

import grpc

from clients import retry
from clients.errors import SeleneError
from clients.retry import RetryPolicy
from clients.routed import Answer
from clients.stream import is_drop

CALL_SECONDS: Final = 590.0
"""A server grants calls ten minutes; the watch goes on with the next call."""
GIVE_UP_SECONDS: Final = 60.0
REACHED_SECONDS: Final = 5.0
"""A call that failed after more than that had reached a server."""


async def follow(begin: Callable[[float], Answer], *, policy: RetryPolicy) -> AsyncGenerator[Any, None]:
    """Every message of a watch, over as many calls as it takes; the waits between calls are those of ``policy``.

    ``begin`` makes a call that may last so many seconds and goes on after the last message that was yielded. A call may
    wait for its first message as long as it likes: given up is only when no server was reached for GIVE_UP_SECONDS.
    SeleneError, then and where the watch is refused.
    """
    while True:
        call, message = await _begun(begin, policy)
        try:
            while message is not None:
                yield message
                message = await call.read()
        except SeleneError as error:
            if not goes_on(error):
                raise
        finally:
            call.cancel()


def goes_on(error: SeleneError) -> bool:
    """Whether a watch may be asked for again: its time was over, or the server or its store went away or is busy."""
    over = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    return is_drop(error) or over or error.reason in ("STORE_UNAVAILABLE", "OVERLOADED")


async def _begun(begin: Callable[[float], Answer], policy: RetryPolicy) -> tuple[Answer, Any]:
    """A call whose first message has come, and that message."""
    alive = began = monotonic()

    async def attempt(_: float) -> tuple[Answer, Any]:
        nonlocal began
        began = monotonic()
        call = begin(CALL_SECONDS)
        try:
            first = await call.read()
        except BaseException:
            call.cancel()
            raise
        if first is None:  # it is stopping: not at once again
            raise SeleneError(grpc.StatusCode.UNAVAILABLE, "the server ended the watch")
        return call, first

    def may_retry(error: SeleneError) -> bool:
        nonlocal alive
        failed = monotonic()
        if failed - began > REACHED_SECONDS:
            alive = failed
        return goes_on(error) and failed - alive < GIVE_UP_SECONDS

    endless = RetryPolicy(sys.maxsize, policy.first_wait, policy.longest_wait, CALL_SECONDS)
    return await retry.call(attempt, within=float("inf"), policy=endless, may_retry=may_retry)
