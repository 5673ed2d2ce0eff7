"""The artifacts ledger (§18): versioned, content-addressed, hash-chained, with ACTIVE and N-1 pointers beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from selene.artifacts.v1.artifacts_pb2 import ArtifactPointer, ArtifactRow, ArtifactStatus
from selene.common.v1.scope_pb2 import Scope
from sqlalchemy import Row, bindparam, delete, func, insert, or_, select

from store.access import Reads, Writes
from store.errors import Conflict, IdempotencyConflict, NotFound
from store.keys import SigningKey
from store.ledger import ARTIFACTS, lock_head, save_head
from store.schema import artifact_payloads, artifact_pointers, artifacts_ledger

PAYLOAD_REF = "store://artifact_payloads/"


@dataclass(frozen=True, slots=True)
class ResolvedArtifact:
    """What a consumer loads: the pointer, the ledger row it points at, and the payload's bytes."""

    pointer: ArtifactPointer
    row: ArtifactRow
    payload: bytes


_POINTERS = (
    select(artifact_pointers)
    .where(
        artifact_pointers.c.artifact_type == bindparam("type"),
        or_(artifact_pointers.c.tenant_id == "", artifact_pointers.c.tenant_id == bindparam("tenant")),
    )
    .order_by(artifact_pointers.c.scope_type, artifact_pointers.c.scope_id, artifact_pointers.c.tenant_id)
)


class ArtifactsReader:
    """Reading the ledger, its payloads and its pointers."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def versions(self, artifact_type: str, tenant_id: str, scope: Scope) -> list[ArtifactRow]:
        """Every version, oldest first."""
        found = select(artifacts_ledger.c.canonical).where(*_line(artifact_type, tenant_id, scope))
        rows = await self._reads.rows(found.order_by(artifacts_ledger.c.artifact_version))
        return [ArtifactRow.FromString(row.canonical) for row in rows]

    async def version(self, artifact_type: str, tenant_id: str, scope: Scope, version: int) -> ArtifactRow:
        """One version. NotFound."""
        found = select(artifacts_ledger.c.canonical).where(*_line(artifact_type, tenant_id, scope))
        rows = await self._reads.rows(found.where(artifacts_ledger.c.artifact_version == version))
        if not rows:
            raise NotFound(f"{artifact_type}@{version}")
        return ArtifactRow.FromString(rows[0].canonical)

    async def of_content(self, artifact_type: str, package_hash: bytes) -> list[ArtifactRow]:
        """Every version of a type with this content, in whichever line, of every tenant and of the deployment."""
        table = artifacts_ledger.c
        found = select(table.canonical).where(table.artifact_type == artifact_type, table.package_hash == package_hash)
        rows = await self._reads.rows(found.order_by(table.tenant_id, table.sequence))
        return [ArtifactRow.FromString(row.canonical) for row in rows]

    async def payload(self, package_hash: bytes) -> bytes:
        """The payload of that SHA-256. NotFound, also where the stored bytes no longer have that hash."""
        found = select(artifact_payloads.c.payload).where(artifact_payloads.c.sha256 == package_hash)
        rows = await self._reads.rows(found)
        if not rows or hashlib.sha256(rows[0].payload).digest() != package_hash:
            raise NotFound(f"{PAYLOAD_REF}{package_hash.hex()}")
        return bytes(rows[0].payload)

    async def pointers(self, artifact_type: str, tenant_id: str) -> list[ArtifactPointer]:
        """Every pointer of a type that may apply to the tenant, the deployment's included: a rule chooses."""
        which = {"type": artifact_type, "tenant": tenant_id}
        return [_pointer(row) for row in await self._reads.rows(_POINTERS, which)]

    async def all_pointers(self, artifact_types: Sequence[str]) -> list[ArtifactPointer]:
        """Every pointer of these types, of every tenant and of the deployment: for who serves them all."""
        found = select(artifact_pointers).where(artifact_pointers.c.artifact_type.in_(artifact_types))
        return [_pointer(row) for row in await self._reads.rows(found)]

    async def pointers_mark(self, artifact_types: Sequence[str]) -> tuple[int, int, datetime | None]:
        """Changes with `all_pointers`, and costs less: how many there are, their versions' sum, the latest move.

        A pointer only ever moves to a higher version.
        """
        table = artifact_pointers.c
        marked = select(
            func.count().label("many"),
            func.sum(table.active_version).label("sum"),
            func.max(table.updated_at).label("at"),
        ).where(table.artifact_type.in_(artifact_types))
        [row] = await self._reads.rows(marked)
        return int(row.many), int(row.sum or 0), row.at

    async def pointer(self, artifact_type: str, tenant_id: str, scope: Scope) -> ArtifactPointer | None:
        """Which version consumers load, or None before the first activation."""
        rows = await self._reads.rows(select(artifact_pointers).where(*_pointed(artifact_type, tenant_id, scope)))
        return _pointer(rows[0]) if rows else None

    async def resolve(self, artifact_types: Sequence[str], tenant_id: str, scope: Scope) -> dict[str, ResolvedArtifact]:
        """The active artifact of each type at exactly this scope; types without one are absent. NotFound if damaged."""
        resolved = {}
        for artifact_type in artifact_types:
            pointer = await self.pointer(artifact_type, tenant_id, scope)
            if pointer is not None:
                row = await self.version(artifact_type, tenant_id, scope, pointer.active_version)
                resolved[artifact_type] = ResolvedArtifact(pointer, row, await self.payload(row.package_hash))
        return resolved


