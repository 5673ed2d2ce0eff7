"""KPI windows of rollouts, cut from the trails of routed calls: by side, each call once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STATE_RUNNING,
    KpiMetric,
    KpiWindow,
    Rollout,
    StageEntry,
)

from servers.routing.live_packs import ServedPacks
from servers.routing.measures import observe
from servers.routing.measuring import Calls
from servers.routing.pack_choice import Arm, Subject
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.meter import Meter
from store import Store
from tests.servers.llm.test_learned import pack as gold_labels
from tests.servers.llm.test_service import LOCAL, desk
from tests.servers.routing.test_live_packs import PACK as TEXT
from tests.servers.routing.test_live_packs import consumer
from tests.support.live_packs import TENANT, begin, move, put, somebody, taken_on, told
from tests.support.routed import THIRD, Bench, bench, fails, hangs, says
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

OWNER, PACK, ROLLOUT = "PH1.D", "LLM_GOLD_LABEL_PACK", "rollout-1"
WINDOW = timedelta(minutes=15)
BROKEN = fails("PROVIDER_UNAVAILABLE")


def going_by(arm: str) -> ServedPacks:
    """What a call goes by on a side of the rollout; empty: on none."""
    return ServedPacks(sides={ROLLOUT: Arm(arm)} if arm else {})


async def rolled_out(store: Store, clock: FakeClock, *, tenant: str = "t1") -> Rollout:
    rollout = Rollout(
        rollout_id=ROLLOUT,
        tenant_id=tenant,
        subject=ArtifactRef(artifact_id="a-1", artifact_type=PACK),
        state=ROLLOUT_STATE_RUNNING,
        stages=[StageEntry(stage=ROLLOUT_STAGE_CANARY_1, share_bp=500)],
    )
    rollout.started_at.FromDatetime(clock.now())
    rollout.stages[0].entered_at.FromDatetime(clock.now())
    async with store.transaction() as tx:
        await tx.governance.rollouts.start(rollout, clock.now())
        audit(tx, tenant or "system")
    return rollout


def metered(store: Store, clock: Clock) -> Meter:
    return Meter(store, clock, OWNER, Calls(OWNER, {PACK}), window_s=WINDOW.total_seconds(), look_s=1.0)


async def windows_of(made: Bench, clock: FakeClock, *, tenant: str = "t1") -> dict[tuple[int, str], KpiWindow]:
    """By arm and cohort, once the window under way has ended."""
    await made.recorder.flush()
    clock.advance(WINDOW)
    assert await metered(made.store, clock).tick() == 1
    found = await made.store.governance.rollouts.windows(tenant, ROLLOUT)
    return {(window.arm, window.cohort): window for window in found}


def counted(window: KpiWindow) -> dict[str, tuple[int, int]]:
    return {
        KpiMetric.Name(count.metric).removeprefix("KPI_METRIC_"): (count.numerator, count.denominator)
        for count in window.counts
    }


async def test_calls_are_counted_on_their_side_and_in_their_locale(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, beside=partial(observe, OWNER))
    await rolled_out(store, clock)
    for arm, locale in (("candidate", "en-GB"), ("candidate", "de"), ("baseline", "en-GB"), ("", "en-GB")):
        await made.finished(made.call(packs=going_by(arm), locale=locale))
    await made.finished()
    windows = await windows_of(made, clock)
    assert {side: window.turns for side, window in windows.items()} == {
        (ARM_BASELINE, ""): 1,
        (ARM_BASELINE, "language:en-GB"): 1,
        (ARM_CANDIDATE, ""): 2,
        (ARM_CANDIDATE, "language:de"): 1,
        (ARM_CANDIDATE, "language:en-GB"): 1,
    }
    assert counted(windows[ARM_CANDIDATE, ""]) == {
        "SCHEMA_VALID": (2, 2),
        "POLICY_CONFLICTS": (0, 2),
        "CALL_FAILURES": (0, 2),
        "CALL_TIMEOUTS": (0, 2),
        "FALLBACKS": (0, 2),
        "COST_MICROS": (0, 2),
    }
    assert sum(bucket.turns for bucket in windows[ARM_CANDIDATE, ""].latencies) == 2


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (says("fine"), {"CALL_FAILURES": (0, 1), "FALLBACKS": (0, 1), "SCHEMA_VALID": (1, 1)}),
        (BROKEN, {"CALL_FAILURES": (0, 1), "FALLBACKS": (1, 1), "SCHEMA_VALID": (1, 1)}),
        (fails("RESPONSE_MALFORMED"), {"FALLBACKS": (1, 1), "SCHEMA_VALID": (1, 2), "POLICY_CONFLICTS": (0, 2)}),
        (fails("CONTENT_REFUSED"), {"SCHEMA_VALID": (1, 1), "POLICY_CONFLICTS": (0, 1)}),
        (fails("ADAPTER_SECRET_EXPOSED"), {"SCHEMA_VALID": (2, 2), "POLICY_CONFLICTS": (1, 2)}),
        (fails("ADAPTER_FOREIGN_PAYLOAD"), {"SCHEMA_VALID": (2, 2), "POLICY_CONFLICTS": (1, 2)}),
        (fails("ADAPTER_NOT_A_RESULT"), {"SCHEMA_VALID": (1, 2), "POLICY_CONFLICTS": (0, 2)}),
        (fails("DEADLINE_EXCEEDED"), {"CALL_TIMEOUTS": (1, 1), "FALLBACKS": (1, 1), "CALL_FAILURES": (0, 1)}),
    ],
)
async def test_what_a_first_provider_does_counts_though_a_second_one_serves(
    sqlite_store: Store, clock: FakeClock, turn: Any, expected: dict[str, tuple[int, int]]
) -> None:
    made = await bench(sqlite_store, clock, [turn], beside=partial(observe, OWNER))
    await rolled_out(sqlite_store, clock)
    await made.finished(made.call(packs=going_by("candidate")))
    found = counted((await windows_of(made, clock))[ARM_CANDIDATE, ""])
    assert {name: found[name] for name in expected} == expected


async def test_a_call_that_nobody_serves_is_a_failure(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [BROKEN], [BROKEN], beside=partial(observe, OWNER))
    made.providers[THIRD].now(BROKEN)
    await rolled_out(sqlite_store, clock)
    with pytest.raises(Refusal):
        await made.finished(made.call(packs=going_by("baseline")))
    found = counted((await windows_of(made, clock))[ARM_BASELINE, ""])
    assert found["CALL_FAILURES"] == (1, 1)
    assert found["FALLBACKS"] == (0, 1)
    assert "SCHEMA_VALID" not in found


async def test_a_call_that_its_caller_breaks_off_says_nothing_of_either_side(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock, [hangs()], beside=partial(observe, OWNER))
    await rolled_out(sqlite_store, clock)
    call = asyncio.ensure_future(made.run(made.call(packs=going_by("candidate"))))
    for _ in range(20):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert len(await made.trail("call.finished")) == 1
    assert [window.turns for window in (await windows_of(made, clock)).values()] == [0, 0]


async def test_calls_of_tenants_are_counted_for_a_rollout_of_the_deployment(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock, beside=partial(observe, OWNER))
    await rolled_out(sqlite_store, clock, tenant="")
    for tenant in ("t1", "t2"):
        await made.finished(made.call(tenant=tenant, request_id="the-same", packs=going_by("candidate")))
    assert (await windows_of(made, clock, tenant=""))[ARM_CANDIDATE, ""].turns == 2


async def test_of_several_processes_of_an_owner_each_call_is_counted_once(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(3)]
    await rolled_out(stores[0], clock)
    for store in stores:
        made = await bench(store, clock, beside=partial(observe, OWNER))
        for _ in range(2):
            await made.finished(made.call(packs=going_by("candidate")))
        await made.recorder.flush()
    clock.advance(WINDOW)
    assert sum(await asyncio.gather(*(metered(store, clock).tick() for store in stores))) == 1
    windows = await stores[0].governance.rollouts.windows("t1", ROLLOUT)
    assert [window.turns for window in windows if window.arm == ARM_CANDIDATE] == [6]
    for store in stores:
        await store.close()


async def test_what_another_owner_goes_by_is_not_measured(sqlite_store: Store, clock: FakeClock) -> None:
    await rolled_out(sqlite_store, clock)
    clock.advance(WINDOW)
    other = Meter(sqlite_store, clock, "PH1.TTS", Calls("PH1.TTS", {"TTS_PRONUNCIATION_PACK"}), window_s=60, look_s=1)
    assert await other.tick() == 0
    assert await sqlite_store.governance.rollouts.windows("t1", ROLLOUT) == []


async def test_a_call_is_on_the_side_of_every_rollout_that_its_version_takes_part_in(sqlite_store: Store) -> None:
    owner = consumer(sqlite_store)
    await put(sqlite_store, TEXT, b"one")
    first = await begin(sqlite_store, await put(sqlite_store, TEXT, b"two", active=False), rollout_id="rollout-0")

    async def sides(key: str) -> dict[str, Arm]:
        await owner.packs.refresh()
        return dict(owner.packs.choose(Subject(TENANT, key=key)).sides)

    for stage, early, never in (
        (None, {"rollout-0": Arm.CANDIDATE}, {"rollout-0": Arm.BASELINE}),
        (ROLLOUT_STAGE_FULL, {"rollout-0": Arm.CANDIDATE}, {"rollout-0": Arm.CANDIDATE}),
    ):
        if stage is not None:
            await move(sqlite_store, first, stage)
        assert await sides(somebody(0, 500, rollout_id="rollout-0")) == early
        assert await sides(somebody(2_500, 10_000, rollout_id="rollout-0")) == never
    await begin(sqlite_store, await put(sqlite_store, TEXT, b"three", active=False))
    assert await sides(somebody(0, 500)) == {"rollout-1": Arm.CANDIDATE}
    assert await sides(somebody(2_500, 10_000)) == {"rollout-1": Arm.BASELINE, "rollout-0": Arm.CANDIDATE}


async def test_the_calls_of_a_running_owner_are_measured(tmp_path: Path) -> None:
    async with desk(tmp_path, LOCAL) as llm:
        early, never = somebody(0, 500, prefix="user"), somebody(2_500, 10_000, prefix="user")
        store, clock = llm.owners.store, llm.owners.clock
        await put(store, PACK, gold_labels())
        rollout = await begin(store, await put(store, PACK, gold_labels(), active=False))
        del rollout.stages[1:]
        rollout.started_at.FromDatetime(clock.now())
        rollout.stages[0].entered_at.FromDatetime(clock.now())
        async with store.transaction() as tx:
            await tx.governance.rollouts.save(rollout, clock.now())
            audit(tx, TENANT)
        await taken_on(llm.service._router, f"{PACK}@2", key=early)
        for number, who in enumerate((early, early, never)):
            events = await llm.ask(user=who, idempotency_key=f"k-{number}")
            await told(llm.owners, events[0].started.request_id)
        clock.skip(WINDOW.total_seconds())

        await metered(store, clock).tick()
        found = await store.governance.rollouts.windows(TENANT, rollout.rollout_id)
        turns = {window.arm: window.turns for window in found if not window.cohort}
    assert turns == {ARM_BASELINE: 1, ARM_CANDIDATE: 2}
