"""Whose consent ended is known by nothing any more: embeddings, clips and fingerprints are destroyed by their key."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from store import KeyDestroyed, Store
from store.engine import open_database
from store.schema import profiles, subject_keys
from store.voiceid import Clip, ErasedVoice
from tests.support.stores import audit

TENANT = "t1"
EMBEDDING = b"the voice of somebody"


async def lock(store: Store, user_id: str, tenant_id: str = TENANT) -> None:
    async with store.transaction() as tx:
        await tx.voiceid.profiles.lock(
            tenant_id,
            user_id,
            embedding=EMBEDDING,
            model_set_hash="aa",
            clip_count=3,
            voiced_ms=9_000,
            consent_ref="c-1",
        )
        audit(tx, tenant_id)


async def enrol(store: Store, user_id: str) -> None:
    """An enrolment that goes on, with a clip, and a fingerprint of earlier speech."""
    clip = Clip("clip-1", bytes(32), 3_000, "aa", {"snr_db": 20}, EMBEDDING)
    async with store.transaction() as tx:
        await tx.voiceid.enrollments.start(
            TENANT, f"e-{user_id}", user_id=user_id, device_id="kitchen", consent_ref="c-1"
        )
        await tx.voiceid.enrollments.add_clip(TENANT, f"e-{user_id}", clip)
        await tx.voiceid.fingerprints.add(TENANT, user_id, b"print", keep=2)
        audit(tx)


async def erase(store: Store, user_id: str) -> ErasedVoice:
    async with store.transaction() as tx:
        erased = await tx.voiceid.erasures.erase(TENANT, user_id)
        audit(tx)
    return erased


async def heard(store: Store, tenant_id: str = TENANT) -> dict[str, bytes | None]:
    """Who the gallery knows, and by what."""
    return {one.user_id: one.embedding async for one in store.voiceid.profiles.gallery(tenant_id)}


async def test_a_users_voice_is_gone_with_its_key_and_nobody_elses(store: Store, store_url: str) -> None:
    for user_id in ("mira", "mira", "otto"):
        await lock(store, user_id)
    await enrol(store, "mira")
    key = await store.vault.key(TENANT, "mira")
    erased = await erase(store, "mira")
    assert erased == ErasedVoice((key.key_id,), profiles=2, clips=1, fingerprints=1)
    assert await heard(store) == {"otto": EMBEDDING}
    current = await store.voiceid.profiles.current(TENANT, "mira")
    assert current is not None and current.state == "REVOKED"
    assert (await store.voiceid.enrollments.get(TENANT, "e-mira")).state == "ABANDONED"
    assert await store.voiceid.fingerprints.all(TENANT, "mira") == []
    with pytest.raises(KeyDestroyed):
        await store.voiceid.enrollments.clips(TENANT, "e-mira")
    database = open_database(store_url, lock_timeout_s=5.0, connections=1)
    left = {bytes(row.key_id) for row in await database.reader.rows(select(subject_keys.c.key_id))}
    rows = await database.reader.rows(select(profiles.c.sealed).where(profiles.c.user_id == "mira"))
    await database.close()
    assert key.key_id not in left
    assert len(rows) == 2
    for row in rows:
        with pytest.raises(KeyDestroyed):
            await store.vault.open(TENANT, "mira", "voiceid.profile", bytes(row.sealed))


async def test_a_running_gallery_is_told_who_is_gone(store: Store) -> None:
    await lock(store, "mira")
    version = await store.voiceid.profiles.gallery_version(TENANT)
    await erase(store, "mira")
    changed = [one async for one in store.voiceid.profiles.gallery(TENANT, since=version)]
    assert [(one.user_id, one.state, one.embedding) for one in changed] == [("mira", "REVOKED", None)]


async def test_everyone_of_one_tenant_is_erased_and_no_other_tenant(store: Store) -> None:
    for user_id in ("mira", "otto"):
        await lock(store, user_id)
    await lock(store, "mira", "t2")
    await enrol(store, "zoe")
    erased = await erase(store, "")
    assert (len(erased.key_ids), erased.profiles, erased.clips, erased.fingerprints) == (3, 2, 1, 1)
    assert await heard(store) == {}
    assert await heard(store, "t2") == {"mira": EMBEDDING}
    assert await erase(store, "") == ErasedVoice()


async def test_whoever_is_erased_may_enrol_again_under_a_new_key(store: Store) -> None:
    await lock(store, "mira")
    before = await store.vault.key(TENANT, "mira")
    await erase(store, "mira")
    await lock(store, "mira")
    assert await heard(store) == {"mira": EMBEDDING}
    assert (await store.vault.key(TENANT, "mira")).key_id != before.key_id


async def test_of_a_user_without_a_voice_the_salt_is_destroyed_all_the_same(store: Store) -> None:
    async with store.transaction() as tx:
        before = await tx.vault.commitment(TENANT, "mira", b"actor")
        audit(tx)
    erased = await erase(store, "mira")
    assert (len(erased.key_ids), erased.profiles) == (1, 0)
    async with store.transaction() as tx:
        assert await tx.vault.commitment(TENANT, "mira", b"actor") != before
        audit(tx)
