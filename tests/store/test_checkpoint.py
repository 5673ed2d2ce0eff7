from __future__ import annotations

from datetime import timedelta

import pytest
from selene.audit.v1.audit_pb2 import Checkpoint

from store import NotFound, Store
from store.checkpoint import checkpoint_holds
from store.merkle import leaf_hash, tree_root, verify_consistency, verify_inclusion
from tests.store.ledgers import EVENTS, filled
from tests.support.stores import audit
from tests.support.time import FakeClock


async def leaves(store: Store) -> list[bytes]:
    return [leaf_hash(chained.row_hash) for chained in await store.audit.page("t1")]


async def test_a_checkpoint_is_the_signed_root_of_all_row_hashes(store: Store) -> None:
    checkpoint = (await filled(store))["audit_events"]
    assert (checkpoint.tree_size, checkpoint.root_hash) == (EVENTS, tree_root(await leaves(store)))
    assert checkpoint_holds(checkpoint, store.trusted_keys())


@pytest.mark.parametrize("field", ["tree_size", "root_hash", "tenant_id", "signature", "key_id"])
async def test_an_altered_checkpoint_does_not_hold(sqlite_store: Store, field: str) -> None:
    checkpoint = (await filled(sqlite_store))["audit_events"]
    altered = Checkpoint()
    altered.CopyFrom(checkpoint)
    value = getattr(altered, field)
    setattr(altered, field, value + 1 if isinstance(value, int) else value[:-1])
    assert not checkpoint_holds(altered, sqlite_store.trusted_keys())


async def test_a_ledger_that_did_not_grow_keeps_its_checkpoint(store: Store, clock: FakeClock) -> None:
    first = (await filled(store))["audit_events"]
    clock.advance(timedelta(hours=1))
    assert await store.checkpoint("t1", "audit_events") == first
    assert await store.checkpoints("t1", "audit_events") == [first]


async def test_an_empty_ledger_has_no_checkpoint(store: Store) -> None:
    assert await store.checkpoint("t1", "audit_events") is None


async def test_only_the_ledgers_are_checkpointed(sqlite_store: Store) -> None:
    with pytest.raises(ValueError, match="no ledger"):
        await sqlite_store.checkpoint("t1", "settings")


async def test_every_event_is_proven_against_the_checkpoint(store: Store) -> None:
    checkpoint = (await filled(store))["audit_events"]
    for index, leaf in enumerate(await leaves(store)):
        proof = await store.proofs.inclusion("audit_events", "t1", index + 1, checkpoint.tree_size)
        assert verify_inclusion(leaf, proof.leaf_index, proof.tree_size, proof.path, checkpoint.root_hash)


async def test_a_later_checkpoint_is_proven_to_extend_an_earlier_one(store: Store) -> None:
    earlier = (await filled(store))["audit_events"]
    async with store.transaction() as tx:
        audit(tx)
    later = await store.checkpoint("t1", "audit_events")
    assert later is not None
    proof = await store.proofs.consistency("audit_events", "t1", earlier.tree_size, later.tree_size)
    assert verify_consistency(proof.first_size, earlier.root_hash, proof.second_size, later.root_hash, proof.path)


@pytest.mark.parametrize(("sequence", "size"), [(0, EVENTS), (EVENTS + 1, EVENTS), (1, EVENTS + 1)])
async def test_what_is_not_in_the_ledger_is_not_proven(sqlite_store: Store, sequence: int, size: int) -> None:
    await filled(sqlite_store)
    with pytest.raises(NotFound):
        await sqlite_store.proofs.inclusion("audit_events", "t1", sequence, size)


async def test_every_ledger_of_every_tenant_is_signed_at_once(store: Store) -> None:
    for tenant_id in ("a", "b"):
        async with store.transaction() as tx:
            audit(tx, tenant_id=tenant_id)
    assert await store.checkpoint_all() == 2
    assert [len(await store.checkpoints(tenant_id, "audit_events")) for tenant_id in ("a", "b")] == [1, 1]
