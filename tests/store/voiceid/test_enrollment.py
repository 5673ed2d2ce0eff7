from __future__ import annotations

import asyncio
import hashlib

import pytest

from store import Conflict, NotFound, Store
from store.voiceid import Clip, Enrollment, Progress
from tests.support.stores import audit, open_store


def clip(number: int, *, audio: bytes | None = None) -> Clip:
    return Clip(
        clip_id=f"clip-{number}",
        audio_sha256=hashlib.sha256(audio or b"%d" % number).digest(),
        voiced_ms=1000 * number,
        model_set_hash="models",
        quality={"snr_db": 21.5, "clipped": False},
        features=b"features %d" % number,
    )


async def start(store: Store, consent_ref: str = "consent") -> Enrollment:
    async with store.transaction() as tx:
        enrollment = await tx.voiceid.enrollments.start(
            "t1", "e1", user_id="u1", device_id="d1", consent_ref=consent_ref
        )
        audit(tx)
    return enrollment


async def add(store: Store, *clips: Clip) -> list[bool]:
    async with store.transaction() as tx:
        added = [await tx.voiceid.enrollments.add_clip("t1", "e1", each) for each in clips]
        audit(tx)
    return added


async def test_an_enrolment_starts_pending_under_its_consent(store: Store) -> None:
    started = await start(store)
    assert (started.state, started.consent_ref, started.closed_at) == ("PENDING", "consent", None)
    assert await store.voiceid.enrollments.get("t1", "e1") == started


async def test_an_enrolment_without_consent_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(ValueError, match="consent"):
        await start(sqlite_store, consent_ref="")


async def test_an_enrolment_id_is_used_once(store: Store) -> None:
    await start(store)
    with pytest.raises(Conflict):
        await start(store)


async def test_clips_come_back_as_they_were_given(store: Store) -> None:
    await start(store)
    await add(store, clip(1), clip(2))
    assert await store.voiceid.enrollments.clips("t1", "e1") == [clip(1), clip(2)]
    assert await store.voiceid.enrollments.progress("t1", "e1") == Progress(clip_count=2, voiced_ms=3000)


async def test_the_same_audio_counts_once(store: Store) -> None:
    await start(store)
    assert await add(store, clip(1, audio=b"same"), clip(2, audio=b"same")) == [True, False]
    assert await add(store, clip(1, audio=b"other")) == [False]
    assert (await store.voiceid.enrollments.progress("t1", "e1")).clip_count == 1


async def test_the_same_clip_sent_to_two_servers_counts_once(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    await start(stores[0])
    added = await asyncio.gather(*(add(stores[number % 2], clip(1)) for number in range(6)))
    assert sorted(one for (one,) in added) == [False] * 5 + [True]
    for store in stores:
        await store.close()


async def test_an_enrolment_closes_once(store: Store) -> None:
    await start(store)
    async with store.transaction() as tx:
        closed = await tx.voiceid.enrollments.close("t1", "e1", "LOCKED", profile_version=1)
        audit(tx)
    assert (closed.state, closed.profile_version) == ("LOCKED", 1)
    assert closed.closed_at is not None
    with pytest.raises(Conflict):
        await add(store, clip(1))
    with pytest.raises(Conflict):
        async with store.transaction() as tx:
            await tx.voiceid.enrollments.close("t1", "e1", "ABANDONED")


async def test_an_enrolment_does_not_close_under_a_clip_that_is_being_added(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    await start(stores[0])

    async def close() -> Progress:
        async with stores[1].transaction() as tx:
            await tx.voiceid.enrollments.close("t1", "e1", "LOCKED", profile_version=1)
            audit(tx)
            return await tx.voiceid.enrollments.progress("t1", "e1")

    async with stores[0].transaction() as tx:
        await tx.voiceid.enrollments.add_clip("t1", "e1", clip(1))
        audit(tx)
        closing = asyncio.create_task(close())
        done, _ = await asyncio.wait({closing}, timeout=0.1)
        assert not done
    assert (await closing).clip_count == 1
    for store in stores:
        await store.close()


async def test_locking_needs_a_profile_and_abandoning_has_none(sqlite_store: Store) -> None:
    await start(sqlite_store)
    async with sqlite_store.transaction() as tx:
        with pytest.raises(ValueError, match="closes as"):
            await tx.voiceid.enrollments.close("t1", "e1", "LOCKED")
        with pytest.raises(ValueError, match="closes as"):
            await tx.voiceid.enrollments.close("t1", "e1", "ABANDONED", profile_version=1)


async def test_another_tenants_enrolment_is_not_found(store: Store) -> None:
    await start(store)
    with pytest.raises(NotFound):
        await store.voiceid.enrollments.get("t2", "e1")
    with pytest.raises(NotFound):
        async with store.transaction() as tx:
            await tx.voiceid.enrollments.add_clip("t2", "e1", clip(1))
