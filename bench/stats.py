"""Numbers out of measurements: percentiles that say how many values they rest on, and where a rising load breaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank). NaN where there is none."""
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share {share} is outside (0, 1]")
    if not values:
        return math.nan
    return sorted(values)[math.ceil(share * len(values)) - 1]


@dataclass(frozen=True, slots=True)
class Spread:
    """p50, p95, p99 and the largest of `count` values."""

    count: int
    p50: float
    p95: float
    p99: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """NaN throughout where there are no values."""
        return cls(
            len(values),
            percentile(values, 0.50),
            percentile(values, 0.95),
            percentile(values, 0.99),
            max(values, default=math.nan),
        )


@dataclass(frozen=True, slots=True)
class Level:
    """One load: how many streams, the p95 of half-close to decision, and the p99 of how late frames left."""

    streams: int
    p95_ms: float
    late_p99_ms: float


def holds(level: Level, *, p95_limit_ms: float, late_limit_ms: float) -> bool:
    """Whether a load was carried: decisions in time, frames at pace. A level without decisions was not."""
    return level.p95_ms <= p95_limit_ms and level.late_p99_ms <= late_limit_ms


def knee(levels: Sequence[Level], *, p95_limit_ms: float, late_limit_ms: float) -> int:
    """The largest number of streams up to which every measured level holds; 0 where the first does not."""
    carried = 0
    for level in sorted(levels, key=lambda one: one.streams):
        if not holds(level, p95_limit_ms=p95_limit_ms, late_limit_ms=late_limit_ms):
            break
        carried = level.streams
    return carried
