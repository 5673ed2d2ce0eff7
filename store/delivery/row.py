"""The values that the delivery rooms take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_PRIORITY_BULK,
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_PRIORITY_URGENT,
    DELIVERY_STATE_UNKNOWN,
)
from sqlalchemy import Row, select

from store.schema import deliveries

PRIORITIES = (DELIVERY_PRIORITY_URGENT, DELIVERY_PRIORITY_NORMAL, DELIVERY_PRIORITY_BULK)
"""Every priority that a row can have, the first to go first."""

UNKNOWN = DELIVERY_STATE_UNKNOWN

INTENT_PURPOSE = "delivery.intent"


def subject_of(recipient_id: str) -> str:
    """The vault's subject of a recipient; its key seals every intent for them. Not the user's key of other owners."""
    return f"delivery:{recipient_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery to take on. Its identity is (tenant, message, recipient, channel, simulation).

    `delivery_id`: 64 hexadecimal digits. `state`, `channel`, `priority`: numbers of the contract's enums; the priority
    is set. `due_at`: when something happens next by itself; None for never. `recipient_lock`: deliveries of a tenant
    with the same one are never leased together. `provider_account` may be empty. `body`: the machine's value, JSON,
    without personal data. `intent`: address and content; sealed under the recipient's key.
    """

    tenant_id: str
    delivery_id: str
    message_id: str
    recipient_id: str
    channel: int
    simulation_id: str
    payload_hash: bytes
    state: int
    priority: int
    due_at: datetime | None
    expires_at: datetime
    recipient_lock: str
    provider_account: str = ""
    body: Mapping[str, Any]
    intent: bytes = field(repr=False)

    @property
    def identity(self) -> tuple[str, str, str, int, str]:
        """What makes another intent the same one."""
        return (self.tenant_id, self.message_id, self.recipient_id, self.channel, self.simulation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery as it stands, without its intent. `revision` counts its changes from 1, `fence` its leases from 0.

    `holder` and `lease_until` are set while it is leased, also when the lease is over and nobody has taken it since.
    """

    tenant_id: str
    delivery_id: str
    message_id: str
    recipient_id: str
    channel: int
    simulation_id: str
    payload_hash: bytes
    state: int
    priority: int
    due_at: datetime | None
    expires_at: datetime
    recipient_lock: str
    provider_account: str
    revision: int
    fence: int
    holder: str
    lease_until: datetime | None
    body: Mapping[str, Any]
    accepted_at: datetime
    updated_at: datetime

    @property
    def identity(self) -> tuple[str, str, str, int, str]:
        """What makes another intent the same one."""
        return (self.tenant_id, self.message_id, self.recipient_id, self.channel, self.simulation_id)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The delivery is there. `repeated`: it had been before, and nothing was written."""

    row: Delivery
    repeated: bool


@dataclass(frozen=True, slots=True)
class ContentChanged:
    """The identity was used before, with another payload hash: nothing was written. `row` is that earlier delivery."""

    row: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a delivery becomes. `provider_account` None leaves it; `releases` ends the lease, else it goes on."""

    tenant_id: str
    delivery_id: str
    state: int
    due_at: datetime | None
    body: Mapping[str, Any]
    provider_account: str | None = None
    releases: bool = False


@dataclass(frozen=True, slots=True)
class Swap:
    """A change that is made where the delivery still has this revision and this fence."""

    change: Change
    revision: int
    fence: int


@dataclass(frozen=True, slots=True)
class Event:
    """A change: `delivery` as it was right after it, without its lease (fence 0, no holder). Cursors count from 1."""

    cursor: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class ProviderId:
    """What a provider calls a delivery. `kind` says what it is: a message id, a request id, a token."""

    provider_ref: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How many of a tenant's deliveries over this channel are in this state."""

    channel: int
    state: int
    count: int


@dataclass(frozen=True, slots=True)
class Depth:
    """A channel's queue, without UNKNOWN: how many can be leased now, how many later (or are leased), and since when
    the oldest of the first has waited."""

    channel: int
    due: int
    later: int
    oldest_due_at: datetime | None


# `ready_at` is the queues' own.
COLUMNS = tuple(column for column in deliveries.c if column.name != "ready_at")
ROW = select(*COLUMNS)


def delivery(row: Row[Any]) -> Delivery:
    """A row of `COLUMNS` as a value."""
    values = {column.name: getattr(row, column.name) for column in COLUMNS}
    return Delivery(**{**values, "payload_hash": bytes(row.payload_hash)})
