"""Error rates against hand-computed values and against counting trial by trial."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.calibration.metrics import (
    Costs,
    Scored,
    TooFewTrials,
    act_dcf,
    cllr,
    curve,
    eer,
    frr_at_far,
    min_cllr,
    min_dcf,
    speaker_bootstrap,
    threshold_at_far,
)

# Genuine 1, 3, 4, 5 and impostor 0, 1, 2, 4: one tie on each side of the middle.
SCORES = np.array([1.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 4.0])
GENUINE = np.array([True] * 4 + [False] * 4)
FEW_LEVELS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda trials: len({genuine for _, genuine in trials}) == 2
)


def test_curve_counts_by_hand():
    points = curve(SCORES, GENUINE)
    assert points.thresholds.tolist() == [0, 1, 2, 3, 4, 5, np.inf]
    assert points.far.tolist() == [1, 0.75, 0.5, 0.25, 0.25, 0, 0]
    assert points.frr.tolist() == [0, 0, 0.25, 0.25, 0.5, 0.75, 1]


def test_eer_where_the_curve_crosses_on_a_point():
    assert eer(curve(SCORES, GENUINE)) == 0.25


def test_eer_between_two_points_is_interpolated():
    # Genuine 1, 1, 2 against impostor 0, 1: (FAR, FRR) steps from (1/2, 0) to (0, 2/3), crossing at 2/7.
    scores = np.array([1.0, 1.0, 2.0, 0.0, 1.0])
    assert eer(curve(scores, np.array([True, True, True, False, False]))) == pytest.approx(2 / 7)


@pytest.mark.parametrize(("gap", "rate"), [(10.0, 0.0), (-10.0, 1.0)])
def test_eer_of_separate_classes(gap, rate):
    scores = np.array([gap, gap + 1, 0.0, 1.0])
    assert eer(curve(scores, np.array([True, True, False, False]))) == rate


def test_detection_costs_by_hand():
    costs = Costs(p_target=0.25, miss=1.0, false_alarm=1.0)
    # Weights 0.25 and 0.75, normalised by 0.25: FRR + 3 FAR; the least is rejecting 0.75 with no false alarm.
    assert min_dcf(curve(SCORES, GENUINE), costs) == pytest.approx(0.75)
    # The Bayes threshold is ln 3 = 1.0986: scores from 2 on are accepted, FRR 1/4 and FAR 2/4.
    assert act_dcf(curve(SCORES, GENUINE), costs) == pytest.approx(0.25 + 3 * 0.5)


def test_fixed_far_never_exceeds_it():
    points = curve(SCORES, GENUINE)
    assert frr_at_far(points, 0.25) == 0.25
    assert threshold_at_far(points, 0.25) == 3
    assert frr_at_far(points, 0.24) == 0.75
    assert threshold_at_far(points, 0.24) == 5


def test_cllr_by_hand():
    llrs = np.array([np.log(3.0), -np.log(3.0)])
    # Genuine log2(1 + 1/3), impostor the same.
    assert cllr(llrs, np.array([True, False])) == pytest.approx(np.log2(4 / 3))
    assert cllr(np.zeros(2), np.array([True, False])) == pytest.approx(1.0)


def test_min_cllr_is_what_pooling_neighbours_reaches():
    # Genuine 2, 3 and impostor 1, 2: the tie at 2 pools to an LLR of 0, the ends are certain: (0 + 1) / 2 each.
    scores = np.array([2.0, 3.0, 1.0, 2.0])
    assert min_cllr(scores, np.array([True, True, False, False])) == pytest.approx(0.5)


@given(FEW_LEVELS)
def test_rates_agree_with_counting(trials):
    scores = np.array([float(score) for score, _ in trials])
    genuine = np.array([flag for _, flag in trials])
    points = curve(scores, genuine)
    for threshold, far, frr in zip(points.thresholds, points.far, points.frr, strict=True):
        assert far == pytest.approx(np.mean([score >= threshold for score in scores[~genuine]]))
        assert frr == pytest.approx(np.mean([score < threshold for score in scores[genuine]]))
    assert set(points.thresholds.tolist()) == {*scores.tolist(), np.inf}


@given(FEW_LEVELS)
def test_eer_lies_on_the_polygon_of_points_counted(trials):
    scores = np.array([float(score) for score, _ in trials])
    genuine = np.array([flag for _, flag in trials])
    corners = [
        (np.mean(scores[~genuine] >= threshold), np.mean(scores[genuine] < threshold))
        for threshold in [*sorted(set(scores.tolist())), np.inf]
    ]
    crossings = []
    for (far0, frr0), (far1, frr1) in itertools.pairwise(corners):
        for share in np.linspace(0, 1, 401):
            far, frr = far0 + share * (far1 - far0), frr0 + share * (frr1 - frr0)
            crossings.append((abs(far - frr), far, frr))
    nearest = min(crossings)
    assert eer(curve(scores, genuine)) == pytest.approx(nearest[1], abs=5e-3)


@given(FEW_LEVELS, st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_weights_count_a_trial_that_often(trials, repeats):
    scores = np.array([float(score) for score, _ in trials])
    genuine = np.array([flag for _, flag in trials])
    times = np.array(repeats[: len(trials)])
    if times[genuine].sum() == 0 or times[~genuine].sum() == 0:
        with pytest.raises(TooFewTrials):
            curve(scores, genuine, times.astype(float))
        return
    weighted = curve(scores, genuine, times.astype(float))
    repeated = curve(np.repeat(scores, times), np.repeat(genuine, times))
    assert eer(weighted) == pytest.approx(eer(repeated))
    assert cllr(scores, genuine, times.astype(float)) == pytest.approx(
        cllr(np.repeat(scores, times), np.repeat(genuine, times))
    )


@given(FEW_LEVELS)
def test_no_monotone_map_has_less_cllr_than_the_minimum(trials):
    scores = np.array([float(score) for score, _ in trials])
    genuine = np.array([flag for _, flag in trials])
    least = min_cllr(scores, genuine)
    for slope in (0.0, 0.5, 2.0):
        for offset in (-1.0, 0.0, 1.0):
            assert least <= cllr(slope * scores + offset, genuine) + 1e-9


@pytest.mark.parametrize("genuine", [[True, True], [False, False]])
def test_one_class_has_no_rates(genuine):
    with pytest.raises(TooFewTrials):
        curve(np.array([0.0, 1.0]), np.array(genuine))
    with pytest.raises(TooFewTrials):
        cllr(np.array([0.0, 1.0]), np.array(genuine))
    with pytest.raises(TooFewTrials):
        min_cllr(np.array([0.0, 1.0]), np.array(genuine))


def _twenty_speakers():
    random = np.random.default_rng(5)
    enrolled, tested = np.divmod(np.arange(400), 20)
    genuine = enrolled == tested
    voice = random.normal(0, 1.0, 20)
    scores = np.where(genuine, 2.0 + 2.0 * voice[enrolled], 0.0) + random.normal(0, 0.3, 400)
    return Scored(scores, genuine, enrolled, tested)


def test_bootstrap_draws_speakers_not_trials():
    # Twenty copies of every trial hold no more speakers, so the interval must not shrink.
    once = _twenty_speakers()
    copied = Scored(*(np.tile(column, 20) for column in (once.scores, once.genuine, once.enrolled, once.tested)))
    (narrow,) = speaker_bootstrap(
        copied, [lambda w: eer(curve(copied.scores, copied.genuine, w))], resamples=200, seed=1
    )
    (wide,) = speaker_bootstrap(once, [lambda w: eer(curve(once.scores, once.genuine, w))], resamples=200, seed=1)
    assert (narrow.lower, narrow.upper) == pytest.approx((wide.lower, wide.upper))
    assert wide.lower < eer(curve(once.scores, once.genuine)) < wide.upper


def test_bootstrap_replays_by_seed():
    scored = _twenty_speakers()
    statistic = [lambda weights: eer(curve(scored.scores, scored.genuine, weights))]
    first = speaker_bootstrap(scored, statistic, resamples=50, seed=3)
    assert first == speaker_bootstrap(scored, statistic, resamples=50, seed=3)
    assert first != speaker_bootstrap(scored, statistic, resamples=50, seed=4)


def test_bootstrap_of_one_speaker_is_refused():
    alone = Scored(np.array([1.0]), np.array([True]), np.array([0]), np.array([0]))
    with pytest.raises(TooFewTrials):
        speaker_bootstrap(alone, [lambda weights: float(weights.sum())], resamples=5, seed=0)
