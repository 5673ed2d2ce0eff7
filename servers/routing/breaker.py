"""A circuit as pybreaker sees it: its storage is the circuit itself, so the two cannot disagree.

pybreaker holds the state, refuses to be moved by anybody but the rules, and tells listeners of each transition that it
finds. It counts nothing here: it would open after so many failures in a row and knows neither rates nor probes, and it
would hold a lock during the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn

import pybreaker
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    CircuitState,
)

from servers.routing.circuit import Circuit

STATES: Final[Mapping[CircuitState, str]] = {
    CIRCUIT_STATE_CLOSED: pybreaker.STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED: pybreaker.STATE_CLOSED,
    CIRCUIT_STATE_HALF_OPEN: pybreaker.STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN: pybreaker.STATE_OPEN,
    CIRCUIT_STATE_FORCED_OPEN: pybreaker.STATE_OPEN,
}


class CircuitStorage(pybreaker.CircuitBreakerStorage):
    """Holds one circuit. Whoever puts another one in its place asks the breaker for its `state` afterwards."""

    def __init__(self, circuit: Circuit) -> None:
        super().__init__("circuit")
        self.circuit = circuit

    @property
    def state(self) -> str:
        """The circuit's, as pybreaker calls it."""
        return STATES[self.circuit.state]

    @state.setter
    def state(self, state: str) -> NoReturn:
        raise TypeError("the rules move a circuit, and nobody else does")

    @property
    def counter(self) -> int:
        """Failures are measured by `windows`, not counted here."""
        return 0

    @property
    def success_counter(self) -> int:
        """Probes that were answered well since it is half-open."""
        return self.circuit.told

    @property
    def opened_at(self) -> datetime | None:
        """Since when it is open; None where it is not."""
        is_open = self.state == pybreaker.STATE_OPEN
        return datetime.fromtimestamp(self.circuit.since, UTC) if is_open else None

    @opened_at.setter
    def opened_at(self, at: datetime) -> NoReturn:
        raise TypeError("the rules move a circuit, and nobody else does")
