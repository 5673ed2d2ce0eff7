"""Leases: the right of one owner to use one version of a secret for a while, and the reference that redeems it.

The reference holds an HMAC of the lease id under a key derived from the master key: it is never stored, and making the
same lease again gives the same one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from selene.kms.v1.kms_pb2 import SECRET_STATE_ACTIVE, SECRET_STATE_OVERLAPPING, SECRET_STATE_REVOKED, SecretState
from sqlalchemy import and_, bindparam, delete, select, update

from store.access import Reads, Writes
from store.errors import StoreError
from store.schema import kms_leases, kms_versions

REFERENCE = re.compile(r"lease://([A-Za-z0-9-]{1,64})/([A-Za-z0-9_-]{43})")


class LeaseFault(StrEnum):
    """Why a lease cannot be redeemed."""

    NOT_A_LEASE = "NOT_A_LEASE"
    """Not a reference that this deployment gave out."""
    REVOKED = "REVOKED"
    """The secret was revoked."""
    ENDED = "ENDED"
    """Ended before its time."""
    EXPIRED = "EXPIRED"
    """Its time is over."""
    VERSION_GONE = "VERSION_GONE"
    """The version was replaced and its overlap is over."""
    KEPT_ELSEWHERE = "KEPT_ELSEWHERE"
    """Another backend keeps the version, which the store cannot ask."""


class LeaseRefused(StoreError):
    """The lease gives no secret. The text names the fault and nothing of the reference.

    `leased` is the lease, where the reference was one.
    """

    def __init__(self, fault: LeaseFault, leased: Leased | None = None) -> None:
        super().__init__(fault.value)
        self.fault = fault
        self.leased = leased


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was made, when it was ended before its time, and how often it was redeemed since `redeemed_at`."""

    lease_id: str
    handle: str
    version: int
    owner: str
    issued_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    redeemed_at: datetime | None = None
    redemptions: int = 0

    @property
    def ends_at(self) -> datetime:
        """When it ends, or ended."""
        return self.expires_at if self.ended_at is None else min(self.ended_at, self.expires_at)


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease with the version that it was made of, as redeeming needs them: read at one instant.

    `backend_version` is the version's number in the backend that keeps it; None where the store does.
    """

    lease_id: str
    handle: str
    version: int
    owner: str
    expires_at: datetime
    ended_at: datetime | None
    state: SecretState
    overlap_until: datetime | None
    backend_version: int | None
    sealed: bytes = field(repr=False)


def reference(lease_id: str, key: bytes) -> str:
    """`lease://<lease id>/<HMAC-SHA256 in url-safe base64>`. Pure."""
    return f"lease://{lease_id}/{_token(lease_id, key)}"


def proved(lease_ref: str, keys: Sequence[bytes]) -> str:
    """The lease id of a reference that one of `keys` made; compared in constant time. Pure. LeaseRefused."""
    parts = REFERENCE.fullmatch(lease_ref)
    if parts is None:
        raise LeaseRefused(LeaseFault.NOT_A_LEASE)
    lease_id, token = parts.groups()
    if not any(hmac.compare_digest(_token(lease_id, key), token) for key in keys):
        raise LeaseRefused(LeaseFault.NOT_A_LEASE)
    return lease_id


def _token(lease_id: str, key: bytes) -> str:
    digest = hmac.new(key, lease_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def refused(leased: Leased | None, now: datetime) -> LeaseFault | None:
    """Why this lease gives nothing now; None where it gives the secret. Pure; the first row that applies."""
    if leased is None:
        return LeaseFault.NOT_A_LEASE
    if leased.state == SECRET_STATE_REVOKED:
        return LeaseFault.REVOKED
    if leased.ended_at is not None:
        return LeaseFault.ENDED
    if leased.expires_at <= now:
        return LeaseFault.EXPIRED
    if leased.state == SECRET_STATE_ACTIVE:
        return None
    until = leased.overlap_until
    overlaps = leased.state == SECRET_STATE_OVERLAPPING and until is not None and until > now
    return None if overlaps else LeaseFault.VERSION_GONE


# Made once: a provider that is called redeems, and making the statement takes longer than running it.
_LEASED = (
    select(
        kms_leases,
        kms_versions.c.state,
        kms_versions.c.overlap_until,
        kms_versions.c.backend_version,
        kms_versions.c.sealed,
    )
    .join(
        kms_versions,
        and_(kms_versions.c.handle == kms_leases.c.handle, kms_versions.c.version == kms_leases.c.version),
    )
    .where(kms_leases.c.lease_id == bindparam("lease"))
)


class LeasesReader:
    """Reading leases."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, lease_id: str) -> Lease | None:
        """The lease of this id."""
        rows = await self._reads.rows(select(kms_leases).where(kms_leases.c.lease_id == lease_id))
        return _lease(rows[0]) if rows else None

    async def leased(self, lease_id: str) -> Leased | None:
        """The lease and its version, in one read."""
        for row in await self._reads.rows(_LEASED, {"lease": lease_id}):
            return Leased(
                lease_id=row.lease_id,
                handle=row.handle,
                version=row.version,
                owner=row.owner,
                expires_at=row.expires_at,
                ended_at=row.ended_at,
                state=row.state,
                overlap_until=row.overlap_until,
                backend_version=row.backend_version,
                sealed=bytes(row.sealed),
            )
        return None


