"""What routed calls add to the KPI windows of rollouts (§20): written with their trails, counted once, kept a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from selene.governance.v1.rollout_pb2 import Arm
from sqlalchemy import Row, bindparam, select, tuple_, update

from store.access import Reads, Writes, for_dialects
from store.schema import UNCOUNTED, call_observations


@dataclass(frozen=True, slots=True, kw_only=True)
class CallObservation:
    """One call on one side of a rollout. `outputs` is what providers gave, or kept by a policy of their own;
    `latency_us` how long they were waited for. The rollout may be of the whole deployment, the call is a tenant's.
    """

    tenant_id: str
    rollout_id: str
    owner: str
    call_id: str
    arm: Arm
    at: datetime
    locale: str
    latency_us: int
    cost_micros: int
    outputs: int
    schema_valid: int
    policy_conflicts: int
    failed: bool
    timed_out: bool
    fell_back: bool


_FLAGS = ("failed", "timed_out", "fell_back")
_ADD = for_dialects(
    lambda insert: (
        insert(call_observations)
        .values({column.name: bindparam(column.name) for column in call_observations.c})
        .on_conflict_do_nothing()
    )
)


class CallObservationsReader:
    """Reading observations. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def uncounted(self, rollout_id: str, owner: str, until: datetime, at_most: int) -> datetime | None:
        """When the one after the first `at_most` was made that no window has; None where there are no more."""
        found = select(call_observations.c.at).where(*_uncounted(rollout_id, owner, until))
        rows = await self._reads.rows(found.order_by(call_observations.c.at).offset(at_most).limit(1))
        return rows[0].at if rows else None


class CallObservations(CallObservationsReader):
    """Changing observations inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def add(self, several: Sequence[CallObservation]) -> None:
        """Keep what calls add, with their trails; the same call of a rollout once."""
        rows = [
            {**asdict(one), **{flag: int(getattr(one, flag)) for flag in _FLAGS}, "window_ends_at": None}
            for one in several
        ]
        if rows:
            await self._writes.write(_ADD[self._writes.dialect], rows)

    async def take(self, rollout_id: str, owner: str, until: datetime, at_most: int) -> list[CallObservation]:
        """Those before `until` that no window has, the earliest first, for the window that ends then."""
        table, key = call_observations.c, list(call_observations.primary_key)
        chosen = select(*key).where(*_uncounted(rollout_id, owner, until)).order_by(table.at, *key).limit(at_most)
        taken = update(call_observations).where(tuple_(*key).in_(chosen)).values(window_ends_at=until)
        rows = (await self._writes.write(taken.returning(call_observations))).rows
        found = [_observation(row) for row in rows]
        return sorted(found, key=lambda one: (one.at, one.tenant_id, one.call_id))


def _observation(row: Row[Any]) -> CallObservation:
    return CallObservation(
        tenant_id=row.tenant_id,
        rollout_id=row.rollout_id,
        owner=row.owner,
        call_id=row.call_id,
        arm=row.arm,
        at=row.at,
        locale=row.locale,
        latency_us=row.latency_us,
        cost_micros=row.cost_micros,
        outputs=row.outputs,
        schema_valid=row.schema_valid,
        policy_conflicts=row.policy_conflicts,
        failed=bool(row.failed),
        timed_out=bool(row.timed_out),
        fell_back=bool(row.fell_back),
    )


def _uncounted(rollout_id: str, owner: str, until: datetime) -> tuple[Any, ...]:
    table = call_observations.c
    return (table.rollout_id == rollout_id, table.owner == owner, UNCOUNTED, table.at < until)
