"""Fingerprints of a subject's own earlier audio, kept to notice a replay (VID-14). Sealed; only the newest are kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select

from store.access import Reads, Writes
from store.errors import KeyDestroyed
from store.schema import fingerprints
from store.vault import Vault, VaultReader

FINGERPRINT_PURPOSE = "voiceid.fingerprint"


class FingerprintsReader:
    """Reading fingerprints."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

    async def all(self, tenant_id: str, user_id: str) -> list[bytes]:
        """Every kept fingerprint, newest first, opened. SealBroken, WrongMasterKey."""
        chosen = select(fingerprints.c.sealed).where(*_of(tenant_id, user_id))
        rows = await self._reads.rows(chosen.order_by(fingerprints.c.fingerprint_id.desc()))
        if not rows:
            return []
        try:
            key = await self._opener.key(tenant_id, user_id)
        except KeyDestroyed:
            return []
        # A fingerprint that raced with a revocation may lie under the key destroyed then: it no longer counts.
        readable = (row for row in rows if key.sealed_it(bytes(row.sealed)))
        return [key.open(FINGERPRINT_PURPOSE, bytes(row.sealed)) for row in readable]


class Fingerprints(FingerprintsReader):
    """Adding inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault

    async def add(self, tenant_id: str, user_id: str, fingerprint: bytes, *, keep: int) -> None:
        """Seal and keep one more, and drop all but the newest `keep`."""
        sealed = await self._vault.seal(tenant_id, user_id, FINGERPRINT_PURPOSE, fingerprint)
        added = self._writes.insert(fingerprints).values(
            tenant_id=tenant_id,
            user_id=user_id,
            fingerprint_id=self._writes.ids.new(),
            sealed=sealed,
            created_at=self._writes.clock.now(),
        )
        await self._writes.write(added)
        newest = select(fingerprints.c.fingerprint_id).where(*_of(tenant_id, user_id))
        newest = newest.order_by(fingerprints.c.fingerprint_id.desc()).limit(keep)
        old = fingerprints.c.fingerprint_id.not_in(newest)
        await self._writes.write(delete(fingerprints).where(*_of(tenant_id, user_id), old))


def _of(tenant_id: str, user_id: str) -> tuple[Any, ...]:
    return (fingerprints.c.tenant_id == tenant_id, fingerprints.c.user_id == user_id)
