"""Drift of voice identity and pairs of speakers who are taken for each other (§38.6, §38.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Row, Text, TextClause, bindparam, delete, func, select, tuple_, update

from store.access import Reads, Writes
from store.learning.drift_tables import (
    ALLOWED,
    UNDECIDED,
    confusion_pairs,
    drift_breaches,
    drift_looks,
    drift_standings,
)
from store.schema import Instant
from store.schema import streams as decided_streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A figure that left its limit. Detector, recovery and outcome are the contract's numbers; an outcome of 0 is to be
    decided. `user_id` is empty where the subject is a cohort; `gold_set_id` is what adaptation began with.
    """

    tenant_id: str
    window_ends_at: datetime
    subject: str
    detector: int
    user_id: str
    recent: float
    reference: float
    samples: int
    recovery: int
    outcome: int = 0
    decided_at: datetime | None = None
    gold_set_id: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether adaptation of a subject waits for a review, and when one last unfroze it."""

    frozen: bool = False
    reviewed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two users, the one whose id sorts first first, and how often they were confused."""

    first_user_id: str
    second_user_id: str
    collisions: int
    close_calls: int
    last_at: datetime


class DriftReader:
    """Reading drift. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def due(self, until: datetime) -> list[str]:
        """The tenants with decisions whose window that ends at `until` was not looked at yet."""
        looked = {row.tenant_id: row.looked_until for row in await self._reads.rows(select(drift_looks))}
        found, last = [], ""
        # One look-up by the index for each tenant: there are few, and many decisions of each.
        while tenant := await self._tenant_after(last):
            last = tenant
            if tenant not in looked or looked[tenant] < until:
                found.append(tenant)
        return found

    async def undecided(self, limit: int) -> list[tuple[str, str]]:
        """Up to `limit` tenants and subjects with breaches that nothing was decided of, the longest waiting first."""
        return await self._waiting(UNDECIDED, limit)

    async def allowed(self, limit: int) -> list[tuple[str, str]]:
        """Up to `limit` tenants and subjects with adaptations that may begin, the longest waiting first."""
        return await self._waiting(ALLOWED, limit)

    async def _waiting(self, which: TextClause, limit: int) -> list[tuple[str, str]]:
        table = drift_breaches.c
        found = select(table.tenant_id, table.subject, func.min(table.window_ends_at).label("since"))
        found = found.where(which).group_by(table.tenant_id, table.subject)
        rows = await self._reads.rows(found.order_by("since", table.tenant_id, table.subject).limit(limit))
        return [(row.tenant_id, row.subject) for row in rows]

    async def of_subject(self, tenant_id: str, subject: str) -> list[Breach]:
        """Every breach of a subject, oldest first."""
        table = drift_breaches.c
        found = select(drift_breaches).where(table.tenant_id == tenant_id, table.subject == subject)
        rows = await self._reads.rows(found.order_by(table.window_ends_at, table.detector))
        return [_breach(row) for row in rows]

    async def page(
        self, tenant_id: str, *, limit: int, subject: str = "", before: tuple[datetime, str, int] | None = None
    ) -> list[Breach]:
        """Up to `limit` breaches, latest first. `before`: window, subject and detector of the last of the page before.

        An empty `subject` means all.
        """
        table = drift_breaches.c
        found = select(drift_breaches).where(table.tenant_id == tenant_id)
        if subject:
            found = found.where(table.subject == subject)
        if before is not None:
            at, last = bindparam("at", before[0], type_=Instant), bindparam("last", before[1], type_=Text)
            place = tuple_(at, last, bindparam("by", before[2], type_=Integer))
            found = found.where(tuple_(table.window_ends_at, table.subject, table.detector) < place)
        order = (table.window_ends_at.desc(), table.subject.desc(), table.detector.desc())
        return [_breach(row) for row in await self._reads.rows(found.order_by(*order).limit(limit))]

    async def standing(self, tenant_id: str, subject: str) -> Standing:
        """How a subject stands; not frozen where nothing was ever noted."""
        rows = await self._reads.rows(select(drift_standings).where(*_of(drift_standings, tenant_id, subject)))
        return _standing(rows[0]) if rows else Standing()

    async def _tenant_after(self, last: str) -> str:
        found = select(func.min(decided_streams.c.tenant_id).label("tenant_id"))
        rows = await self._reads.rows(found.where(decided_streams.c.tenant_id > last))
        return rows[0].tenant_id or ""


class Drift(DriftReader):
    """Writing drift, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def look(self, tenant_id: str, until: datetime) -> bool:
        """Take on the window that ends then; False where somebody looked at it before. Whoever asks meanwhile waits."""
        taken = self._writes.insert(drift_looks).values(tenant_id=tenant_id, looked_until=until)
        taken = taken.on_conflict_do_update(
            index_elements=[drift_looks.c.tenant_id],
            set_={"looked_until": until},
            where=drift_looks.c.looked_until < until,
        )
        return bool((await self._writes.write(taken.returning(drift_looks.c.tenant_id))).rows)

    async def note(self, breach: Breach) -> None:
        """Keep a breach; one that is kept already stays as it is."""
        values = {name: getattr(breach, name) for name in Breach.__slots__}
        await self._writes.write(self._writes.insert(drift_breaches).values(values).on_conflict_do_nothing())

    async def locked(self, tenant_id: str, subject: str) -> Standing:
        """How a subject stands, which nobody else changes until the transaction ends."""
        made = self._writes.insert(drift_standings).values(tenant_id=tenant_id, subject=subject, frozen=False)
        await self._writes.write(made.on_conflict_do_nothing())
        found = select(drift_standings).where(*_of(drift_standings, tenant_id, subject)).with_for_update()
        return _standing((await self._writes.rows(found))[0])

    async def decide(self, breach: Breach, outcome: int, now: datetime) -> bool:
        """Note what came of a breach; False where that is decided already. The subject is locked."""
        table = drift_breaches.c
        undecided = update(drift_breaches).where(
            *_of(drift_breaches, breach.tenant_id, breach.subject),
            table.detector == breach.detector,
            table.window_ends_at == breach.window_ends_at,
            table.outcome == 0,
        )
        decided = undecided.values(outcome=outcome, decided_at=now)
        return bool((await self._writes.write(decided.returning(table.subject))).rows)

    async def begin(self, breach: Breach, outcome: int, gold_set_id: str) -> None:
        """Note what came of an adaptation that was allowed, with the candidate that it began with. The subject is
        locked.
        """
        table = drift_breaches.c
        waiting = update(drift_breaches).where(
            *_of(drift_breaches, breach.tenant_id, breach.subject),
            table.detector == breach.detector,
            table.window_ends_at == breach.window_ends_at,
            ALLOWED,
        )
        await self._writes.write(waiting.values(outcome=outcome, gold_set_id=gold_set_id))

    async def stands(self, tenant_id: str, subject: str, standing: Standing) -> None:
        """Change how a subject stands. It is locked."""
        changed = update(drift_standings).where(*_of(drift_standings, tenant_id, subject))
        await self._writes.write(changed.values(frozen=standing.frozen, reviewed_at=standing.reviewed_at))

    async def forget(self, tenant_id: str, before: datetime) -> None:
        """Drop breaches whose windows ended before then. What is frozen stays frozen."""
        table = drift_breaches.c
        await self._writes.write(
            delete(drift_breaches).where(table.tenant_id == tenant_id, table.window_ends_at < before)
        )


