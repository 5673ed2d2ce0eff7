"""The fit finds LLRs that are known beforehand, and never lets similarity count against a speaker."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.voiceid.calibration.fit import falling_cosines, fit_calibration, llrs
from servers.voiceid.calibration.metrics import TooFewTrials, cllr, min_cllr
from servers.voiceid.fusion import Calibration, log_likelihood_ratio


@pytest.fixture(scope="module")
def overlapping(make_normal_trials):
    # Distances of 2 and 3 deviations: classes overlap, so the maximum of the likelihood is at the true LLR.
    return make_normal_trials(speakers=60, utterances=10, distances=(0.2, 0.3))


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_known_llr_is_recovered(overlapping, prior):
    fitted = fit_calibration(overlapping, prior=prior)
    # d / s²: 20 and 30; the offset is minus half of sum d² / s², 6.5; nothing depends on the duration.
    assert fitted.weights == pytest.approx((20, 30), rel=0.1)
    assert fitted.bias == pytest.approx(-6.5, rel=0.1)
    assert fitted.duration_weights == pytest.approx((0, 0), abs=2.5)
    assert fitted.duration_bias == pytest.approx(0, abs=0.6)
    truth = overlapping.cosines @ np.array([20, 30]) - 6.5
    found = llrs(fitted, overlapping)
    assert np.abs(found - truth).mean() < 0.1 * np.abs(truth).mean()


def test_calibrated_llrs_lose_next_to_nothing(overlapping):
    found = llrs(fit_calibration(overlapping, prior=0.5), overlapping)
    assert cllr(found, overlapping.genuine) < min_cllr(found, overlapping.genuine) + 0.02


def test_more_speech_earns_a_steeper_slope(make_normal_trials):
    short = make_normal_trials(speakers=60, utterances=5, durations=(1.0,), distances=(0.2, 0.2), spread=0.14, seed=1)
    long = make_normal_trials(speakers=60, utterances=5, durations=(4.0,), distances=(0.2, 0.2), spread=0.1, seed=2)
    both = replace(
        short,
        conditions=("1 s", "4 s"),
        **{
            name: np.concatenate([getattr(short, name), getattr(long, name)])
            for name in (
                "cosines",
                "genuine",
                "enrolled",
                "tested",
                "cohort",
                "utterance",
                "clips",
                "same_session",
                "seconds",
            )
        },
        condition=np.repeat([0, 1], [len(short), len(long)]),
    )
    fitted = fit_calibration(both, prior=0.5)
    # The true slope doubles, from 10.2 to 20, between the ends of the log duration.
    for seconds, slope in ((1.0, 10.2), (4.0, 20.0)):
        t = math.log(seconds / fitted.reference_seconds)
        assert fitted.weights[0] + t * fitted.duration_weights[0] == pytest.approx(slope, rel=0.25)


def test_vectorised_llrs_are_those_of_the_decision(overlapping):
    fitted = fit_calibration(overlapping, prior=0.2)
    found = llrs(fitted, overlapping)
    for row in range(0, len(overlapping), 997):
        one = log_likelihood_ratio(overlapping.cosines[row].tolist(), float(overlapping.seconds[row]), fitted)
        assert found[row] == pytest.approx(one)


def test_one_model_of_several_can_be_fitted(overlapping):
    alone = fit_calibration(overlapping.of_models(["slow@1"]), prior=0.5)
    assert alone.models == ("slow@1",)
    assert alone.weights == pytest.approx((30,), rel=0.1)
    # Scoring finds the model's column by name, whatever else the trials hold.
    assert llrs(alone, overlapping) == pytest.approx(llrs(alone, overlapping.of_models(["slow@1"])))


def test_a_misleading_model_is_ignored_rather_than_inverted(overlapping):
    inverted = replace(overlapping, cosines=overlapping.cosines * np.array([-1.0, 1.0]))
    fitted = fit_calibration(inverted, prior=0.5)
    assert falling_cosines(fitted) == ()
    assert fitted.weights[0] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.99))
def test_fit_is_monotone_and_finite_whatever_the_trials(make_normal_trials, seed, prior):
    random = np.random.default_rng(seed)
    some = make_normal_trials(speakers=4, utterances=1, seed=seed)
    scrambled = replace(
        some, cosines=random.uniform(-1, 1, some.cosines.shape), seconds=random.uniform(0.3, 20, len(some))
    )
    fitted = fit_calibration(scrambled, prior=prior)
    assert falling_cosines(fitted) == ()
    assert np.isfinite(llrs(fitted, scrambled)).all()


def test_classes_that_do_not_overlap_still_end(make_normal_trials):
    fitted = fit_calibration(make_normal_trials(distances=(0.9, 0.9), spread=0.01), prior=0.01)
    assert all(math.isfinite(weight) for weight in fitted.weights)


def test_one_duration_has_no_slope_over_time(make_normal_trials):
    fitted = fit_calibration(make_normal_trials(durations=(2.0,), distances=(0.2, 0.3)), prior=0.5)
    assert fitted.duration_weights == (0.0, 0.0)
    assert fitted.duration_bias == 0.0
    assert fitted.min_seconds == fitted.max_seconds == 2.0


def test_a_falling_cosine_is_named():
    calibration = Calibration(("a@1", "b@1"), (1.0, 1.0), 0.0, 0.0, (0.0, 2.0), 1.0, 9.0, 3.0, 0.5)
    assert falling_cosines(calibration) == ("b@1",)


def test_one_class_cannot_be_fitted(overlapping):
    with pytest.raises(TooFewTrials):
        fit_calibration(overlapping.where(overlapping.genuine), prior=0.5)


def test_unknown_model_is_refused(overlapping):
    with pytest.raises(ValueError, match="other@1"):
        overlapping.of_models(["other@1"])
