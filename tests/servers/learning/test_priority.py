"""Priority in integers: every weight, every edge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.learning.v1 import signal_pb2 as nouns

from servers.learning.priority import frequency_bp, priority_bp, safety_weight_bp, weigh
from tests.support.signals import signal

LOW, MEDIUM, HIGH, CRITICAL = (number for number in nouns.Severity.values() if number)
WEIGHTS = {
    nouns.SIGNAL_CLASS_FALSE_ACCEPT: 10_000,
    nouns.SIGNAL_CLASS_SPOOF_RISK: 10_000,
    nouns.SIGNAL_CLASS_GATE_ORDER_VIOLATION: 10_000,
    nouns.SIGNAL_CLASS_UNSAFE_OUTPUT: 10_000,
    nouns.SIGNAL_CLASS_CRASH: 8_000,
    nouns.SIGNAL_CLASS_CONTRACT_VIOLATION: 8_000,
    nouns.SIGNAL_CLASS_WRONG_BEHAVIOUR: 8_000,
    nouns.SIGNAL_CLASS_FALSE_REJECT: 5_000,
    nouns.SIGNAL_CLASS_MULTI_SPEAKER: 5_000,
    nouns.SIGNAL_CLASS_SPEAKER_SWITCH: 5_000,
    nouns.SIGNAL_CLASS_DRIFT_ALERT: 5_000,
    nouns.SIGNAL_CLASS_REAUTH_FRICTION: 4_000,
}
BP = st.integers(0, 10_000)


@pytest.mark.parametrize("signal_class", [one for one in nouns.SignalClass.values() if one], ids=nouns.SignalClass.Name)
def test_the_weight_is_the_higher_of_class_and_severity(signal_class: nouns.SignalClass) -> None:
    own = WEIGHTS.get(signal_class, 2_500)
    found = [safety_weight_bp(signal_class, severity) for severity in (LOW, MEDIUM, HIGH, CRITICAL)]
    assert found == [own, max(own, 2_500), max(own, 6_000), 10_000]


@pytest.mark.parametrize(("before", "share"), [(0, 500), (1, 1_000), (18, 9_500), (19, 10_000), (20, 10_000)])
def test_frequency_counts_this_sighting_and_saturates(before: int, share: int) -> None:
    assert frequency_bp(before) == share


@pytest.mark.parametrize(
    ("impact", "before", "confidence", "weight", "priority"),
    [
        (10_000, 19, 10_000, 10_000, 10_000),
        (10_000, 10**15, 10_000, 10_000, 10_000),
        (9_999, 19, 10_000, 10_000, 9_999),
        (10_000, 18, 10_000, 10_000, 9_500),
        (5_000, 19, 5_000, 5_000, 1_250),
        (10_000, 0, 10_000, 20, 1),
        (10_000, 0, 10_000, 19, 0),
        (0, 19, 10_000, 10_000, 0),
        (10_000, 19, 0, 10_000, 0),
    ],
)
def test_priority_is_the_product_rounded_down(
    impact: int, before: int, confidence: int, weight: int, priority: int
) -> None:
    assert priority_bp(impact, before, confidence, weight) == priority


@given(BP, st.integers(0, 50), BP, BP, st.integers(1, 500))
def test_more_of_anything_is_never_less_urgent(impact: int, before: int, sure: int, weight: int, more: int) -> None:
    least = priority_bp(impact, before, sure, weight)
    assert 0 <= least <= 10_000
    assert priority_bp(min(10_000, impact + more), before, sure, weight) >= least
    assert priority_bp(impact, before + more, sure, weight) >= least
    assert priority_bp(impact, before, min(10_000, sure + more), weight) >= least
    assert priority_bp(impact, before, sure, min(10_000, weight + more)) >= least


def test_a_signal_weighs_by_its_own_fields() -> None:
    one = signal(severity=LOW, impact_estimate_bp=8_000, confidence_bp=5_000)
    assert weigh(one, 19) == 8_000 * 5_000 * 5_000 // 10**8
