"""Who may have a lease (§26): a table, read from the top; what no row denies is allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from selene.kms.v1 import kms_pb2 as kms


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a secret: everything that an access rests on."""

    environment: kms.Environment
    revoked: bool
    rotate_by: datetime
    granted_owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """An owner that asks for a lease. `secret` is None for a handle that nothing was put under."""

    owner: str
    secret: Standing | None
    backend_available: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of it. `overdue` also where the environment lets an overdue secret pass."""

    outcome: kms.AccessOutcome
    reason: kms.AccessReason
    overdue: bool


OVERDUE_DENIED: Final = frozenset({kms.ENVIRONMENT_PROD})
"""Where a secret past its rotation gets no more leases; elsewhere it is only reported."""


def _unknown(access: Access) -> bool:
    return access.secret is None


def _not_granted(access: Access) -> bool:
    return access.secret is not None and access.owner not in access.secret.granted_owners


def _revoked(access: Access) -> bool:
    return access.secret is not None and access.secret.revoked


def _overdue(access: Access) -> bool:
    return access.secret is not None and access.secret.rotate_by <= access.now


def _overdue_here(access: Access) -> bool:
    return _overdue(access) and access.secret is not None and access.secret.environment in OVERDUE_DENIED


def _backend_gone(access: Access) -> bool:
    return not access.backend_available


DENIALS: Final[tuple[tuple[Callable[[Access], bool], kms.AccessReason], ...]] = (
    (_unknown, kms.ACCESS_REASON_HANDLE_UNKNOWN),
    # Before anything about the secret: who has no grant learns nothing of it.
    (_not_granted, kms.ACCESS_REASON_NO_GRANT),
    (_revoked, kms.ACCESS_REASON_SECRET_REVOKED),
    (_overdue_here, kms.ACCESS_REASON_ROTATION_OVERDUE),
    (_backend_gone, kms.ACCESS_REASON_BACKEND_UNAVAILABLE),
)


def evaluate(access: Access) -> Evaluation:
    """The first row of `DENIALS` that applies, or GRANTED."""
    for applies, reason in DENIALS:
        if applies(access):
            return Evaluation(kms.ACCESS_OUTCOME_DENY, reason, _overdue(access))
    return Evaluation(kms.ACCESS_OUTCOME_ALLOW, kms.ACCESS_REASON_GRANTED, _overdue(access))
