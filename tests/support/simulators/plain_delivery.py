"""A provider of messages with nothing of a vendor's own: one request a message, and its own ledger of what it took.

It stands where any adapter stands, over a real socket, so that the dispatcher is judged and no vendor's format is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

import aiohttp
from aiohttp import web
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_DELIVERY_CANCEL,
    CAPABILITY_DELIVERY_SEND,
    CAPABILITY_DELIVERY_STATUS,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    Capability,
    ProviderStatus,
)

from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Lookup, Message, Sent, Trace
from servers.routing.envelope import answered
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

KEYED = Declares(key_window_s=86_400.0)
FINDABLE = Declares(lookups=frozenset({Lookup.KEY}), absent_after_s=0.0)
BLIND = Declares()
TAKES_BACK = Declares(cancels=True)


class Act(Enum):
    """What the provider does with a request."""

    TAKE = auto()
    TAKE_AND_LOSE_REPLY = auto()
    """Takes it, and breaks the connection."""
    TAKE_AND_HANG = auto()
    """Takes it, and answers once it is let go on."""
    RESET = auto()
    """Breaks the connection without taking it."""
    BUSY = auto()
    DOWN = auto()
    RECIPIENT_INVALID = auto()
    CREDENTIAL = auto()


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the provider sent on. `again` says that it was one that it knew by its key, and sent nothing."""

    key: str
    request_id: str
    text: str
    again: bool


@dataclass(slots=True)
class Provider:
    """The simulator. `keyed`: whether a second request under a key is taken for the first."""

    keyed: bool = True
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """Keys, in the order in which they came."""
    ledger: list[Taken] = field(default_factory=list)
    taken_back: list[str] = field(default_factory=list)
    """Keys of the messages that went out to nobody after all."""
    script: deque[Act] = field(default_factory=deque)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def plan(self, *acts: Act) -> None:
        """What becomes of the requests to come; every one after the last is taken."""
        self.script.extend(acts)

    @property
    def accepted(self) -> list[str]:
        """Keys of the messages that went out to somebody, each as often as it did."""
        return [taken.key for taken in self.ledger if not taken.again]

    async def send(self, request: web.Request) -> web.StreamResponse:
        """POST /messages."""
        body = await request.json()
        key = body["key"]
        self.requests.append(key)
        self.came.set()
        act = self.script.popleft() if self.script else Act.TAKE
        match act:
            case Act.RESET:
                return _reset(request)
            case Act.BUSY:
                return web.json_response({}, status=429)
            case Act.DOWN:
                return web.json_response({}, status=503)
            case Act.RECIPIENT_INVALID:
                return web.json_response({}, status=400)
            case Act.CREDENTIAL:
                return web.json_response({}, status=401)
        again = self.keyed and key in self.accepted
        self.ledger.append(Taken(key, body["request_id"], body["text"], again))
        if act is Act.TAKE_AND_LOSE_REPLY:
            return _reset(request)
        if act is Act.TAKE_AND_HANG:
            await self.go_on.wait()
        return web.json_response({"id": f"m-{self.accepted.index(key) + 1}"})

    async def find(self, request: web.Request) -> web.StreamResponse:
        """GET /messages/{key}."""
        key = request.match_info["key"]
        if key in self.taken_back:
            return web.json_response({}, status=410)
        if key not in self.accepted:
            return web.json_response({}, status=404)
        return web.json_response({"id": f"m-{self.accepted.index(key) + 1}"})

    async def take_back(self, request: web.Request) -> web.StreamResponse:
        """DELETE /messages/{key}."""
        if request.match_info["key"] in self.accepted:
            self.taken_back.append(request.match_info["key"])
        return await self.find(request)


