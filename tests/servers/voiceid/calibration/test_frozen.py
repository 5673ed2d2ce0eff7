"""The holdout of a calibration is a frozen set that its own pack is evaluated by (§38.8)."""

import json
from dataclasses import replace

import numpy as np
import pytest

from servers.frozen_sets import parse
from servers.governance.frozen import evaluate
from servers.voiceid.calibration.frozen import frozen_of
from servers.voiceid.calibration.trials import Cohort
from servers.voiceid.fusion import score_bp
from tests.servers.voiceid.calibration.test_pack import _calibrate


@pytest.fixture(scope="module")
def result(make_normal_trials):
    return _calibrate(make_normal_trials(speakers=40, distances=(0.5, 0.5)))


def test_the_set_is_of_the_holdout_and_of_nobody_who_calibrated(result):
    frozen = parse(frozen_of(result, "kitchen").canonical())
    assert set(frozen.speakers) <= result.split.holdout
    assert set(frozen.speakers).isdisjoint(result.split.calibration)
    assert len(frozen) == len(result.holdout)
    assert np.array_equal(frozen.genuine, result.holdout.genuine)


def test_governance_counts_on_it_what_the_ladder_would_decide(result):
    labels = Cohort("en", "read speech", "", "quiet")
    named = replace(result, holdout=replace(result.holdout, cohorts=(labels,) * len(result.holdout.cohorts)))
    pack = json.loads(result.pack.canonical())
    shown = evaluate(parse(frozen_of(named, "kitchen").canonical()), pack, pack).candidate
    accepted = [score_bp(llr, pack["fused"]["prior"]) >= pack["policy"]["conf_high_bp"] for llr in result.fused_llrs]
    genuine = result.holdout.genuine
    expected = int((genuine & ~np.array(accepted)).sum()), int((~genuine & np.array(accepted)).sum())
    assert set(shown.cohorts) == {"language:en", "accent:read-speech", "noise:quiet"}
    for row in shown.cohorts.values():
        assert (row.false_rejects, row.false_accepts) == expected
        assert (row.genuine_trials, row.impostor_trials) == (int(genuine.sum()), int((~genuine).sum()))
