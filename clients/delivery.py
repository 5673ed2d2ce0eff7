"""Delivery from the client's side: hand over what is to be sent, follow what becomes of it, settle what is UNKNOWN."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

import grpc
from selene.delivery.v1 import service_pb2 as wire
from selene.delivery.v1 import service_pb2_grpc as rpc
from selene_messages.selene.common.v1 import PageRequest
from selene_messages.selene.delivery import v1
from selene_messages.selene.routing.v1 import RoutingSubject

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.errors import SeleneError
from clients.following import follow
from clients.retry import RetryPolicy
from clients.routed import Answer, new_key
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_message, to_wire

LARGEST_BATCH: Final = 500
LARGEST_CALL_BYTES: Final = 4 * 1024 * 1024
"""Of the intents of one SendBatch: a server takes 16 MiB at once, and many such calls. A larger intent goes alone."""
FINAL: Final = frozenset(
    {
        v1.DeliveryState.SENT_ACKED,
        v1.DeliveryState.FAILED_DEFINITE,
        v1.DeliveryState.CANCELLED,
        v1.DeliveryState.EXPIRED,
    }
)
"""States that a delivery never leaves."""


class Deliveries:
    """The DeliveryService over one connection.

    `resolve` and `reconcile` need role `operator`. Every method raises SeleneError. What changes something is retried
    safely: an intent is its own key, and the rest takes an ``idempotency_key``, or makes one.
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
        self._stub = rpc.DeliveryServiceStub(connection.channel)

    async def send(self, intent: v1.Intent) -> v1.SendResponse:
        """Hand over a message; on return it is durable. The same intent again sends nothing more.

        An intent without tenant is this client's. INTENT_CONTENT_CHANGED where the message had other content before.
        """
        request = to_wire(v1.SendRequest(intent=self._own(intent)), wire.SendRequest)
        return await self._ask(self._stub.Send, request, v1.SendResponse)

    async def send_batch(self, intents: Iterable[v1.Intent]) -> list[v1.SendBatchItem]:
        """Hand over many: what became of each, in their order. Any number; each call takes what one may hold.

        Where a call fails, those before it are handed over; all of them may be handed over again.
        """
        items: list[v1.SendBatchItem] = []
        for some in _calls([self._own(intent) for intent in intents]):
            message = v1.SendBatchRequest(tenant_id=self.tenant_id, intents=some)
            request = to_wire(message, wire.SendBatchRequest)
            items += (await self._ask(self._stub.SendBatch, request, v1.SendBatchResponse)).items
        return items

    async def get(self, delivery_id: str) -> v1.Delivery:
        """A delivery as it stands."""
        request = wire.GetRequest(tenant_id=self.tenant_id, delivery_id=delivery_id)
        return (await self._ask(self._stub.Get, request, v1.GetResponse)).delivery or v1.Delivery()

    async def channels(
        self, subject: RoutingSubject, channel: v1.DeliveryChannel = v1.DeliveryChannel.UNSPECIFIED
    ) -> list[v1.ChannelStanding]:
        """Every channel, or the one, with its providers as they stand for somebody: what each lacks and promises."""
        request = to_wire(v1.ListChannelsRequest(subject=subject, channel=channel), wire.ListChannelsRequest)
        return (await self._ask(self._stub.ListChannels, request, v1.ListChannelsResponse)).channels

    async def list(
        self,
        *,
        state: v1.DeliveryState = v1.DeliveryState.UNSPECIFIED,
        channel: v1.DeliveryChannel = v1.DeliveryChannel.UNSPECIFIED,
        page_size: int = 100,
    ) -> AsyncGenerator[v1.Delivery, None]:
        """The tenant's deliveries in a state and over a channel, where these are set; latest first."""
        page_token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=page_token)
            message = v1.ListRequest(tenant_id=self.tenant_id, state=state, channel=channel, page=page)
            reply = await self._ask(self._stub.List, to_wire(message, wire.ListRequest), v1.ListResponse)
            for delivery in reply.deliveries:
                yield delivery
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def watch(
        self, delivery_id: str = "", *, after: int = 0, from_now: bool = False
    ) -> AsyncGenerator[v1.WatchResponse, None]:
        """Everything that happened after a cursor, then everything as it happens, of one delivery or of all; only what
        happens where it is ``from_now``.

        It goes on across dropped connections: nothing is missed and nothing told twice. A later watch goes on after the
        `cursor` of the last one that was seen. ValueError for ``after`` and ``from_now`` together.
        """
        if from_now and after:
            raise ValueError("a watch begins after a cursor or now, not both")
        cursor = None if from_now else after

        def begin(seconds: float) -> Answer:
            request = wire.WatchRequest(
                tenant_id=self.tenant_id, delivery_id=delivery_id, after=cursor or 0, from_now=cursor is None
            )
            return Answer(self._stub.Watch(request, timeout=seconds, metadata=self._connection.metadata()))

        async with aclosing(follow(begin, policy=self._policy)) as responses:
            async for response in responses:
                cursor = response.cursor
                if response.HasField("delivery"):
                    yield to_message(response, v1.WatchResponse)

    async def until_final(self, delivery_id: str) -> v1.Delivery:
        """The delivery, once nothing more becomes of it. UNKNOWN is not final: it is waited for."""
        delivery = await self.get(delivery_id)
        if delivery.state in FINAL:
            return delivery
        async for change in self.watch(delivery_id):
            if change.delivery is not None and change.delivery.state in FINAL:
                return change.delivery
        raise SeleneError(grpc.StatusCode.DATA_LOSS, "the watch ended")

    async def cancel(self, delivery_id: str, reason_code: str, *, idempotency_key: str = "") -> v1.CancelResponse:
        """Take a delivery back, and what came of that: it is CANCELLED, or a provider will be asked to take it back, or
        nothing more is sent and what has left is found out. DELIVERY_STATE_REFUSED where a provider is known to have
        it. ``reason_code`` is UPPER_SNAKE_CASE.
        """
        request = wire.CancelRequest(
            tenant_id=self.tenant_id,
            delivery_id=delivery_id,
            reason_code=reason_code,
            idempotency_key=idempotency_key or new_key(),
        )
        return await self._ask(self._stub.Cancel, request, v1.CancelResponse)

    async def resolve(
        self,
        delivery_id: str,
        resolution: v1.Resolution,
        reason_code: str,
        *,
        evidence_ref: str,
        idempotency_key: str = "",
    ) -> v1.Delivery:
        """Settle an UNKNOWN delivery: what is the case, how that is known (UPPER_SNAKE_CASE), where the evidence is."""
        message = v1.ResolveRequest(
            tenant_id=self.tenant_id,
            delivery_id=delivery_id,
            resolution=resolution,
            reason_code=reason_code,
            evidence_ref=evidence_ref,
            idempotency_key=idempotency_key or new_key(),
        )
        request = to_wire(message, wire.ResolveRequest)
        return (await self._ask(self._stub.Resolve, request, v1.ResolveResponse)).delivery or v1.Delivery()

    async def reconcile(self, delivery_id: str = "") -> int:
        """Have the providers asked now about an UNKNOWN delivery, or about all: about how many they will be."""
        request = wire.ReconcileRequest(tenant_id=self.tenant_id, delivery_id=delivery_id)
        return (await self._ask(self._stub.Reconcile, request, v1.ReconcileResponse)).due

    def _own(self, intent: v1.Intent) -> v1.Intent:
        return intent if intent.tenant_id else replace(intent, tenant_id=self.tenant_id)

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


def _calls(intents: list[v1.Intent]) -> Iterator[list[v1.Intent]]:
    """The intents, as many at a time as a call may hold."""
    some: list[v1.Intent] = []
    held = 0
    for intent in intents:
        size = len(bytes(intent))
        if some and (len(some) == LARGEST_BATCH or held + size > LARGEST_CALL_BYTES):
            yield some
            some, held = [], 0
        some.append(intent)
        held += size
    if some:
        yield some
