"""What speaks against an artifact, one gate at a time (§40.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.governance.v1 import decision_pb2 as v1

from servers.governance.decision import Preflight, on_activation, resolve
from servers.governance.frozen import Finding

GOOD = Preflight(
    action=v1.DECISION_ACTION_ACTIVATE,
    has_consumer=True,
    policy_passed=True,
    privacy_passed=True,
    consent_active=True,
    tenant_verified=True,
    rollback_resolves=True,
    required_cohorts=frozenset({"language:en", "noise:street"}),
    passing_cohorts=frozenset({"language:en", "noise:street", "language:de"}),
    defects_closed=True,
)


def changed(**known: Any) -> Preflight:
    return replace(GOOD, **known)


def test_an_artifact_that_passes_every_gate_is_allowed() -> None:
    assert resolve(GOOD).decision == v1.DECISION_ALLOW
    assert resolve(GOOD).reasons == (v1.DECISION_REASON_GATES_PASSED,)


@pytest.mark.parametrize(
    ("known", "decision", "reason"),
    [
        ({"policy_passed": False}, v1.DECISION_BLOCK, v1.DECISION_REASON_POLICY_VIOLATION),
        ({"privacy_passed": False}, v1.DECISION_BLOCK, v1.DECISION_REASON_PRIVACY_VIOLATION),
        ({"consent_active": False}, v1.DECISION_BLOCK, v1.DECISION_REASON_CONSENT_INACTIVE),
        ({"tenant_verified": False}, v1.DECISION_BLOCK, v1.DECISION_REASON_TENANT_SCOPE_UNVERIFIED),
        ({"has_consumer": False}, v1.DECISION_BLOCK, v1.DECISION_REASON_NO_CONSUMER),
        ({"frozen": Finding.LEAKED}, v1.DECISION_BLOCK, v1.DECISION_REASON_FROZEN_SET_LEAKED),
        ({"frozen": Finding.REGRESSED}, v1.DECISION_BLOCK, v1.DECISION_REASON_FROZEN_SET_REGRESSION),
        ({"frozen": Finding.MISSING}, v1.DECISION_HOLD, v1.DECISION_REASON_FROZEN_SET_MISSING),
        ({"defects_closed": False}, v1.DECISION_HOLD, v1.DECISION_REASON_SAFETY_DEFECT_OPEN),
        ({"revoked": True}, v1.DECISION_BLOCK, v1.DECISION_REASON_CONSENT_REVOKED),
        ({"rollback_resolves": False}, v1.DECISION_HOLD, v1.DECISION_REASON_ROLLBACK_POINTER_MISSING),
        ({"required_cohorts": frozenset()}, v1.DECISION_HOLD, v1.DECISION_REASON_COHORT_GATE_FAILED),
        (
            {"passing_cohorts": frozenset({"language:en"})},
            v1.DECISION_HOLD,
            v1.DECISION_REASON_COHORT_GATE_FAILED,
        ),
        (
            {"required_dimensions": frozenset({"language", "noise", "device"})},
            v1.DECISION_HOLD,
            v1.DECISION_REASON_COHORT_GATE_FAILED,
        ),
    ],
)
def test_a_single_gate_that_does_not_pass_decides(
    known: dict[str, Any], decision: v1.Decision, reason: v1.DecisionReason
) -> None:
    for action in (v1.DECISION_ACTION_ACTIVATE, v1.DECISION_ACTION_PROMOTE):
        resolved = resolve(changed(action=action, stability_days=7, **known))
        assert (resolved.decision, resolved.reasons) == (decision, (reason,))


def test_what_the_frozen_set_lets_pass_is_allowed() -> None:
    for finding in (Finding.PASSED, Finding.NOT_ASKED):
        assert resolve(changed(frozen=finding)).decision == v1.DECISION_ALLOW


def test_only_a_promotion_asks_whether_confusion_was_reduced() -> None:
    known = {"confusion_reduced": False, "stability_days": 7}
    promoted = resolve(changed(action=v1.DECISION_ACTION_PROMOTE, **known))
    assert promoted.decision == v1.DECISION_HOLD
    assert promoted.reasons == (v1.DECISION_REASON_CONFUSION_NOT_REDUCED,)
    assert resolve(changed(**known)).decision == v1.DECISION_ALLOW


@pytest.mark.parametrize(
    ("days", "decision"),
    [
        (0, v1.DECISION_HOLD),
        (6, v1.DECISION_HOLD),
        (7, v1.DECISION_ALLOW),
        (14, v1.DECISION_ALLOW),
        (15, v1.DECISION_HOLD),
    ],
)
def test_a_promotion_needs_a_stability_window_of_7_to_14_days(days: int, decision: v1.Decision) -> None:
    assert resolve(changed(action=v1.DECISION_ACTION_PROMOTE, stability_days=days)).decision == decision


def test_every_reason_is_given_the_gravest_first() -> None:
    resolved = resolve(changed(rollback_resolves=False, privacy_passed=False))
    assert resolved.decision == v1.DECISION_BLOCK
    assert resolved.reasons == (
        v1.DECISION_REASON_PRIVACY_VIOLATION,
        v1.DECISION_REASON_ROLLBACK_POINTER_MISSING,
    )


@pytest.mark.parametrize("action", [v1.DECISION_ACTION_UNSPECIFIED, 99])
def test_what_nobody_asked_for_is_held(action: Any) -> None:
    assert resolve(changed(action=action)).decision == v1.DECISION_HOLD


def test_what_was_revoked_can_only_be_rolled_back() -> None:
    returning = changed(action=v1.DECISION_ACTION_ROLLBACK, revoked=True, within_sla=True)
    late = replace(returning, within_sla=False)
    assert resolve(returning).decision == resolve(late).decision == v1.DECISION_ROLLBACK
    assert resolve(returning).reasons == (v1.DECISION_REASON_CONSENT_REVOKED,)
    assert v1.DECISION_REASON_REVOCATION_SLA_MISSED in resolve(late).reasons


def test_a_rollback_needs_a_version_to_return_to() -> None:
    returning = changed(action=v1.DECISION_ACTION_ROLLBACK)
    assert resolve(returning).reasons == (v1.DECISION_REASON_OPERATOR_REQUEST,)
    assert resolve(replace(returning, rollback_resolves=False)).decision == v1.DECISION_HOLD
    assert resolve(replace(returning, tenant_verified=False)).decision == v1.DECISION_BLOCK


def test_an_open_defect_holds_no_rollback() -> None:
    returning = changed(action=v1.DECISION_ACTION_ROLLBACK, defects_closed=False)
    assert resolve(returning).decision == v1.DECISION_ROLLBACK


booleans = st.booleans()
cohorts = st.frozensets(st.sampled_from(["language:en", "noise:street", "device:phone"]))


@given(
    st.builds(
        Preflight,
        action=st.sampled_from(v1.DecisionAction.values()),
        has_consumer=booleans,
        policy_passed=booleans,
        privacy_passed=booleans,
        consent_active=booleans,
        tenant_verified=booleans,
        rollback_resolves=booleans,
        required_cohorts=cohorts,
        passing_cohorts=cohorts,
        stability_days=st.integers(0, 30),
        revoked=booleans,
        within_sla=booleans,
    )
)
def test_nothing_is_allowed_with_any_gate_closed(preflight: Preflight) -> None:
    if resolve(preflight).decision != v1.DECISION_ALLOW:
        return
    assert preflight.policy_passed and preflight.privacy_passed and preflight.consent_active
    assert preflight.tenant_verified and preflight.has_consumer and preflight.rollback_resolves
    assert preflight.required_cohorts and preflight.required_cohorts <= preflight.passing_cohorts
    assert not preflight.revoked
    assert preflight.action == v1.DECISION_ACTION_ACTIVATE or 7 <= preflight.stability_days <= 14


ACTIVATE, PROMOTE, ROLLBACK = v1.DECISION_ACTION_ACTIVATE, v1.DECISION_ACTION_PROMOTE, v1.DECISION_ACTION_ROLLBACK


@pytest.mark.parametrize(
    ("decided", "standing"),
    [
        ([], v1.DECISION_UNSPECIFIED),
        ([(ACTIVATE, v1.DECISION_ALLOW)], v1.DECISION_ALLOW),
        ([(ACTIVATE, v1.DECISION_ALLOW), (ACTIVATE, v1.DECISION_HOLD)], v1.DECISION_HOLD),
        ([(ACTIVATE, v1.DECISION_ALLOW), (PROMOTE, v1.DECISION_HOLD)], v1.DECISION_ALLOW),
        ([(ACTIVATE, v1.DECISION_ALLOW), (ROLLBACK, v1.DECISION_HOLD)], v1.DECISION_ALLOW),
        ([(ACTIVATE, v1.DECISION_ALLOW), (ROLLBACK, v1.DECISION_ROLLBACK)], v1.DECISION_ROLLBACK),
        (
            [(ACTIVATE, v1.DECISION_ALLOW), (ROLLBACK, v1.DECISION_ROLLBACK), (PROMOTE, v1.DECISION_ALLOW)],
            v1.DECISION_ROLLBACK,
        ),
        (
            [(ACTIVATE, v1.DECISION_ALLOW), (ROLLBACK, v1.DECISION_ROLLBACK), (ACTIVATE, v1.DECISION_ALLOW)],
            v1.DECISION_ALLOW,
        ),
    ],
)
def test_an_activation_stands_until_it_is_decided_anew_or_taken_back(
    decided: list[tuple[v1.DecisionAction, v1.Decision]], standing: v1.Decision
) -> None:
    statements = [v1.DecisionStatement(action=action, decision=decision) for action, decision in decided]
    assert on_activation(statements) == standing
