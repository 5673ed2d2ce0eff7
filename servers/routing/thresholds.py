"""Thresholds as values (§24): what is measured, held against a limit, and the policy of one circuit made of them."""

from __future__ import annotations

from dataclasses import dataclass

from selene.routing.v1.routing_pb2 import (
    COMPARISON_AT_LEAST,
    COMPARISON_EQUAL,
    COMPARISON_LESS_THAN,
    COMPARISON_MORE_THAN,
    Comparison,
    Measure,
)
from selene.routing.v1.routing_pb2 import CircuitPolicy as CircuitPolicyMessage
from selene.routing.v1.routing_pb2 import Threshold as ThresholdMessage


@dataclass(frozen=True, slots=True)
class Reading:
    """A measure's value, in its unit of the contract, and the number of calls that it rests on."""

    value: float
    samples: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """`selene.routing.v1.Threshold` as a value."""

    measure: Measure
    comparison: Comparison
    limit: int
    windows: int
    min_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitPolicy:
    """`selene.routing.v1.CircuitPolicy` as a value; times are seconds."""

    open_when: tuple[Threshold, ...]
    return_when: tuple[Threshold, ...]
    cooldown_s: float
    max_cooldown_s: float
    probes: int
    window_s: float

    @property
    def return_windows(self) -> int:
        """Healthy windows in a row before traffic returns; there is a probe for each of them."""
        return min(max((rule.windows for rule in self.return_when), default=1), self.probes)


def held(threshold: Threshold, reading: Reading | None) -> bool | None:
    """Whether the threshold holds; None where fewer than `min_samples` calls speak, or the comparison is unknown."""
    if reading is None or reading.samples < threshold.min_samples:
        return None
    return compared(threshold.comparison, reading.value, threshold.limit)


def compared(comparison: Comparison, value: float, limit: int) -> bool | None:
    """The comparison itself; None for one that the contract does not know."""
    if comparison == COMPARISON_AT_LEAST:
        return value >= limit
    if comparison == COMPARISON_MORE_THAN:
        return value > limit
    if comparison == COMPARISON_LESS_THAN:
        return value < limit
    if comparison == COMPARISON_EQUAL:
        return value == limit
    return None


def policy_of(message: CircuitPolicyMessage) -> CircuitPolicy:
    """The value of a policy message, which a validated profile holds."""
    return CircuitPolicy(
        open_when=tuple(_threshold_of(rule) for rule in message.open_when),
        return_when=tuple(_threshold_of(rule) for rule in message.return_when),
        cooldown_s=message.cooldown.ToTimedelta().total_seconds(),
        max_cooldown_s=message.max_cooldown.ToTimedelta().total_seconds(),
        probes=message.probes,
        window_s=message.window.ToTimedelta().total_seconds(),
    )


def policy_message(policy: CircuitPolicy) -> CircuitPolicyMessage:
    """The message of a policy; `policy_of` gives the same policy back."""
    message = CircuitPolicyMessage(
        open_when=[_threshold_message(rule) for rule in policy.open_when],
        return_when=[_threshold_message(rule) for rule in policy.return_when],
        probes=policy.probes,
    )
    message.cooldown.FromNanoseconds(round(policy.cooldown_s * 1e9))
    message.max_cooldown.FromNanoseconds(round(policy.max_cooldown_s * 1e9))
    message.window.FromNanoseconds(round(policy.window_s * 1e9))
    return message


def _threshold_of(message: ThresholdMessage) -> Threshold:
    return Threshold(message.measure, message.comparison, message.limit, message.windows, message.min_samples)


def _threshold_message(threshold: Threshold) -> ThresholdMessage:
    return ThresholdMessage(
        measure=threshold.measure,
        comparison=threshold.comparison,
        limit=threshold.limit,
        windows=threshold.windows,
        min_samples=threshold.min_samples,
    )
