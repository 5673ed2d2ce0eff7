"""The whole decision: order of the checks, what is named, and that nothing broken ever is."""

import math
from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import voiceid_pb2 as v2

from servers.voiceid import ladder
from servers.voiceid.decision import Evidence, Situation, decide, to_v1, to_v2
from servers.voiceid.fusion import Calibration, CandidateCosines
from servers.voiceid.policy import DecisionPolicy, Thresholds

CONFIRMED, PROBABLE, UNKNOWN = v2.IDENTITY_TIER_CONFIRMED, v2.IDENTITY_TIER_PROBABLE, v2.IDENTITY_TIER_UNKNOWN
RISE = {UNKNOWN: 0, PROBABLE: 1, CONFIRMED: 2}
PRUNE, VERIFY = "ge2e@1", "campplus@1"
POLICY = DecisionPolicy(
    conf_high_bp=9500,
    conf_mid_bp=7000,
    min_margin_bp=1000,
    close_competitor_margin_bp=500,
    close_competitor_floor_bp=2000,
    owner_reject_bp=100,
    min_voiced_seconds=1.0,
)
STAGE1_LIMITS = {"stage1_high_llr": 9.0, "stage1_margin_llr": 6.0, "stage1_low_llr": -9.0}


def calibration(*models: str) -> Calibration:
    """An LLR of 20 times the mean cosine less 0.5, at every duration: a cosine of 0.5 is even odds."""
    weights = (20.0 / len(models),) * len(models)
    return Calibration(models, weights, -10.0, 0.0, (0.0,) * len(models), 1.0, 10.0, 2.0, 0.5)


THRESHOLDS = Thresholds(
    pack_ref="VOICEID_THRESHOLD_PACK_V1@3",
    cohort="test",
    provisional=False,
    policy=POLICY,
    prune=calibration(PRUNE),
    fused=calibration(VERIFY, PRUNE),
)
EVIDENCE = Evidence(
    audio_seconds=4.0,
    voiced_seconds=3.0,
    lost_seconds=0.0,
    snr_db=25.0,
    clipped_ratio=0.0,
    overlap_ratio=0.0,
    replay_similarity=0.1,
    spoof=v1.SPOOF_LIVENESS_STATUS_LOW,
)


def cosine(posterior: float) -> float:
    """The cosine whose posterior is `posterior` under `calibration`."""
    return 0.5 + math.log(posterior / (1 - posterior)) / 20.0


def situation(posteriors: dict[str, float] | None = None, **changes) -> Situation:
    posteriors = {"ann": 0.99, "bob": 0.01} if posteriors is None else posteriors
    found = Situation(
        evidence=EVIDENCE,
        thresholds=THRESHOLDS,
        loaded_models=(PRUNE, VERIFY),
        model_set_hash=b"hash",
        breaker_open=False,
        failure=None,
        enrolled=len(posteriors),
        stage1=tuple(CandidateCosines(user, 2, (cosine(p),)) for user, p in posteriors.items()),
        stage2=tuple(CandidateCosines(user, 2, (cosine(p), cosine(p))) for user, p in posteriors.items()),
        claimed_user_id="",
        device_owner_user_id="",
        earlier_conflicts={},
        decision_latency_seconds=0.012,
    )
    return replace(found, **changes)


def heard(**changes) -> Situation:
    return situation(evidence=replace(EVIDENCE, **changes))


def with_policy(posteriors: dict[str, float] | None = None, *, provisional: bool = False, **changes) -> Situation:
    thresholds = replace(THRESHOLDS, provisional=provisional, policy=replace(POLICY, **changes))
    return situation(posteriors, thresholds=thresholds)


