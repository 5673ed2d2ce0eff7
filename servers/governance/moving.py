"""How rollouts move: judged by what was measured, advanced stage by stage, taken back. Each within one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import (
    GOLD_REASON_POLICY_SCOPE_VIOLATION,
    GOLD_REASON_POST_DEPLOY_REGRESSION,
    GOLD_REASON_UNSPECIFIED,
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GoldReason,
    GoldState,
    GoldTransition,
)
from selene.governance.v1.decision_pb2 import (
    DECISION_ACTION_PROMOTE,
    DECISION_ALLOW,
    DECISION_REASON_BASELINE_REPLACED,
    DECISION_REASON_CONSENT_REVOKED,
    DECISION_REASON_FROZEN_SET_LEAKED,
    DECISION_REASON_JUDGE_ROLLBACK,
    DECISION_REASON_SAFETY_DEFECT_OPEN,
    ArtifactRef,
    DecisionEvidence,
    DecisionReason,
    Gate,
    GovernanceDecision,
)
from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    JUDGE_REASON_CONSENT_REVOKED,
    JUDGE_VERDICT_HOLD,
    JUDGE_VERDICT_ROLLBACK,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    ROLLOUT_STATE_COMPLETED,
    ROLLOUT_STATE_ROLLED_BACK,
    ROLLOUT_STATE_RUNNING,
    Arm,
    Judgement,
    JudgeReason,
    KpiMetric,
    KpiWindow,
    Rollout,
    RolloutStage,
    SafetyCounts,
    StageEntry,
)

from servers import activation
from servers.governance import ENGINE_ID, deciding, evaluating, gates, measures, trail
from servers.governance.consumers import domain_of
from servers.governance.decision import resolve
from servers.governance.judge import TABLE, Trail, guards_measured, judge, unmeasured
from servers.governance.rollout import (
    FIRST,
    PROMOTE_CHECK,
    STAGE_MINIMUM,
    STAGES,
    Move,
    Standing,
    check_promote,
    check_rollback,
    stable_since,
)
from servers.replaying import rollback_target
from store import AuditFilter, Rooms, Transaction, audit_trail
from store.gold import artifact_ref, gold_ref, ids_among

CREATED_BY: Final = ENGINE_ID
LOOKS_BACK: Final = timedelta(days=14)
"""How far back one is judged that everyone has: as long as the longest stability window (§38.9). A regression shows
however long it went well before.
"""
INCIDENTS_AT_ONCE: Final = 1_000
"""How many rows that may be incidents are looked at: one of them is enough to take a rollout back."""
ROWS_OF_A_TURN: Final = 1_000
NO_TRAIL: Final = Trail(0, 0)
"""For figures, where no verdict is asked for."""


def new_rollout(rollout_id: str, row: ArtifactRow, baseline_version: int, now: datetime) -> Rollout:
    """A rollout in its first stage."""
    rollout = Rollout(
        rollout_id=rollout_id,
        tenant_id=row.tenant_id,
        subject=deciding.subject_of(row),
        baseline_version=baseline_version,
        domain=domain_of(row.artifact_type),
        state=ROLLOUT_STATE_RUNNING,
    )
    rollout.started_at.FromDatetime(now)
    rollout.next_check_at.FromDatetime(now + PROMOTE_CHECK.every)
    _enter(rollout, FIRST, now)
    return rollout


def stage_of(rollout: Rollout) -> RolloutStage:
    """The present stage, or the last."""
    return rollout.stages[-1].stage


def is_superseded_by(rollout: Rollout, now: datetime) -> bool:
    """Whether another one of its kind and scope may begin: it serves everyone, and has for a stage's minimum."""
    entered = rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC)
    return stage_of(rollout) == ROLLOUT_STAGE_FULL and now - entered >= STAGE_MINIMUM


async def judged(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> Judgement:
    """What the judge says by the windows of the present stage. StoreUnavailable.

    Where everyone has the candidate there is no baseline any more: it is held against that of the last canary, by what
    was measured lately.
    """
    tenant_id, stage = rollout.tenant_id, stage_of(rollout)
    windows = await _windows(rooms, rollout, now)
    case = await rooms.governance.cases.get(tenant_id, rollout.subject.artifact_id)
    return judge(
        rollout.domain,
        windows,
        trail=await trail.completeness(rooms, rollout),
        now=now,
        safety=await _safety(rooms, rollout, now),
        revoked=bool(case.frozen_by),
        concurrent=stage != ROLLOUT_STAGE_FULL,
    )


def stage_is_over(rollout: Rollout, now: datetime) -> bool:
    """Whether a rollout was in its stage for as long as it has to be."""
    return now - rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC) >= STAGES[stage_of(rollout)].at_least


