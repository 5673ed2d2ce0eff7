"""What governance knows of an artifact, what it decides by that, and the statements that it signs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf.message import Message
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionBlockReason
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_TENANT, SCOPE_TYPE_UNSPECIFIED
from selene.governance.v1.consent_pb2 import REVOCATION_STEP_GOV_ROLLBACK
from selene.governance.v1.decision_pb2 import (
    DECISION_ACTION_ACTIVATE,
    DECISION_ALLOW,
    DECISION_REASON_OPERATOR_REQUEST,
    DECISION_REASON_SAFETY_DEFECT_OPEN,
    DECISION_ROLLBACK,
    Approval,
    ApprovalStatement,
    ArtifactRef,
    Check,
    Decision,
    DecisionAction,
    DecisionEvidence,
    DecisionReason,
    DecisionStatement,
    GateBundle,
    GateBundleStatement,
    GovernanceDecision,
    SignedStatement,
)

from servers import activation
from servers.activation import GOING_FORWARD
from servers.governance import approvals, cohort_gates, defect, evaluating, gates, proof, references, trail
from servers.governance.consumers import CONSUMERS, consumes, domain_of, learned_of
from servers.governance.decision import (
    STABILITY_DAYS,
    Preflight,
    Resolution,
    on_activation,
    resolve,
)
from servers.governance.evaluating import Examined
from servers.governance.origin import Origin, policy_holds, privacy_holds, telling
from servers.governance.revocation import late
from servers.governance.rollout import stability_days
from servers.governance.statement import StatementRefused, canonical, digest, opened, payload_type, signed_bytes
from servers.replaying import beside, rollback_target
from servers.runtime.storage import not_found
from store import Rooms, Transaction
from store.gold import artifact_ref, gold_ref, ids_among, signal_ref
from store.governance import Case, gate_bundle_ref

Statement = TypeVar("Statement", bound=Message)

Reads = Rooms | Transaction
Trusted = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Held:
    """An artifact with everything that governance holds of it. What is signed was checked."""

    row: ArtifactRow
    case: Case
    decisions: tuple[GovernanceDecision, ...]
    approvals: tuple[Approval, ...]
    open_defects: tuple[str, ...]
    """The signals of open defects that hold it, the oldest first, as many as are told of (§8)."""

    @property
    def subject(self) -> ArtifactRef:
        """The artifact as statements name it."""
        return subject_of(self.row)

    @property
    def evidence(self) -> gates.Evidence:
        """As the gates go by it, without the consumption proof."""
        given = {each.statement.kind: each.statement.approver for each in self.approvals}
        return gates.Evidence(
            decision=on_activation(each.statement for each in self.decisions),
            report=self.case.report,
            approvals=approvals.distinct(given, set(self.case.proposers)),
            is_held=bool(self.open_defects),
        )

    @property
    def bundle(self) -> GateBundle:
        """The evidence of the gates as it is now: what counts, and what is missing."""
        allowed = [
            each
            for each in self.decisions
            if each.statement.action == DECISION_ACTION_ACTIVATE and each.statement.decision == DECISION_ALLOW
        ][-1:]
        return GateBundle(
            tenant_id=self.row.tenant_id,
            subject=self.subject,
            decision=allowed[0] if allowed and self.evidence.decision == DECISION_ALLOW else None,
            builder_report=self.case.report,
            approvals=self.approvals,
            missing=gates.bundled(self.evidence),
        )


def subject_of(row: ArtifactRow) -> ArtifactRef:
    """A row of the ledger as statements name it."""
    return ArtifactRef(
        artifact_id=row.artifact_id,
        artifact_type=row.artifact_type,
        artifact_version=row.artifact_version,
        scope=row.scope,
        package_hash=row.package_hash,
    )


async def held(rooms: Reads, trusted: Trusted, tenant_id: str, artifact_id: str, case: Case | None = None) -> Held:
    """Everything of an artifact. Refuses with RESOURCE_NOT_FOUND; StoreUnavailable.

    A decision or a permission whose signature does not hold, or that is of another artifact, counts for nothing.
    """
    cases = rooms.governance.cases
    row = await cases.artifact(tenant_id, artifact_id)
    if row is None:
        raise not_found("artifact", artifact_id)
    decided = [
        GovernanceDecision(statement=statement, signed=signed)
        for signed in await cases.decisions(tenant_id, artifact_id)
        if (statement := _opened(signed, DecisionStatement, trusted)) is not None
        and statement.subject == subject_of(row)
    ]
    permitted = [
        Approval(statement=permission, signed=signed)
        for signed in await cases.approvals(tenant_id, artifact_id)
        if (permission := _opened(signed, ApprovalStatement, trusted)) is not None
        and permission.subject == subject_of(row)
    ]
    holding = await rooms.governance.defects.holding(
        tenant_id, learned_of(row.artifact_type), artifact_id, limit=defect.NAMED
    )
    return Held(row, case or await cases.get(tenant_id, artifact_id), tuple(decided), tuple(permitted), tuple(holding))


def _opened(signed: SignedStatement, kind: type[Statement], trusted: Trusted) -> Statement | None:
    try:
        return opened(signed, kind, trusted)
    except StatementRefused:
        return None


def sign(tx: Transaction, message: Message) -> SignedStatement:
    """The message, signed by the deployment."""
    kind, payload = payload_type(type(message)), canonical(message)
    made = tx.governance.sign(signed_bytes(kind, payload))
    return SignedStatement(payload_type=kind, payload=payload, signature=made.signature, signing_key_id=made.key_id)


async def consent_active(rooms: Reads, row: ArtifactRow, now: datetime) -> bool:
    """Whether everyone whose signals the artifact came from still consents."""
    return await _consent_holds(rooms, row, await _came_from(rooms, row), now)


async def _consent_holds(rooms: Reads, row: ArtifactRow, came_from: Collection[str], now: datetime) -> bool:
    return not await rooms.governance.consents.any_ended(row.tenant_id, ids_among(came_from, signal_ref), now)


async def _came_from(rooms: Reads, row: ArtifactRow) -> set[str]:
    return await rooms.gold.lineage.closure(row.tenant_id, [artifact_ref(row.artifact_id)], descendants=False)


def tenant_verified(row: ArtifactRow, tenant_id: str) -> bool:
    """Whether the artifact is the tenant's, and applies to nobody beyond it."""
    scope = row.scope
    if row.tenant_id != tenant_id or scope.scope_type in (SCOPE_TYPE_UNSPECIFIED, SCOPE_TYPE_GLOBAL):
        return False
    return scope.scope_type != SCOPE_TYPE_TENANT or scope.scope_id == tenant_id


