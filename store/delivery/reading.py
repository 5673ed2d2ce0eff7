"""Reading deliveries, what happened to them, and their queues."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import product
from typing import Any

from sqlalchemy import Row, Select, Text, and_, bindparam, case, func, literal_column, select, tuple_

from store.access import Reads
from store.delivery.row import (
    COLUMNS,
    INTENT_PURPOSE,
    ROW,
    UNKNOWN,
    Delivery,
    Depth,
    Event,
    Standing,
    delivery,
    subject_of,
)
from store.errors import KeyDestroyed, NotFound, StoreError
from store.schema import (
    Instant,
    deliveries,
    delivery_cursors,
    delivery_events,
    delivery_ids,
    delivery_intents,
    subject_keys,
)
from store.vault import VaultReader

# Not a bound value: only then is the partial index used.
IS_UNKNOWN = deliveries.c.state == literal_column(str(UNKNOWN))
NOT_UNKNOWN = deliveries.c.state != literal_column(str(UNKNOWN))

_THIS = (deliveries.c.tenant_id == bindparam("tenant"), deliveries.c.delivery_id == bindparam("delivery"))
_GET = ROW.where(*_THIS)
INTENTS = (
    select(delivery_intents.c.delivery_id, delivery_intents.c.sealed, deliveries.c.recipient_id, subject_keys)
    .select_from(deliveries)
    .join(
        delivery_intents,
        and_(
            delivery_intents.c.tenant_id == deliveries.c.tenant_id,
            delivery_intents.c.delivery_id == deliveries.c.delivery_id,
        ),
    )
    .outerjoin(
        subject_keys,
        and_(
            subject_keys.c.tenant_id == deliveries.c.tenant_id,
            subject_keys.c.subject_id == literal_column(f"'{subject_of('')}'") + deliveries.c.recipient_id,
        ),
    )
    .where(
        deliveries.c.tenant_id == bindparam("tenant"),
        deliveries.c.delivery_id.in_(bindparam("chosen", expanding=True)),
    )
)
INTENT_SIZES = select(delivery_intents.c.delivery_id, func.length(delivery_intents.c.sealed).label("bytes")).where(
    delivery_intents.c.tenant_id == bindparam("tenant"),
    delivery_intents.c.delivery_id.in_(bindparam("chosen", expanding=True)),
)
_TENANTS = select(delivery_cursors.c.tenant_id).order_by(delivery_cursors.c.tenant_id)
_CURSOR = select(delivery_cursors.c.cursor).where(delivery_cursors.c.tenant_id == bindparam("tenant"))
_AS_IT_WAS = {
    "state": delivery_events.c.state,
    "due_at": delivery_events.c.due_at,
    "provider_account": delivery_events.c.provider_account,
    "revision": delivery_events.c.revision,
    "fence": literal_column("0").label("fence"),
    "holder": literal_column("''").label("holder"),
    "lease_until": literal_column("NULL").label("lease_until"),
    "body": delivery_events.c.body,
    "updated_at": delivery_events.c.at.label("updated_at"),
}
EVENTS = (
    select(*(_AS_IT_WAS.get(column.name, column) for column in COLUMNS), delivery_events.c.cursor)
    .join(
        deliveries,
        and_(
            deliveries.c.tenant_id == delivery_events.c.tenant_id,
            deliveries.c.delivery_id == delivery_events.c.delivery_id,
        ),
    )
    .where(delivery_events.c.tenant_id == bindparam("tenant"), delivery_events.c.cursor > bindparam("after"))
    .order_by(delivery_events.c.cursor)
    .limit(bindparam("at_most"))
)
EVENTS_OF_ONE = EVENTS.where(delivery_events.c.delivery_id == bindparam("delivery"))
BY_PROVIDER_ID = (
    ROW.join(
        delivery_ids,
        and_(
            delivery_ids.c.tenant_id == deliveries.c.tenant_id,
            delivery_ids.c.delivery_id == deliveries.c.delivery_id,
        ),
    )
    .where(
        delivery_ids.c.provider_ref == bindparam("provider"),
        delivery_ids.c.kind == bindparam("of_kind"),
        delivery_ids.c.value == bindparam("id"),
    )
    .limit(2)
)
STANDING = (
    select(deliveries.c.channel, deliveries.c.state, func.count().label("many"))
    .where(deliveries.c.tenant_id == bindparam("tenant"))
    .group_by(deliveries.c.state, deliveries.c.channel)
    .order_by(deliveries.c.channel, deliveries.c.state)
)
_READY = case((deliveries.c.ready_at <= bindparam("now"), 1), else_=0)
DEPTH = (
    select(
        deliveries.c.channel,
        func.sum(_READY).label("due"),
        func.count().label("all"),
        func.min(deliveries.c.ready_at).label("oldest"),
    )
    .where(NOT_UNKNOWN, deliveries.c.ready_at.is_not(None))
    .group_by(deliveries.c.channel)
    .order_by(deliveries.c.channel)
)


def _pages() -> dict[tuple[bool, ...], Select[Any]]:
    """A statement for each choice of filters: in a state, over a channel, from a place on."""
    table = deliveries.c
    of_state = table.state == bindparam("in_state")
    of_channel = table.channel == bindparam("over")
    earlier = tuple_(table.accepted_at, table.delivery_id) < tuple_(
        bindparam("before_at", type_=Instant), bindparam("before_id", type_=Text)
    )
    pages: dict[tuple[bool, ...], Select[Any]] = {}
    for chosen in product((False, True), repeat=3):
        where = [one for one, wanted in zip((of_state, of_channel, earlier), chosen, strict=True) if wanted]
        page = ROW.where(table.tenant_id == bindparam("tenant"), *where)
        ordered = page.order_by(table.accepted_at.desc(), table.delivery_id.desc())
        pages[chosen] = ordered.limit(bindparam("at_most"))
    return pages


PAGES = _pages()


class DeliveryReader:
    """The reading side. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

    async def get(self, tenant_id: str, delivery_id: str) -> Delivery | None:
        """A delivery as it stands; None where there is none."""
        rows = await self._reads.rows(_GET, {"tenant": tenant_id, "delivery": delivery_id})
        return delivery(rows[0]) if rows else None

    async def page(
        self,
        tenant_id: str,
        *,
        limit: int = 100,
        state: int = 0,
        channel: int = 0,
        before: tuple[datetime, str] | None = None,
    ) -> list[Delivery]:
        """Up to `limit` of a tenant's deliveries, latest accepted first; a state or channel of 0 means all.

        `before`: `accepted_at` and `delivery_id` of the last of the page before.
        """
        values: dict[str, Any] = {"tenant": tenant_id, "at_most": limit}
        if state:
            values["in_state"] = state
        if channel:
            values["over"] = channel
        if before is not None:
            values["before_at"], values["before_id"] = before
        rows = await self._reads.rows(PAGES[bool(state), bool(channel), before is not None], values)
        return [delivery(row) for row in rows]

    async def tenants(self) -> list[str]:
        """Every tenant that ever had a delivery."""
        return [row.tenant_id for row in await self._reads.rows(_TENANTS, {})]

    async def cursor(self, tenant_id: str) -> int:
        """The cursor of the tenant's last event; 0 before the first."""
        rows = await self._reads.rows(_CURSOR, {"tenant": tenant_id})
        return int(rows[0].cursor) if rows else 0

    async def events(self, tenant_id: str, *, after: int = 0, limit: int = 100, delivery_id: str = "") -> list[Event]:
        """Up to `limit` events with a cursor above `after`, in their order; of one delivery, or of all.

        No event appears later below a cursor that was seen: a tenant's events commit in the order of their cursors,
        without gaps.
        """
        values: dict[str, Any] = {"tenant": tenant_id, "after": after, "at_most": limit}
        if delivery_id:
            rows = await self._reads.rows(EVENTS_OF_ONE, {**values, "delivery": delivery_id})
        else:
            rows = await self._reads.rows(EVENTS, values)
        return [_event(row) for row in rows]

    async def by_provider_id(self, provider_ref: str, kind: str, value: str) -> Delivery | None:
        """The delivery that a provider means by an id; None where it was noted for none, or for several."""
        which = {"provider": provider_ref, "of_kind": kind, "id": value}
        rows = await self._reads.rows(BY_PROVIDER_ID, which)
        return delivery(rows[0]) if len(rows) == 1 else None

    async def stats(self, tenant_id: str) -> list[Standing]:
        """How many deliveries of a tenant there are, by channel and state; none of 0."""
        rows = await self._reads.rows(STANDING, {"tenant": tenant_id})
        return [Standing(row.channel, row.state, row.many) for row in rows]

    async def queue_depth(self, now: datetime) -> list[Depth]:
        """What waits for a dispatcher, by channel; none of 0. Takes as long as the queue is: some 0.1 µs a row."""
        rows = await self._reads.rows(DEPTH, {"now": now})
        return [
            Depth(row.channel, int(row.due), row.all - int(row.due), row.oldest if row.due else None) for row in rows
        ]

    async def open(self, tenant_id: str, delivery_id: str) -> bytes:
        """The intent of a delivery, as `accept` was given it. Personal data: never logged, never kept.

        NotFound; KeyDestroyed where the recipient was erased; WrongMasterKey, SealBroken.
        """
        (intent,) = await self.open_all(tenant_id, [delivery_id])
        if isinstance(intent, StoreError):
            raise intent
        return intent

    async def open_all(self, tenant_id: str, delivery_ids: Sequence[str]) -> list[bytes | StoreError]:
        """`open` for deliveries of one tenant in one statement: of each its intent, or what `open` would raise."""
        if not delivery_ids:
            return []
        rows = await self._reads.rows(INTENTS, {"tenant": tenant_id, "chosen": _padded(sorted(set(delivery_ids)))})
        found = {row.delivery_id: row for row in rows}
        return [self._opened(tenant_id, found.get(each)) for each in delivery_ids]

    async def intent_sizes(self, tenant_id: str, delivery_ids: Sequence[str]) -> dict[str, int]:
        """How many bytes `open_all` would open of each, sealed; nothing is opened."""
        if not delivery_ids:
            return {}
        values = {"tenant": tenant_id, "chosen": _padded(sorted(set(delivery_ids)))}
        return {row.delivery_id: row.bytes for row in await self._reads.rows(INTENT_SIZES, values)}

    def _opened(self, tenant_id: str, row: Row[Any] | None) -> bytes | StoreError:
        try:
            if row is None:
                raise NotFound("no such delivery")
            if row.key_id is None:
                raise KeyDestroyed("the recipient was erased")
            key = self._opener.unwrapped(tenant_id, subject_of(row.recipient_id), row)
            return key.open(INTENT_PURPOSE, bytes(row.sealed))
        except StoreError as error:
            return error


def _padded(names: Sequence[str]) -> list[str]:
    """To a power of two, so that few statements have to be prepared for any number of them."""
    missing = (1 << (len(names) - 1).bit_length()) - len(names)
    return [*names, *([names[-1]] * missing)]


def _event(row: Row[Any]) -> Event:
    return Event(row.cursor, delivery(row))
