"""One RPC as the interceptors and the service see it, and the ids that tie its work together."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc
from grpc.aio import EOF
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.auth import Principal
from servers.runtime.errors import Refusal

CORRELATION_HEADER: Final = "x-correlation-id"
TURN_HEADER: Final = "x-turn-id"
MODE_HEADER: Final = "selene-mode"

LEAST_TURN: Final = 0.2
"""The part of the settling time that the event loop gets at least, however late it is."""

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Correlation:
    """The ids of the turn that an RPC belongs to; ``turn_id`` is empty when the caller named none."""

    correlation_id: str
    turn_id: str


_correlation: ContextVar[Correlation] = ContextVar("selene_correlation")
_call: ContextVar["Call"] = ContextVar("selene_call")

NO_CORRELATION: Final = Correlation("", "")


def current_correlation() -> Correlation:
    """The ids of the RPC that is being served; empty ones outside an RPC."""
    return _correlation.get(NO_CORRELATION)


def set_correlation(correlation: Correlation) -> None:
    """Names the ids for the rest of the current task."""
    _correlation.set(correlation)


def current_call() -> "Call":
    """The RPC that is being served; LookupError outside one."""
    return _call.get()


def remaining() -> float:
    """Seconds until the current RPC's deadline, to be forwarded to whatever it calls; infinite outside an RPC."""
    call = _call.get(None)
    return call.time_remaining() if call is not None else float("inf")


def is_acceptable_id(value: object) -> bool:
    """Whether a caller's correlation or turn id may go into logs and ledgers."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC method: its path (``/selene.voiceid.v1.VoiceIdService/Identify``) and what streams."""

    path: str
    client_streaming: bool
    server_streaming: bool

    @property
    def service(self) -> str:
        return self.path.rpartition("/")[0].lstrip("/")

    @property
    def kind(self) -> str:
        sides = {False: "unary", True: "stream"}
        return f"{sides[self.client_streaming]}_{sides[self.server_streaming]}"


Behaviour = Callable[["Call"], Awaitable[bytes | None]]
"""Serves one RPC: the reply's bytes for a unary reply, None where the reply streams."""


