"""A calibration from start to end: trials, split, fit, limits, cohort table, pack. Nothing here decides about a
speaker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from servers.voiceid.calibration.fit import FitFailed, falling_cosines, fit_calibration, llrs
from servers.voiceid.calibration.folder import Clip, Extractor, Plan, Progress, find_clips, make_trials, manifest_hash
from servers.voiceid.calibration.gates import Gates, Resampling, cohort_table, failed_gates
from servers.voiceid.calibration.limits import Targets, decided, derive_policy
from servers.voiceid.calibration.metrics import Costs, Floats, act_dcf, cllr, curve, min_cllr, min_dcf
from servers.voiceid.calibration.pack import (
    ARTIFACT_TYPE,
    FORMAT,
    Data,
    Derived,
    FittedMap,
    Input,
    PackStatus,
    Quality,
    ThresholdPack,
)
from servers.voiceid.calibration.score_list import read_score_list
from servers.voiceid.calibration.trials import Cohort, Split, Trials, split_speakers, strata_of
from servers.voiceid.fusion import Calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to calibrate and how. Everything that is not evidence has a name here, and lands in the pack or shapes it.

    `cohort` labels a folder's speech; a score list brings its own. `prune_model` None is the first. `holdout` names the
    frozen speakers; None draws them from names and `split_salt` alone. `deployed_clips` None is the largest profile.
    """

    name: str
    note: str
    version: int
    model_set_hash: bytes
    created_at: datetime
    tool: str
    cohort: Cohort
    prune_model: str | None = None
    prior: float = 0.01
    l2: float = 1e-7
    plan: Plan = field(default_factory=Plan)
    deployed_clips: int | None = None
    holdout: frozenset[str] | None = None
    holdout_share: float = 0.5
    split_salt: str = ARTIFACT_TYPE
    targets: Targets = field(default_factory=Targets)
    gates: Gates = field(default_factory=Gates)
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The pack, and what the plots are drawn from: the deployed holdout trials with both stages' LLRs, ``[n]``."""

    pack: ThresholdPack
    split: Split
    holdout: Trials
    fused_llrs: Floats
    prune_llrs: Floats
    unusable: tuple[tuple[Clip, str], ...]


def calibrate(source: Path, extractor: Extractor | None, request: Request, progress: Progress) -> CalibrationResult:
    """Calibrate from a folder of labelled audio (needs `extractor`) or a score list.

    FolderError, ScoreListError, Leakage, TooFewTrials, FitFailed and NoUsableLimits, all ValueError, say what is wrong.
    """
    if not source.is_dir():
        trials = read_score_list(source, durations=request.plan.durations)
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        return calibrate_trials(trials, [Input(name=source.name, sha256=digest, items=len(trials))], request, progress)
    if extractor is None:
        raise ValueError(f"{source} is a folder of audio, which needs the models")
    clips = find_clips(source)
    made = make_trials(clips, extractor, request.plan, cohort=request.cohort, progress=progress)
    listing = Input(name=source.name, sha256=manifest_hash(source, clips), items=len(clips))
    return calibrate_trials(made.trials, [listing], request, progress, unusable=made.unusable)


def calibrate_trials(
    trials: Trials,
    inputs: Sequence[Input],
    request: Request,
    progress: Progress,
    *,
    unusable: tuple[tuple[Clip, str], ...] = (),
) -> CalibrationResult:
    """Calibrate from trials. One side of the speakers is fitted to and sets the limits; the other only measures."""
    split = _split(trials, request)
    calibration, holdout = split.sides(trials)
    clips = request.deployed_clips or int(trials.clips.max())
    fitted = calibration.where(calibration.clips == clips)
    prune = _fit(fitted.of_models([request.prune_model or trials.models[0]]), request)
    progress("fit", 1, 2)
    fused = _fit(fitted, request)
    progress("fit", 2, 2)
    policy, derivations = derive_policy(
        fitted, llrs(fused, fitted), llrs(prune, fitted), prior=request.prior, targets=request.targets
    )
    rows = cohort_table(
        holdout,
        llrs(fused, holdout),
        policy,
        prior=request.prior,
        deployed_clips=clips,
        resampling=request.resampling,
    )
    progress("measure", 1, 1)
    reasons = failed_gates(rows, derivations, request.gates)
    shown = decided(holdout.where(holdout.clips == clips), policy.min_voiced_seconds)
    pack = ThresholdPack(
        artifact_type=ARTIFACT_TYPE,
        format=FORMAT,
        version=request.version,
        status=PackStatus.PROVISIONAL if reasons else PackStatus.CANDIDATE,
        reasons=reasons,
        cohort=request.name,
        note=request.note,
        model_set_hash=request.model_set_hash.hex(),
        prune=FittedMap.of(prune),
        fused=FittedMap.of(fused),
        policy=policy.to_mapping(),
        derivations=[Derived(**asdict(one)) for one in derivations],
        quality=_quality(shown, llrs(fused, shown), request.prior),
        cohorts=rows,
        bounds=request.resampling.method(),
        data=_data(inputs, split, calibration, holdout, request, len(unusable)),
        tool=request.tool,
        created_at=request.created_at,
    )
    return CalibrationResult(pack, split, shown, llrs(fused, shown), llrs(prune, shown), unusable)


def _split(trials: Trials, request: Request) -> Split:
    if request.holdout is not None:
        return Split(trials.speaker_names() - request.holdout, request.holdout)
    return split_speakers(strata_of(trials), holdout_share=request.holdout_share, salt=request.split_salt)


def _fit(trials: Trials, request: Request) -> Calibration:
    fitted = fit_calibration(trials, prior=request.prior, l2=request.l2)
    falling = falling_cosines(fitted)
    if falling:
        raise FitFailed(f"the LLR falls with the cosine of {', '.join(falling)}")
    return fitted


def _quality(trials: Trials, scores: Floats, prior: float) -> Quality:
    rates, costs = curve(scores, trials.genuine), Costs(p_target=prior)
    return Quality(
        cllr=cllr(scores, trials.genuine),
        min_cllr=min_cllr(scores, trials.genuine),
        act_dcf=act_dcf(rates, costs),
        min_dcf=min_dcf(rates, costs),
    )


def _data(
    inputs: Sequence[Input], split: Split, calibration: Trials, holdout: Trials, request: Request, unusable: int
) -> Data:
    names = "".join(f"{name}\n" for name in sorted(split.holdout))
    return Data(
        inputs=list(inputs),
        unusable_clips=unusable,
        calibration_speakers=len(split.calibration),
        holdout_speakers=len(split.holdout),
        holdout_sha256=hashlib.sha256(names.encode()).hexdigest(),
        split_salt=request.split_salt,
        calibration_trials=len(calibration),
        holdout_trials=len(holdout),
    )
