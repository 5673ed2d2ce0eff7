"""Rollouts and what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from selene.common.v1.scope_pb2 import Scope
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STATE_RUNNING,
    KpiWindow,
    Rollout,
    RolloutStage,
    RolloutState,
)
from sqlalchemy import Text, bindparam, select, tuple_, update

from store.access import Reads, Writes
from store.errors import Conflict
from store.governance.tables import RUNNING, kpis, measured, rollouts
from store.ledger import ARTIFACTS, lock_head
from store.schema import Instant

CANARIES = frozenset({ROLLOUT_STAGE_CANARY_1, ROLLOUT_STAGE_CANARY_2})


class RolloutsReader:
    """Reading rollouts. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, tenant_id: str, rollout_id: str) -> Rollout | None:
        """A rollout as it stands; None where this tenant has none."""
        rows = await self._reads.rows(select(rollouts.c.body).where(*_is(tenant_id, rollout_id)))
        return Rollout.FromString(rows[0].body) if rows else None

    async def page(
        self,
        tenant_id: str,
        *,
        limit: int,
        state: RolloutState | None = None,
        before: tuple[datetime, str] | None = None,
    ) -> list[Rollout]:
        """Up to `limit` rollouts, latest first. `before`: when the page's last was started, and its id."""
        table = rollouts.c
        found = select(table.body).where(table.tenant_id == tenant_id)
        if state:
            found = found.where(table.state == state)
        if before is not None:
            at, last = bindparam("at", before[0], type_=Instant), bindparam("last", before[1], type_=Text)
            found = found.where(tuple_(table.started_at, table.rollout_id) < tuple_(at, last))
        found = found.order_by(table.started_at.desc(), table.rollout_id.desc()).limit(limit)
        return [Rollout.FromString(row.body) for row in await self._reads.rows(found)]

    async def running(self, tenant_id: str, artifact_type: str, scope: Scope) -> list[Rollout]:
        """Those of a kind and scope that are running: one that serves everyone, one on its way, or both."""
        table = rollouts.c
        found = select(table.body).where(
            table.tenant_id == tenant_id,
            table.artifact_type == artifact_type,
            table.scope_type == scope.scope_type,
            table.scope_id == scope.scope_id,
            table.state == ROLLOUT_STATE_RUNNING,
        )
        rows = await self._reads.rows(found.order_by(table.started_at))
        return [Rollout.FromString(row.body) for row in rows]

    async def of_artifact(self, tenant_id: str, artifact_id: str) -> list[Rollout]:
        """Those of an artifact, latest first."""
        table = rollouts.c
        found = select(table.body).where(table.tenant_id == tenant_id, table.artifact_id == artifact_id)
        rows = await self._reads.rows(found.order_by(table.started_at.desc()))
        return [Rollout.FromString(row.body) for row in rows]

    async def windows(
        self,
        tenant_id: str,
        rollout_id: str,
        stages: Sequence[RolloutStage] = (),
        *,
        since: datetime | None = None,
    ) -> list[KpiWindow]:
        """What was measured in these stages, or in all: what was handed in by time, then what owners measured. `since`
        leaves out what ended by then.
        """
        windows = []
        for table in (kpis, measured):
            found = select(table.c.canonical).where(table.c.tenant_id == tenant_id, table.c.rollout_id == rollout_id)
            if stages:
                found = found.where(table.c.stage.in_(stages))
            if since is not None:
                found = found.where(table.c.ends_at > since)
            rows = await self._reads.rows(found.order_by(table.c.starts_at, table.c.arm, table.c.cohort))
            windows += [KpiWindow.FromString(row.canonical) for row in rows]
        return windows

    async def due(self, now: datetime, *, limit: int) -> list[tuple[str, str]]:
        """Tenant and id of those whose time has come, the longest due first, of those the earliest begun."""
        table = rollouts.c
        found = select(table.tenant_id, table.rollout_id).where(RUNNING, table.due_at <= now)
        rows = await self._reads.rows(found.order_by(table.due_at, table.started_at, table.rollout_id).limit(limit))
        return [(row.tenant_id, row.rollout_id) for row in rows]

    async def canaries(self, artifact_types: Sequence[str]) -> list[Rollout]:
        """Those of every tenant whose candidate serves a part of the subjects: the last stage tells which share. Few,
        as `all_running` says.
        """
        table = rollouts.c
        found = select(table.body).where(RUNNING, table.artifact_type.in_(artifact_types))
        found = found.order_by(table.tenant_id, table.started_at, table.rollout_id)
        running = [Rollout.FromString(row.body) for row in await self._reads.rows(found)]
        return [rollout for rollout in running if rollout.stages[-1].stage in CANARIES]

    async def all_running(self) -> list[Rollout]:
        """Those of every tenant that are running: at most two a line, so that they are few."""
        found = select(rollouts.c.body).where(RUNNING).order_by(rollouts.c.tenant_id, rollouts.c.rollout_id)
        return [Rollout.FromString(row.body) for row in await self._reads.rows(found)]


