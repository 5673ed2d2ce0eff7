"""What routes gave, by the trail of the calls (§16 PAE): never by the word of who proposes them. Pure.

A route's result was checked against its contract before the trail called it OK: then its quality is whole, and else it
has none. Who answered is paid; who failed costs nothing. Of a call that its caller broke off nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.duration_pb2 import Duration
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.gold.v1.evidence_pb2 import GoldItem, RoutedTurn, RouteOutcome
from selene.learning.v1.signal_pb2 import LearningSignal

CALL: Final = "call:"
"""What the reference of a signal begins with that is about a routed call."""
ATTEMPTED: Final = "call.attempted"
FINISHED: Final = "call.finished"
COST: Final = "cost_micros"
BROKEN_OFF: Final = frozenset({"CALL_CANCELLED"})
OK: Final = "OK"
WHOLE_BP: Final = 10_000
_NANOS_OF_MS: Final = 1_000_000


def call_of(signal: LearningSignal) -> str:
    """The request that a signal is about; empty where it is about none."""
    return signal.input_ref.removeprefix(CALL) if signal.input_ref.startswith(CALL) else ""


def outcomes(events: Iterable[AuditEvent], request_id: str) -> dict[str, RouteOutcome]:
    """What each provider gave that the first call of this name asked; nothing where the trail does not tell its end.

    ``events`` are a correlation's, oldest first. Who was asked twice is who answered last, after all that waiting.
    """
    found: dict[str, RouteOutcome] = {}
    answered = ""
    for event in events:
        facts = {fact.name: fact.value for fact in event.facts}
        if facts.get("request_id") != request_id:
            continue
        if event.transition == ATTEMPTED:
            provider = facts["provider_ref"]
            earlier = found.get(provider, RouteOutcome())
            waited = earlier.latency.ToNanoseconds() + round(float(facts["latency_ms"]) * _NANOS_OF_MS)
            answered = provider if facts["status"] == OK else answered
            found[provider] = RouteOutcome(
                provider_ref=provider,
                quality_bp=WHOLE_BP if facts["status"] == OK else 0,
                latency=_duration(waited),
                event_id=event.event_id,
            )
        elif event.transition == FINISHED:
            if event.reason_code in BROKEN_OFF or COST not in facts:
                return {}
            if answered:
                found[answered].cost_micros = int(facts[COST])
            return found
    return {}


def measured(item: GoldItem, given: Mapping[str, RouteOutcome]) -> GoldItem | None:
    """The item with what its two providers gave; None where the call did not ask both."""
    candidate = given.get(item.route.candidate.provider_ref)
    baseline = given.get(item.route.baseline.provider_ref)
    if candidate is None or baseline is None or candidate == baseline:
        return None
    route = RoutedTurn(candidate=candidate, baseline=baseline)
    return GoldItem(item_id=item.item_id, signal_id=item.signal_id, route=route)


def _duration(nanos: int) -> Duration:
    made = Duration()
    made.FromNanoseconds(nanos)
    return made
