"""KPIs per cohort from decisions whose speaker became known (VID-10, §32, §38.3)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NO_DATA = -1
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Cohort:
    """Labels of §38.3; empty where unknown."""

    language: str = ""
    accent_band: str = ""
    device_class: str = ""
    noise_class: str = ""


@dataclass(frozen=True, slots=True)
class DecidedStream:
    """One decision. `named_user_id` is empty when it named nobody. `speaker_user_id` is who was really speaking, empty
    when it was nobody enrolled, None while nobody has said so.
    """

    cohort: Cohort
    named_user_id: str
    speaker_user_id: str | None
    latency_seconds: float


@dataclass(frozen=True, slots=True)
class Kpi:
    """One cohort. Rates in basis points, -1 without data; latencies in seconds, NaN without data.

    A decision that named another enrolled person is genuine (the speaker was not accepted) and impostor (somebody
    was accepted who was not speaking) at once, so that a mix-up shows in both FRR and FAR.
    """

    cohort: Cohort
    decisions: int
    named: int
    genuine: int
    impostor: int
    tar_bp: int
    frr_bp: int
    far_bp: int
    latency_p50: float
    latency_p95: float
    latency_p99: float


def kpis(streams: Iterable[DecidedStream]) -> tuple[Kpi, ...]:
    """One row a cohort, in the order of the labels."""
    cohorts: dict[Cohort, list[DecidedStream]] = defaultdict(list)
    for stream in streams:
        cohorts[stream.cohort].append(stream)
    return tuple(_kpi(cohort, cohorts[cohort]) for cohort in sorted(cohorts))


def percentile(values: Sequence[float], percent: int) -> float:
    """Nearest rank: the smallest value that at least `percent` of all do not exceed. NaN without values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _kpi(cohort: Cohort, streams: list[DecidedStream]) -> Kpi:
    labelled = [stream for stream in streams if stream.speaker_user_id is not None]
    genuine = [stream for stream in labelled if stream.speaker_user_id]
    accepted = sum(stream.named_user_id == stream.speaker_user_id for stream in genuine)
    false_accepts = sum(stream.named_user_id not in ("", stream.speaker_user_id) for stream in labelled)
    mixed_up = sum(stream.named_user_id not in ("", stream.speaker_user_id) for stream in genuine)
    impostor = len(labelled) - len(genuine) + mixed_up
    latencies = [stream.latency_seconds for stream in streams if math.isfinite(stream.latency_seconds)]
    return Kpi(
        cohort,
        decisions=len(streams),
        named=sum(bool(stream.named_user_id) for stream in streams),
        genuine=len(genuine),
        impostor=impostor,
        tar_bp=_rate_bp(accepted, len(genuine)),
        frr_bp=_rate_bp(len(genuine) - accepted, len(genuine)),
        far_bp=_rate_bp(false_accepts, impostor),
        latency_p50=percentile(latencies, 50),
        latency_p95=percentile(latencies, 95),
        latency_p99=percentile(latencies, 99),
    )


def _rate_bp(count: int, total: int) -> int:
    """To the nearest basis point, half up; -1 without data."""
    return NO_DATA if total == 0 else (2 * BASIS_POINTS * count + total) // (2 * total)
