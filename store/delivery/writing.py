"""Writing deliveries inside a transaction; the caller audits."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from selene.delivery.v1.delivery_pb2 import DeliveryChannel
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Integer,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import TypeEngine

from store.access import Writes, for_dialects
from store.delivery.reading import IS_UNKNOWN, NOT_UNKNOWN, DeliveryReader
from store.delivery.row import (
    COLUMNS,
    INTENT_PURPOSE,
    PRIORITIES,
    ROW,
    UNKNOWN,
    Accepted,
    Change,
    ContentChanged,
    Delivery,
    NewDelivery,
    ProviderId,
    Swap,
    delivery,
    subject_of,
)
from store.errors import Conflict
from store.schema import (
    deliveries,
    delivery_cursors,
    delivery_events,
    delivery_ids,
    delivery_intents,
    delivery_locks,
    delivery_rates,
    delivery_webhooks,
    micros,
)
from store.vault import Vault

AT_MOST = 1000
"""Rows of one `accept` or `lease_due`: what one statement binds of them stays below every database's limit."""

CHANNELS = tuple(number for number in DeliveryChannel.values() if number)

Identity = tuple[str, str, str, int, str]

_IDENTITY = ("tenant_id", "message_id", "recipient_id", "channel", "simulation_id")


def _same_as(wanted: Any) -> Select[Any]:
    return ROW.join(wanted, and_(*(deliveries.c[name] == wanted.c[name] for name in _IDENTITY)))


def _same_on_sqlite() -> Select[Any]:
    each = func.json_each(bindparam("identities", type_=JSON)).table_valued("value")
    part = func.json_extract
    parts = (part(each.c.value, f"$.{name}").label(name) for name in _IDENTITY)
    return _same_as(select(*parts).subquery("wanted"))


def _same_on_postgresql() -> Select[Any]:
    columns = (column(name, deliveries.c[name].type) for name in _IDENTITY)
    each = func.json_to_recordset(cast(bindparam("identities", type_=JSON), JSON)).table_valued(*columns, name="wanted")
    return _same_as(each.render_derived(with_types=True))


# The identities in one value: no statement to be made for their number, and each is looked up by the index.
SAME = {"sqlite": _same_on_sqlite(), "postgresql": _same_on_postgresql()}
_ACCEPT = for_dialects(
    lambda insert: (
        insert(deliveries).on_conflict_do_nothing().returning(deliveries.c.tenant_id, deliveries.c.delivery_id)
    )
)
_KEEP_INTENT = for_dialects(lambda insert: insert(delivery_intents))
_NOTE_ID = for_dialects(lambda insert: insert(delivery_ids).on_conflict_do_nothing())
_NOTE_WEBHOOK = for_dialects(lambda insert: insert(delivery_webhooks).on_conflict_do_nothing())
_BEGIN_RATE = for_dialects(lambda insert: insert(delivery_rates).values(body={}).on_conflict_do_nothing())
_THIS_RATE = delivery_rates.c.provider_ref == bindparam("provider")
_LOCK_RATE = select(delivery_rates.c.body).where(_THIS_RATE).with_for_update()
_KEEP_RATE = update(delivery_rates).where(_THIS_RATE).values(body=bindparam("new_body"))
_NOTE_EVENT = for_dialects(lambda insert: insert(delivery_events))

_NEXT_CURSOR = for_dialects(
    lambda insert: (
        insert(delivery_cursors)
        .values(tenant_id=bindparam("tenant"), cursor=bindparam("more"))
        .on_conflict_do_update(
            index_elements=[delivery_cursors.c.tenant_id],
            set_={"cursor": delivery_cursors.c.cursor + bindparam("more")},
        )
        .returning(delivery_cursors.c.cursor)
    )
)

