"""What is over: versions past their overlap, leases long run out, wraps of a retired master key. Each audited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

import structlog

from servers.kms import ENGINE_ID
from servers.kms.backend import Backend
from servers.runtime.secrets import BackendUnavailable
from servers.runtime.storage import SYSTEM_TENANT, turn
from store import Store, Transaction

LEASES_KEPT: Final = timedelta(days=30)
"""How long a lease is remembered after it ran out; the trail remembers it for good."""
WRAPPED_AT_ONCE: Final = 100

_log = structlog.get_logger("selene.kms")


async def sweep(store: Store, backend: Backend, now: datetime) -> None:
    """Retire versions and forget leases that are due, and destroy what a backend still keeps. StoreUnavailable."""
    async with store.transaction() as tx:
        await retire_due(tx, now)
        forgotten = await tx.kms.leases.purge(now - LEASES_KEPT)
        if forgotten:
            _note(tx, "leases.purged", "KEPT_LONG_ENOUGH", {"count": str(forgotten)})
    await destroy_elsewhere(store, backend)


async def retire_due(tx: Transaction, now: datetime, handle: str | None = None) -> int:
    """Retire what is due of one secret, or of all; how many versions."""
    retired = await tx.kms.secrets.retire_due(now, handle)
    for version in retired:
        _note(tx, "secret.retired", "OVERLAP_OVER", {"handle": version.handle, "version": str(version.version)})
    return len(retired)


async def destroy_elsewhere(store: Store, backend: Backend, handle: str | None = None) -> None:
    """Have the backend destroy what is retired or revoked, of one secret or of all. StoreUnavailable.

    Where it does not answer, nothing is lost: no lease reaches those versions, and the next sweep asks again.
    """
    due = await store.kms.secrets.undestroyed(handle)
    for of_one, versions in groupby(due, lambda version: version.handle):
        together = list(versions)
        numbers = [version.backend_version for version in together if version.backend_version is not None]
        try:
            await backend.destroy(of_one, numbers)
        except BackendUnavailable as silent:
            _log.error("versions that are over were not destroyed", backend=backend.name, cause=silent.cause.value)
            return
        async with store.transaction() as tx:
            for version in together:
                if await tx.kms.secrets.destroyed(version):
                    _note(tx, "secret.destroyed", "BACKEND", {"handle": of_one, "version": str(version.version)})


async def wrap_anew(store: Store) -> int:
    """Move every key that a retired master key wraps to the one in use; how many. StoreUnavailable, SealBroken."""
    moved = 0
    while True:
        async with store.transaction() as tx:
            more = await tx.vault.rewrap(WRAPPED_AT_ONCE)
            if more:
                _note(tx, "master_key.wrapped_anew", "MASTER_KEY_RETIRED", {"keys": str(more)})
        moved += more
        if more < WRAPPED_AT_ONCE:
            return moved


def _note(tx: Transaction, transition: str, reason_code: str, facts: Mapping[str, str]) -> None:
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner=ENGINE_ID,
        actor="system",
        transition=transition,
        reason_code=reason_code,
        turn=turn(),
        facts=facts,
    )
