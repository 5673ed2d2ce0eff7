"""The confidence ladder (VID.CONF.2), the mapping between decision generations (VID.CONF.8), the gray zone (§38.2).

Thresholds are never written here: they arrive in the active threshold pack, in basis points of the same-speaker
posterior. Below ``conf_mid_bp`` nothing may be claimed about who is speaking.
"""

from dataclasses import dataclass

from selene.voiceid.v1.voiceid_pb2 import (
    DECISION_OK,
    DECISION_UNKNOWN,
    VOICE_ID_REASON_MATCH_HIGH,
    VOICE_ID_REASON_MATCH_MID,
    VOICE_ID_REASON_PACK_PROVISIONAL,
    VOICE_ID_REASON_SCORE_LOW,
    Decision,
    VoiceIdReason,
)
from selene.voiceid.v2.voiceid_pb2 import (
    IDENTITY_TIER_CONFIRMED,
    IDENTITY_TIER_PROBABLE,
    IDENTITY_TIER_UNKNOWN,
    IdentityTier,
)


@dataclass(frozen=True, slots=True)
class Rung:
    """Where a score stands on the ladder, and why."""

    tier: IdentityTier
    reason: VoiceIdReason


def tier_of_score(score_bp: int, conf_high_bp: int, conf_mid_bp: int) -> IdentityTier:
    """VID.CONF.2: A `score >= CONF_HIGH`, B `CONF_MID <= score < CONF_HIGH`, C `score < CONF_MID`."""
    if score_bp < conf_mid_bp:
        return IDENTITY_TIER_UNKNOWN
    return IDENTITY_TIER_CONFIRMED if score_bp >= conf_high_bp else IDENTITY_TIER_PROBABLE


def v1_to_v2(decision: Decision, score_bp: int, conf_high_bp: int, conf_mid_bp: int) -> IdentityTier:
    """VID.CONF.8, the four rules: only an OK climbs the ladder, and an OK below CONF_MID is UNKNOWN all the same."""
    if decision != DECISION_OK:
        return IDENTITY_TIER_UNKNOWN
    return tier_of_score(score_bp, conf_high_bp, conf_mid_bp)


def v2_to_v1(tier: IdentityTier) -> Decision:
    """What V1 says of a tier: OK for whoever may be named."""
    return DECISION_OK if tier in (IDENTITY_TIER_CONFIRMED, IDENTITY_TIER_PROBABLE) else DECISION_UNKNOWN


def in_gray_zone(margin_bp: int, min_margin_bp: int) -> bool:
    """§38.2: too close to the next candidate to say which of the two it is."""
    return margin_bp < min_margin_bp


def cap_provisional(tier: IdentityTier, *, provisional: bool) -> IdentityTier:
    """VID-11: with a pack of too few trials CONFIRMED is treated as PROBABLE."""
    return IDENTITY_TIER_PROBABLE if provisional and tier == IDENTITY_TIER_CONFIRMED else tier


REASONS = {
    IDENTITY_TIER_CONFIRMED: VOICE_ID_REASON_MATCH_HIGH,
    IDENTITY_TIER_PROBABLE: VOICE_ID_REASON_MATCH_MID,
    IDENTITY_TIER_UNKNOWN: VOICE_ID_REASON_SCORE_LOW,
}


def climb(score_bp: int, conf_high_bp: int, conf_mid_bp: int, *, provisional: bool) -> Rung:
    """The rung of a score that nothing else speaks against."""
    earned = tier_of_score(score_bp, conf_high_bp, conf_mid_bp)
    granted = cap_provisional(earned, provisional=provisional)
    return Rung(granted, REASONS[earned] if granted == earned else VOICE_ID_REASON_PACK_PROVISIONAL)