async def examined(rooms: Reads, row: ArtifactRow, action: DecisionAction) -> Examined:
    """What the frozen evaluation set shows of an artifact that is to go on, beside the version that serves now."""
    if action not in GOING_FORWARD:
        return Examined()
    return await evaluating.examine(rooms, row, await beside(rooms, row))


async def preflight(
    rooms: Reads,
    artifact: Held,
    action: DecisionAction,
    evidence: DecisionEvidence,
    now: datetime,
    shown: Examined,
) -> Preflight:
    """Everything that the decision goes by. A cohort passes where it does on the frozen set too, if there is one, and
    none does by an evaluation that is nowhere. Policy and privacy are what the server knows; what the proposer says of
    them can only speak against.
    """
    row, frozen_by = artifact.row, artifact.case.frozen_by
    limits = cohort_gates.limits_of(domain_of(row.artifact_type))
    passing = cohort_gates.passing(evidence.cohort_results, limits)
    if not await references.resolve(rooms, artifact, [evidence.evaluation_ref]):
        passing = frozenset()
    came_from = await _came_from(rooms, row)
    origin = await _origin(rooms, artifact, came_from) if action in GOING_FORWARD else Origin(row=row)
    if shown.evaluation is not None:
        passing &= cohort_gates.passing(shown.evaluation.candidate.cohorts.values(), limits)
    return Preflight(
        action=action,
        has_consumer=row.artifact_type in CONSUMERS,
        policy_passed=policy_holds(origin) and await _checked(rooms, artifact, evidence.policy),
        privacy_passed=privacy_holds(origin) and await _checked(rooms, artifact, evidence.privacy),
        consent_active=await _consent_holds(rooms, row, came_from, now),
        tenant_verified=tenant_verified(row, row.tenant_id),
        rollback_resolves=await rollback_target(rooms, row) is not None,
        required_cohorts=frozenset(evidence.required_cohorts),
        passing_cohorts=passing,
        required_dimensions=limits.dimensions,
        frozen=shown.finding,
        confusion_reduced=shown.evaluation is None or shown.evaluation.confusion_reduced,
        stability_days=await _stable_days(rooms, row, now),
        revoked=bool(frozen_by),
        within_sla=not frozen_by or await _within_sla(rooms, row.tenant_id, frozen_by, now),
        defects_closed=not artifact.open_defects,
    )


