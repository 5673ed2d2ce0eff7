from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from store import Conflict, NotFound, Store
from store.voiceid import DecidedStream, Kept
from tests.support.stores import audit, open_store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STREAM = DecidedStream(
    tenant_id="t1",
    stream_id="stream-1",
    session_id="s1",
    device_id="d1",
    kind="IDENTIFY",
    claimed_user_id="",
    named_user_id="u1",
    cohort={"language": "en", "noise_class": "quiet"},
    decision=b"first decision",
    cooldown_key=b"key",
    latency_us=1234,
    decided_at=NOON,
    speaker_user_id=None,
)


async def decide(store: Store, stream: DecidedStream) -> Kept:
    async with store.transaction() as tx:
        kept = await tx.voiceid.streams.decide(stream)
        audit(tx)
    return kept


async def name(store: Store, speaker: str) -> bool:
    async with store.transaction() as tx:
        news = await tx.voiceid.streams.name_speaker("t1", "stream-1", speaker)
        audit(tx)
    return news


async def test_a_decision_comes_back_as_it_was_given(store: Store) -> None:
    assert await decide(store, STREAM) == Kept(b"first decision", first=True)
    assert await store.voiceid.streams.get("t1", "stream-1") == STREAM


async def test_a_repeated_final_finds_the_first_decision(store: Store) -> None:
    await decide(store, STREAM)
    again = await decide(store, replace(STREAM, decision=b"second decision"))
    assert again == Kept(b"first decision", first=False)


async def test_one_of_two_servers_makes_the_decision(store_url: str) -> None:
    stores = [await open_store(store_url, prefix=f"server{number}") for number in range(2)]
    kept = await asyncio.gather(
        *(decide(stores[number % 2], replace(STREAM, decision=b"%d" % number)) for number in range(8))
    )
    assert sum(each.first for each in kept) == 1
    assert len({each.decision for each in kept}) == 1
    for store in stores:
        await store.close()


@pytest.mark.parametrize("speaker", ["u1", "u2", ""])
async def test_who_it_really_was_is_said_once(store: Store, speaker: str) -> None:
    await decide(store, STREAM)
    assert await name(store, speaker)
    assert not await name(store, speaker)
    assert (await store.voiceid.streams.get("t1", "stream-1")).speaker_user_id == speaker
    with pytest.raises(Conflict):
        await name(store, "somebody else")


async def test_a_stream_that_was_not_decided_has_no_speaker(store: Store) -> None:
    with pytest.raises(NotFound):
        await name(store, "u1")


async def test_a_window_holds_its_beginning_and_not_its_end(store: Store) -> None:
    for hour in range(4):
        at = NOON + timedelta(hours=hour)
        await decide(store, replace(STREAM, stream_id=f"stream-{hour}", decided_at=at))
    window = store.voiceid.streams.decided("t1", since=NOON + timedelta(hours=1), until=NOON + timedelta(hours=3))
    assert [stream.stream_id async for stream in window] == ["stream-1", "stream-2"]
    other = store.voiceid.streams.decided("t2", since=NOON, until=NOON + timedelta(days=1))
    assert [stream async for stream in other] == []
