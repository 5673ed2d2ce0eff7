"""Defects at which safety is at stake (§8): which are open, what was named to mend them, and their closures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from selene.governance.v1.decision_pb2 import SignedStatement
from selene.governance.v1.defect_pb2 import DefectFix
from sqlalchemy import Select, and_, exists, func, select

from store.access import Reads, Writes
from store.governance.tables import defect_closures, defect_fix_signals, defect_fixes
from store.learning.tables import SAFETY_CRITICAL, signals


@dataclass(frozen=True, slots=True)
class DefectRow:
    """A defect, what was named last to mend it, and the signed closure; what closed it is `fix` then."""

    signal_id: str
    domain: int
    captured_at: datetime
    priority_bp: int
    sequence: int
    fix: DefectFix | None = None
    closure: SignedStatement | None = None


class DefectsReader:
    """Reading defects. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def holding(self, tenant_id: str, domains: Collection[int], artifact_id: str, *, limit: int) -> list[str]:
        """The signals of up to `limit` open defects of these domains, the oldest first.

        Not those of which this artifact was named as the fix.
        """
        if not domains:
            return []
        mends = exists().where(
            and_(
                defect_fix_signals.c.tenant_id == signals.c.tenant_id,
                defect_fix_signals.c.signal_id == signals.c.signal_id,
                defect_fixes.c.fix_id == defect_fix_signals.c.fix_id,
                *_fixes_of(tenant_id, artifact_id),
            )
        )
        found = _of(select(signals.c.signal_id), tenant_id, only_open=True).where(
            signals.c.domain.in_(sorted(domains)), ~mends
        )
        rows = await self._reads.rows(found.order_by(signals.c.captured_at, signals.c.sequence).limit(limit))
        return [row.signal_id for row in rows]

    async def page(
        self, tenant_id: str, *, limit: int, only_open: bool = False, domain: int = 0, after: int = 0
    ) -> list[DefectRow]:
        """Up to `limit` defects, the oldest first. `after`: the sequence of the last of the page before.

        A `domain` of 0 means all.
        """
        found = _of(select(*_COLUMNS), tenant_id, only_open=only_open).where(signals.c.sequence > after)
        if domain:
            found = found.where(signals.c.domain == domain)
        rows = await self._reads.rows(found.order_by(signals.c.sequence).limit(limit))
        return await self._whole(tenant_id, rows)

    async def by_ids(self, tenant_id: str, signal_ids: Collection[str]) -> dict[str, DefectRow]:
        """The tenant's defects of these signals; what is no defect, or not at stake for safety, is left out."""
        found = _of(select(*_COLUMNS), tenant_id).where(signals.c.signal_id.in_(sorted(signal_ids)))
        rows = await self._whole(tenant_id, await self._reads.rows(found))
        return {row.signal_id: row for row in rows}

    async def fix(self, tenant_id: str, fix_id: str) -> DefectFix | None:
        """What was named to mend defects."""
        table = defect_fixes.c
        found = select(table.canonical).where(table.tenant_id == tenant_id, table.fix_id == fix_id)
        rows = await self._reads.rows(found)
        return DefectFix.FromString(rows[0].canonical) if rows else None

    async def named_for(self, tenant_id: str, artifact_id: str) -> list[str]:
        """The signals of the defects that an artifact was named to mend."""
        if not artifact_id:
            return []
        fixed, named = defect_fixes.c, defect_fix_signals.c
        found = select(named.signal_id).where(
            named.tenant_id == tenant_id, named.fix_id == fixed.fix_id, *_fixes_of(tenant_id, artifact_id)
        )
        return [row.signal_id for row in await self._reads.rows(found.distinct())]

    async def _whole(self, tenant_id: str, rows: Sequence[Any]) -> list[DefectRow]:
        ids = [row.signal_id for row in rows]
        if not ids:
            return []
        closed, named = defect_closures.c, defect_fix_signals.c
        of_closures = select(closed.signal_id, closed.fix_id, closed.canonical)
        of_closures = of_closures.where(closed.tenant_id == tenant_id, closed.signal_id.in_(ids))
        closures = {row.signal_id: row for row in await self._reads.rows(of_closures)}
        # Ids sort by their creation: the greatest is the last that was named.
        of_fixes = select(named.signal_id, func.max(named.fix_id).label("fix_id")).group_by(named.signal_id)
        of_fixes = of_fixes.where(named.tenant_id == tenant_id, named.signal_id.in_(ids))
        fix_ids = {row.signal_id: row.fix_id for row in await self._reads.rows(of_fixes)}
        fix_ids |= {signal_id: row.fix_id for signal_id, row in closures.items()}
        fixes = await self._fixes(tenant_id, set(fix_ids.values()))
        return [
            DefectRow(
                signal_id=row.signal_id,
                domain=row.domain,
                captured_at=row.captured_at,
                priority_bp=row.priority_bp,
                sequence=row.sequence,
                fix=fixes.get(fix_ids.get(row.signal_id, "")),
                closure=(
                    SignedStatement.FromString(closures[row.signal_id].canonical) if row.signal_id in closures else None
                ),
            )
            for row in rows
        ]

    async def _fixes(self, tenant_id: str, fix_ids: Collection[str]) -> dict[str, DefectFix]:
        table = defect_fixes.c
        found = select(table.fix_id, table.canonical)
        found = found.where(table.tenant_id == tenant_id, table.fix_id.in_(sorted(fix_ids)))
        return {row.fix_id: DefectFix.FromString(row.canonical) for row in await self._reads.rows(found)}


class Defects(DefectsReader):
    """Writing what mends defects, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def name_fix(self, fix: DefectFix) -> None:
        """Keep what is to mend defects."""
        values = {"tenant_id": fix.tenant_id, "fix_id": fix.fix_id, "artifact_id": fix.artifact.artifact_id}
        canonical = fix.SerializeToString(deterministic=True)
        await self._writes.write(self._writes.insert(defect_fixes).values(**values, canonical=canonical))
        mended = [
            {"tenant_id": fix.tenant_id, "signal_id": signal_id, "fix_id": fix.fix_id} for signal_id in fix.signal_ids
        ]
        await self._writes.write(self._writes.insert(defect_fix_signals).values(mended))

    async def close(self, tenant_id: str, signal_id: str, fix_id: str, signed: SignedStatement) -> None:
        """Close a defect for good. Conflict where it is closed already."""
        canonical = signed.SerializeToString(deterministic=True)
        values = {"tenant_id": tenant_id, "signal_id": signal_id, "fix_id": fix_id, "canonical": canonical}
        await self._writes.write(self._writes.insert(defect_closures).values(values))


_COLUMNS = (
    signals.c.signal_id,
    signals.c.domain,
    signals.c.captured_at,
    signals.c.priority_bp,
    signals.c.sequence,
)


def _fixes_of(tenant_id: str, artifact_id: str) -> tuple[Any, ...]:
    return defect_fixes.c.tenant_id == tenant_id, defect_fixes.c.artifact_id == artifact_id


def _of(found: Select[Any], tenant_id: str, *, only_open: bool = False) -> Select[Any]:
    """A tenant's defects."""
    found = found.where(SAFETY_CRITICAL, signals.c.tenant_id == tenant_id)
    if not only_open:
        return found
    closed = exists().where(
        and_(
            defect_closures.c.tenant_id == signals.c.tenant_id,
            defect_closures.c.signal_id == signals.c.signal_id,
        )
    )
    return found.where(~closed)
