"""Idempotency of mutations (ALL-4): a key is claimed in the transaction that does the work and answers for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import select, update

from store.access import Reads, Writes
from store.errors import IdempotencyConflict
from store.schema import idempotency

Field = bool | int | str | bytes | None | Sequence["Field"] | AbstractSet["Field"] | Mapping[str, "Field"]


def request_hash(*fields: Field) -> bytes:
    """SHA-256 of the canonical encoding of `fields`, 32 bytes. Pure.

    Every value is a tag, an 8-byte big-endian length and its bytes; sets and mappings are sorted by encoding, so
    neither order nor a shifted field boundary can make two requests look alike. Floats are refused: TypeError.
    """
    return hashlib.sha256(_encode(fields)).digest()


def _encode(value: Field) -> bytes:
    match value:
        case None:
            return _tagged(b"n", b"")
        case bool():
            return _tagged(b"b", b"\x01" if value else b"\x00")
        case int():
            return _tagged(b"i", str(value).encode())
        case str():
            return _tagged(b"s", value.encode())
        case bytes() | bytearray() | memoryview():
            return _tagged(b"y", bytes(value))
        case Mapping():
            return _tagged(b"m", b"".join(sorted(_encode(key) + _encode(item) for key, item in value.items())))
        case AbstractSet():
            return _tagged(b"u", b"".join(sorted(_encode(item) for item in value)))
        case Sequence():
            return _tagged(b"l", b"".join(_encode(item) for item in value))
    raise TypeError(f"{type(value).__name__} has no canonical encoding")


def _tagged(tag: bytes, content: bytes) -> bytes:
    return tag + len(content).to_bytes(8, "big") + content


async def answered(reads: Reads, tenant_id: str, method: str, key: str, request_hash: bytes) -> bytes | None:
    """The stored response to this key, None where there is none. IdempotencyConflict where it is to other content."""
    found = select(idempotency.c.request_hash, idempotency.c.response).where(*_is(tenant_id, method, key))
    for row in await reads.rows(found):
        if row.request_hash != request_hash:
            raise IdempotencyConflict(method, key)
        return bytes(row.response) if row.response is not None else None
    return None


class Claims:
    """The idempotency keys that one transaction claimed."""

    def __init__(self, writes: Writes) -> None:
        self._writes = writes
        self.unanswered: set[tuple[str, str, str]] = set()

    async def claim(self, tenant_id: str, method: str, key: str, request_hash: bytes) -> bytes | None:
        """The stored response of an earlier request, or None where this transaction is the first and must `remember`.

        A duplicate running at the same moment waits here for the first to commit or to fail.
        IdempotencyConflict where the key stands for other content.
        """
        claim = (
            self._writes.insert(idempotency)
            .values(
                tenant_id=tenant_id,
                method=method,
                key=key,
                request_hash=request_hash,
                response=None,
                created_at=self._writes.clock.now(),
            )
            .on_conflict_do_nothing()
            .returning(idempotency.c.key)
        )
        if (await self._writes.write(claim)).rows:
            self.unanswered.add((tenant_id, method, key))
            return None
        return await answered(self._writes, tenant_id, method, key, request_hash)

    async def remember(self, tenant_id: str, method: str, key: str, response: bytes) -> None:
        """Answer the claim: every later request with this key and content gets these bytes. ValueError if unclaimed."""
        if (tenant_id, method, key) not in self.unanswered:
            raise ValueError(f"idempotency key {key!r} of {method} was not claimed by this transaction")
        await self._writes.write(update(idempotency).where(*_is(tenant_id, method, key)).values(response=response))
        self.unanswered.discard((tenant_id, method, key))


def _is(tenant_id: str, method: str, key: str) -> tuple[Any, ...]:
    return (idempotency.c.tenant_id == tenant_id, idempotency.c.method == method, idempotency.c.key == key)