async def _checked(rooms: Reads, artifact: Held, check: Check) -> bool:
    """Whether the proposer made a check, and what they refer to is there."""
    return check.passed and await references.resolve(rooms, artifact, [check.evidence_ref])


async def _origin(rooms: Reads, artifact: Held, came_from: Collection[str]) -> Origin:
    """Where the artifact came from, as the store tells it."""
    row = artifact.row
    signal_ids, gold_set_ids = sorted(ids_among(came_from, signal_ref)), sorted(ids_among(came_from, gold_ref))
    found = [await rooms.gold.get(row.tenant_id, each) for each in gold_set_ids]
    gold = tuple(candidate.message for candidate in found if candidate is not None)
    items = [item for each in telling(gold) for item in await rooms.gold.evidence(row.tenant_id, each)]
    return Origin(
        row=row,
        signal_ids=frozenset(signal_ids),
        signals=await rooms.learning.signals.by_ids(row.tenant_id, signal_ids),
        gold_set_ids=frozenset(gold_set_ids),
        gold=gold,
        items=tuple(items),
        rules=tuple(await rooms.routing.rules.holding(row.tenant_id)),
        stated=approvals.stated(
            ((each.statement.kind, each.statement.approver) for each in artifact.approvals),
            set(artifact.case.proposers),
        ),
    )


async def _stable_days(rooms: Reads, row: ArtifactRow, now: datetime) -> int:
    for rollout in await rooms.governance.rollouts.of_artifact(row.tenant_id, row.artifact_id):
        if rollout.HasField("stable_since") and not rollout.HasField("ended_at"):
            since = rollout.stable_since.ToDatetime(tzinfo=UTC)
            return stability_days(since, now, STABILITY_DAYS[-1])
    return 0


async def _within_sla(rooms: Reads, tenant_id: str, revocation_id: str, now: datetime) -> bool:
    kept = await rooms.governance.consents.revocation(tenant_id, revocation_id)
    if kept is None:
        return False
    return not late(REVOCATION_STEP_GOV_ROLLBACK, kept.message.captured_at.ToDatetime(tzinfo=UTC), now)


async def decide(
    tx: Transaction,
    artifact: Held,
    action: DecisionAction,
    evidence: DecisionEvidence,
    now: datetime,
    *,
    actor: str,
    idempotency_key: str = "",
) -> GovernanceDecision:
    """Decide, sign, keep and audit; with what the frozen evaluation set showed."""
    shown = await examined(tx, artifact.row, action)
    await evaluating.keep(tx, artifact.row, shown, actor=actor)
    resolution = resolve(await preflight(tx, artifact, action, evidence, now, shown))
    return await keep(
        tx,
        artifact.row,
        action,
        resolution,
        digest(evidence),
        now,
        actor=actor,
        idempotency_key=idempotency_key,
        open_defects=artifact.open_defects if DECISION_REASON_SAFETY_DEFECT_OPEN in resolution.reasons else (),
    )


async def return_decision(
    tx: Transaction, row: ArtifactRow, reasons: Sequence[DecisionReason], now: datetime, *, actor: str
) -> GovernanceDecision:
    """A ROLLBACK that was found necessary elsewhere: signed, kept and audited."""
    resolution = Resolution(DECISION_ROLLBACK, tuple(reasons) or (DECISION_REASON_OPERATOR_REQUEST,))
    return await keep(tx, row, DecisionAction.DECISION_ACTION_ROLLBACK, resolution, bytes(32), now, actor=actor)


