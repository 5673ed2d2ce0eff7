"""An artifact's case: who proposed it, report and proof, what was decided and permitted, what froze it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.governance.v1.decision_pb2 import (
    ApprovalKind,
    BuilderReport,
    ConsumptionVerdict,
    DecisionEvidence,
    GateBundleStatement,
    SignedStatement,
)
from sqlalchemy import Row, Text, bindparam, func, select, tuple_, update

from store.access import Reads, Writes
from store.governance.tables import DUE, approvals, cases, decisions
from store.schema import Instant, artifacts_ledger


@dataclass(frozen=True, slots=True)
class Case:
    """What there is beside decisions and permissions. What was never handed in is None; `proposers` are commitments."""

    artifact_id: str
    proposed_at: datetime | None = None
    proposers: tuple[str, ...] = ()
    evidence: DecisionEvidence | None = None
    report: BuilderReport | None = None
    bundle: SignedStatement | None = None
    verdict: ConsumptionVerdict | None = None
    frozen_by: str = ""


@dataclass(frozen=True, slots=True)
class Unproved:
    """An artifact whose gate bundle is signed, and of which nobody handed in a consumption proof with that bundle."""

    row: ArtifactRow
    gate_bundle_ref: str


def gate_bundle_ref(bundle_hash: bytes) -> str:
    """What a gate bundle is named by: `store://governance_gate_bundles/<SHA-256>`. Pure."""
    return f"store://governance_gate_bundles/{bundle_hash.hex()}"


class CasesReader:
    """Reading cases. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def artifact(self, tenant_id: str, artifact_id: str) -> ArtifactRow | None:
        """A row of the artifacts ledger by its id; None where this tenant has none."""
        table = artifacts_ledger.c
        found = select(table.canonical).where(table.tenant_id == tenant_id, table.artifact_id == artifact_id)
        rows = await self._reads.rows(found)
        return ArtifactRow.FromString(rows[0].canonical) if rows else None

    async def get(self, tenant_id: str, artifact_id: str) -> Case:
        """The case; an empty one where nothing was handed in yet."""
        rows = await self._reads.rows(select(cases).where(*_is(cases, tenant_id, artifact_id)))
        return _case(rows[0]) if rows else Case(artifact_id)

    async def page(self, tenant_id: str, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Case]:
        """Up to `limit` of what was proposed, latest first. `before`: time and artifact of the page's last."""
        table = cases.c
        found = select(cases).where(table.tenant_id == tenant_id, table.proposed_at.is_not(None))
        if before is not None:
            at, last = bindparam("at", before[0], type_=Instant), bindparam("last", before[1], type_=Text)
            found = found.where(tuple_(table.proposed_at, table.artifact_id) < tuple_(at, last))
        found = found.order_by(table.proposed_at.desc(), table.artifact_id.desc()).limit(limit)
        return [_case(row) for row in await self._reads.rows(found)]

    async def unproved(self, artifact_types: Sequence[str], limit: int) -> list[Unproved]:
        """Artifacts of these kinds, of all tenants, that want a proof; those of the latest proposals, at most so many.

        What is frozen wants none.
        """
        ledger = artifacts_ledger.c
        found = (
            select(ledger.canonical, cases.c.bundle)
            .join_from(cases, artifacts_ledger, cases.c.artifact_id == ledger.artifact_id)
            .where(DUE, cases.c.frozen_by == "", ledger.artifact_type.in_(artifact_types))
            .order_by(cases.c.proposed_at.desc(), cases.c.artifact_id)
            .limit(limit)
        )
        rows = await self._reads.rows(found)
        return [Unproved(ArtifactRow.FromString(row.canonical), _bundle_ref(row.bundle)) for row in rows]

    async def decisions(self, tenant_id: str, artifact_id: str) -> list[SignedStatement]:
        """Everything that was decided, oldest first."""
        found = select(decisions.c.canonical).where(*_is(decisions, tenant_id, artifact_id))
        rows = await self._reads.rows(found.order_by(decisions.c.number))
        return [SignedStatement.FromString(row.canonical) for row in rows]

    async def approvals(self, tenant_id: str, artifact_id: str) -> list[SignedStatement]:
        """Every permission, by its kind."""
        found = select(approvals.c.canonical).where(*_is(approvals, tenant_id, artifact_id))
        rows = await self._reads.rows(found.order_by(approvals.c.kind))
        return [SignedStatement.FromString(row.canonical) for row in rows]

    async def approvers(self, tenant_id: str, artifact_id: str) -> dict[ApprovalKind, str]:
        """Who gave which permission, as commitments."""
        found = select(approvals.c.kind, approvals.c.approver).where(*_is(approvals, tenant_id, artifact_id))
        return {row.kind: row.approver for row in await self._reads.rows(found)}


