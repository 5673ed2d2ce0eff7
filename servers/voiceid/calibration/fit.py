"""Cosines to a calibrated LLR by prior-weighted logistic regression, monotone in every cosine (§38.1)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from servers.voiceid.calibration.metrics import Floats, TooFewTrials
from servers.voiceid.calibration.trials import Trials
from servers.voiceid.fusion import Calibration


class FitFailed(ValueError):
    """The optimiser ended without a finite answer."""


def fit_calibration(trials: Trials, *, prior: float, l2: float = 1e-7) -> Calibration:
    """The `Calibration` that minimises the cross-entropy of the trials at `prior`, each class weighing as the prior
    says.

    The slope of every cosine is held at or above zero at the shortest and at the longest net speech of the trials,
    and so, being linear in the log duration, between them: more similar never means less likely. `l2` keeps the
    answer finite when the classes do not overlap. TooFewTrials without both classes; FitFailed when no finite answer
    is found.
    """
    positives = int(trials.genuine.sum())
    if positives in (0, len(trials)):
        raise TooFewTrials("a fit needs genuine and impostor trials")
    shortest, longest = float(trials.seconds.min()), float(trials.seconds.max())
    reference = math.sqrt(shortest * longest)
    reach = math.log(longest / reference)
    features = _features(trials, reach, reference)
    target = trials.genuine.astype(np.float64)
    weights = np.where(trials.genuine, prior / positives, (1.0 - prior) / (len(trials) - positives))
    offset = math.log(prior) - math.log1p(-prior)

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        log_odds = features @ coefficients + offset
        cost = weights @ np.logaddexp(0.0, np.where(trials.genuine, -log_odds, log_odds))
        gradient = features.T @ (weights * (expit(log_odds) - target))
        return float(cost + 0.5 * l2 * coefficients @ coefficients), gradient + l2 * coefficients

    slopes = 2 * len(trials.models)
    bounds = [(0.0, None)] * slopes + [(None, None)] * 2
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-10}
    found = minimize(loss, np.zeros(slopes + 2), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    if not np.isfinite(found.x).all():
        raise FitFailed(f"the calibration did not converge: {found.message}")
    return _calibration(trials.models, found.x, reach, (shortest, longest, reference), prior)


def _features(trials: Trials, reach: float, reference: float) -> Floats:
    """Columns whose coefficients are the slopes at the shortest and at the longest duration, and the two biases."""
    t = np.log(trials.seconds / reference)
    # Only one duration: there is nothing to interpolate, and half of either end is the one slope.
    late = (t + reach) / (2.0 * reach) if reach > 0.0 else np.full_like(t, 0.5)
    ones = np.ones_like(t)
    return np.column_stack([trials.cosines * (1.0 - late)[:, None], trials.cosines * late[:, None], ones, t])


def _calibration(
    models: tuple[str, ...], found: NDArray[np.float64], reach: float, seconds: tuple[float, float, float], prior: float
) -> Calibration:
    early, late = found[: len(models)], found[len(models) : 2 * len(models)]
    slopes = (late - early) / (2.0 * reach) if reach > 0.0 else np.zeros(len(models))
    shortest, longest, reference = seconds
    return Calibration(
        models=models,
        weights=tuple(map(float, (early + late) / 2.0)),
        bias=float(found[-2]),
        duration_bias=float(found[-1]) if reach > 0.0 else 0.0,
        duration_weights=tuple(map(float, slopes)),
        min_seconds=shortest,
        max_seconds=longest,
        reference_seconds=reference,
        prior=prior,
    )


def llrs(calibration: Calibration, trials: Trials) -> Floats:
    """`fusion.log_likelihood_ratio` of every trial, ``[n]``. ValueError when a model of the calibration has no
    cosines.
    """
    cosines = trials.of_models(calibration.models).cosines
    clipped = np.clip(trials.seconds, calibration.min_seconds, calibration.max_seconds)
    t = np.log(clipped / calibration.reference_seconds)
    slopes = np.asarray(calibration.weights) + t[:, None] * np.asarray(calibration.duration_weights)
    return np.asarray(calibration.bias + calibration.duration_bias * t + (slopes * cosines).sum(axis=1), np.float64)


def falling_cosines(calibration: Calibration) -> tuple[str, ...]:
    """The models whose LLR falls with a rising cosine somewhere in the calibrated durations; empty when it is
    monotone.
    """
    ends = [
        math.log(seconds / calibration.reference_seconds)
        for seconds in (calibration.min_seconds, calibration.max_seconds)
    ]
    # The slope at an end is a difference of fitted numbers, so a zero comes back as a rounding error.
    slack = 1e-9 * (1.0 + max(map(abs, calibration.weights)))
    return tuple(
        model
        for model, weight, slope in zip(
            calibration.models, calibration.weights, calibration.duration_weights, strict=True
        )
        if min(weight + slope * t for t in ends) < -slack
    )
