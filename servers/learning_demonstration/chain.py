"""The steps from a correction to live behaviour, each as the call that somebody makes over an owner's channel."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from selene.artifacts.v1 import artifacts_pb2 as artifacts
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ConsumptionProof
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GoldState,
)
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1 import service_pb2 as governance
from selene.learning.v1 import service_pb2 as learning
from selene.learning.v1 import signal_pb2 as signals

from servers import frozen
from servers.cohort import serves
from servers.learning_demonstration.house import SCOPE, TENANT, House, until
from servers.learning_demonstration.voices import Counted, Trial, Turns, Voices, replayed
from servers.learning_demonstration.voices import frozen as frozen_of
from servers.pack_formats import FORMATS, THRESHOLD_PACK
from servers.replaying import replay
from servers.voiceid.calibration.pack import ThresholdPack, parse
from servers.voiceid.consumption import CONSUMPTION

AT_ONCE: Final = 500
"""Items, or labels, of one request: they fit into 64 KiB, which every owner takes."""
DAY: Final = timedelta(hours=24)
PROMOTE_CHECK: Final = timedelta(minutes=16)
"""The promotion is checked every 15 minutes (§29)."""
TO_GOLD: Final = (GOLD_STATE_VALIDATING, GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_APPROVED)
APPROVERS: Final = (("cody", decisions.APPROVAL_KIND_CODE), ("lena", decisions.APPROVAL_KIND_LAUNCH))
PASSED: Final = decisions.Check(passed=True, evidence_ref="make:test")

T = TypeVar("T")


def correction(user: str, number: int, now: datetime, wrong: signals.SignalClass) -> signals.LearningSignal:
    """The user says what was wrong: that somebody was taken for them, or they for nobody."""
    is_accepted = wrong == signals.SIGNAL_CLASS_FALSE_ACCEPT
    signal_id = f"{user}-{number}"
    signal = signals.LearningSignal(
        signal_id=signal_id,
        correlation_id=f"correction-{signal_id}",
        turn_id=f"turn-{signal_id}",
        tenant_id=TENANT,
        user_id=user,
        device_id="kitchen",
        session_id=f"session-{signal_id}",
        source_engine_id="PH1.VOICE.ID",
        source_capability_id="identify",
        reason_code="DECISION_WRONG",
        input_ref=f"stream:{signal_id}",
        output_ref=f"decision:{signal_id}",
        outcome_label="CORRECTED",
        consent_asserted=True,
        privacy_scope=signals.PRIVACY_SCOPE_TENANT,
        retention_class=signals.RETENTION_CLASS_EVIDENCE,
        severity=signals.SEVERITY_HIGH if is_accepted else signals.SEVERITY_MEDIUM,
        confidence_bp=9_000,
        impact_estimate_bp=9_000,
        idempotency_key=f"correction-{signal_id}",
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        signal_class=wrong,
        capture_source=signals.CAPTURE_SOURCE_USER_CORRECTION,
    )
    signal.occurred_at.FromDatetime(now)
    return signal


async def corrections(
    house: House,
    users: Iterable[str],
    *,
    each: int,
    wrong: signals.SignalClass = signals.SIGNAL_CLASS_FALSE_ACCEPT,
) -> list[tuple[str, str]]:
    """Every user consents and corrects so often; user and signal of each correction.

    Each false accept is a defect at which safety is at stake.
    """
    told = []
    for user in users:
        consent = governance.GrantConsentRequest(tenant_id=TENANT, user_id=user, idempotency_key=house.key())
        await house.call(user, house.consents.GrantConsent, consent)
        for number in range(each):
            request = learning.CaptureRequest(signal=correction(user, number, house.clock.now(), wrong))
            reply = await house.call("voiceid", house.signals.Capture, request)
            told.append((user, reply.captured.signal.signal_id))
    return told


async def freeze(house: House, voices: Voices, *, seed: int) -> dict[str, Any]:
    """Put a frozen evaluation set in force, as `selene frozen add` does; what is told of it. Nobody learns from it."""
    active = parse((await house.active_pack()).canonical_json.encode())
    return await frozen.add(house.store, frozen_of(active, voices, seed=seed).canonical(), "drawn by seed", TENANT)


async def propose(house: House, signal_ids: Iterable[str]) -> str:
    """A gold set of voice identity, for two people's labels; its id."""
    request = learning.ProposeGoldSetRequest(
        tenant_id=TENANT,
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        tier=GOLD_TIER_2_HUMAN_VERIFIED,
        scope=SCOPE,
        signal_ids=list(signal_ids),
        idempotency_key=house.key(),
    )
    return (await house.call("ann", house.gold.ProposeGoldSet, request)).candidate.gold_set_id


