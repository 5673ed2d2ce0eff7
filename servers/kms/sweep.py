"""Versions whose overlap is over: retired, their key destroyed, with an audit row each."""

from __future__ import annotations

from datetime import datetime

from servers.kms import ENGINE_ID
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Store, Transaction


async def sweep(store: Store, now: datetime) -> int:
    """Retire everything that is due; how many versions. StoreUnavailable."""
    async with store.transaction() as tx:
        return await retire_due(tx, now)


async def retire_due(tx: Transaction, now: datetime, handle: str | None = None) -> int:
    """Retire what is due of one secret, or of all; how many versions."""
    retired = await tx.kms.secrets.retire_due(now, handle)
    for version in retired:
        tx.audit(
            tenant_id=SYSTEM_TENANT,
            owner=ENGINE_ID,
            actor="system",
            transition="secret.retired",
            reason_code="OVERLAP_OVER",
            turn=turn(),
            facts={"handle": version.handle, "version": str(version.version)},
        )
    return len(retired)