class Artifacts(ArtifactsReader):
    """Registering and activating inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, signing_key: SigningKey) -> None:
        super().__init__(writes)
        self._writes = writes
        self._signing_key = signing_key

    async def register(self, row: ArtifactRow, payload: bytes) -> ArtifactRow:
        """Append a version and keep its payload; returns the row as it lies in the ledger.

        Filled in here: id, version (0 means the next), hash, payload ref, time, sequence, and the store's signature
        where the caller brought none. The same idempotency key with the same content returns the first row.
        ValueError for missing fields, Conflict for a version that is not the next, IdempotencyConflict.
        """
        if not (row.artifact_type and row.created_by and row.idempotency_key and row.scope.scope_type and row.status):
            raise ValueError("type, writer, idempotency key, scope and status are required")
        package_hash = hashlib.sha256(payload).digest()
        if row.package_hash not in (b"", package_hash):
            raise ValueError("package_hash is not the payload's SHA-256")
        head = await lock_head(self._writes, ARTIFACTS, row.tenant_id)
        earlier = await self._registered(row)
        if earlier is not None:
            if earlier.package_hash != package_hash:
                raise IdempotencyConflict("artifacts.register", row.idempotency_key)
            return earlier
        await self._keep_payload(package_hash, payload)
        filled = await self._filled(row, package_hash)
        filled.sequence = head.size + 1
        canonical, prev_hash = filled.SerializeToString(deterministic=True), head.head_hash
        head = head.append(canonical)
        links = {"canonical": canonical, "prev_hash": prev_hash, "row_hash": head.head_hash}
        await self._writes.write(insert(artifacts_ledger), [{**artifact_columns(filled), **links}])
        await save_head(self._writes, ARTIFACTS, row.tenant_id, head)
        return filled

    async def activate(self, artifact_type: str, tenant_id: str, scope: Scope, version: int) -> ArtifactPointer:
        """Point consumers at `version`; what was active becomes N-1. NotFound; Conflict below the active version.

        Pointers of a tenant move one after the other: no move goes by what another is about to replace.
        """
        await lock_head(self._writes, ARTIFACTS, tenant_id)
        row = await self.version(artifact_type, tenant_id, scope, version)
        before = await self.pointer(artifact_type, tenant_id, scope)
        if before is not None and version < before.active_version:
            raise Conflict(f"{artifact_type}@{version} is older than the active version: roll back instead")
        kept = before.active_version if before and before.active_version != version else 0
        return await self._point(row, kept or (before.rollback_version if before else 0))

    async def rollback(
        self,
        artifact_type: str,
        tenant_id: str,
        scope: Scope,
        *,
        created_by: str,
        idempotency_key: str,
        version: int = 0,
    ) -> ArtifactRow:
        """Register N-1's content as a new, higher version and point consumers at it (GOV-6). NotFound without N-1.

        `version`: return to this one instead, where N-1 may serve no more than what it is to replace.
        """
        await lock_head(self._writes, ARTIFACTS, tenant_id)
        pointer = await self.pointer(artifact_type, tenant_id, scope)
        if pointer is None or not (version or pointer.rollback_version):
            raise NotFound(f"{artifact_type} has no version to return to")
        target = await self.version(artifact_type, tenant_id, scope, version or pointer.rollback_version)
        returned = await self.register(
            ArtifactRow(
                artifact_type=artifact_type,
                tenant_id=tenant_id,
                scope=scope,
                provenance_ref=f"{artifact_type}@{target.artifact_version}",
                created_by=created_by,
                idempotency_key=idempotency_key,
                status=ArtifactStatus.ARTIFACT_STATUS_ACTIVE,
                rollback_pointer_ref=f"{artifact_type}@{target.artifact_version}",
            ),
            await self.payload(target.package_hash),
        )
        # N-1 stays the version that was returned to: the one just left is the last to return to again.
        await self._point(returned, target.artifact_version)
        return returned

    async def withdraw(self, artifact_type: str, tenant_id: str, scope: Scope) -> bool:
        """Point consumers at nothing here, where no version may serve any more (§21); False where nothing did.

        What applies more widely serves instead. The versions stay, and a later one can be activated.
        """
        gone = delete(artifact_pointers).where(*_pointed(artifact_type, tenant_id, scope))
        return (await self._writes.write(gone)).count > 0

    async def _registered(self, row: ArtifactRow) -> ArtifactRow | None:
        line = _line(row.artifact_type, row.tenant_id, row.scope)
        found = select(artifacts_ledger.c.canonical).where(
            *line, artifacts_ledger.c.idempotency_key == row.idempotency_key
        )
        rows = await self._writes.rows(found)
        return ArtifactRow.FromString(rows[0].canonical) if rows else None

    async def _keep_payload(self, package_hash: bytes, payload: bytes) -> None:
        kept = self._writes.insert(artifact_payloads).values(
            sha256=package_hash, payload=payload, created_at=self._writes.clock.now()
        )
        await self._writes.write(kept.on_conflict_do_nothing())

    async def _filled(self, row: ArtifactRow, package_hash: bytes) -> ArtifactRow:
        latest = select(func.coalesce(func.max(artifacts_ledger.c.artifact_version), 0).label("version"))
        rows = await self._writes.rows(latest.where(*_line(row.artifact_type, row.tenant_id, row.scope)))
        following = int(rows[0].version) + 1
        if row.artifact_version not in (0, following):
            raise Conflict(f"{row.artifact_type}@{row.artifact_version} is not the next version, {following}")
        filled = ArtifactRow()
        filled.CopyFrom(row)
        filled.artifact_id = row.artifact_id or self._writes.ids.new()
        filled.artifact_version = following
        filled.package_hash = package_hash
        filled.payload_ref = PAYLOAD_REF + package_hash.hex()
        filled.created_at.FromDatetime(self._writes.clock.now())
        if not row.signature:
            filled.signature = self._signing_key.sign(package_hash)
            filled.signing_key_id = self._signing_key.key_id
        return filled

    async def _point(self, row: ArtifactRow, rollback_version: int) -> ArtifactPointer:
        moved = {
            "active_version": row.artifact_version,
            "active_package_hash": row.package_hash,
            "rollback_version": rollback_version,
            "updated_at": self._writes.clock.now(),
        }
        statement = self._writes.insert(artifact_pointers).values(
            tenant_id=row.tenant_id,
            artifact_type=row.artifact_type,
            scope_type=row.scope.scope_type,
            scope_id=row.scope.scope_id,
            **moved,
        )
        statement = statement.on_conflict_do_update(index_elements=list(artifact_pointers.primary_key), set_=moved)
        written = await self._writes.write(statement.returning(artifact_pointers))
        return _pointer(written.rows[0])


def artifact_columns(row: ArtifactRow) -> dict[str, Any]:
    """The columns that repeat what the canonical bytes say; `verify` holds one against the other."""
    return {
        "tenant_id": row.tenant_id,
        "sequence": row.sequence,
        "artifact_id": row.artifact_id,
        "artifact_type": row.artifact_type,
        "artifact_version": row.artifact_version,
        "scope_type": row.scope.scope_type,
        "scope_id": row.scope.scope_id,
        "package_hash": row.package_hash,
        "created_by": row.created_by,
        "idempotency_key": row.idempotency_key,
        "created_at": row.created_at.ToDatetime(tzinfo=UTC),
        "status": row.status,
    }


def _line(artifact_type: str, tenant_id: str, scope: Scope) -> tuple[Any, ...]:
    table = artifacts_ledger.c
    return (
        table.tenant_id == tenant_id,
        table.scope_type == scope.scope_type,
        table.scope_id == scope.scope_id,
        table.artifact_type == artifact_type,
    )


def _pointed(artifact_type: str, tenant_id: str, scope: Scope) -> tuple[Any, ...]:
    table = artifact_pointers.c
    return (
        table.tenant_id == tenant_id,
        table.artifact_type == artifact_type,
        table.scope_type == scope.scope_type,
        table.scope_id == scope.scope_id,
    )


def _pointer(row: Row[Any]) -> ArtifactPointer:
    return ArtifactPointer(
        artifact_type=row.artifact_type,
        tenant_id=row.tenant_id,
        scope=Scope(scope_type=row.scope_type, scope_id=row.scope_id),
        active_version=row.active_version,
        active_package_hash=row.active_package_hash,
        rollback_version=row.rollback_version,
        updated_at=row.updated_at,
    )
