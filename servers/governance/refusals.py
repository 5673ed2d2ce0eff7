"""Refusals that only this owner gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selene.common.v1 import error_reason_pb2 as reasons
from selene.governance.v1.decision_pb2 import Gate
from selene.governance.v1.rollout_pb2 import Arm, KpiWindow, Rollout, RolloutState

from servers.governance import trail
from servers.governance.approvals import OwnWork
from servers.runtime.errors import Refusal


def gate_blocked(missing: Iterable[Gate], open_defects: Sequence[str]) -> Refusal:
    """GATE_BLOCKED, with the gates in their order, and the open defects that hold the artifact."""
    names = ",".join(Gate.Name(gate).removeprefix("GATE_") for gate in missing)
    held = trail.told_defects(open_defects)
    return Refusal(reasons.ERROR_REASON_GATE_BLOCKED, "a gate has not passed", missing=names, **held)


def bundle_complete() -> Refusal:
    """GATE_BLOCKED, for a report that comes too late: what people permitted is not exchanged under their hands."""
    return Refusal(reasons.ERROR_REASON_GATE_BLOCKED, "the gate bundle is complete already", missing="")


def own_work(cause: OwnWork) -> Refusal:
    """OWN_WORK_REFUSED."""
    return Refusal(reasons.ERROR_REASON_OWN_WORK_REFUSED, "nobody vouches for their own work", cause=cause.value)


def rollout_state(rollout: Rollout) -> Refusal:
    """ROLLOUT_STATE_REFUSED."""
    return Refusal(
        reasons.ERROR_REASON_ROLLOUT_STATE_REFUSED,
        "where the rollout stands does not allow it",
        rollout_id=rollout.rollout_id,
        state=RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_"),
    )


def superseded() -> Refusal:
    """ROLLOUT_STATE_REFUSED, for a candidate that would be a step back."""
    return Refusal(
        reasons.ERROR_REASON_ROLLOUT_STATE_REFUSED, "a version that is not older serves already", state="SUPERSEDED"
    )


def frozen(artifact_id: str, revocation_id: str) -> Refusal:
    """ARTIFACT_FROZEN."""
    return Refusal(
        reasons.ERROR_REASON_ARTIFACT_FROZEN,
        "a revocation of consent froze the artifact",
        artifact_id=artifact_id,
        revocation_id=revocation_id,
    )


def no_target(artifact_type: str) -> Refusal:
    """ROLLBACK_TARGET_MISSING."""
    return Refusal(
        reasons.ERROR_REASON_ROLLBACK_TARGET_MISSING, "there is no version to return to", artifact_type=artifact_type
    )


def window_overlaps(window: KpiWindow) -> Refusal:
    """KPI_WINDOW_OVERLAPS."""
    return Refusal(
        reasons.ERROR_REASON_KPI_WINDOW_OVERLAPS,
        "a window of this side and cohort covers a part of that time already",
        arm=Arm.Name(window.arm).removeprefix("ARM_"),
        cohort=window.cohort,
    )
