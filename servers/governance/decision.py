"""What governance decides (§40.5): a table of what speaks against, the gravest first; the default is HOLD."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from selene.governance.v1.decision_pb2 import (
    DECISION_ACTION_ACTIVATE,
    DECISION_ACTION_PROMOTE,
    DECISION_ACTION_ROLLBACK,
    DECISION_ALLOW,
    DECISION_BLOCK,
    DECISION_HOLD,
    DECISION_REASON_COHORT_GATE_FAILED,
    DECISION_REASON_CONFUSION_NOT_REDUCED,
    DECISION_REASON_CONSENT_INACTIVE,
    DECISION_REASON_CONSENT_REVOKED,
    DECISION_REASON_FROZEN_SET_LEAKED,
    DECISION_REASON_FROZEN_SET_MISSING,
    DECISION_REASON_FROZEN_SET_REGRESSION,
    DECISION_REASON_GATES_PASSED,
    DECISION_REASON_NO_CONSUMER,
    DECISION_REASON_OPERATOR_REQUEST,
    DECISION_REASON_POLICY_VIOLATION,
    DECISION_REASON_PRIVACY_VIOLATION,
    DECISION_REASON_REVOCATION_SLA_MISSED,
    DECISION_REASON_ROLLBACK_POINTER_MISSING,
    DECISION_REASON_SAFETY_DEFECT_OPEN,
    DECISION_REASON_STABILITY_WINDOW_NOT_MET,
    DECISION_REASON_TENANT_SCOPE_UNVERIFIED,
    DECISION_ROLLBACK,
    DECISION_UNSPECIFIED,
    Decision,
    DecisionAction,
    DecisionReason,
    DecisionStatement,
)

from servers.activation import GOING_FORWARD
from servers.governance.cohort_gates import dimensions_of
from servers.governance.frozen import Finding

STABILITY_DAYS: Final = range(7, 15)
"""§38.9: 7 to 14 days. A longer window is not newer evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What is known when governance is asked. What is not said does not hold."""

    action: DecisionAction
    has_consumer: bool = False
    policy_passed: bool = False
    privacy_passed: bool = False
    consent_active: bool = False
    tenant_verified: bool = False
    rollback_resolves: bool = False
    required_cohorts: frozenset[str] = frozenset()
    passing_cohorts: frozenset[str] = frozenset()
    required_dimensions: frozenset[str] = frozenset()
    frozen: Finding = Finding.NOT_ASKED
    confusion_reduced: bool = True
    """The pairs of the frozen set that are confused collide less than before; only PROMOTE asks for it (§38.7)."""
    stability_days: int = 0
    """Whole days that the canaries have passed; only PROMOTE asks for them."""
    revoked: bool = False
    """The consent that the artifact rests on was revoked."""
    within_sla: bool = False
    """The revocation's time for the rollback decision has not passed."""
    defects_closed: bool = False
    """No defect at which safety is at stake is open where it is learned of (§8)."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was decided, and why."""

    decision: Decision
    reasons: tuple[DecisionReason, ...]


def _cohorts_lack(preflight: Preflight) -> bool:
    required = preflight.required_cohorts
    covered = preflight.required_dimensions <= dimensions_of(required)
    return not (required and required <= preflight.passing_cohorts and covered)


def _unstable(preflight: Preflight) -> bool:
    return preflight.action == DECISION_ACTION_PROMOTE and preflight.stability_days not in STABILITY_DAYS


def _confused(preflight: Preflight) -> bool:
    return preflight.action == DECISION_ACTION_PROMOTE and not preflight.confusion_reduced


AGAINST: Final[tuple[tuple[Callable[[Preflight], bool], Decision, DecisionReason], ...]] = (
    (lambda it: it.revoked, DECISION_BLOCK, DECISION_REASON_CONSENT_REVOKED),
    (lambda it: not it.tenant_verified, DECISION_BLOCK, DECISION_REASON_TENANT_SCOPE_UNVERIFIED),
    (lambda it: not it.consent_active, DECISION_BLOCK, DECISION_REASON_CONSENT_INACTIVE),
    (lambda it: not it.privacy_passed, DECISION_BLOCK, DECISION_REASON_PRIVACY_VIOLATION),
    (lambda it: not it.policy_passed, DECISION_BLOCK, DECISION_REASON_POLICY_VIOLATION),
    (lambda it: not it.has_consumer, DECISION_BLOCK, DECISION_REASON_NO_CONSUMER),
    (lambda it: it.frozen is Finding.LEAKED, DECISION_BLOCK, DECISION_REASON_FROZEN_SET_LEAKED),
    (lambda it: it.frozen is Finding.REGRESSED, DECISION_BLOCK, DECISION_REASON_FROZEN_SET_REGRESSION),
    (lambda it: not it.defects_closed, DECISION_HOLD, DECISION_REASON_SAFETY_DEFECT_OPEN),
    (lambda it: it.frozen is Finding.MISSING, DECISION_HOLD, DECISION_REASON_FROZEN_SET_MISSING),
    (lambda it: not it.rollback_resolves, DECISION_HOLD, DECISION_REASON_ROLLBACK_POINTER_MISSING),
    (_cohorts_lack, DECISION_HOLD, DECISION_REASON_COHORT_GATE_FAILED),
    (_confused, DECISION_HOLD, DECISION_REASON_CONFUSION_NOT_REDUCED),
    (_unstable, DECISION_HOLD, DECISION_REASON_STABILITY_WINDOW_NOT_MET),
)
"""What speaks against ACTIVATE and PROMOTE, the gravest first."""


def resolve(preflight: Preflight) -> Resolution:
    """The decision, with every reason for it. A revoked artifact can only be rolled back."""
    if preflight.action == DECISION_ACTION_ROLLBACK:
        return _returning(preflight)
    found = [(decision, reason) for holds, decision, reason in AGAINST if holds(preflight)]
    if found:
        return Resolution(found[0][0], tuple(reason for _, reason in found))
    if preflight.action in GOING_FORWARD:
        return Resolution(DECISION_ALLOW, (DECISION_REASON_GATES_PASSED,))
    return Resolution(DECISION_HOLD, ())


def on_activation(decided: Iterable[DecisionStatement]) -> Decision:
    """What stands of an artifact's decisions, oldest first: the last on its activation, or a ROLLBACK since."""
    standing = DECISION_UNSPECIFIED
    for statement in decided:
        if statement.action == DECISION_ACTION_ACTIVATE or statement.decision == DECISION_ROLLBACK:
            standing = statement.decision
    return standing


def _returning(preflight: Preflight) -> Resolution:
    if not preflight.rollback_resolves:
        return Resolution(DECISION_HOLD, (DECISION_REASON_ROLLBACK_POINTER_MISSING,))
    if not preflight.tenant_verified:
        return Resolution(DECISION_BLOCK, (DECISION_REASON_TENANT_SCOPE_UNVERIFIED,))
    if not preflight.revoked:
        return Resolution(DECISION_ROLLBACK, (DECISION_REASON_OPERATOR_REQUEST,))
    if preflight.within_sla:
        return Resolution(DECISION_ROLLBACK, (DECISION_REASON_CONSENT_REVOKED,))
    # Late is late, but to go on serving what was revoked would be worse.
    return Resolution(DECISION_ROLLBACK, (DECISION_REASON_CONSENT_REVOKED, DECISION_REASON_REVOCATION_SLA_MISSED))
