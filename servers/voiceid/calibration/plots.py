"""What a calibration looks like: DET curves of both stages, and whether the posterior means what it says (§38.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import logit
from scipy.stats import norm

from servers.statistics import clopper_pearson
from servers.voiceid.calibration.gates import Resampling, eer_with_bounds
from servers.voiceid.calibration.metrics import Curve, Floats, curve
from servers.voiceid.calibration.pack import ThresholdPack
from servers.voiceid.calibration.trials import Trials

COLOURS = ("#0b6e99", "#d1603d", "#5b8c3e", "#8256a8", "#b8860b", "#4a4a4a")
RATE_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
POSTERIOR_TICKS = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
LLR_STEP = 1.5
HIGHEST_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Shown:
    """What is drawn: trials with the LLRs of both stages, ``[n]``, and the pack that they were measured for."""

    trials: Trials
    fused: Floats
    prune: Floats
    pack: ThresholdPack


def draw_det(shown: Shown, resampling: Resampling, path: Path) -> None:
    """DET curves on probit axes, one a length of speech, stage 1 beside both stages. Writes a PNG; OSError if it
    cannot.
    """
    figure = Figure(figsize=(13.0, 7.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _det_axes(left, f"Stage 1 alone: {', '.join(shown.pack.prune.models)}", shown.trials, shown.prune, resampling)
    _det_axes(right, f"Both stages: {' + '.join(shown.pack.fused.models)}", shown.trials, shown.fused, resampling)
    left.set_ylabel("genuine trials rejected (FRR)")
    figure.suptitle(f"Detection error trade-off · {_subject(shown)}", fontsize=13, fontweight="bold")
    _caption(
        figure,
        shown,
        "Circles lie at half a trial: beyond them no error of that kind was seen. A lone circle: no error at all."
        f"\nEER with its bounds: {resampling.method()}.",
    )
    _save(figure, path)


def _det_axes(axes: Axes, title: str, trials: Trials, scores: Floats, resampling: Resampling) -> None:
    for index, code in enumerate(np.unique(trials.condition)):
        chosen = trials.condition == code
        genuine = trials.genuine[chosen]
        if not genuine.any() or genuine.all():
            continue
        rates = curve(scores[chosen], genuine)
        bounds = eer_with_bounds(trials.where(chosen).scored(scores[chosen]), resampling)
        rate = f"EER {bounds.value:6.2%} ({bounds.lower:.2%} to {bounds.upper:.2%})"
        label = f"{trials.conditions[int(code)]:>6}  {rate}  {genuine.sum():>4} gen. {(~genuine).sum():>6} imp."
        far, frr = _with_errors(rates, int(genuine.sum()), int((~genuine).sum()))
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(norm.ppf(far), norm.ppf(frr), color=colour, lw=1.8, label=label)
        for end in (0, -1):
            # Rates beyond the frame would float in the margin; those at its edge are drawn whole.
            if max(far[end], frr[end]) <= HIGHEST_RATE:
                axes.plot(norm.ppf(far[end]), norm.ppf(frr[end]), "o", color=colour, mfc="white", ms=6, clip_on=False)
    ends = norm.ppf((RATE_TICKS[0] * 0.6, HIGHEST_RATE))
    axes.plot(ends, ends, color="#999999", lw=0.8, ls=":")
    ticks = norm.ppf(RATE_TICKS)
    labels = [f"{rate * 100:g}%" for rate in RATE_TICKS]
    axes.set(xlim=ends, ylim=ends, xticks=ticks, yticks=ticks, xticklabels=labels, yticklabels=labels)
    axes.set_xlabel("impostor trials accepted (FAR)")
    axes.set_title(title, fontsize=11)
    axes.grid(True, color="#e3e3e3", lw=0.7)
    axes.legend(loc="upper right", fontsize=8.5, prop={"family": "monospace", "size": 8}, framealpha=0.95)


def _with_errors(rates: Curve, genuine: int, impostor: int) -> tuple[Floats, Floats]:
    """The part where both errors occur, and the points on either side where one no longer does.

    No rate is known finer than half a trial, and the probit of 0 is nowhere: there the points are put.
    """
    no_miss, no_alarm = int(np.flatnonzero(rates.frr == 0.0)[-1]), int(np.flatnonzero(rates.far == 0.0)[0])
    part = slice(min(no_miss, no_alarm), max(no_miss, no_alarm) + 1)
    if no_alarm <= no_miss:
        return np.array([0.5 / impostor] * 2), np.array([0.5 / genuine] * 2)
    return np.maximum(rates.far[part], 0.5 / impostor), np.maximum(rates.frr[part], 0.5 / genuine)


def draw_reliability(shown: Shown, path: Path) -> None:
    """Claimed against observed posterior with 95 % bounds, over the LLRs of both classes. Writes a PNG; OSError if it
    cannot.
    """
    figure = Figure(figsize=(9.6, 9.2), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    prior = shown.pack.fused.prior
    _reliability_axes(upper, shown.trials, shown.fused, prior)
    _histogram_axes(lower, shown.trials, shown.fused, prior)
    for axes in (upper, lower):
        for name, colour in (("conf_mid_bp", "#b8860b"), ("conf_high_bp", "#5b8c3e")):
            limit = float(shown.pack.policy[name] or 0) / 10_000
            axes.axvline(_clipped_logit(limit), color=colour, lw=1.4, ls="--", label=f"{name} = {limit * 10_000:.0f}")
    upper.legend(loc="upper left", fontsize=9)
    lower.legend(loc="upper center", fontsize=9, ncols=2)
    quality = shown.pack.quality
    figure.suptitle(f"Reliability of the score · {_subject(shown)}", fontsize=11, fontweight="bold")
    _caption(
        figure,
        shown,
        f"Cllr {quality.cllr:.4f} bit (minimum {quality.min_cllr:.4f}), normalised detection cost at the prior"
        f" {quality.act_dcf:.4f} (minimum {quality.min_dcf:.4f}).\nBars: 95 % Clopper-Pearson over the trials of a bin,"
        " which are counted beside it; no dot where a bin holds one class only.",
    )
    _save(figure, path)


def _reliability_axes(axes: Axes, trials: Trials, scores: Floats, prior: float) -> None:
    # Trials come in other proportions than the prior assumes: odds observed are moved from theirs to the prior's.
    share = trials.genuine.mean()
    shift = logit(prior) - logit(share)
    ends = _ends()
    claimed = np.clip(scores + logit(prior), *ends)
    bins = np.floor(claimed / LLR_STEP)
    for index in np.unique(bins):
        inside = bins == index
        genuine, total = int(trials.genuine[inside].sum()), int(inside.sum())
        bounds = clopper_pearson(genuine, total)
        low, middle, high = (
            np.clip(_clipped_logit(rate) + shift, *ends) for rate in (bounds.lower, genuine / total, bounds.upper)
        )
        at = float(claimed[inside].mean())
        axes.vlines(at, low, high, color=COLOURS[0], lw=2.4, alpha=0.6)
        if 0 < genuine < total:
            axes.plot(at, middle, "o", color=COLOURS[0], ms=6)
        # On the side where the bar ends inside the frame.
        end, lift = (low, -12) if genuine == total else (high, 5)
        axes.annotate(str(total), (at, end), textcoords="offset points", xytext=(0, lift), ha="center", fontsize=8)
    axes.plot(ends, ends, color="#999999", lw=1.0, ls=":", label="perfect")
    ticks = logit(POSTERIOR_TICKS)
    axes.set(
        xlim=(ends[0] - 0.4, ends[1] + 0.4),
        ylim=ends,
        yticks=ticks,
        yticklabels=[f"{rate * 100:g}%" for rate in POSTERIOR_TICKS],
    )
    axes.set_ylabel(f"observed share of genuine, at prior {prior:g}")
    axes.grid(True, color="#e3e3e3", lw=0.7)


def _histogram_axes(axes: Axes, trials: Trials, scores: Floats, prior: float) -> None:
    ends = _ends()
    edges = np.linspace(ends[0], ends[1], 49).tolist()
    claimed = np.clip(scores + logit(prior), *ends)
    for chosen, name, colour in ((~trials.genuine, "impostor", COLOURS[1]), (trials.genuine, "genuine", COLOURS[0])):
        weights = np.full(int(chosen.sum()), 1.0 / chosen.sum())
        axes.hist(
            claimed[chosen], edges, weights=weights, color=colour, alpha=0.55, label=f"{chosen.sum()} {name} trials"
        )
    ticks = logit(POSTERIOR_TICKS)
    axes.set(xticks=ticks, xticklabels=[f"{rate * 100:g}%" for rate in POSTERIOR_TICKS], yscale="log")
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate * 100:g}%")
    axes.set_xlabel(f"claimed posterior at prior {prior:g} (outermost bins hold everything beyond)")
    axes.set_ylabel("share of the class's trials")
    axes.grid(True, color="#e3e3e3", lw=0.7)


def _ends() -> tuple[float, float]:
    edge = POSTERIOR_TICKS[0] * 0.3
    return _clipped_logit(edge), _clipped_logit(1.0 - edge)


def _clipped_logit(rate: float) -> float:
    edge = 1e-12
    return float(logit(np.clip(rate, edge, 1.0 - edge)))


def _subject(shown: Shown) -> str:
    pack = shown.pack
    return f"{pack.cohort} · {pack.ref} {pack.status}"


def _caption(figure: Figure, shown: Shown, note: str) -> None:
    trials = shown.trials
    genuine = trials.genuine
    same = int((genuine & trials.same_session).sum())
    who = (
        f"Frozen holdout: {len(trials.speaker_names())} speakers, {int(genuine.sum())} genuine trials"
        f" ({same} within one recording) of {np.unique(trials.enrolled[genuine]).size} speakers,"
        f" {int((~genuine).sum())} impostor trials; profiles of {int(trials.clips.max(initial=0))} clips."
    )
    figure.supxlabel(f"{who}\n{note}", fontsize=9, color="#444444")


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", metadata={"Software": None})