async def add(house: House, gold_set_id: str, trials: Iterable[Trial]) -> int:
    """Trials become items; how many there are then."""
    count = 0
    for some in _batches(trials):
        request = learning.AddItemsRequest(
            tenant_id=TENANT, gold_set_id=gold_set_id, items=[trial.item for trial in some]
        )
        count = (await house.call("ann", house.gold.AddItems, request)).item_count
    return count


async def label(house: House, gold_set_id: str, trials: Iterable[Trial], reviewer: str) -> int:
    """A reviewer says of each trial what they heard; how many labels there are then."""
    count = 0
    for some in _batches(trials):
        request = learning.LabelItemsRequest(
            tenant_id=TENANT, gold_set_id=gold_set_id, labels=[trial.label() for trial in some]
        )
        count = (await house.call(reviewer, house.gold.LabelItems, request)).label_count
    return count


async def advance(house: House, gold_set_id: str, to_state: GoldState) -> learning.AdvanceGoldSetResponse:
    """Ask for a transition of §17."""
    request = learning.AdvanceGoldSetRequest(tenant_id=TENANT, gold_set_id=gold_set_id, to_state=to_state)
    return await house.call("ann", house.gold.AdvanceGoldSet, request)


async def shown(house: House, gold_set_id: str) -> learning.GetGoldSetResponse:
    """A gold set as it stands."""
    request = learning.GetGoldSetRequest(tenant_id=TENANT, gold_set_id=gold_set_id)
    return await house.call("ann", house.gold.GetGoldSet, request)


async def packaged(house: House, gold_set_id: str) -> ArtifactRow | None:
    """The threshold pack of a gold set, after every transition on the way; None where one is refused."""
    for state in (*TO_GOLD, GOLD_STATE_PACKAGED):
        reply = await advance(house, gold_set_id, state)
        if not reply.transition.applied:
            return None
    return reply.packs[0]


async def loaded(house: House, row: ArtifactRow) -> ThresholdPack:
    """The pack as voice identity's own parser reads it. PackError."""
    return parse(await house.payload(row))


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pack on its way through the gates, and what it came from."""

    row: ArtifactRow
    evidence_ref: str
    signals: int
    active: ThresholdPack
    candidate: ThresholdPack


async def decide(
    house: House, row: ArtifactRow, evidence_ref: str, results: Sequence[decisions.CohortResult]
) -> decisions.DecisionStatement:
    """Ask governance for the activation; who asks is the proposer."""
    evidence = decisions.DecisionEvidence(
        policy=decisions.Check(passed=True, evidence_ref=evidence_ref),
        privacy=decisions.Check(passed=True, evidence_ref=evidence_ref),
        required_cohorts=[result.cohort for result in results],
        cohort_results=results,
        evaluation_ref=evidence_ref,
    )
    request = governance.DecideRequest(
        tenant_id=TENANT,
        artifact_id=row.artifact_id,
        action=decisions.DECISION_ACTION_ACTIVATE,
        evidence=evidence,
        idempotency_key=house.key(),
    )
    return (await house.call("ann", house.gates.Decide, request)).decision.statement


async def builder_report(house: House, proposal: Proposal) -> decisions.BuilderReport:
    """The Builder's report, with the outcome that a replay of the frozen set's trials must reproduce."""
    asked = governance.ReplayArtifactRequest(tenant_id=TENANT, artifact_id=proposal.row.artifact_id)
    expected = (await house.call("builder", house.gates.ReplayArtifact, asked)).replay.replay_hash
    suite = decisions.VerificationSuite(
        **{field.name: PASSED for field in decisions.VerificationSuite.DESCRIPTOR.fields}
    )
    return decisions.BuilderReport(
        report_id=f"report-{proposal.row.artifact_id}",
        source_engines=["PH1.VOICE.ID"],
        signal_count=proposal.signals,
        evidence_refs=[proposal.evidence_ref],
        release_candidate=f"{proposal.row.artifact_type}@{proposal.row.artifact_version}",
        verification=suite,
        expected_replay_hash=expected,
    )


async def report(house: House, proposal: Proposal) -> decisions.GateBundle:
    """Hand the Builder's report in."""
    request = governance.SubmitBuilderReportRequest(
        tenant_id=TENANT,
        artifact_id=proposal.row.artifact_id,
        report=await builder_report(house, proposal),
        idempotency_key=house.key(),
    )
    return (await house.call("builder", house.gates.SubmitBuilderReport, request)).bundle


