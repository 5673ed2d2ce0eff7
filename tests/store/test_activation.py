"""Two transactions that move one pointer: the second goes by what the first left."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from store import Conflict, Store
from tests.store.test_artifacts import PACK, TENANT, activate, pack, register
from tests.support.stores import audit, open_store


async def somebody_waits(url: str) -> None:
    """Returns once a transaction waits for a lock; fails after a while."""
    raw = await asyncpg.connect(url)
    for _ in range(1_000):
        if await raw.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            return await raw.close()
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_who_only_waits_for_a_turn_changes_nothing_that_had_to_be_audited(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.governance.rollouts.one_at_a_time("a tenant without artifacts")
    async with store.transaction() as tx:
        await tx.governance.rollouts.one_at_a_time("a tenant without artifacts")


async def test_no_activation_goes_by_a_pointer_that_a_rollback_is_about_to_replace(postgres_url: str) -> None:
    store, other = await open_store(postgres_url, prefix="a"), await open_store(postgres_url, prefix="b")
    for number in (1, 2, 3):
        await register(store, pack(f"k{number}"), f"{number}".encode())
    for version in (1, 2):
        await activate(store, version)
    async with store.transaction() as tx:
        await tx.artifacts.rollback(PACK, "t1", TENANT, created_by="PH1.GOV", idempotency_key="back")
        audit(tx, transition="artifact.rolled_back")
        late = asyncio.ensure_future(activate(other, 3))
        await somebody_waits(postgres_url)
    with pytest.raises(Conflict):
        await late
    pointer = await store.artifacts.pointer(PACK, "t1", TENANT)
    assert pointer is not None and (pointer.active_version, pointer.rollback_version) == (4, 1)
    await store.close()
    await other.close()
