from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow, ArtifactStatus
from selene.common.v1.scope_pb2 import Scope, ScopeType

from store import Conflict, IdempotencyConflict, NotFound, Store
from store.keys import signature_holds
from tests.support.stores import audit, open_store

PACK = "VOICEID_THRESHOLD_PACK_V1"
TENANT = Scope(scope_type=ScopeType.SCOPE_TYPE_TENANT, scope_id="t1")
USER = Scope(scope_type=ScopeType.SCOPE_TYPE_USER, scope_id="u1")


def pack(key: str, *, version: int = 0, scope: Scope = TENANT, artifact_type: str = PACK) -> ArtifactRow:
    return ArtifactRow(
        artifact_type=artifact_type,
        artifact_version=version,
        tenant_id="t1",
        scope=scope,
        provenance_ref="test",
        created_by="PH1.VOICE.ID",
        idempotency_key=key,
        status=ArtifactStatus.ARTIFACT_STATUS_CANDIDATE,
    )


async def register(store: Store, row: ArtifactRow, payload: bytes) -> ArtifactRow:
    async with store.transaction() as tx:
        registered = await tx.artifacts.register(row, payload)
        audit(tx, transition="artifact.registered")
    return registered


async def activate(store: Store, version: int) -> None:
    async with store.transaction() as tx:
        await tx.artifacts.activate(PACK, "t1", TENANT, version)
        audit(tx, transition="artifact.activated")


async def test_a_registered_artifact_is_content_addressed_and_signed(store: Store) -> None:
    row = await register(store, pack("k1"), b"payload")
    digest = hashlib.sha256(b"payload").digest()
    assert (row.artifact_version, row.sequence, row.package_hash) == (1, 1, digest)
    assert row.payload_ref == f"store://artifact_payloads/{digest.hex()}"
    assert signature_holds(store.trusted_keys(), row.signing_key_id, digest, row.signature)
    assert await store.artifacts.payload(digest) == b"payload"
    assert await store.artifacts.version(PACK, "t1", TENANT, 1) == row


async def test_versions_rise_by_one_per_tenant_scope_and_type(store: Store) -> None:
    await register(store, pack("k1"), b"one")
    second = await register(store, pack("k2"), b"two")
    other_scope = await register(store, pack("k1", scope=USER), b"one")
    other_type = await register(store, pack("k1", artifact_type="OTHER_PACK_V1"), b"one")
    assert [second.artifact_version, other_scope.artifact_version, other_type.artifact_version] == [2, 1, 1]
    assert [row.sequence for row in (second, other_scope, other_type)] == [2, 3, 4]
    assert [row.artifact_version for row in await store.artifacts.versions(PACK, "t1", TENANT)] == [1, 2]


async def test_a_content_is_found_in_every_line_of_its_type(store: Store) -> None:
    first = await register(store, pack("k1"), b"one")
    await register(store, pack("k2"), b"two")
    again = await register(store, pack("k3", scope=USER), b"one")
    await register(store, pack("k1", artifact_type="OTHER_PACK_V1"), b"one")
    elsewhere = pack("k1")
    elsewhere.tenant_id = "t2"
    theirs = await register(store, elsewhere, b"one")
    assert await store.artifacts.of_content(PACK, first.package_hash) == [first, again, theirs]
    assert await store.artifacts.of_content(PACK, bytes(32)) == []


async def test_a_version_that_is_not_the_next_is_refused(store: Store) -> None:
    await register(store, pack("k1"), b"one")
    for version in (1, 3):
        with pytest.raises(Conflict):
            await register(store, pack("k2", version=version), b"two")
    assert (await register(store, pack("k2", version=2), b"two")).artifact_version == 2


async def test_the_same_key_and_content_returns_the_first_row(store: Store) -> None:
    first = await register(store, pack("k1"), b"one")
    assert await register(store, pack("k1"), b"one") == first
    assert len(await store.artifacts.versions(PACK, "t1", TENANT)) == 1


async def test_the_same_key_with_other_content_is_refused(store: Store) -> None:
    await register(store, pack("k1"), b"one")
    with pytest.raises(IdempotencyConflict):
        await register(store, pack("k1"), b"two")


