"""Unary calls: a stub message out, a dataclass back, retried where a replay is safe."""

from collections.abc import Awaitable
from typing import Any, Protocol, TypeVar

import betterproto2
from google.protobuf.message import Message

from clients import retry
from clients.channel import Connection
from clients.retry import NO_RETRY, RetryPolicy, replay_is_safe
from clients.wire import to_message

D = TypeVar("D", bound=betterproto2.Message)


class UnaryMethod(Protocol):
    """A unary method of a generated async stub."""

    def __call__(self, request: Any, /, *, timeout: float, metadata: Any) -> Awaitable[Message]: ...


async def ask(
    connection: Connection,
    method: UnaryMethod,
    request: Message,
    reply: type[D],
    *,
    within: float,
    policy: RetryPolicy,
) -> D:
    """The reply as a dataclass. All attempts share one correlation id and ``within`` seconds. Raises SeleneError."""
    metadata = connection.metadata()

    async def attempt(seconds: float) -> Message:
        return await method(request, timeout=seconds, metadata=metadata)

    chosen = policy if replay_is_safe(request) else NO_RETRY
    return to_message(await retry.call(attempt, within=within, policy=chosen), reply)
