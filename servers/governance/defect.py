"""What closes a defect at which safety is at stake (§8, path A): proof, and a second person who goes by it."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from selene.governance.v1.decision_pb2 import Check
from selene.governance.v1.defect_pb2 import (
    DEFECT_STATE_CLOSED,
    DEFECT_STATE_FIX_PROPOSED,
    DEFECT_STATE_OPEN,
    DefectFix,
    DefectState,
)

from servers.governance.approvals import OwnWork
from servers.governance.gates import bridged, verified

NAMED: Final = 16
"""How many of the open defects that hold an artifact are told of."""


class Unproved(StrEnum):
    """Why what is named does not prove that a defect is fixed; stable, for programs."""

    REGRESSION_TEST_NOT_PASSED = "REGRESSION_TEST_NOT_PASSED"
    VERIFICATION_NOT_PASSED = "VERIFICATION_NOT_PASSED"
    NOT_LEARNED_FROM_DEFECT = "NOT_LEARNED_FROM_DEFECT"
    FIX_NOT_SERVING = "FIX_NOT_SERVING"


def unproved(fix: DefectFix, learned_from: Collection[str], named_before: Collection[str]) -> Unproved | None:
    """What a fix lacks to be named; `learned_from` are the signals that its pack came from, `named_before` those of the
    defects that it was named for before.

    One of them has to have taught it. What comes while it is rolled out, of the version that it is to replace, can be
    named with it then; a pack that learned from none of them is no fix of theirs.
    """
    if not _passed(fix.regression_test):
        return Unproved.REGRESSION_TEST_NOT_PASSED
    if not (bridged(fix.report) and verified(fix.report.verification)):
        return Unproved.VERIFICATION_NOT_PASSED
    if fix.HasField("artifact") and set(learned_from).isdisjoint({*fix.signal_ids, *named_before}):
        return Unproved.NOT_LEARNED_FROM_DEFECT
    return None


def unfinished(fix: DefectFix, serving: bytes) -> Unproved | None:
    """What a fix that was named lacks to close its defects; `serving` is the hash of what serves everyone there."""
    if fix.HasField("artifact") and fix.artifact.package_hash != serving:
        return Unproved.FIX_NOT_SERVING
    return None


def own_work(closer: str, fix: DefectFix, proposers: Collection[str]) -> OwnWork | None:
    """Why this person may not close it; None where they may. `proposers` are those of the pack that is the fix."""
    return OwnWork.PROPOSER if closer == fix.proposer or closer in proposers else None


def state_of(*, named: bool, closed: bool) -> DefectState:
    """Where a defect stands."""
    if closed:
        return DEFECT_STATE_CLOSED
    return DEFECT_STATE_FIX_PROPOSED if named else DEFECT_STATE_OPEN


def _passed(check: Check) -> bool:
    return check.passed and bool(check.evidence_ref)
