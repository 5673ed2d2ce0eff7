"""The threshold pack that ships: registered, signed by this deployment and activated where no pack is active yet.

`selene calibrate` made it from public speech; it says of which cohort, and that it is PROVISIONAL.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

import structlog
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ARTIFACT_STATUS_PROVISIONAL, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, Scope

from servers.runtime.storage import SYSTEM_TENANT
from store import Store

ARTIFACT_TYPE: Final = "VOICEID_THRESHOLD_PACK_V1"
SHIPPED: Final = "librispeech-read-english.json"
DEPLOYMENT: Final = Scope(scope_type=SCOPE_TYPE_GLOBAL)

_log = structlog.get_logger("selene.packs")


async def register_shipped_pack(store: Store) -> None:
    """Nothing happens where a pack is active for the whole deployment. StoreError."""
    if await store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT) is not None:
        return
    payload = (resources.files("servers.voiceid") / "packs" / SHIPPED).read_bytes()
    row = await register_pack(store, payload, scope=DEPLOYMENT, tenant_id="", provenance_ref=f"shipped:{SHIPPED}")
    _log.info("shipped threshold pack activated", pack=f"{ARTIFACT_TYPE}@{row.artifact_version}")


async def register_pack(
    store: Store, payload: bytes, *, scope: Scope, tenant_id: str, provenance_ref: str, activate: bool = True
) -> ArtifactRow:
    """Put a pack's canonical bytes into the ledger, signed by the store's key, and point consumers at it.

    The same pack registered again is found, not repeated. PackError, StoreError.
    """
    from servers.voiceid.calibration.pack import PackStatus, parse  # needs pydantic models that few processes build

    pack = parse(payload)
    provisional = pack.status is PackStatus.PROVISIONAL
    async with store.transaction() as tx:
        before = await tx.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
        row = await tx.artifacts.register(
            ArtifactRow(
                artifact_type=ARTIFACT_TYPE,
                tenant_id=tenant_id,
                scope=scope,
                provenance_ref=provenance_ref,
                created_by="PH1.LEARN",
                idempotency_key=_digest(payload),
                status=ARTIFACT_STATUS_PROVISIONAL if provisional else ARTIFACT_STATUS_CANDIDATE,
                rollback_pointer_ref=f"{ARTIFACT_TYPE}@{before.active_version}" if before else "",
            ),
            payload,
        )
        if activate:
            await tx.artifacts.activate(ARTIFACT_TYPE, tenant_id, scope, row.artifact_version)
        tx.audit(
            tenant_id=tenant_id or SYSTEM_TENANT,
            owner="PH1.LEARN",
            actor="system",
            transition="threshold_pack.activated" if activate else "threshold_pack.registered",
            reason_code="PROVISIONAL" if provisional else "CALIBRATED",
            scope=scope,
            hashes={"package": row.package_hash},
            facts={"pack": f"{ARTIFACT_TYPE}@{row.artifact_version}", "cohort": pack.cohort},
        )
    return row


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