@pytest.mark.parametrize(
    ("posteriors", "tier", "reason", "action"),
    [
        ({"ann": 0.99, "bob": 0.01}, CONFIRMED, v1.VOICE_ID_REASON_MATCH_HIGH, v1.NEXT_ACTION_PROCEED),
        ({"ann": 0.99}, CONFIRMED, v1.VOICE_ID_REASON_MATCH_HIGH, v1.NEXT_ACTION_PROCEED),
        ({"ann": 0.80, "bob": 0.01}, PROBABLE, v1.VOICE_ID_REASON_MATCH_MID, v1.NEXT_ACTION_PROCEED_GENERIC),
        (
            {"ann": 0.99, "bob": 0.95},
            UNKNOWN,
            v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN,
            v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
        ),
        ({"ann": 0.60, "bob": 0.01}, UNKNOWN, v1.VOICE_ID_REASON_SCORE_LOW, v1.NEXT_ACTION_PROCEED_GENERIC),
        ({"ann": 0.02, "bob": 0.01}, UNKNOWN, v1.VOICE_ID_REASON_SCORE_LOW, v1.NEXT_ACTION_PROCEED_GENERIC),
        (
            {"ann": 0.60, "bob": 0.58},
            UNKNOWN,
            v1.VOICE_ID_REASON_PROFILE_MISMATCH,
            v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
        ),
    ],
)
def test_scores_decide_when_nothing_speaks_against_them(posteriors, tier, reason, action):
    decision = decide(situation(posteriors))
    assert (decision.tier, decision.reason, decision.next_action) == (tier, reason, action)
    assert decision.named_user_id == ("ann" if tier != UNKNOWN else "")


def test_score_and_margin_are_told_even_when_nobody_is_named():
    decision = decide(situation({"ann": 0.60, "bob": 0.10}))
    assert decision.score_bp in (5999, 6000)
    assert abs(decision.margin_to_next_bp - 5000) <= 1
    assert decision.candidates == ()


def test_at_most_five_candidates_are_named_best_first():
    posteriors = {"best": 0.99} | {f"u{i}": 0.01 + i / 1000 for i in range(8)}
    assert [one.user_id for one in decide(situation(posteriors)).candidates] == ["best", "u7", "u6", "u5", "u4"]


def confusing(posteriors: dict[str, float], limit: int, *, known: tuple[str, ...] = ("ann", "bob"), **changes):
    """Where ann and bob are known to be taken for each other, as far as their commitments are."""
    thresholds = replace(THRESHOLDS, pairs={frozenset((b"ann", b"bob")): limit})
    commitments = {user: user.encode() for user in posteriors if user in known}
    return situation(posteriors, thresholds=thresholds, commitments=commitments, **changes)


def test_who_is_known_to_be_confused_with_somebody_compared_takes_more_than_others_reached():
    posteriors = {"ann": 0.99, "bob": 0.01}
    score = decide(situation(posteriors)).score_bp
    assert decide(confusing(posteriors, score)).named_user_id == "ann"
    decision = decide(confusing(posteriors, score + 1))
    assert (decision.tier, decision.reason) == (UNKNOWN, v1.VOICE_ID_REASON_PROFILE_MISMATCH)
    assert decision.next_action == v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE and decision.retries_left == 2
    assert decision.score_bp == score and decision.candidates == ()


@pytest.mark.parametrize(
    "free",
    [
        confusing({"ann": 0.99, "eve": 0.01}, 10_000),
        confusing({"ann": 0.99}, 10_000),
        confusing({"eve": 0.99, "ann": 0.01, "bob": 0.01}, 10_000, known=("ann", "bob", "eve")),
        confusing({"ann": 0.99, "bob": 0.01}, 10_000, known=("bob",)),
        confusing({"ann": 0.99, "bob": 0.01}, 10_000, known=("ann",)),
    ],
    ids=["the other is not compared", "alone", "neither is named", "ann was erased", "bob was erased"],
)
def test_a_pair_is_nothing_to_others(free):
    assert decide(free).tier == CONFIRMED


def test_a_pair_binds_a_claim_and_a_decision_of_the_first_stage_too():
    claimed = confusing({"ann": 0.99, "bob": 0.01}, 10_000, claimed_user_id="ann")
    assert decide(claimed).reason == v1.VOICE_ID_REASON_PROFILE_MISMATCH
    sure = replace(claimed.thresholds, policy=replace(POLICY, stage1_high_llr=1.0, stage1_margin_llr=1.0))
    early = decide(replace(claimed, claimed_user_id="", thresholds=sure, stage2=None))
    assert early.stage2_skipped and early.reason == v1.VOICE_ID_REASON_PROFILE_MISMATCH


