"""Secrets and their versions: one is active, those before it live out their overlap, then nothing of them is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from selene.kms.v1.kms_pb2 import (
    SECRET_STATE_ACTIVE,
    SECRET_STATE_OVERLAPPING,
    SECRET_STATE_RETIRED,
    SECRET_STATE_REVOKED,
    Environment,
    SecretState,
)
from sqlalchemy import Row, Select, and_, select, update

from store.access import Reads, Writes
from store.errors import NotFound
from store.kms.lease import Leases
from store.schema import kms_secrets, kms_versions
from store.vault import Vault

PURPOSE = "kms.secret"
NOTHING_SEALED = b""


@dataclass(frozen=True, slots=True)
class Secret:
    """What is known of a secret; `state`, `put_at` and `rotate_by` are those of the newest version.

    `overlap_until`: until when leases of the version before live on.
    """

    handle: str
    environment: Environment
    version: int
    state: SecretState
    put_at: datetime
    rotate_by: datetime
    overlap_until: datetime | None
    granted_owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a secret, by name; `backend_version` where another backend keeps it."""

    handle: str
    version: int
    backend_version: int | None = None


@dataclass(frozen=True, slots=True)
class KeptElsewhere:
    """In place of a secret: the number under which another backend keeps it, from 1."""

    backend_version: int


def key_name(handle: str, version: int) -> str:
    """The name under which the vault keeps the data key of a version."""
    return f"{handle}@{version}"


