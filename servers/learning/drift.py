"""Drift of voice identity (§38.6) and the pairs of speakers who are taken for each other (§38.7), from decisions. Pure.

The source names the detectors and their rate limits, not when a figure has drifted. Rates of error are held against the
limits of §38.1; a share, or a margin, against that of the decisions before. A breach is what is sure at 95 %, and never
fewer than `LEAST_EVENTS` of what it counts.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from selene.learning.v1.drift_pb2 import (
    DRIFT_DETECTOR_COHORT_REGRESSION,
    DRIFT_DETECTOR_FALSE_ACCEPTS,
    DRIFT_DETECTOR_FALSE_REJECTS,
    DRIFT_DETECTOR_MARGIN_COMPRESSION,
    DRIFT_DETECTOR_QUALITY_DECAY,
    DRIFT_RECOVERY_ADAPTATION,
    DRIFT_RECOVERY_REENROLMENT,
    DriftDetector,
    DriftRecovery,
)

from servers.statistics import clopper_pearson

MAX_FRR: Final = 0.01
MAX_FAR: Final = 0.001
"""§38.1: FRR at most 1.0 %, FAR at most 0.10 %."""
LEAST_EVENTS: Final = 3
"""One misheard turn is no drift, however few turns there were."""
COMPRESSED: Final = 0.5
"""Margins are compressed where surely more than half of them lie where the lowest quarter did before."""

WINDOW: Final = timedelta(hours=24)
REFERENCE: Final = timedelta(days=14)
"""What a window is held against: the decisions before it, as far back as breaches are counted (§38.6)."""

USER: Final = "user:"
COHORT: Final = "cohort:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision on who spoke. `cohort` is by dimension. `speaker` is who it was, empty for nobody enrolled, None
    while nobody has said so. `margin_bp` is None where nobody was compared. `close` are two users who are both likely.
    """

    at: datetime
    cohort: Mapping[str, str]
    named: str
    speaker: str | None
    claimed: str = ""
    margin_bp: int | None = None
    poor: bool = False
    close: tuple[str, str] | None = None

    @property
    def user(self) -> str:
        """Whom it is about: who spoke, else who was named, else who was claimed; empty for nobody who is known."""
        return self.speaker or self.named or self.claimed


@dataclass(frozen=True, slots=True)
class Drifted:
    """A figure that left its limit, of `samples` decisions or trials."""

    subject: str
    detector: DriftDetector
    recent: float
    reference: float
    samples: int


@dataclass(frozen=True, slots=True)
class Collided:
    """Two users, sorted, and how often they were confused."""

    pair: tuple[str, str]
    collisions: int
    close_calls: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class _Rate:
    """Events of trials, with 95 % bounds."""

    events: int
    trials: int

    @property
    def value(self) -> float:
        return self.events / self.trials if self.trials else 0.0

    @property
    def lower(self) -> float:
        return clopper_pearson(self.events, self.trials).lower if self.events >= LEAST_EVENTS else 0.0

    @property
    def upper(self) -> float:
        return clopper_pearson(self.events, self.trials).upper


def _count(decisions: Iterable[Decided], counts: Callable[[Decided], bool | None]) -> _Rate:
    """What `counts` says of each decision; None where it is no trial."""
    said = [one for one in map(counts, decisions) if one is not None]
    return _Rate(sum(said), len(said))


def _is_poor(one: Decided) -> bool:
    return one.poor


def _is_rejected(one: Decided) -> bool | None:
    return one.named != one.speaker if one.speaker else None


def _is_accepted(one: Decided) -> bool | None:
    """An impostor trial is one whose speaker is nobody enrolled, or who was named for somebody else."""
    if one.speaker is None or (one.speaker and one.named in ("", one.speaker)):
        return None
    return bool(one.named)


def _quality(recent: Sequence[Decided], before: Sequence[Decided]) -> tuple[float, float, int] | None:
    now, was = _count(recent, _is_poor), _count(before, _is_poor)
    return (now.value, was.value, now.trials) if was.trials and now.lower > was.upper else None


def _rejects(recent: Sequence[Decided], before: Sequence[Decided]) -> tuple[float, float, int] | None:
    now = _count(recent, _is_rejected)
    return (now.value, MAX_FRR, now.trials) if now.lower > MAX_FRR else None


def _accepts(recent: Sequence[Decided], before: Sequence[Decided]) -> tuple[float, float, int] | None:
    now = _count(recent, _is_accepted)
    return (now.value, MAX_FAR, now.trials) if now.lower > MAX_FAR else None


