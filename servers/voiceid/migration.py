"""Migration of the decision contract, per tenant (VID.CONF.8, VID-1): what each stage emits, reads and refuses."""

from dataclasses import dataclass

from selene.voiceid.v1.voiceid_pb2 import (
    MIGRATION_STAGE_M0,
    MIGRATION_STAGE_M1,
    MIGRATION_STAGE_M2,
    MIGRATION_STAGE_M3,
    Decision,
    MigrationStage,
)
from selene.voiceid.v2.voiceid_pb2 import IDENTITY_TIER_CONFIRMED, IDENTITY_TIER_UNKNOWN, IdentityTier

from servers.voiceid import ladder


@dataclass(frozen=True, slots=True)
class Row:
    """One stage. A service that does not serve refuses with CONTRACT_STAGE_REFUSED."""

    v1_serves: bool
    v2_serves: bool
    v1_beside_v2: bool
    v2_in_shadow: bool
    v2_is_read: bool


STAGES = {
    MIGRATION_STAGE_M0: Row(v1_serves=True, v2_serves=False, v1_beside_v2=False, v2_in_shadow=False, v2_is_read=False),
    MIGRATION_STAGE_M1: Row(v1_serves=True, v2_serves=True, v1_beside_v2=True, v2_in_shadow=True, v2_is_read=False),
    MIGRATION_STAGE_M2: Row(v1_serves=True, v2_serves=True, v1_beside_v2=True, v2_in_shadow=False, v2_is_read=True),
    MIGRATION_STAGE_M3: Row(v1_serves=False, v2_serves=True, v1_beside_v2=False, v2_in_shadow=False, v2_is_read=True),
}
ORDER = tuple(STAGES)
REFUSE_ALL = Row(v1_serves=False, v2_serves=False, v1_beside_v2=False, v2_in_shadow=False, v2_is_read=False)


def stage_row(stage: MigrationStage) -> Row:
    """The row of a stage; a stage that is none serves nothing (ALL-1)."""
    return STAGES.get(stage, REFUSE_ALL)


def may_move(present: MigrationStage, wanted: MigrationStage) -> bool:
    """A tenant moves one stage at a time, forward or back."""
    return present in ORDER and wanted in ORDER and abs(ORDER.index(present) - ORDER.index(wanted)) == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """A decision in both generations, and the thresholds that it names."""

    decision: Decision
    tier: IdentityTier
    score_bp: int
    conf_high_bp: int
    conf_mid_bp: int
    provisional: bool


def tier_read(stage: MigrationStage, emitted: Emitted) -> IdentityTier:
    """The tier that whoever reads the decision acts on (§35.1): at M0 and M1 derived from V1's score (the
    compatibility guard), from M2 on the one that V2 says. A provisional pack caps both.
    """
    if stage not in STAGES:
        return IDENTITY_TIER_UNKNOWN
    if STAGES[stage].v2_is_read:
        tier = emitted.tier
    else:
        tier = ladder.v1_to_v2(emitted.decision, emitted.score_bp, emitted.conf_high_bp, emitted.conf_mid_bp)
    return ladder.cap_provisional(tier, provisional=emitted.provisional)


def may_personalize(stage: MigrationStage, emitted: Emitted) -> bool:
    """Only CONFIRMED personalises, at every stage (§35.1)."""
    return tier_read(stage, emitted) == IDENTITY_TIER_CONFIRMED
