"""Per-subject keys: what is sealed under one can be erased for good by destroying it (§38.12).

Each (tenant, subject) has a 256-bit data key and a 256-bit commitment salt, wrapped together by the master key
(AES-256-GCM). Sealed bytes: version(1) || key id(16) || nonce(12) || ciphertext and tag; the additional data is
tenant, subject and purpose, length-prefixed, so that sealed bytes open only where they belong.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Integer, bindparam, delete, func, select, update

from store.access import Reads, Writes, for_dialects
from store.errors import KeyDestroyed, SealBroken
from store.keys import KEY_BYTES, MasterKeys
from store.schema import subject_keys

VERSION = b"\x01"
KEY_ID_BYTES = 16
NONCE_BYTES = 12
HEADER_BYTES = len(VERSION) + KEY_ID_BYTES + NONCE_BYTES
WRAP_PURPOSE = "subject-key"
AT_ONCE = 500
"""Keys of one look-up: what a statement binds stays below every database's limit."""

Entropy = Callable[[int], bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class SubjectKey:
    """An unwrapped subject key. Never logged, never stored."""

    tenant_id: str
    subject_id: str
    key_id: bytes
    data_key: bytes
    salt: bytes

    def sealing(self, purpose: str) -> Sealing:
        """For sealing and opening many of one purpose."""
        return Sealing(self, purpose)

    def seal(self, purpose: str, plaintext: bytes, nonce: bytes) -> bytes:
        """Sealed bytes, 45 longer than `plaintext`. Pure: a nonce must never be given twice."""
        return Sealing(self, purpose).seal(plaintext, nonce)

    def open(self, purpose: str, sealed: bytes) -> bytes:
        """The plaintext. KeyDestroyed where an earlier, destroyed key sealed it; SealBroken."""
        return Sealing(self, purpose).open(sealed)

    def sealed_it(self, sealed: bytes) -> bool:
        """Whether this key, and not an earlier, destroyed one, sealed these bytes."""
        return sealed[1 : 1 + KEY_ID_BYTES] == self.key_id

    def commitment(self, value: bytes) -> bytes:
        """HMAC-SHA256 under the subject's salt, 32 bytes: says nothing about `value` once the key is destroyed."""
        return hmac.new(self.salt, value, hashlib.sha256).digest()


class Sealing:
    """A key for one purpose: what is the same for all that it seals and opens is made once."""

    def __init__(self, key: SubjectKey, purpose: str) -> None:
        self._key = key
        self._cipher = AESGCM(key.data_key)
        self._bound = _bound_to(key.tenant_id, key.subject_id, purpose)
        self._head = VERSION + key.key_id

    def seal(self, plaintext: bytes, nonce: bytes) -> bytes:
        """Sealed bytes, 45 longer than `plaintext`. Pure: a nonce must never be given twice."""
        return self._head + nonce + self._cipher.encrypt(nonce, plaintext, self._bound)

    def seal_alike(self, plaintext: bytes) -> bytes:
        """The same sealed bytes for the same plaintext: the nonce is a commitment to it. Pure."""
        return self.seal(plaintext, self._key.commitment(self._bound + plaintext)[:NONCE_BYTES])

    def open(self, sealed: bytes) -> bytes:
        """The plaintext. KeyDestroyed where an earlier, destroyed key sealed it; SealBroken."""
        if sealed_under(sealed) is None:
            raise SealBroken("not sealed bytes of this version")
        if not self._key.sealed_it(sealed):
            raise KeyDestroyed("sealed under a key that was destroyed")
        try:
            return self._cipher.decrypt(sealed[1 + KEY_ID_BYTES : HEADER_BYTES], sealed[HEADER_BYTES:], self._bound)
        except InvalidTag:
            raise SealBroken("altered, or sealed for another tenant, subject or purpose") from None


def sealed_under(sealed: bytes) -> bytes | None:
    """The id of the key that sealed these bytes, 16 bytes; None for bytes that are not sealed. Pure."""
    if len(sealed) < HEADER_BYTES or not sealed.startswith(VERSION):
        return None
    return sealed[1 : 1 + KEY_ID_BYTES]


def wrap(key: SubjectKey, master_key: bytes, nonce: bytes) -> bytes:
    """nonce(12) || AES-256-GCM of data key and salt."""
    bound = _bound_to(key.tenant_id, key.subject_id, WRAP_PURPOSE) + key.key_id
    return nonce + AESGCM(master_key).encrypt(nonce, key.data_key + key.salt, bound)


def unwrap(tenant_id: str, subject_id: str, key_id: bytes, wrapped: bytes, master_key: bytes) -> SubjectKey:
    """Inverse of `wrap`. SealBroken where the row was altered or moved to another subject."""
    bound = _bound_to(tenant_id, subject_id, WRAP_PURPOSE) + key_id
    try:
        secret = AESGCM(master_key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise SealBroken("the subject's wrapped key was altered") from None
    return SubjectKey(tenant_id, subject_id, key_id, secret[:KEY_BYTES], secret[KEY_BYTES:])


def _bound_to(*parts: str) -> bytes:
    bound = b""
    for part in parts:
        encoded = part.encode()
        bound += len(encoded).to_bytes(4, "big") + encoded
    return bound


_KEY = select(subject_keys).where(
    subject_keys.c.tenant_id == bindparam("tenant"), subject_keys.c.subject_id == bindparam("subject")
)

_WRAPPED = (
    subject_keys.c.subject_id,
    subject_keys.c.key_id,
    subject_keys.c.master_key_id,
    subject_keys.c.wrapped,
)
_KEYS = select(*_WRAPPED).where(
    subject_keys.c.tenant_id == bindparam("tenant"),
    subject_keys.c.subject_id.in_(bindparam("subjects", expanding=True)),
)

_BY_IDS = select(*_WRAPPED).where(
    subject_keys.c.tenant_id == bindparam("tenant"), subject_keys.c.key_id.in_(bindparam("ids", expanding=True))
)
_SUBJECTS = (
    select(subject_keys.c.subject_id)
    .where(
        subject_keys.c.tenant_id == bindparam("tenant"),
        func.substr(subject_keys.c.subject_id, 1, bindparam("length", type_=Integer)) == bindparam("prefix"),
    )
    .order_by(subject_keys.c.subject_id)
)
_DESTROY = (
    delete(subject_keys)
    .where(
        subject_keys.c.tenant_id == bindparam("tenant"),
        subject_keys.c.subject_id.in_(bindparam("subjects", expanding=True)),
    )
    .returning(subject_keys.c.key_id)
)
_NEW_KEY = for_dialects(lambda insert: insert(subject_keys).on_conflict_do_nothing())


class VaultReader:
    """Opening what was sealed."""

    def __init__(self, reads: Reads, master_keys: MasterKeys) -> None:
        self._reads = reads
        self._master_keys = master_keys

    async def key(self, tenant_id: str, subject_id: str) -> SubjectKey:
        """The subject's key, unwrapped. KeyDestroyed where there is none, WrongMasterKey, SealBroken."""
        rows = await self._reads.rows(_KEY, {"tenant": tenant_id, "subject": subject_id})
        if not rows:
            raise KeyDestroyed(f"subject {subject_id!r} has no key")
        return self.unwrapped(tenant_id, subject_id, rows[0])

    async def keys(self, tenant_id: str, subject_ids: Collection[str]) -> dict[str, SubjectKey]:
        """Those that there are of the subjects' keys, by subject. WrongMasterKey, SealBroken."""
        found: dict[str, SubjectKey] = {}
        for some in _chunks(sorted(set(subject_ids))):
            for row in await self._reads.rows(_KEYS, {"tenant": tenant_id, "subjects": some}):
                found[row.subject_id] = self.unwrapped(tenant_id, row.subject_id, row)
        return found

    async def by_ids(self, tenant_id: str, key_ids: Collection[bytes]) -> dict[bytes, SubjectKey]:
        """Those of these keys that were not destroyed, by id. WrongMasterKey, SealBroken."""
        found: dict[bytes, SubjectKey] = {}
        for some in _chunks(sorted(set(key_ids))):
            for row in await self._reads.rows(_BY_IDS, {"tenant": tenant_id, "ids": some}):
                found[bytes(row.key_id)] = self.unwrapped(tenant_id, row.subject_id, row)
        return found

    async def subjects(self, tenant_id: str, prefix: str) -> list[str]:
        """The subjects with a key whose ids begin so, sorted."""
        rows = await self._reads.rows(_SUBJECTS, {"tenant": tenant_id, "prefix": prefix, "length": len(prefix)})
        return [row.subject_id for row in rows]

    async def open_all(self, tenant_id: str, purpose: str, sealed: Sequence[bytes]) -> list[bytes | None]:
        """The plaintexts, each None where its key was destroyed. WrongMasterKey, SealBroken."""
        ids = [sealed_under(one) for one in sealed]
        keys = await self.by_ids(tenant_id, {one for one in ids if one is not None})
        sealings = {key_id: key.sealing(purpose) for key_id, key in keys.items()}
        opened: list[bytes | None] = []
        for one, key_id in zip(sealed, ids, strict=True):
            if key_id is None:
                raise SealBroken("not sealed bytes of this version")
            sealing = sealings.get(key_id)
            opened.append(None if sealing is None else sealing.open(one))
        return opened

    def unwrapped(self, tenant_id: str, subject_id: str, row: Any) -> SubjectKey:
        """The key in a row with `key_id`, `master_key_id` and `wrapped`. WrongMasterKey, SealBroken."""
        master_key = self._master_keys.get(row.master_key_id)
        return unwrap(tenant_id, subject_id, bytes(row.key_id), bytes(row.wrapped), master_key)

    async def open(self, tenant_id: str, subject_id: str, purpose: str, sealed: bytes) -> bytes:
        """The plaintext. KeyDestroyed, WrongMasterKey, SealBroken."""
        return (await self.key(tenant_id, subject_id)).open(purpose, sealed)

    async def check_master_key(self) -> None:
        """WrongMasterKey unless every subject key is wrapped by a master key that was given and fits."""
        ids = await self._reads.rows(select(subject_keys.c.master_key_id).distinct())
        for row in ids:
            self._master_keys.get(row.master_key_id)


class Vault(VaultReader):
    """Sealing, committing and destroying inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, master_keys: MasterKeys, entropy: Entropy = os.urandom) -> None:
        super().__init__(writes, master_keys)
        self._writes = writes
        self._entropy = entropy

    def entropy(self, size: int) -> bytes:
        """That many random bytes, such as nonces for many."""
        return self._entropy(size)

    async def seal(self, tenant_id: str, subject_id: str, purpose: str, plaintext: bytes) -> bytes:
        """Sealed bytes; the subject's key is made on first use."""
        key = await self.key_for(tenant_id, subject_id)
        return key.seal(purpose, plaintext, self._entropy(NONCE_BYTES))

    async def commitment(self, tenant_id: str, subject_id: str, value: bytes) -> bytes:
        """32 bytes that stand for `value` in ledgers; the subject's key is made on first use."""
        return (await self.key_for(tenant_id, subject_id)).commitment(value)

    async def key_for(self, tenant_id: str, subject_id: str) -> SubjectKey:
        """The subject's key, made on first use. Two servers that make it at once agree on one."""
        try:
            return await self.key(tenant_id, subject_id)
        except KeyDestroyed:
            await self._make(tenant_id, subject_id)
            return await self.key(tenant_id, subject_id)

    async def seal_all(self, tenant_id: str, purpose: str, plaintexts: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """`seal` for many pairs of subject and plaintext, in three statements at most."""
        keys = await self.keys_for(tenant_id, {subject_id for subject_id, _ in plaintexts})
        sealings = {subject_id: key.sealing(purpose) for subject_id, key in keys.items()}
        return [
            sealings[subject_id].seal(plaintext, self._entropy(NONCE_BYTES)) for subject_id, plaintext in plaintexts
        ]

    async def keys_for(self, tenant_id: str, subject_ids: Collection[str]) -> dict[str, SubjectKey]:
        """The subjects' keys, made on first use, in three statements at most."""
        keys = await self.keys(tenant_id, subject_ids)
        missing = sorted(set(subject_ids) - keys.keys())
        if missing:
            made = [self._made(tenant_id, subject_id) for subject_id in missing]
            rows = [self._row(key) for key in made]
            written = await self._writes.write(_NEW_KEY[self._writes.dialect], rows)
            if written.count == len(missing):
                return keys | {key.subject_id: key for key in made}
            # Another server made some of them at the same moment, or the driver does not count.
            keys |= await self.keys(tenant_id, missing)
        return keys

    async def destroy(self, tenant_id: str, subject_id: str) -> bool:
        """Crypto-erasure: whatever this key sealed or committed to can never be read or linked again. False if none."""
        destroyed = (await self._writes.write(delete(subject_keys).where(*_is(tenant_id, subject_id)))).count > 0
        self._writes.erased = self._writes.erased or destroyed
        return destroyed

    async def destroy_all(self, tenant_id: str, subject_ids: Collection[str]) -> list[bytes]:
        """`destroy` for many; the ids of the keys that there were, 16 bytes each, sorted."""
        gone: list[bytes] = []
        for some in _chunks(sorted(set(subject_ids))):
            written = await self._writes.write(_DESTROY, {"tenant": tenant_id, "subjects": some})
            gone += [bytes(row.key_id) for row in written.rows]
        self._writes.erased = self._writes.erased or bool(gone)
        return sorted(gone)

    async def rewrap(self, limit: int) -> int:
        """Move up to `limit` subject keys from retired master keys to the active one; 0 when none is left."""
        retired = subject_keys.c.master_key_id != self._master_keys.active_id
        rows = await self._writes.rows(select(subject_keys).where(retired).limit(limit).with_for_update())
        for row in rows:
            key = self.unwrapped(row.tenant_id, row.subject_id, row)
            changed = update(subject_keys).where(*_is(row.tenant_id, row.subject_id))
            await self._writes.write(changed.values(**self._wrapped(key)))
        return len(rows)

    async def _make(self, tenant_id: str, subject_id: str) -> None:
        row = self._row(self._made(tenant_id, subject_id))
        await self._writes.write(_NEW_KEY[self._writes.dialect], row)

    def _made(self, tenant_id: str, subject_id: str) -> SubjectKey:
        secret = self._entropy(2 * KEY_BYTES)
        return SubjectKey(tenant_id, subject_id, self._entropy(KEY_ID_BYTES), secret[:KEY_BYTES], secret[KEY_BYTES:])

    def _row(self, key: SubjectKey) -> dict[str, Any]:
        return {
            "tenant_id": key.tenant_id,
            "subject_id": key.subject_id,
            "key_id": key.key_id,
            "created_at": self._writes.clock.now(),
            **self._wrapped(key),
        }

    def _wrapped(self, key: SubjectKey) -> dict[str, Any]:
        wrapped = wrap(key, self._master_keys.active(), self._entropy(NONCE_BYTES))
        return {"master_key_id": self._master_keys.active_id, "wrapped": wrapped}


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def _is(tenant_id: str, subject_id: str) -> tuple[Any, ...]:
    return (subject_keys.c.tenant_id == tenant_id, subject_keys.c.subject_id == subject_id)