def _reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def provider(*, keyed: bool = True) -> AsyncIterator[Provider]:
    """A running provider."""
    simulator = Provider(keyed=keyed)
    app = web.Application()
    app.add_routes(
        [
            web.post("/messages", simulator.send),
            web.get("/messages/{key}", simulator.find),
            web.delete("/messages/{key}", simulator.take_back),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    simulator.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield simulator
    finally:
        simulator.go_on.set()
        await runner.cleanup()


class PlainAdapter:
    """See `servers.delivery.adapter.DeliveryAdapter`."""

    def __init__(self, provider_ref: str, url: str, declares: Declares, clock: Clock | None = None) -> None:
        self.provider_ref = provider_ref
        self.declares = declares
        self._url = url
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None

    def token(self, idempotency_key: str) -> str:
        return idempotency_key if self.declares.key_window_s is not None else ""

    async def send(self, message: Message, *, deadline: float) -> Sent:
        if self._clock.monotonic() >= deadline:
            return self._failed(message, Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
        body = {"key": message.idempotency_key, "request_id": message.request_id, "text": message.content.text}
        try:
            async with self._client().post(
                f"{self._url}/messages", json=body, timeout=aiohttp.ClientTimeout(self._left(deadline))
            ) as reply:
                status, said = reply.status, await reply.json()
        except aiohttp.ClientConnectorError:
            return self._failed(message, Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
        except (aiohttp.ClientError, TimeoutError):
            return self._failed(message, Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
        if status == 200:
            return self._done(message, said["id"], CAPABILITY_DELIVERY_SEND)
        reasons: dict[int, tuple[str, ProviderStatus]] = {
            400: (DeliveryReason.RECIPIENT_INVALID, PROVIDER_STATUS_TERMINAL_FAIL),
            401: (ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
            429: (ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
            503: (ProviderReason.PROVIDER_UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL),
        }
        reason, result = reasons[status]
        return self._failed(message, Certainty.REFUSED, reason, result)

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        if not self.declares.lookups:
            return self._failed(
                message, Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN, capability=CAPABILITY_DELIVERY_STATUS
            )
        return await self._asked(message, "GET", CAPABILITY_DELIVERY_STATUS, deadline)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        if not self.declares.cancels:
            return self._failed(
                message, Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN, capability=CAPABILITY_DELIVERY_CANCEL
            )
        return await self._asked(message, "DELETE", CAPABILITY_DELIVERY_CANCEL, deadline)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _asked(self, message: Message, method: str, about: Capability, deadline: float) -> Sent:
        url, timeout = f"{self._url}/messages/{message.idempotency_key}", aiohttp.ClientTimeout(self._left(deadline))
        try:
            async with self._client().request(method, url, timeout=timeout) as reply:
                if reply.status == 410:
                    return self._failed(message, Certainty.REFUSED, DeliveryReason.CANCELLED, capability=about)
                if reply.status == 404:
                    return self._failed(message, Certainty.REFUSED, DeliveryReason.NOT_FOUND, capability=about)
                return self._done(message, (await reply.json())["id"], about)
        except (aiohttp.ClientError, TimeoutError):
            return self._failed(message, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE, capability=about)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    def _left(self, deadline: float) -> float:
        return max(0.001, deadline - self._clock.monotonic())

    def _done(self, message: Message, message_id: str, capability: Capability) -> Sent:
        result = answered(
            message,
            provider_ref=self.provider_ref,
            capability=capability,
            status=PROVIDER_STATUS_OK,
            reason_code=DeliveryReason.ACCEPTED,
        )
        return Sent(
            certainty=Certainty.ACCEPTED,
            result=result,
            provider_message_id=message_id,
            provider_ack_ref=message_id,
        )

    def _failed(
        self,
        message: Message,
        certainty: Certainty,
        reason: str,
        status: ProviderStatus = PROVIDER_STATUS_RETRYABLE_FAIL,
        *,
        capability: Capability = CAPABILITY_DELIVERY_SEND,
    ) -> Sent:
        result = answered(
            message, provider_ref=self.provider_ref, capability=capability, status=status, reason_code=reason
        )
        return Sent(certainty=certainty, result=result)
