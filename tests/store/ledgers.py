"""A store with something in every ledger."""

from __future__ import annotations

from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ArtifactStatus
from selene.audit.v1.audit_pb2 import Checkpoint
from selene.common.v1.scope_pb2 import Scope, ScopeType

from store import Store
from tests.support.stores import audit

EVENTS = 7
SCOPE = Scope(scope_type=ScopeType.SCOPE_TYPE_TENANT, scope_id="t1")


async def filled(store: Store) -> dict[str, Checkpoint]:
    """Seven events and two artifacts of `t1`, both ledgers checkpointed; the checkpoints by ledger."""
    for number in range(EVENTS - 2):
        async with store.transaction() as tx:
            audit(tx, number=str(number))
    for key in ("k1", "k2"):
        async with store.transaction() as tx:
            row = await tx.artifacts.register(
                ArtifactRow(
                    artifact_type="TEST_PACK_V1",
                    tenant_id="t1",
                    scope=SCOPE,
                    created_by="PH1.TEST",
                    idempotency_key=key,
                    status=ArtifactStatus.ARTIFACT_STATUS_CANDIDATE,
                ),
                key.encode(),
            )
            await tx.artifacts.activate("TEST_PACK_V1", "t1", SCOPE, row.artifact_version)
            audit(tx, transition="artifact.registered")
    signed = {ledger: await store.checkpoint("t1", ledger) for ledger in ("audit_events", "artifacts_ledger")}
    return {ledger: checkpoint for ledger, checkpoint in signed.items() if checkpoint is not None}
