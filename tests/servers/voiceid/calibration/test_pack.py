"""A pack is canonical, whole, and never claims more than its gates allow."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
import rfc8785

from servers.voiceid.calibration.gates import Gates, Resampling
from servers.voiceid.calibration.limits import Targets
from servers.voiceid.calibration.pack import (
    Input,
    PackError,
    PackFault,
    PackStatus,
    ReasonCode,
    parse,
)
from servers.voiceid.calibration.run import Request, calibrate_trials
from servers.voiceid.calibration.trials import Cohort

MODEL_SET = hashlib.sha256(b"models").digest()
INPUT = Input(name="scores.csv", sha256="0" * 64, items=1)


def _request(**more):
    settings = {
        "name": "synthetic",
        "note": "normal scores",
        "version": 3,
        "model_set_hash": MODEL_SET,
        "created_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "tool": "tests",
        "cohort": Cohort(),
        "resampling": Resampling(resamples=20),
    }
    return Request(**{**settings, **more})


def _calibrate(trials, **more):
    return calibrate_trials(trials, [INPUT], _request(**more), lambda stage, done, total: None)


@pytest.fixture(scope="module")
def result(make_normal_trials):
    return _calibrate(make_normal_trials(speakers=40, distances=(0.5, 0.5)))


def test_a_pack_survives_its_bytes(result):
    assert parse(result.pack.canonical()) == result.pack
    assert rfc8785.dumps(json.loads(result.pack.canonical())) == result.pack.canonical()


def test_a_pack_becomes_the_thresholds_of_a_decision(result):
    thresholds = result.pack.thresholds()
    assert thresholds.pack_ref == "VOICEID_THRESHOLD_PACK_V1@3"
    assert thresholds.provisional
    assert thresholds.prune.models == ("fast@1",)
    assert thresholds.fused.models == ("fast@1", "slow@1")
    assert thresholds.policy.to_mapping() == result.pack.policy


def test_the_same_trials_make_the_same_bytes(make_normal_trials, result):
    again = _calibrate(make_normal_trials(speakers=40, distances=(0.5, 0.5)))
    assert again.pack.canonical() == result.pack.canonical()


def _refused(reason, content):
    with pytest.raises(PackError) as error:
        parse(rfc8785.dumps(content))
    assert error.value.reason is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, PackFault.VERSION_UNKNOWN),
        ({"format": True}, PackFault.VERSION_UNKNOWN),
        ({"artifact_type": "VOICEID_THRESHOLD_PACK_V2"}, PackFault.VERSION_UNKNOWN),
        ({"surprise": 1}, PackFault.FIELD_INVALID),
        ({"version": 0}, PackFault.FIELD_INVALID),
        ({"version": "3"}, PackFault.FIELD_INVALID),
        ({"status": "ACTIVE"}, PackFault.FIELD_INVALID),
        ({"status": "CANDIDATE"}, PackFault.FIELD_INVALID),
        ({"reasons": []}, PackFault.FIELD_INVALID),
        ({"cohorts": []}, PackFault.FIELD_INVALID),
        ({"policy": {}}, PackFault.FIELD_INVALID),
        ({"model_set_hash": "ABC"}, PackFault.FIELD_INVALID),
        ({"created_at": "2026-01-02T03:04:05"}, PackFault.FIELD_INVALID),
    ],
)
def test_a_pack_that_is_not_whole_is_refused(result, change, reason):
    _refused(reason, {**json.loads(result.pack.canonical()), **change})


def _pair(*users: str, **more):
    return {"users": [user * 32 for user in users], "min_score_bp": 9000, "impostors": 3, "named": 1, **more}


def test_a_pack_knows_the_pairs_that_are_confused(result):
    content = json.loads(result.pack.canonical())
    assert "pairs" not in content and result.pack.thresholds().pairs == {}
    pack = parse(rfc8785.dumps({**content, "pairs": [_pair("0a", "0b"), _pair("0a", "0c", min_score_bp=10_000)]}))
    a, b, c = (bytes([code]) * 32 for code in (10, 11, 12))
    assert pack.thresholds().pairs == {frozenset((a, b)): 9000, frozenset((a, c)): 10_000}


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [_pair("0a")],
        [_pair("0a", "0a")],
        [_pair("0b", "0a")],
        [_pair("0a", "0b", "0c")],
        [_pair("0a", "0b", named=4)],
        [_pair("0a", "0b", named=0)],
        [_pair("0a", "0b", min_score_bp=0)],
        [_pair("0a", "0b", min_score_bp=10_001)],
        [_pair("0a", "0c"), _pair("0a", "0b")],
        [_pair("0a", "0b"), _pair("0a", "0b", min_score_bp=9500)],
    ],
)
def test_pairs_that_are_none_are_refused(result, pairs):
    _refused(PackFault.FIELD_INVALID, {**json.loads(result.pack.canonical()), "pairs": pairs})


def test_that_there_are_no_pairs_is_said_in_one_way(result):
    _refused(PackFault.NOT_CANONICAL, {**json.loads(result.pack.canonical()), "pairs": None})


def test_thresholds_out_of_order_are_refused(result):
    content = json.loads(result.pack.canonical())
    content["policy"]["conf_mid_bp"] = content["policy"]["conf_high_bp"] + 1
    _refused(PackFault.FIELD_INVALID, content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"1"])
def test_what_is_no_pack_is_refused(content):
    with pytest.raises(PackError) as error:
        parse(content)
    assert error.value.reason is PackFault.NOT_JSON


@pytest.mark.parametrize(
    "spell", [lambda text: text + b" ", lambda text: text.replace(b'"format":1', b'"format":1,"format":1')]
)
def test_bytes_that_are_not_canonical_are_refused(result, spell):
    with pytest.raises(PackError) as error:
        parse(spell(result.pack.canonical()))
    assert error.value.reason is PackFault.NOT_CANONICAL


def test_too_few_trials_make_a_pack_provisional_and_say_so(result):
    assert result.pack.status is PackStatus.PROVISIONAL
    found = {(reason.code, reason.where): reason for reason in result.pack.reasons}
    few = found[ReasonCode.GENUINE_TRIALS_TOO_FEW, "en/us/headset/clean, 1 s"]
    # Half of 40 speakers, two utterances each.
    assert (few.observed, few.required) == (40, 1500)
    impostors = found[ReasonCode.IMPOSTOR_TRIALS_TOO_FEW, "en/us/headset/clean, 3 s"]
    assert (impostors.observed, impostors.required) == (40 * 19, 15_000)


def test_a_pack_that_passes_every_gate_is_a_candidate(make_normal_trials):
    gates = Gates(genuine=40, impostor=700, tar_lower=0.5, far_upper=0.5, frr_upper=0.5)
    targets = Targets(high_far=0.01, mid_far=0.02)
    passed = _calibrate(make_normal_trials(speakers=40, distances=(0.8, 0.8)), gates=gates, targets=targets)
    assert passed.pack.reasons == []
    assert passed.pack.status is PackStatus.CANDIDATE
    assert not passed.pack.thresholds().provisional


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ({"tar_lower": 1.0}, ReasonCode.TAR_LOWER_BOUND),
        ({"far_upper": 0.0}, ReasonCode.FAR_UPPER_BOUND),
        ({"frr_upper": 0.0}, ReasonCode.FRR_UPPER_BOUND),
        ({"genuine": 41}, ReasonCode.GENUINE_TRIALS_TOO_FEW),
        ({"impostor": 761}, ReasonCode.IMPOSTOR_TRIALS_TOO_FEW),
    ],
)
def test_every_gate_alone_keeps_a_pack_provisional(make_normal_trials, gate, code):
    passing = {"genuine": 40, "impostor": 760, "tar_lower": 0.5, "far_upper": 0.5, "frr_upper": 0.5}
    targets = Targets(high_far=0.01, mid_far=0.02)
    trials = make_normal_trials(speakers=40, distances=(0.8, 0.8))
    held = _calibrate(trials, gates=Gates(**{**passing, **gate}), targets=targets)
    assert {reason.code for reason in held.pack.reasons} == {code}


def test_genuine_trials_of_one_recording_keep_a_pack_provisional(make_normal_trials):
    gates = Gates(genuine=40, impostor=700, tar_lower=0.5, far_upper=0.5, frr_upper=0.5)
    trials = make_normal_trials(speakers=40, distances=(0.8, 0.8), same_session=True)
    held = _calibrate(trials, gates=gates, targets=Targets(high_far=0.01, mid_far=0.02))
    assert {reason.code for reason in held.pack.reasons} == {ReasonCode.GENUINE_SAME_SESSION}
