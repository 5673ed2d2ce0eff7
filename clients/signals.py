"""Signals from the client's side: tell what went wrong or could be better, one by one or many, and look at them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

import grpc
from selene.learning.v1 import service_pb2 as wire
from selene.learning.v1 import service_pb2_grpc as rpc
from selene.learning.v1 import signal_pb2 as nouns
from selene_messages.selene.common.v1 import PageRequest
from selene_messages.selene.gold.v1 import GoldDomain
from selene_messages.selene.learning import v1

from clients import retry
from clients.calls import ask
from clients.channel import Connection
from clients.duplex import Duplex
from clients.errors import SeleneError
from clients.retry import NO_RETRY, RetryPolicy
from clients.routed import new_key
from clients.stream import is_drop
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_message, to_wire

UNACKNOWLEDGED: Final = 2048
"""Signals that a stream holds until they are acknowledged; whoever sends more waits."""
MESSAGE_SIGNALS: Final = 500
"""Signals that one message of a stream carries at most, by the contract."""
MESSAGE_BYTES: Final = 60_000
"""Of signals, in one message of a stream: what a server takes that was not set to take less than any needs."""
_CALL_SECONDS: Final = 590.0  # a server grants calls ten minutes; the stream goes on with the next call
_GIVE_UP_SECONDS: Final = 60.0


class Signals:
    """The SignalService over one connection; role `service` or `operator`. Every method raises SeleneError.

    A signal without tenant is this client's. What is captured is retried safely: its `idempotency_key` deduplicates.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.tenant_id = tenant_id or connection.claims().tenant_id or DEVELOPMENT_TENANT
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.SignalServiceStub(connection.channel)

    async def capture(self, signal: v1.LearningSignal) -> v1.CaptureResponse:
        """Tell one signal; on return it is durable. The same one again is answered with the first result."""
        request = wire.CaptureRequest(signal=self._own(signal))
        # The key lies within the signal, where the client does not look for it.
        metadata = self._connection.metadata()

        async def attempt(seconds: float) -> Any:
            return await self._stub.Capture(request, timeout=seconds, metadata=metadata)

        policy = self._policy if signal.idempotency_key else NO_RETRY
        return to_message(await retry.call(attempt, within=self._timeout, policy=policy), v1.CaptureResponse)

    def stream(self, stream_id: str = "") -> "SignalStream":
        """Tell many: `async with signals.stream() as stream`. ``stream_id`` names it across processes: one that is
        opened again by its name goes on where it was acknowledged.
        """
        return SignalStream(self._connection, self._stub, self.tenant_id, stream_id or new_key(), self._policy)

    async def send(self, signals: AsyncIterable[v1.LearningSignal], stream_id: str = "") -> "Told":
        """Tell all of them over a stream; on return each is durable, or named as refused."""
        async with self.stream(stream_id) as stream:
            async for signal in signals:
                await stream.send(signal)
        return stream.told

    async def list(
        self,
        *,
        domain: GoldDomain = GoldDomain.UNSPECIFIED,
        intake_path: v1.IntakePath = v1.IntakePath.UNSPECIFIED,
        user_id: str = "",
        page_size: int = 100,
    ) -> AsyncGenerator[v1.CapturedSignal, None]:
        """The tenant's signals, of what is set, the most urgent first."""
        page_token = ""
        while True:
            message = v1.ListSignalsRequest(
                tenant_id=self.tenant_id,
                domain=domain,
                intake_path=intake_path,
                user_id=user_id,
                page=PageRequest(page_size=page_size, page_token=page_token),
            )
            request = to_wire(message, wire.ListSignalsRequest)
            reply = await ask(
                self._connection,
                self._stub.ListSignals,
                request,
                v1.ListSignalsResponse,
                within=self._timeout,
                policy=self._policy,
            )
            for captured in reply.signals:
                yield captured
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    def _own(self, signal: v1.LearningSignal) -> nouns.LearningSignal:
        return _own(signal, self.tenant_id)


@dataclass(slots=True)
class Told:
    """What became of a stream's signals until now. `refused` are places in the stream, with why. `unheard` are those
    of which only that they are durable or refused is known: their acknowledgement was lost with a call.
    """

    taken: int = 0
    repeated: int = 0
    unheard: int = 0
    refused: list[v1.RefusedSignal] = field(default_factory=list)


