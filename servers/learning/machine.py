"""The gold state machine (§17): eight transitions, each with its guard. Whatever the table does not list is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from selene.gold.v1.gold_pb2 import (
    GOLD_REASON_ACTIVATION_GATE_BLOCKED,
    GOLD_REASON_HARD_RULE_VIOLATION,
    GOLD_REASON_INPUT_SCHEMA_INVALID,
    GOLD_REASON_INSUFFICIENT_EVIDENCE,
    GOLD_REASON_PACKAGE_BUILD_FAILED,
    GOLD_REASON_POLICY_SCOPE_VIOLATION,
    GOLD_REASON_POST_DEPLOY_REGRESSION,
    GOLD_REASON_STATE_TRANSITION_INVALID,
    GOLD_REASON_THRESHOLD_NOT_MET,
    GOLD_REASON_UNSPECIFIED,
    GOLD_STATE_ACTIVATED,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_GOLD_DEFERRED,
    GOLD_STATE_GOLD_REJECTED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GOLD_STATE_UNSPECIFIED,
    GOLD_STATE_VALIDATING,
    GoldReason,
    GoldState,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is known of a gold set when a transition is asked for. What is not said does not hold.

    ``verdict`` is that of the assessment (§16): GOLD_APPROVED, GOLD_DEFERRED or GOLD_REJECTED.
    """

    schema_complete: bool = False
    """The input bundle is complete: signals, items and labels, none of them with a problem."""
    scope_permitted: bool = False
    """Policy, consent and privacy checks pass."""
    verdict: GoldState = GOLD_STATE_UNSPECIFIED
    packaging_valid: bool = False
    """Packaging validated OK, with a rollback pointer."""
    gates_passed: bool = False
    """Governance, builder, approvals and release gates."""
    reverted_by: GoldReason = GOLD_REASON_UNSPECIFIED
    """What fired: GOLD_POST_DEPLOY_REGRESSION a rollback trigger of the judge, GOLD_POLICY_SCOPE_VIOLATION a revocation
    (§21)."""
    frozen: bool = False
    """A revocation froze the set (§21)."""


def _nothing(_: Guard) -> GoldReason:
    return GOLD_REASON_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Row:
    """One transition: what has to hold, the reason where it does not, and the one that is noted where it does."""

    holds: Callable[[Guard], bool]
    refused: GoldReason
    noted: Callable[[Guard], GoldReason] = _nothing


@dataclass(frozen=True, slots=True)
class Step:
    """What came of asking for a transition. ``reason_code`` says why not; or why, for DEFERRED, REJECTED, REVERTED."""

    applied: bool
    reason_code: GoldReason


REVERTED_BY: Final = frozenset({GOLD_REASON_POST_DEPLOY_REGRESSION, GOLD_REASON_POLICY_SCOPE_VIOLATION})
"""What takes active gold back: the judge, or a revocation."""

TABLE: Final[Mapping[tuple[GoldState, GoldState], Row]] = MappingProxyType(
    {
        (GOLD_STATE_CANDIDATE, GOLD_STATE_VALIDATING): Row(
            lambda guard: guard.schema_complete, GOLD_REASON_INPUT_SCHEMA_INVALID
        ),
        (GOLD_STATE_VALIDATING, GOLD_STATE_AWAITING_REVIEW): Row(
            lambda guard: guard.scope_permitted, GOLD_REASON_POLICY_SCOPE_VIOLATION
        ),
        (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_APPROVED): Row(
            lambda guard: guard.verdict == GOLD_STATE_GOLD_APPROVED, GOLD_REASON_THRESHOLD_NOT_MET
        ),
        (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_DEFERRED): Row(
            lambda guard: guard.verdict == GOLD_STATE_GOLD_DEFERRED,
            GOLD_REASON_INSUFFICIENT_EVIDENCE,
            lambda _: GOLD_REASON_INSUFFICIENT_EVIDENCE,
        ),
        (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_REJECTED): Row(
            lambda guard: guard.verdict == GOLD_STATE_GOLD_REJECTED,
            GOLD_REASON_HARD_RULE_VIOLATION,
            lambda _: GOLD_REASON_HARD_RULE_VIOLATION,
        ),
        (GOLD_STATE_GOLD_APPROVED, GOLD_STATE_PACKAGED): Row(
            lambda guard: guard.packaging_valid, GOLD_REASON_PACKAGE_BUILD_FAILED
        ),
        (GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED): Row(
            lambda guard: guard.gates_passed, GOLD_REASON_ACTIVATION_GATE_BLOCKED
        ),
        (GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED): Row(
            lambda guard: guard.reverted_by in REVERTED_BY,
            GOLD_REASON_POST_DEPLOY_REGRESSION,
            lambda guard: guard.reverted_by,
        ),
    }
)
"""The transitions of §17, in its order."""


def step(from_state: GoldState, to_state: GoldState, guard: Guard) -> Step:
    """Whether the transition is applied, and its reason code.

    A frozen set goes no way forward: it is refused with GOLD_POLICY_SCOPE_VIOLATION (§21). What is live is taken back
    nevertheless.
    """
    row = TABLE.get((from_state, to_state))
    if row is None:
        return Step(False, GOLD_REASON_STATE_TRANSITION_INVALID)
    if guard.frozen and to_state != GOLD_STATE_REVERTED:
        return Step(False, GOLD_REASON_POLICY_SCOPE_VIOLATION)
    if not row.holds(guard):
        return Step(False, row.refused)
    return Step(True, row.noted(guard))
