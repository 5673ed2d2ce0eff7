"""Language for people who write Python: an utterance becomes a reply, piece by piece, and one packet, a proposal."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final

import betterproto2
from selene.llm.v1 import service_pb2 as wire
from selene.llm.v1 import service_pb2_grpc as rpc
from selene_messages.selene.llm import v1
from selene_messages.selene.routing.v1 import ProviderSwitched

from clients.retry import RetryPolicy
from clients.routed import DEFAULT_LOCALE, Answer, Routed, begin, event_of, new_key, no_final
from clients.wire import to_message, to_wire

Answered = v1.RespondStarted | v1.ReplyDelta | ProviderSwitched | v1.RespondFinal

_ANSWERED: Final[Mapping[str, type[betterproto2.Message]]] = {
    "started": v1.RespondStarted,
    "delta": v1.ReplyDelta,
    "switched": ProviderSwitched,
    "final": v1.RespondFinal,
}


class Language(Routed):
    """The LanguageService over one connection. Raises SeleneError."""

    Stub = rpc.LanguageServiceStub

    def respond(
        self,
        text: str,
        *,
        locale: str = DEFAULT_LOCALE,
        said_at: datetime | None = None,
        time_zone: str = "",
        idempotency_key: str = "",
    ) -> "Reply":
        """What ``text`` asks for. ``time_zone`` is an IANA name, UTC unless given; ``said_at`` now."""
        message = v1.RespondRequest(
            text=text,
            locale=locale,
            said_at=said_at,
            time_zone=time_zone,
            scope=self.scope,
            idempotency_key=idempotency_key or new_key(),
        )
        return Reply(self._open, to_wire(message, wire.RespondRequest), timeout=self._timeout, policy=self._policy)

    def _open(self, request: wire.RespondRequest, seconds: float) -> Any:
        return self._stub.Respond(request, timeout=seconds, metadata=self._connection.metadata())


class Reply:
    """An utterance that is being answered, used as an async context manager; leaving it before its final cancels it.

    async with Language(connection).respond("what time is it") as reply:
        async for event in reply.events():
            …
    reply.final.packet
    """

    def __init__(self, open_call: Any, request: wire.RespondRequest, *, timeout: float, policy: RetryPolicy) -> None:
        self._open_call = open_call
        self._request = request
        self._timeout = timeout
        self._policy = policy
        self._call: Answer | None = None
        self._started = v1.RespondStarted()
        self.final: v1.RespondFinal | None = None

    async def __aenter__(self) -> "Reply":
        async def opened(seconds: float) -> Answer:
            return Answer(self._open_call(self._request, seconds))

        self._call, started = await begin(opened, lasting=self._timeout, policy=self._policy)
        self._started = to_message(started, v1.RespondStarted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    @property
    def request_id(self) -> str:
        """Names the request in audit rows."""
        return self._started.request_id

    async def events(self) -> AsyncGenerator[Answered, None]:
        """Events as they come, the final one last. Deltas before a switch of providers are void. SeleneError."""
        if self._call is None:
            raise RuntimeError("use the reply inside `async with`")
        yield self._started
        while (response := await self._call.read()) is not None:
            event = event_of(response, _ANSWERED)
            if isinstance(event, v1.RespondFinal):
                self.final = event
            if event is not None:
                yield event
        if self.final is None:
            raise no_final()

    async def result(self) -> v1.RespondFinal:
        """Reads to the end: the packet, and how it came. SeleneError."""
        async for _ in self.events():
            pass
        assert self.final is not None  # `events` raises where there was none
        return self.final
