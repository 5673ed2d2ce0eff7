"""Every number of a policy holds to its target on the trials that it came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from servers.statistics import clopper_pearson
from servers.voiceid.calibration.fit import fit_calibration, llrs
from servers.voiceid.calibration.limits import (
    Basis,
    NoUsableLimits,
    Targets,
    decided,
    derive_policy,
    points,
    searches,
)
from servers.voiceid.fusion import score_bp

PRIOR = 0.01
BY_TRIALS_ALONE = Targets(high_posterior=0.0, mid_posterior=0.0)


@pytest.fixture(scope="module")
def good(make_normal_trials):
    return make_normal_trials(speakers=60, utterances=2, distances=(0.4, 0.5))


def _derive(trials, targets):
    fused = fit_calibration(trials, prior=PRIOR)
    prune = fit_calibration(trials.of_models(["fast@1"]), prior=PRIOR)
    scores, fast = llrs(fused, trials), llrs(prune, trials)
    policy, derivations = derive_policy(trials, scores, fast, prior=PRIOR, targets=targets)
    return policy, {one.setting: one for one in derivations}, scores, fast


@pytest.fixture(scope="module")
def by_trials(good):
    return _derive(good, BY_TRIALS_ALONE)


@pytest.mark.parametrize(("setting", "target"), [("conf_high_bp", 0.001), ("conf_mid_bp", 0.01)])
def test_far_bound_holds_at_every_duration_and_one_point_less_breaks_it(good, by_trials, setting, target):
    policy, derivations, scores, _ = by_trials
    limit = getattr(policy, setting)
    assert derivations[setting].proven
    assert derivations[setting].basis is Basis.IMPOSTORS

    def bounds(threshold):
        for condition in np.unique(good.condition):
            impostors = scores[(good.condition == condition) & ~good.genuine]
            passed = sum(score_bp(score, PRIOR) >= threshold for score in impostors.tolist())
            yield clopper_pearson(passed, impostors.size).upper

    assert max(bounds(limit)) <= target
    assert max(bounds(limit - 1)) > target


def test_a_claim_is_as_likely_as_the_ladder_says_however_well_the_trials_separate(make_normal_trials):
    policy, derivations, _, _ = _derive(make_normal_trials(speakers=60, distances=(0.8, 0.8), spread=0.05), Targets())
    assert (policy.conf_mid_bp, policy.conf_high_bp) == (5000, 9000)
    assert derivations["conf_high_bp"].basis is Basis.POSTERIOR
    assert derivations["conf_high_bp"].upper <= 0.001


def test_too_few_impostors_let_none_pass_and_prove_nothing(make_normal_trials):
    few = make_normal_trials(speakers=12, distances=(0.6, 0.6))
    policy, derivations, scores, _ = _derive(few, BY_TRIALS_ALONE)
    assert not derivations["conf_high_bp"].proven
    assert derivations["conf_high_bp"].observed == 0.0
    assert not (points(scores, PRIOR) >= policy.conf_high_bp)[~few.genuine].any()


def test_stage_one_decides_alone_only_where_the_trials_prove_it(make_normal_trials, by_trials):
    many = make_normal_trials(speakers=30, utterances=70, distances=(0.6, 0.6))
    policy, derivations, _, fast = _derive(many, BY_TRIALS_ALONE)
    assert policy.stage1_high_llr is not None
    assert derivations["stage1_high_llr"].upper <= 0.001
    assert derivations["stage1_margin_llr"].upper <= 0.001
    passed = (fast >= policy.stage1_high_llr) & ~many.genuine
    assert all(
        clopper_pearson(int(passed[one].sum()), int((~many.genuine[one]).sum())).upper <= 0.001
        for one in (many.condition == 0, many.condition == 1)
    )
    # Enough impostor trials for the score, too few searches for the margin: a stranger near one person passes both.
    assert by_trials[0].stage1_high_llr is by_trials[0].stage1_margin_llr is None
    few, _, _, _ = _derive(make_normal_trials(speakers=12, distances=(0.6, 0.6)), BY_TRIALS_ALONE)
    assert few.stage1_high_llr is few.stage1_margin_llr is few.stage1_low_llr is None


def test_stage_one_calls_unknown_only_what_hardly_any_speaker_scores(make_normal_trials):
    many = make_normal_trials(speakers=30, utterances=40, durations=(2.0,), distances=(0.5, 0.5))
    policy, derivations, _, fast = _derive(many, Targets())
    assert policy.stage1_low_llr is not None
    lost = int((fast[many.genuine] <= policy.stage1_low_llr).sum())
    assert clopper_pearson(lost, 1200).upper <= 0.005
    assert derivations["stage1_low_llr"].trials == 1200


def test_speech_too_short_to_tell_speakers_apart_decides_nothing(make_normal_trials):
    short = make_normal_trials(durations=(1.0,), distances=(0.05, 0.05), seed=1)
    long = make_normal_trials(durations=(3.0,), distances=(0.5, 0.5), seed=2)
    columns = ("cosines", "seconds", "genuine", "enrolled", "tested", "cohort", "clips", "same_session")
    both = replace(
        long,
        conditions=("1 s", "3 s"),
        condition=np.repeat([0, 1], [len(short), len(long)]),
        utterance=np.concatenate([short.utterance, long.utterance + 1000]),
        **{name: np.concatenate([getattr(short, name), getattr(long, name)]) for name in columns},
    )
    policy, _, _, _ = _derive(both, Targets())
    assert policy.min_voiced_seconds == 3.0
    assert decided(both, policy.min_voiced_seconds).seconds.min() == 3.0


def test_trials_that_do_not_separate_have_no_policy(make_normal_trials):
    with pytest.raises(NoUsableLimits, match="at no duration"):
        _derive(make_normal_trials(distances=(0.02, 0.02)), Targets())


def test_a_search_is_lost_when_a_wrong_speaker_leads(make_normal_trials):
    three = make_normal_trials(speakers=3, utterances=1, durations=(1.0,))
    # Utterances 0, 1, 2 of speakers 0, 1, 2 against profiles 0, 1, 2 in turn.
    found = searches(three, np.array([5.0, 1.0, 2.0, 4.0, 3.0, 0.0, -1.0, 0.0, 7.0]))
    assert found.right.tolist() == [5.0, 3.0, 7.0]
    assert found.wrong.tolist() == [2.0, 4.0, 0.0]
    assert found.lost.tolist() == [False, True, False]


def test_an_unnamed_utterance_is_no_search(make_normal_trials):
    three = make_normal_trials(speakers=3, utterances=1, durations=(1.0,))
    assert searches(replace(three, utterance=np.full(9, -1)), np.zeros(9)).right.size == 0


def test_gray_zone_covers_the_wrong_first_places_it_was_asked_to(make_normal_trials):
    blurred = make_normal_trials(speakers=40, utterances=6, durations=(2.0,), distances=(0.2, 0.25))
    targets = Targets(min_tar=0.5, mid_far=0.02, mid_posterior=0.05, gray_wrong=0.5, gray_abstain=0.9)
    policy, derivations, scores, _ = _derive(blurred, targets)
    found = searches(blurred, scores)
    right, wrong = points(found.right, PRIOR), points(found.wrong, PRIOR)
    named = np.maximum(right, wrong) >= policy.conf_mid_bp
    escaped = (named & found.lost & (np.abs(right - wrong) >= policy.min_margin_bp)).sum()
    assert (named & found.lost).sum() > 5
    assert escaped <= 0.5 * (named & found.lost).sum()
    assert derivations["min_margin_bp"].basis is Basis.SEARCHES


def test_gray_zone_turns_away_no_more_right_first_places_than_bearable(good, by_trials):
    policy, _, scores, _ = by_trials
    found = searches(good, scores)
    margins = (points(found.right, PRIOR) - points(found.wrong, PRIOR))[~found.lost]
    assert policy.min_margin_bp >= 1
    assert (margins < policy.min_margin_bp).mean() <= 0.01


def test_owner_is_turned_away_no_more_often_than_the_target(good, by_trials):
    policy, _, scores, _ = by_trials
    assert (points(scores[good.genuine], PRIOR) < policy.owner_reject_bp).mean() <= 0.01
    assert policy.owner_reject_bp <= policy.conf_mid_bp