def test_a_score_that_names_nobody_is_low_whatever_the_pair_takes():
    assert decide(confusing({"ann": 0.60, "bob": 0.01}, 10_000)).reason == v1.VOICE_ID_REASON_SCORE_LOW


NAN = math.nan
FAILING = [
    (heard(spoof=v1.SPOOF_LIVENESS_STATUS_HIGH), v1.VOICE_ID_REASON_SPOOF_RISK),
    (heard(spoof=v1.SPOOF_LIVENESS_STATUS_MEDIUM), v1.VOICE_ID_REASON_SPOOF_RISK),
    (situation(breaker_open=True), v1.VOICE_ID_REASON_BREAKER_OPEN),
    (situation(failure=v1.VOICE_ID_REASON_STORE_UNAVAILABLE), v1.VOICE_ID_REASON_STORE_UNAVAILABLE),
    (situation(failure=v1.VOICE_ID_REASON_MODEL_UNAVAILABLE), v1.VOICE_ID_REASON_MODEL_UNAVAILABLE),
    (situation(failure=v1.VOICE_ID_REASON_MODEL_FAILED), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(failure=v1.VOICE_ID_REASON_MODEL_SLOW), v1.VOICE_ID_REASON_MODEL_SLOW),
    (situation(failure=v1.VOICE_ID_REASON_MATCH_HIGH), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(failure=v1.VOICE_ID_REASON_UNSPECIFIED), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(thresholds=v1.VOICE_ID_REASON_NO_THRESHOLD_PACK), v1.VOICE_ID_REASON_NO_THRESHOLD_PACK),
    (situation(thresholds=v1.VOICE_ID_REASON_SETTING_AMBIGUOUS), v1.VOICE_ID_REASON_SETTING_AMBIGUOUS),
    (situation(thresholds=v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH), v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH),
    (situation(thresholds=v1.VOICE_ID_REASON_MATCH_HIGH), v1.VOICE_ID_REASON_NO_THRESHOLD_PACK),
    (situation(loaded_models=(PRUNE,)), v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH),
    (situation(loaded_models=(PRUNE, "campplus@2")), v1.VOICE_ID_REASON_PACK_MODEL_MISMATCH),
    (heard(voiced_seconds=0.0), v1.VOICE_ID_REASON_NO_SPEECH),
    (heard(voiced_seconds=0.99), v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH),
    (heard(voiced_seconds=NAN), v1.VOICE_ID_REASON_INSUFFICIENT_SPEECH),
    (heard(voiced_seconds=math.inf), v1.VOICE_ID_REASON_MODEL_FAILED),
    (heard(clipped_ratio=0.011), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(clipped_ratio=NAN), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(lost_seconds=0.041), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(lost_seconds=NAN), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(audio_seconds=NAN), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(snr_db=NAN), v1.VOICE_ID_REASON_QUALITY_LOW),
    (with_policy(min_snr_db=26.0), v1.VOICE_ID_REASON_QUALITY_LOW),
    (heard(spoof=v1.SPOOF_LIVENESS_STATUS_NOT_CHECKED), v1.VOICE_ID_REASON_MODEL_FAILED),
    (heard(spoof=v1.SPOOF_LIVENESS_STATUS_UNSPECIFIED), v1.VOICE_ID_REASON_MODEL_FAILED),
    (heard(replay_similarity=NAN), v1.VOICE_ID_REASON_MODEL_FAILED),
    (heard(overlap_ratio=0.021), v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP),
    (heard(overlap_ratio=NAN), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation({}), v1.VOICE_ID_REASON_NOT_ENROLLED),
    (situation(claimed_user_id="eve"), v1.VOICE_ID_REASON_NOT_ENROLLED),
    (situation(stage1=()), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(stage2=None), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(stage2=situation({"ann": 0.99}).stage2), v1.VOICE_ID_REASON_MODEL_FAILED),
    (situation(stage1=(CandidateCosines("ann", 1, (NAN,)),)), v1.VOICE_ID_REASON_MODEL_FAILED),
    (
        situation(stage2=(CandidateCosines("ann", 1, (0.9, 0.9)), CandidateCosines("bob", 1, (0.1, NAN)))),
        v1.VOICE_ID_REASON_MODEL_FAILED,
    ),
]


