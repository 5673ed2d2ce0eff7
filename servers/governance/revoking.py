"""How a consent ends (§21): captured and frozen in one transaction, then step by step until nothing of it serves."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_REVOKED_PENDING_REBUILD, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope, TurnRef
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.gold.v1.gold_pb2 import GOLD_REASON_POLICY_SCOPE_VIOLATION, GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED
from selene.governance.v1.consent_pb2 import (
    REVOCATION_STEP_CAPTURE,
    REVOCATION_STEP_FREEZE,
    REVOCATION_STEP_GOV_ROLLBACK,
    REVOCATION_STEP_IMPACT_GRAPH,
    REVOCATION_STEP_INVALIDATE,
    REVOCATION_STEP_REACTIVATE,
    REVOCATION_STEP_REBUILD,
    Erasure,
    ErasureReceipt,
    Revocation,
    RevocationStep,
    RevocationStepRecord,
    RevocationTrigger,
)
from selene.governance.v1.decision_pb2 import (
    DECISION_REASON_CONSENT_REVOKED,
    DECISION_REASON_REVOCATION_SLA_MISSED,
    ArtifactRef,
    DecisionReason,
)
from selene.governance.v1.rollout_pb2 import ROLLOUT_STATE_RUNNING

from servers import activation
from servers.governance import ENGINE_ID, deciding, moving, trail
from servers.governance.revocation import (
    INVALIDATED,
    REASONS,
    REBUILT,
    due_at,
    late,
    next_step,
    reason_code,
    step_of,
)
from servers.runtime.context import current_correlation
from store import Transaction
from store.gold import signal_ref
from store.governance import KeptRevocation

ERASED: Final = "revocation.erased"
KEYS_NAMED: Final = 500
"""Up to so many destroyed keys are named one by one; more stand in the receipt by their number and their hash."""

STATUS_EVENT: Final = "ARTIFACT_STATUS_EVENT_V1"
"""An append-only row of the ledger that states what became of an artifact; nothing consumes it."""


async def begin(
    tx: Transaction,
    tenant_id: str,
    user_id: str,
    trigger: RevocationTrigger,
    now: datetime,
    *,
    actor: str,
    idempotency_key: str = "",
) -> Revocation:
    """End a consent, find everything that depends on it and freeze that: from here on none of it goes live.

    What was said and recorded under the consent is erased in the same breath: nothing that follows needs it.
    """
    revocation = Revocation(revocation_id=tx.ids.new(), tenant_id=tenant_id, user_id=user_id, trigger=trigger)
    revocation.captured_at.FromDatetime(now)
    await tx.governance.consents.end(tenant_id, user_id)
    # What is being packaged or activated is waited for: the closure reaches it, or it comes after and finds the freeze.
    await tx.governance.rollouts.one_at_a_time(tenant_id)
    signals = await tx.governance.consents.signal_ids(tenant_id, user_id, now)
    refs = await tx.gold.lineage.closure(tenant_id, map(signal_ref, signals), descendants=True)
    revocation.affected_gold_set_ids.extend(sorted(_named(refs, "gold:")))
    rows = [await tx.governance.cases.artifact(tenant_id, each) for each in sorted(_named(refs, "artifact:"))]
    revocation.affected_artifacts.extend(deciding.subject_of(row) for row in rows if row is not None)
    await tx.gold.freeze(tenant_id, revocation.affected_gold_set_ids)
    artifact_ids = [subject.artifact_id for subject in revocation.affected_artifacts]
    await tx.governance.cases.freeze(tenant_id, artifact_ids, revocation.revocation_id)
    affected = len(revocation.affected_artifacts) + len(revocation.affected_gold_set_ids)
    for step, many in (
        (REVOCATION_STEP_CAPTURE, len(signals)),
        (REVOCATION_STEP_FREEZE, affected),
        (REVOCATION_STEP_IMPACT_GRAPH, affected),
    ):
        _done(tx, revocation, step, many, now, actor=actor, idempotency_key=idempotency_key)
    await _erase(tx, revocation, now, actor=actor)
    await tx.governance.consents.capture(revocation, len(signals))
    return revocation


async def _erase(tx: Transaction, revocation: Revocation, now: datetime, *, actor: str) -> None:
    """Destroy the keys of what the consent covered: what was learned from the user, and their voice."""
    tenant_id, user_id = revocation.tenant_id, revocation.user_id
    # Made first: afterwards the key that it is salted with is gone, which is the point.
    user = await tx.vault.commitment(tenant_id, user_id, b"actor") if user_id else b""
    learned = await tx.learning.signals.erase(tenant_id, user_id)
    voice = await tx.voiceid.erasures.erase(tenant_id, user_id)
    items, labels = await tx.gold.under_keys(tenant_id, revocation.affected_gold_set_ids, learned.key_ids)
    key_ids = sorted((*learned.key_ids, *voice.key_ids))
    erasure = Erasure(
        subject=user.hex(),
        keys=len(key_ids),
        key_ids=[each.hex() for each in key_ids] if len(key_ids) <= KEYS_NAMED else (),
        key_ids_sha256=sha256(b"".join(key_ids)).digest(),
        signals=learned.signals,
        gold_items=items,
        gold_labels=labels,
        voice_profiles=voice.profiles,
        voice_clips=voice.clips,
        voice_fingerprints=voice.fingerprints,
        unsealed_signals=learned.unsealed,
    )
    erasure.erased_at.FromDatetime(now)
    revocation.erasure.CopyFrom(erasure)
    counted = ("keys", "signals", "gold_items", "gold_labels", "voice_profiles", "voice_clips", "voice_fingerprints")
    tx.audit(
        tenant_id=tenant_id,
        owner=ENGINE_ID,
        actor=actor,
        transition=ERASED,
        reason_code=REASONS[revocation.trigger],
        turn=_turn(revocation),
        hashes={"key_ids": erasure.key_ids_sha256, **({"user": user} if user else {})},
        facts={name: str(getattr(erasure, name)) for name in counted},
    )


async def go_on(tx: Transaction, kept: KeptRevocation, now: datetime) -> RevocationStep:
    """Do the next step of a revocation, which is locked; the step that was done."""
    revocation = kept.message
    step = revocation.next_step
    many = await _WORK[step](tx, kept, now)
    _done(tx, revocation, step, many, now)
    if step == REVOCATION_STEP_GOV_ROLLBACK:
        revocation.receipt.CopyFrom(deciding.sign(tx, await _receipt(tx, kept, now)))
    await tx.governance.consents.save(revocation)
    return step


async def _invalidate(tx: Transaction, kept: KeptRevocation, now: datetime) -> int:
    """State of each artifact that it waits for a rebuild, as a row of the ledger of its own."""
    revocation, many = kept.message, 0
    for subject in revocation.affected_artifacts:
        row = await tx.governance.cases.artifact(revocation.tenant_id, subject.artifact_id)
        if row is None or row.status not in INVALIDATED:
            continue
        stated = {
            "artifact": f"{subject.artifact_type}@{subject.artifact_version}",
            "artifact_id": subject.artifact_id,
            "package_hash": subject.package_hash.hex(),
            "revocation_id": revocation.revocation_id,
            "status": "REVOKED_PENDING_REBUILD",
        }
        await tx.artifacts.register(
            ArtifactRow(
                artifact_type=STATUS_EVENT,
                tenant_id=revocation.tenant_id,
                scope=Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=revocation.tenant_id),
                provenance_ref=f"artifact:{subject.artifact_id}",
                created_by=ENGINE_ID,
                idempotency_key=f"{revocation.revocation_id}:{subject.artifact_id}",
                status=ARTIFACT_STATUS_REVOKED_PENDING_REBUILD,
            ),
            json.dumps(stated, sort_keys=True, separators=(",", ":")).encode(),
        )
        trail.note(
            tx,
            revocation.tenant_id,
            subject,
            activation.INVALIDATED,
            reason_code(REVOCATION_STEP_INVALIDATE, revocation.trigger),
            facts={"revocation_id": revocation.revocation_id},
        )
        many += 1
    return many


async def _roll_back(tx: Transaction, kept: KeptRevocation, now: datetime) -> int:
    """Take everything back that is on its way or serves, however late it is."""
    revocation, many = kept.message, 0
    await tx.governance.rollouts.one_at_a_time(revocation.tenant_id)
    reasons = [DECISION_REASON_CONSENT_REVOKED]
    if late(REVOCATION_STEP_GOV_ROLLBACK, revocation.captured_at.ToDatetime(tzinfo=UTC), now):
        reasons.append(DECISION_REASON_REVOCATION_SLA_MISSED)
    for subject in revocation.affected_artifacts:
        row = await tx.governance.cases.artifact(revocation.tenant_id, subject.artifact_id)
        if row is not None:
            many += await _taken_back(tx, row, reasons, revocation, now)
    # Gold stays active where its rollout is over, and another one's candidate serves.
    await moving.move_gold(
        tx,
        revocation.tenant_id,
        revocation.affected_gold_set_ids,
        GOLD_STATE_ACTIVATED,
        GOLD_STATE_REVERTED,
        GOLD_REASON_POLICY_SCOPE_VIOLATION,
        now,
        turn=_turn(revocation),
    )
    return many


async def _taken_back(
    tx: Transaction, row: ArtifactRow, reasons: list[DecisionReason], revocation: Revocation, now: datetime
) -> bool:
    was_running = False
    for rollout in await tx.governance.rollouts.of_artifact(row.tenant_id, row.artifact_id):
        locked = await tx.governance.rollouts.locked(row.tenant_id, rollout.rollout_id)
        if locked is not None and locked.state == ROLLOUT_STATE_RUNNING:
            await moving.roll_back(tx, row, locked, reasons, now)
            was_running = True
    pointer = await tx.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
    if pointer is None or pointer.active_package_hash not in await moving.revoked_contents(tx, row):
        return was_running
    await deciding.return_decision(tx, row, reasons, now, actor=trail.SYSTEM)
    await moving.take_back(tx, row, f"{revocation.revocation_id}:{row.artifact_id}")
    return True


async def _rebuild(tx: Transaction, kept: KeptRevocation, now: datetime) -> int:
    """Build gold again of what is left; it passes adjudication and every gate anew.

    Others may have revoked meanwhile, or before: nothing of theirs is in it either, and no set is built anew twice.
    """
    revocation, many = kept.message, 0
    tenant_id, since = revocation.tenant_id, revocation.captured_at.ToDatetime(tzinfo=UTC)
    for gold_set_id in revocation.affected_gold_set_ids:
        gold = await tx.gold.get(tenant_id, gold_set_id)
        if gold is None or not await _rebuilt(tx, gold.message, since):
            continue
        signals = await tx.gold.signal_ids(tenant_id, gold_set_id)
        ended = await tx.governance.consents.ended(tenant_id, signals, now)
        many += await tx.gold.rebuild(tenant_id, gold_set_id, new_id=tx.ids.new(), without=ended) is not None
    return many


async def _rebuilt(tx: Transaction, gold: GoldCandidate, since: datetime) -> bool:
    """Whether a gold set is built anew: it was on its way or live, also if the revocation took it back since."""
    if gold.state != GOLD_STATE_REVERTED:
        return gold.state in REBUILT
    last = (await tx.gold.history(gold.tenant_id, gold.gold_set_id))[-1]
    return last.occurred_at.ToDatetime(tzinfo=UTC) >= since


async def _release(tx: Transaction, kept: KeptRevocation, now: datetime) -> int:
    """What was rebuilt is like any candidate: it goes live through all the gates, and no other way."""
    return sum(record.affected for record in kept.message.steps if record.step == REVOCATION_STEP_REBUILD)


_WORK: Final[Mapping[RevocationStep, Callable[[Transaction, KeptRevocation, datetime], Awaitable[int]]]] = (
    MappingProxyType(
        {
            REVOCATION_STEP_INVALIDATE: _invalidate,
            REVOCATION_STEP_GOV_ROLLBACK: _roll_back,
            REVOCATION_STEP_REBUILD: _rebuild,
            REVOCATION_STEP_REACTIVATE: _release,
        }
    )
)


async def _receipt(tx: Transaction, kept: KeptRevocation, now: datetime) -> ErasureReceipt:
    """That nothing serves any more what was revoked, with the rows that serve in its place, and what was erased."""
    revocation = kept.message
    replaced: dict[str, ArtifactRef] = {}
    for subject in revocation.affected_artifacts:
        pointer = await tx.artifacts.pointer(subject.artifact_type, revocation.tenant_id, subject.scope)
        if pointer is not None and pointer.active_package_hash != subject.package_hash:
            active = await tx.artifacts.version(
                subject.artifact_type, revocation.tenant_id, subject.scope, pointer.active_version
            )
            replaced[active.artifact_id] = deciding.subject_of(active)
    receipt = ErasureReceipt(
        revocation_id=revocation.revocation_id,
        tenant_id=revocation.tenant_id,
        subject=revocation.erasure.subject,
        trigger=revocation.trigger,
        captured_at=revocation.captured_at,
        invalidated=revocation.affected_artifacts,
        replaced_by=[replaced[each] for each in sorted(replaced)],
        signals=kept.signals,
        erasure=revocation.erasure,
    )
    receipt.completed_at.FromDatetime(now)
    return receipt


def _done(
    tx: Transaction,
    revocation: Revocation,
    step: RevocationStep,
    affected: int,
    now: datetime,
    *,
    actor: str = trail.SYSTEM,
    idempotency_key: str = "",
) -> None:
    """Note a step as done, in the revocation and in the trail."""
    captured_at = revocation.captured_at.ToDatetime(tzinfo=UTC)
    record = RevocationStepRecord(step=step, affected=affected, late=late(step, captured_at, now))
    record.done_at.FromDatetime(now)
    due = due_at(step, captured_at)
    if due is not None:
        record.due_at.FromDatetime(due)
    revocation.steps.append(record)
    revocation.next_step = next_step(each.step for each in revocation.steps)
    tx.audit(
        tenant_id=revocation.tenant_id,
        owner=ENGINE_ID,
        actor=actor,
        transition=step_of(step).transition,
        reason_code=reason_code(step, revocation.trigger),
        turn=_turn(revocation),
        idempotency_key=idempotency_key,
        facts={"affected": str(affected), "late": "yes" if record.late else "no"},
    )


def _turn(revocation: Revocation) -> TurnRef:
    """All rows of a revocation under one name."""
    return TurnRef(
        correlation_id=f"revocation:{revocation.revocation_id}", turn_id=current_correlation().correlation_id
    )


def _named(refs: set[str], kind: str) -> list[str]:
    return [ref.removeprefix(kind) for ref in refs if ref.startswith(kind)]