async def name_fix(house: House, proposal: Proposal, signal_ids: Iterable[str]) -> str:
    """The pack is named to mend the defects that taught it (§8, path A); the fix."""
    request = governance.ProposeDefectFixRequest(
        tenant_id=TENANT,
        signal_ids=list(signal_ids),
        root_cause_ref=proposal.evidence_ref,
        fix_plan_ref=f"artifact:{proposal.row.artifact_id}",
        regression_test=PASSED,
        report=await builder_report(house, proposal),
        artifact_id=proposal.row.artifact_id,
        idempotency_key=house.key(),
    )
    return (await house.call("ann", house.defects.ProposeDefectFix, request)).fix.fix_id


async def close(house: House, fix_id: str, who: str) -> list[str]:
    """A second person closes what the fix mended; the signals of these defects. grpc.aio.AioRpcError."""
    request = governance.CloseDefectsRequest(tenant_id=TENANT, fix_id=fix_id, idempotency_key=house.key())
    reply = await house.call(who, house.defects.CloseDefects, request)
    return [one.statement.signal_id for one in reply.closures]


async def approve(house: House, row: ArtifactRow, who: str, kind: decisions.ApprovalKind) -> governance.ApproveResponse:
    """A person's permission."""
    request = governance.ApproveRequest(
        tenant_id=TENANT, artifact_id=row.artifact_id, kind=kind, idempotency_key=house.key()
    )
    return await house.call(who, house.gates.Approve, request)


async def bundle_ref(house: House, row: ArtifactRow) -> str:
    """What the complete and signed evidence of the gates is named by; empty while something is missing."""
    request = governance.GetGateBundleRequest(tenant_id=TENANT, artifact_id=row.artifact_id)
    return (await house.call("ann", house.gates.GetGateBundle, request)).gate_bundle_ref


async def prove(house: House, proposal: Proposal, gate_bundle_ref: str) -> decisions.ConsumptionVerdict:
    """Voice identity loads the pack, replays the recorded trials and runs it beside the active one (§19)."""
    row = proposal.row
    found = await replay(house.store, CONSUMPTION, row)
    request = governance.SubmitConsumptionProofRequest(
        tenant_id=TENANT,
        proof=ConsumptionProof(
            artifact_id=row.artifact_id,
            artifact_type=row.artifact_type,
            artifact_version=row.artifact_version,
            consumer_engine_id=FORMATS[THRESHOLD_PACK].engine_id,
            consumer_capability_id=FORMATS[THRESHOLD_PACK].capability_id,
            apply_plan_hash=hashlib.sha256(b"the pointer moves; the next decision reads it").digest(),
            replay_validation_hash=found.replay_hash,
            shadow_eval_result_ref=",".join(found.evidence_refs),
            rollback_pointer_ref=row.rollback_pointer_ref,
            gate_bundle_ref=gate_bundle_ref or "incomplete",
        ),
        parser=found.parser,
        shadow=found.shadow,
        idempotency_key=house.key(),
    )
    return (await house.call("voiceid", house.gates.SubmitConsumptionProof, request)).verdict


async def proved_by_itself(house: House, row: ArtifactRow) -> governance.CheckReleaseGateResponse:
    """The gate once voice identity has handed in its own proof: its process looks for packs that want one."""
    return await until(
        lambda: gate(house, row),
        lambda seen: artifacts.CONSUMPTION_BLOCK_REASON_PROOF_MISSING not in seen.block_reasons,
    )


async def gate(house: House, row: ArtifactRow) -> governance.CheckReleaseGateResponse:
    """Which gates are still shut."""
    request = governance.CheckReleaseGateRequest(tenant_id=TENANT, artifact_id=row.artifact_id)
    return await house.call("builder", house.gates.CheckReleaseGate, request)


async def start(house: House, row: ArtifactRow) -> rollouts.Rollout:
    """Begin the staged rollout. grpc.aio.AioRpcError where a gate is shut."""
    request = governance.StartRolloutRequest(tenant_id=TENANT, artifact_id=row.artifact_id, idempotency_key=house.key())
    return (await house.call("ann", house.gates.StartRollout, request)).rollout


