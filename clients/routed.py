"""What clients of the routing owners share: for whom a call is, how it begins, and how its events read."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final, Protocol, TypeVar

import betterproto2
import grpc
from google.protobuf.message import Message
from selene_messages.selene.routing.v1 import RouteScope

from clients import retry
from clients.channel import Connection
from clients.errors import SeleneError, naming_errors
from clients.retry import RetryPolicy
from clients.stream import is_drop, within
from clients.voiceid import DEVELOPMENT_TENANT
from clients.wire import to_message

ROUTED_TIMEOUT: Final = 60.0
DEFAULT_LOCALE: Final = "en-US"


class Call(Protocol):
    """A call whose responses are read one by one; None at its end, SeleneError where it failed."""

    async def read(self) -> Any: ...
    def cancel(self) -> None: ...


C = TypeVar("C", bound=Call)


class Answer:
    """The responses of a call that sends one request."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> Any:
        """The next message, or None at the end. SeleneError."""
        with naming_errors():
            message = await self._call.read()
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        self._call.cancel()


def scope_of(connection: Connection, scope: RouteScope | None) -> RouteScope:
    """``scope``, of the token's tenant where it names none."""
    given = scope or RouteScope()
    return given if given.tenant_id else replace(given, tenant_id=connection.claims().tenant_id or DEVELOPMENT_TENANT)


class Routed:
    """A service of a routing owner over one connection, for one scope; `Stub` is what is generated for it."""

    Stub: ClassVar[Any]

    def __init__(
        self,
        connection: Connection,
        *,
        scope: RouteScope | None = None,
        policy: RetryPolicy | None = None,
        timeout: float = ROUTED_TIMEOUT,
    ) -> None:
        self.scope = scope_of(connection, scope)
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = self.Stub(connection.channel)


def new_key() -> str:
    """An idempotency key that nobody else has."""
    return str(uuid.uuid4())


async def begin(open_call: Callable[[float], Awaitable[C]], *, lasting: float, policy: RetryPolicy) -> tuple[C, Any]:
    """A call that has begun, and its `started` event. SeleneError.

    ``open_call`` makes a call that may last so many seconds, ``lasting`` at most. Until `started` has come another
    attempt is safe: all of them carry the same idempotency key, and no audio was sent or heard.
    """
    deadline = time.monotonic() + lasting

    async def attempt(seconds: float) -> tuple[C, Any]:
        call = await open_call(max(deadline - time.monotonic(), 0.0))
        try:
            first = await within(seconds, call.read())
        except BaseException:
            call.cancel()
            raise
        if first is None or first.WhichOneof("event") != "started":
            call.cancel()
            raise SeleneError(grpc.StatusCode.DATA_LOSS, "the server did not begin the stream")
        return call, first.started

    def may_retry(error: SeleneError) -> bool:
        return is_drop(error) or error.code in policy.codes

    return await retry.call(attempt, within=lasting, policy=policy, may_retry=may_retry)


def event_of(response: Message, kinds: Mapping[str, type[betterproto2.Message]]) -> Any:
    """The event of a response as a dataclass; None for one that this client does not know."""
    name = response.WhichOneof("event")
    kind = kinds.get(name or "")
    return None if kind is None else to_message(getattr(response, str(name)), kind)


def no_final() -> SeleneError:
    """A stream that ended well without saying how."""
    return SeleneError(grpc.StatusCode.DATA_LOSS, "the stream ended without a final event")
