"""Scores as voice identity would give them, drawn by a seed, and what two threshold packs make of the same turns. Pure.

The 30 s that `make demo` hears hold no 1,500 genuine and 15,000 impostor trials (§38.1), so the scores are drawn:
calibrated log-likelihood ratios, normal on both sides. In a household where voices are alike, impostors score higher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from selene.gold.v1.evidence_pb2 import GoldItem, GoldLabel, TrialLabel, VoiceTrial
from selene.governance.v1.decision_pb2 import CohortResult

from servers.frozen_sets import FrozenSet, scorer_sha256
from servers.voiceid.calibration.pack import ThresholdPack
from servers.voiceid.fusion import BASIS_POINTS

Scores = npt.NDArray[np.float64]

COHORTS: Final = ("language:en", "accent:mixed", "device:kitchen", "noise:home")
"""One of each dimension that §38.3 asks for."""

TRIAL_COHORT: Final = "en/mixed/kitchen/home"


@dataclass(frozen=True, slots=True)
class Voices:
    """How a household scores: mean and deviation of the log-likelihood ratios of genuine speakers and of impostors."""

    genuine: tuple[float, float]
    impostors: tuple[float, float]


ALIKE: Final = Voices(genuine=(17.0, 3.0), impostors=(-8.0, 5.0))
"""Siblings: their voices reach the limit of the pack that ships more often than one time in a thousand."""
UNLIKE: Final = Voices(genuine=(17.0, 3.0), impostors=(-16.0, 4.0))
"""Nobody sounds like anybody."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison whose truth two people can hear."""

    item: GoldItem
    genuine: bool

    def label(self) -> GoldLabel:
        """What a reviewer says of it."""
        return GoldLabel(item_id=self.item.item_id, trial=TrialLabel(genuine=self.genuine))


def trials(
    voices: Voices, signals: Sequence[tuple[str, str]], *, genuine: int, impostors: int, seed: int
) -> Iterator[Trial]:
    """Trials that came with corrections, each of them `(user, signal)`: so many of each kind for each correction."""
    drawn = np.random.default_rng(seed)
    for user, signal_id in signals:
        others = [name for name, _ in signals if name != user] or ["visitor"]
        scores = [(float(score), True) for score in drawn.normal(*voices.genuine, genuine)]
        scores += [(float(score), False) for score in drawn.normal(*voices.impostors, impostors)]
        for number, (score, is_genuine) in enumerate(scores):
            trial = VoiceTrial(
                score=score,
                cohort=TRIAL_COHORT,
                enrolled_ref=user,
                test_ref=user if is_genuine else others[number % len(others)],
            )
            item = GoldItem(item_id=f"{signal_id}.{number:05}", signal_id=signal_id, trial=trial)
            yield Trial(item, is_genuine)


@dataclass(frozen=True, slots=True)
class Turns:
    """Recorded turns, a row a subject: who they are, their own turns' scores and those of others who spoke for them."""

    subjects: tuple[str, ...]
    genuine: Scores
    impostors: Scores

    def of(self, chosen: Sequence[bool]) -> Turns:
        """The turns of some subjects."""
        kept = np.array(chosen, dtype=bool)
        names = tuple(name for name, is_kept in zip(self.subjects, chosen, strict=True) if is_kept)
        return Turns(names, self.genuine[kept], self.impostors[kept])


def recorded(voices: Voices, *, seed: int, subjects: int = 1_000, genuine: int = 100, impostors: int = 3_000) -> Turns:
    """A day of traffic."""
    drawn = np.random.default_rng(seed)
    return Turns(
        tuple(f"subject-{number:04}" for number in range(subjects)),
        drawn.normal(*voices.genuine, (subjects, genuine)),
        drawn.normal(*voices.impostors, (subjects, impostors)),
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """What a pack made of some turns."""

    genuine: int
    false_rejects: int
    impostors: int
    false_accepts: int
    asked: int
    """Genuine speakers between the limits, who are asked once (§38.5)."""

    @property
    def turns(self) -> int:
        """All of them."""
        return self.genuine + self.impostors

    def result(self, cohort: str) -> CohortResult:
        """As an evaluation of a cohort."""
        return CohortResult(
            cohort=cohort,
            genuine_trials=self.genuine,
            false_rejects=self.false_rejects,
            impostor_trials=self.impostors,
            false_accepts=self.false_accepts,
        )


def replayed(pack: ThresholdPack, turns: Turns) -> Counted:
    """What the pack decides on recorded turns."""
    genuine, impostors = _posterior_bp(pack, turns.genuine), _posterior_bp(pack, turns.impostors)
    policy = pack.thresholds().policy
    rejected = genuine < policy.conf_high_bp
    return Counted(
        genuine=genuine.size,
        false_rejects=int(rejected.sum()),
        impostors=impostors.size,
        false_accepts=int((impostors >= policy.conf_high_bp).sum()),
        asked=int((rejected & (genuine >= policy.conf_mid_bp)).sum()),
    )


def frozen(pack: ThresholdPack, voices: Voices, *, seed: int) -> FrozenSet:
    """Trials of speakers whom nobody learns from, scored as the pack scores (§38.8); more than §38.1 asks for."""
    genuine, impostors = 2_000, 20_000
    drawn = np.random.default_rng(seed)
    speakers = tuple(f"frozen-{number:02}" for number in range(20))
    tested = drawn.integers(0, len(speakers), genuine + impostors)
    other = (tested + drawn.integers(1, len(speakers), genuine + impostors)) % len(speakers)
    is_genuine = np.arange(genuine + impostors) < genuine
    scores = np.concatenate([drawn.normal(*voices.genuine, genuine), drawn.normal(*voices.impostors, impostors)])
    return FrozenSet(
        name="nobody-alike" if voices is UNLIKE else "siblings",
        scorer_sha256=scorer_sha256(pack.model_dump(mode="json")),
        speakers=speakers,
        cohorts=(tuple(cohort.partition(":")[2] for cohort in COHORTS),),
        signals=(),
        enrolled=np.where(is_genuine, tested, other),
        tested=tested,
        cohort=np.zeros(genuine + impostors, np.intp),
        llr=scores,
    )


def evaluated(pack: ThresholdPack, voices: Voices, *, seed: int) -> list[CohortResult]:
    """What its proposer says of the pack: its decisions on drawn turns of each cohort."""
    return [
        replayed(pack, recorded(voices, seed=seed + number, subjects=40)).result(cohort)
        for number, cohort in enumerate(COHORTS)
    ]


def _posterior_bp(pack: ThresholdPack, scores: Scores) -> npt.NDArray[np.int64]:
    """Posteriors in basis points, rounded down as the ladder does."""
    prior = pack.thresholds().fused.prior
    log_odds = scores + np.log(prior) - np.log1p(-prior)
    posterior: npt.NDArray[np.int64] = np.floor(BASIS_POINTS / (1.0 + np.exp(-log_odds))).astype(np.int64)
    return posterior
