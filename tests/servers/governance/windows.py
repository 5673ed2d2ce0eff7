"""KPI windows as tests make them: so many turns and counts on both sides of the same day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    Arm,
    KpiCount,
    KpiMetric,
    KpiWindow,
    LatencyBucket,
    SafetyCounts,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(hours=24)

Counts = Mapping[KpiMetric, tuple[int, int]]


def window(
    arm: Arm,
    turns: int,
    counts: Counts,
    *,
    cohort: str = "",
    starts_at: datetime = START,
    lasts: timedelta = DAY,
    latencies: Mapping[int, int] | None = None,
    **safety: int,
) -> KpiWindow:
    """One window of one side."""
    made = KpiWindow(arm=arm, cohort=cohort, turns=turns, safety=SafetyCounts(**safety))
    made.starts_at.FromDatetime(starts_at)
    made.ends_at.FromDatetime(starts_at + lasts)
    made.counts.extend(
        KpiCount(metric=metric, numerator=over, denominator=under) for metric, (over, under) in counts.items()
    )
    made.latencies.extend(LatencyBucket(index=index, turns=n) for index, n in (latencies or {}).items())
    return made


def both(
    turns: int,
    baseline: Counts,
    candidate: Counts,
    *,
    cohort: str = "",
    lasts: timedelta = DAY,
    starts_at: datetime = START,
    latencies: tuple[Mapping[int, int], Mapping[int, int]] | None = None,
) -> list[KpiWindow]:
    """Both sides of the same time, with as many turns each."""
    slow = latencies or (None, None)
    at = {"cohort": cohort, "lasts": lasts, "starts_at": starts_at}
    return [
        window(ARM_BASELINE, turns, baseline, latencies=slow[0], **at),
        window(ARM_CANDIDATE, turns, candidate, latencies=slow[1], **at),
    ]
