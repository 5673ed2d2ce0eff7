"""The fused, calibrated score."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_MODEL_FAILED

from servers.voiceid.fusion import (
    Calibration,
    CandidateCosines,
    Ranking,
    ScoringFailure,
    log_likelihood_ratio,
    posterior,
    rank,
    score_bp,
)

CALIBRATION = Calibration(
    models=("campplus@1", "ge2e@1"),
    weights=(10.0, 5.0),
    bias=-8.0,
    duration_bias=-1.0,
    duration_weights=(2.0, 0.5),
    min_seconds=1.0,
    max_seconds=10.0,
    reference_seconds=2.0,
    prior=0.5,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COSINE = st.floats(-1.0, 1.0)


def one(user_id: str, *cosines: float) -> CandidateCosines:
    return CandidateCosines(user_id, 1, cosines)


def test_llr_is_the_documented_formula():
    t = math.log(4.0 / 2.0)
    expected = -8.0 - 1.0 * t + (10.0 + 2.0 * t) * 0.8 + (5.0 + 0.5 * t) * 0.6
    assert log_likelihood_ratio((0.8, 0.6), 4.0, CALIBRATION) == pytest.approx(expected)


@pytest.mark.parametrize(("seconds", "same_as"), [(0.01, 1.0), (0.99, 1.0), (10.1, 10.0), (1e9, 10.0)])
def test_speech_beyond_what_was_calibrated_counts_as_the_limit(seconds, same_as):
    assert log_likelihood_ratio((0.8, 0.6), seconds, CALIBRATION) == log_likelihood_ratio(
        (0.8, 0.6), same_as, CALIBRATION
    )


@pytest.mark.parametrize(
    ("llr", "prior", "expected"),
    [(0.0, 0.5, 5000), (math.log(9), 0.5, 9000), (0.0, 0.01, 100), (800.0, 0.5, 10000), (-800.0, 0.5, 0)],
)
def test_score_is_the_posterior_in_basis_points(llr, prior, expected):
    assert score_bp(llr, prior) in (expected, expected - 1)
    assert posterior(llr, prior) == pytest.approx(expected / 10_000)


@given(llr=FINITE, prior=st.floats(1e-9, 1 - 1e-9))
def test_posterior_never_leaves_its_range(llr, prior):
    assert 0.0 <= posterior(llr, prior) <= 1.0
    assert 0 <= score_bp(llr, prior) <= 10_000


@given(a=FINITE, b=FINITE, prior=st.floats(1e-6, 1 - 1e-6))
def test_a_higher_llr_never_scores_lower(a, b, prior):
    assert score_bp(min(a, b), prior) <= score_bp(max(a, b), prior)


def test_rounding_never_lifts_a_score_over_a_threshold():
    just_below = math.log(0.94996 / (1 - 0.94996))
    assert score_bp(just_below, 0.5) == 9499


def test_ranking_is_best_first_with_the_margin_to_the_next():
    ranking = rank([one("far", 0.1, 0.2), one("near", 0.9, 0.9), one("middle", 0.6, 0.5)], 2.0, CALIBRATION)
    assert isinstance(ranking, Ranking)
    assert [candidate.user_id for candidate in ranking.candidates] == ["near", "middle", "far"]
    assert ranking.margin_to_next_bp == ranking.candidates[0].score_bp - ranking.candidates[1].score_bp
    assert ranking.margin_to_next_llr == pytest.approx(ranking.candidates[0].llr - ranking.candidates[1].llr)


def test_the_margin_of_the_only_candidate_is_its_score():
    ranking = rank([one("only", 0.9, 0.9)], 2.0, CALIBRATION)
    assert isinstance(ranking, Ranking)
    assert ranking.margin_to_next_bp == ranking.best.score_bp
    assert ranking.margin_to_next_llr == math.inf


def test_equal_candidates_are_ordered_by_user_so_that_a_replay_agrees():
    ranking = rank([one("b", 0.5, 0.5), one("a", 0.5, 0.5)], 2.0, CALIBRATION)
    assert isinstance(ranking, Ranking)
    assert [candidate.user_id for candidate in ranking.candidates] == ["a", "b"]


@pytest.mark.parametrize(
    ("candidates", "seconds"),
    [
        ([], 2.0),
        ([one("a", 0.5)], 2.0),
        ([one("a", 0.5, math.nan)], 2.0),
        ([one("good", 0.9, 0.9), one("bad", math.nan, 0.5)], 2.0),
        ([one("a", 0.5, math.inf)], 2.0),
        ([one("a", 0.5, 1.5)], 2.0),
        ([one("a", 0.5, 0.5)], math.nan),
        ([one("a", 0.5, 0.5)], math.inf),
        ([one("a", 0.5, 0.5)], 0.0),
    ],
)
def test_what_is_no_evidence_is_a_failure_and_no_ranking(candidates, seconds):
    failure = rank(candidates, seconds, CALIBRATION)
    assert isinstance(failure, ScoringFailure)
    assert failure.reason == VOICE_ID_REASON_MODEL_FAILED


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=6), st.floats())
def test_rank_never_raises_and_never_ranks_what_is_not_finite(cosines, seconds):
    result = rank([one(str(i), *pair) for i, pair in enumerate(cosines)], seconds, CALIBRATION)
    if isinstance(result, Ranking):
        assert all(math.isfinite(candidate.llr) for candidate in result.candidates)
    else:
        assert result.reason == VOICE_ID_REASON_MODEL_FAILED


@pytest.mark.parametrize(
    "broken",
    [
        {"models": ()},
        {"models": ("same", "same")},
        {"weights": (1.0,)},
        {"duration_weights": (1.0, math.nan)},
        {"bias": math.inf},
        {"prior": 0.0},
        {"prior": 1.0},
        {"min_seconds": 0.0},
        {"min_seconds": 11.0},
        {"max_seconds": math.inf},
        {"reference_seconds": math.nan},
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(broken):
    with pytest.raises(ValueError, match=r".+"):
        replace(CALIBRATION, **broken)
