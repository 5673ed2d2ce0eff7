"""What the demonstration counts is what voice identity's own ladder decides, and what it draws it draws again."""

from __future__ import annotations

from selene.governance.v1.rollout_pb2 import JUDGE_DOMAIN_VOICE_IDENTITY

from servers.governance.cohort_gates import dimensions_of, limits_of, passing
from servers.learning_demonstration.voices import (
    ALIKE,
    evaluated,
    recorded,
    replayed,
    trials,
)
from servers.voiceid.calibration.pack import ThresholdPack, parse
from servers.voiceid.fusion import score_bp
from tests.support.packs import shipped, variant

SIGNALS = (("mia", "mia-0"), ("noa", "noa-0"))


def stricter() -> ThresholdPack:
    return parse(variant(policy={"conf_high_bp": 9_700}))


def test_turns_are_decided_as_the_ladder_decides_them() -> None:
    pack, turns = stricter(), recorded(ALIKE, seed=1, subjects=5, impostors=3_000)
    policy, prior = pack.thresholds().policy, pack.thresholds().fused.prior
    genuine = [score_bp(float(score), prior) for score in turns.genuine.flat]
    impostors = [score_bp(float(score), prior) for score in turns.impostors.flat]
    counted = replayed(pack, turns)
    assert (counted.genuine, counted.impostors, counted.turns) == (500, 15_000, 15_500)
    assert counted.false_rejects == sum(score < policy.conf_high_bp for score in genuine)
    assert counted.false_accepts == sum(score >= policy.conf_high_bp for score in impostors) > 0
    assert counted.asked == sum(policy.conf_mid_bp <= score < policy.conf_high_bp for score in genuine)


def test_the_same_seed_draws_the_same_trials_and_another_one_others() -> None:
    def drawn(seed: int) -> list[bytes]:
        made = trials(ALIKE, SIGNALS, genuine=3, impostors=5, seed=seed)
        return [trial.item.SerializeToString(deterministic=True) for trial in made]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 2 * 8


def test_a_trial_says_who_is_claimed_and_is_labelled_by_who_spoke() -> None:
    for trial in trials(ALIKE, SIGNALS, genuine=2, impostors=2, seed=1):
        claimed, spoke = trial.item.trial.enrolled_ref, trial.item.trial.test_ref
        assert trial.genuine == (claimed == spoke) == trial.label().trial.genuine
        assert trial.item.signal_id == f"{claimed}-0" and trial.label().item_id == trial.item.item_id


def test_sides_of_a_canary_share_no_subject_and_lose_no_turn() -> None:
    turns = recorded(ALIKE, seed=1, subjects=4, impostors=10)
    chosen = [True, False, False, True]
    served, others = turns.of(chosen), turns.of([not one for one in chosen])
    assert served.subjects == ("subject-0000", "subject-0003")
    assert set(served.subjects).isdisjoint(others.subjects)
    assert served.genuine.size + others.genuine.size == turns.genuine.size
    assert (served.impostors[1] == turns.impostors[3]).all()


def test_every_dimension_is_evaluated_and_only_a_pack_that_tells_siblings_apart_passes() -> None:
    limits = limits_of(JUDGE_DOMAIN_VOICE_IDENTITY)
    strict, loose = evaluated(stricter(), ALIKE, seed=500), evaluated(shipped(), ALIKE, seed=500)
    assert dimensions_of(result.cohort for result in strict) == limits.dimensions
    assert passing(strict, limits) == {result.cohort for result in strict}
    assert not passing(loose, limits)
