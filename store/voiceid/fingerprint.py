"""Fingerprints of a subject's own earlier audio, kept to notice a replay (VID-14). Sealed; only the newest are kept.

Those of clips, which the subject was enrolled from, are counted apart: however much is said later drops none of them.
"""

from __future__ import annotations

from sqlalchemy import Integer, bindparam, delete, insert, select

from store.access import Reads, Writes
from store.errors import KeyDestroyed
from store.schema import fingerprints
from store.vault import Vault, VaultReader

FINGERPRINT_PURPOSE = "voiceid.fingerprint"


_OF = (fingerprints.c.tenant_id == bindparam("tenant"), fingerprints.c.user_id == bindparam("user"))
_ALL = select(fingerprints.c.sealed).where(*_OF).order_by(fingerprints.c.fingerprint_id.desc())
_ADD = insert(fingerprints)
_ALIKE = (*_OF, fingerprints.c.of_clip == bindparam("of_clip"))
_NEWEST = select(fingerprints.c.fingerprint_id).where(*_ALIKE).order_by(fingerprints.c.fingerprint_id.desc())
_DROP_OLD = delete(fingerprints).where(
    *_ALIKE, fingerprints.c.fingerprint_id.not_in(_NEWEST.limit(bindparam("keep", type_=Integer)))
)


class FingerprintsReader:
    """Reading fingerprints."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

    async def all(self, tenant_id: str, user_id: str) -> list[bytes]:
        """Every kept fingerprint, newest first, opened. SealBroken, WrongMasterKey."""
        rows = await self._reads.rows(_ALL, {"tenant": tenant_id, "user": user_id})
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

    async def add(self, tenant_id: str, user_id: str, fingerprint: bytes, *, keep: int, of_clip: bool = False) -> None:
        """Seal and keep one more, and drop all but the newest `keep` of its kind: clips, or what was said later."""
        sealed = await self._vault.seal(tenant_id, user_id, FINGERPRINT_PURPOSE, fingerprint)
        added = {
            "tenant_id": tenant_id,
            "user_id": user_id,
            "fingerprint_id": self._writes.ids.new(),
            "sealed": sealed,
            "created_at": self._writes.clock.now(),
            "of_clip": int(of_clip),
        }
        await self._writes.write(_ADD, added)
        alike = {"tenant": tenant_id, "user": user_id, "of_clip": int(of_clip)}
        await self._writes.write(_DROP_OLD, {**alike, "keep": keep})
