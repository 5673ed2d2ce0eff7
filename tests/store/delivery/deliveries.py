"""Deliveries for the tests of this folder."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from selene.delivery.v1 import delivery_pb2 as contract

from store import Store
from store.delivery import Accepted, Change, ContentChanged, Delivery, NewDelivery
from tests.support.stores import audit

DAY = timedelta(days=1)
LEASE = timedelta(seconds=30)
TICK = timedelta(microseconds=1)


def delivery_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def intent(name: str, now: datetime, **changes: Any) -> NewDelivery:
    """A text to a recipient of its own, due at once."""
    values: dict[str, Any] = {
        "tenant_id": "t1",
        "delivery_id": delivery_id(name),
        "message_id": name,
        "recipient_id": f"r-{name}",
        "channel": contract.DELIVERY_CHANNEL_SMS,
        "simulation_id": "",
        "payload_hash": hashlib.sha256(b"hello").digest(),
        "state": contract.DELIVERY_STATE_ACCEPTED,
        "priority": contract.DELIVERY_PRIORITY_NORMAL,
        "due_at": now,
        "expires_at": now + DAY,
        "recipient_lock": f"r-{name}/1",
        "body": {"reason": "NEW"},
        "intent": b"hello",
    }
    return NewDelivery(**{**values, **changes})


async def accept(store: Store, *rows: NewDelivery) -> list[Accepted | ContentChanged]:
    async with store.transaction() as tx:
        outcomes = await tx.delivery.accept(rows)
        audit(tx)
    return outcomes


async def lease(
    store: Store,
    now: datetime,
    *,
    limit: int = 10,
    holder: str = "d1",
    channels: Collection[int] = (),
    states: Collection[int] = (),
) -> list[Delivery]:
    async with store.transaction() as tx:
        leased = await tx.delivery.lease_due(
            now, holder=holder, until=now + LEASE, limit=limit, channels=channels, states=states
        )
        audit(tx)
    return leased


def change(row: Delivery, state: int, **changes: Any) -> Change:
    values: dict[str, Any] = {"state": state, "due_at": None, "body": {"reason": "CHANGED"}}
    return Change(tenant_id=row.tenant_id, delivery_id=row.delivery_id, **{**values, **changes})


async def swap(store: Store, row: Delivery, state: int, **changes: Any) -> bool:
    """From the row as it was read."""
    async with store.transaction() as tx:
        done = await tx.delivery.swap(change(row, state, **changes), revision=row.revision, fence=row.fence)
        audit(tx)
    return done