# Counted, and compared by "not": PostgreSQL takes any other form for one that few rows pass, and sorts the whole queue.
_OTHER_HOLDERS = (
    select(func.count())
    .select_from(delivery_locks)
    .where(
        delivery_locks.c.tenant_id == deliveries.c.tenant_id,
        delivery_locks.c.recipient_lock == deliveries.c.recipient_lock,
        delivery_locks.c.delivery_id != deliveries.c.delivery_id,
    )
    .scalar_subquery()
)
_FOUND = (
    select(*COLUMNS, deliveries.c.ready_at)
    .where(
        deliveries.c.ready_at <= bindparam("now"),
        _OTHER_HOLDERS != 1,
    )
    .order_by(deliveries.c.ready_at)
    .limit(bindparam("at_most"))
    # SQLite, with its single writer, has no such clause.
    .with_for_update(skip_locked=True, of=deliveries)
)


def _waits(channel: int, priority: int) -> Select[int, int]:
    of_channel, of_priority = literal_column(str(channel), Integer), literal_column(str(priority), Integer)
    queue = (deliveries.c.channel == of_channel, deliveries.c.priority == of_priority)
    # The first, in place of whether there is one: PostgreSQL would look for any row of a queue that it takes for long.
    first = (
        select(deliveries.c.ready_at)
        .where(NOT_UNKNOWN, *queue, deliveries.c.ready_at <= bindparam("now"))
        .order_by(deliveries.c.ready_at)
        .limit(1)
        .scalar_subquery()
    )
    return select(of_channel.label("channel"), of_priority.label("priority")).where(first.is_not(None))


# Of which channels and priorities something is due: to look into each queue is a statement.
WAITING = union_all(*(_waits(channel, priority) for channel in CHANNELS for priority in PRIORITIES))
_OF_STATES = deliveries.c.state.in_(bindparam("in_states", expanding=True))
DUE = _FOUND.where(
    NOT_UNKNOWN, deliveries.c.channel == bindparam("over"), deliveries.c.priority == bindparam("at_priority")
)
DUE_OF_STATES = DUE.where(_OF_STATES)
DUE_UNKNOWN = _FOUND.where(IS_UNKNOWN, deliveries.c.channel.in_(bindparam("over", expanding=True)))

LEASE = (
    update(deliveries)
    .where(deliveries.c.tenant_id == bindparam("tenant"), deliveries.c.delivery_id == bindparam("delivery"))
    .values(
        fence=deliveries.c.fence + 1,
        holder=bindparam("new_holder"),
        lease_until=bindparam("until"),
        ready_at=bindparam("until"),
    )
)


def _locking(insert: Any) -> Any:
    """Take locks, also those that the same delivery has already: returned are those that were got."""
    made = insert(delivery_locks)
    return made.on_conflict_do_update(
        index_elements=[delivery_locks.c.tenant_id, delivery_locks.c.recipient_lock],
        set_={"delivery_id": made.excluded.delivery_id},
        where=delivery_locks.c.delivery_id == made.excluded.delivery_id,
    ).returning(delivery_locks.c.tenant_id, delivery_locks.c.delivery_id)


_LOCK = for_dialects(_locking)
_UNLOCK = delete(delivery_locks).where(
    delivery_locks.c.tenant_id == bindparam("tenant"),
    delivery_locks.c.recipient_lock == bindparam("lock"),
    delivery_locks.c.delivery_id == bindparam("delivery"),
)

# What deliveries are to become, in one value for any number of them. A body goes as text: it stays as it was written.
_SWAPS: Mapping[str, TypeEngine[Any]] = {
    "tenant_id": Text(),
    "delivery_id": Text(),
    "fence": BigInteger(),
    "revision": BigInteger(),
    "state": Integer(),
    "due_at": BigInteger(),
    "account": Text(),
    "body": Text(),
    "releases": Boolean(),
}


def _becoming(wanted: Any, body: Any) -> ReturningUpdate[Any]:
    ended = or_(wanted.c.releases, deliveries.c.lease_until.is_(None))
    return (
        update(deliveries)
        .where(
            *(deliveries.c[name] == wanted.c[name] for name in ("tenant_id", "delivery_id", "fence", "revision")),
        )
        .values(
            revision=deliveries.c.revision + 1,
            state=wanted.c.state,
            due_at=wanted.c.due_at,
            provider_account=func.coalesce(wanted.c.account, deliveries.c.provider_account),
            body=body,
            updated_at=bindparam("now"),
            holder=case((wanted.c.releases, ""), else_=deliveries.c.holder),
            lease_until=case((wanted.c.releases, null()), else_=deliveries.c.lease_until),
            ready_at=case((ended, wanted.c.due_at), else_=deliveries.c.ready_at),
        )
        .returning(
            deliveries.c.tenant_id, deliveries.c.delivery_id, deliveries.c.recipient_lock, deliveries.c.provider_account
        )
    )


