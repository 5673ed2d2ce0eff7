"""Who may give a permission (§12): two people, neither of whom proposed what they permit. A consumption proof is of
neither the one nor the other (§19).

Policy and privacy are no permissions but statements, of what only a person can know; nor is either the proposer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from enum import StrEnum
from typing import Final

from selene.governance.v1.decision_pb2 import (
    APPROVAL_KIND_CODE,
    APPROVAL_KIND_LAUNCH,
    APPROVAL_KIND_POLICY,
    APPROVAL_KIND_PRIVACY,
    ApprovalKind,
)

KINDS: Final = (APPROVAL_KIND_CODE, APPROVAL_KIND_LAUNCH)
STATEMENTS: Final = (APPROVAL_KIND_POLICY, APPROVAL_KIND_PRIVACY)


class OwnWork(StrEnum):
    """Why somebody may not give a permission, or a proof."""

    PROPOSER = "PROPOSER"
    APPROVER = "APPROVER"


def own_work(
    approver: str, kind: ApprovalKind, *, proposers: Set[str], given: Mapping[ApprovalKind, str]
) -> OwnWork | None:
    """Why this person may not give this permission; None where they may.

    People are named alike everywhere: `given` holds who gave which permission already.
    """
    if approver in proposers:
        return OwnWork.PROPOSER
    if kind in KINDS and any(given.get(other) == approver for other in KINDS if other != kind):
        return OwnWork.APPROVER
    return None


def own_proof(consumer: str, *, proposers: Set[str], given: Mapping[ApprovalKind, str]) -> OwnWork | None:
    """Why whoever this is may not prove that an artifact is consumed (§19); None where they may."""
    if consumer in proposers:
        return OwnWork.PROPOSER
    return OwnWork.APPROVER if consumer in given.values() else None


def distinct(given: Mapping[ApprovalKind, str], proposers: Set[str]) -> frozenset[ApprovalKind]:
    """The permissions that count: none by a proposer, and of two by one person only the first of `KINDS`."""
    counted: dict[ApprovalKind, str] = {}
    for kind in KINDS:
        who = given.get(kind)
        if who is not None and own_work(who, kind, proposers=proposers, given=counted) is None:
            counted[kind] = who
    return frozenset(counted)


def stated(given: Iterable[tuple[ApprovalKind, str]], proposers: Set[str]) -> frozenset[ApprovalKind]:
    """The statements that count: none by a proposer, whenever they proposed."""
    return frozenset(kind for kind, who in given if kind in STATEMENTS and who not in proposers)
