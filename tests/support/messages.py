"""Messages for the adapters of delivery, and what every result of theirs has to be."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from selene.delivery.v1.delivery_pb2 import DELIVERY_CHANNEL_SMS, DELIVERY_CHANNEL_WHATSAPP
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_SEND, Capability

from servers.delivery.adapter import Certainty, Content, DeliveryAdapter, Message, Recipient, Sent, Trace
from servers.routing.envelope import Asked, check

NUMBER = "+447700900123"
TEXT = "Your table is ready: Zürich, 19:30 🕛"
KEY = "5e" * 32
SENT_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def message(number: str = NUMBER, *, channel: str = "sms", key: str = KEY, **more: Any) -> Message:
    """One with `TEXT` in it, unless told otherwise."""
    return Message(
        **{
            "tenant_id": "t-1",
            "request_id": "req-1",
            "idempotency_key": key,
            "channel": DELIVERY_CHANNEL_SMS if channel == "sms" else DELIVERY_CHANNEL_WHATSAPP,
            "recipient": Recipient("person-1", number),
            "content": Content(text=TEXT),
            **more,
        }
    )


def trace(**known: Any) -> Trace:
    """What is known of an attempt."""
    return Trace(**{"idempotency_key": KEY, "request_id": "req-1", "sent_at": SENT_AT, **known})


async def send(adapter: DeliveryAdapter, sent: Message | None = None, within_s: float = 10.0) -> Sent:
    """What came of it, checked as the dispatcher does."""
    asked = sent or message()
    return checked(adapter, asked, await adapter.send(asked, deadline=time.monotonic() + within_s))


async def find(adapter: DeliveryAdapter, known: Trace, capability: Capability, within_s: float = 10.0) -> Sent:
    """What a look-up said."""
    return checked(
        adapter, message(), await adapter.find(message(), known, deadline=time.monotonic() + within_s), capability
    )


def checked(
    adapter: DeliveryAdapter, asked: Message, sent: Sent, capability: Capability = CAPABILITY_DELIVERY_SEND
) -> Sent:
    """The same, once its result is sound and its acknowledgement fits its certainty."""
    wanted = Asked(
        tenant_id=asked.tenant_id,
        provider_ref=adapter.provider_ref,
        capability=capability,
        request_id=asked.request_id,
        idempotency_key=asked.idempotency_key,
    )
    assert check(sent.result, wanted) is sent.result
    assert bool(sent.provider_ack_ref) == (sent.certainty is Certainty.ACCEPTED)
    return sent
