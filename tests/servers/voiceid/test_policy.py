"""The numbers of a threshold pack."""

import math
from dataclasses import MISSING, fields

import pytest

from servers.voiceid.fusion import Calibration
from servers.voiceid.policy import DecisionPolicy, Thresholds

REQUIRED = {
    "conf_high_bp": 9900,
    "conf_mid_bp": 8000,
    "min_margin_bp": 500,
    "close_competitor_margin_bp": 300,
    "close_competitor_floor_bp": 2000,
    "owner_reject_bp": 100,
    "min_voiced_seconds": 1.0,
}


def test_a_policy_survives_the_way_through_a_pack():
    policy = DecisionPolicy.from_mapping(REQUIRED | {"stage1_high_llr": 12.0, "stage1_margin_llr": 4})
    assert DecisionPolicy.from_mapping(policy.to_mapping()) == policy


@pytest.mark.parametrize("name", REQUIRED)
def test_what_separates_people_has_no_default(name):
    with pytest.raises(ValueError, match=name):
        DecisionPolicy.from_mapping({key: value for key, value in REQUIRED.items() if key != name})


def test_the_defaults_are_those_of_the_capture_contract():
    policy = DecisionPolicy.from_mapping(REQUIRED)
    assert (policy.max_clipped_ratio, policy.max_lost_ratio, policy.max_overlap_ratio) == (0.01, 0.01, 0.02)
    assert policy.require_spoof_check
    assert {field.name for field in fields(DecisionPolicy) if field.default is MISSING} == set(REQUIRED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"conf_hgih_bp": 9900},
        {"conf_high_bp": 9900.0},
        {"conf_high_bp": True},
        {"conf_high_bp": None},
        {"conf_high_bp": 10_001},
        {"conf_mid_bp": 0},
        {"conf_mid_bp": 9901},
        {"min_margin_bp": -1},
        {"owner_reject_bp": 8001},
        {"min_voiced_seconds": 0.0},
        {"min_voiced_seconds": math.nan},
        {"min_voiced_seconds": "1"},
        {"max_overlap_ratio": 1.5},
        {"max_clipped_ratio": math.inf},
        {"stage1_high_llr": 12.0},
        {"stage1_margin_llr": 4.0},
        {"stage1_low_llr": math.nan},
        {"require_spoof_check": 1},
    ],
)
def test_a_policy_that_is_wrong_is_refused(wrong):
    with pytest.raises(ValueError, match=r".+"):
        DecisionPolicy.from_mapping(REQUIRED | wrong)


def test_the_prune_must_be_calibrated_on_one_of_the_fused_models():
    def calibration(*models: str) -> Calibration:
        ones = (1.0,) * len(models)
        return Calibration(models, ones, 0.0, 0.0, ones, 1.0, 9.0, 2.0, 0.5)

    policy = DecisionPolicy.from_mapping(REQUIRED)
    for prune in (calibration("c"), calibration("a", "b")):
        with pytest.raises(ValueError, match="prune"):
            Thresholds(
                pack_ref="p", cohort="c", provisional=False, policy=policy, prune=prune, fused=calibration("a", "b")
            )