class SecretsReader:
    """Reading what is known; never a secret."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, handle: str) -> Secret | None:
        """The secret of this handle."""
        rows = await self._reads.rows(_known().where(kms_secrets.c.handle == handle))
        return _secret(rows[0]) if rows else None

    async def page(self, *, after: str = "", limit: int = 100) -> list[Secret]:
        """Up to `limit` secrets whose handle sorts after `after`, by handle."""
        chosen = _known().where(kms_secrets.c.handle > after).order_by(kms_secrets.c.handle).limit(limit)
        return [_secret(row) for row in await self._reads.rows(chosen)]

    async def undestroyed(self, handle: str | None = None, *, limit: int = 1000) -> list[Version]:
        """Retired and revoked versions, of one secret or of all, that another backend still keeps; by handle."""
        over = select(kms_versions.c.handle, kms_versions.c.version, kms_versions.c.backend_version).where(
            kms_versions.c.state.in_((SECRET_STATE_RETIRED, SECRET_STATE_REVOKED)),
            kms_versions.c.backend_version.is_not(None),
        )
        if handle is not None:
            over = over.where(kms_versions.c.handle == handle)
        rows = await self._reads.rows(over.order_by(kms_versions.c.handle, kms_versions.c.version).limit(limit))
        return [Version(row.handle, row.version, row.backend_version) for row in rows]


class Secrets(SecretsReader):
    """Changing inside a transaction; the caller audits. Each change locks the secret first."""

    def __init__(self, writes: Writes, vault: Vault, leases: Leases) -> None:
        super().__init__(writes)
        self._writes = writes
        self._vault = vault
        self._leases = leases

    async def locked(self, handle: str) -> Secret | None:
        """`get`, and nobody else puts, revokes or leases this secret until the transaction ends."""
        await self._writes.rows(select(kms_secrets.c.handle).where(kms_secrets.c.handle == handle).with_for_update())
        return await self.get(handle)

    async def put(
        self,
        handle: str,
        secret: bytes | KeptElsewhere,
        *,
        environment: Environment,
        granted_owners: Sequence[str],
        now: datetime,
        rotate_by: datetime,
        overlap_until: datetime,
    ) -> Secret:
        """The first version, or the next one: leases of the version before live until `overlap_until`."""
        empty = self._writes.insert(kms_secrets).values(
            handle=handle, environment=environment, version=0, granted_owners=[]
        )
        await self._writes.write(empty.on_conflict_do_nothing())
        before = await self._newest(handle)
        await self._writes.write(
            update(kms_secrets)
            .where(kms_secrets.c.handle == handle)
            .values(environment=environment, version=before + 1, granted_owners=sorted(granted_owners))
        )
        replaced = update(kms_versions).where(
            kms_versions.c.handle == handle, kms_versions.c.state == SECRET_STATE_ACTIVE
        )
        await self._writes.write(replaced.values(state=SECRET_STATE_OVERLAPPING, overlap_until=overlap_until))
        if isinstance(secret, KeptElsewhere):
            kept = {"sealed": NOTHING_SEALED, "backend_version": secret.backend_version}
        else:
            kept = {"sealed": await self._vault.seal("", key_name(handle, before + 1), PURPOSE, secret)}
        made = self._writes.insert(kms_versions).values(
            handle=handle,
            version=before + 1,
            state=SECRET_STATE_ACTIVE,
            put_at=now,
            rotate_by=rotate_by,
            overlap_until=None,
            **kept,
        )
        await self._writes.write(made)
        return await self._present(handle)

    async def retire_due(self, now: datetime, handle: str | None = None) -> list[Version]:
        """Retire every version whose overlap is over, of one secret or of all, and destroy what the store keeps of it.

        What another backend keeps is `undestroyed` from then on.
        """
        due = select(kms_versions.c.handle, kms_versions.c.version).where(
            kms_versions.c.state == SECRET_STATE_OVERLAPPING, kms_versions.c.overlap_until <= now
        )
        if handle is not None:
            due = due.where(kms_versions.c.handle == handle)
        rows = await self._writes.rows(due.order_by(kms_versions.c.handle, kms_versions.c.version).with_for_update())
        for row in rows:
            await self._destroy(row.handle, row.version, SECRET_STATE_RETIRED)
            await self._leases.end_all(row.handle, now, version=row.version)
        return [Version(row.handle, row.version) for row in rows]

    async def revoke(self, handle: str, now: datetime) -> tuple[Secret, int]:
        """End every version and every lease at once and destroy what the store keeps; how many leases ended. NotFound.

        What another backend keeps is `undestroyed` from then on.
        """
        await self._newest(handle)
        living = select(kms_versions.c.version).where(
            kms_versions.c.handle == handle,
            kms_versions.c.state.in_((SECRET_STATE_ACTIVE, SECRET_STATE_OVERLAPPING)),
        )
        for row in await self._writes.rows(living.order_by(kms_versions.c.version).with_for_update()):
            await self._destroy(handle, row.version, SECRET_STATE_REVOKED)
        ended = await self._leases.end_all(handle, now)
        return await self._present(handle), ended

    async def destroyed(self, version: Version) -> bool:
        """The other backend keeps this version no more; False where that was known."""
        kept = update(kms_versions).where(
            kms_versions.c.handle == version.handle,
            kms_versions.c.version == version.version,
            kms_versions.c.backend_version.is_not(None),
        )
        return (await self._writes.write(kept.values(backend_version=None))).count > 0

    async def _newest(self, handle: str) -> int:
        """The newest version's number, locked; 0 before the first. NotFound."""
        found = select(kms_secrets.c.version).where(kms_secrets.c.handle == handle).with_for_update()
        rows = await self._writes.rows(found)
        if not rows:
            raise NotFound("no secret was put under this handle")
        return int(rows[0].version)

    async def _present(self, handle: str) -> Secret:
        present = await self.get(handle)
        if present is None:
            raise NotFound("no secret was put under this handle")
        return present

    async def _destroy(self, handle: str, version: int, state: SecretState) -> None:
        await self._vault.destroy("", key_name(handle, version))
        changed = update(kms_versions).where(kms_versions.c.handle == handle, kms_versions.c.version == version)
        await self._writes.write(changed.values(state=state, sealed=NOTHING_SEALED))


def _known() -> Select[Any]:
    """Every secret with its newest version, and the overlap of the version before."""
    newest, before = kms_versions.alias("newest"), kms_versions.alias("before")
    return (
        select(
            kms_secrets,
            newest.c.state,
            newest.c.put_at,
            newest.c.rotate_by,
            before.c.state.label("state_before"),
            before.c.overlap_until,
        )
        .join(newest, and_(newest.c.handle == kms_secrets.c.handle, newest.c.version == kms_secrets.c.version))
        .outerjoin(before, and_(before.c.handle == newest.c.handle, before.c.version == newest.c.version - 1))
    )


def _secret(row: Row[Any]) -> Secret:
    overlaps = row.state_before == SECRET_STATE_OVERLAPPING
    return Secret(
        handle=row.handle,
        environment=row.environment,
        version=row.version,
        state=row.state,
        put_at=row.put_at,
        rotate_by=row.rotate_by,
        overlap_until=row.overlap_until if overlaps else None,
        granted_owners=tuple(row.granted_owners),
    )
