"""The frozen holdout of a calibration as an evaluation set that governance holds later packs against (§38.8)."""

from __future__ import annotations

import re

import numpy as np

from servers.frozen_sets import FrozenSet, scorer_sha256
from servers.voiceid.calibration.run import CalibrationResult
from servers.voiceid.calibration.trials import Cohort

_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST = 64


def frozen_of(result: CalibrationResult, name: str) -> FrozenSet:
    """The deployed holdout's trials by the pack's own scorer. Its speakers fitted nothing and set no limit."""
    trials = result.holdout
    codes = np.unique(np.concatenate([trials.enrolled, trials.tested]))
    speakers = sorted(trials.speakers[code] for code in codes)
    place = {speaker: code for code, speaker in enumerate(speakers)}
    moved = np.array([place.get(speaker, -1) for speaker in trials.speakers], np.intp)
    return FrozenSet(
        name=name,
        scorer_sha256=scorer_sha256(result.pack.model_dump(mode="json")),
        speakers=tuple(speakers),
        cohorts=tuple(_labels(cohort) for cohort in trials.cohorts),
        signals=(),
        enrolled=moved[trials.enrolled],
        tested=moved[trials.tested],
        cohort=trials.cohort,
        llr=result.fused_llrs,
    )


def _labels(cohort: Cohort) -> tuple[str, ...]:
    """As gates name them: what is no letter, digit or `._-` is a hyphen."""
    return tuple(_NOT_IN_LABELS.sub("-", label)[:_LONGEST] for label in cohort)