async def test_concurrent_registrations_on_two_servers_get_versions_without_gaps(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    await asyncio.gather(*(register(stores[number % 2], pack(f"k{number}"), b"%d" % number) for number in range(10)))
    versions = [row.artifact_version for row in await stores[0].artifacts.versions(PACK, "t1", TENANT)]
    assert versions == list(range(1, 11))
    for store in stores:
        await store.close()


@pytest.mark.parametrize("missing", ["artifact_type", "created_by", "idempotency_key", "scope", "status"])
async def test_a_row_without_what_makes_it_governable_is_refused(sqlite_store: Store, missing: str) -> None:
    row = pack("k1")
    row.ClearField(missing)
    with pytest.raises(ValueError, match="required"):
        await register(sqlite_store, row, b"one")


async def test_a_hash_that_is_not_the_payloads_is_refused(sqlite_store: Store) -> None:
    row = pack("k1")
    row.package_hash = bytes(32)
    with pytest.raises(ValueError, match="SHA-256"):
        await register(sqlite_store, row, b"one")


async def test_activation_moves_the_pointer_and_keeps_n_minus_1(store: Store) -> None:
    assert await store.artifacts.resolve([PACK], "t1", TENANT) == {}
    await register(store, pack("k1"), b"one")
    await activate(store, 1)
    first = await store.artifacts.pointer(PACK, "t1", TENANT)
    assert first is not None and (first.active_version, first.rollback_version) == (1, 0)
    await register(store, pack("k2"), b"two")
    await activate(store, 2)
    await activate(store, 2)
    resolved = (await store.artifacts.resolve([PACK, "ABSENT_V1"], "t1", TENANT))[PACK]
    assert (resolved.pointer.active_version, resolved.pointer.rollback_version) == (2, 1)
    assert resolved.payload == b"two"


async def test_an_older_or_unknown_version_cannot_be_activated(store: Store) -> None:
    for key in ("k1", "k2"):
        await register(store, pack(key), key.encode())
    await activate(store, 2)
    with pytest.raises(Conflict, match="roll back"):
        await activate(store, 1)
    with pytest.raises(NotFound):
        await activate(store, 3)


async def test_a_rollback_is_a_new_higher_version_with_the_old_content(store: Store) -> None:
    for number, key in enumerate(("k1", "k2"), start=1):
        await register(store, pack(key), key.encode())
        await activate(store, number)
    async with store.transaction() as tx:
        row = await tx.artifacts.rollback(PACK, "t1", TENANT, created_by="PH1.GOV", idempotency_key="back")
        audit(tx, transition="artifact.rolled_back")
    assert (row.artifact_version, row.package_hash) == (3, hashlib.sha256(b"k1").digest())
    assert row.rollback_pointer_ref == f"{PACK}@1"
    resolved = (await store.artifacts.resolve([PACK], "t1", TENANT))[PACK]
    assert (resolved.pointer.active_version, resolved.pointer.rollback_version, resolved.payload) == (3, 1, b"k1")


async def test_without_n_minus_1_there_is_no_rollback(store: Store) -> None:
    await register(store, pack("k1"), b"one")
    await activate(store, 1)
    with pytest.raises(NotFound):
        async with store.transaction() as tx:
            await tx.artifacts.rollback(PACK, "t1", TENANT, created_by="PH1.GOV", idempotency_key="back")


async def test_the_pointer_does_not_move_where_the_audit_row_was_not_written(store: Store) -> None:
    await register(store, pack("k1"), b"one")
    with pytest.raises(LookupError):
        async with store.transaction() as tx:
            await tx.artifacts.activate(PACK, "t1", TENANT, 1)
            audit(tx)
            raise LookupError
    assert await store.artifacts.pointer(PACK, "t1", TENANT) is None


async def test_pointers_of_a_type_are_listed_for_a_rule_to_choose_from(store: Store) -> None:
    deployment = pack("k1", scope=Scope(scope_type=ScopeType.SCOPE_TYPE_GLOBAL))
    deployment.tenant_id = ""
    for row in (deployment, pack("k1"), pack("k1", scope=USER)):
        async with store.transaction() as tx:
            registered = await tx.artifacts.register(row, b"one")
            await tx.artifacts.activate(PACK, row.tenant_id, row.scope, registered.artifact_version)
            audit(tx)
    types = [pointer.scope.scope_type for pointer in await store.artifacts.pointers(PACK, "t1")]
    assert types == [ScopeType.SCOPE_TYPE_GLOBAL, ScopeType.SCOPE_TYPE_TENANT, ScopeType.SCOPE_TYPE_USER]
    assert len(await store.artifacts.pointers(PACK, "t2")) == 1


async def test_pointers_of_everyone_are_listed_by_type_and_their_mark_changes_with_every_move(store: Store) -> None:
    async def mark() -> object:
        return await store.artifacts.pointers_mark((PACK, "OTHER_PACK_V1"))

    marks = [await mark()]
    for key, payload in (("k1", b"one"), ("k2", b"two")):
        await register(store, pack(key), payload)
        assert await mark() == marks[-1]
    for version in (1, 2):
        await activate(store, version)
        marks.append(await mark())
    deployed = pack("k3", scope=USER, artifact_type="OTHER_PACK_V1")
    deployed.tenant_id = ""
    await register(store, deployed, b"three")
    async with store.transaction() as tx:
        await tx.artifacts.activate("OTHER_PACK_V1", "", USER, 1)
        audit(tx)
    marks.append(await mark())
    found = await store.artifacts.all_pointers((PACK, "OTHER_PACK_V1"))
    shown = {(each.artifact_type, each.tenant_id, each.active_version) for each in found}
    assert shown == {(PACK, "t1", 2), ("OTHER_PACK_V1", "", 1)}
    assert [each.tenant_id for each in await store.artifacts.all_pointers((PACK,))] == ["t1"]
    async with store.transaction() as tx:
        assert await tx.artifacts.withdraw(PACK, "t1", TENANT)
        audit(tx)
    marks.append(await mark())
    assert len(marks) == 5 and all(one != following for one, following in pairwise(marks))
    assert await store.artifacts.pointers_mark(("NO_SUCH_PACK",)) == (0, 0, None)