class ConfusionReader:
    """Reading pairs. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def top(self, tenant_id: str, *, limit: int) -> list[Pair]:
        """Up to `limit` pairs: most collisions first, then most close calls."""
        table = confusion_pairs.c
        order = (table.collisions.desc(), table.close_calls.desc(), table.first_user_id, table.second_user_id)
        found = select(confusion_pairs).where(table.tenant_id == tenant_id).order_by(*order).limit(limit)
        return [
            Pair(row.first_user_id, row.second_user_id, row.collisions, row.close_calls, row.last_at)
            for row in await self._reads.rows(found)
        ]


class Confusion(ConfusionReader):
    """Writing pairs, within one transaction."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def replace(self, tenant_id: str, pairs: Sequence[Pair]) -> None:
        """Keep these pairs of a tenant, and no others."""
        await self._writes.write(delete(confusion_pairs).where(confusion_pairs.c.tenant_id == tenant_id))
        for pair in pairs:
            values = {name: getattr(pair, name) for name in Pair.__slots__}
            await self._writes.write(self._writes.insert(confusion_pairs).values(tenant_id=tenant_id, **values))


def _of(table: Any, tenant_id: str, subject: str) -> tuple[Any, ...]:
    return (table.c.tenant_id == tenant_id, table.c.subject == subject)


def _breach(row: Row[Any]) -> Breach:
    return Breach(**{name: getattr(row, name) for name in Breach.__slots__})


def _standing(row: Row[Any]) -> Standing:
    return Standing(row.frozen, row.reviewed_at)
