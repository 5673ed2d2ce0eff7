"""The conflict table of §38.5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid.conflict import ConflictOutcome, outcome

SPOOF, OVERLAP = v1.CONFLICT_STATE_SPOOF_RISK, v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP
OWNER, PROFILE = v1.CONFLICT_STATE_DEVICE_OWNER_MISMATCH, v1.CONFLICT_STATE_PROFILE_MISMATCH
UNRESOLVED = v1.VOICE_ID_REASON_CONFLICT_UNRESOLVED


@pytest.mark.parametrize(
    ("state", "before", "action", "left", "reason"),
    [
        (SPOOF, 0, v1.NEXT_ACTION_STEP_UP, 0, v1.VOICE_ID_REASON_SPOOF_RISK),
        (SPOOF, 1, v1.NEXT_ACTION_LOCK_AND_REVIEW, 0, UNRESOLVED),
        (OVERLAP, 0, v1.NEXT_ACTION_RETRY_SINGLE_SPEAKER, 1, v1.VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP),
        (OVERLAP, 1, v1.NEXT_ACTION_NON_PERSONALIZED, 0, UNRESOLVED),
        (OWNER, 0, v1.NEXT_ACTION_CONFIRM_OWNERSHIP, 1, v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH),
        (OWNER, 1, v1.NEXT_ACTION_OWNERSHIP_DISPUTE, 0, UNRESOLVED),
        (PROFILE, 0, v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE, 2, v1.VOICE_ID_REASON_PROFILE_MISMATCH),
        (PROFILE, 1, v1.NEXT_ACTION_RETRY_CHALLENGE_PHRASE, 1, v1.VOICE_ID_REASON_PROFILE_MISMATCH),
        (PROFILE, 2, v1.NEXT_ACTION_RE_ENROLL, 0, UNRESOLVED),
        (PROFILE, 9, v1.NEXT_ACTION_RE_ENROLL, 0, UNRESOLVED),
    ],
)
def test_each_conflict_has_its_action_its_retries_and_its_escalation(state, before, action, left, reason):
    assert outcome(state, {state: before}) == ConflictOutcome(state, action, left, reason)


def test_retries_of_one_conflict_are_not_spent_by_another():
    assert outcome(OWNER, {OVERLAP: 5, PROFILE: 5}).reason == v1.VOICE_ID_REASON_DEVICE_OWNER_MISMATCH


@given(state=st.sampled_from([SPOOF, OVERLAP, OWNER, PROFILE]), before=st.integers(0, 20))
def test_a_conflict_is_retried_a_bounded_number_of_times(state, before):
    now, later = outcome(state, {state: before}), outcome(state, {state: before + 1})
    assert 0 <= later.retries_left <= now.retries_left <= 2
    assert outcome(state, {state: 2}).reason == UNRESOLVED
