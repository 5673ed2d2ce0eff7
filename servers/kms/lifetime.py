"""How long leases, overlaps and secrets last (§26)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from selene.kms.v1 import kms_pb2 as kms

DEFAULT_LEASE: Final = timedelta(minutes=5)
LONGEST_LEASE: Final = timedelta(minutes=60)

ROTATED_EVERY: Final[Mapping[kms.Environment, timedelta]] = MappingProxyType(
    {
        kms.ENVIRONMENT_DEV: timedelta(days=7),
        kms.ENVIRONMENT_STAGE: timedelta(days=7),
        kms.ENVIRONMENT_PROD: timedelta(days=30),
    }
)


def lease_ttl(asked: timedelta | None) -> timedelta:
    """What was asked for, at most the longest; the default where nothing was."""
    return DEFAULT_LEASE if asked is None else _bounded(asked)


def overlap(asked: timedelta | None) -> timedelta:
    """How long leases of a replaced version live on: the longest lease where nothing was asked for."""
    return LONGEST_LEASE if asked is None else _bounded(asked)


def rotate_by(environment: kms.Environment, put_at: datetime) -> datetime:
    """By when a secret must be replaced. KeyError for an environment that is none."""
    return put_at + ROTATED_EVERY[environment]


def _bounded(asked: timedelta) -> timedelta:
    return min(max(asked, timedelta(0)), LONGEST_LEASE)
