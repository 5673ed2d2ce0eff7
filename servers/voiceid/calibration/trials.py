"""Trials: comparisons whose answer is known, in columns (§38.1, §38.8).

A speaker belongs to the calibration side or to the frozen holdout, never to both; comparisons across the two sides
belong to neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from servers.voiceid.calibration.metrics import Flags, Floats, Scored

Codes = NDArray[np.intp]
COSINE_SLACK = 1e-3
WHOLE_CLIP = "whole"


class Cohort(NamedTuple):
    """Labels of §38.3; an empty label was not given."""

    language: str = ""
    accent_band: str = ""
    device_class: str = ""
    noise_class: str = ""

    def __str__(self) -> str:
        return "/".join(label or "-" for label in self)


NO_COHORT = Cohort()


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison of a profile with an utterance; `seconds` is net speech of the utterance, `condition` the bucket
    it is reported in.

    Raises ValueError for a label that contradicts the speakers and for numbers that cannot be.
    """

    genuine: bool
    enrolled: str
    tested: str
    seconds: float
    cosines: tuple[float, ...]
    cohort: Cohort = NO_COHORT
    utterance: str = ""
    clips: int = 1
    same_session: bool = False
    condition: str = ""

    def __post_init__(self) -> None:
        if not self.enrolled or not self.tested:
            raise ValueError("both speakers must be named")
        if self.genuine != (self.enrolled == self.tested):
            told = "genuine" if self.genuine else "impostor"
            raise ValueError(f"labelled {told}, but the speakers are {self.enrolled!r} and {self.tested!r}")
        if not 0.0 < self.seconds < float("inf"):
            raise ValueError(f"net speech of {self.seconds} s is not a positive number")
        if not all(abs(cosine) <= 1.0 + COSINE_SLACK for cosine in self.cosines):
            raise ValueError(f"cosines {self.cosines} are not all numbers between -1 and 1")
        if self.clips < 1:
            raise ValueError(f"a profile of {self.clips} clips")


@dataclass(frozen=True, slots=True)
class Trials:
    """`n` trials over `m` models. Codes index into the tuple of the same column: `enrolled` and `tested` into
    `speakers`, and so on.

    `cosines` is ``[n, m]`` in the order of `models`; every other column is ``[n]``. An utterance of code -1 is not
    known, so it can be in no 1:N search.
    """

    models: tuple[str, ...]
    speakers: tuple[str, ...]
    cohorts: tuple[Cohort, ...]
    conditions: tuple[str, ...]
    cosines: Floats
    seconds: Floats
    genuine: Flags
    enrolled: Codes
    tested: Codes
    cohort: Codes
    condition: Codes
    utterance: Codes
    clips: Codes
    same_session: Flags

    def __len__(self) -> int:
        return int(self.genuine.size)

    def where(self, chosen: Flags | Codes) -> Trials:
        """The trials of a mask ``[n]``, or of positions, in their order; the tuples stay, so codes keep their
        meaning.
        """
        columns = (
            "cosines",
            "seconds",
            "genuine",
            "enrolled",
            "tested",
            "cohort",
            "condition",
            "utterance",
            "clips",
            "same_session",
        )
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def of_models(self, models: Sequence[str]) -> Trials:
        """The same trials with the cosines of `models` only, in that order. ValueError for a model that has none."""
        missing = [model for model in models if model not in self.models]
        if missing:
            raise ValueError(f"the trials have no cosines of {', '.join(missing)}")
        chosen = [self.models.index(model) for model in models]
        return replace(self, models=tuple(models), cosines=self.cosines[:, chosen])

    def scored(self, scores: Floats) -> Scored:
        """`scores` ``[n]`` of these trials, ready for the metrics; speakers are renumbered to those that occur."""
        present, codes = np.unique(np.concatenate([self.enrolled, self.tested]), return_inverse=True)
        del present
        return Scored(scores, self.genuine, codes[: len(self)], codes[len(self) :])

    def speaker_names(self) -> frozenset[str]:
        """The speakers that occur."""
        return frozenset(self.speakers[code] for code in np.unique(np.concatenate([self.enrolled, self.tested])))


