"""Control loops that die or that are many: what is due is done once (§21, §29)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1.consent_pb2 import REVOCATION_TRIGGER_USER_REQUEST

from servers.governance.controller import Controller
from servers.governance.revocation import ORDER_OF_WORK
from tests.servers.governance.house import BETTER, SCOPE, TENANT, Governed, governing, words
from tests.servers.governance.test_consent_service import learn
from tests.servers.governance.windows import window
from tests.support.dying import Dying, Killed

TRANSITIONS = (
    "revocation.captured",
    "revocation.frozen",
    "revocation.resolved",
    "revocation.invalidated",
    "revocation.rolled_back",
    "revocation.rebuilt",
    "revocation.released",
    "artifact.invalidated",
)


async def stopped(house: Governed, at: int, *, committed: bool) -> bool:
    """Let a controller look that dies on the way; whether it died."""
    try:
        await Controller(Dying(house.store, at, committed=committed), house.clock, every_s=3600).tick()
    except Killed:
        return True
    return False


async def revoked(house: Governed) -> str:
    """A user's pack serves; the user revokes."""
    await house.register(words("one"), active=True)
    await learn(house, await house.register(words("two"), active=True), "g-1", {"s-1": "ula", "s-2": "other"})
    trigger = REVOCATION_TRIGGER_USER_REQUEST
    return str((await house.call("ula", "RevokeConsent", user_id="ula", trigger=trigger)).revocation.revocation_id)


@pytest.mark.parametrize("committed", [False, True])
async def test_a_controller_that_dies_at_any_commit_leaves_every_step_done_once(
    tmp_path: Path, committed: bool
) -> None:
    for at in range(1, 5):
        async with governing(tmp_path / str(at)) as house:
            revocation_id = await revoked(house)
            assert await stopped(house, at, committed=committed)
            await house.controller.tick()
            kept = await house.store.governance.consents.revocation(TENANT, revocation_id)
            assert kept is not None
            assert [record.step for record in kept.message.steps] == list(ORDER_OF_WORK)
            assert await house.serves() == words("one")
            versions = await house.store.artifacts.versions("STT_VOCAB_PACK", TENANT, SCOPE)
            assert len(versions) == 3
            rebuilt = [one for one in await house.store.gold.page(TENANT, limit=9) if one.rebuilt_from]
            assert len(rebuilt) == 1
            assert len(await house.trail(*TRANSITIONS)) == len(TRANSITIONS)


async def test_four_controllers_at_once_move_a_rollout_once(tmp_path: Path, store_url: str) -> None:
    async with governing(tmp_path, {"store.url": store_url}) as house:
        rollout = await house.start(await house.candidate())
        await house.measure(rollout, BETTER)
        await asyncio.gather(*(house.another_controller().tick() for _ in range(4)))
        stands = await house.rollout(rollout.rollout_id)
        assert [entry.stage for entry in stands.stages] == [
            rollouts.ROLLOUT_STAGE_SHADOW,
            rollouts.ROLLOUT_STAGE_CANARY_1,
        ]
        assert len(await house.trail("rollout.advanced")) == 1


async def test_four_controllers_at_once_do_each_step_of_a_revocation_once(tmp_path: Path, store_url: str) -> None:
    async with governing(tmp_path, {"store.url": store_url}) as house:
        revocation_id = await revoked(house)
        await asyncio.gather(*(house.another_controller().tick() for _ in range(4)))
        await house.controller.tick()
        kept = await house.store.governance.consents.revocation(TENANT, revocation_id)
        assert kept is not None
        assert [record.step for record in kept.message.steps] == list(ORDER_OF_WORK)
        assert len(await house.trail(*TRANSITIONS)) == len(TRANSITIONS)
        assert await house.serves() == words("one")


async def test_a_rollout_whose_controller_died_before_the_commit_goes_on_with_the_next(tmp_path: Path) -> None:
    async with governing(tmp_path) as house:
        rollout = await house.start(await house.candidate())
        await house.measure(rollout, BETTER)
        assert await stopped(house, 1, committed=False)
        assert len((await house.rollout(rollout.rollout_id)).stages) == 1
        await house.controller.tick()
        assert len((await house.rollout(rollout.rollout_id)).stages) == 2


async def becomes(house: Governed, rollout_id: str, stage: rollouts.RolloutStage) -> None:
    """Returns once the rollout is in this stage; fails after a while."""
    for _ in range(500):
        if (await house.rollout(rollout_id)).stages[-1].stage == stage:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not in {rollouts.RolloutStage.Name(stage)}")


async def test_the_loops_look_by_themselves(tmp_path: Path) -> None:
    flags = {"owners.governance": {"loops": True, "look_every_s": 0.02}}
    async with governing(tmp_path, flags) as house:
        rollout = await house.start(await house.candidate())
        await house.measure(rollout, BETTER)
        await becomes(house, rollout.rollout_id, rollouts.ROLLOUT_STAGE_CANARY_1)
        assert len(await house.trail("rollout.advanced")) == 1


async def test_the_heartbeat_takes_back_what_regressed_within_a_minute(tmp_path: Path) -> None:
    async with governing(tmp_path) as house:
        rollout = await house.start(await house.candidate())
        await house.controller.tick()
        leak = window(rollouts.ARM_CANDIDATE, 1, {}, starts_at=house.now(), privacy_leaks=1)
        async with house.store.transaction() as tx:
            assert await tx.governance.rollouts.measured(rollout, rollouts.ROLLOUT_STAGE_SHADOW, leak)
            tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.measured", reason_code="TEST")
        house.skip(timedelta(seconds=50))
        await house.controller.tick()
        assert (await house.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_RUNNING
        house.skip(timedelta(seconds=10))
        await asyncio.gather(house.controller.tick(), house.another_controller().tick())
        assert (await house.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_ROLLED_BACK
        assert len(await house.trail("rollout.rolled_back")) == 1


async def test_a_heartbeat_that_finds_nothing_writes_nothing(tmp_path: Path) -> None:
    async with governing(tmp_path) as house:
        rollout = await house.start(await house.candidate())
        before = len(await house.owners.trail(TENANT))
        for _ in range(5):
            house.skip(timedelta(seconds=61))
            assert await house.controller.tick() == 0
        assert len(await house.owners.trail(TENANT)) == before
        assert (await house.rollout(rollout.rollout_id)).revision == 1


async def test_a_rollout_ends_when_another_version_takes_its_baselines_place(tmp_path: Path) -> None:
    async with governing(tmp_path) as house:
        rollout = await house.start(await house.candidate())
        await house.register(words("another"), active=True)
        await house.controller.tick()
        ended = await house.rollout(rollout.rollout_id)
        assert ended.rollback_reason == decisions.DECISION_REASON_BASELINE_REPLACED
        assert await house.serves() == words("another")