class Leases(LeasesReader):
    """Making and ending inside a transaction; the caller audits, and has locked the secret that it leases."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def issue(self, lease: Lease) -> None:
        """Keep a new lease. Conflict where its id is taken."""
        made = self._writes.insert(kms_leases).values(
            lease_id=lease.lease_id,
            handle=lease.handle,
            version=lease.version,
            owner=lease.owner,
            issued_at=lease.issued_at,
            expires_at=lease.expires_at,
            ended_at=None,
        )
        await self._writes.write(made)

    async def end(self, lease_id: str, now: datetime) -> tuple[Lease, bool] | None:
        """End a lease: the lease as it ended, and whether it was still running. None where there is none."""
        rows = await self._writes.rows(select(kms_leases).where(kms_leases.c.lease_id == lease_id).with_for_update())
        if not rows:
            return None
        running = rows[0].ended_at is None and rows[0].expires_at > now
        if running:
            ended = update(kms_leases).where(kms_leases.c.lease_id == lease_id).values(ended_at=now)
            rows = (await self._writes.write(ended.returning(*kms_leases.c))).rows
        return _lease(rows[0]), running

    async def end_all(self, handle: str, now: datetime, *, version: int | None = None) -> int:
        """End every running lease of a secret, or of one version of it; how many there were."""
        running = update(kms_leases).where(
            kms_leases.c.handle == handle, kms_leases.c.ended_at.is_(None), kms_leases.c.expires_at > now
        )
        if version is not None:
            running = running.where(kms_leases.c.version == version)
        return (await self._writes.write(running.values(ended_at=now))).count

    async def first_redeemed(self, lease_id: str, now: datetime) -> bool:
        """Note the first redemption of a lease; False where it was redeemed before, and then nothing is written."""
        unused = update(kms_leases).where(kms_leases.c.lease_id == lease_id, kms_leases.c.redeemed_at.is_(None))
        return (await self._writes.write(unused.values(redeemed_at=now, redemptions=1))).count > 0

    async def count_redemptions(self, counts: Mapping[str, int]) -> None:
        """Add to how often leases were redeemed, by lease id; what was purged is counted no more."""
        for lease_id in sorted(counts):
            more = kms_leases.c.redemptions + counts[lease_id]
            counted = update(kms_leases).where(kms_leases.c.lease_id == lease_id).values(redemptions=more)
            await self._writes.write(counted)

    async def purge(self, before: datetime) -> int:
        """Forget leases that had run out by `before`; how many."""
        return (await self._writes.write(delete(kms_leases).where(kms_leases.c.expires_at <= before))).count


def _lease(row: Any) -> Lease:
    return Lease(
        lease_id=row.lease_id,
        handle=row.handle,
        version=row.version,
        owner=row.owner,
        issued_at=row.issued_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
        redeemed_at=row.redeemed_at,
        redemptions=row.redemptions,
    )
