"""How long leases, overlaps and secrets last (§26)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from selene.kms.v1 import kms_pb2 as kms

from servers.kms.lifetime import lease_ttl, overlap, rotate_by

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("asked", "lasts"),
    [
        (None, 5 * MINUTE),
        (MINUTE, MINUTE),
        (60 * MINUTE, 60 * MINUTE),
        (61 * MINUTE, 60 * MINUTE),
        (-MINUTE, 0 * MINUTE),
    ],
)
def test_a_lease_lasts_five_minutes_and_an_hour_at_most(asked: timedelta | None, lasts: timedelta) -> None:
    assert lease_ttl(asked) == lasts


@pytest.mark.parametrize(
    ("asked", "lasts"), [(None, 60 * MINUTE), (0 * MINUTE, 0 * MINUTE), (MINUTE, MINUTE), (61 * MINUTE, 60 * MINUTE)]
)
def test_an_overlap_covers_the_longest_lease_unless_less_is_asked_for(
    asked: timedelta | None, lasts: timedelta
) -> None:
    assert overlap(asked) == lasts


@pytest.mark.parametrize(
    ("environment", "due"),
    [
        (kms.ENVIRONMENT_DEV, datetime(2026, 1, 8, tzinfo=UTC)),
        (kms.ENVIRONMENT_STAGE, datetime(2026, 1, 8, tzinfo=UTC)),
        (kms.ENVIRONMENT_PROD, datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_production_rotates_every_thirty_days_the_others_every_seven(
    environment: kms.Environment, due: datetime
) -> None:
    assert rotate_by(environment, START) == due


def test_an_environment_that_is_none_has_no_rotation() -> None:
    with pytest.raises(KeyError):
        rotate_by(kms.ENVIRONMENT_UNSPECIFIED, START)