@pytest.mark.parametrize(("broken", "reason"), FAILING)
def test_whatever_is_wrong_is_unknown_with_its_reason_and_names_nobody(broken, reason):
    decision = decide(broken)
    assert (decision.tier, decision.reason) == (UNKNOWN, reason)
    assert decision.candidates == ()
    assert not to_v1(decision).candidate_set
    assert not to_v2(decision, may_prompt=False).candidate_set


def test_a_spoof_is_not_hidden_by_what_else_is_wrong():
    broken = replace(
        situation(breaker_open=True, failure=v1.VOICE_ID_REASON_MODEL_FAILED),
        evidence=replace(EVIDENCE, spoof=v1.SPOOF_LIVENESS_STATUS_HIGH, voiced_seconds=0.0),
        thresholds=v1.VOICE_ID_REASON_NO_THRESHOLD_PACK,
    )
    decision = decide(broken)
    assert (decision.conflict_state, decision.next_action) == (v1.CONFLICT_STATE_SPOOF_RISK, v1.NEXT_ACTION_STEP_UP)


@pytest.mark.parametrize(
    ("spoof", "overlap", "owner", "state"),
    [
        (v1.SPOOF_LIVENESS_STATUS_MEDIUM, 0.5, "bob", v1.CONFLICT_STATE_SPOOF_RISK),
        (v1.SPOOF_LIVENESS_STATUS_LOW, 0.5, "bob", v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP),
        (v1.SPOOF_LIVENESS_STATUS_LOW, 0.0, "bob", v1.CONFLICT_STATE_DEVICE_OWNER_MISMATCH),
        (v1.SPOOF_LIVENESS_STATUS_LOW, 0.0, "", v1.CONFLICT_STATE_PROFILE_MISMATCH),
    ],
)
def test_when_several_conflicts_apply_the_first_of_the_table_does(spoof, overlap, owner, state):
    close = {"ann": 0.60, "eve": 0.59, "bob": 0.005}
    evidence = replace(EVIDENCE, spoof=spoof, overlap_ratio=overlap)
    assert decide(situation(close, evidence=evidence, device_owner_user_id=owner)).conflict_state == state


def test_overlap_that_is_not_measured_and_a_spoof_check_that_is_not_required_do_not_stop_a_decision():
    assert decide(heard(overlap_ratio=None)).tier == CONFIRMED
    unchecked = replace(EVIDENCE, spoof=v1.SPOOF_LIVENESS_STATUS_NOT_CHECKED)
    assert decide(replace(with_policy(require_spoof_check=False), evidence=unchecked)).tier == CONFIRMED


@pytest.mark.parametrize(
    ("owner", "posteriors", "reason"),
    [
        ("ann", {"ann": 0.99, "bob": 0.01}, v1.VOICE_ID_REASON_MATCH_HIGH),
        ("bob", {"ann": 0.99, "bob": 0.02}, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH),
        ("bob", {"ann": 0.80, "bob": 0.02}, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH),
        # Not enrolled, so nothing is known of the owner's voice but that it is not this one.
        ("eve", {"ann": 0.99, "bob": 0.02}, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH),
        ("eve", {"ann": 0.30, "bob": 0.02}, v1.VOICE_ID_REASON_SCORE_LOW),
        # A stranger: nobody is near, the owner least of all.
        ("bob", {"ann": 0.30, "bob": 0.005}, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH),
        # Doubtful is not divergent.
        ("ann", {"ann": 0.40, "bob": 0.01}, v1.VOICE_ID_REASON_SCORE_LOW),
        ("bob", {"ann": 0.99, "bob": 0.95}, v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN),
    ],
)
def test_the_owner_of_the_device_is_held_against_the_voice(owner, posteriors, reason):
    assert decide(situation(posteriors, device_owner_user_id=owner)).reason == reason


