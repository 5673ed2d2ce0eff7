"""Innermost: no call runs for ever. The caller's deadline counts, up to what this server grants."""

import asyncio
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.context import Behaviour, Call, Method
from servers.runtime.errors import Refusal
from servers.runtime.interceptors.authentication import OPEN_SERVICES

_CLOCK_SLACK_S = 1.0
"""A deadline travels as an absolute time: one that was set to the maximum may look a little longer on arrival."""


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """The longest a unary and a streaming call may take, and how long an open stream may send nothing; seconds."""

    unary_s: float
    stream_s: float
    idle_s: float
    require_deadline: bool = False


class DeadlineLayer:
    """Caps calls at the server's limit, or, with ``require_deadline``, refuses one that asks for more or names none."""

    def __init__(self, limits: DeadlineLimits, watches: Container[str] = ()) -> None:
        """``watches`` are paths of server-streaming methods that last as long as their caller wants."""
        self._limits = limits
        self._watches = watches

    def wrap(self, method: Method, handler: Any, proceed: Behaviour) -> Behaviour:
        if method.service in OPEN_SERVICES or method.path in self._watches:
            return proceed
        limits = self._limits
        streams = method.client_streaming or method.server_streaming
        limit = limits.stream_s if streams else limits.unary_s

        async def bound(call: Call) -> bytes | None:
            theirs = call.time_remaining()
            if limits.require_deadline and theirs > limit + _CLOCK_SLACK_S:
                raise Refusal(
                    reasons.ERROR_REASON_DEADLINE_REQUIRED, "set a deadline that this server grants", max_s=f"{limit:g}"
                )
            if method.client_streaming:
                call.watch_idle(limits.idle_s)
            try:
                return await (proceed(call) if theirs <= limit else _within(limit, call, proceed))
            finally:
                call.unwatch_idle()

        return bound


async def _within(limit: float, call: Call, proceed: Behaviour) -> bytes | None:
    call.deadline = asyncio.get_running_loop().time() + limit
    timer = asyncio.timeout(limit)
    try:
        async with timer:
            return await proceed(call)
    except TimeoutError:
        if not timer.expired():
            raise
        raise Refusal(reasons.ERROR_REASON_DEADLINE_PASSED, "the call took longer than this server grants") from None
