"""Migration of the decision contract, per tenant (VID.CONF.8, VID-1): what each stage emits and refuses.

Which generation is read is for whoever reads the decisions to obey. Both are audited at every stage, so that M1 has
its shadow.
"""

from dataclasses import dataclass

from selene.voiceid.v1.voiceid_pb2 import (
    MIGRATION_STAGE_M0,
    MIGRATION_STAGE_M1,
    MIGRATION_STAGE_M2,
    MIGRATION_STAGE_M3,
    MigrationStage,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One stage. A service that does not serve refuses with CONTRACT_STAGE_REFUSED."""

    v1_serves: bool
    v2_serves: bool
    v1_beside_v2: bool


STAGES = {
    MIGRATION_STAGE_M0: Row(v1_serves=True, v2_serves=False, v1_beside_v2=False),
    MIGRATION_STAGE_M1: Row(v1_serves=True, v2_serves=True, v1_beside_v2=True),
    MIGRATION_STAGE_M2: Row(v1_serves=True, v2_serves=True, v1_beside_v2=True),
    MIGRATION_STAGE_M3: Row(v1_serves=False, v2_serves=True, v1_beside_v2=False),
}
ORDER = tuple(STAGES)
REFUSE_ALL = Row(v1_serves=False, v2_serves=False, v1_beside_v2=False)


def stage_row(stage: MigrationStage) -> Row:
    """The row of a stage; a stage that is none serves nothing (ALL-1)."""
    return STAGES.get(stage, REFUSE_ALL)


def may_move(present: MigrationStage, wanted: MigrationStage) -> bool:
    """A tenant moves one stage at a time, forward or back."""
    return present in ORDER and wanted in ORDER and abs(ORDER.index(present) - ORDER.index(wanted)) == 1
