"""Stages of the decision contract, by table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid.migration import Emitted, Row, may_move, may_personalize, stage_row, tier_read

M0, M1, M2, M3 = v1.MIGRATION_STAGE_M0, v1.MIGRATION_STAGE_M1, v1.MIGRATION_STAGE_M2, v1.MIGRATION_STAGE_M3
CONFIRMED, PROBABLE, UNKNOWN = v2.IDENTITY_TIER_CONFIRMED, v2.IDENTITY_TIER_PROBABLE, v2.IDENTITY_TIER_UNKNOWN
STAGES = [M0, M1, M2, M3]


@pytest.mark.parametrize(
    ("stage", "v1_serves", "v2_serves", "v1_beside_v2", "v2_in_shadow", "v2_is_read"),
    [
        (M0, True, False, False, False, False),
        (M1, True, True, True, True, False),
        (M2, True, True, True, False, True),
        (M3, False, True, False, False, True),
        (v1.MIGRATION_STAGE_UNSPECIFIED, False, False, False, False, False),
        (17, False, False, False, False, False),
    ],
)
def test_each_stage_emits_reads_and_refuses(stage, v1_serves, v2_serves, v1_beside_v2, v2_in_shadow, v2_is_read):
    assert stage_row(stage) == Row(v1_serves, v2_serves, v1_beside_v2, v2_in_shadow, v2_is_read)


@pytest.mark.parametrize("present", [v1.MIGRATION_STAGE_UNSPECIFIED, *STAGES, 17])
@pytest.mark.parametrize("wanted", [v1.MIGRATION_STAGE_UNSPECIFIED, *STAGES, 17])
def test_a_tenant_moves_one_stage_at_a_time(present, wanted):
    allowed = {(M0, M1), (M1, M2), (M2, M3), (M3, M2), (M2, M1), (M1, M0)}
    assert may_move(present, wanted) == ((present, wanted) in allowed)


def emitted(decision=v1.DECISION_OK, tier=CONFIRMED, score_bp=9900, provisional=False) -> Emitted:
    return Emitted(
        decision=decision, tier=tier, score_bp=score_bp, conf_high_bp=9500, conf_mid_bp=7000, provisional=provisional
    )


@pytest.mark.parametrize(
    ("stage", "decided", "read"),
    [
        # M0 and M1 read V1: the tier is derived from its score, whatever V2 says in shadow.
        (M0, emitted(tier=UNKNOWN, score_bp=9500), CONFIRMED),
        (M1, emitted(tier=UNKNOWN, score_bp=9500), CONFIRMED),
        (M0, emitted(tier=CONFIRMED, score_bp=9499), PROBABLE),
        (M1, emitted(tier=CONFIRMED, score_bp=9499), PROBABLE),
        (M1, emitted(decision=v1.DECISION_UNKNOWN), UNKNOWN),
        (M1, emitted(score_bp=6999), UNKNOWN),
        # M2 and M3 read V2, whatever V1 says.
        (M2, emitted(tier=PROBABLE, score_bp=9900), PROBABLE),
        (M3, emitted(decision=v1.DECISION_UNKNOWN, tier=CONFIRMED), CONFIRMED),
        (v1.MIGRATION_STAGE_UNSPECIFIED, emitted(), UNKNOWN),
    ],
)
def test_the_tier_that_is_read_follows_the_stage(stage, decided, read):
    assert tier_read(stage, decided) == read
    assert may_personalize(stage, decided) == (read == CONFIRMED)


@given(
    stage=st.sampled_from(STAGES),
    decision=st.sampled_from([v1.DECISION_OK, v1.DECISION_UNKNOWN]),
    tier=st.sampled_from([CONFIRMED, PROBABLE, UNKNOWN]),
    score=st.integers(0, 10_000),
)
def test_a_provisional_pack_personalizes_at_no_stage(stage, decision, tier, score):
    assert not may_personalize(stage, emitted(decision, tier, score, provisional=True))
