"""Taking deliveries on (DLV-1): an intent becomes a row, its event and its audit row, those of one moment together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_PRIORITY_NORMAL,
    DeliveryChannel,
    Intent,
)

from servers.delivery import ENGINE_ID
from servers.delivery.identity import delivery_idem, payload_hash, recipient_lock
from servers.delivery.keeping import hashes_of
from servers.delivery.kept import kept
from servers.delivery.machine import DEFAULT_LIFE_S, Delivery, accepted
from servers.delivery.schedule import instant
from servers.runtime.auth import Principal
from servers.runtime.batches import Batches
from store import Store, Transaction
from store.delivery import Accepted, ContentChanged, NewDelivery

AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An intent that passed the gates, from whom and in which turn. `gates` is what they said."""

    intent: Intent = field(repr=False)
    delivery: Delivery
    payload: bytes
    caller: Principal
    turn: TurnRef
    gates: Mapping[str, str]


def delivery_id_of(intent: Intent) -> tuple[str, bytes]:
    """`delivery_idem` of §25, and the payload hash in it."""
    payload = payload_hash(intent.content, intent.recipient.address, intent.sender)
    channel = intent.channel
    named = (intent.tenant_id, intent.message_id, intent.recipient.recipient_id)
    return delivery_idem(*named, channel, payload, intent.simulation_id), payload


def channel_name(channel: DeliveryChannel) -> str:
    """Such as `SMS`."""
    return DeliveryChannel.Name(channel).removeprefix("DELIVERY_CHANNEL_")


def new_delivery(intent: Intent, delivery_id: str, now: float) -> Delivery:
    """The machine's value of an intent that is taken on now."""
    not_before = intent.not_before.ToNanoseconds() / 1e9 if intent.HasField("not_before") else None
    start = now if not_before is None else max(now, not_before)
    ends = intent.expires_at.ToNanoseconds() / 1e9 if intent.HasField("expires_at") else start + DEFAULT_LIFE_S
    return accepted(
        delivery_id=delivery_id,
        tenant_id=intent.tenant_id,
        message_id=intent.message_id,
        recipient_id=intent.recipient.recipient_id,
        channel=intent.channel,
        now=now,
        priority=intent.priority or DELIVERY_PRIORITY_NORMAL,
        time_zone=intent.recipient.time_zone,
        not_before=not_before,
        expires_at=ends,
    )


class Acceptor:
    """Takes on; the outcome is there once it is durable."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._offers: Batches[Offer, Accepted | ContentChanged] = Batches(self._write, AT_ONCE)

    async def take_on(self, offer: Offer) -> Accepted | ContentChanged:
        """StoreError."""
        return await self._offers.put(offer)

    async def _write(self, offers: Sequence[Offer]) -> Sequence[Accepted | ContentChanged]:
        return await self._store.perform(partial(_accept, offers))


async def _accept(offers: Sequence[Offer], tx: Transaction) -> Sequence[Accepted | ContentChanged]:
    outcomes = await tx.delivery.accept([_row(offer) for offer in offers])
    actors: dict[tuple[str, str], str] = {}
    for offer, outcome in zip(offers, outcomes, strict=True):
        if not isinstance(outcome, Accepted) or outcome.repeated:
            continue
        who = (offer.caller.tenant_id, offer.caller.subject)
        if who not in actors:
            actors[who] = (await tx.vault.commitment(*who, b"actor")).hex()
        tx.audit(
            tenant_id=offer.delivery.tenant_id,
            owner=ENGINE_ID,
            actor=actors[who],
            transition="delivery.accepted",
            reason_code=offer.delivery.reason,
            turn=offer.turn,
            idempotency_key=offer.delivery.delivery_id,
            hashes={**hashes_of(offer.delivery), "payload": offer.payload},
            facts={
                "channel": DeliveryChannel.Name(offer.delivery.channel).removeprefix("DELIVERY_CHANNEL_"),
                **offer.gates,
            },
        )
    return outcomes


def _row(offer: Offer) -> NewDelivery:
    delivery = offer.delivery
    return NewDelivery(
        tenant_id=delivery.tenant_id,
        delivery_id=delivery.delivery_id,
        message_id=delivery.message_id,
        recipient_id=delivery.recipient_id,
        channel=delivery.channel,
        simulation_id=offer.intent.simulation_id,
        payload_hash=offer.payload,
        state=delivery.state,
        priority=delivery.priority,
        due_at=None if delivery.due_at is None else instant(delivery.due_at),
        expires_at=instant(delivery.expires_at),
        recipient_lock=recipient_lock(delivery.tenant_id, delivery.recipient_id),
        body=kept(delivery),
        intent=offer.intent.SerializeToString(deterministic=True),
    )
