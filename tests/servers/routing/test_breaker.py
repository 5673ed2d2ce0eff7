"""pybreaker over a circuit: one state, which the rules alone move."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pybreaker
import pytest
from selene.routing.v1.routing_pb2 import CircuitState

from servers.routing.breaker import STATES, CircuitStorage
from servers.routing.circuit import new_circuit


class Listening(pybreaker.CircuitBreakerListener):
    def __init__(self) -> None:
        self.told: list[str] = []

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self.told.append(new_state.name)


@pytest.mark.parametrize("state", [state for state in CircuitState.values() if state])
def test_the_breakers_state_is_the_circuits(state: CircuitState) -> None:
    storage, listening = CircuitStorage(new_circuit(1000.0)), Listening()
    breaker = pybreaker.CircuitBreaker(state_storage=storage, listeners=[listening])
    storage.circuit = replace(storage.circuit, state=state, told=3)
    assert breaker.current_state == breaker.state.name == STATES[state]
    assert listening.told == ([] if STATES[state] == "closed" else [STATES[state]])
    assert (breaker.fail_counter, breaker.success_counter) == (0, 3)
    opened = datetime.fromtimestamp(1000.0, UTC) if STATES[state] == "open" else None
    assert storage.opened_at == opened


@pytest.mark.parametrize("move", ["open", "half_open", "close"])
def test_nobody_but_the_rules_moves_it(move: str) -> None:
    storage = CircuitStorage(new_circuit(1000.0))
    breaker = pybreaker.CircuitBreaker(state_storage=storage)
    with pytest.raises(TypeError):
        getattr(breaker, move)()
    assert breaker.current_state == "closed"