@pytest.mark.parametrize(
    ("posteriors", "tier", "reason"),
    [
        ({"ann": 0.99, "bob": 0.01}, CONFIRMED, v1.VOICE_ID_REASON_MATCH_HIGH),
        ({"ann": 0.80, "bob": 0.01}, PROBABLE, v1.VOICE_ID_REASON_MATCH_MID),
        ({"ann": 0.40, "bob": 0.01}, UNKNOWN, v1.VOICE_ID_REASON_SCORE_LOW),
        ({"ann": 0.96, "bob": 0.99}, UNKNOWN, v1.VOICE_ID_REASON_GRAY_ZONE_MARGIN),
        ({"ann": 0.40, "bob": 0.99}, UNKNOWN, v1.VOICE_ID_REASON_PROFILE_MISMATCH),
    ],
)
def test_a_claim_is_decided_on_the_claimed_user(posteriors, tier, reason):
    decision = decide(situation(posteriors, claimed_user_id="ann"))
    assert (decision.tier, decision.reason) == (tier, reason)
    assert decision.score_bp in (round(posteriors["ann"] * 10_000), round(posteriors["ann"] * 10_000) - 1)
    assert [one.user_id for one in decision.candidates] == (["ann"] if tier != UNKNOWN else [])


def test_a_conflict_that_stays_unresolved_ends_in_its_escalation():
    close = {"ann": 0.60, "bob": 0.58}
    reasons = []
    for before in range(3):
        decision = decide(situation(close, earlier_conflicts={v1.CONFLICT_STATE_PROFILE_MISMATCH: before}))
        reasons.append((decision.reason, decision.next_action, decision.retries_left))
    assert reasons == [
        (v1.VOICE_ID_REASON_PROFILE_MISMATCH, v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE, 2),
        (v1.VOICE_ID_REASON_PROFILE_MISMATCH, v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE, 1),
        (v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED, v1.NEXT_ACTION_RE_ENROLL, 0),
    ]


@pytest.mark.parametrize(
    ("posteriors", "reason", "skipped"),
    [
        ({"ann": 0.9999, "bob": 0.01}, v1.VOICE_ID_REASON_MATCH_HIGH, True),
        ({"ann": 0.0001, "bob": 0.00005}, v1.VOICE_ID_REASON_SCORE_LOW, True),
        ({"ann": 0.99, "bob": 0.01}, v1.VOICE_ID_REASON_MODEL_FAILED, False),
    ],
)
def test_only_a_decisive_first_stage_does_without_the_second(posteriors, reason, skipped):
    decision = decide(replace(with_policy(posteriors, **STAGE1_LIMITS), stage2=None))
    assert (decision.reason, decision.stage2_skipped) == (reason, skipped)
    assert to_v1(decision).telemetry.stage2_skipped == skipped
    assert list(to_v1(decision).provenance.models) == ([PRUNE] if skipped else [VERIFY, PRUNE])


def test_a_provisional_pack_confirms_nobody_in_either_generation():
    decision = decide(with_policy(provisional=True))
    answer, shadow = to_v1(decision), to_v2(decision, may_prompt=True)
    assert (decision.tier, decision.reason) == (PROBABLE, v1.VOICE_ID_REASON_PACK_PROVISIONAL)
    assert (answer.decision, shadow.identity_tier) == (v1.DECISION_OK, PROBABLE)
    assert answer.provenance.provisional
    assert answer.next_action == v1.NEXT_ACTION_PROCEED_GENERIC


def test_both_messages_carry_the_whole_decision():
    decision = decide(situation())
    one, two = to_v1(decision), to_v2(decision, may_prompt=True)
    assert one.provenance == v1.Provenance(
        models=[VERIFY, PRUNE],
        model_set_hash=b"hash",
        threshold_pack="VOICEID_THRESHOLD_PACK_V1@3",
        cohort="test",
        conf_high_bp=9500,
        conf_mid_bp=7000,
    )
    assert one.telemetry == v1.Telemetry(
        audio=Duration(seconds=4),
        voiced=Duration(seconds=3),
        snr_db=25.0,
        lost=Duration(),
        replay_similarity=0.1,
        decision_latency=Duration(nanos=12_000_000),
        candidates_after_prune=2,
    )
    assert [candidate.user_id for candidate in one.candidate_set] == ["ann", "bob"]
    assert one.candidate_set[0].cosines == pytest.approx([cosine(0.99)] * 2)
    assert one.candidate_set[0].llr == pytest.approx(math.log(99))
    shared = {field.name for field in one.DESCRIPTOR.fields} & {field.name for field in two.DESCRIPTOR.fields}
    assert len(shared) == 10
    assert all(getattr(one, name) == getattr(two, name) for name in shared)


