"""Stage 1: the prune and its early outs."""

import numpy as np
import pytest
from selene.voiceid.v1.voiceid_pb2 import VOICE_ID_REASON_MODEL_FAILED

from servers.voiceid.fusion import Ranking, ScoredCandidate, ScoringFailure, score_bp
from servers.voiceid.policy import DecisionPolicy
from servers.voiceid.prune import Decisiveness, Pruned, decisive, gallery, prune


def unit(shape: tuple[int, ...], seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(shape)
    return (drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)).astype(np.float32)


def people(count: int, dimension: int = 64, seed: int = 0):
    return gallery([f"u{i}" for i in range(count)], unit((count, dimension), seed), version=7)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 5000])
def test_prune_keeps_the_nearest_best_first(count):
    among = people(count)
    query = unit((64,), 1)
    pruned = prune(query, among)
    assert isinstance(pruned, Pruned)
    exact = np.argsort(-(np.asarray(among.embeddings, np.float64) @ query.astype(np.float64)))[:32]
    assert pruned.indices.tolist() == exact.tolist()
    assert np.allclose(pruned.cosines, among.embeddings[pruned.indices] @ query, atol=1e-6)


def test_the_claimed_user_and_the_owner_are_kept_however_far():
    among = people(1000)
    query = unit((64,), 1)
    furthest = int(np.argmin(among.embeddings @ query))
    pruned = prune(query, among, keep=8, always=(furthest, furthest))
    assert isinstance(pruned, Pruned)
    assert len(pruned.indices) == 9
    assert pruned.indices[-1] == furthest


def test_an_empty_gallery_prunes_to_nobody():
    pruned = prune(unit((64,), 1), people(0))
    assert isinstance(pruned, Pruned)
    assert pruned.indices.size == pruned.cosines.size == 0


def test_equal_cosines_are_ordered_by_row():
    same = np.repeat(unit((1, 8), 3), 5, axis=0)
    pruned = prune(same[0], gallery("abcde", same, 1))
    assert isinstance(pruned, Pruned)
    assert pruned.indices.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "query", [np.full(64, np.nan, np.float32), np.zeros(64, np.float32), unit((63,), 1), 2 * unit((64,), 1)]
)
def test_a_query_that_is_no_unit_vector_is_a_failure(query):
    failure = prune(query, people(100))
    assert isinstance(failure, ScoringFailure)
    assert failure.reason == VOICE_ID_REASON_MODEL_FAILED


@pytest.mark.parametrize(
    ("user_ids", "embeddings"),
    [
        (["a"], unit((2, 8), 0)),
        (["a", "a"], unit((2, 8), 0)),
        (["a", "b"], np.full((2, 8), np.nan, np.float32)),
        (["a", "b"], np.zeros((2, 8), np.float32)),
        (["a"], unit((8,), 0)),
    ],
)
def test_a_gallery_that_cannot_be_compared_is_refused(user_ids, embeddings):
    with pytest.raises(ValueError, match=r".+"):
        gallery(user_ids, embeddings, 1)


POLICY = {
    "conf_high_bp": 9900,
    "conf_mid_bp": 8000,
    "min_margin_bp": 500,
    "close_competitor_margin_bp": 300,
    "close_competitor_floor_bp": 2000,
    "owner_reject_bp": 100,
    "min_voiced_seconds": 1.0,
}
LIMITS = {"stage1_high_llr": 8.0, "stage1_margin_llr": 6.0, "stage1_low_llr": -6.0}


@pytest.mark.parametrize(
    ("llrs", "limits", "expected"),
    [
        ((8.0, 0.0), LIMITS, Decisiveness.HIGH),
        ((8.0,), LIMITS, Decisiveness.HIGH),
        ((7.9, 0.0), LIMITS, Decisiveness.NONE),
        ((8.0, 2.1), LIMITS, Decisiveness.NONE),
        ((-6.0, -7.0), LIMITS, Decisiveness.UNKNOWN),
        ((-5.9, -7.0), LIMITS, Decisiveness.NONE),
        ((20.0, -20.0), {}, Decisiveness.NONE),
        ((-20.0, -20.0), {}, Decisiveness.NONE),
        # Limits that contradict the ladder decide nothing.
        ((1.0, -9.0), {"stage1_high_llr": 0.0, "stage1_margin_llr": 0.0}, Decisiveness.NONE),
        ((9.0, 8.9), {"stage1_high_llr": 0.0, "stage1_margin_llr": 0.0}, Decisiveness.NONE),
        ((5.0,), {"stage1_low_llr": 5.0}, Decisiveness.NONE),
    ],
)
def test_stage_1_settles_only_what_is_far_beyond_doubt(llrs, limits, expected):
    ranking = Ranking(tuple(ScoredCandidate(f"u{i}", 1, (), llr, score_bp(llr, 0.5)) for i, llr in enumerate(llrs)))
    assert decisive(ranking, DecisionPolicy.from_mapping(POLICY | limits)) is expected
