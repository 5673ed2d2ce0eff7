"""A rollout goes on only while everything holds that it began with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from tests.servers.governance.chain import BETTER, EVIDENCE, PACK, REPORT, START, TENANT, Chain, open_store, place

LINE = place("en")
CANARY = rollouts.ROLLOUT_STAGE_CANARY_1
FULL = rollouts.ROLLOUT_STAGE_FULL


@pytest.fixture
async def chain(sqlite_url: str) -> AsyncIterator[Chain]:
    clock, ids = ManualClock(START), SeededIds(1)
    store = await open_store(sqlite_url, clock, ids)
    yield Chain(store, clock, ids)
    await store.close()


async def begun(chain: Chain, coder: str = "bob") -> tuple[ArtifactRow, str]:
    """A rollout that somebody gave the code approval for."""
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"})
    about = {"artifact_id": row.artifact_id}
    await chain.call("ann", "Decide", **about, action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE)
    await chain.call("build", "SubmitBuilderReport", **about, report=REPORT)
    await chain.call(coder, "Approve", **about, kind=decisions.APPROVAL_KIND_CODE)
    await chain.call("cay", "Approve", **about, kind=decisions.APPROVAL_KIND_LAUNCH)
    await shown(chain, row)
    reply = await chain.call("ann", "StartRollout", **about)
    return row, reply.rollout.rollout_id


async def shown(chain: Chain, row: ArtifactRow, **fields: bytes) -> None:
    """Hand in a consumption proof."""
    bundle = await chain.bundle_ref(row)
    await chain.call("build", "SubmitConsumptionProof", **chain.proof(row, bundle, **fields))


async def a_good_day(chain: Chain, rollout_id: str) -> rollouts.RolloutStage:
    """The stage that the rollout is in at its end."""
    chain.a_day_passes()
    await chain.measure(rollout_id, BETTER)
    await chain.controller().tick()
    return (await chain.rollout(rollout_id)).stages[-1].stage


async def lacking(chain: Chain) -> str:
    """The gates that the last look at a rollout named."""
    looks = [event for event in await chain.trail() if event.transition == "rollout.judged"]
    return next((fact.value for fact in looks[-1].facts if fact.name == "missing"), "")


async def test_a_proof_that_fails_later_holds_a_rollout_until_one_passes(chain: Chain) -> None:
    row, rollout_id = await begun(chain)
    await shown(chain, row, replay_validation_hash=b"x" * 32)
    assert await a_good_day(chain, rollout_id) == rollouts.ROLLOUT_STAGE_SHADOW
    assert await lacking(chain) == "CONSUMPTION_PROOF"
    await shown(chain, row)
    assert await a_good_day(chain, rollout_id) == CANARY


async def test_an_approver_who_proposes_afterwards_has_approved_their_own_work(chain: Chain) -> None:
    row, rollout_id = await begun(chain, coder="dan")
    await chain.advance(rollout_id, CANARY)
    again = {"action": decisions.DECISION_ACTION_PROMOTE, "evidence": EVIDENCE}
    await chain.call("dan", "Decide", artifact_id=row.artifact_id, **again)
    for _ in range(9):
        assert await a_good_day(chain, rollout_id) == CANARY
    assert "CODE_APPROVAL" in await lacking(chain)


async def test_a_decision_that_blocks_afterwards_holds_a_rollout(chain: Chain) -> None:
    row, rollout_id = await begun(chain)
    private = decisions.DecisionEvidence()
    private.CopyFrom(EVIDENCE)
    private.privacy.passed = False
    asked = {"action": decisions.DECISION_ACTION_ACTIVATE, "evidence": private}
    reply = await chain.call("ann", "Decide", artifact_id=row.artifact_id, **asked)
    assert reply.decision.statement.decision == decisions.DECISION_BLOCK
    assert await a_good_day(chain, rollout_id) == rollouts.ROLLOUT_STAGE_SHADOW


async def test_what_serves_everyone_is_not_taken_back_because_a_gate_holds_no_more(chain: Chain) -> None:
    row, rollout_id = await begun(chain)
    await chain.advance(rollout_id, FULL)
    await shown(chain, row, replay_validation_hash=b"x" * 32)
    assert await a_good_day(chain, rollout_id) == FULL
    pointer = await chain.store.artifacts.pointer(PACK, TENANT, LINE)
    assert pointer is not None and pointer.active_version == row.artifact_version
