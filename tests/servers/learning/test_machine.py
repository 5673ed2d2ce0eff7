"""The gold state machine: every pair of states under every guard, and nothing but the eight transitions of §17."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest
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

from servers.learning.machine import TABLE, Guard, Step, step

STATES = [state for state in GoldState.values() if state != GOLD_STATE_UNSPECIFIED]
VERDICTS = (
    GOLD_STATE_UNSPECIFIED,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_GOLD_DEFERRED,
    GOLD_STATE_GOLD_REJECTED,
)
# A reason that fired nothing is among them.
REVERTED_BY = (
    GOLD_REASON_UNSPECIFIED,
    GOLD_REASON_POST_DEPLOY_REGRESSION,
    GOLD_REASON_POLICY_SCOPE_VIOLATION,
    GOLD_REASON_HARD_RULE_VIOLATION,
)
GUARDS = [
    Guard(
        schema_complete=schema,
        scope_permitted=permitted,
        verdict=verdict,
        packaging_valid=packaged,
        gates_passed=gates,
        reverted_by=reverted_by,
        frozen=frozen,
    )
    for schema, permitted, packaged, gates, frozen, verdict in product(*[(False, True)] * 5, VERDICTS)
    for reverted_by in REVERTED_BY
]
Expected = tuple[str, object, GoldReason, GoldReason]
# From, to: the fact that lets it through and its value; the reason where it is not so, and where it is (§17).
LISTED: Mapping[tuple[GoldState, GoldState], Expected] = {
    (GOLD_STATE_CANDIDATE, GOLD_STATE_VALIDATING): (
        "schema_complete",
        True,
        GOLD_REASON_INPUT_SCHEMA_INVALID,
        GOLD_REASON_UNSPECIFIED,
    ),
    (GOLD_STATE_VALIDATING, GOLD_STATE_AWAITING_REVIEW): (
        "scope_permitted",
        True,
        GOLD_REASON_POLICY_SCOPE_VIOLATION,
        GOLD_REASON_UNSPECIFIED,
    ),
    (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_APPROVED): (
        "verdict",
        GOLD_STATE_GOLD_APPROVED,
        GOLD_REASON_THRESHOLD_NOT_MET,
        GOLD_REASON_UNSPECIFIED,
    ),
    (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_DEFERRED): (
        "verdict",
        GOLD_STATE_GOLD_DEFERRED,
        GOLD_REASON_INSUFFICIENT_EVIDENCE,
        GOLD_REASON_INSUFFICIENT_EVIDENCE,
    ),
    (GOLD_STATE_AWAITING_REVIEW, GOLD_STATE_GOLD_REJECTED): (
        "verdict",
        GOLD_STATE_GOLD_REJECTED,
        GOLD_REASON_HARD_RULE_VIOLATION,
        GOLD_REASON_HARD_RULE_VIOLATION,
    ),
    (GOLD_STATE_GOLD_APPROVED, GOLD_STATE_PACKAGED): (
        "packaging_valid",
        True,
        GOLD_REASON_PACKAGE_BUILD_FAILED,
        GOLD_REASON_UNSPECIFIED,
    ),
    (GOLD_STATE_PACKAGED, GOLD_STATE_ACTIVATED): (
        "gates_passed",
        True,
        GOLD_REASON_ACTIVATION_GATE_BLOCKED,
        GOLD_REASON_UNSPECIFIED,
    ),
}

# Taken back by the judge or by a revocation, and noted with which of the two.
REVERTING = (GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)


def expected(pair: tuple[GoldState, GoldState], guard: Guard) -> Step:
    if pair == REVERTING:
        fired = guard.reverted_by in (GOLD_REASON_POST_DEPLOY_REGRESSION, GOLD_REASON_POLICY_SCOPE_VIOLATION)
        return Step(fired, guard.reverted_by if fired else GOLD_REASON_POST_DEPLOY_REGRESSION)
    if pair not in LISTED:
        return Step(False, GOLD_REASON_STATE_TRANSITION_INVALID)
    if guard.frozen:
        return Step(False, GOLD_REASON_POLICY_SCOPE_VIOLATION)
    fact, wanted, refused, noted = LISTED[pair]
    return Step(True, noted) if getattr(guard, fact) == wanted else Step(False, refused)


@pytest.mark.parametrize("from_state", STATES)
@pytest.mark.parametrize("to_state", STATES)
def test_the_table_is_that_of_the_source_under_every_guard(from_state: GoldState, to_state: GoldState) -> None:
    pair = (from_state, to_state)
    assert [step(*pair, guard) for guard in GUARDS] == [expected(pair, guard) for guard in GUARDS]


def test_nothing_else_is_listed() -> None:
    assert set(TABLE) == {*LISTED, REVERTING}


@pytest.mark.parametrize("state", [GOLD_STATE_UNSPECIFIED, 99])
def test_an_unknown_state_leads_nowhere(state: GoldState) -> None:
    able = Guard(schema_complete=True, scope_permitted=True, gates_passed=True, reverted_by=REVERTED_BY[1])
    asked = [step(*pair, able) for other in STATES for pair in ((state, other), (other, state))]
    assert set(asked) == {Step(False, GOLD_REASON_STATE_TRANSITION_INVALID)}


def test_what_is_not_said_does_not_hold() -> None:
    assert not any(step(*pair, Guard()).applied for pair in product(STATES, STATES))


def test_a_frozen_set_is_only_taken_back() -> None:
    frozen = [guard for guard in GUARDS if guard.frozen]
    moved = {pair for pair in product(STATES, STATES) for guard in frozen if step(*pair, guard).applied}
    assert moved == {(GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED)}


def test_gold_is_reached_over_every_guard_and_no_way_leads_back() -> None:
    ways = {from_state: {to for start, to in TABLE if start == from_state} for from_state in STATES}
    assert ways[GOLD_STATE_CANDIDATE] == {GOLD_STATE_VALIDATING}
    finals = {state for state, onward in ways.items() if not onward}
    assert finals == {GOLD_STATE_GOLD_DEFERRED, GOLD_STATE_GOLD_REJECTED, GOLD_STATE_REVERTED}
    order = list(GoldState.values())
    assert all(order.index(start) < order.index(to) for start, to in TABLE)
