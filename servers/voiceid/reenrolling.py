"""Telling a user to enrol again, with a decision that names them (§38.6). When drift may ask for it is governance's."""

from __future__ import annotations

from datetime import datetime

from selene.voiceid.v2.service_pb2 import FinalDecision, ReEnrollmentCause

from store import Transaction


async def tell(tx: Transaction, tenant_id: str, user_id: str, now: datetime, final: FinalDecision) -> None:
    """Put into a decision what its user is to be told now, if there is anything. Then it is told, if this is kept."""
    asked = await tx.voiceid.reenrollments.tell(tenant_id, user_id, now)
    if asked is not None:
        final.re_enrollment.user_id = asked.user_id
        final.re_enrollment.cause = asked.cause  # type: ignore[assignment]  # the contract's own number
        final.re_enrollment.asked_at.FromDatetime(asked.asked_at)


def reason_of(cause: int) -> str:
    """How the trail calls it: as it calls the breach. A newer governance may know causes that this server does not."""
    known = cause in ReEnrollmentCause.values()
    return f"DRIFT_{ReEnrollmentCause.Name(cause).removeprefix('RE_ENROLLMENT_CAUSE_')}" if known else "DRIFT_OTHER"
