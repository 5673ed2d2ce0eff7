"""Who may have a lease, row by row (§26)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.kms.v1 import kms_pb2 as kms

from servers.kms.access import Access, Evaluation, Standing, evaluate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, NOW_DUE = NOW + timedelta(microseconds=1), NOW
PROD, DEV, STAGE = kms.ENVIRONMENT_PROD, kms.ENVIRONMENT_DEV, kms.ENVIRONMENT_STAGE


def access(
    *,
    owner: str = "PH1.C",
    known: bool = True,
    environment: kms.Environment = PROD,
    revoked: bool = False,
    rotate_by: datetime = LATER,
    backend: bool = True,
) -> Access:
    standing = Standing(environment, revoked, rotate_by, ("PH1.A", "PH1.C")) if known else None
    return Access(owner, standing, backend, NOW)


def denied(reason: kms.AccessReason, *, overdue: bool = False) -> Evaluation:
    return Evaluation(kms.ACCESS_OUTCOME_DENY, reason, overdue)


def allowed(*, overdue: bool = False) -> Evaluation:
    return Evaluation(kms.ACCESS_OUTCOME_ALLOW, kms.ACCESS_REASON_GRANTED, overdue)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (access(), allowed()),
        (access(owner="PH1.A"), allowed()),
        (access(known=False), denied(kms.ACCESS_REASON_HANDLE_UNKNOWN)),
        (access(known=False, backend=False), denied(kms.ACCESS_REASON_HANDLE_UNKNOWN)),
        (access(owner="PH1.D"), denied(kms.ACCESS_REASON_NO_GRANT)),
        (access(owner="PH1.D", revoked=True), denied(kms.ACCESS_REASON_NO_GRANT)),
        (access(owner=""), denied(kms.ACCESS_REASON_NO_GRANT)),
        (access(revoked=True), denied(kms.ACCESS_REASON_SECRET_REVOKED)),
        (access(revoked=True, rotate_by=NOW_DUE), denied(kms.ACCESS_REASON_SECRET_REVOKED, overdue=True)),
        (access(rotate_by=NOW_DUE), denied(kms.ACCESS_REASON_ROTATION_OVERDUE, overdue=True)),
        (access(rotate_by=NOW_DUE, environment=DEV), allowed(overdue=True)),
        (access(rotate_by=NOW_DUE, environment=STAGE), allowed(overdue=True)),
        (access(backend=False), denied(kms.ACCESS_REASON_BACKEND_UNAVAILABLE)),
    ],
)
def test_the_first_row_that_applies_decides(asked: Access, expected: Evaluation) -> None:
    assert evaluate(asked) == expected


@given(
    owner=st.sampled_from(["PH1.C", "PH1.D"]),
    known=st.booleans(),
    environment=st.sampled_from([DEV, STAGE, PROD]),
    revoked=st.booleans(),
    overdue=st.booleans(),
    backend=st.booleans(),
)
def test_a_lease_needs_everything_at_once(
    owner: str, known: bool, environment: kms.Environment, revoked: bool, overdue: bool, backend: bool
) -> None:
    found = evaluate(
        access(
            owner=owner,
            known=known,
            environment=environment,
            revoked=revoked,
            rotate_by=NOW_DUE if overdue else LATER,
            backend=backend,
        )
    )
    may = known and owner == "PH1.C" and not revoked and backend and not (overdue and environment == PROD)
    assert (found.outcome == kms.ACCESS_OUTCOME_ALLOW) == may
    assert (found.reason == kms.ACCESS_REASON_GRANTED) == may
