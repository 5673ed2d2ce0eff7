"""The revocation of a consent (§21): seven steps as a table, their limits of time, and what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from selene.artifacts.v1.artifacts_pb2 import (
    ARTIFACT_STATUS_ACTIVE,
    ARTIFACT_STATUS_CANDIDATE,
    ARTIFACT_STATUS_PROVISIONAL,
    ArtifactStatus,
)
from selene.gold.v1.gold_pb2 import (
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_VALIDATING,
    GoldState,
)
from selene.governance.v1.consent_pb2 import (
    REVOCATION_STEP_CAPTURE,
    REVOCATION_STEP_FREEZE,
    REVOCATION_STEP_GOV_ROLLBACK,
    REVOCATION_STEP_IMPACT_GRAPH,
    REVOCATION_STEP_INVALIDATE,
    REVOCATION_STEP_REACTIVATE,
    REVOCATION_STEP_REBUILD,
    REVOCATION_STEP_UNSPECIFIED,
    REVOCATION_TRIGGER_EXPIRED_TTL,
    REVOCATION_TRIGGER_TENANT_POLICY,
    REVOCATION_TRIGGER_USER_REQUEST,
    RevocationStep,
    RevocationTrigger,
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step, the audited transition, its reason code where it is not the trigger's, and by when it has to be done."""

    step: RevocationStep
    transition: str
    reason_code: str = ""
    within: timedelta | None = None


STEPS: Final[tuple[Step, ...]] = (
    Step(REVOCATION_STEP_CAPTURE, "revocation.captured"),
    Step(REVOCATION_STEP_FREEZE, "revocation.frozen", within=timedelta(minutes=15)),
    Step(REVOCATION_STEP_IMPACT_GRAPH, "revocation.resolved"),
    Step(REVOCATION_STEP_INVALIDATE, "revocation.invalidated"),
    Step(REVOCATION_STEP_REBUILD, "revocation.rebuilt", "CONSENT_REVOKE_REBUILD_REQUIRED"),
    Step(
        REVOCATION_STEP_GOV_ROLLBACK,
        "revocation.rolled_back",
        "CONSENT_REVOKE_ROLLBACK_APPLIED",
        timedelta(minutes=60),
    ),
    Step(REVOCATION_STEP_REACTIVATE, "revocation.released"),
)
"""The steps of §21 in its order."""

ORDER_OF_WORK: Final = (
    REVOCATION_STEP_CAPTURE,
    REVOCATION_STEP_FREEZE,
    REVOCATION_STEP_IMPACT_GRAPH,
    REVOCATION_STEP_INVALIDATE,
    REVOCATION_STEP_GOV_ROLLBACK,
    REVOCATION_STEP_REBUILD,
    REVOCATION_STEP_REACTIVATE,
)
"""In which they are done: what is live is taken back before anything is rebuilt, which may take long."""

REASONS: Final[Mapping[RevocationTrigger, str]] = MappingProxyType(
    {
        REVOCATION_TRIGGER_USER_REQUEST: "CONSENT_REVOKED_USER_REQUEST",
        REVOCATION_TRIGGER_TENANT_POLICY: "CONSENT_REVOKED_TENANT_POLICY",
        REVOCATION_TRIGGER_EXPIRED_TTL: "CONSENT_EXPIRED_TTL",
    }
)
"""The reason code of each trigger."""

REBUILT: Final[frozenset[GoldState]] = frozenset(
    {
        GOLD_STATE_CANDIDATE,
        GOLD_STATE_VALIDATING,
        GOLD_STATE_AWAITING_REVIEW,
        GOLD_STATE_GOLD_APPROVED,
        GOLD_STATE_PACKAGED,
        GOLD_STATE_ACTIVATED,
    }
)
"""Gold sets that are built anew of what is left, and so are those that the revocation itself took back. What was
deferred, rejected or taken back for another reason is over."""

INVALIDATED: Final[frozenset[ArtifactStatus]] = frozenset(
    {ARTIFACT_STATUS_CANDIDATE, ARTIFACT_STATUS_PROVISIONAL, ARTIFACT_STATUS_ACTIVE}
)
"""Artifacts that a revocation marks REVOKED_PENDING_REBUILD."""

_BY_STEP: Final[Mapping[RevocationStep, Step]] = MappingProxyType({each.step: each for each in STEPS})


def step_of(step: RevocationStep) -> Step:
    """The row of a step. KeyError."""
    return _BY_STEP[step]


def due_at(step: RevocationStep, captured_at: datetime) -> datetime | None:
    """By when a step has to be done; None where there is no limit."""
    within = _BY_STEP[step].within
    return None if within is None else captured_at + within


def late(step: RevocationStep, captured_at: datetime, done_at: datetime) -> bool:
    """Whether a step was done too late. At the limit is in time."""
    due = due_at(step, captured_at)
    return due is not None and done_at > due


def next_step(done: Iterable[RevocationStep]) -> RevocationStep:
    """The step to do next, in the order of work; UNSPECIFIED where all are done."""
    finished = set(done)
    return next((step for step in ORDER_OF_WORK if step not in finished), REVOCATION_STEP_UNSPECIFIED)


def reason_code(step: RevocationStep, trigger: RevocationTrigger) -> str:
    """The reason code that a step is audited with. KeyError for a trigger that is none."""
    return _BY_STEP[step].reason_code or REASONS[trigger]
