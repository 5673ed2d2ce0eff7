"""What a routed call says to learning (§34.1): who had to go on for whom. Of a call that was told of, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE
from selene.learning.v1.signal_pb2 import (
    SEVERITY_LOW,
    SEVERITY_MEDIUM,
    SIGNAL_CLASS_FAILOVER,
    SIGNAL_CLASS_FALLBACK,
    Severity,
    SignalClass,
)

from servers.routing.recorder import Step, Trail
from servers.routing.selection import Refusal
from servers.runtime.signals import Producer, Seen
from store import Transaction

ATTEMPTED: Final = "call.attempted"
ROUTED: Final = "call.routed"
OK: Final = "OK"
NOT_FIRST: Final = "FAILOVER"
PASSED_OVER: Final = "passed_over_"
NOT_AVAILABLE: Final = frozenset({Refusal.CIRCUIT_OPEN, Refusal.CIRCUIT_FORCED_OPEN, Refusal.NO_PROBE_FREE})
"""Why a first choice is passed over, as against: it is not one for this call."""
CERTAIN_BP: Final = 10_000


async def leave(producer: Producer, tx: Transaction, trails: Sequence[Trail]) -> None:
    """With the audit rows of these calls. StoreUnavailable."""
    found = (seen_in(trail) for trail in trails if producer.wants(trail.tenant_id))
    await producer.leave(tx, [seen for seen in found if seen is not None])


def seen_in(trail: Trail) -> Seen | None:
    """FAILOVER where a provider failed and another one served, FALLBACK where the first choice was not even asked."""
    attempts = [step for step in trail.steps if step.transition == ATTEMPTED]
    if not attempts or attempts[-1].facts["status"] != OK:
        return None
    served = attempts[-1]
    failed = [step for step in attempts if step.facts["provider_ref"] != served.facts["provider_ref"]]
    if failed:
        return _seen(trail, served, SIGNAL_CLASS_FAILOVER, failed[-1].reason_code, SEVERITY_MEDIUM, 3_000)
    chosen = next((step for step in trail.steps if step.transition == ROUTED), None)
    if chosen is None or chosen.reason_code != NOT_FIRST:
        return None
    reasons = [value.rpartition(" ")[2] for name, value in chosen.facts.items() if name.startswith(PASSED_OVER)]
    why = next((reason for reason in reasons if reason in NOT_AVAILABLE), NOT_FIRST)
    return _seen(trail, served, SIGNAL_CLASS_FALLBACK, why, SEVERITY_LOW, 1_000)


def _seen(
    trail: Trail, served: Step, signal_class: SignalClass, reason: str, severity: Severity, impact_bp: int
) -> Seen:
    """Of the call and its providers; it names no person, so no person has to consent."""
    return Seen(
        tenant_id=trail.tenant_id,
        event=trail.request_id,
        signal_class=signal_class,
        domain=GOLD_DOMAIN_PAE_ROUTE,
        capability="route",
        reason_code=reason,
        outcome="SERVED_BY_ANOTHER",
        input_ref=f"call:{trail.request_id}",
        output_ref=f"provider:{served.facts['provider_ref']}",
        severity=severity,
        confidence_bp=CERTAIN_BP,
        impact_bp=impact_bp,
        at=served.at,
        turn=trail.turn,
    )
