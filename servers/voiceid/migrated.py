"""At which stage of the V1 → V2 migration a tenant is (VID.CONF.8), as the store says."""

from __future__ import annotations

from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid import migration
from store import Store, Transaction

SETTING_KEY = "voiceid.migration_stage"
PREFIX = "MIGRATION_STAGE_"


class Stages:
    """Reads and moves tenants' stages. A value in the store that is no stage serves nothing (ALL-1)."""

    def __init__(self, store: Store, default: str) -> None:
        self._store = store
        self._default = default

    async def of(self, tenant_id: str, tx: Transaction | None = None) -> v1.MigrationStage:
        """The tenant's stage; within a transaction, as it sees it. StoreUnavailable."""
        settings = self._store.settings if tx is None else tx.settings
        rows = await settings.candidates(SETTING_KEY, tenant_id)
        values = [row.value for row in rows if row.layer == SCOPE_TYPE_TENANT]
        if not values:
            return _stage(self._default)
        return _stage(values[0]) if len(values) == 1 else v1.MIGRATION_STAGE_UNSPECIFIED

    async def move(self, tx: Transaction, tenant_id: str, stage: v1.MigrationStage) -> None:
        """Set the tenant's stage; the caller audits."""
        name = v1.MigrationStage.Name(stage).removeprefix(PREFIX)
        await tx.settings.set(SETTING_KEY, SCOPE_TYPE_TENANT, tenant_id=tenant_id, layer_id=tenant_id, value=name)


def _stage(value: object) -> v1.MigrationStage:
    for stage in migration.ORDER:
        if v1.MigrationStage.Name(stage) == f"{PREFIX}{value}":
            return stage
    return v1.MIGRATION_STAGE_UNSPECIFIED
