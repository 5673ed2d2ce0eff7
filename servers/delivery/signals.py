"""What a delivery says to learning (§34.1): who had to send for whom. Of one that was audited, nothing else."""

from __future__ import annotations

from typing import Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_SENT_ACKED
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_PAE_ROUTE
from selene.learning.v1.signal_pb2 import (
    SEVERITY_LOW,
    SEVERITY_MEDIUM,
    SIGNAL_CLASS_FAILOVER,
    SIGNAL_CLASS_FALLBACK,
    Severity,
    SignalClass,
)

from servers.delivery.adapter import Certainty
from servers.delivery.machine import Attempt, Delivery
from servers.delivery.schedule import instant
from servers.runtime.signals import Seen

CERTAIN_BP: Final = 10_000


def seen_in(before: Delivery, after: Delivery, passed_over: str, turn: TurnRef) -> Seen | None:
    """FAILOVER where a provider took what another one did not, FALLBACK where the first choice was not even asked;
    `passed_over` says why, and is empty where it was.
    """
    if after.state != DELIVERY_STATE_SENT_ACKED or before.state == after.state:
        return None
    served = next(each for each in after.attempts if each.certainty is Certainty.ACCEPTED)
    failed = [each for each in after.attempts if each.provider_ref != served.provider_ref]
    if failed:
        return _seen(after, served, SIGNAL_CLASS_FAILOVER, failed[-1].reason, SEVERITY_MEDIUM, 3_000, turn)
    if passed_over:
        return _seen(after, served, SIGNAL_CLASS_FALLBACK, passed_over, SEVERITY_LOW, 1_000, turn)
    return None


def _seen(
    delivery: Delivery,
    served: Attempt,
    signal_class: SignalClass,
    reason: str,
    severity: Severity,
    impact_bp: int,
    turn: TurnRef,
) -> Seen:
    """Of the delivery and its providers; it names no person, so no person has to consent."""
    return Seen(
        tenant_id=delivery.tenant_id,
        event=delivery.delivery_id,
        signal_class=signal_class,
        domain=GOLD_DOMAIN_PAE_ROUTE,
        capability="route",
        reason_code=reason,
        outcome="SERVED_BY_ANOTHER",
        input_ref=f"delivery:{delivery.delivery_id}",
        output_ref=f"provider:{served.provider_ref}",
        severity=severity,
        confidence_bp=CERTAIN_BP,
        impact_bp=impact_bp,
        at=instant(delivery.since),
        turn=turn,
    )
