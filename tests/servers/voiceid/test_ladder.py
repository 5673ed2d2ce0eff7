"""The ladder and the mapping between generations, by table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid import ladder

HIGH, MID = 9500, 7000
OK, UNKNOWN_V1 = v1.DECISION_OK, v1.DECISION_UNKNOWN
CONFIRMED, PROBABLE, UNKNOWN = v2.IDENTITY_TIER_CONFIRMED, v2.IDENTITY_TIER_PROBABLE, v2.IDENTITY_TIER_UNKNOWN
BP = st.integers(0, 10_000)
RISE = {UNKNOWN: 0, PROBABLE: 1, CONFIRMED: 2}


@pytest.mark.parametrize(
    ("score", "tier"),
    [
        (10_000, CONFIRMED),
        (9500, CONFIRMED),
        (9499, PROBABLE),
        (7000, PROBABLE),
        (6999, UNKNOWN),
        (0, UNKNOWN),
    ],
)
def test_the_ladder_maps_scores_to_tiers(score, tier):
    assert ladder.tier_of_score(score, HIGH, MID) == tier


@pytest.mark.parametrize(
    ("decision", "score", "tier"),
    [
        (UNKNOWN_V1, 10_000, UNKNOWN),
        (UNKNOWN_V1, 8000, UNKNOWN),
        (OK, 9500, CONFIRMED),
        (OK, 9499, PROBABLE),
        (OK, 7000, PROBABLE),
        (OK, 6999, UNKNOWN),
        (v1.DECISION_UNSPECIFIED, 10_000, UNKNOWN),
        (99, 10_000, UNKNOWN),
    ],
)
def test_v1_maps_to_v2_by_the_four_rules(decision, score, tier):
    assert ladder.v1_to_v2(decision, score, HIGH, MID) == tier


@given(score=BP)
def test_both_generations_agree_on_every_score(score):
    tier = ladder.tier_of_score(score, HIGH, MID)
    assert ladder.v1_to_v2(ladder.v2_to_v1(tier), score, HIGH, MID) == tier


@pytest.mark.parametrize(
    ("score", "provisional", "tier", "reason"),
    [
        (9500, False, CONFIRMED, v1.VOICE_ID_REASON_MATCH_HIGH),
        (9500, True, PROBABLE, v1.VOICE_ID_REASON_PACK_PROVISIONAL),
        (7000, False, PROBABLE, v1.VOICE_ID_REASON_MATCH_MID),
        (7000, True, PROBABLE, v1.VOICE_ID_REASON_MATCH_MID),
        (6999, False, UNKNOWN, v1.VOICE_ID_REASON_SCORE_LOW),
        (6999, True, UNKNOWN, v1.VOICE_ID_REASON_SCORE_LOW),
    ],
)
def test_a_provisional_pack_confirms_nobody(score, provisional, tier, reason):
    assert ladder.climb(score, HIGH, MID, provisional=provisional) == ladder.Rung(tier, reason)


@given(scores=st.tuples(BP, BP), thresholds=st.tuples(BP, BP), provisional=st.booleans())
def test_a_higher_score_never_stands_lower(scores, thresholds, provisional):
    low, high = (
        ladder.climb(score, max(thresholds), min(thresholds), provisional=provisional) for score in sorted(scores)
    )
    assert RISE[low.tier] <= RISE[high.tier]


@pytest.mark.parametrize(("margin", "gray"), [(-1, True), (499, True), (500, False), (10_000, False)])
def test_the_gray_zone_ends_at_the_smallest_margin(margin, gray):
    assert ladder.in_gray_zone(margin, 500) is gray
