"""Identity conflicts (§38.5, VID-7): each has one action, a number of retries and one way to end.

What enters a conflict is checked in `decision`, in the order of this table: when several apply, the first does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selene.voiceid.v1.voiceid_pb2 import (
    CONFLICT_STATE_DEVICE_OWNER_MISMATCH,
    CONFLICT_STATE_MULTI_SPEAKER_OVERLAP,
    CONFLICT_STATE_PROFILE_MISMATCH,
    CONFLICT_STATE_SPOOF_RISK,
    NEXT_ACTION_CONFIRM_OWNERSHIP,
    NEXT_ACTION_LOCK_AND_REVIEW,
    NEXT_ACTION_NON_PERSONALIZED,
    NEXT_ACTION_OWNERSHIP_DISPUTE,
    NEXT_ACTION_RE_ENROLL,
    NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
    NEXT_ACTION_RETRY_SINGLE_SPEAKER,
    NEXT_ACTION_STEP_UP,
    VOICE_ID_REASON_CONFLICT_UNRESOLVED,
    VOICE_ID_REASON_DEVICE_OWNER_MISMATCH,
    VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP,
    VOICE_ID_REASON_PROFILE_MISMATCH,
    VOICE_ID_REASON_SPOOF_RISK,
    ConflictState,
    NextAction,
    VoiceIdReason,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of §38.5."""

    state: ConflictState
    reason: VoiceIdReason
    max_retries: int
    action: NextAction
    escalation: NextAction


TABLE = (
    Row(
        CONFLICT_STATE_SPOOF_RISK,
        VOICE_ID_REASON_SPOOF_RISK,
        0,
        NEXT_ACTION_STEP_UP,
        NEXT_ACTION_LOCK_AND_REVIEW,
    ),
    Row(
        CONFLICT_STATE_MULTI_SPEAKER_OVERLAP,
        VOICE_ID_REASON_MULTI_SPEAKER_OVERLAP,
        1,
        NEXT_ACTION_RETRY_SINGLE_SPEAKER,
        NEXT_ACTION_NON_PERSONALIZED,
    ),
    Row(
        CONFLICT_STATE_DEVICE_OWNER_MISMATCH,
        VOICE_ID_REASON_DEVICE_OWNER_MISMATCH,
        1,
        NEXT_ACTION_CONFIRM_OWNERSHIP,
        NEXT_ACTION_OWNERSHIP_DISPUTE,
    ),
    Row(
        CONFLICT_STATE_PROFILE_MISMATCH,
        VOICE_ID_REASON_PROFILE_MISMATCH,
        2,
        NEXT_ACTION_RETRY_CHALLENGE_PHRASE,
        NEXT_ACTION_RE_ENROLL,
    ),
)
STATES = {row.reason: row.state for row in TABLE}


@dataclass(frozen=True, slots=True)
class ConflictOutcome:
    """What a conflict comes to. The decision is UNKNOWN whatever it says (state-machine hard rule)."""

    state: ConflictState
    next_action: NextAction
    retries_left: int
    reason: VoiceIdReason


def outcome(state: ConflictState, earlier: Mapping[ConflictState, int]) -> ConflictOutcome:
    """The outcome of being in `state`, given how often this session was in each state before without resolving it.

    Every time after the first is the result of a retry. Where none is allowed (SPOOF_RISK) the first time still asks
    for the step-up, and being there again is unresolved.
    """
    row = next(row for row in TABLE if row.state == state)
    before = earlier.get(state, 0)
    if before >= max(1, row.max_retries):
        return ConflictOutcome(state, row.escalation, 0, VOICE_ID_REASON_CONFLICT_UNRESOLVED)
    return ConflictOutcome(state, row.action, row.max_retries - before, row.reason)
