"""What a frozen set shows of a pack beside the one before it, each limit at, just under and just over it (§38)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.governance.v1.rollout_pb2 import JUDGE_DOMAIN_VOICE_IDENTITY

from servers.governance import cohort_gates
from servers.governance.frozen import NotComparable, document, evaluate, leaks
from tests.support.frozen import NAMES, PRIOR, SPEAKERS, Sample, frozen_set, pack

ACTIVE, LOOSER = pack(9_900), pack(9_000)
"""Of the impostors that score 9500 bp, the first accepts none and the second all."""
VOICE = cohort_gates.limits_of(JUDGE_DOMAIN_VOICE_IDENTITY)


def passing(sample: Sample) -> frozenset[str]:
    shown = evaluate(frozen_set(sample), LOOSER, LOOSER).candidate
    return cohort_gates.passing(shown.cohorts.values(), VOICE)


@pytest.mark.parametrize(
    ("sample", "passes"),
    [
        (Sample(genuine=1_499), False),
        (Sample(genuine=1_500), True),
        (Sample(genuine=1_501), True),
        (Sample(impostors=14_999), False),
        (Sample(impostors=15_000), True),
        (Sample(impostors=15_001), True),
        # The upper 95 % bound of 7 in 1500 is 0.96 %, of 8 it is 1.05 %; TAR's lower bound is what is left of 100 %.
        (Sample(low=7), True),
        (Sample(low=8), False),
        # Of 7 in 15,000 it is 0.096 %, of 8 it is 0.105 %.
        (Sample(high=7), True),
        (Sample(high=8), False),
    ],
)
def test_a_cohort_of_the_frozen_set_is_held_to_the_limits_of_calibration(sample: Sample, passes: bool) -> None:
    assert passing(sample) == (frozenset(NAMES) if passes else frozenset())


def test_a_cohort_that_fails_is_not_hidden_by_the_others() -> None:
    poor = Sample(low=8, cohort=("de", "mixed", "kitchen", "street"))
    shown = evaluate(frozen_set(Sample(genuine=6_000), poor), LOOSER, LOOSER).candidate
    assert cohort_gates.passing(shown.cohorts.values(), VOICE) == {
        "language:en",
        "accent:mixed",
        "device:kitchen",
        "noise:home",
    }


@pytest.mark.parametrize(("high", "regressed"), [(0, ()), (1, NAMES), (2, NAMES)])
def test_one_impostor_more_than_before_is_a_regression(high: int, regressed: tuple[str, ...]) -> None:
    assert evaluate(frozen_set(Sample(high=high)), LOOSER, ACTIVE).regressed == tuple(sorted(regressed))


def test_as_many_impostors_as_before_or_fewer_are_none() -> None:
    found = frozen_set(Sample(high=3))
    assert evaluate(found, LOOSER, LOOSER).regressed == ()
    assert evaluate(found, ACTIVE, LOOSER).regressed == ()


def test_a_regression_is_of_the_cohorts_that_it_is_in() -> None:
    other = Sample(high=1, cohort=("de", "mixed", "phone", "home"))
    regressed = evaluate(frozen_set(Sample(), other), LOOSER, ACTIVE).regressed
    assert regressed == ("accent:mixed", "device:phone", "language:de", "noise:home")


@pytest.mark.parametrize(
    ("candidate", "baseline", "high", "reduced"),
    [
        (ACTIVE, LOOSER, 1, True),
        (LOOSER, LOOSER, 1, False),
        (LOOSER, ACTIVE, 1, False),
        # Where nobody collided there is nothing to reduce.
        (LOOSER, LOOSER, 0, True),
    ],
)
def test_collisions_have_to_become_fewer(
    candidate: dict[str, Any], baseline: dict[str, Any], high: int, reduced: bool
) -> None:
    assert evaluate(frozen_set(Sample(high=high)), candidate, baseline).confusion_reduced is reduced


def test_collisions_are_of_the_pairs_that_are_confused() -> None:
    ada, bob, cyd = SPEAKERS
    found = frozen_set(Sample(impostors=10, high=4))
    of_pair = evaluate(found, LOOSER, LOOSER, [frozenset((bob, ada))]).candidate.collisions
    assert (of_pair.accepted, of_pair.trials) == (2, 5)
    # Neither pair is compared in the set: all of its pairs count.
    unheard = evaluate(found, LOOSER, LOOSER, [frozenset((bob, cyd)), frozenset((ada, "zoe"))]).candidate.collisions
    assert (unheard.accepted, unheard.trials) == (4, 10)


def test_a_pack_of_another_scorer_is_not_compared() -> None:
    for other in (pack(9_000, models="b" * 64), pack(9_000, prior=0.2), {}, {"policy": [], "fused": 1}):
        with pytest.raises(NotComparable):
            evaluate(frozen_set(), other, ACTIVE)
        with pytest.raises(NotComparable):
            evaluate(frozen_set(), ACTIVE, other)


def test_calibration_is_that_of_posteriors_held_against_the_truth_at_the_packs_prior() -> None:
    shown = evaluate(frozen_set(Sample(genuine=100, impostors=1_000)), LOOSER, LOOSER).candidate.calibration
    # Half of the weight says 9990 bp and is always true, half says 10 bp and never is.
    assert shown.expected_error == pytest.approx(0.001)
    assert shown.cllr == pytest.approx(np.log2(1 + 1 / 999))


def test_posteriors_that_say_the_opposite_are_as_wrong_as_can_be() -> None:
    found = frozen_set(Sample(genuine=100, low=0, impostors=100, high=100))
    calibration = evaluate(found, LOOSER, LOOSER).candidate.calibration
    # All posteriors lie in the last bin, half of them of impostors: 9990 and 9500 bp where 5000 are true.
    assert calibration.expected_error == pytest.approx((0.999 + 0.95) / 2 - PRIOR)
    assert calibration.cllr > 1.0


def test_one_kind_of_trial_alone_proves_no_calibration() -> None:
    for sample in (Sample(genuine=0), Sample(impostors=0)):
        calibration = evaluate(frozen_set(sample), LOOSER, LOOSER).candidate.calibration
        assert (calibration.expected_error, calibration.cllr) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("speakers", "ancestors", "frozen", "leaking"),
    [
        (["mia"], {"artifact:1", "gold:g", "signal:a"}, {"artifact:9", "signal:b"}, False),
        (["mia", SPEAKERS[0]], {"artifact:1"}, {"artifact:9"}, True),
        (["mia"], {"artifact:1", "signal:a"}, {"artifact:9", "signal:a"}, True),
        (["mia"], {"artifact:1", "artifact:9"}, {"artifact:9"}, True),
        ([], {"artifact:1", "gold:g"}, {"artifact:9", "gold:g"}, True),
    ],
)
def test_what_shares_a_row_or_a_speaker_with_the_set_leaks(
    speakers: list[str], ancestors: set[str], frozen: set[str], leaking: bool
) -> None:
    assert leaks(frozen_set(), speakers=speakers, ancestors=ancestors, frozen_ancestors=frozen) is leaking


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_same_evaluation_gives_the_same_bytes(impostors: int, high: int, low: int) -> None:
    sample = Sample(genuine=60, low=min(low, 60), impostors=impostors, high=min(high, impostors))
    told = [
        document(evaluate(frozen_set(sample), LOOSER, ACTIVE), candidate="c", baseline="b", frozen="f")
        for _ in range(2)
    ]
    assert told[0] == told[1]
    counted = json.loads(told[0])["candidate"]["cohorts"]["language:en"]
    assert counted == {
        "genuine": 60,
        "false_rejects": min(low, 60),
        "impostors": impostors,
        "false_accepts": min(high, impostors),
    }