async def keep(
    tx: Transaction,
    row: ArtifactRow,
    action: DecisionAction,
    resolution: Resolution,
    evidence_hash: bytes,
    now: datetime,
    *,
    actor: str,
    idempotency_key: str = "",
    open_defects: Sequence[str] = (),
) -> GovernanceDecision:
    """Sign a resolution, keep it with the artifact and audit it."""
    subject = subject_of(row)
    statement = DecisionStatement(
        decision_id=tx.ids.new(),
        tenant_id=row.tenant_id,
        subject=subject,
        action=action,
        decision=resolution.decision,
        reasons=resolution.reasons,
        evidence_hash=evidence_hash,
        actor=actor,
        open_defects=open_defects,
    )
    statement.decided_at.FromDatetime(now)
    signed = sign(tx, statement)
    await tx.governance.cases.keep_decision(row.tenant_id, row.artifact_id, signed)
    first = DecisionReason.Name(resolution.reasons[0]) if resolution.reasons else "DECISION_REASON_UNSPECIFIED"
    trail.note(
        tx,
        row.tenant_id,
        subject,
        activation.DECIDED,
        first.removeprefix("DECISION_REASON_"),
        actor=actor,
        idempotency_key=idempotency_key,
        facts={
            "action": DecisionAction.Name(action).removeprefix("DECISION_ACTION_"),
            "decision": Decision.Name(resolution.decision).removeprefix("DECISION_"),
            "decision_id": statement.decision_id,
            **trail.told_defects(open_defects),
        },
    )
    return GovernanceDecision(statement=statement, signed=signed)


def bundle_ref(bundle: GateBundle) -> str:
    """What a consumption proof names the bundle by; empty while something is missing."""
    return "" if bundle.missing else gate_bundle_ref(digest(bundle))


async def settle_bundle(tx: Transaction, artifact: Held, trusted: Trusted, now: datetime) -> GateBundle:
    """The bundle as it is now; signed and kept where it became complete, or complete otherwise than before."""
    bundle = artifact.bundle
    if bundle.missing or signature_of(artifact, trusted) is not None:
        return bundle
    statement = GateBundleStatement(
        tenant_id=artifact.row.tenant_id, subject=artifact.subject, bundle_hash=digest(bundle)
    )
    statement.completed_at.FromDatetime(now)
    await tx.governance.cases.keep_bundle(artifact.row.tenant_id, artifact.case, sign(tx, statement))
    trail.note(tx, artifact.row.tenant_id, artifact.subject, activation.COMPLETED, "GATE_BUNDLE_SIGNED")
    return bundle


def signature_of(artifact: Held, trusted: Trusted) -> SignedStatement | None:
    """The signature over the bundle as it is now; None where there is none, or one of another bundle."""
    signed = artifact.case.bundle
    if signed is None or artifact.bundle.missing:
        return None
    statement = _opened(signed, GateBundleStatement, trusted)
    return signed if statement is not None and statement.bundle_hash == digest(artifact.bundle) else None


def permitted_hash(artifact: Held, trusted: Trusted) -> bytes:
    """SHA-256 of the bundle that was signed last, also where something of it was withdrawn since; empty: none was."""
    signed = artifact.case.bundle
    statement = _opened(signed, GateBundleStatement, trusted) if signed is not None else None
    return statement.bundle_hash if statement is not None else b""


async def proof_blocks(rooms: Reads, artifact: Held, trusted: Trusted) -> tuple[ConsumptionBlockReason, ...]:
    """Why the artifact may not become ACTIVE: by the proof that was handed in, by what governance found itself then,
    and by what is known now (§19).
    """
    verdict, row = artifact.case.verdict, artifact.row
    engine = verdict.proof.consumer_engine_id if verdict else ""
    is_signed = signature_of(artifact, trusted) is not None
    return proof.blocked(
        proof.Claim(
            subject=artifact.subject,
            proof=verdict.proof if verdict else None,
            parser=verdict.parser if verdict else None,
            shadow=verdict.shadow if verdict else None,
            found=verdict.found if verdict and verdict.HasField("found") else None,
            consumer_known=consumes(engine, row.artifact_type) and not _is_own_proof(artifact),
            expected_replay_hash=artifact.case.report.expected_replay_hash if artifact.case.report else b"",
            rollback_pointer_ref=row.rollback_pointer_ref,
            rollback_resolves=await rollback_target(rooms, row) is not None,
            gate_bundle_ref=bundle_ref(artifact.bundle) if is_signed else "",
        )
    )


def _is_own_proof(artifact: Held) -> bool:
    case = artifact.case
    consumer = case.verdict.proved_by if case.verdict else ""
    given = {each.statement.kind: each.statement.approver for each in artifact.approvals}
    return approvals.own_proof(consumer, proposers=set(case.proposers), given=given) is not None


async def full_evidence(rooms: Reads, artifact: Held, trusted: Trusted) -> gates.Evidence:
    """As the gates go by it, with the consumption proof."""
    passed = not await proof_blocks(rooms, artifact, trusted)
    return replace(artifact.evidence, proof_passed=passed)
