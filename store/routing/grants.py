"""What was spent of budgets, and the parts of them that processes hold (§22).

A process takes a grant ahead of its calls. What it holds is reserved in the row of the period, in the same transaction;
a settlement makes of it what was spent, once. A grant that nobody settled in time counts as spent in full: its process
has died, and what it spent is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update

from store.access import Reads, Writes
from store.routing.limits import Budget, Key
from store.schema import routing_grants, routing_spending


@dataclass(frozen=True, slots=True)
class Spending:
    """A period of a budget: what was spent, and what is reserved by calls under way and by processes ahead of them."""

    key: Key
    period_start: datetime
    spent_micros: int
    reserved_micros: int


@dataclass(frozen=True, slots=True)
class Grant:
    """A part of a budget in the hands of a process. Once settled, `spent_micros` is what it came to."""

    grant_id: str
    key: Key
    period_start: datetime
    micros: int
    holder: str
    expires_at: datetime
    settled_at: datetime | None = None
    spent_micros: int = 0


class GrantsReader:
    """Reading grants and spending."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, grant_id: str) -> Grant | None:
        """The grant of this id."""
        rows = await self._reads.rows(select(routing_grants).where(routing_grants.c.grant_id == grant_id))
        return _grant(rows[0]) if rows else None

    async def spending(self, key: Key, period_start: datetime) -> Spending:
        """What a period has come to so far."""
        rows = await self._reads.rows(select(routing_spending).where(*_is_period(key, period_start)))
        if not rows:
            return Spending(key, period_start, 0, 0)
        return Spending(key, period_start, rows[0].spent_micros, rows[0].reserved_micros)

    async def overdue(self, now: datetime, *, limit: int = 100) -> list[Grant]:
        """Grants that nobody settled in time, by budget and period, as they are settled."""
        of = routing_grants.c
        chosen = select(routing_grants).where(of.settled_at.is_(None), of.expires_at <= now)
        ordered = chosen.order_by(of.tenant_id, of.domain, of.period, of.period_start, of.grant_id).limit(limit)
        return [_grant(row) for row in await self._reads.rows(ordered)]


class Grants(GrantsReader):
    """Changing inside a transaction; the caller audits. Whoever locks several periods does so in the order of keys."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def locked(self, budget: Budget, period_start: datetime) -> Spending:
        """`spending`, and nobody else grants or settles of this period until the transaction ends."""
        key = budget.key
        empty = self._writes.insert(routing_spending).values(
            tenant_id=key.tenant_id,
            domain=key.domain,
            period=key.period,
            period_start=period_start,
            currency=budget.currency,
            spent_micros=0,
            reserved_micros=0,
        )
        rows = await self._lock(key, period_start)
        if not rows:
            await self._writes.write(empty.on_conflict_do_nothing())
            rows = await self._lock(key, period_start)
        return Spending(key, period_start, rows[0].spent_micros, rows[0].reserved_micros)

    async def take(self, grant: Grant) -> None:
        """Reserve a grant; the caller has its period `locked`, and has seen that so much is left."""
        key = grant.key
        made = self._writes.insert(routing_grants).values(
            grant_id=grant.grant_id,
            tenant_id=key.tenant_id,
            domain=key.domain,
            period=key.period,
            period_start=grant.period_start,
            micros=grant.micros,
            holder=grant.holder,
            expires_at=grant.expires_at,
            settled_at=None,
            spent_micros=0,
        )
        await self._writes.write(made)
        reserved = routing_spending.c.reserved_micros + grant.micros
        period = update(routing_spending).where(*_is_period(key, grant.period_start))
        await self._writes.write(period.values(reserved_micros=reserved))

    async def settle(self, grant: Grant, spent_micros: int, now: datetime) -> bool:
        """What was reserved becomes what was spent, be it more. False where it was settled before: nothing changes."""
        await self._lock(grant.key, grant.period_start)
        open_one = update(routing_grants).where(
            routing_grants.c.grant_id == grant.grant_id, routing_grants.c.settled_at.is_(None)
        )
        settled = open_one.values(settled_at=now, spent_micros=spent_micros)
        if (await self._writes.write(settled)).count == 0:
            return False
        period = update(routing_spending).where(*_is_period(grant.key, grant.period_start))
        of = routing_spending.c
        await self._writes.write(
            period.values(
                spent_micros=of.spent_micros + spent_micros, reserved_micros=of.reserved_micros - grant.micros
            )
        )
        return True

    async def forget(self, before: datetime) -> int:
        """Drop what was settled before `before`; how many. A late settlement of theirs still changes nothing."""
        settled = delete(routing_grants).where(routing_grants.c.settled_at < before)
        return (await self._writes.write(settled)).count

    async def _lock(self, key: Key, period_start: datetime) -> Sequence[Row[Any]]:
        return await self._writes.rows(select(routing_spending).where(*_is_period(key, period_start)).with_for_update())


def _is_period(key: Key, period_start: datetime) -> tuple[Any, ...]:
    of = routing_spending.c
    return (
        of.tenant_id == key.tenant_id,
        of.domain == key.domain,
        of.period == key.period,
        of.period_start == period_start,
    )


def _grant(row: Row[Any]) -> Grant:
    return Grant(
        grant_id=row.grant_id,
        key=Key(row.tenant_id, row.domain, row.period),
        period_start=row.period_start,
        micros=row.micros,
        holder=row.holder,
        expires_at=row.expires_at,
        settled_at=row.settled_at,
        spent_micros=row.spent_micros,
    )