class Cases(CasesReader):
    """Writing cases, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def locked(self, tenant_id: str, artifact_id: str) -> Case:
        """The case, which nobody else changes until the transaction ends; made where there was none."""
        made = self._writes.insert(cases).values(_empty(tenant_id, artifact_id)).on_conflict_do_nothing()
        await self._writes.write(made)
        found = select(cases).where(*_is(cases, tenant_id, artifact_id)).with_for_update()
        return _case((await self._writes.rows(found))[0])

    async def propose(self, tenant_id: str, case: Case, proposer: str, evidence: DecisionEvidence) -> None:
        """Note who proposed, and by which evidence. The case is locked."""
        proposers = sorted({*case.proposers, proposer})
        proposed_at = case.proposed_at or self._writes.clock.now()
        await self._change(tenant_id, case, proposers=proposers, proposed_at=proposed_at, evidence=_bytes(evidence))

    async def keep_report(self, tenant_id: str, case: Case, report: BuilderReport) -> None:
        """Keep the Builder's report. The case is locked."""
        await self._change(tenant_id, case, report=_bytes(report))

    async def keep_bundle(self, tenant_id: str, case: Case, signed: SignedStatement) -> None:
        """Keep the signature over the complete gate bundle. The case is locked."""
        await self._change(tenant_id, case, bundle=_bytes(signed), proof_due=1)

    async def keep_verdict(self, tenant_id: str, case: Case, verdict: ConsumptionVerdict) -> None:
        """Keep what was made of the consumption proof. The case is locked."""
        values: dict[str, Any] = {"verdict": _bytes(verdict)}
        if case.bundle is not None and verdict.proof.gate_bundle_ref == _bundle_ref(_bytes(case.bundle)):
            values["proof_due"] = 0
        await self._change(tenant_id, case, **values)

    async def keep_decision(self, tenant_id: str, artifact_id: str, signed: SignedStatement) -> None:
        """Add a decision. The case is locked."""
        which = _is(decisions, tenant_id, artifact_id)
        rows = await self._writes.rows(select(func.count().label("many")).select_from(decisions).where(*which))
        values = {"tenant_id": tenant_id, "artifact_id": artifact_id, "number": rows[0].many + 1}
        await self._writes.write(self._writes.insert(decisions).values(**values, canonical=_bytes(signed)))

    async def keep_approval(
        self, tenant_id: str, artifact_id: str, kind: ApprovalKind, approver: str, signed: SignedStatement
    ) -> None:
        """Add a permission. Conflict where there is one of this kind."""
        values = {"tenant_id": tenant_id, "artifact_id": artifact_id, "kind": kind, "approver": approver}
        await self._writes.write(self._writes.insert(approvals).values(**values, canonical=_bytes(signed)))

    async def freeze(self, tenant_id: str, artifact_ids: Collection[str], revocation_id: str) -> list[str]:
        """Let none of these go on (§21); those that were not frozen before, sorted."""
        frozen = []
        for artifact_id in sorted(set(artifact_ids)):
            case = await self.locked(tenant_id, artifact_id)
            if not case.frozen_by:
                await self._change(tenant_id, case, frozen_by=revocation_id)
                frozen.append(artifact_id)
        return frozen

    async def _change(self, tenant_id: str, case: Case, **values: Any) -> None:
        await self._writes.write(update(cases).where(*_is(cases, tenant_id, case.artifact_id)).values(**values))


def _is(table: Any, tenant_id: str, artifact_id: str) -> tuple[Any, ...]:
    return (table.c.tenant_id == tenant_id, table.c.artifact_id == artifact_id)


def _bytes(message: Any) -> bytes:
    canonical: bytes = message.SerializeToString(deterministic=True)
    return canonical


def _bundle_ref(signed: bytes) -> str:
    statement = GateBundleStatement.FromString(SignedStatement.FromString(signed).payload)
    return gate_bundle_ref(statement.bundle_hash)


def _empty(tenant_id: str, artifact_id: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("evidence", "report", "bundle", "verdict"), b"")
    return {
        "tenant_id": tenant_id,
        "artifact_id": artifact_id,
        "proposed_at": None,
        "proposers": [],
        "frozen_by": "",
        **nothing,
    }


def _case(row: Row[Any]) -> Case:
    return Case(
        artifact_id=row.artifact_id,
        proposed_at=row.proposed_at,
        proposers=tuple(row.proposers),
        evidence=DecisionEvidence.FromString(row.evidence) if row.evidence else None,
        report=BuilderReport.FromString(row.report) if row.report else None,
        bundle=SignedStatement.FromString(row.bundle) if row.bundle else None,
        verdict=ConsumptionVerdict.FromString(row.verdict) if row.verdict else None,
        frozen_by=row.frozen_by,
    )
