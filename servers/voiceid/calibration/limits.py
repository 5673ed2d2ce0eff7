"""The numbers of a `DecisionPolicy`, each derived from scored trials and a stated target (§38.1, §38.2, §38.4,
§38.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from servers.statistics import clopper_pearson
from servers.voiceid.calibration.metrics import Flags, Floats
from servers.voiceid.calibration.pack import Basis
from servers.voiceid.calibration.trials import Codes, Trials, condition_order
from servers.voiceid.fusion import BASIS_POINTS, score_bp
from servers.voiceid.policy import DecisionPolicy


class NoUsableLimits(ValueError):
    """The trials do not separate speakers well enough for any policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the policy shall hold to. Rates are shares of trials; confidence is that of the two-sided bounds."""

    # §38.1 FAR upper bound of a claimed identity, and the looser rate of one that is only probable.
    high_far: float = 0.001
    mid_far: float = 0.01
    # However well the trials separate, an identity is claimed only when it is this likely at the pack's prior.
    high_posterior: float = 0.9
    mid_posterior: float = 0.5
    # A signed-in owner may be turned away this often.
    owner_frr: float = 0.01
    # Net speech decides nothing when fewer genuine trials than this pass at `mid_far`.
    min_tar: float = 0.9
    # The gray zone covers this share of wrong first places, unless more than `gray_abstain` of the right ones fell in
    # it.
    gray_wrong: float = 0.95
    gray_abstain: float = 0.01
    # Stage 1 alone may err this often.
    stage1_far: float = 0.001
    stage1_frr: float = 0.005
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Derivation:
    """Where one setting comes from: what fixed it (`basis`), the target, what the trials show at the value, its upper
    bound, and whether the bound keeps the target (`proven`) or the trials are too few for it."""

    setting: str
    basis: Basis
    value: float
    target: float
    observed: float
    upper: float
    trials: int
    proven: bool


@dataclass(frozen=True, slots=True)
class Searches:
    """1:N searches, one a known utterance: the best-scoring wrong speaker and the right one, ``[k]`` each, natural
    LLRs.
    """

    right: Floats
    wrong: Floats

    @property
    def lost(self) -> Flags:
        """Searches that a wrong speaker wins."""
        return self.wrong >= self.right


def _derived(
    setting: str, basis: Basis, value: float, target: float, counted: tuple[int, int], targets: Targets
) -> Derivation:
    errors, total = counted
    upper = clopper_pearson(errors, total, confidence=targets.confidence).upper
    return Derivation(setting, basis, value, target, errors / total, upper, total, upper <= target)


def derive_policy(
    trials: Trials, fused: Floats, prune: Floats, *, prior: float, targets: Targets
) -> tuple[DecisionPolicy, tuple[Derivation, ...]]:
    """The policy for trials whose LLRs by both stages are given, ``[n]``, and how each number came about.

    Limits hold at every condition with enough net speech on its own: the strictest condition sets them. Limits of
    stage 1 that the trials cannot prove are left out, so that stage 2 always runs. NoUsableLimits when no condition
    is good enough.
    """
    floor, decided = _enough_speech(trials, fused, targets)
    trials, fused, prune = trials.where(decided), fused[decided], prune[decided]
    high = _above_impostors("conf_high_bp", trials, fused, (targets.high_far, targets.high_posterior), prior, targets)
    mid = _above_impostors("conf_mid_bp", trials, fused, (targets.mid_far, targets.mid_posterior), prior, targets)
    gray = _gray_zone(searches(trials, fused), int(mid.value), prior, targets)
    owner = _owner(trials, fused, int(mid.value), prior, targets)
    stage1 = _stage1(trials, prune, int(high.value), prior, targets)
    settings = {derivation.setting: derivation.value for derivation in stage1}
    policy = DecisionPolicy(
        conf_high_bp=int(high.value),
        conf_mid_bp=int(mid.value),
        min_margin_bp=int(gray.value),
        # A competitor inside the gray zone is one that the margin cannot tell apart: the same closeness.
        close_competitor_margin_bp=int(gray.value),
        # Whoever scores as low as hardly any genuine speaker does is no competitor.
        close_competitor_floor_bp=int(owner.value),
        owner_reject_bp=int(owner.value),
        min_voiced_seconds=floor.value,
        stage1_high_llr=settings.get("stage1_high_llr"),
        stage1_margin_llr=settings.get("stage1_margin_llr"),
        stage1_low_llr=settings.get("stage1_low_llr"),
    )
    return policy, (high, mid, gray, owner, floor, *stage1)


def searches(trials: Trials, scores: Floats) -> Searches:
    """The searches in trials that know their utterance: everyone it was compared with is the gallery, by best profile.

    An utterance without its own speaker, or without another one, in the gallery is none.
    """
    known = trials.utterance >= 0
    size = int(trials.utterance.max(initial=-1)) + 1
    right, wrong = np.full(size, -np.inf), np.full(size, -np.inf)
    genuine, impostor = known & trials.genuine, known & ~trials.genuine
    np.maximum.at(right, trials.utterance[genuine], scores[genuine])
    np.maximum.at(wrong, trials.utterance[impostor], scores[impostor])
    whole = np.isfinite(right) & np.isfinite(wrong)
    return Searches(right[whole], wrong[whole])


def _conditions(trials: Trials) -> list[tuple[Codes, float]]:
    """Positions and net speech of every condition, speech rising."""
    groups = [np.flatnonzero(trials.condition == code) for code in np.unique(trials.condition)]
    return sorted(((group, speech_of(trials.where(group))) for group in groups), key=lambda pair: pair[1])


def speech_of(trials: Trials) -> float:
    """Net speech that trials of one condition stand for: the duration it names, or else the least of them."""
    seconds = condition_order(trials.conditions[int(trials.condition[0])])[0]
    return seconds if math.isfinite(seconds) else float(trials.seconds.min())


def decided(trials: Trials, min_voiced_seconds: float) -> Trials:
    """The trials of all conditions that stand for enough net speech."""
    enough = [group for group, seconds in _conditions(trials) if seconds >= min_voiced_seconds]
    return trials.where(np.sort(np.concatenate(enough)) if enough else np.zeros(0, np.intp))


def _enough_speech(trials: Trials, scores: Floats, targets: Targets) -> tuple[Derivation, Flags]:
    """The least net speech from which on every condition reaches `min_tar` at `mid_far`, and which trials have it."""
    found: Derivation | None = None
    decided = np.zeros(len(trials), np.bool_)
    for group, seconds in reversed(_conditions(trials)):
        genuine = trials.genuine[group]
        rejected, total = _rejected_at_far(scores[group], genuine, targets.mid_far)
        if total == 0 or 1.0 - rejected / total < targets.min_tar:
            break
        decided[group] = True
        counted = (rejected, total)
        found = _derived("min_voiced_seconds", Basis.GENUINE, seconds, 1.0 - targets.min_tar, counted, targets)
    if found is None:
        raise NoUsableLimits(
            f"at no duration do {targets.min_tar:.0%} of the genuine trials pass"
            f" where {targets.mid_far:.1%} of the impostor trials do"
        )
    return found, decided


def _rejected_at_far(scores: Floats, genuine: Flags, far: float) -> tuple[int, int]:
    impostors = np.sort(scores[~genuine])[::-1]
    if impostors.size == 0:
        return 0, 0
    threshold = impostors[min(math.floor(far * impostors.size), impostors.size - 1)]
    return int((scores[genuine] <= threshold).sum()), int(genuine.sum())


def _above_impostors(
    setting: str, trials: Trials, scores: Floats, goal: tuple[float, float], prior: float, targets: Targets
) -> Derivation:
    """The lowest score in basis points, at least the goal's posterior, whose FAR has its upper bound at or below the
    goal's.

    At every condition. Where one has too few impostors for that, not one may pass, and the target counts as unproven.
    """
    far, least_posterior = goal
    impostors = [scores[group][~trials.genuine[group]] for group, _ in _conditions(trials)]
    in_the_way = max(_allowed(one, far, targets.confidence)[0] for one in impostors)
    # The first score in basis points, rounded down as decisions are, that the impostor in the way does not reach.
    by_far, by_posterior = score_bp(in_the_way, prior) + 1, math.ceil(BASIS_POINTS * least_posterior)
    value = max(by_far, by_posterior)
    if value > BASIS_POINTS:
        raise NoUsableLimits(f"{setting}: impostors score {BASIS_POINTS} basis points; no threshold keeps them out")
    basis = Basis.IMPOSTORS if by_far >= by_posterior else Basis.POSTERIOR
    derived = [
        _derived(setting, basis, value, far, (int((points(one, prior) >= value).sum()), one.size), targets)
        for one in impostors
    ]
    return max(derived, key=lambda one: one.upper)


def _allowed(impostors: Floats, far: float, confidence: float) -> tuple[float, int, int]:
    """The highest impostor score that must not pass, how many above it may, and how many impostors there are."""
    falling = np.sort(impostors)[::-1]
    passed = 0
    while passed + 1 < falling.size and clopper_pearson(passed + 1, falling.size, confidence=confidence).upper <= far:
        passed += 1
    return float(falling[passed]), passed, int(falling.size)


def _gray_zone(found: Searches, mid_bp: int, prior: float, targets: Targets) -> Derivation:
    """The margin below which a first place proves nothing (§38.2), from searches whose winner reaches CONF_MID."""
    best, other = np.maximum(found.right, found.wrong), np.minimum(found.right, found.wrong)
    named = points(best, prior) >= mid_bp
    margins = points(best, prior)[named] - points(other, prior)[named]
    lost = found.lost[named]
    if lost.all():
        raise NoUsableLimits("min_margin_bp: no utterance that is known by name finds the right speaker")
    bearable = float(np.quantile(margins[~lost], targets.gray_abstain, method="lower"))
    # Without a wrong first place: a lead that wrong speakers reach from nothing by chance is none.
    telling = margins[lost] if lost.any() else points(other, prior)[named]
    needed = float(np.quantile(telling, targets.gray_wrong, method="higher")) + 1.0
    value = max(1.0, min(needed, bearable))
    basis = Basis.GENUINE if value == bearable else Basis.SEARCHES
    escaped = int((margins[lost] >= value).sum())
    return _derived("min_margin_bp", basis, value, 1.0 - targets.gray_wrong, (escaped, lost.size), targets)


def points(scores: Floats, prior: float) -> Floats:
    """`fusion.score_bp` of every LLR, ``[n]``."""
    return np.array([score_bp(score, prior) for score in scores.tolist()], np.float64)


def _owner(trials: Trials, scores: Floats, mid_bp: int, prior: float, targets: Targets) -> Derivation:
    """The score below which a signed-in owner is not the one who speaks; never above CONF_MID, which would deny a
    match.
    """
    genuine = [scores[group][trials.genuine[group]] for group, _ in _conditions(trials)]
    lowest = min(float(np.quantile(one, targets.owner_frr, method="lower")) for one in genuine if one.size)
    value = min(score_bp(lowest, prior), mid_bp)
    basis = Basis.LADDER if value == mid_bp else Basis.GENUINE
    pooled = points(np.concatenate(genuine), prior)
    counted = (int((pooled < value).sum()), pooled.size)
    return _derived("owner_reject_bp", basis, value, targets.owner_frr, counted, targets)


def _stage1(trials: Trials, scores: Floats, high_bp: int, prior: float, targets: Targets) -> Sequence[Derivation]:
    """Where the prune model alone may decide (§38.4): only limits whose bound keeps its target."""
    return [*_stage1_high(trials, scores, high_bp, prior, targets), *_stage1_low(trials, scores, targets)]


def _stage1_high(trials: Trials, scores: Floats, high_bp: int, prior: float, targets: Targets) -> Sequence[Derivation]:
    impostors = [scores[group][~trials.genuine[group]] for group, _ in _conditions(trials)]
    in_the_way, passed, total = max(
        (_allowed(one, targets.stage1_far, targets.confidence) for one in impostors), key=lambda found: found[0]
    )
    # Never below the score that the ladder calls HIGH, or a decisive first stage would claim more than the second.
    ladder = math.log(high_bp) - math.log(max(BASIS_POINTS - high_bp, 1)) - math.log(prior) + math.log1p(-prior)
    by_far = math.nextafter(in_the_way, math.inf)
    basis = Basis.IMPOSTORS if by_far >= ladder else Basis.LADDER
    far, counted = targets.stage1_far, (passed, total)
    high = _derived("stage1_high_llr", basis, max(by_far, ladder), far, counted, targets)
    found = searches(trials, scores)
    if not high.proven or not found.right.size:
        return ()
    margins = np.abs(found.right - found.wrong)
    telling = np.quantile(margins[found.lost], targets.gray_wrong, method="higher") if found.lost.any() else 0.0
    margin = math.nextafter(float(telling), math.inf)
    claimed = (margins >= margin) & (np.maximum(found.right, found.wrong) >= high.value)
    counted = (int((found.lost & claimed).sum()), found.lost.size)
    # A stranger who is near one person and far from all others passes the score and the margin at once, so neither may
    # rest on too few trials: then stage 2 always runs.
    apart = _derived("stage1_margin_llr", Basis.SEARCHES, margin, far, counted, targets)
    return (high, apart) if apart.proven else ()


def _stage1_low(trials: Trials, scores: Floats, targets: Targets) -> Sequence[Derivation]:
    """Where hardly any genuine trial is found: upside down, genuine trials are the impostors of being unknown."""
    genuine = [-scores[group][trials.genuine[group]] for group, _ in _conditions(trials)]
    in_the_way, passed, total = max(
        (_allowed(one, targets.stage1_frr, targets.confidence) for one in genuine), key=lambda found: found[0]
    )
    value = math.nextafter(-in_the_way, -math.inf)
    low = _derived("stage1_low_llr", Basis.GENUINE, value, targets.stage1_frr, (passed, total), targets)
    return (low,) if low.proven else ()