def collect(models: Sequence[str], trials: Iterable[Trial]) -> Trials:
    """Trials in columns. ValueError when a trial has not one cosine a model."""
    rows = list(trials)
    if any(len(row.cosines) != len(models) for row in rows):
        raise ValueError(f"every trial needs {len(models)} cosines, for {', '.join(models)}")
    speakers = tuple(sorted({row.enrolled for row in rows} | {row.tested for row in rows}))
    cohorts = tuple(sorted({row.cohort for row in rows}))
    conditions = tuple(sorted({row.condition for row in rows}, key=condition_order))
    utterances = {name: code for code, name in enumerate(sorted({row.utterance for row in rows} - {""}))}
    speaker_code = {name: code for code, name in enumerate(speakers)}
    cohort_code = {cohort: code for code, cohort in enumerate(cohorts)}
    condition_code = {name: code for code, name in enumerate(conditions)}
    return Trials(
        models=tuple(models),
        speakers=speakers,
        cohorts=cohorts,
        conditions=conditions,
        cosines=np.array([row.cosines for row in rows], np.float64).reshape(len(rows), len(models)),
        seconds=np.array([row.seconds for row in rows], np.float64),
        genuine=np.array([row.genuine for row in rows], np.bool_),
        enrolled=np.array([speaker_code[row.enrolled] for row in rows], np.intp),
        tested=np.array([speaker_code[row.tested] for row in rows], np.intp),
        cohort=np.array([cohort_code[row.cohort] for row in rows], np.intp),
        condition=np.array([condition_code[row.condition] for row in rows], np.intp),
        utterance=np.array([utterances.get(row.utterance, -1) for row in rows], np.intp),
        clips=np.array([row.clips for row in rows], np.intp),
        same_session=np.array([row.same_session for row in rows], np.bool_),
    )


def condition_of(seconds: float, durations: Sequence[float]) -> str:
    """The bucket of an utterance: the duration, of those reported, that is nearest by ratio; ``whole`` for what is
    far beyond the longest.
    """
    longest = max(durations)
    if seconds > longest * 2.0**0.5:
        return WHOLE_CLIP
    return duration_name(min(durations, key=lambda duration: abs(np.log(seconds / duration))))


def duration_name(seconds: float) -> str:
    """``1.5`` as ``1.5 s``."""
    return f"{seconds:g} s"


def condition_order(name: str) -> tuple[float, str]:
    """Sorts conditions: durations rising, then the others by name."""
    number, _, unit = name.partition(" ")
    return (float(number), "") if unit == "s" else (float("inf"), name)


class Leakage(ValueError):
    """A speaker is on both sides of the split, so every figure taken from the holdout is void (§38.8)."""


@dataclass(frozen=True, slots=True)
class Split:
    """Who calibrates and who only measures. Leakage when a speaker does both."""

    calibration: frozenset[str]
    holdout: frozenset[str]

    def __post_init__(self) -> None:
        both = sorted(self.calibration & self.holdout)
        if both:
            raise Leakage(f"{len(both)} speakers are in calibration and in the holdout: {', '.join(both[:5])}")

    def sides(self, trials: Trials) -> tuple[Trials, Trials]:
        """The trials within each side, calibration first. Leakage for a speaker that is on neither, since nobody
        decided where it belongs.
        """
        astray = sorted(trials.speaker_names() - self.calibration - self.holdout)
        if astray:
            raise Leakage(f"{len(astray)} speakers are on neither side of the split: {', '.join(astray[:5])}")
        held = np.array([name in self.holdout for name in trials.speakers], np.bool_)
        enrolled, tested = held[trials.enrolled], held[trials.tested]
        return trials.where(~enrolled & ~tested), trials.where(enrolled & tested)


def split_speakers(strata: Sequence[Iterable[str]], *, holdout_share: float, salt: str) -> Split:
    """A split that depends on names alone: in every stratum the speakers with the lowest SHA-256 of salt and name are
    the holdout.

    Strata keep scarce speakers (those with many recordings) on both sides. ValueError when `holdout_share` is not in
    (0, 1).
    """
    if not 0.0 < holdout_share < 1.0:
        raise ValueError(f"holdout_share {holdout_share} is outside (0, 1)")
    calibration: set[str] = set()
    holdout: set[str] = set()
    for stratum in strata:
        names = sorted(set(stratum), key=lambda name: hashlib.sha256(f"{salt}\0{name}".encode()).digest())
        held = round(len(names) * holdout_share)
        holdout.update(names[:held])
        calibration.update(names[held:])
    return Split(frozenset(calibration), frozenset(holdout))


def strata_of(trials: Trials) -> tuple[tuple[str, ...], ...]:
    """Speakers of a score list by whether they have genuine trials across sessions, genuine trials within one, or
    none.
    """
    across = set(np.unique(trials.enrolled[trials.genuine & ~trials.same_session]).tolist())
    within = set(np.unique(trials.enrolled[trials.genuine])) - across
    present = {trials.speakers.index(name) for name in trials.speaker_names()}
    groups = (across, within, present - across - within)
    return tuple(tuple(trials.speakers[code] for code in sorted(group)) for group in groups)
