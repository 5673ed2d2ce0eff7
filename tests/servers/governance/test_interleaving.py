"""A revocation beside what it could miss, and beside what waits for the same rows: two transactions on PostgreSQL, the
one held where it would hurt until the other waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.gold_pb2 import GOLD_STATE_PACKAGED, GOLD_STATE_REVERTED
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1.consent_pb2 import Revocation

from servers.governance import moving
from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import SeededIds
from store.gold import Gold
from store.gold.lineage import Lineage
from store.governance.case import Cases
from tests.servers.governance.chain import BETTER, ON_THE_WAY, START, TENANT, Chain, open_store, place
from tests.store.test_activation import somebody_waits

LINE = place("de")
FULL, CANARY_2 = rollouts.ROLLOUT_STAGE_FULL, rollouts.ROLLOUT_STAGE_CANARY_2


@pytest.fixture
async def chain(postgres_url: str) -> AsyncIterator[Chain]:
    clock, ids = ManualClock(START), SeededIds(1)
    store = await open_store(postgres_url, clock, ids)
    yield Chain(store, clock, ids)
    await store.close()


class Held:
    """The first call of a method waits, once its work is done, until it is let go; later ones do not."""

    def __init__(self, patched: pytest.MonkeyPatch, owner: Any, name: str, *, before: bool = False) -> None:
        self.reached, self._gone_on = asyncio.Event(), asyncio.Event()
        whole = getattr(owner, name)

        async def held(*asked: Any, **which: Any) -> Any:
            if before:
                await self._wait()
                return await whole(*asked, **which)
            done = await whole(*asked, **which)
            await self._wait()
            return done

        patched.setattr(owner, name, held)

    async def _wait(self) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self._gone_on.wait()

    def let_go(self) -> None:
        self._gone_on.set()


async def interleaved(
    url: str, held: Held, first: Coroutine[Any, Any, Any], second: Coroutine[Any, Any, Any]
) -> tuple[Any, Any]:
    """Both outcomes, also where they are refusals: the second began while the first was held, and waited for it."""
    one = asyncio.ensure_future(first)
    await asyncio.wait({one, asyncio.ensure_future(held.reached.wait())}, return_when=asyncio.FIRST_COMPLETED)
    assert held.reached.is_set(), one
    other = asyncio.ensure_future(second)
    waits = asyncio.ensure_future(somebody_waits(url))
    await asyncio.wait({other, waits}, return_when=asyncio.FIRST_COMPLETED)
    is_waiting = not other.done()
    waits.cancel()
    held.let_go()
    done = await asyncio.gather(one, other, return_exceptions=True)
    assert is_waiting, "nothing of the first kept the second"
    return done[0], done[1]


async def golded(chain: Chain) -> str:
    """A gold set of ula's and xan's that could be packaged."""
    ids = [await chain.capture(name, user) for name, user in (("s-1", "ula"), ("s-2", "xan"))]
    gold_set_id = await chain.propose(LINE, ids)
    await chain.evidence(gold_set_id, ids)
    for state in ON_THE_WAY[:-1]:
        await chain.advance_gold(gold_set_id, state)
    return gold_set_id


async def is_frozen(chain: Chain, row: ArtifactRow) -> bool:
    return bool((await chain.store.governance.cases.get(TENANT, row.artifact_id)).frozen_by)


async def test_a_pack_that_is_registered_while_its_users_consent_ends_is_frozen_with_the_rest(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold_set_id = await golded(chain)
    held = Held(monkeypatch, Lineage, "link")
    packaging = chain.advance_gold(gold_set_id, GOLD_STATE_PACKAGED)
    packaged, revocation = await interleaved(postgres_url, held, packaging, chain.revoke("ula"))
    assert isinstance(revocation, Revocation)
    [pack] = packaged.packs
    assert pack.artifact_id in {subject.artifact_id for subject in revocation.affected_artifacts}
    assert await is_frozen(chain, pack)


async def test_packaging_that_begins_while_a_revocation_freezes_packages_nothing(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold_set_id = await golded(chain)
    held = Held(monkeypatch, Gold, "freeze", before=True)
    packaging = chain.advance_gold(gold_set_id, GOLD_STATE_PACKAGED)
    revocation, packaged = await interleaved(postgres_url, held, chain.revoke("ula"), packaging)
    assert isinstance(revocation, Revocation), revocation
    assert not packaged.transition.applied and not packaged.packs


async def test_an_activation_that_commits_while_a_revocation_begins_is_taken_back(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, rollout_id = await due_for_everyone(chain)
    held = Held(monkeypatch, moving, "_move_gold", before=True)
    _, revocation = await interleaved(postgres_url, held, chain.controller().tick(), chain.revoke("ula"))
    assert isinstance(revocation, Revocation), revocation
    assert (await chain.rollout(rollout_id)).stages[-1].stage == FULL
    await chain.settle()
    serves = await chain.serves(LINE)
    assert serves is None or serves.package_hash != pack.package_hash
    [gold_set_id] = revocation.affected_gold_set_ids
    gold = await chain.store.gold.get(TENANT, gold_set_id)
    assert gold is not None and gold.message.state == GOLD_STATE_REVERTED


async def test_a_rollout_whose_time_has_come_goes_on_to_nobody_once_a_revocation_has_begun(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rollout_id = await due_for_everyone(chain)
    held = Held(monkeypatch, Cases, "freeze")
    await interleaved(postgres_url, held, chain.revoke("ula"), chain.controller().tick())
    await chain.settle()
    stands = await chain.rollout(rollout_id)
    assert stands.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert [entry.stage for entry in stands.stages] == [1, 2, 3], "not for a moment did everyone have it"


async def test_a_rollout_that_is_started_while_a_revocation_freezes_is_refused_and_neither_waits_for_ever(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = await chain.packaged(LINE, {"s-1": "ula", "s-2": "xan"})
    await chain.prove(pack)
    held = Held(monkeypatch, Cases, "freeze", before=True)
    start = chain.call("ann", "StartRollout", artifact_id=pack.artifact_id)
    revocation, started = await interleaved(postgres_url, held, chain.revoke("ula"), start)
    assert isinstance(revocation, Revocation), revocation
    assert isinstance(started, Refusal) and reason_name(started.reason) == "ARTIFACT_FROZEN"


async def test_what_is_measured_of_an_earlier_rollout_does_not_keep_a_later_one_from_its_place(
    chain: Chain, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await chain.start(await chain.packaged(LINE, {"s-1": "ula", "s-2": "xan"}))
    await chain.advance(first, FULL)
    chain.a_day_passes()
    _, second = await due_for_everyone(chain, "later")
    held = Held(monkeypatch, moving, "_supersede", before=True)
    measured = chain.measure(first, BETTER)
    _, refused = await interleaved(postgres_url, held, chain.controller().tick(), measured)
    assert isinstance(refused, Refusal) and reason_name(refused.reason) == "ROLLOUT_STATE_REFUSED"
    assert (await chain.rollout(first)).state == rollouts.ROLLOUT_STATE_COMPLETED
    assert (await chain.rollout(second)).stages[-1].stage == FULL


async def due_for_everyone(chain: Chain, name: str = "s") -> tuple[ArtifactRow, str]:
    """A pack of ula's whose next look gives it to everyone, and its rollout."""
    pack = await chain.packaged(LINE, {f"{name}-1": "ula", f"{name}-2": "xan"})
    rollout_id = await chain.start(pack)
    await chain.advance(rollout_id, CANARY_2)
    for _ in range(7):
        chain.a_day_passes()
    await chain.measure(rollout_id, BETTER)
    return pack, rollout_id
