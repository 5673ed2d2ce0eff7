"""Whether a drift breach may start its recovery by itself (§38.6): adaptation, or asking the user to enrol again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from selene.learning.v1.drift_pb2 import (
    DRIFT_DETECTOR_MARGIN_COMPRESSION,
    DRIFT_DETECTOR_QUALITY_DECAY,
    DRIFT_OUTCOME_ADAPTATION_ALLOWED,
    DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED,
    DRIFT_OUTCOME_FROZEN,
    DRIFT_OUTCOME_REENROLMENT_RATE_LIMITED,
    DRIFT_OUTCOME_STARTED,
    DRIFT_OUTCOME_UNSPECIFIED,
    DRIFT_RECOVERY_REENROLMENT,
    DriftOutcome,
)
from selene.voiceid.v2.service_pb2 import (
    RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION,
    RE_ENROLLMENT_CAUSE_QUALITY_DECAY,
    ReEnrollmentCause,
)

from servers.governance import ENGINE_ID, trail
from servers.governance.drift import REENROLMENT_EVERY, Answer, DriftReason, History, Recovery, frozen, recover
from store import Transaction
from store.learning import Breach, Standing

OUTCOMES: Final[Mapping[DriftReason, DriftOutcome]] = MappingProxyType(
    {
        DriftReason.ADAPTATION_RATE_LIMITED: DRIFT_OUTCOME_ADAPTATION_RATE_LIMITED,
        DriftReason.REENROLMENT_RATE_LIMITED: DRIFT_OUTCOME_REENROLMENT_RATE_LIMITED,
        DriftReason.FROZEN: DRIFT_OUTCOME_FROZEN,
    }
)
BEGUN: Final[Mapping[Recovery, DriftOutcome]] = MappingProxyType(
    {
        Recovery.ADAPTATION: DRIFT_OUTCOME_ADAPTATION_ALLOWED,
        Recovery.REENROLMENT: DRIFT_OUTCOME_STARTED,
    }
)
"""What is told where a recovery may begin: the user is asked here, while a gold candidate is learning's to propose."""
COUNTED: Final = frozenset({DRIFT_OUTCOME_STARTED, DRIFT_OUTCOME_ADAPTATION_ALLOWED})
CAUSES: Final[Mapping[int, ReEnrollmentCause]] = MappingProxyType(
    {
        DRIFT_DETECTOR_QUALITY_DECAY: RE_ENROLLMENT_CAUSE_QUALITY_DECAY,
        DRIFT_DETECTOR_MARGIN_COMPRESSION: RE_ENROLLMENT_CAUSE_MARGIN_COMPRESSION,
    }
)
"""What the user is told, by the detector: of these two alone a new enrolment is the recovery."""


async def decide(tx: Transaction, tenant_id: str, subject: str, now: datetime) -> bool:
    """Decide of every breach of a subject that waits for it; False where nothing does. Each is a row of the trail."""
    standing = await tx.learning.drift.locked(tenant_id, subject)
    breaches = await tx.learning.drift.of_subject(tenant_id, subject)
    waiting = [one for one in breaches if one.outcome == DRIFT_OUTCOME_UNSPECIFIED]
    if not waiting:
        return False
    history = _history(breaches, standing)
    if not standing.frozen and frozen(history, now):
        standing = Standing(frozen=True, reviewed_at=standing.reviewed_at)
        await tx.learning.drift.stands(tenant_id, subject, standing)
        await _note(tx, waiting[-1], "drift.frozen", DriftReason.FROZEN)
    for one in waiting:
        answer = _answer(one, history, standing, now)
        outcome = BEGUN[_kind(one)] if answer.allowed else OUTCOMES[answer.reason]
        await tx.learning.drift.decide(one, outcome, now)
        await _note(tx, one, "drift.recovery_decided", answer.reason)
        if answer.allowed:
            history = _with(history, one, now)
            if _kind(one) is Recovery.REENROLMENT:
                await _ask(tx, one, now)
    return True


async def _ask(tx: Transaction, breach: Breach, now: datetime) -> None:
    """Have voice identity ask the user to enrol again, with the next decision that names them."""
    cause = CAUSES[breach.detector]
    await tx.voiceid.reenrollments.ask(breach.tenant_id, breach.user_id, cause, now, REENROLMENT_EVERY)


def _answer(breach: Breach, history: History, standing: Standing, now: datetime) -> Answer:
    kind = _kind(breach)
    if kind is Recovery.ADAPTATION and standing.frozen:
        return Answer(allowed=False, reason=DriftReason.FROZEN)
    return recover(kind, history, now)


def _kind(breach: Breach) -> Recovery:
    return Recovery.REENROLMENT if breach.recovery == DRIFT_RECOVERY_REENROLMENT else Recovery.ADAPTATION


def _history(breaches: Iterable[Breach], standing: Standing) -> History:
    known = list(breaches)
    started = [(_kind(one), one.decided_at) for one in known if one.outcome in COUNTED and one.decided_at is not None]
    return History(
        adaptations=tuple(at for kind, at in started if kind is Recovery.ADAPTATION),
        reenrolments=tuple(at for kind, at in started if kind is Recovery.REENROLMENT),
        breaches=tuple(one.window_ends_at for one in known),
        reviewed_at=standing.reviewed_at,
    )


def _with(history: History, breach: Breach, now: datetime) -> History:
    """The history once this recovery began."""
    is_adaptation = _kind(breach) is Recovery.ADAPTATION
    return History(
        adaptations=(*history.adaptations, now) if is_adaptation else history.adaptations,
        reenrolments=history.reenrolments if is_adaptation else (*history.reenrolments, now),
        breaches=history.breaches,
        reviewed_at=history.reviewed_at,
    )


async def _note(tx: Transaction, breach: Breach, transition: str, reason: DriftReason) -> None:
    user_id = breach.user_id
    tx.audit(
        tenant_id=breach.tenant_id,
        owner=ENGINE_ID,
        actor=trail.SYSTEM,
        transition=transition,
        reason_code=reason.value,
        hashes={"subject": await tx.vault.commitment(breach.tenant_id, user_id, b"user")} if user_id else {},
        facts={
            "window_ends_at": breach.window_ends_at.isoformat(),
            "recovery": _kind(breach).value,
            **({} if user_id else {"subject": breach.subject}),
        },
    )