class SignalStream:
    """Signals on their way: each is held until the server acknowledges it, and sent again where a call broke.

    `send` numbers and queues; it waits while `UNACKNOWLEDGED` signals are on their way. What is queued is sent as soon
    as the call takes more, several in a message where several wait: none is held back for others to come. Leaving the
    block waits until everything is acknowledged. A server that cannot be reached is waited for, for a minute; then
    SeleneError.
    """

    def __init__(
        self,
        connection: Connection,
        stub: Any,
        tenant_id: str,
        stream_id: str,
        policy: RetryPolicy,
        *,
        give_up_s: float = _GIVE_UP_SECONDS,
    ) -> None:
        self.stream_id = stream_id
        self.told = Told()
        self._connection = connection
        self._stub = stub
        self._tenant_id = tenant_id
        self._policy = policy
        self._give_up_s = give_up_s
        self._held: deque[nouns.LearningSignal] = deque()
        self._sequence: int | None = None  # of the last signal that was queued; known once the server has said it
        self._unsent = 0  # how many of those that are held wait for this call; they are the last ones
        self._closed = False
        self._failure: BaseException | None = None
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def acknowledged_through(self) -> int:
        """Up to which place of the stream everything is durable, or named as refused."""
        return (self._sequence or 0) - len(self._held)

    @property
    def unacknowledged(self) -> int:
        """How many signals are on their way."""
        return len(self._held)

    async def __aenter__(self) -> Self:
        """Opens the stream and learns where it stands. SeleneError."""
        self._task = asyncio.ensure_future(self._run())
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._sequence is not None or self._failure is not None)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._failure is not None:
            raise self._failure
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._task
        if task is None:
            return
        if error is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if self._failure is not None:
            raise self._failure

    async def send(self, signal: v1.LearningSignal) -> int:
        """Queue a signal; its place in the stream. Raises what made the stream fail."""
        message = _own(signal, self._tenant_id)
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._held) < UNACKNOWLEDGED or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            self._sequence = (self._sequence or 0) + 1
            self._held.append(message)
            self._unsent += 1
            self._changed.notify_all()
            return self._sequence

    async def flush(self) -> None:
        """Wait until everything that was sent is acknowledged. Raises what made the stream fail."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._held or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    async def _run(self) -> None:
        try:
            while not await self._converse():
                pass
        except Exception as error:  # raised where the caller waits
            await self._fail(error)

    async def _converse(self) -> bool:
        """One call, opened with patience; True once everything is acknowledged and nothing more will come."""
        call = await self._open()
        sending = asyncio.ensure_future(self._write(call))
        try:
            while (reply := await call.read()) is not None:
                await self._acknowledged(reply)
        except SeleneError as error:
            if not _goes_on(error):
                raise
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return self._closed and not self._held

    async def _open(self) -> Duplex:
        """A call whose first reply has come. SeleneError."""
        since = time.monotonic()

        async def attempt(_: float) -> Duplex:
            call = Duplex(self._stub.CaptureStream(timeout=_CALL_SECONDS, metadata=self._connection.metadata()))
            try:
                config = wire.CaptureStreamConfig(tenant_id=self._tenant_id, stream_id=self.stream_id)
                await call.write(wire.CaptureStreamRequest(config=config))
                first = await call.read()
                if first is None:
                    raise SeleneError(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")
                await self._stands_at(first.acknowledged_through)
            except BaseException:
                call.cancel()
                raise
            return call

        def may_retry(error: SeleneError) -> bool:
            return _goes_on(error) and time.monotonic() - since < self._give_up_s

        policy = RetryPolicy(1_000_000, self._policy.first_wait, self._policy.longest_wait, _CALL_SECONDS)
        return await retry.call(attempt, within=float("inf"), policy=policy, may_retry=may_retry)

    async def _stands_at(self, through: int) -> None:
        """What the server has not acknowledged is sent again. DATA_LOSS where it knows less than it acknowledged."""
        async with self._changed:
            if self._sequence is None:
                self._sequence = through
            if not self.acknowledged_through <= through <= self._sequence:
                raise SeleneError(
                    grpc.StatusCode.DATA_LOSS,
                    f"the stream stands at {through}, not between {self.acknowledged_through} and {self._sequence}",
                )
            held = len(self._held)
            self._let_go(through)
            self._unsent = len(self._held)
            self.told.unheard += held - self._unsent
            self._changed.notify_all()

    async def _write(self, call: Duplex) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._unsent or self._closed)
                if not self._unsent:
                    break
                request, count = self._next()
                self._unsent -= count
            if not await call.write(request):
                return
        await call.half_close()

    def _next(self) -> tuple[wire.CaptureStreamRequest, int]:
        """The message that comes next, of as many unsent signals as fit into it; how many those are."""
        sent = len(self._held) - self._unsent
        signals: list[nouns.LearningSignal] = []
        size = 0
        for signal in islice(self._held, sent, sent + MESSAGE_SIGNALS):
            size += signal.ByteSize()
            if signals and size > MESSAGE_BYTES:
                break
            signals.append(signal)
        first = self.acknowledged_through + sent + 1
        if len(signals) == 1:
            return wire.CaptureStreamRequest(signal=wire.StreamedSignal(sequence=first, signal=signals[0])), 1
        several = wire.StreamedSignals(first_sequence=first, signals=signals)
        return wire.CaptureStreamRequest(signals=several), len(signals)

    async def _acknowledged(self, reply: wire.CaptureStreamResponse) -> None:
        self.told.taken += reply.taken
        self.told.repeated += reply.repeated_count
        self.told.refused += [to_message(one, v1.RefusedSignal) for one in reply.refused]
        async with self._changed:
            self._let_go(reply.acknowledged_through)
            self._changed.notify_all()

    def _let_go(self, through: int) -> None:
        for _ in range(min(through - self.acknowledged_through, len(self._held))):
            self._held.popleft()

    async def _fail(self, error: BaseException) -> None:
        async with self._changed:
            self._failure = error
            self._changed.notify_all()


def _own(signal: v1.LearningSignal, tenant_id: str) -> nouns.LearningSignal:
    message = to_wire(signal, nouns.LearningSignal)
    message.tenant_id = message.tenant_id or tenant_id
    return message


def _goes_on(error: SeleneError) -> bool:
    """Whether another call may do better: what is not acknowledged is sent again, so nothing is lost by it."""
    passed = error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    return is_drop(error) or passed or error.reason in ("STORE_UNAVAILABLE", "OVERLOADED")
