"""What routed calls add to the KPI windows of the rollouts that served them (§20): from their trails, and nothing else.

A call counts where a provider was asked, or where none could be. One that the caller broke off, that a gate refused or
that no provider could serve as it was asked is none: it says nothing of either side. An output is what a provider gave,
valid or not. One in conflict with policy keeps the schema and tells a secret, or another tenant's payload; what a
provider refuses by a policy of its own lies in the request, so it is no output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    KPI_METRIC_CALL_FAILURES,
    KPI_METRIC_CALL_TIMEOUTS,
    KPI_METRIC_COST_MICROS,
    KPI_METRIC_FALLBACKS,
    KPI_METRIC_POLICY_CONFLICTS,
    KPI_METRIC_SCHEMA_VALID,
)

from servers.kpi_windows import Tallies
from servers.routing.envelope import Refusal
from servers.routing.pack_choice import Arm
from servers.routing.reasons import ProviderReason
from servers.routing.recorder import Step, Trail
from servers.routing.signals import ATTEMPTED, OK, seen_in
from store import Transaction
from store.routing import CallObservation

FINISHED: Final = "call.finished"
FAILED: Final = frozenset({"PROVIDERS_FAILED", "NO_PROVIDER_AVAILABLE", "DEADLINE_PASSED", "INTERNAL"})
"""Ends of calls that should have been served."""
CONFLICTING: Final = frozenset({Refusal.FOREIGN_PAYLOAD.value, Refusal.SECRET_EXPOSED.value})
INVALID: Final = frozenset({ProviderReason.RESPONSE_MALFORMED.value, *(each.value for each in Refusal)}) - CONFLICTING
TIMED_OUT: Final = frozenset({ProviderReason.DEADLINE_EXCEEDED.value})
ARMS: Final = {Arm.BASELINE: ARM_BASELINE, Arm.CANDIDATE: ARM_CANDIDATE}


async def observe(owner: str, tx: Transaction, trails: Sequence[Trail]) -> None:
    """With the audit rows of these calls. StoreUnavailable."""
    await tx.routing.calls.add([one for trail in trails for one in observed(owner, trail, tx.ids.new())])


def observed(owner: str, trail: Trail, call_id: str) -> list[CallObservation]:
    """One for each rollout that the call was on a side of; none for most calls. Whoever calls may name two calls alike,
    so `call_id` tells them apart.
    """
    finished = next((step for step in reversed(trail.steps) if step.transition == FINISHED), None)
    if finished is None or not trail.sides:
        return []
    attempts = [step for step in trail.steps if step.transition == ATTEMPTED]
    is_served = bool(attempts) and attempts[-1].facts["status"] == OK
    is_failed = not is_served and finished.reason_code in FAILED
    if not (is_served or is_failed):
        return []
    reasons = [step.reason_code for step in attempts]
    valid = sum(step.facts["status"] == OK for step in attempts)
    conflicts = sum(reason in CONFLICTING for reason in reasons)
    return [
        CallObservation(
            tenant_id=trail.tenant_id,
            rollout_id=rollout_id,
            owner=owner,
            call_id=call_id,
            arm=ARMS[arm],
            at=finished.at,
            locale=trail.locale,
            latency_us=sum(map(_latency_us, attempts)),
            cost_micros=trail.cost_micros,
            outputs=valid + conflicts + sum(reason in INVALID for reason in reasons),
            schema_valid=valid + conflicts,
            policy_conflicts=conflicts,
            failed=is_failed,
            timed_out=any(reason in TIMED_OUT for reason in reasons) or finished.reason_code == "DEADLINE_PASSED",
            fell_back=seen_in(trail) is not None,
        )
        for rollout_id, arm in sorted(trail.sides.items())
    ]


def _latency_us(attempt: Step) -> int:
    return round(float(attempt.facts["latency_ms"]) * 1_000)


def measure(calls: Sequence[CallObservation], into: Tallies) -> None:
    """Count observations, by time."""
    for call in calls:
        for tally in into.of(call.at, call.arm, [("language", call.locale)]):
            tally.turn(call.latency_us)
            tally.safety_conflicts += call.policy_conflicts
            tally.add(KPI_METRIC_CALL_FAILURES, call.failed, 1)
            tally.add(KPI_METRIC_CALL_TIMEOUTS, call.timed_out, 1)
            tally.add(KPI_METRIC_FALLBACKS, call.fell_back, 1)
            tally.add(KPI_METRIC_COST_MICROS, call.cost_micros, 1)
            if call.outputs:
                tally.add(KPI_METRIC_SCHEMA_VALID, call.schema_valid, call.outputs)
                tally.add(KPI_METRIC_POLICY_CONFLICTS, call.policy_conflicts, call.outputs)
