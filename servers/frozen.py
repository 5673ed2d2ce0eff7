"""`selene frozen`: the evaluation sets that are registered, and which of them voice packs are held against (§38.8).

A set is content-addressed and never changes. Another one is another version, and is in force at once: what was learned
from one of its rows or speakers and is on its way, or serves, is taken back by the control loops.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow

from servers.frozen_sets import FROZEN_SET, FrozenSet, FrozenSetUnusable, parse
from servers.packs import scope_of
from servers.runtime.storage import SYSTEM_TENANT
from store import NotFound, Store
from store.gold import artifact_ref, signal_ref

OWNER: Final = "PH1.LEARN"


class FrozenReason(StrEnum):
    """Why a set is not put in force; stable, for programs."""

    OLDER_THAN_ACTIVE = "FROZEN_SET_OLDER_THAN_ACTIVE"
    SIGNALS_UNKNOWN = "FROZEN_SET_SIGNALS_UNKNOWN"


class FrozenRefused(ValueError):
    """Nothing was changed: `reason` is for programs, the message for people."""

    def __init__(self, reason: FrozenReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


async def add(store: Store, payload: bytes, name: str, tenant_id: str) -> dict[str, Any]:
    """Register a set, signed by the store, and hold packs against it from now on; the same bytes again change nothing.

    FrozenSetUnusable, FrozenRefused. A set of the whole deployment (no tenant) has no signals, which are tenants'.
    """
    frozen, scope = parse(payload), scope_of(tenant_id)
    async with store.transaction() as tx:
        known = await tx.learning.signals.by_ids(tenant_id, frozen.signals) if tenant_id else {}
        missing = sorted(set(frozen.signals) - set(known))
        if missing:
            told = f"{len(missing)} of its signals were not captured here"
            raise FrozenRefused(FrozenReason.SIGNALS_UNKNOWN, told)
        row = await tx.artifacts.register(
            ArtifactRow(
                artifact_type=FROZEN_SET,
                tenant_id=tenant_id,
                scope=scope,
                provenance_ref=f"selene frozen add:{name}",
                created_by=OWNER,
                idempotency_key=hashlib.sha256(payload).hexdigest(),
                status=ARTIFACT_STATUS_CANDIDATE,
            ),
            payload,
        )
        before = await tx.artifacts.pointer(FROZEN_SET, tenant_id, scope)
        if before is not None and row.artifact_version < before.active_version:
            told = f"it is version {row.artifact_version}, and {before.active_version} is in force"
            raise FrozenRefused(FrozenReason.OLDER_THAN_ACTIVE, told)
        if before is None or before.active_version != row.artifact_version:
            # So a revocation of one of them takes the set out of force.
            await tx.gold.lineage.link(tenant_id, map(signal_ref, frozen.signals), artifact_ref(row.artifact_id))
            await tx.artifacts.activate(FROZEN_SET, tenant_id, scope, row.artifact_version)
        tx.audit(
            tenant_id=tenant_id or SYSTEM_TENANT,
            owner=OWNER,
            actor="system",
            transition="frozen_set.registered",
            reason_code="EVALUATION_SET_IN_FORCE",
            scope=scope,
            hashes={"package": row.package_hash},
            facts={"frozen_set": f"{FROZEN_SET}@{row.artifact_version}", "trials": str(len(frozen))},
        )
    return _described(row, frozen, row.artifact_version)


async def listed(store: Store, tenant_id: str) -> list[dict[str, Any]]:
    """Every version of the tenant, or of the deployment where it is empty, oldest first."""
    scope = scope_of(tenant_id)
    pointer = await store.artifacts.pointer(FROZEN_SET, tenant_id, scope)
    found = []
    for row in await store.artifacts.versions(FROZEN_SET, tenant_id, scope):
        try:
            frozen: FrozenSet | None = parse(await store.artifacts.payload(row.package_hash))
        except (NotFound, FrozenSetUnusable):
            frozen = None
        found.append(_described(row, frozen, pointer.active_version if pointer else 0))
    return found


def _described(row: ArtifactRow, frozen: FrozenSet | None, active: int) -> dict[str, Any]:
    genuine = int(frozen.genuine.sum()) if frozen is not None else 0
    return {
        "version": row.artifact_version,
        "state": "ACTIVE" if row.artifact_version == active else "",
        "name": frozen.name if frozen is not None else "DAMAGED",
        "genuine": genuine,
        "impostors": len(frozen) - genuine if frozen is not None else 0,
        "speakers": len(frozen.speakers) if frozen is not None else 0,
        "cohorts": ", ".join(sorted(frozen.in_cohorts())) if frozen is not None else "",
        "scorer": frozen.scorer_sha256[:12] if frozen is not None else "",
        "sha256": row.package_hash.hex(),
        "registered": row.created_at.ToJsonString(),
        "from": row.provenance_ref,
    }