def _swap_on_sqlite() -> ReturningUpdate[Any]:
    each = func.json_each(bindparam("swaps", type_=JSON)).table_valued("value")
    parts = (type_coerce(func.json_extract(each.c.value, f"$.{name}"), of).label(name) for name, of in _SWAPS.items())
    wanted = select(*parts).subquery("wanted")
    return _becoming(wanted, wanted.c.body)


def _swap_on_postgresql() -> ReturningUpdate[Any]:
    columns = (column(name, of) for name, of in _SWAPS.items())
    each = func.json_to_recordset(cast(bindparam("swaps", type_=JSON), JSON)).table_valued(*columns, name="wanted")
    wanted = each.render_derived(with_types=True)
    return _becoming(wanted, cast(wanted.c.body, JSON))


SWAP = {"sqlite": _swap_on_sqlite(), "postgresql": _swap_on_postgresql()}

_FENCED = update(deliveries).where(
    deliveries.c.tenant_id == bindparam("tenant"),
    deliveries.c.delivery_id == bindparam("delivery"),
    deliveries.c.fence == bindparam("of_fence"),
)
_HELD = _FENCED.where(deliveries.c.lease_until.is_not(None))
_EXTEND = _HELD.values(lease_until=bindparam("until"), ready_at=bindparam("until"))
_NO_LEASE = {"holder": "", "lease_until": null()}
_RELEASE = _HELD.values(**_NO_LEASE, ready_at=deliveries.c.due_at).returning(
    deliveries.c.tenant_id, deliveries.c.delivery_id, deliveries.c.recipient_lock
)


