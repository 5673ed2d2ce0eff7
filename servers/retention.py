"""Removes what is kept for a time only, while the process runs: an hour apart, in batches, each with its audit row."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from servers.runtime.clock import Clock
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreError
from store.retention import BATCH, Kept

SWEEP_EVERY_S: Final = 3600.0
BETWEEN_BATCHES_S: Final = 0.1
"""What waits for the writer goes first."""
OWNER: Final = "PH1.J"  # who keeps the ledgers keeps house

_log = structlog.get_logger("selene.retention")


async def sweep(store: Store, clock: Clock, kept: Kept, *, batch: int = BATCH) -> dict[str, int]:
    """Rows removed, by kind; one audit row a batch, none where nothing was over. StoreUnavailable."""
    total: dict[str, int] = {}
    while True:
        async with store.transaction() as tx:
            removed = await tx.retention.remove(kept, clock.now(), batch)
            if removed:
                tx.audit(
                    tenant_id=SYSTEM_TENANT,
                    owner=OWNER,
                    actor="system",
                    transition="retention.removed",
                    reason_code="KEPT_LONG_ENOUGH",
                    facts={kind: str(count) for kind, count in removed.items()},
                )
        for kind, count in removed.items():
            total[kind] = total.get(kind, 0) + count
        if sum(removed.values()) < batch:
            return total
        await asyncio.sleep(BETWEEN_BATCHES_S)


class Retention:
    """Sweeps when the process starts and every hour. Of several processes each does; a row goes once."""

    def __init__(self, store: Store, clock: Clock, kept: Kept) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Ends a sweep between or within batches; what it has not removed, the next one will."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _repeat(self) -> None:
        while True:
            try:
                removed = await sweep(self._store, self._clock, self._kept)
            except StoreError as error:
                _log.error("nothing removed", cause=str(error))
            else:
                if removed:
                    _log.info("removed what was kept long enough", **removed)
            await asyncio.sleep(SWEEP_EVERY_S)
