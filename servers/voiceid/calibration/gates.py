"""The cohort table of a pack, measured on the frozen holdout, and the promotion gates of §38.1 and §38.3 over it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from servers.statistics import Interval, clopper_pearson
from servers.voiceid.calibration.limits import Derivation, points, speech_of
from servers.voiceid.calibration.metrics import (
    Flags,
    Floats,
    Scored,
    Statistic,
    TooFewTrials,
    curve,
    eer,
    speaker_bootstrap,
)
from servers.voiceid.calibration.pack import CohortRow, Measured, OperatingPoint, Reason, ReasonCode
from servers.voiceid.calibration.trials import Cohort, Trials
from servers.voiceid.policy import DecisionPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """What every cohort must show at CONF_HIGH before a pack may be more than PROVISIONAL (§38.1)."""

    genuine: int = 1500
    impostor: int = 15_000
    tar_lower: float = 0.99
    far_upper: float = 0.001
    frr_upper: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How the speaker bootstrap draws."""

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95

    def method(self) -> str:
        """How a pack names its bounds."""
        return (
            f"{self.confidence:.0%} two-sided, the wider of Clopper-Pearson over trials (for EER: the genuine ones) and"
            f" a bootstrap over speakers ({self.resamples} resamples, seed {self.seed}, percentiles)"
        )


def cohort_table(
    trials: Trials, llrs: Floats, policy: DecisionPolicy, *, prior: float, deployed_clips: int, resampling: Resampling
) -> list[CohortRow]:
    """One row for each cohort, condition and size of profile that occurs. Speech too short to decide is not gated."""
    return [
        _row(trials.where(chosen), llrs[chosen], policy, prior, deployed_clips, resampling)
        for chosen in _groups(trials)
    ]


def _groups(trials: Trials) -> Iterator[Flags]:
    keys = np.column_stack([trials.cohort, trials.condition, trials.clips])
    for key in np.unique(keys, axis=0):
        yield (keys == key).all(axis=1)


def eer_with_bounds(scored: Scored, resampling: Resampling) -> Measured:
    """The equal error rate and its bounds, also where no error was seen and resampling could find none."""
    ranked = _ranked(scored)
    return _eer(ranked, _drawn(ranked, [], resampling)[0], resampling.confidence)


def _eer(scored: Scored, drawn: Interval, confidence: float) -> Measured:
    rate, genuine = eer(curve(scored.scores, scored.genuine)), int(scored.genuine.sum())
    lower = clopper_pearson(math.floor(rate * genuine), genuine, confidence=confidence).lower
    upper = clopper_pearson(math.ceil(rate * genuine), genuine, confidence=confidence).upper
    return Measured(value=rate, lower=min(rate, lower, drawn.lower), upper=max(rate, upper, drawn.upper))


def _ranked(scored: Scored) -> Scored:
    """Sorted once, so that every resample finds its curve without sorting again."""
    order = np.argsort(scored.scores, kind="stable")
    return Scored(scored.scores[order], scored.genuine[order], scored.enrolled[order], scored.tested[order])


def _drawn(scored: Scored, more: Sequence[Statistic], resampling: Resampling) -> tuple[Interval, ...]:
    statistics = [lambda weights: eer(curve(scored.scores, scored.genuine, weights)), *more]
    how = {"resamples": resampling.resamples, "seed": resampling.seed}
    try:
        return speaker_bootstrap(scored, statistics, **how, confidence=resampling.confidence)
    except TooFewTrials:
        return (Interval(0.0, 1.0),) * len(statistics)


def _row(
    trials: Trials, llrs: Floats, policy: DecisionPolicy, prior: float, deployed_clips: int, resampling: Resampling
) -> CohortRow:
    genuine, clips = trials.genuine, int(trials.clips[0])
    shown: dict[str, Measured | OperatingPoint | None] = {"eer": None, "high": None, "mid": None}
    if genuine.any() and not genuine.all():
        shown = _rates(_ranked(trials.scored(llrs)), policy, prior, resampling)
    return CohortRow.model_validate(
        {
            **trials.cohorts[int(trials.cohort[0])]._asdict(),
            **shown,
            "condition": trials.conditions[int(trials.condition[0])],
            "clips": clips,
            "genuine": int(genuine.sum()),
            "genuine_same_session": int((genuine & trials.same_session).sum()),
            "impostor": int((~genuine).sum()),
            "speakers": len(trials.speaker_names()),
            "genuine_speakers": int(np.unique(trials.enrolled[genuine]).size),
            "gated": clips == deployed_clips and speech_of(trials) >= policy.min_voiced_seconds,
        }
    )


