"""KPI windows that owners cut from rows of their own: each span of a rollout once, however many processes there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STATE_RUNNING,
    KpiWindow,
    Rollout,
    RolloutStage,
)
from sqlalchemy import select, update

from store.access import Reads, Writes
from store.governance.tables import RUNNING, measured, meters, rollouts


class MeasuredReader:
    """Reading what is measured. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def of_type(self, tenant_id: str, artifact_type: str) -> list[Rollout]:
        """The running rollouts of a tenant's artifacts of a kind, earliest first: decisions are measured by them."""
        table = rollouts.c
        found = select(table.body).where(
            table.tenant_id == tenant_id,
            table.artifact_type == artifact_type,
            table.state == ROLLOUT_STATE_RUNNING,
        )
        rows = await self._reads.rows(found.order_by(table.started_at, table.rollout_id))
        return [Rollout.FromString(row.body) for row in rows]

    async def of_everyone(self, artifact_types: Collection[str]) -> list[Rollout]:
        """The running rollouts of these kinds whose candidate serves everyone, of all tenants: one a line at most."""
        found = select(rollouts.c.body).where(RUNNING, rollouts.c.artifact_type.in_(artifact_types))
        rows = await self._reads.rows(found.order_by(rollouts.c.tenant_id, rollouts.c.rollout_id))
        running = [Rollout.FromString(row.body) for row in rows]
        return [rollout for rollout in running if rollout.stages[-1].stage == ROLLOUT_STAGE_FULL]

    async def until(self, rollout: Rollout, source: str) -> datetime:
        """Up to when a source has measured a rollout; its start where it has not yet."""
        rows = await self._reads.rows(select(meters.c.measured_until).where(*_of(rollout, source)))
        return rows[0].measured_until if rows else rollout.started_at.ToDatetime(tzinfo=UTC)


class Measured(MeasuredReader):
    """Keeping windows, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def claim(self, rollout: Rollout, source: str, since: datetime, until: datetime) -> bool:
        """Take the span from `since`, as `until` told it, for this transaction; False where another has taken it."""
        made = self._writes.insert(meters).values(**_key(rollout, source), measured_until=until)
        if (await self._writes.write(made.on_conflict_do_nothing().returning(meters.c.source))).rows:
            return True
        moved = update(meters).where(*_of(rollout, source), meters.c.measured_until == since)
        return bool((await self._writes.write(moved.values(measured_until=until))).count)

    async def keep(self, rollout: Rollout, source: str, windows: Iterable[tuple[RolloutStage, KpiWindow]]) -> None:
        """Keep the windows of a span that was claimed, each with its stage. Conflict where one is there already."""
        rows = [
            {
                **_key(rollout, source),
                "stage": stage,
                "arm": window.arm,
                "cohort": window.cohort,
                "starts_at": window.starts_at.ToDatetime(tzinfo=UTC),
                "ends_at": window.ends_at.ToDatetime(tzinfo=UTC),
                "canonical": window.SerializeToString(deterministic=True),
            }
            for stage, window in windows
        ]
        if rows:
            await self._writes.write(self._writes.insert(measured), rows)


def _key(rollout: Rollout, source: str) -> dict[str, str]:
    return {"tenant_id": rollout.tenant_id, "rollout_id": rollout.rollout_id, "source": source}


def _of(rollout: Rollout, source: str) -> list[Any]:
    return [meters.c[name] == value for name, value in _key(rollout, source).items()]
