from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from store import Conflict, KeyDestroyed, NotFound, Store
from store.voiceid import GalleryEntry, Profile
from tests.support.stores import audit, open_store


async def lock(store: Store, user_id: str, embedding: bytes = b"embedding", *, tenant_id: str = "t1") -> Profile:
    async with store.transaction() as tx:
        profile = await tx.voiceid.profiles.lock(
            tenant_id,
            user_id,
            embedding=embedding,
            model_set_hash="models",
            clip_count=3,
            voiced_ms=9000,
            consent_ref="consent",
            expires_at=datetime(2027, 1, 1, tzinfo=UTC),
        )
        audit(tx, tenant_id)
    return profile


async def revoke(store: Store, user_id: str) -> Profile:
    async with store.transaction() as tx:
        profile = await tx.voiceid.profiles.revoke("t1", user_id)
        audit(tx)
    return profile


async def gallery(store: Store, since: int = 0) -> list[GalleryEntry]:
    return [entry async for entry in store.voiceid.profiles.gallery("t1", since=since)]


async def test_a_new_version_supersedes_the_one_before(store: Store) -> None:
    assert await store.voiceid.profiles.current("t1", "u1") is None
    first = await lock(store, "u1", b"one")
    second = await lock(store, "u1", b"two")
    versions = await store.voiceid.profiles.versions("t1", "u1")
    assert [(profile.profile_version, profile.state) for profile in versions] == [(1, "SUPERSEDED"), (2, "LOCKED")]
    assert first.profile_version == 1
    assert await store.voiceid.profiles.current("t1", "u1") == second
    assert (await store.voiceid.profiles.embedding("t1", "u1")).embedding == b"two"


async def test_a_profile_without_consent_is_refused(sqlite_store: Store) -> None:
    async with sqlite_store.transaction() as tx:
        with pytest.raises(ValueError, match="consent"):
            await tx.voiceid.profiles.lock(
                "t1", "u1", embedding=b"", model_set_hash="m", clip_count=1, voiced_ms=1, consent_ref=""
            )


async def test_embeddings_are_not_readable_in_the_file(sqlite_store: Store, sqlite_url: str) -> None:
    await lock(sqlite_store, "u1", b"a recognisable embedding")
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        dump = "\n".join(raw.iterdump())
    assert b"a recognisable embedding".hex() not in dump.lower()


async def test_profiles_are_paged_by_user_within_the_tenant(store: Store) -> None:
    for user_id in ("u3", "u1", "u2"):
        await lock(store, user_id)
    await lock(store, "u1")
    await lock(store, "u0", tenant_id="t2")
    first = await store.voiceid.profiles.page("t1", limit=2)
    rest = await store.voiceid.profiles.page("t1", after_user_id=first[-1].user_id, limit=2)
    assert [profile.user_id for profile in first + rest] == ["u1", "u2", "u3"]
    assert first[0].profile_version == 2


async def test_revocation_takes_the_user_out_and_destroys_the_key(store: Store) -> None:
    await lock(store, "u1")
    async with store.transaction() as tx:
        await tx.voiceid.fingerprints.add("t1", "u1", b"fingerprint", keep=4)
        audit(tx)
    assert (await revoke(store, "u1")).state == "REVOKED"
    assert await gallery(store) == []
    assert (await store.voiceid.profiles.embedding("t1", "u1")).embedding is None
    assert await store.voiceid.fingerprints.all("t1", "u1") == []
    with pytest.raises(KeyDestroyed):
        await store.vault.key("t1", "u1")


async def test_revoking_twice_or_nobody_is_refused(store: Store) -> None:
    with pytest.raises(NotFound):
        await revoke(store, "u1")
    await lock(store, "u1")
    await revoke(store, "u1")
    with pytest.raises(Conflict):
        await revoke(store, "u1")


async def test_a_revoked_user_may_enrol_again_under_a_new_key(store: Store) -> None:
    await lock(store, "u1", b"old")
    await revoke(store, "u1")
    assert (await lock(store, "u1", b"new")).profile_version == 2
    assert [entry.embedding for entry in await gallery(store)] == [b"new"]


async def test_every_change_raises_the_gallery_version_of_its_tenant_only(store: Store) -> None:
    profiles = store.voiceid.profiles
    assert await profiles.gallery_version("t1") == 0
    await lock(store, "u1")
    await lock(store, "u2")
    await revoke(store, "u1")
    assert await profiles.gallery_version("t1") == 3
    assert await profiles.gallery_version("t2") == 0


async def test_a_server_learns_only_what_changed_since_revocations_included(store: Store) -> None:
    for user_id in ("u1", "u2", "u3"):
        await lock(store, user_id)
    since = await store.voiceid.profiles.gallery_version("t1")
    await lock(store, "u2", b"newer")
    await revoke(store, "u3")
    changed = {entry.user_id: (entry.state, entry.embedding) for entry in await gallery(store, since)}
    assert changed == {"u2": ("LOCKED", b"newer"), "u3": ("REVOKED", None)}


async def test_a_damaged_row_is_left_out_and_the_others_are_served(sqlite_store: Store, sqlite_url: str) -> None:
    for user_id in ("u1", "u2"):
        await lock(sqlite_store, user_id)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("UPDATE voiceid_profiles SET sealed = x'01' WHERE user_id = 'u1'")
    embeddings = {entry.user_id: entry.embedding for entry in await gallery(sqlite_store)}
    assert embeddings == {"u1": None, "u2": b"embedding"}


async def test_concurrent_locks_on_two_servers_make_one_line_of_versions(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    await asyncio.gather(*(lock(stores[number % 2], f"u{number % 2}") for number in range(10)))
    for user_id in ("u0", "u1"):
        versions = await stores[0].voiceid.profiles.versions("t1", user_id)
        assert [profile.profile_version for profile in versions] == [1, 2, 3, 4, 5]
    assert await stores[0].voiceid.profiles.gallery_version("t1") == 10
    for store in stores:
        await store.close()


async def test_another_tenant_sees_nothing(store: Store) -> None:
    await lock(store, "u1")
    assert [entry async for entry in store.voiceid.profiles.gallery("t2")] == []
    assert await store.voiceid.profiles.current("t2", "u1") is None
    with pytest.raises(NotFound):
        await store.voiceid.profiles.embedding("t2", "u1")
