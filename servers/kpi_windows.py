"""KPI windows as owners cut them from rows of their own (§20, §29): spans of a rollout by stage, counts by side.

Pure: rows in, windows out. A window never reaches from one stage into another, and both sides have the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    ROLLOUT_STAGE_FULL,
    Arm,
    KpiCount,
    KpiMetric,
    KpiWindow,
    LatencyBucket,
    Rollout,
    RolloutStage,
    SafetyCounts,
)

EVERYONE: Final = ""
OTHER: Final = "other"
MOST_VALUES: Final = 30
"""Values that a cohort's dimension has in one window; all further ones are `other`, for callers choose them."""
LONGEST_VALUE: Final = 64

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKET_GROWTH: Final = math.log(1.01)
_LAST_BUCKET: Final = 2_400
_NOT_IN_COHORTS: Final = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a stage's time, from and until when."""

    stage: RolloutStage
    starts_at: datetime
    ends_at: datetime


def last_end(now: datetime, every: timedelta) -> datetime:
    """When the last window ended: the latest multiple of `every` since the epoch."""
    return _EPOCH + (now - _EPOCH) // every * every


def spans(rollout: Rollout, since: datetime, until: datetime) -> list[Span]:
    """The time between, by stage."""
    found = []
    for entry in rollout.stages:
        starts_at = max(since, entry.entered_at.ToDatetime(tzinfo=UTC))
        left_at = entry.left_at.ToDatetime(tzinfo=UTC) if entry.HasField("left_at") else until
        if starts_at < min(left_at, until):
            found.append(Span(entry.stage, starts_at, min(left_at, until)))
    return found


def latency_bucket(latency_us: int) -> int:
    """Which bucket of `LatencyBucket` holds so many microseconds."""
    return min(_LAST_BUCKET, int(math.log(max(1, latency_us)) / _BUCKET_GROWTH))


@dataclass(slots=True)
class Tally:
    """What was counted on one side of one cohort."""

    turns: int = 0
    counts: dict[KpiMetric, tuple[int, int]] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)
    safety_conflicts: int = 0
    """What takes a rollout back at once (§29)."""

    def add(self, metric: KpiMetric, events: int, trials: int) -> None:
        """More of a metric."""
        over, under = self.counts.get(metric, (0, 0))
        self.counts[metric] = (over + events, under + trials)

    def turn(self, latency_us: int | None) -> None:
        """One more turn; None where nobody waited for it."""
        self.turns += 1
        if latency_us is not None:
            bucket = latency_bucket(latency_us)
            self.latencies[bucket] = self.latencies.get(bucket, 0) + 1

    def window(self, arm: Arm, cohort: str, span: Span) -> KpiWindow:
        """As the judge reads it."""
        window = KpiWindow(
            arm=arm,
            cohort=cohort,
            turns=self.turns,
            counts=[
                KpiCount(metric=metric, numerator=over, denominator=under)
                for metric, (over, under) in sorted(self.counts.items())
            ],
            latencies=[LatencyBucket(index=index, turns=turns) for index, turns in sorted(self.latencies.items())],
        )
        if self.safety_conflicts:
            window.safety.CopyFrom(SafetyCounts(safety_conflicts=self.safety_conflicts))
        window.starts_at.FromDatetime(span.starts_at)
        window.ends_at.FromDatetime(span.ends_at)
        return window


class Tallies:
    """Every side and cohort of some spans. However many rows there are, it stays as small as its cohorts are few."""

    def __init__(self, spans_: Sequence[Span]) -> None:
        self._spans = spans_
        self._tallies: dict[tuple[Span, Arm, str], Tally] = {}
        self._values: dict[str, set[str]] = {}
        for span in spans_:
            # That nobody came is measured too. Where everyone has the candidate, there is no other side.
            sides = (ARM_CANDIDATE,) if span.stage == ROLLOUT_STAGE_FULL else (ARM_BASELINE, ARM_CANDIDATE)
            self._tallies.update({(span, arm, EVERYONE): Tally() for arm in sides})

    def of(self, at: datetime, arm: Arm, cohorts: Sequence[tuple[str, str]]) -> Iterator[Tally]:
        """The tallies that a row of then belongs to: everyone's, and those of its cohorts, as dimension and value.

        A row that came late, for a span that is over, belongs to the first.
        """
        span = next((each for each in reversed(self._spans) if each.starts_at <= at), self._spans[0])
        for cohort in (EVERYONE, *(self._cohort(*each) for each in cohorts if each[1])):
            yield self._tallies.setdefault((span, arm, cohort), Tally())

    def windows(self) -> list[tuple[RolloutStage, KpiWindow]]:
        """All of them, each with its stage."""
        return [
            (span.stage, tally.window(arm, cohort, span))
            for (span, arm, cohort), tally in sorted(
                self._tallies.items(), key=lambda each: (each[0][0].starts_at, each[0][1], each[0][2])
            )
        ]

    def _cohort(self, dimension: str, value: str) -> str:
        named = _NOT_IN_COHORTS.sub("_", value)[:LONGEST_VALUE]
        values = self._values.setdefault(dimension, set())
        if named not in values and len(values) >= MOST_VALUES:
            named = OTHER
        values.add(named)
        return f"{dimension}:{named}"
