"""The circuit in front of every decision (VID-9, §38.10): the rule holds the phase, pybreaker tells of it."""

from __future__ import annotations

from typing import Protocol

import pybreaker
import structlog

from servers.voiceid.breaker import Breaker, BreakerPolicy, Outcome, Phase, admit, observe

_log = structlog.get_logger("selene.voiceid")


class PhaseMetrics(Protocol):
    """Who wants to know of the phase."""

    def phase(self, phase: Phase) -> None: ...


class Circuit:
    """State of one server. pybreaker's public `open`, `half_open` and `close` are driven by the rule; its own counting
    (consecutive failures, reset by any success) is never used.
    """

    def __init__(self, policy: BreakerPolicy, metrics: PhaseMetrics) -> None:
        self._policy = policy
        self._metrics = metrics
        self._state = Breaker()
        self._held = pybreaker.CircuitBreaker(name="voiceid", listeners=[_Told(metrics)])

    @property
    def phase(self) -> Phase:
        return self._state.phase

    def admit(self, now: float) -> bool:
        """Whether a decision may be attempted; an admitted one is reported to `observe` afterwards."""
        state, admitted = admit(self._state, now, self._policy)
        self._become(state)
        return admitted

    def observe(self, outcome: Outcome, now: float) -> None:
        """An admitted decision has ended."""
        self._become(observe(self._state, outcome, now, self._policy))

    def _become(self, state: Breaker) -> None:
        changed, self._state = state.phase is not self._state.phase, state
        if changed:
            drive = {Phase.OPEN: self._held.open, Phase.HALF_OPEN: self._held.half_open, Phase.CLOSED: self._held.close}
            drive[state.phase]()


class _Told(pybreaker.CircuitBreakerListener):
    def __init__(self, metrics: PhaseMetrics) -> None:
        self._metrics = metrics

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        # Not `cb.current_state`: listeners are told before it changes.
        phase = Phase[new_state.name.upper().replace("-", "_")]
        self._metrics.phase(phase)
        _log.warning("circuit", phase=phase.value)