class Rollouts(RolloutsReader):
    """Writing rollouts, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def one_at_a_time(self, tenant_id: str) -> None:
        """Whoever asks this for the same tenant waits until this transaction ends: `running` is whole then, no pointer
        moves, and nothing is packaged or activated that a closure walked now would not reach.

        Asked before rollouts, gold sets and cases are locked, and after consents: so nobody waits in a circle.
        """
        await lock_head(self._writes, ARTIFACTS, tenant_id)

    async def start(self, rollout: Rollout, due_at: datetime) -> None:
        """Keep a new rollout, as revision 1."""
        rollout.revision = 1
        subject = rollout.subject
        values = {
            "tenant_id": rollout.tenant_id,
            "rollout_id": rollout.rollout_id,
            "artifact_id": subject.artifact_id,
            "artifact_type": subject.artifact_type,
            "scope_type": subject.scope.scope_type,
            "scope_id": subject.scope.scope_id,
            "state": rollout.state,
            "revision": rollout.revision,
            "due_at": due_at,
            "started_at": rollout.started_at.ToDatetime(tzinfo=UTC),
            "body": rollout.SerializeToString(deterministic=True),
        }
        await self._writes.write(self._writes.insert(rollouts).values(**values))

    async def locked(self, tenant_id: str, rollout_id: str) -> Rollout | None:
        """A rollout, which nobody else changes until the transaction ends; None where there is none."""
        found = select(rollouts.c.body).where(*_is(tenant_id, rollout_id)).with_for_update()
        rows = await self._writes.rows(found)
        return Rollout.FromString(rows[0].body) if rows else None

    async def claim(self, tenant_id: str, rollout_id: str, now: datetime) -> Rollout | None:
        """One whose time has come, locked; None where another controller works on it, or has done so already."""
        found = select(rollouts.c.body).where(*_is(tenant_id, rollout_id), RUNNING, rollouts.c.due_at <= now)
        rows = await self._writes.rows(found.with_for_update(skip_locked=True))
        return Rollout.FromString(rows[0].body) if rows else None

    async def save(self, rollout: Rollout, due_at: datetime) -> None:
        """Keep what became of it, and when to look again. Conflict where it was changed since it was read."""
        before, rollout.revision = rollout.revision, rollout.revision + 1
        changed = (
            update(rollouts)
            .where(*_is(rollout.tenant_id, rollout.rollout_id), rollouts.c.revision == before)
            .values(
                state=rollout.state,
                revision=rollout.revision,
                due_at=due_at,
                body=rollout.SerializeToString(deterministic=True),
            )
        )
        if not (await self._writes.write(changed)).count:
            raise Conflict(f"rollout {rollout.rollout_id} has gone on")

    async def measured(self, rollout: Rollout, stage: RolloutStage, window: KpiWindow) -> bool:
        """Keep a window; False, and nothing written, where one of the same side and cohort covers a part of it."""
        table = kpis.c
        starts, ends = window.starts_at.ToDatetime(tzinfo=UTC), window.ends_at.ToDatetime(tzinfo=UTC)
        side = {
            "tenant_id": rollout.tenant_id,
            "rollout_id": rollout.rollout_id,
            "arm": window.arm,
            "cohort": window.cohort,
        }
        same_side = [table[name] == value for name, value in side.items()]
        overlapping = select(table.stage).where(*same_side, table.starts_at < ends, table.ends_at > starts).limit(1)
        if await self._writes.rows(overlapping):
            return False
        values = {**side, "stage": stage, "starts_at": starts, "ends_at": ends}
        canonical = window.SerializeToString(deterministic=True)
        await self._writes.write(self._writes.insert(kpis).values(**values, canonical=canonical))
        return True


def _is(tenant_id: str, rollout_id: str) -> tuple[Any, ...]:
    return (rollouts.c.tenant_id == tenant_id, rollouts.c.rollout_id == rollout_id)
