"""The delivery owner as it is served, with providers of the test's own, and who sends by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selene.delivery.v1 import service_pb2 as v1
from selene.delivery.v1 import service_pb2_grpc as delivery_grpc
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_SMS,
    Content,
    Delivery,
    DeliveryState,
    Intent,
    Recipient,
    TextContent,
)
from selene.routing.v1.routing_pb2 import DOMAIN_SMS, ProviderRoutingProfileV1

from servers.delivery.adapter import DeliveryAdapter
from servers.delivery.assembly import assemble
from servers.routing.defaults import ProviderSeed, default_profile
from servers.runtime.server import Runtime, Service
from tests.support.owners import Owners, serving

TENANT = "dev"
RULES = {"call_timeout_s": 2.0, "backoff_s": 0.05, "backoff_max_s": 1.0, "poll_every_s": 0.2, "clock_skew_s": 0.0}
DISPATCH = {"lease_s": 12.0, "poll_s": 0.05, "grace_s": 0.5}


def profile(*provider_refs: str, timeout_s: float = 1.5, kms_handle_ref: str = "") -> ProviderRoutingProfileV1:
    """These providers of SMS, in this order."""
    seeds = [
        ProviderSeed(provider_ref=ref, region="eu", timeout_s=timeout_s, kms_handle_ref=kms_handle_ref)
        for ref in provider_refs
    ]
    return default_profile(
        {DOMAIN_SMS: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="t-1"
    )


def text(name: str, said: str = "hello", *, recipient: str = "", **fields: Any) -> Intent:
    """A text to a recipient of its own."""
    return Intent(
        **{
            "tenant_id": TENANT,
            "message_id": name,
            "recipient": Recipient(recipient_id=recipient or f"r-{name}", address="+41446681800"),
            "channel": DELIVERY_CHANNEL_SMS,
            "content": Content(text=TextContent(text=said)),
            **fields,
        }
    )


class Post:
    """A running owner and a client of it."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        connection = owners.connection("delivery")
        self.stub = delivery_grpc.DeliveryServiceStub(connection.channel)

    async def send(self, intent: Intent) -> Delivery:
        """Take it on."""
        reply: v1.SendResponse = await self.stub.Send(v1.SendRequest(intent=intent), timeout=20)
        return reply.delivery

    async def get(self, delivery_id: str) -> Delivery:
        """As it stands."""
        reply: v1.GetResponse = await self.stub.Get(
            v1.GetRequest(tenant_id=TENANT, delivery_id=delivery_id), timeout=20
        )
        return reply.delivery

    async def until(self, delivery_id: str, *states: DeliveryState, within: float = 15.0) -> Delivery:
        """As it stands once it stands in one of these states."""
        deadline = time.monotonic() + within
        while True:
            delivery = await self.get(delivery_id)
            if delivery.state in states:
                return delivery
            assert time.monotonic() < deadline, f"it stands in {DeliveryState.Name(delivery.state)}: {delivery}"
            await asyncio.sleep(0.02)

    async def watched(self, count: int, *, after: int = 0, delivery_id: str = "") -> list[v1.WatchResponse]:
        """The next so many events."""
        call = self.stub.Watch(v1.WatchRequest(tenant_id=TENANT, delivery_id=delivery_id, after=after), timeout=20)
        events: list[v1.WatchResponse] = []
        async for event in call:
            events.append(event)
            if len(events) == count:
                break
        call.cancel()
        return events


@asynccontextmanager
async def posting(
    data_dir: Path,
    adapters: Sequence[DeliveryAdapter],
    *,
    flags: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
    dispatch: Mapping[str, Any] | None = None,
    beside: Sequence[str] = (),
    **serve: Any,
) -> AsyncIterator[Post]:
    """The owner with these providers, in this order, and other owners beside it."""
    by_ref = {adapter.provider_ref: adapter for adapter in adapters}

    async def build(runtime: Runtime) -> Sequence[Service]:
        return await assemble(runtime, adapters_of=lambda *_: by_ref)

    numbers = {f"owners.delivery.rules.{name}": value for name, value in {**RULES, **(rules or {})}.items()}
    numbers |= {f"owners.delivery.dispatch.{name}": value for name, value in {**DISPATCH, **(dispatch or {})}.items()}
    serve.setdefault("profile", profile(*by_ref))
    async with serving(
        ["delivery", *beside], data_dir, {**numbers, **(flags or {})}, builds={"delivery": build}, **serve
    ) as owners:
        yield Post(owners)