async def another_day(
    house: House, rollout: rollouts.Rollout, active: ThresholdPack, candidate: ThresholdPack, turns: Turns
) -> rollouts.Rollout:
    """A day passes, both packs decide on their subjects' turns, the counts are recorded, and the control loops look."""
    since = house.clock.now()
    house.clock.skip(DAY + timedelta(seconds=1))
    baseline, served = _sides(rollout, turns)
    request = governance.RecordKpisRequest(
        tenant_id=TENANT,
        rollout_id=rollout.rollout_id,
        windows=[
            _window(rollouts.ARM_BASELINE, replayed(active, baseline), since, house.clock.now()),
            _window(rollouts.ARM_CANDIDATE, replayed(candidate, served), since, house.clock.now()),
        ],
        idempotency_key=house.key(),
    )
    await house.call("voiceid", house.gates.RecordKpis, request)
    house.clock.skip(PROMOTE_CHECK)
    return await looked(house, rollout.rollout_id)


async def looked(house: House, rollout_id: str) -> rollouts.Rollout:
    """The rollout once the control loops have looked at it as of now."""
    now = house.clock.now()
    return await until(
        lambda: house.rollout(rollout_id),
        lambda seen: seen.state != rollouts.ROLLOUT_STATE_RUNNING or seen.next_check_at.ToDatetime(now.tzinfo) > now,
    )


def _sides(rollout: rollouts.Rollout, turns: Turns) -> tuple[Turns, Turns]:
    """Whose turns the active pack decides, and whose the candidate. The shadow mirrors everyone's."""
    stage = rollout.stages[-1]
    if stage.stage == rollouts.ROLLOUT_STAGE_SHADOW:
        return turns, turns
    chosen = [serves(rollout.rollout_id, subject, stage.share_bp) for subject in turns.subjects]
    return turns.of([not one for one in chosen]), turns.of(chosen)


def _window(arm: rollouts.Arm, counted: Counted, since: datetime, until: datetime) -> rollouts.KpiWindow:
    """The counts as the judge takes them. Who is asked is asked once, and says who they are."""
    window = rollouts.KpiWindow(
        arm=arm,
        turns=counted.turns,
        counts=[
            _count(rollouts.KPI_METRIC_FALSE_REJECTS, counted.false_rejects, counted.genuine),
            _count(rollouts.KPI_METRIC_FALSE_ACCEPTS, counted.false_accepts, counted.impostors),
            _count(rollouts.KPI_METRIC_IDENTITY_PROMPTS, counted.asked, counted.genuine),
            _count(rollouts.KPI_METRIC_REPEAT_PROMPT_VIOLATIONS, 0, counted.asked),
            _count(rollouts.KPI_METRIC_PROMPT_CONFIRMATIONS, counted.asked, counted.asked),
        ],
    )
    window.starts_at.FromDatetime(since)
    window.ends_at.FromDatetime(until)
    return window


def _count(metric: rollouts.KpiMetric, numerator: int, denominator: int) -> rollouts.KpiCount:
    return rollouts.KpiCount(metric=metric, numerator=numerator, denominator=denominator)


async def revoke(house: House, user: str) -> consents.Revocation:
    """The user revokes; what depends on it is frozen on return."""
    request = governance.RevokeConsentRequest(
        tenant_id=TENANT,
        user_id=user,
        trigger=consents.REVOCATION_TRIGGER_USER_REQUEST,
        idempotency_key=house.key(),
    )
    return (await house.call(user, house.consents.RevokeConsent, request)).revocation


async def settled(house: House, user: str, revocation_id: str) -> consents.Revocation:
    """The revocation once the control loops have done every step."""
    request = governance.GetRevocationRequest(tenant_id=TENANT, revocation_id=revocation_id)

    async def look() -> consents.Revocation:
        return (await house.call(user, house.consents.GetRevocation, request)).revocation

    return await until(look, lambda seen: seen.next_step == consents.REVOCATION_STEP_UNSPECIFIED)


async def lineage(house: House, ref: str, *, descendants: bool) -> list[tuple[str, str]]:
    """The edges from a ref outwards: what came from what, the first page of it."""
    request = learning.ListLineageRequest(tenant_id=TENANT, ref=ref, descendants=descendants)
    edges = (await house.call("ann", house.gold.ListLineage, request)).edges
    return [(edge.ancestor_ref, edge.descendant_ref) for edge in edges]


async def rebuilt(house: House, gold_set_id: str) -> str:
    """The gold set that a revocation built anew in place of this one; empty where there is none."""
    request = learning.ListGoldSetsRequest(tenant_id=TENANT)
    candidates = (await house.call("ann", house.gold.ListGoldSets, request)).candidates
    return next((one.gold_set_id for one in candidates if one.rebuilt_from == gold_set_id), "")


def _batches(several: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(several)
    while batch := list(itertools.islice(remaining, AT_ONCE)):
        yield batch
