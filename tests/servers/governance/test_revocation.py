"""The seven steps of §21: their order, their limits of time, and everything that a revocation is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from selene.artifacts.v1 import artifacts_pb2 as artifacts
from selene.gold.v1 import gold_pb2 as gold
from selene.governance.v1 import consent_pb2 as v1

from servers.governance.revocation import (
    INVALIDATED,
    ORDER_OF_WORK,
    REASONS,
    REBUILT,
    STEPS,
    due_at,
    late,
    next_step,
    reason_code,
)

CAPTURED = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE, MICROSECOND = timedelta(minutes=1), timedelta(microseconds=1)


def test_the_steps_are_those_of_the_source_in_its_order() -> None:
    assert [v1.RevocationStep.Name(row.step) for row in STEPS] == [
        "REVOCATION_STEP_CAPTURE",
        "REVOCATION_STEP_FREEZE",
        "REVOCATION_STEP_IMPACT_GRAPH",
        "REVOCATION_STEP_INVALIDATE",
        "REVOCATION_STEP_REBUILD",
        "REVOCATION_STEP_GOV_ROLLBACK",
        "REVOCATION_STEP_REACTIVATE",
    ]
    assert sorted(ORDER_OF_WORK) == sorted(row.step for row in STEPS)


def test_what_is_live_is_taken_back_before_anything_is_rebuilt_and_released_last() -> None:
    order = list(ORDER_OF_WORK)
    assert order.index(v1.REVOCATION_STEP_GOV_ROLLBACK) < order.index(v1.REVOCATION_STEP_REBUILD)
    assert order[-1] == v1.REVOCATION_STEP_REACTIVATE


@pytest.mark.parametrize(("step", "limit"), [(v1.REVOCATION_STEP_FREEZE, 15), (v1.REVOCATION_STEP_GOV_ROLLBACK, 60)])
def test_a_step_is_late_a_moment_after_its_limit_and_not_at_it(step: v1.RevocationStep, limit: int) -> None:
    due = CAPTURED + limit * MINUTE
    assert due_at(step, CAPTURED) == due
    assert not late(step, CAPTURED, due - MICROSECOND)
    assert not late(step, CAPTURED, due)
    assert late(step, CAPTURED, due + MICROSECOND)


def test_the_other_steps_have_no_limit() -> None:
    limited = {v1.REVOCATION_STEP_FREEZE, v1.REVOCATION_STEP_GOV_ROLLBACK}
    for row in STEPS:
        assert (due_at(row.step, CAPTURED) is not None) is (row.step in limited)
        assert row.step in limited or not late(row.step, CAPTURED, CAPTURED + timedelta(days=365))


def test_every_reason_code_of_the_source_is_used() -> None:
    used = {reason_code(row.step, trigger) for row in STEPS for trigger in REASONS}
    assert used == {
        "CONSENT_REVOKED_USER_REQUEST",
        "CONSENT_REVOKED_TENANT_POLICY",
        "CONSENT_EXPIRED_TTL",
        "CONSENT_REVOKE_REBUILD_REQUIRED",
        "CONSENT_REVOKE_ROLLBACK_APPLIED",
    }


def test_steps_follow_each_other_until_none_is_left() -> None:
    done: list[v1.RevocationStep] = []
    while (step := next_step(done)) != v1.REVOCATION_STEP_UNSPECIFIED:
        done.append(step)
    assert done == list(ORDER_OF_WORK)


def test_what_is_over_is_neither_built_anew_nor_invalidated() -> None:
    over = {gold.GOLD_STATE_GOLD_DEFERRED, gold.GOLD_STATE_GOLD_REJECTED, gold.GOLD_STATE_REVERTED}
    assert set(gold.GoldState.values()) - REBUILT == {gold.GOLD_STATE_UNSPECIFIED, *over}
    assert artifacts.ARTIFACT_STATUS_ACTIVE in INVALIDATED
    assert artifacts.ARTIFACT_STATUS_REVERTED not in INVALIDATED
