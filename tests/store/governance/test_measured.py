"""Windows that owners cut themselves: each span taken once, read by the judge beside those that were handed in."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest
from selene.governance.v1 import rollout_pb2 as v1

from store import Conflict, Store
from tests.store.governance.test_governance import MINUTE, START, rollout, start, window
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

SOURCE = "PH1.VOICE.ID"


async def take(store: Store, of: v1.Rollout, since: datetime, until: datetime, source: str = SOURCE) -> bool:
    async with store.transaction() as tx:
        taken = await tx.governance.measured.claim(of, source, since, until)
        audit(tx)
    return taken


async def test_a_source_begins_with_the_rollout_and_goes_on_where_it_ended(store: Store) -> None:
    assert await store.governance.measured.until(rollout(), SOURCE) == START
    assert await take(store, rollout(), START, START + MINUTE)
    assert await store.governance.measured.until(rollout(), SOURCE) == START + MINUTE
    assert not await take(store, rollout(), START, START + 2 * MINUTE), "another process has taken that minute"
    assert await take(store, rollout(), START + MINUTE, START + 2 * MINUTE)
    assert await store.governance.measured.until(rollout(), "PH1.C") == START, "each source for itself"


async def test_of_several_processes_one_takes_a_span(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(3)]
    for minute in range(3):
        since = START + minute * MINUTE
        assert sum(await asyncio.gather(*(take(each, rollout(), since, since + MINUTE) for each in stores))) == 1
    for each in stores:
        await each.close()


async def test_the_judge_reads_what_was_measured_beside_what_was_handed_in(store: Store) -> None:
    of = rollout()
    await start(store, of)
    async with store.transaction() as tx:
        assert await tx.governance.rollouts.measured(of, v1.ROLLOUT_STAGE_SHADOW, window(START, MINUTE))
        own = [(v1.ROLLOUT_STAGE_SHADOW, window(START + minute * MINUTE, MINUTE)) for minute in range(3)]
        await tx.governance.measured.keep(of, SOURCE, own)
        await tx.governance.measured.keep(of, SOURCE, [(v1.ROLLOUT_STAGE_CANARY_1, window(START, MINUTE))])
        audit(tx)
    read = store.governance.rollouts.windows
    assert len(await read("t1", "r-1")) == 5
    assert len(await read("t1", "r-1", [v1.ROLLOUT_STAGE_SHADOW])) == 4
    assert len(await read("t1", "r-1", [v1.ROLLOUT_STAGE_SHADOW], since=START + MINUTE)) == 2
    assert await read("t2", "r-1") == []


async def test_a_window_is_kept_once(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.governance.measured.keep(rollout(), SOURCE, [(v1.ROLLOUT_STAGE_SHADOW, window(START, MINUTE))])
        audit(tx)
    with pytest.raises(Conflict):
        async with store.transaction() as tx:
            await tx.governance.measured.keep(rollout(), SOURCE, [(v1.ROLLOUT_STAGE_SHADOW, window(START, MINUTE))])
            audit(tx)
    assert len(await store.governance.rollouts.windows("t1", "r-1")) == 1


async def test_rollouts_are_found_by_what_is_rolled_out_and_by_whom_it_serves(store: Store) -> None:
    of_everyone, testing, over = rollout("r-1"), rollout("r-2", START + timedelta(days=1)), rollout("r-3")
    of_everyone.stages.add(stage=v1.ROLLOUT_STAGE_FULL)
    testing.stages.add(stage=v1.ROLLOUT_STAGE_SHADOW)
    over.stages.add(stage=v1.ROLLOUT_STAGE_FULL)
    over.state = v1.ROLLOUT_STATE_ROLLED_BACK
    await start(store, of_everyone, testing, over)
    reads = store.governance.measured
    assert [each.rollout_id for each in await reads.of_type("t1", "STT_VOCAB_PACK")] == ["r-1", "r-2"]
    assert [each.rollout_id for each in await reads.of_everyone(["STT_VOCAB_PACK"])] == ["r-1"]
    assert await reads.of_type("t1", "OTHER") == await reads.of_type("t2", "STT_VOCAB_PACK") == []
    assert await reads.of_everyone(["OTHER"]) == []
