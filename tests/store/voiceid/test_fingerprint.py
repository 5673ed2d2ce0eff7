from __future__ import annotations

from store import Store
from tests.support.stores import audit


async def add(store: Store, *fingerprints: bytes, keep: int = 3, user_id: str = "u1", of_clip: bool = False) -> None:
    async with store.transaction() as tx:
        for fingerprint in fingerprints:
            await tx.voiceid.fingerprints.add("t1", user_id, fingerprint, keep=keep, of_clip=of_clip)
        audit(tx)


async def test_only_the_newest_are_kept_newest_first(store: Store) -> None:
    await add(store, b"1", b"2", b"3", b"4")
    await add(store, b"5")
    assert await store.voiceid.fingerprints.all("t1", "u1") == [b"5", b"4", b"3"]


async def test_those_of_clips_are_dropped_for_later_clips_only(store: Store) -> None:
    await add(store, b"clip 1", b"clip 2", of_clip=True)
    await add(store, b"1", b"2", b"3", b"4")
    await add(store, b"other", keep=1, user_id="u2", of_clip=True)
    assert await store.voiceid.fingerprints.all("t1", "u1") == [b"4", b"3", b"2", b"clip 2", b"clip 1"]
    await add(store, b"clip 3", keep=2, of_clip=True)
    assert await store.voiceid.fingerprints.all("t1", "u1") == [b"clip 3", b"4", b"3", b"2", b"clip 2"]


async def test_a_subject_without_fingerprints_has_none(store: Store) -> None:
    await add(store, b"1", user_id="u2")
    assert await store.voiceid.fingerprints.all("t1", "u1") == []


async def test_a_fingerprint_under_a_destroyed_key_no_longer_counts(store: Store) -> None:
    await add(store, b"before")
    async with store.transaction() as tx:
        await tx.vault.destroy("t1", "u1")
        audit(tx)
    assert await store.voiceid.fingerprints.all("t1", "u1") == []
    await add(store, b"after")
    assert await store.voiceid.fingerprints.all("t1", "u1") == [b"after"]
