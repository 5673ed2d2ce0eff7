"""When voice identity stops naming anyone (VID-9, §38.10): uncertainty spikes, failing models, slow models.

The rule says which phase comes next; the engine drives its circuit by it. While it is not CLOSED only admitted probes
may be decided, everything else is UNKNOWN with BREAKER_OPEN.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from selene.voiceid.v1.voiceid_pb2 import (
    VOICE_ID_REASON_CONFLICT_UNRESOLVED,
    VOICE_ID_REASON_GRAY_ZONE_MARGIN,
    VOICE_ID_REASON_MATCH_HIGH,
    VOICE_ID_REASON_MATCH_MID,
    VOICE_ID_REASON_MODEL_FAILED,
    VOICE_ID_REASON_MODEL_SLOW,
    VOICE_ID_REASON_MODEL_UNAVAILABLE,
    VOICE_ID_REASON_PACK_PROVISIONAL,
    VOICE_ID_REASON_PROFILE_MISMATCH,
    VOICE_ID_REASON_SCORE_LOW,
    VOICE_ID_REASON_STORE_UNAVAILABLE,
    VoiceIdReason,
)


class Phase(StrEnum):
    """Phases of the circuit."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Outcome(StrEnum):
    """What one decision says about the health of what stands behind it."""

    CERTAIN = "CERTAIN"
    UNCERTAIN = "UNCERTAIN"
    FAILED = "FAILED"
    SLOW = "SLOW"
    NOT_COUNTED = "NOT_COUNTED"


OUTCOMES = {
    VOICE_ID_REASON_MATCH_HIGH: Outcome.CERTAIN,
    VOICE_ID_REASON_MATCH_MID: Outcome.CERTAIN,
    VOICE_ID_REASON_PACK_PROVISIONAL: Outcome.CERTAIN,
    VOICE_ID_REASON_SCORE_LOW: Outcome.CERTAIN,
    VOICE_ID_REASON_GRAY_ZONE_MARGIN: Outcome.UNCERTAIN,
    VOICE_ID_REASON_PROFILE_MISMATCH: Outcome.UNCERTAIN,
    VOICE_ID_REASON_CONFLICT_UNRESOLVED: Outcome.UNCERTAIN,
    VOICE_ID_REASON_MODEL_FAILED: Outcome.FAILED,
    VOICE_ID_REASON_MODEL_UNAVAILABLE: Outcome.FAILED,
    VOICE_ID_REASON_STORE_UNAVAILABLE: Outcome.FAILED,
    VOICE_ID_REASON_MODEL_SLOW: Outcome.SLOW,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Shares of the last `window` counted decisions that open the circuit; cooldown and probes as in §24."""

    window: int
    min_samples: int
    max_uncertain_share: float
    max_failed_share: float
    max_slow_share: float
    cooldown_seconds: float = 120.0
    max_cooldown_seconds: float = 900.0
    probes: int = 5


@dataclass(frozen=True, slots=True)
class Breaker:
    """The circuit. Times are seconds of a monotonic clock; `leased` probes are under way.

    `cooldown_seconds` is that of the last trip, so that the next one doubles it; a whole healthy window forgets it.
    """

    phase: Phase = Phase.CLOSED
    window: tuple[Outcome, ...] = ()
    opened_at: float = 0.0
    cooldown_seconds: float = 0.0
    leased: int = 0


def outcome_of(reason: VoiceIdReason) -> Outcome:
    """What a decision's reason counts as; what the speaker, the room or the settings cause is not counted."""
    return OUTCOMES.get(reason, Outcome.NOT_COUNTED)


def admit(breaker: Breaker, now: float, policy: BreakerPolicy) -> tuple[Breaker, bool]:
    """Whether a decision may be attempted now. A half-open circuit leases a counted number of probes; every admitted
    decision must be reported to `observe`, so that its lease ends.
    """
    if breaker.phase is Phase.OPEN and now >= breaker.opened_at + breaker.cooldown_seconds:
        breaker = replace(breaker, phase=Phase.HALF_OPEN, window=(), leased=0)
    if breaker.phase is Phase.CLOSED:
        return breaker, True
    if breaker.phase is Phase.HALF_OPEN and breaker.leased + len(breaker.window) < policy.probes:
        return replace(breaker, leased=breaker.leased + 1), True
    return breaker, False


def observe(breaker: Breaker, outcome: Outcome, now: float, policy: BreakerPolicy) -> Breaker:
    """The circuit after an admitted decision ended. A failed or slow probe opens it again for twice as long; probes
    that were all well close it. What ends while it is open was admitted before it opened and changes nothing.
    """
    match breaker.phase:
        case Phase.OPEN:
            return breaker
        case Phase.HALF_OPEN:
            return _probed(breaker, outcome, now, policy)
        case Phase.CLOSED:
            if outcome is Outcome.NOT_COUNTED:
                return breaker
            seen = replace(breaker, window=(*breaker.window, outcome)[-policy.window :])
            if unhealthy(seen.window, policy):
                return _opened(seen, now, policy)
            return replace(seen, cooldown_seconds=0.0) if len(seen.window) == policy.window else seen


def unhealthy(window: tuple[Outcome, ...], policy: BreakerPolicy) -> bool:
    """Whether one of the shares of enough samples is beyond its limit."""
    if len(window) < policy.min_samples:
        return False
    limits = (
        (Outcome.UNCERTAIN, policy.max_uncertain_share),
        (Outcome.FAILED, policy.max_failed_share),
        (Outcome.SLOW, policy.max_slow_share),
    )
    return any(window.count(outcome) > limit * len(window) for outcome, limit in limits)


def _probed(breaker: Breaker, outcome: Outcome, now: float, policy: BreakerPolicy) -> Breaker:
    returned = replace(breaker, leased=max(0, breaker.leased - 1))
    if outcome is Outcome.NOT_COUNTED:
        return returned
    seen = replace(returned, window=(*returned.window, outcome))
    uncertain = seen.window.count(Outcome.UNCERTAIN) > policy.max_uncertain_share * policy.probes
    if outcome in (Outcome.FAILED, Outcome.SLOW) or uncertain:
        return _opened(seen, now, policy)
    return Breaker(cooldown_seconds=seen.cooldown_seconds) if len(seen.window) >= policy.probes else seen


def _opened(breaker: Breaker, now: float, policy: BreakerPolicy) -> Breaker:
    cooldown = min(max(policy.cooldown_seconds, 2 * breaker.cooldown_seconds), policy.max_cooldown_seconds)
    return Breaker(Phase.OPEN, (), now, cooldown, 0)