class Deliveries(DeliveryReader):
    """The writing side, within one transaction; the caller audits, where anything was written.

    Two transactions that change the same deliveries in another order wait for each other on PostgreSQL until one of
    them is refused: change several in the order of their ids.
    """

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault
        self._events: list[dict[str, Any]] = []

    async def accept(self, rows: Sequence[NewDelivery]) -> list[Accepted | ContentChanged]:
        """Keep new deliveries, each with its first event; what became of each, in their order. At most `AT_MOST`.

        A repetition writes nothing. Of the same intent accepted at the same moment, one is kept and the others are
        repetitions. ValueError for a priority that is not set; Conflict for an id that another identity has.
        """
        if len(rows) > AT_MOST:
            raise ValueError(f"{len(rows)} deliveries are more than {AT_MOST}")
        if any(row.priority not in PRIORITIES for row in rows):
            raise ValueError("a delivery without a priority would never be leased")
        known = await self._same({row.identity for row in rows})
        # In the order of their identity: two batches with the same intents cannot wait for each other.
        new = {row.identity: row for row in reversed(rows) if row.identity not in known}
        inserted = await self._insert([new[identity] for identity in sorted(new)])
        if lost := new.keys() - inserted.keys():
            known |= await self._same(lost)
        outcomes: list[Accepted | ContentChanged] = []
        for row in rows:
            fresh = inserted.pop(row.identity, None)
            if fresh is not None:
                known[row.identity] = fresh
            there = known.get(row.identity)
            if there is None:
                raise Conflict("a delivery of another identity has this id")
            same = there.payload_hash == row.payload_hash
            outcomes.append(Accepted(there, repeated=fresh is None) if same else ContentChanged(there))
        return outcomes

    async def _same(self, identities: Collection[Identity]) -> dict[Identity, Delivery]:
        if not identities:
            return {}
        wanted = [dict(zip(_IDENTITY, identity, strict=True)) for identity in identities]
        rows = await self._writes.rows(SAME[self._writes.dialect], {"identities": wanted})
        found = (delivery(row) for row in rows)
        return {one.identity: one for one in found}

    async def _insert(self, rows: Sequence[NewDelivery]) -> dict[Identity, Delivery]:
        if not rows:
            return {}
        fresh = {(row.tenant_id, row.delivery_id): _fresh(row, self._writes.clock.now()) for row in rows}
        values = [{**_values(one), "ready_at": one.due_at} for one in fresh.values()]
        written = await self._writes.write(_ACCEPT[self._writes.dialect], values)
        made = {(row.tenant_id, row.delivery_id) for row in written.rows}
        kept = [row for row in rows if (row.tenant_id, row.delivery_id) in made]
        for tenant_id in sorted({row.tenant_id for row in kept}):
            await self._keep_intents(tenant_id, [row for row in kept if row.tenant_id == tenant_id])
        for row in kept:
            self._happened(fresh[row.tenant_id, row.delivery_id])
        return {row.identity: fresh[row.tenant_id, row.delivery_id] for row in kept}

    async def _keep_intents(self, tenant_id: str, rows: Sequence[NewDelivery]) -> None:
        plaintexts = [(subject_of(row.recipient_id), row.intent) for row in rows]
        sealed = await self._vault.seal_all(tenant_id, INTENT_PURPOSE, plaintexts)
        values = [
            {"tenant_id": tenant_id, "delivery_id": row.delivery_id, "sealed": one}
            for row, one in zip(rows, sealed, strict=True)
        ]
        await self._writes.write(_KEEP_INTENT[self._writes.dialect], values)

    async def lease_due(
        self,
        now: datetime,
        *,
        holder: str,
        until: datetime,
        limit: int,
        channels: Collection[int] = (),
        states: Collection[int] = (),
    ) -> list[Delivery]:
        """Lease up to `limit` deliveries that are due, each with a new, higher fence; the urgent and longest due first.

        Also those whose lease is over: their earlier holder can change nothing any more. None whose `recipient_lock`
        another one holds, and one of each. No `channels` means all. No `states` means all but UNKNOWN, which are leased
        by themselves only. What comes can be fewer than are due, where several have one lock or somebody else leases at
        the same moment; nothing was written where none comes. State and revision stay. ValueError.
        """
        if not 0 < limit <= AT_MOST:
            raise ValueError(f"a lease of {limit} deliveries is not one of 1 to {AT_MOST}")
        if UNKNOWN in states and set(states) != {UNKNOWN}:
            raise ValueError("UNKNOWN deliveries wait in a queue of their own")
        over = sorted(channels) or CHANNELS
        if UNKNOWN in states:
            due = await self._writes.rows(DUE_UNKNOWN, {"now": now, "at_most": limit, "over": over})
        else:
            due = await self._due(now, limit, over, states)
        chosen = await self._locked(_one_of_each_lock(due, limit))
        if chosen:
            # Nobody else leased them meanwhile: their rows are locked since they were found, or the whole database is.
            to = {"new_holder": holder, "until": until}
            await self._writes.write(
                LEASE, [{"tenant": one.tenant_id, "delivery": one.delivery_id, **to} for one in chosen]
            )
        return [replace(delivery(one), fence=one.fence + 1, holder=holder, lease_until=until) for one in chosen]

    async def _due(self, now: datetime, limit: int, over: Sequence[int], states: Collection[int]) -> list[Row[Any]]:
        waiting = {(row.priority, row.channel) for row in await self._writes.rows(WAITING, {"now": now})}
        found: list[Row[Any]] = []
        for priority in PRIORITIES:
            values = {"now": now, "at_most": limit - len(found), "at_priority": priority}
            of_priority: list[Row[Any]] = []
            for channel in over:
                if (priority, channel) not in waiting:
                    continue
                which = {**values, "over": channel, **({"in_states": list(states)} if states else {})}
                of_priority += await self._writes.rows(DUE_OF_STATES if states else DUE, which)
            found += sorted(of_priority, key=lambda row: row.ready_at)
            if len(found) >= limit:
                break
        return found

    async def _locked(self, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
        """Those whose lock was got, in their order. Locks are taken in one order, so that nobody waits in a circle."""
        if not rows:
            return []
        names = ("tenant_id", "recipient_lock", "delivery_id")
        values = sorted(tuple(getattr(row, name) for name in names) for row in rows)
        locks = [dict(zip(names, value, strict=True)) for value in values]
        written = await self._writes.write(_LOCK[self._writes.dialect], locks)
        got = {(row.tenant_id, row.delivery_id) for row in written.rows}
        return [row for row in rows if (row.tenant_id, row.delivery_id) in got]

    async def swap(self, change: Change, *, revision: int, fence: int) -> bool:
        """Let a delivery become this, if nobody changed or leased it since: its revision is then one higher, and the
        change is an event. False where somebody did, or there is no such delivery: nothing is written.
        """
        return (await self.swap_all([Swap(change, revision, fence)]))[0]

    async def swap_all(self, swaps: Sequence[Swap]) -> list[bool]:
        """`swap` for up to `AT_MOST` deliveries in two statements, each on its own; what became of each, in their
        order. ValueError for a delivery that is named twice.
        """
        if len(swaps) > AT_MOST:
            raise ValueError(f"{len(swaps)} deliveries are more than {AT_MOST}")
        named = {(swap.change.tenant_id, swap.change.delivery_id): swap for swap in swaps}
        if len(named) < len(swaps):
            raise ValueError("a delivery becomes one thing at a time")
        now = self._writes.clock.now()
        values = {"swaps": [_wanted(named[key]) for key in sorted(named)], "now": now}
        written = (await self._writes.write(SWAP[self._writes.dialect], values)).rows if swaps else ()
        done = {(row.tenant_id, row.delivery_id): row for row in written}
        released = [row for key, row in sorted(done.items()) if named[key].change.releases]
        await self._unlock(released)
        # Events in the order in which they were asked for.
        for key, swap in named.items():
            if key in done:
                self._swapped(swap, done[key].provider_account, now)
        return [key in done for key in named]

    def _swapped(self, swap: Swap, provider_account: str, now: datetime) -> None:
        self._events.append(
            {
                "tenant_id": swap.change.tenant_id,
                "delivery_id": swap.change.delivery_id,
                "revision": swap.revision + 1,
                "state": swap.change.state,
                "due_at": swap.change.due_at,
                "provider_account": provider_account,
                "body": swap.change.body,
                "at": now,
            }
        )

    async def release(self, tenant_id: str, delivery_id: str, *, fence: int) -> bool:
        """End a lease without a change: the delivery is due as before. False where it is another's or over already."""
        which = {"tenant": tenant_id, "delivery": delivery_id, "of_fence": fence}
        rows = (await self._writes.write(_RELEASE, which)).rows
        await self._unlock(rows)
        return bool(rows)

    async def extend(self, tenant_id: str, delivery_id: str, *, fence: int, until: datetime) -> bool:
        """Let a lease end at `until` instead, also one that is over. False where it is another's by now."""
        which = {"tenant": tenant_id, "delivery": delivery_id, "of_fence": fence, "until": until}
        return (await self._writes.write(_EXTEND, which)).count > 0

    async def _unlock(self, rows: Sequence[Row[Any]]) -> None:
        if rows:
            locks = [{"tenant": row.tenant_id, "delivery": row.delivery_id, "lock": row.recipient_lock} for row in rows]
            await self._writes.write(_UNLOCK, locks)

    async def note_ids(self, noted: Mapping[tuple[str, str], Collection[ProviderId]]) -> None:
        """Remember what providers call deliveries, by tenant and id; again changes nothing."""
        # In one order: two transactions that note the same ones cannot wait for each other.
        rows = sorted((one.provider_ref, one.kind, one.value, *key) for key, ids in noted.items() for one in ids)
        names = ("provider_ref", "kind", "value", "tenant_id", "delivery_id")
        if rows:
            values = [dict(zip(names, row, strict=True)) for row in rows]
            await self._writes.write(_NOTE_ID[self._writes.dialect], values)

    async def webhook_seen(self, provider_ref: str, event_id: str) -> bool:
        """Whether a provider's event came before; else it is noted, with what this transaction makes of it.

        Of the same event at the same moment one is first, and the others wait for it. Forgotten by `retention`.
        """
        values = {"provider_ref": provider_ref, "event_id": event_id, "seen_at": self._writes.clock.now()}
        return (await self._writes.write(_NOTE_WEBHOOK[self._writes.dialect], values)).count == 0

    async def rate(self, provider_ref: str) -> Mapping[str, Any]:
        """What was kept of a provider account's rate, empty at first; nobody else changes it before the commit."""
        which = {"provider": provider_ref}
        rows = await self._writes.rows(_LOCK_RATE, which)
        if not rows:
            await self._writes.write(_BEGIN_RATE[self._writes.dialect], {"provider_ref": provider_ref})
            rows = await self._writes.rows(_LOCK_RATE, which)
        body: Mapping[str, Any] = rows[0].body
        return body

    async def keep_rate(self, provider_ref: str, body: Mapping[str, Any]) -> None:
        """Keep this of it from now on."""
        await self._writes.write(_KEEP_RATE, {"provider": provider_ref, "new_body": body})

    async def erase(self, tenant_id: str, recipient_id: str) -> bool:
        """Destroy the recipient's key: no intent for them can be opened again. False where there was none."""
        return await self._vault.destroy(tenant_id, subject_of(recipient_id))

    async def append_events(self) -> None:
        """Called by the transaction before it commits: events get their cursors last, so that nobody waits for long.

        Tenants in one order, so that two transactions cannot wait for each other.
        """
        events, self._events = self._events, []
        for tenant_id in sorted({event["tenant_id"] for event in events}):
            of_tenant = [event for event in events if event["tenant_id"] == tenant_id]
            more = {"tenant": tenant_id, "more": len(of_tenant)}
            last = (await self._writes.write(_NEXT_CURSOR[self._writes.dialect], more)).rows[0].cursor
            first = last - len(of_tenant) + 1
            placed = [{**event, "cursor": first + number} for number, event in enumerate(of_tenant)]
            await self._writes.write(_NOTE_EVENT[self._writes.dialect], placed)

    def _happened(self, one: Delivery) -> None:
        self._events.append(
            {
                "tenant_id": one.tenant_id,
                "delivery_id": one.delivery_id,
                "revision": one.revision,
                "state": one.state,
                "due_at": one.due_at,
                "provider_account": one.provider_account,
                "body": one.body,
                "at": one.updated_at,
            }
        )


def _one_of_each_lock(rows: Sequence[Row[Any]], limit: int) -> list[Row[Any]]:
    first: dict[tuple[str, str], Row[Any]] = {}
    for row in rows:
        first.setdefault((row.tenant_id, row.recipient_lock), row)
    return list(first.values())[:limit]


def _fresh(row: NewDelivery, now: datetime) -> Delivery:
    return Delivery(
        tenant_id=row.tenant_id,
        delivery_id=row.delivery_id,
        message_id=row.message_id,
        recipient_id=row.recipient_id,
        channel=row.channel,
        simulation_id=row.simulation_id,
        payload_hash=row.payload_hash,
        state=row.state,
        priority=row.priority,
        due_at=row.due_at,
        expires_at=row.expires_at,
        recipient_lock=row.recipient_lock,
        provider_account=row.provider_account,
        revision=1,
        fence=0,
        holder="",
        lease_until=None,
        body=row.body,
        accepted_at=now,
        updated_at=now,
    )


def _wanted(swap: Swap) -> dict[str, Any]:
    change = swap.change
    return {
        "tenant_id": change.tenant_id,
        "delivery_id": change.delivery_id,
        "fence": swap.fence,
        "revision": swap.revision,
        "state": change.state,
        "due_at": None if change.due_at is None else micros(change.due_at),
        "account": change.provider_account,
        "body": json.dumps(change.body),
        "releases": change.releases,
    }


def _values(one: Delivery) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in COLUMNS}