@pytest.mark.parametrize(
    ("posterior", "granted", "told"),
    [(0.99, True, False), (0.80, True, True), (0.80, False, False), (0.10, True, True), (0.10, False, False)],
)
def test_a_prompt_is_told_only_when_granted_and_never_to_a_confirmed_speaker(posterior, granted, told):
    answer = to_v2(decide(situation({"ann": posterior})), may_prompt=granted)
    assert answer.may_prompt_identity is told


RATIO = st.floats(0.0, 1.0)
WILD = st.floats()
POSTERIOR = st.floats(0.001, 0.999)


@given(
    low=POSTERIOR,
    high=POSTERIOR,
    other=POSTERIOR,
    owner=st.sampled_from(["", "ann"]),
    claimed=st.sampled_from(["", "ann"]),
    provisional=st.booleans(),
    two_stages=st.booleans(),
)
def test_a_nearer_voice_never_lowers_the_tier(low, high, other, owner, claimed, provisional, two_stages):
    tiers = []
    for posterior in sorted((low, high)):
        found = with_policy(
            {"ann": posterior, "bob": other}, provisional=provisional, **({} if two_stages else STAGE1_LIMITS)
        )
        decision = decide(replace(found, device_owner_user_id=owner, claimed_user_id=claimed))
        tiers.append(RISE[decision.tier] if decision.named_user_id in ("", "ann") else 0)
    assert tiers[0] <= tiers[1]


@given(
    cosines=st.lists(st.tuples(WILD, WILD), max_size=5),
    voiced=WILD,
    clipped=WILD,
    overlap=st.one_of(st.none(), WILD),
    snr=WILD,
    spoof=st.sampled_from([*v1.SpoofLivenessStatus.values(), 9]),
    owner=st.sampled_from(["", "u0", "u1", "nobody"]),
    claimed=st.sampled_from(["", "u0", "u1", "nobody"]),
    latency=WILD,
)
def test_any_input_has_a_decision_and_only_sound_ones_name(
    cosines, voiced, clipped, overlap, snr, spoof, owner, claimed, latency
):
    people = [CandidateCosines(f"u{i}", 1, pair) for i, pair in enumerate(cosines)]
    found = situation(
        evidence=replace(
            EVIDENCE, voiced_seconds=voiced, clipped_ratio=clipped, overlap_ratio=overlap, snr_db=snr, spoof=spoof
        ),
        enrolled=len(people),
        stage1=tuple(replace(one, cosines=one.cosines[1:]) for one in people),
        stage2=tuple(people),
        device_owner_user_id=owner,
        claimed_user_id=claimed,
        decision_latency_seconds=latency,
    )
    decision = decide(found)
    answer = to_v1(decision)
    assert answer.decision == ladder.v2_to_v1(decision.tier)
    assert bool(decision.candidates) == (decision.tier != UNKNOWN)
    if decision.candidates:
        assert spoof == v1.SPOOF_LIVENESS_STATUS_LOW
        assert POLICY.min_voiced_seconds <= voiced < math.inf
        assert all(math.isfinite(value) for pair in cosines for value in pair)
        assert decision.score_bp >= POLICY.conf_mid_bp
        assert decision.margin_to_next_bp >= POLICY.min_margin_bp
        assert owner in ("", decision.named_user_id)
        assert claimed in ("", decision.named_user_id)


@given(ann=POSTERIOR, bob=POSTERIOR)
def test_the_gray_zone_never_names(ann, bob):
    decision = decide(situation({"ann": ann, "bob": bob}))
    if decision.margin_to_next_bp < POLICY.min_margin_bp:
        assert decision.tier == UNKNOWN
        assert decision.candidates == ()


@given(ann=POSTERIOR, bob=POSTERIOR, provisional=st.booleans())
def test_v2_follows_v1_by_the_mapping_and_the_provisional_cap(ann, bob, provisional):
    decision = decide(with_policy({"ann": ann, "bob": bob}, provisional=provisional))
    answer = to_v1(decision)
    mapped = ladder.v1_to_v2(answer.decision, answer.score_bp, POLICY.conf_high_bp, POLICY.conf_mid_bp)
    assert decision.tier == ladder.cap_provisional(mapped, provisional=provisional)
