"""KPI windows of rollouts, cut from what decisions and confirmations left: by side, by cohort, each row once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from selene.governance.v1.rollout_pb2 import (
    ARM_BASELINE,
    ARM_CANDIDATE,
    KPI_METRIC_FALSE_ACCEPTS,
    KPI_METRIC_FALSE_REJECTS,
    KPI_METRIC_IDENTITY_PROMPTS,
    KPI_METRIC_PROMPT_CONFIRMATIONS,
    KPI_METRIC_REJECTS,
    KPI_METRIC_REPEAT_PROMPT_VIOLATIONS,
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    KpiWindow,
    Rollout,
    RolloutStage,
    StageEntry,
)

from servers.runtime import meter as metering
from servers.runtime.clock import Clock
from servers.runtime.meter import Meter
from servers.voiceid.engine import ENGINE_ID
from servers.voiceid.measuring import Decisions, meter
from servers.voiceid.settings import VoiceIdSettings
from store import Store, StoreError
from tests.servers.voiceid.test_canaries import ACTIVE, CANDIDATE, EARLY, LATE, NEVER, TENANT, Line, begun
from tests.support.decisions import SPEAKER, Spoken, Traffic
from tests.support.servers import ask, serving
from tests.support.speech import Person
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

WINDOW = timedelta(minutes=15)
BETWEEN = (ACTIVE + CANDIDATE) // 2
"""A score that the active version accepts and the candidate does not."""
SIDES = (ARM_BASELINE, ARM_CANDIDATE)


@dataclass
class Measured:
    """A rollout, traffic under it, and one process that measures."""

    line: Line
    clock: FakeClock
    traffic: Traffic
    meter: Meter

    @property
    def store(self) -> Store:
        return self.line.store

    async def enter(self, stage: RolloutStage) -> None:
        """The next stage, now."""
        if self.line.rollout.stages:
            self.line.rollout.stages[-1].left_at.FromDatetime(self.clock.now())
        await self.line.move(stage)
        await entered(self.line, self.clock.now())

    async def end(self) -> int:
        """Until the window under way has ended and was cut; how many spans were."""
        self.clock.advance(WINDOW)
        return await self.meter.tick()

    async def windows(self, *stages: RolloutStage, cohort: str = "") -> list[KpiWindow]:
        found = await self.store.governance.rollouts.windows(TENANT, self.line.rollout.rollout_id, stages)
        return [window for window in found if window.cohort == cohort]

    async def turns(self, *stages: RolloutStage) -> tuple[int, int]:
        """Of the baseline and of the candidate, in all windows."""
        windows = await self.windows(*stages)
        baseline, candidate = (sum(each.turns for each in windows if each.arm == arm) for arm in SIDES)
        return baseline, candidate


async def entered(line: Line, at: datetime) -> None:
    """The rollout is in its last stage since then."""
    rollout: Rollout = line.rollout
    rollout.stages[-1].entered_at.FromDatetime(at)
    async with line.store.transaction() as tx:
        await tx.governance.rollouts.save(rollout, at)
        audit(tx, TENANT)


async def measured(
    store: Store, clock: FakeClock, stage: RolloutStage = ROLLOUT_STAGE_CANARY_1, *, payload: bytes = b""
) -> Measured:
    line = await begun(store, stage, payload=payload)
    del line.rollout.stages[:]
    line.rollout.stages.append(StageEntry(stage=stage, share_bp=500))
    line.rollout.started_at.FromDatetime(clock.now())
    await entered(line, clock.now())
    return Measured(line, clock, Traffic(store, clock, TENANT), metered(store, clock))


def metered(store: Store, clock: Clock) -> Meter:
    return meter(store, clock, VoiceIdSettings(kpi_window_s=WINDOW.total_seconds()))


def counted(window: KpiWindow) -> dict[int, tuple[int, int]]:
    return {count.metric: (count.numerator, count.denominator) for count in window.counts}


async def test_a_canary_is_counted_beside_those_that_the_active_version_serves(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    start = clock.now()
    await house.traffic.speak([Spoken(EARLY, BETWEEN, SPEAKER)] * 3)
    await house.traffic.speak([Spoken(NEVER, BETWEEN, SPEAKER)] * 5 + [Spoken(NEVER, 9_990, "")] * 2)
    assert await house.meter.tick() == 0, "the window has not ended"
    assert await house.end() == 1
    baseline, candidate = await house.windows()
    assert (baseline.arm, baseline.turns, candidate.arm, candidate.turns) == (ARM_BASELINE, 7, ARM_CANDIDATE, 3)
    for window in (baseline, candidate):
        assert window.starts_at.ToDatetime(start.tzinfo) == start
        assert window.ends_at.ToDatetime(start.tzinfo) == start + WINDOW
        assert sum(bucket.turns for bucket in window.latencies) == window.turns
    assert counted(baseline)[KPI_METRIC_FALSE_REJECTS] == (0, 5)
    assert counted(baseline)[KPI_METRIC_FALSE_ACCEPTS] == (2, 2)
    assert counted(candidate)[KPI_METRIC_FALSE_REJECTS] == (3, 3)
    assert KPI_METRIC_FALSE_ACCEPTS not in counted(candidate)


async def test_in_the_shadow_the_candidate_decides_on_what_everyone_says_and_serves_nobody(
    store: Store, clock: FakeClock
) -> None:
    house = await measured(store, clock, ROLLOUT_STAGE_SHADOW)
    ids = await house.traffic.speak([Spoken(LATE, BETWEEN, SPEAKER, session_id="one")] * 4)
    kept = await store.voiceid.streams.get(TENANT, ids[0])
    assert kept.named_user_id == SPEAKER
    await house.end()
    baseline, candidate = await house.windows(ROLLOUT_STAGE_SHADOW)
    assert counted(baseline)[KPI_METRIC_FALSE_REJECTS] == (0, 4)
    assert counted(candidate)[KPI_METRIC_FALSE_REJECTS] == (4, 4)
    assert (baseline.turns, candidate.turns) == (4, 4)
    assert counted(candidate)[KPI_METRIC_IDENTITY_PROMPTS] == (1, 1), "it would ask once a session"
    assert KPI_METRIC_PROMPT_CONFIRMATIONS not in counted(candidate), "and nobody was asked"
    assert not candidate.latencies


@pytest.mark.parametrize("stage", [ROLLOUT_STAGE_SHADOW, ROLLOUT_STAGE_CANARY_1])
async def test_a_candidate_that_cannot_decide_is_not_measured_by_what_decided_for_it(
    sqlite_store: Store, clock: FakeClock, stage: RolloutStage
) -> None:
    house = await measured(sqlite_store, clock, stage, payload=b"garbage")
    await house.traffic.speak([Spoken(EARLY, 9_990)] * 2)
    await house.end()
    assert await house.turns() == (2 if stage == ROLLOUT_STAGE_SHADOW else 0, 0)


async def test_a_revoked_candidate_is_mirrored_no_more(sqlite_store: Store, clock: FakeClock) -> None:
    house = await measured(sqlite_store, clock, ROLLOUT_STAGE_SHADOW)
    await house.line.revoke()
    await house.traffic.speak([Spoken(EARLY, 9_990)])
    await house.end()
    assert await house.turns() == (1, 0)


async def test_where_everyone_has_the_candidate_there_is_no_other_side(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    await house.enter(ROLLOUT_STAGE_FULL)
    await house.traffic.speak([Spoken(NEVER, 9_990)] * 2)
    await house.end()
    [window] = await house.windows(ROLLOUT_STAGE_FULL)
    assert (window.arm, window.turns) == (ARM_CANDIDATE, 2)


async def test_cohorts_are_counted_apart(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    await house.traffic.speak([Spoken(EARLY, 9_990, language="en")] * 2 + [Spoken(EARLY, 9_990, language="pt-BR")])
    await house.end()
    assert [window.turns for window in await house.windows(cohort="language:en")] == [2]
    assert [window.turns for window in await house.windows(cohort="language:pt-BR")] == [1]


async def test_a_window_belongs_to_one_stage(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    await house.traffic.speak([Spoken(LATE, 9_990)] * 2)
    clock.advance(WINDOW / 3)
    await house.enter(ROLLOUT_STAGE_CANARY_2)
    await house.traffic.speak([Spoken(LATE, 9_990)] * 3)
    await house.end()
    assert await house.turns(ROLLOUT_STAGE_CANARY_1) == (2, 0)
    assert await house.turns(ROLLOUT_STAGE_CANARY_2) == (0, 3)
    first, *_ = await house.windows(ROLLOUT_STAGE_CANARY_1)
    second, *_ = await house.windows(ROLLOUT_STAGE_CANARY_2)
    assert first.ends_at == second.starts_at


async def test_what_is_said_later_counts_in_the_window_in_which_it_was_said(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    [stream_id] = await house.traffic.speak([Spoken(EARLY, BETWEEN, session_id="one")])
    await house.end()
    for _ in range(2):
        async with store.transaction() as tx:
            await tx.voiceid.observations.confirm(TENANT, stream_id, SPEAKER)
            audit(tx, TENANT)
    await house.end()
    first, second = (window for window in await house.windows() if window.arm == ARM_CANDIDATE)
    assert (first.turns, KPI_METRIC_FALSE_REJECTS in counted(first)) == (1, False)
    assert (second.turns, counted(second)[KPI_METRIC_FALSE_REJECTS]) == (0, (1, 1))
    assert counted(first)[KPI_METRIC_PROMPT_CONFIRMATIONS] == (0, 1)
    assert counted(second)[KPI_METRIC_PROMPT_CONFIRMATIONS] == (1, 0)


async def test_a_session_that_goes_on_is_one_session(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    await house.traffic.speak([Spoken(EARLY, BETWEEN, session_id="long")] * 2)
    await house.end()
    await house.traffic.speak([Spoken(EARLY, BETWEEN, session_id=name) for name in ("long", "other")])
    await house.end()
    windows = [counted(window) for window in await house.windows() if window.arm == ARM_CANDIDATE]
    assert [each[KPI_METRIC_IDENTITY_PROMPTS] for each in windows] == [(1, 1), (1, 1)]
    assert [each[KPI_METRIC_REPEAT_PROMPT_VIOLATIONS] for each in windows] == [(0, 1), (0, 1)]
    assert [each[KPI_METRIC_REJECTS] for each in windows] == [(0, 2), (0, 2)]


async def test_that_nobody_came_is_measured(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    clock.advance(4 * WINDOW)
    assert await house.meter.tick() == 1
    baseline, candidate = await house.windows()
    assert (baseline.turns, candidate.turns) == (0, 0)
    assert candidate.ends_at.ToDatetime(clock.now().tzinfo) == clock.now()


async def test_of_several_processes_each_row_is_counted_once(store_url: str, clock: FakeClock) -> None:
    stores = [await open_store(store_url, clock, prefix=f"server{number}") for number in range(3)]
    house = await measured(stores[0], clock)
    meters = [metered(store, clock) for store in stores]
    for _ in range(3):
        await house.traffic.speak([Spoken(EARLY, 9_990), Spoken(NEVER, 9_990)] * 2)
        clock.advance(WINDOW)
        assert sum(await asyncio.gather(*(each.tick() for each in meters))) == 1
    assert await house.turns() == (6, 6)
    assert len(await house.windows()) == 6
    for store in stores:
        await store.close()


async def test_a_process_that_dies_while_it_counts_leaves_nothing_counted(store: Store, clock: FakeClock) -> None:
    class Dying(Decisions):
        async def count(self, *given: object, **named: object) -> None:
            await super().count(*given, **named)  # type: ignore[arg-type]  # handed on as it came
            raise StoreError("the process dies here")

    house = await measured(store, clock)
    await house.traffic.speak([Spoken(EARLY, 9_990)] * 4)
    clock.advance(WINDOW)
    dying = Meter(store, clock, ENGINE_ID, Dying(), window_s=WINDOW.total_seconds(), look_s=1.0)
    with pytest.raises(StoreError):
        await dying.tick()
    assert await house.windows() == []
    assert await house.meter.tick() == 1
    assert await house.turns() == (0, 4)


async def test_a_row_that_is_committed_after_its_window_ended_counts_in_the_next(
    store: Store, clock: FakeClock
) -> None:
    house = await measured(store, clock)
    late = FakeClock(clock.now())
    await house.end()
    await Traffic(store, late, TENANT).speak([Spoken(EARLY, 9_990)])
    await house.end()
    assert [window.turns for window in await house.windows() if window.arm == ARM_CANDIDATE] == [0, 1]


async def test_a_window_that_would_hold_too_many_rows_ends_earlier(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metering, "AT_ONCE", 4)
    house = await measured(store, clock)
    for _ in range(5):
        await house.traffic.speak([Spoken(EARLY, 9_990)] * 2)
        clock.advance(timedelta(seconds=1))
    await house.end()
    windows = [window for window in await house.windows() if window.arm == ARM_CANDIDATE]
    assert [window.turns for window in windows] == [4, 4, 2]
    assert all(one.ends_at == other.starts_at for one, other in itertools.pairwise(windows))


@pytest.mark.parametrize("end", [Line.take_back, Line.revoke])
async def test_a_candidate_that_is_over_is_measured_no_more(
    store: Store, clock: FakeClock, end: Callable[[Line], object]
) -> None:
    house = await measured(store, clock)
    await house.traffic.speak([Spoken(EARLY, 9_990)])
    await house.end()
    await end(house.line)  # type: ignore[misc]  # each of them is awaited
    await house.traffic.speak([Spoken(EARLY, 9_990)])
    await house.end()
    assert await house.turns() == (0, 1)


async def test_without_a_rollout_decisions_leave_no_rows(store: Store, clock: FakeClock) -> None:
    house = await measured(store, clock)
    await house.line.take_back()
    await house.traffic.speak([Spoken(EARLY, 9_990, SPEAKER)])
    found = store.voiceid.observations.uncounted
    assert await found(TENANT, house.line.rollout.rollout_id, clock.now() + WINDOW, 0) is None


async def test_what_people_say_and_confirm_over_the_wire_is_measured(home: Path, mira: Person) -> None:
    async with serving(home) as house:
        line = await begun(house.store)
        del line.rollout.stages[:]
        line.rollout.stages.append(StageEntry(stage=ROLLOUT_STAGE_CANARY_1, share_bp=500))
        line.rollout.started_at.FromDatetime(house.clock.now())
        await entered(line, house.clock.now())
        for device in (EARLY, NEVER):
            await ask(house, mira.ask, session_id=device, device_id=device)
        streams = {
            stream.device_id: stream
            async for stream in house.store.voiceid.streams.decided(
                TENANT, since=line.rollout.started_at.ToDatetime(house.clock.now().tzinfo), until=house.clock.now()
            )
        }
        for device, stream in streams.items():
            await house.client(device=device).confirm(stream.stream_id, mira.name)
        house.clock.skip(2 * WINDOW.total_seconds())
        await metered(house.store, house.clock).tick()
        windows = await house.store.governance.rollouts.windows(TENANT, line.rollout.rollout_id)
        told = [event for event in await house.trail() if event.transition == "rollout.measured"]
    everyone = {window.arm: window for window in windows if not window.cohort}
    assert [everyone[arm].turns for arm in SIDES] == [1, 1]
    unnamed = {arm: not streams[name].named_user_id for arm, name in zip(SIDES, (NEVER, EARLY), strict=True)}
    assert {arm: counted(everyone[arm])[KPI_METRIC_REJECTS] for arm in SIDES} == {
        arm: (unnamed[arm], 1) for arm in SIDES
    }
    assert all(counted(everyone[arm])[KPI_METRIC_FALSE_REJECTS][1] == 1 for arm in SIDES)
    assert all(sum(bucket.turns for bucket in everyone[arm].latencies) == 1 for arm in SIDES)
    assert [event.owner for event in told] == [ENGINE_ID]
