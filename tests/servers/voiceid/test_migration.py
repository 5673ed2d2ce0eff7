"""Stages of the decision contract, by table."""

import pytest
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid.migration import Row, may_move, stage_row

M0, M1, M2, M3 = v1.MIGRATION_STAGE_M0, v1.MIGRATION_STAGE_M1, v1.MIGRATION_STAGE_M2, v1.MIGRATION_STAGE_M3
STAGES = [M0, M1, M2, M3]


@pytest.mark.parametrize(
    ("stage", "v1_serves", "v2_serves", "v1_beside_v2"),
    [
        (M0, True, False, False),
        (M1, True, True, True),
        (M2, True, True, True),
        (M3, False, True, False),
        (v1.MIGRATION_STAGE_UNSPECIFIED, False, False, False),
        (17, False, False, False),
    ],
)
def test_each_stage_emits_and_refuses(stage, v1_serves, v2_serves, v1_beside_v2):
    assert stage_row(stage) == Row(v1_serves, v2_serves, v1_beside_v2)


@pytest.mark.parametrize("present", [v1.MIGRATION_STAGE_UNSPECIFIED, *STAGES, 17])
@pytest.mark.parametrize("wanted", [v1.MIGRATION_STAGE_UNSPECIFIED, *STAGES, 17])
def test_a_tenant_moves_one_stage_at_a_time(present, wanted):
    allowed = {(M0, M1), (M1, M2), (M2, M3), (M3, M2), (M2, M1), (M1, M0)}
    assert may_move(present, wanted) == ((present, wanted) in allowed)