class Call(grpc.aio.ServicerContext[Any, Any]):
    """The servicer context that handlers receive.

    It stands in front of grpc's own context, so that each inbound message is counted and checked exactly once whether
    the handler iterates or reads, and each outbound one is counted whether it yields or writes.
    """

    def __init__(self, method: Method, context: Any, message: Any = None, settle_s: float = 0.0) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._settle_s = settle_s
        self._waiting_since: float | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._idle_limit: float | None = None
        self._idle_expired = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._half_closed_at: float | None = None
        self._headers: list[tuple[str, str | bytes]] = []
        self._headers_pending = method.server_streaming
        self._trailers: list[tuple[str, str | bytes]] = []
        self._status_code: grpc.StatusCode | None = None
        self.method = method
        self.message = message
        self.metadata: Mapping[str, Any] = dict(context.invocation_metadata() or ())
        self.admit: Callable[[bytes], Any] = _as_received
        self.serialize: Callable[[Any], bytes] = _as_received
        self.principal: Principal | None = None
        self.correlation = NO_CORRELATION
        self.deadline: float | None = None
        self.received = 0
        self.sent = 0
        self.defer_half_close = False
        _call.set(self)

    # Messages

    async def read(self) -> Any:
        """The next message, or EOF after the caller's half-close.

        When a caller vanishes or its deadline passes, grpc reports an end of stream a moment before it reports the
        cancellation. EOF is therefore held back until the cancellation would have arrived, unless the handler has set
        ``defer_half_close`` and awaits ``confirm_half_close()`` itself before it commits to anything.
        """
        self._reader = asyncio.current_task()
        self._waiting_since = self._loop.time()
        try:
            raw = await self._context.read()
        except asyncio.CancelledError:
            if self._idle_expired and self._reader is not None:
                self._reader.uncancel()
                raise self._idle_refusal() from None
            raise
        self._waiting_since = None
        if raw is EOF:
            self._half_closed_at = self._half_closed_at or self._loop.time()
            if not self.defer_half_close:
                await self.confirm_half_close()
            return EOF
        self.received += 1
        return self.admit(raw)

    async def messages(self) -> AsyncIterator[Any]:
        """The messages up to the caller's half-close."""
        while (message := await self.read()) is not EOF:
            yield message

    async def confirm_half_close(self) -> None:
        """Returns when the end of the stream is known to be a half-close; is cancelled here if the caller is gone."""
        if self._half_closed_at is None:
            return
        wait = self._half_closed_at + self._settle_s - self._loop.time()
        # Time alone does not settle it where the handler has kept the loop busy: the loop must have had its turns too.
        await asyncio.sleep(max(wait, self._settle_s * LEAST_TURN))
        if self._context.time_remaining() == 0:
            await asyncio.Event().wait()  # the deadline has passed: the cancellation is on its way

    async def write(self, message: Any) -> None:
        if self._headers_pending:
            await self.send_initial_metadata(())
        self.sent += 1
        await self._context.write(self.serialize(message))

    def watch_idle(self, limit_s: float) -> None:
        """Ends a read that waits longer than ``limit_s`` with STREAM_IDLE."""
        self._idle_limit = limit_s
        self._idle_timer = self._loop.call_later(limit_s, self._check_idle)

    def unwatch_idle(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def _check_idle(self) -> None:
        limit = self._idle_limit or 0.0
        waited = 0.0 if self._waiting_since is None else self._loop.time() - self._waiting_since
        if waited < limit:
            self._idle_timer = self._loop.call_later(limit - waited, self._check_idle)
            return
        self._idle_expired = True
        if self._reader is not None:
            self._reader.cancel()

    def _idle_refusal(self) -> Refusal:
        return Refusal(
            reasons.ERROR_REASON_STREAM_IDLE,
            "nothing came for too long",
            max_idle_s=f"{self._idle_limit or 0.0:g}",
        )

    # Metadata

    def add_header(self, key: str, value: str | bytes) -> None:
        """Adds to the initial metadata of a streamed reply; without effect once it has been sent."""
        self._headers.append((key, value))

    def add_trailer(self, key: str, value: str | bytes) -> None:
        self._trailers.append((key, value))

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._headers_pending = False
        await self._context.send_initial_metadata((*self._headers, *initial_metadata))

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailers.extend(trailing_metadata)

    async def finish(self) -> None:
        """Hands headers that are still due and all trailers to grpc, at the end of a call that succeeded."""
        if self._headers_pending:
            await self.send_initial_metadata(())
        self._context.set_trailing_metadata(tuple(self._trailers))

    # How the call ends

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> Any:
        self._status_code = code
        if self._headers_pending and self._headers:
            await self.send_initial_metadata(())
        await self._context.abort(code, details, (*self._trailers, *trailing_metadata))

    async def abort_with_status(self, status: Any) -> Any:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._status_code = code
        self._context.set_code(code)

    def set_details(self, details: str) -> None:
        self._context.set_details(details)

    @property
    def status_code(self) -> grpc.StatusCode | None:
        """The code that the handler set or aborted with, if it did."""
        return self._status_code

    # The rest is grpc's own

    def time_remaining(self) -> float:
        """Seconds until the deadline: the caller's, or this server's own where that is sooner."""
        theirs: float | None = self._context.time_remaining()
        ours = None if self.deadline is None else max(self.deadline - self._loop.time(), 0.0)
        return min(float("inf") if theirs is None else theirs, float("inf") if ours is None else ours)

    def invocation_metadata(self) -> Any:
        return self._context.invocation_metadata()

    def set_compression(self, compression: grpc.Compression) -> None:
        self._context.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._context.disable_next_message_compression()

    def peer(self) -> str:
        return str(self._context.peer())

    def peer_identities(self) -> Any:
        return self._context.peer_identities()

    def peer_identity_key(self) -> Any:
        return self._context.peer_identity_key()

    def auth_context(self) -> Any:
        return self._context.auth_context()

    def trailing_metadata(self) -> Any:
        return tuple(self._trailers)

    def code(self) -> Any:
        return self._context.code()

    def details(self) -> str:
        return str(self._context.details())

    def add_done_callback(self, callback: Any) -> None:
        self._context.add_done_callback(callback)

    def cancelled(self) -> bool:
        return bool(self._context.cancelled())

    def done(self) -> bool:
        return bool(self._context.done())


def _as_received(raw: Any) -> Any:
    return raw
