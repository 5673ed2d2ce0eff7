"""Identify and verify sessions: one final decision each, the confirmed outcome, KPIs per cohort (VID-10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, Subquery, func, select, update
from sqlalchemy import case as sql_case

from store.access import Reads, Writes
from store.errors import Conflict, NotFound
from store.schema import sessions

SessionKind = Literal["IDENTIFY", "VERIFY"]
SessionState = Literal["OPEN", "DECIDED"]
Outcome = Literal["", "GENUINE", "IMPOSTOR", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Session:
    """One session. `decision` is the caller's bytes, None while OPEN; `outcome` is empty until confirmed."""

    tenant_id: str
    session_id: str
    kind: SessionKind
    device_id: str
    claimed_user_id: str
    state: SessionState
    cohort: Mapping[str, str]
    created_at: datetime
    decided_at: datetime | None
    decision: bytes | None
    tier: str
    reason: str
    score_bp: int
    latency_us: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Decided:
    """The session's final decision: `first` says whether this call made it or found it."""

    decision: bytes
    first: bool


@dataclass(frozen=True, slots=True)
class DecisionCount:
    """How many decided sessions of a cohort ended so. `outcome` is empty where nobody confirmed."""

    cohort: str
    tier: str
    outcome: Outcome
    count: int


@dataclass(frozen=True, slots=True)
class DecisionLatency:
    """Nearest-rank percentiles, half-close to decision, in microseconds."""

    cohort: str
    count: int
    p50_us: int
    p95_us: int
    p99_us: int


class SessionsReader:
    """Reading sessions and their aggregates."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, tenant_id: str, session_id: str) -> Session:
        """One session. NotFound."""
        rows = await self._reads.rows(select(sessions).where(*_is(tenant_id, session_id)))
        if not rows:
            raise NotFound(f"session {session_id!r}")
        return _session(rows[0])

    async def decision_counts(
        self, tenant_id: str, label: str, *, since: datetime, until: datetime
    ) -> list[DecisionCount]:
        """Decided sessions in [since, until) by the cohort label's value ('' where unlabelled), tier and outcome."""
        decided = _decided(tenant_id, label, since, until)
        keys = (decided.c.cohort, decided.c.tier, decided.c.outcome)
        counted = select(*keys, func.count().label("sessions")).group_by(*keys).order_by(*keys)
        return [
            DecisionCount(row.cohort, row.tier, row.outcome, int(row.sessions))
            for row in await self._reads.rows(counted)
        ]

    async def decision_latency(
        self, tenant_id: str, label: str, *, since: datetime, until: datetime
    ) -> list[DecisionLatency]:
        """Latency of decided sessions in [since, until) by the cohort label's value."""
        decided = _decided(tenant_id, label, since, until)
        ranked = select(
            decided.c.cohort,
            decided.c.latency_us,
            func.row_number().over(partition_by=decided.c.cohort, order_by=decided.c.latency_us).label("rank"),
            func.count().over(partition_by=decided.c.cohort).label("total"),
        ).subquery()
        summary = select(
            ranked.c.cohort,
            func.max(ranked.c.total).label("total"),
            *(_percentile(ranked, percent).label(f"p{percent}") for percent in (50, 95, 99)),
        )
        rows = await self._reads.rows(summary.group_by(ranked.c.cohort).order_by(ranked.c.cohort))
        return [DecisionLatency(row.cohort, int(row.total), row.p50, row.p95, row.p99) for row in rows]


class Sessions(SessionsReader):
    """Changing sessions inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def open(
        self,
        tenant_id: str,
        session_id: str,
        *,
        kind: SessionKind,
        device_id: str,
        claimed_user_id: str = "",
        cohort: Mapping[str, str],
    ) -> Session:
        """The session, new or resumed as it stands. Conflict where the id belongs to another kind, device or claim."""
        made = self._writes.insert(sessions).values(
            tenant_id=tenant_id,
            session_id=session_id,
            kind=kind,
            device_id=device_id,
            claimed_user_id=claimed_user_id,
            state="OPEN",
            cohort=dict(cohort),
            created_at=self._writes.clock.now(),
            tier="",
            reason="",
            score_bp=0,
            latency_us=0,
            outcome="",
        )
        made = made.on_conflict_do_nothing()
        written = await self._writes.write(made.returning(sessions))
        session = _session(written.rows[0]) if written.rows else await self.get(tenant_id, session_id)
        if (session.kind, session.device_id, session.claimed_user_id) != (kind, device_id, claimed_user_id):
            raise Conflict(f"session {session_id!r} was opened for something else")
        return session

    async def decide(
        self,
        tenant_id: str,
        session_id: str,
        *,
        decision: bytes,
        tier: str,
        reason: str,
        score_bp: int,
        latency_us: int,
    ) -> Decided:
        """Make the final decision, or find the one made first: a repeated final changes nothing. NotFound."""
        still_open = update(sessions).where(*_is(tenant_id, session_id), sessions.c.state == "OPEN")
        decided = still_open.values(
            state="DECIDED",
            decided_at=self._writes.clock.now(),
            decision=decision,
            tier=tier,
            reason=reason,
            score_bp=score_bp,
            latency_us=latency_us,
        )
        if (await self._writes.write(decided.returning(sessions.c.session_id))).rows:
            return Decided(decision, first=True)
        session = await self.get(tenant_id, session_id)
        if session.decision is None:
            raise Conflict(f"session {session_id!r} is {session.state}")
        return Decided(session.decision, first=False)

    async def confirm_outcome(self, tenant_id: str, session_id: str, outcome: Outcome) -> bool:
        """Say once who it really was; True if news. NotFound; Conflict if undecided or said otherwise before."""
        if not outcome:
            raise ValueError("an outcome must say something")
        unsaid = update(sessions).where(
            *_is(tenant_id, session_id), sessions.c.state == "DECIDED", sessions.c.outcome == ""
        )
        if (await self._writes.write(unsaid.values(outcome=outcome).returning(sessions.c.session_id))).rows:
            return True
        session = await self.get(tenant_id, session_id)
        if session.outcome != outcome:
            raise Conflict(f"session {session_id!r} is {session.state} with outcome {session.outcome!r}")
        return False


def _is(tenant_id: str, session_id: str) -> tuple[Any, ...]:
    return (sessions.c.tenant_id == tenant_id, sessions.c.session_id == session_id)


def _decided(tenant_id: str, label: str, since: datetime, until: datetime) -> Subquery:
    table = sessions.c
    cohort = func.coalesce(table.cohort[label].as_string(), "").label("cohort")
    chosen = select(cohort, table.tier, table.outcome, table.latency_us).where(
        table.tenant_id == tenant_id, table.decided_at >= since, table.decided_at < until
    )
    return chosen.subquery()


def _percentile(ranked: Subquery, percent: int) -> ColumnElement[int]:
    """Nearest rank: the smallest value with at least `percent` % of the values at or below it."""
    nearest = ranked.c.rank * 100 >= ranked.c.total * percent
    return func.min(sql_case((nearest, ranked.c.latency_us)))


def _session(row: Row[Any]) -> Session:
    return Session(
        tenant_id=row.tenant_id,
        session_id=row.session_id,
        kind=row.kind,
        device_id=row.device_id,
        claimed_user_id=row.claimed_user_id,
        state=row.state,
        cohort=row.cohort,
        created_at=row.created_at,
        decided_at=row.decided_at,
        decision=None if row.decision is None else bytes(row.decision),
        tier=row.tier,
        reason=row.reason,
        score_bp=row.score_bp,
        latency_us=row.latency_us,
        outcome=row.outcome,
    )
