"""The completeness check of an activation's trail (AUD-1), served: of a chain from signals to everyone and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc
from selene.audit.v1.audit_pb2 import (
    TRAIL_ROW_STATE_FOUND,
    TRAIL_ROW_STATE_MISPLACED,
    TRAIL_ROW_STATE_MISSING,
    AuditEvent,
    ChainedEvent,
)
from selene.gold.v1.gold_pb2 import GOLD_STATE_ACTIVATED, GOLD_STATE_PACKAGED, GoldTransition
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from clients.errors import from_rpc
from servers import activation
from servers.process import owner
from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from servers.runtime.server import Parts, serve
from store.gold import artifact_ref
from store.ledger import AuditTrail
from tests.servers.governance.chain import BETTER, EVIDENCE, START, TENANT, Chain, open_store, place
from tests.support.servers import settings_of
from tests.support.stores import audit as audited

FULL = rollouts.ROLLOUT_STAGE_FULL
AT_ITS_GATES = [
    activation.DECIDED,
    activation.REPORTED,
    activation.APPROVED,
    activation.APPROVED,
    activation.COMPLETED,
    activation.PROVED,
]
BEGUN = [*AT_ITS_GATES, activation.STARTED]
GOLD_ACTIVATED, GOLD_REVERTED = activation.GOLD_MOVED.values()
LIVE = [*BEGUN, activation.ADVANCED, activation.ADVANCED, GOLD_ACTIVATED, activation.ADVANCED, activation.DECIDED]
TAKEN_BACK = [*LIVE, activation.DECIDED, GOLD_REVERTED, activation.ROLLED_BACK]

Lost = Callable[[AuditEvent], bool]


class Desk:
    """A chain of people and programs, and the audit owner served over the store that they work on."""

    def __init__(self, chain: Chain, channel: grpc.aio.Channel) -> None:
        self.chain = chain
        self._stub = audit_grpc.AuditServiceStub(channel)

    async def check(self, **whose: str) -> audit.CheckTrailResponse:
        request = audit.CheckTrailRequest(tenant_id=TENANT, **whose)
        reply: audit.CheckTrailResponse = await self._stub.CheckTrail(request, timeout=20)
        return reply

    async def without(self, lost: Lost, **whose: str) -> audit.CheckTrailResponse:
        """What is found where some rows were never written."""
        return await self._rewritten(lambda chained: [each for each in chained if not lost(each.event)], **whose)

    async def _rewritten(
        self, told: Callable[[list[ChainedEvent]], list[ChainedEvent]], **whose: str
    ) -> audit.CheckTrailResponse:
        whole = AuditTrail.page

        async def page(trail: AuditTrail, *asked: Any, **which: Any) -> list[ChainedEvent]:
            return told(await whole(trail, *asked, **which))

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(AuditTrail, "page", page)
            return await self.check(**whose)

    async def out_of_place(self, moved: int, to: int, **whose: str) -> audit.CheckTrailResponse:
        """What is found where one event has the place of another, and that the place of the one."""
        places = {moved: to, to: moved}

        def told(chained: list[ChainedEvent]) -> list[ChainedEvent]:
            for each in chained:
                each.event.sequence = places.get(each.event.sequence, each.event.sequence)
            return sorted(chained, key=lambda each: each.event.sequence)

        return await self._rewritten(told, **whose)

    async def live(self, name: str = "de", user: str = "ula") -> tuple[ArtifactRow, str]:
        """A pack that everyone has, and its rollout."""
        row = await self.chain.packaged(place(name), {f"{name}-own": user, f"{name}-else": "xan"})
        rollout_id = await self.chain.start(row)
        await self.chain.advance(rollout_id, FULL)
        return row, rollout_id


@pytest.fixture
async def desk(store_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """On each of the two databases."""
    clock, ids = ManualClock(START), SeededIds(1)
    store = await open_store(store_url, clock, ids)
    parts = Parts(clock=clock, ids=ids, store=store, on_stop=(store.close,))
    async with await serve([owner("audit")], settings_of(tmp_path), parts) as running:
        async with grpc.aio.insecure_channel(running.target("audit")) as channel:
            yield Desk(Chain(store, clock, ids), channel)
        await running.stop(0)


def transitions(reply: audit.CheckTrailResponse) -> list[str]:
    return [row.transition for row in reply.rows]


async def each_row_counts(desk: Desk, wanted: list[str], **whose: str) -> None:
    """The trail is whole and these are its rows; without any one of them it has a gap, and that one is named."""
    whole = await desk.check(**whose)
    assert whole.complete and (whole.found, whole.expected) == (len(wanted), len(wanted))
    assert transitions(whole) == wanted
    assert {row.state for row in whole.rows} == {TRAIL_ROW_STATE_FOUND}
    assert len({row.event.sequence for row in whole.rows}) == len(wanted)
    for number, row in enumerate(whole.rows):
        assert row.event.transition == row.transition
        gap = await desk.without(lambda event, lost=row.event.sequence: event.sequence == lost, **whose)
        assert not gap.complete and gap.found < gap.expected == len(wanted), row.transition
        assert gap.rows[number].state != TRAIL_ROW_STATE_FOUND, row.transition
        assert list(gap.rows[number].facts) == list(row.facts)


async def test_every_row_of_an_activation_is_missed_where_it_is_lost(desk: Desk) -> None:
    row, rollout_id = await desk.live()
    await each_row_counts(desk, LIVE, artifact_id=row.artifact_id)
    await desk.chain.call("ann", "Rollback", rollout_id=rollout_id, reason_code="REGRETTED")
    await each_row_counts(desk, TAKEN_BACK, rollout_id=rollout_id)


async def test_what_has_no_rollout_yet_is_checked_up_to_where_it_stands(desk: Desk) -> None:
    row = await desk.chain.packaged(place("de"), {"s-1": "ula", "s-2": "xan"})
    untouched = await desk.check(artifact_id=row.artifact_id)
    assert (untouched.complete, untouched.expected, untouched.rollout_id) == (True, 0, "")
    assert untouched.subject.package_hash == row.package_hash
    action = decisions.DECISION_ACTION_ACTIVATE
    await desk.chain.call("ann", "Decide", artifact_id=row.artifact_id, action=action, evidence=EVIDENCE)
    await each_row_counts(desk, [activation.DECIDED], artifact_id=row.artifact_id)


async def test_what_is_at_its_last_gate_has_a_row_of_each(desk: Desk) -> None:
    row = await desk.chain.packaged(place("de"), {"s-1": "ula", "s-2": "xan"})
    await desk.chain.prove(row)
    await each_row_counts(desk, AT_ITS_GATES, artifact_id=row.artifact_id)


async def test_an_artifact_is_checked_with_its_latest_rollout(desk: Desk) -> None:
    first, first_rollout = await desk.live()
    desk.chain.a_day_passes()
    later = await desk.chain.packaged(place("de"), {"s-3": "ula", "s-4": "xan"})
    second = await desk.chain.start(later)
    assert (await desk.check(artifact_id=first.artifact_id)).rollout_id == first_rollout
    assert (await desk.check(artifact_id=later.artifact_id)).rollout_id == second
    assert transitions(await desk.check(artifact_id=later.artifact_id)) == BEGUN


async def test_what_was_superseded_has_a_row_of_that(desk: Desk) -> None:
    row, _ = await desk.live()
    desk.chain.a_day_passes()
    later = await desk.chain.packaged(place("de"), {"s-3": "ula", "s-4": "xan"})
    await desk.chain.advance(await desk.chain.start(later), FULL)
    await each_row_counts(desk, [*LIVE, activation.SUPERSEDED], artifact_id=row.artifact_id)


async def test_a_row_in_another_place_than_the_order_of_the_gates_is_a_gap(desk: Desk) -> None:
    _, rollout_id = await desk.live()
    found = {
        (one.transition, one.event.reason_code): one.event for one in (await desk.check(rollout_id=rollout_id)).rows
    }
    launch, started = found[activation.APPROVED, "LAUNCH"], found[activation.STARTED, "GATES_PASSED"]
    late = await desk.out_of_place(launch.sequence, started.sequence, rollout_id=rollout_id)
    assert not late.complete
    states = {one.event.event_id: one.state for one in late.rows}
    assert states[launch.event_id] == TRAIL_ROW_STATE_MISPLACED
    stages = [
        one.event for one in (await desk.check(rollout_id=rollout_id)).rows if one.transition == activation.ADVANCED
    ]
    swapped = await desk.out_of_place(stages[0].sequence, stages[1].sequence, rollout_id=rollout_id)
    assert TRAIL_ROW_STATE_MISPLACED in {one.state for one in swapped.rows} and not swapped.complete


async def test_gold_that_moved_without_a_row_is_a_gap_that_takes_the_rollout_back(desk: Desk) -> None:
    """Written for real: gold that a hand moved, where the control loops should have."""
    chain = desk.chain
    row = await chain.packaged(place("de"), {"s-1": "ula", "s-2": "xan"})
    rollout_id = await chain.start(row)
    for until in (rollouts.ROLLOUT_STAGE_CANARY_1, rollouts.ROLLOUT_STAGE_CANARY_2):
        await chain.advance(rollout_id, until)
    [gold_set_id] = await chain.store.gold.lineage.gold_sets(TENANT, f"artifact:{row.artifact_id}")
    for _ in range(7):
        chain.a_day_passes()
    await chain.measure(rollout_id, BETTER)
    step = GoldTransition(
        gold_set_id=gold_set_id, from_state=GOLD_STATE_PACKAGED, to_state=GOLD_STATE_ACTIVATED, applied=True
    )
    step.occurred_at.FromDatetime(chain.clock.now())
    async with chain.store.transaction() as tx:
        await tx.gold.decide(TENANT, step)
        audited(tx, TENANT)
    await chain.controller().tick()
    assert (await chain.rollout(rollout_id)).stages[-1].stage == FULL
    gap = await desk.check(rollout_id=rollout_id)
    assert [one.transition for one in gap.rows if one.state == TRAIL_ROW_STATE_MISSING] == [GOLD_ACTIVATED]
    await chain.controller().tick()
    taken_back = await chain.rollout(rollout_id)
    assert taken_back.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert list(taken_back.last_judgement.reasons) == [rollouts.JUDGE_REASON_AUDIT_INCOMPLETE]


async def test_gold_of_two_packs_goes_live_with_the_first_and_neither_trail_has_a_gap(desk: Desk) -> None:
    """Both reach everyone at the same moment: the row of their gold lies in the trail of one of them."""
    chain = desk.chain
    first = await chain.packaged(place("de"), {"s-1": "ula", "s-2": "xan"})
    second = await another_pack_of(chain, first)
    rollout_ids = [await chain.start(first), await chain.start(second)]
    for days in (1, 1, 7):
        for _ in range(days):
            chain.a_day_passes()
        for rollout_id in rollout_ids:
            await chain.measure(rollout_id, BETTER)
        await chain.controller().tick()
    replies = [await desk.check(rollout_id=each) for each in rollout_ids]
    assert [transitions(reply) for reply in replies] == [LIVE, LIVE]
    assert all(reply.complete for reply in replies)
    rows = [[row.event for row in reply.rows if row.transition == GOLD_ACTIVATED] for reply in replies]
    assert rows[0] == rows[1]
    lost = rows[0][0].sequence
    gaps = [await desk.without(lambda event: event.sequence == lost, rollout_id=each) for each in rollout_ids]
    assert [gap.complete for gap in gaps] == [False, False]
    await chain.call("ann", "Rollback", rollout_id=rollout_ids[0], reason_code="REGRETTED")
    assert all([(await desk.check(rollout_id=each)).complete for each in rollout_ids])


async def another_pack_of(chain: Chain, pack: ArtifactRow) -> ArtifactRow:
    """A pack of the same gold set, for another place, and what it returns to."""
    content = await chain.store.artifacts.payload(pack.package_hash)
    empty = await chain.store.artifacts.version(pack.artifact_type, TENANT, pack.scope, 1)
    origins = await chain.store.gold.lineage.edges(TENANT, artifact_ref(pack.artifact_id), descendants=False, limit=1)
    async with chain.store.transaction() as tx:
        for payload in (await chain.store.artifacts.payload(empty.package_hash), content):
            version = len(await tx.artifacts.versions(pack.artifact_type, TENANT, place("fr"))) + 1
            row = ArtifactRow(
                artifact_type=pack.artifact_type,
                tenant_id=TENANT,
                scope=place("fr"),
                provenance_ref="test",
                created_by=pack.created_by,
                idempotency_key=f"another-{version}",
                status=pack.status,
                rollback_pointer_ref=f"{pack.artifact_type}@{version - 1}" if version > 1 else "",
            )
            made = await tx.artifacts.register(row, payload)
        await tx.gold.lineage.link(TENANT, [origins[0].ancestor_ref], artifact_ref(made.artifact_id))
        audited(tx, TENANT)
    return made


@pytest.mark.parametrize("whose", [{"artifact_id": "nothing"}, {"rollout_id": "nothing"}])
async def test_nothing_has_no_trail(desk: Desk, whose: dict[str, str]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.check(**whose)
    assert from_rpc(caught.value).reason == "RESOURCE_NOT_FOUND"
