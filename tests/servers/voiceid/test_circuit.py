"""The circuit holds the phase that the rule says, and tells it when it changes, not one change late."""

from __future__ import annotations

import pytest

from servers.voiceid.breaker import BreakerPolicy, Outcome, Phase
from servers.voiceid.circuit import Circuit

POLICY = BreakerPolicy(
    window=10, min_samples=4, max_uncertain_share=0.5, max_failed_share=0.2, max_slow_share=0.2, probes=2
)


class Told:
    """Keeps every phase that it is told."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    def phase(self, phase: Phase) -> None:
        self.phases.append(phase)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def circuit(told: Told) -> Circuit:
    return Circuit(POLICY, told)


def decide(circuit: Circuit, outcome: Outcome, now: float) -> bool:
    """One decision with this outcome, if it is admitted."""
    admitted = circuit.admit(now)
    if admitted:
        circuit.observe(outcome, now)
    return admitted


def test_every_change_of_phase_is_told_as_it_happens(circuit: Circuit, told: Told) -> None:
    for _ in range(4):
        assert decide(circuit, Outcome.FAILED, 0.0)
    assert told.phases == [Phase.OPEN] and circuit.phase is Phase.OPEN
    assert not decide(circuit, Outcome.CERTAIN, 119.0)
    assert told.phases == [Phase.OPEN]
    assert decide(circuit, Outcome.CERTAIN, 120.0)
    assert told.phases == [Phase.OPEN, Phase.HALF_OPEN]
    assert decide(circuit, Outcome.CERTAIN, 121.0)
    assert told.phases == [Phase.OPEN, Phase.HALF_OPEN, Phase.CLOSED] and circuit.phase is Phase.CLOSED


def test_a_failing_probe_opens_it_again_for_longer(circuit: Circuit, told: Told) -> None:
    for _ in range(4):
        decide(circuit, Outcome.SLOW, 0.0)
    assert decide(circuit, Outcome.SLOW, 120.0)
    assert told.phases == [Phase.OPEN, Phase.HALF_OPEN, Phase.OPEN]
    assert not circuit.admit(300.0)
    assert circuit.admit(120.0 + 240.0)


def test_a_probe_that_says_nothing_gives_its_lease_back(circuit: Circuit) -> None:
    for _ in range(4):
        decide(circuit, Outcome.FAILED, 0.0)
    for _ in range(3 * POLICY.probes):
        assert decide(circuit, Outcome.NOT_COUNTED, 130.0)
    assert circuit.phase is Phase.HALF_OPEN


def test_a_library_that_counts_for_itself_is_never_asked(circuit: Circuit) -> None:
    """pybreaker opens after five failures in a row; here shares decide, and these are not enough of them."""
    outcomes = [Outcome.CERTAIN] * 9 + [Outcome.FAILED] + [Outcome.CERTAIN] * 4 + [Outcome.FAILED]
    assert all(decide(circuit, outcome, float(at)) for at, outcome in enumerate(outcomes))
    assert circuit.phase is Phase.CLOSED