def _rates(
    scored: Scored, policy: DecisionPolicy, prior: float, resampling: Resampling
) -> dict[str, Measured | OperatingPoint | None]:
    score = points(scored.scores, prior)
    thresholds = (policy.conf_high_bp, policy.conf_mid_bp)
    wrong = [
        flags
        for limit in thresholds
        for flags in ((score < limit) & scored.genuine, (score >= limit) & ~scored.genuine)
    ]
    sides = [scored.genuine, ~scored.genuine] * len(thresholds)
    drawn = _drawn(scored, [_share(flags, side) for flags, side in zip(wrong, sides, strict=True)], resampling)
    errors = [
        _measured(int(flags.sum()), int(side.sum()), interval, resampling.confidence)
        for flags, side, interval in zip(wrong, sides, drawn[1:], strict=True)
    ]
    return {
        "eer": _eer(scored, drawn[0], resampling.confidence),
        "high": _point(thresholds[0], errors[0], errors[1]),
        "mid": _point(thresholds[1], errors[2], errors[3]),
    }


def _share(flags: Flags, side: Flags) -> Statistic:
    return lambda weights: float(weights[flags].sum() / weights[side].sum())


def _measured(errors: int, total: int, drawn: Interval, confidence: float) -> Measured:
    exact = clopper_pearson(errors, total, confidence=confidence)
    lower, upper = min(exact.lower, drawn.lower), max(exact.upper, drawn.upper)
    return Measured(value=errors / total, lower=max(lower, 0.0), upper=min(upper, 1.0))


def _point(threshold_bp: int, frr: Measured, far: Measured) -> OperatingPoint:
    tar = Measured(value=1.0 - frr.value, lower=1.0 - frr.upper, upper=1.0 - frr.lower)
    return OperatingPoint(threshold_bp=threshold_bp, tar=tar, frr=frr, far=far)


def failed_gates(rows: Sequence[CohortRow], derivations: Sequence[Derivation], gates: Gates) -> list[Reason]:
    """Every gate that does not hold, row by row; empty when the pack may be promoted."""
    reasons = [
        Reason(code=ReasonCode.TARGET_UNPROVEN, where=one.setting, observed=one.upper, required=one.target)
        for one in derivations
        if one.setting in ("conf_high_bp", "conf_mid_bp") and not one.proven
    ]
    for row in rows:
        if row.gated:
            reasons += _failures(row, gates)
    ungated = {_cohort(row) for row in rows} - {_cohort(row) for row in rows if row.gated}
    return reasons + [
        Reason(code=ReasonCode.GENUINE_TRIALS_TOO_FEW, where=str(cohort), observed=0.0, required=float(gates.genuine))
        for cohort in sorted(ungated)
    ]


def _failures(row: CohortRow, gates: Gates) -> Iterator[Reason]:
    where = f"{_cohort(row)}, {row.condition}"
    counts = (
        (ReasonCode.GENUINE_TRIALS_TOO_FEW, float(row.genuine), float(gates.genuine)),
        (ReasonCode.IMPOSTOR_TRIALS_TOO_FEW, float(row.impostor), float(gates.impostor)),
    )
    for code, observed, required in counts:
        if observed < required:
            yield Reason(code=code, where=where, observed=observed, required=required)
    if row.genuine_same_session:
        share = row.genuine_same_session / row.genuine
        yield Reason(code=ReasonCode.GENUINE_SAME_SESSION, where=where, observed=share, required=0.0)
    if row.high is None:
        return
    limits = (
        (ReasonCode.TAR_LOWER_BOUND, row.high.tar.lower, gates.tar_lower, row.high.tar.lower >= gates.tar_lower),
        (ReasonCode.FAR_UPPER_BOUND, row.high.far.upper, gates.far_upper, row.high.far.upper <= gates.far_upper),
        (ReasonCode.FRR_UPPER_BOUND, row.high.frr.upper, gates.frr_upper, row.high.frr.upper <= gates.frr_upper),
    )
    for code, bound, required, holds in limits:
        if not holds:
            yield Reason(code=code, where=where, observed=bound, required=required)


def _cohort(row: CohortRow) -> Cohort:
    return Cohort(row.language, row.accent_band, row.device_class, row.noise_class)
