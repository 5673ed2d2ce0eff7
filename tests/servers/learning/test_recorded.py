"""What routes gave is what the trail tells of their calls."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from selene.audit.v1.audit_pb2 import AuditEvent, NamedFact
from selene.gold.v1.evidence_pb2 import RouteOutcome

from servers.learning.recorded import call_of, measured, outcomes
from tests.support.gold import routed
from tests.support.signals import signal

PLAIN, GOOD = "plain/stt", "good/stt"


def row(event_id: str, transition: str, reason: str = "X", *, request: str = "r-1", **facts: str) -> AuditEvent:
    told = {"request_id": request, **facts}
    named = [NamedFact(name=name, value=value) for name, value in sorted(told.items())]
    return AuditEvent(event_id=event_id, transition=transition, reason_code=reason, facts=named)


def attempt(event_id: str, provider: str, status: str, latency_ms: str, request: str = "r-1") -> AuditEvent:
    return row(event_id, "call.attempted", request=request, provider_ref=provider, status=status, latency_ms=latency_ms)


END = row("e9", "call.finished", cost_micros="70", provider_ref=GOOD)
CALL = [attempt("e1", PLAIN, "RETRYABLE_ERROR", "200.0"), attempt("e2", GOOD, "OK", "40.5"), END]


def outcome(provider: str, quality_bp: int, millis: float, cost: int, event_id: str) -> RouteOutcome:
    latency = Duration()
    latency.FromNanoseconds(round(millis * 1e6))
    return RouteOutcome(
        provider_ref=provider, quality_bp=quality_bp, latency=latency, cost_micros=cost, event_id=event_id
    )


def test_who_answered_is_paid_and_good_and_who_failed_is_neither() -> None:
    assert outcomes(CALL, "r-1") == {
        PLAIN: outcome(PLAIN, 0, 200.0, 0, "e1"),
        GOOD: outcome(GOOD, 10_000, 40.5, 70, "e2"),
    }


def test_who_is_asked_twice_was_waited_for_twice() -> None:
    again = [attempt("e0", PLAIN, "RETRYABLE_ERROR", "100.0"), *CALL]
    assert outcomes(again, "r-1")[PLAIN] == outcome(PLAIN, 0, 300.0, 0, "e1")


@pytest.mark.parametrize(
    "told",
    [
        [],
        CALL[:2],
        [*CALL[:2], row("e9", "call.finished", "CALL_CANCELLED", cost_micros="70")],
        [*CALL[:2], row("e9", "call.finished", provider_ref=GOOD)],
        [attempt("e1", PLAIN, "OK", "1.0", request="r-2"), row("e2", "call.finished", request="r-2", cost_micros="1")],
    ],
)
def test_a_call_whose_end_is_not_told_shows_nothing(told: list[AuditEvent]) -> None:
    assert outcomes(told, "r-1") == {}


def test_a_second_call_of_the_same_name_adds_nothing() -> None:
    second = [attempt("f1", PLAIN, "OK", "1.0"), row("f2", "call.finished", cost_micros="1")]
    assert outcomes([*CALL, *second], "r-1") == outcomes(CALL, "r-1")


def test_what_the_proposer_says_is_not_what_counts() -> None:
    told = routed("i1", "s1")
    told.route.candidate.quality_bp, told.route.candidate.event_id = 9_999, "mine"
    made = measured(told, outcomes(CALL, "r-1"))
    assert made is not None
    assert made.route.candidate == outcome(GOOD, 10_000, 40.5, 70, "e2")
    assert made.route.baseline == outcome(PLAIN, 0, 200.0, 0, "e1")


def test_a_provider_that_the_call_did_not_ask_is_not_measured() -> None:
    assert measured(routed("i1", "s1", use="tts"), outcomes(CALL, "r-1")) is None
    same = routed("i1", "s1")
    same.route.baseline.provider_ref = GOOD
    assert measured(same, outcomes(CALL, "r-1")) is None


def test_a_signal_names_the_call_that_it_is_about() -> None:
    assert call_of(signal(input_ref="call:r-1")) == "r-1"
    assert call_of(signal(input_ref="stream:1")) == ""