def _margins(recent: Sequence[Decided], before: Sequence[Decided]) -> tuple[float, float, int] | None:
    now = [one.margin_bp for one in recent if one.margin_bp is not None]
    was = [one.margin_bp for one in before if one.margin_bp is not None]
    if not now or len(was) < 2:
        return None
    quarter = statistics.quantiles(was, n=4, method="inclusive")[0]
    low = _Rate(sum(margin < quarter for margin in now), len(now))
    return (statistics.median(now), statistics.median(was), len(now)) if low.lower > COMPRESSED else None


DETECTORS: Final[
    Mapping[DriftDetector, Callable[[Sequence[Decided], Sequence[Decided]], tuple[float, float, int] | None]]
] = MappingProxyType(
    {
        DRIFT_DETECTOR_QUALITY_DECAY: _quality,
        DRIFT_DETECTOR_FALSE_REJECTS: _rejects,
        DRIFT_DETECTOR_FALSE_ACCEPTS: _accepts,
        DRIFT_DETECTOR_MARGIN_COMPRESSION: _margins,
    }
)
"""Each says the figure, what it is held against, and of how many it is; None where it has not drifted."""

OF_A_VOICE: Final = frozenset({DRIFT_DETECTOR_QUALITY_DECAY, DRIFT_DETECTOR_MARGIN_COMPRESSION})
"""What a new enrolment of the user mends; the others ask for another limit."""


def recovery_of(subject: str, detector: DriftDetector) -> DriftRecovery:
    """What a breach asks for. A cohort is nobody who could enrol again."""
    is_voice = subject.startswith(USER) and detector in OF_A_VOICE
    return DRIFT_RECOVERY_REENROLMENT if is_voice else DRIFT_RECOVERY_ADAPTATION


def drifted(decisions: Iterable[Decided], ends_at: datetime) -> list[Drifted]:
    """The breaches of the window that ends then, by subject and detector; decisions after it count for nothing."""
    recent: list[Decided] = []
    before: list[Decided] = []
    for one in decisions:
        if ends_at - WINDOW <= one.at < ends_at:
            recent.append(one)
        elif ends_at - WINDOW - REFERENCE <= one.at < ends_at:
            before.append(one)
    found = []
    earlier = _by_subject(before)
    for subject, now in sorted(_by_subject(recent).items()):
        for detector, judge in DETECTORS.items():
            figures = judge(now, earlier.get(subject, ()))
            if figures is not None:
                found.append(Drifted(subject, detector, *figures))
        if subject.startswith(COHORT) and (regression := _regression(subject, now, recent)) is not None:
            found.append(regression)
    return found


def _regression(subject: str, of_cohort: Sequence[Decided], everybody: Sequence[Decided]) -> Drifted | None:
    """A cohort that rejects surely more often than all others together (§38.3)."""
    mine, all_rejects = _count(of_cohort, _is_rejected), _count(everybody, _is_rejected)
    others = _Rate(all_rejects.events - mine.events, all_rejects.trials - mine.trials)
    if not others.trials or mine.lower <= others.upper:
        return None
    return Drifted(subject, DRIFT_DETECTOR_COHORT_REGRESSION, mine.value, others.value, mine.trials)


def _by_subject(decisions: Iterable[Decided]) -> dict[str, list[Decided]]:
    found: dict[str, list[Decided]] = defaultdict(list)
    for one in decisions:
        for dimension, value in one.cohort.items():
            if value:
                found[f"{COHORT}{dimension}:{value}"].append(one)
        if one.user:
            found[f"{USER}{one.user}"].append(one)
    return found


def collided(decisions: Iterable[Decided]) -> list[Collided]:
    """The pairs that were confused, the most frequent first: one named for the other, or both likely."""
    collisions: dict[tuple[str, str], int] = defaultdict(int)
    close_calls: dict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], datetime] = {}
    for one in decisions:
        if one.speaker and one.named and one.named != one.speaker:
            pair, counted = _sorted(one.named, one.speaker), collisions
        elif one.close is not None and one.close[0] != one.close[1]:
            pair, counted = _sorted(*one.close), close_calls
        else:
            continue
        counted[pair] += 1
        last[pair] = max(one.at, last.get(pair, one.at))
    found = [Collided(pair, collisions[pair], close_calls[pair], at) for pair, at in last.items()]
    return sorted(found, key=lambda one: (-one.collisions, -one.close_calls, one.pair))


def _sorted(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