async def held_by(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> Sequence[JudgeReason]:
    """Why the judge holds a running rollout in its stage; nothing where everyone has the candidate."""
    if stage_of(rollout) == ROLLOUT_STAGE_FULL:
        return ()
    judgement = await judged(rooms, rollout, now)
    return judgement.reasons if judgement.verdict == JUDGE_VERDICT_HOLD else ()


async def still_unmeasured(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> list[tuple[KpiMetric, Arm]]:
    """What has to be measured before a rollout may leave its stage; nothing where everyone has the candidate."""
    stage = stage_of(rollout)
    if stage == ROLLOUT_STAGE_FULL:
        return []
    windows = await _windows(rooms, rollout, now)
    return unmeasured(rollout.domain, windows, mirrored=stage == ROLLOUT_STAGE_SHADOW)


def has_row(artifact_type: str) -> bool:
    """Whether the judge's table is about artifacts of this kind: of any other nothing could show a regression, so that
    none ever leaves the shadow (§20, §29).
    """
    return domain_of(artifact_type) in TABLE


async def _safety(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> SafetyCounts:
    """What the trail of the tenant tells of the candidate since it serves, and lately."""
    began = measures.serving_since(rollout)
    if began is None:
        return SafetyCounts()
    audit, since = audit_trail(rooms), max(began, now - LOOKS_BACK)
    incidents = await audit.incidents(rollout.tenant_id, since, limit=INCIDENTS_AT_ONCE)
    turns = {}
    for correlation_id in {event.turn.correlation_id for event in incidents} - {""}:
        only = AuditFilter(correlation_id=correlation_id)
        page = await audit.page(rollout.tenant_id, limit=ROWS_OF_A_TURN, only=only)
        turns[correlation_id] = [chained.event for chained in page]
    return measures.counted(rollout.subject, incidents, turns)


async def _windows(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> list[KpiWindow]:
    """Of the present stage; where everyone has the candidate, the lately measured ones and the last baseline."""
    tenant_id, stage = rollout.tenant_id, stage_of(rollout)
    since = now - LOOKS_BACK if stage == ROLLOUT_STAGE_FULL else None
    windows = await rooms.governance.rollouts.windows(tenant_id, rollout.rollout_id, [stage], since=since)
    if stage == ROLLOUT_STAGE_FULL:
        earlier = [ROLLOUT_STAGE_CANARY_2]
        before = await rooms.governance.rollouts.windows(tenant_id, rollout.rollout_id, earlier)
        windows += [window for window in before if window.arm == ARM_BASELINE]
    return windows


async def regressed(rooms: Rooms | Transaction, rollout: Rollout, now: datetime) -> bool:
    """Whether a running rollout is to be taken back: what the heartbeat asks, without changing anything."""
    judgement = await judged(rooms, rollout, now)
    if judgement.verdict == JUDGE_VERDICT_ROLLBACK or await baseline_replaced(rooms, rollout):
        return True
    row = await rooms.governance.cases.artifact(rollout.tenant_id, rollout.subject.artifact_id)
    return row is not None and await evaluating.leaked(rooms, row)


async def check(
    tx: Transaction, trusted: deciding.Trusted, rollout: Rollout, now: datetime, *, promotes: bool = True
) -> Move:
    """Judge a running rollout and do what has to be done: take it back, or advance it where the check is due.

    The rollout is locked. Nothing but a regression moves it before its time; without `promotes` nothing else at all.
    It advances only while every gate holds that it began with.
    """
    artifact = await deciding.held(tx, trusted, rollout.tenant_id, rollout.subject.artifact_id)
    judgement = await judged(tx, rollout, now)
    rollout.last_judgement.CopyFrom(judgement)
    if await evaluating.leaked(tx, artifact.row):
        await roll_back(tx, artifact.row, rollout, [DECISION_REASON_FROZEN_SET_LEAKED], now)
        return Move.ROLLBACK
    if await baseline_replaced(tx, rollout):
        await roll_back(tx, artifact.row, rollout, [DECISION_REASON_BASELINE_REPLACED], now)
        return Move.ROLLBACK
    if rollout.HasField("stable_since"):
        since = rollout.stable_since.ToDatetime(tzinfo=UTC)
        rollout.stable_since.FromDatetime(stable_since(since, judgement, now))
    is_due = promotes and rollout.next_check_at.ToDatetime(tzinfo=UTC) <= now
    missing = gates.missing(await deciding.full_evidence(tx, artifact, trusted)) if is_due else ()
    move = await _move(tx, artifact, rollout, judgement, now, is_due=is_due)
    if move is Move.ADVANCE and missing:
        # What passed at the start holds no more: nothing goes on until it does.
        move = Move.STAY
    if is_due:
        rollout.next_check_at.FromDatetime(now + PROMOTE_CHECK.every)
    if move is Move.ROLLBACK:
        await roll_back(tx, artifact.row, rollout, [DECISION_REASON_JUDGE_ROLLBACK], now)
        return move
    if move is Move.ADVANCE:
        await _advance(tx, artifact, rollout, now)
    await tx.governance.rollouts.save(rollout, rollout.next_check_at.ToDatetime(tzinfo=UTC))
    if move is Move.STAY:
        _note_look(tx, rollout, judgement, missing, artifact.open_defects if is_due else ())
    return move


async def baseline_replaced(rooms: Rooms | Transaction, rollout: Rollout) -> bool:
    """Whether another version serves than the one that the candidate is held against."""
    if stage_of(rollout) == ROLLOUT_STAGE_FULL:
        return False
    subject = rollout.subject
    pointer = await rooms.artifacts.pointer(subject.artifact_type, rollout.tenant_id, subject.scope)
    return (pointer.active_version if pointer else 0) != rollout.baseline_version


async def _move(
    tx: Transaction,
    artifact: deciding.Held,
    rollout: Rollout,
    judgement: Judgement,
    now: datetime,
    *,
    is_due: bool,
) -> Move:
    stage = STAGES[stage_of(rollout)]
    is_mirrored = is_due and stage.stage == ROLLOUT_STAGE_SHADOW
    standing = Standing(
        stage=stage.stage,
        entered_at=rollout.stages[-1].entered_at.ToDatetime(tzinfo=UTC),
        judgement=judgement,
        guards_measured=is_mirrored and guards_measured(rollout.domain, await _windows(tx, rollout, now)),
        stability_allowed=is_due and stage.needs_stability and await _promotable(tx, artifact, now),
    )
    return check_promote(standing, now) if is_due else check_rollback(standing)


async def _promotable(tx: Transaction, artifact: deciding.Held, now: datetime) -> bool:
    evidence = artifact.case.evidence or DecisionEvidence()
    shown = await deciding.examined(tx, artifact.row, DECISION_ACTION_PROMOTE)
    known = await deciding.preflight(tx, artifact, DECISION_ACTION_PROMOTE, evidence, now, shown)
    return resolve(known).decision == DECISION_ALLOW


async def _advance(tx: Transaction, artifact: deciding.Held, rollout: Rollout, now: datetime) -> None:
    left = STAGES[stage_of(rollout)]
    if left.following is None:
        raise ValueError(f"nothing follows {RolloutStage.Name(left.stage)}")
    if left.needs_stability:
        evidence = artifact.case.evidence or DecisionEvidence()
        await deciding.decide(tx, artifact, DECISION_ACTION_PROMOTE, evidence, now, actor=trail.SYSTEM)
    rollout.stages[-1].left_at.FromDatetime(now)
    rollout.stages[-1].judgement.CopyFrom(rollout.last_judgement)
    _enter(rollout, left.following, now)
    if left.following == ROLLOUT_STAGE_CANARY_1:
        rollout.stable_since.FromDatetime(now)
    if left.following == ROLLOUT_STAGE_FULL:
        await _activate(tx, artifact.row, rollout, now)
    trail.note(
        tx,
        rollout.tenant_id,
        rollout.subject,
        activation.ADVANCED,
        "STAGE_PASSED",
        facts={"rollout_id": rollout.rollout_id, "stage": _stage_name(left.following)},
    )


async def _activate(tx: Transaction, row: ArtifactRow, rollout: Rollout, now: datetime) -> None:
    """Move the pointer: running servers take the candidate up, and N-1 stays to return to."""
    pointer = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
    if pointer is None:
        target = await rollback_target(tx, row)
        if target is not None:
            await tx.artifacts.activate(row.artifact_type, row.tenant_id, row.scope, target.artifact_version)
    await tx.artifacts.activate(row.artifact_type, row.tenant_id, row.scope, row.artifact_version)
    for earlier in await tx.governance.rollouts.running(row.tenant_id, row.artifact_type, row.scope):
        if earlier.rollout_id != rollout.rollout_id:
            await _supersede(tx, earlier, now)
    await _move_gold(tx, row, GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED, GOLD_REASON_UNSPECIFIED, now)


async def _supersede(tx: Transaction, earlier: Rollout, now: datetime) -> None:
    locked = await tx.governance.rollouts.locked(earlier.tenant_id, earlier.rollout_id)
    if locked is None or locked.state != ROLLOUT_STATE_RUNNING:
        return
    locked.state = ROLLOUT_STATE_COMPLETED
    locked.ended_at.FromDatetime(now)
    locked.stages[-1].left_at.FromDatetime(now)
    await tx.governance.rollouts.save(locked, now)
    facts = {"rollout_id": locked.rollout_id}
    trail.note(tx, locked.tenant_id, locked.subject, activation.SUPERSEDED, "LATER_ROLLOUT", facts=facts)


async def roll_back(
    tx: Transaction,
    row: ArtifactRow,
    rollout: Rollout,
    reasons: list[DecisionReason],
    now: datetime,
    *,
    actor: str = trail.SYSTEM,
    idempotency_key: str = "",
    why: str = "",
) -> tuple[GovernanceDecision, ArtifactRef | None]:
    """Take a running rollout back, with the signed decision, and the row that serves from now on. `why`: a person's.

    None where the candidate does not serve everyone, or where there is nothing that may serve: then nothing does.
    """
    decision = await deciding.return_decision(tx, row, reasons, now, actor=actor)
    returned = None
    if stage_of(rollout) == ROLLOUT_STAGE_FULL and await _serves(tx, row):
        returned = await take_back(tx, row, f"rollback:{rollout.rollout_id}")
    await _move_gold(tx, row, GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED, _reverted_by(rollout, reasons), now)
    rollout.state = ROLLOUT_STATE_ROLLED_BACK
    rollout.rollback_reason = reasons[0]
    rollout.ended_at.FromDatetime(now)
    rollout.stages[-1].left_at.FromDatetime(now)
    rollout.stages[-1].judgement.CopyFrom(rollout.last_judgement)
    await tx.governance.rollouts.save(rollout, now)
    judged_so = [JudgeReason.Name(each) for each in rollout.last_judgement.reasons]
    is_judged = rollout.last_judgement.verdict == JUDGE_VERDICT_ROLLBACK and bool(judged_so)
    trail.note(
        tx,
        rollout.tenant_id,
        rollout.subject,
        activation.ROLLED_BACK,
        (judged_so[0] if is_judged else DecisionReason.Name(reasons[0]))
        .removeprefix("JUDGE_REASON_")
        .removeprefix("DECISION_REASON_"),
        actor=actor,
        idempotency_key=idempotency_key,
        facts={
            "rollout_id": rollout.rollout_id,
            "stage": _stage_name(stage_of(rollout)),
            "returned_version": str(returned.artifact_version) if returned else "0",
            **({"why": why} if why else {}),
        },
    )
    return decision, returned


async def take_back(tx: Transaction, row: ArtifactRow, idempotency_key: str) -> ArtifactRef | None:
    """Have the version before serve again, as a new and higher one; None where nothing is left that may.

    The version before is N-1, or where a revocation froze its content, the one that it would have returned to.
    """
    line = (row.artifact_type, row.tenant_id, row.scope)
    await tx.governance.rollouts.one_at_a_time(row.tenant_id)
    pointer = await tx.artifacts.pointer(*line)
    if pointer is None:
        return None
    revoked = await revoked_contents(tx, row)
    target = await _version(tx, row, pointer.rollback_version)
    while target is not None and target.package_hash in revoked:
        target = await rollback_target(tx, target)
    if target is None:
        await tx.artifacts.withdraw(*line)
        return None
    returned = await tx.artifacts.rollback(
        *line, created_by=CREATED_BY, idempotency_key=idempotency_key, version=target.artifact_version
    )
    return deciding.subject_of(returned)


async def _serves(tx: Transaction, row: ArtifactRow) -> bool:
    """Whether consumers load this very version, and not one that came after it. It stays so while the lock is held."""
    await tx.governance.rollouts.one_at_a_time(row.tenant_id)
    pointer = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
    return pointer is not None and pointer.active_version == row.artifact_version


async def revoked_contents(tx: Transaction, row: ArtifactRow) -> frozenset[bytes]:
    """The contents of an artifact's line that a revocation froze: no version with one of them may serve."""
    found = set()
    for version in await tx.artifacts.versions(row.artifact_type, row.tenant_id, row.scope):
        if (await tx.governance.cases.get(row.tenant_id, version.artifact_id)).frozen_by:
            found.add(version.package_hash)
    return frozenset(found)


async def _version(tx: Transaction, row: ArtifactRow, version: int) -> ArtifactRow | None:
    if not version:
        return None
    return await tx.artifacts.version(row.artifact_type, row.tenant_id, row.scope, version)


def _reverted_by(rollout: Rollout, reasons: list[DecisionReason]) -> GoldReason:
    """What took gold back: a revocation, whoever acted on it first, or else a regression."""
    judged = rollout.last_judgement
    is_revoked = judged.verdict == JUDGE_VERDICT_ROLLBACK and JUDGE_REASON_CONSENT_REVOKED in judged.reasons
    if is_revoked or DECISION_REASON_CONSENT_REVOKED in reasons:
        return GOLD_REASON_POLICY_SCOPE_VIOLATION
    return GOLD_REASON_POST_DEPLOY_REGRESSION


async def _move_gold(
    tx: Transaction,
    row: ArtifactRow,
    from_state: GoldState,
    to_state: GoldState,
    reason: GoldReason,
    now: datetime,
) -> None:
    """The gold that an artifact was built from follows it (§17)."""
    refs = await tx.gold.lineage.closure(row.tenant_id, [artifact_ref(row.artifact_id)], descendants=False)
    gold_set_ids = sorted(ids_among(refs, gold_ref))
    turn = trail.turn_of(row.artifact_id)
    await move_gold(tx, row.tenant_id, gold_set_ids, from_state, to_state, reason, now, turn=turn)


async def move_gold(
    tx: Transaction,
    tenant_id: str,
    gold_set_ids: Iterable[str],
    from_state: GoldState,
    to_state: GoldState,
    reason: GoldReason,
    now: datetime,
    *,
    turn: TurnRef,
) -> None:
    """Move those that are in `from_state`, each with a row of its own."""
    for gold_set_id in gold_set_ids:
        gold = await tx.gold.locked(tenant_id, gold_set_id)
        if gold is None or gold.message.state != from_state:
            continue
        transition = GoldTransition(
            gold_set_id=gold_set_id,
            from_state=from_state,
            to_state=to_state,
            applied=True,
            reason_code=reason,
            actor=trail.SYSTEM,
        )
        transition.occurred_at.FromDatetime(now)
        await tx.gold.decide(tenant_id, transition)
        tx.audit(
            tenant_id=tenant_id,
            owner=ENGINE_ID,
            actor=trail.SYSTEM,
            transition=activation.GOLD_MOVED[to_state],
            reason_code=GoldReason.Name(reason).replace("_REASON_", "_") if reason else "OK",
            scope=gold.message.scope,
            turn=turn,
            facts={"gold_set_id": gold_set_id, "from": _state_name(from_state), "to": _state_name(to_state)},
        )


def _state_name(state: GoldState) -> str:
    return GoldState.Name(state).removeprefix("GOLD_STATE_")


def _enter(rollout: Rollout, stage: RolloutStage, now: datetime) -> None:
    entry = StageEntry(stage=stage, share_bp=STAGES[stage].share_bp)
    entry.entered_at.FromDatetime(now)
    rollout.stages.append(entry)


def _note_look(
    tx: Transaction, rollout: Rollout, judgement: Judgement, missing: Sequence[Gate], open_defects: Sequence[str]
) -> None:
    """A look that moved nothing is a row too: the trail says why a rollout stayed, which gates it lacks, and which
    defects hold it.
    """
    judged_so = JudgeReason.Name(judgement.reasons[0]) if judgement.reasons else "JUDGE_REASON_UNSPECIFIED"
    held = DecisionReason.Name(DECISION_REASON_SAFETY_DEFECT_OPEN)
    trail.note(
        tx,
        rollout.tenant_id,
        rollout.subject,
        "rollout.judged",
        (held if open_defects else judged_so).removeprefix("DECISION_REASON_").removeprefix("JUDGE_REASON_"),
        facts={
            "rollout_id": rollout.rollout_id,
            "stage": _stage_name(stage_of(rollout)),
            **({"missing": ",".join(Gate.Name(gate).removeprefix("GATE_") for gate in missing)} if missing else {}),
            **trail.told_defects(open_defects),
        },
        correlation_id=trail.watch_of(rollout.rollout_id),
    )


def _stage_name(stage: RolloutStage) -> str:
    return RolloutStage.Name(stage).removeprefix("ROLLOUT_STAGE_")
