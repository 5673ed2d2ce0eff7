"""A rollout goes on only while everything holds that it began with, and takes back nothing but its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.governance.v1 import consent_pb2 as consents
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import SeededIds
from tests.servers.governance.chain import (
    BETTER,
    EVIDENCE,
    PACK,
    START,
    TENANT,
    Chain,
    counts,
    open_store,
    place,
)

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
    await chain.call("build", "SubmitBuilderReport", **about, report=await chain.report(row))
    await chain.call(coder, "Approve", **about, kind=decisions.APPROVAL_KIND_CODE)
    await chain.call("cay", "Approve", **about, kind=decisions.APPROVAL_KIND_LAUNCH)
    await shown(chain, row)
    reply = await chain.call("ann", "StartRollout", **about)
    return row, reply.rollout.rollout_id


async def shown(chain: Chain, row: ArtifactRow, **fields: bytes) -> None:
    """Hand in a consumption proof."""
    bundle = await chain.bundle_ref(row)
    await chain.call("build", "SubmitConsumptionProof", **await chain.proof(row, bundle, **fields))


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


async def test_what_came_after_a_candidate_is_not_taken_back_for_it(chain: Chain) -> None:
    _, rollout_id = await begun(chain)
    await chain.advance(rollout_id, FULL)
    async with chain.store.transaction() as tx:
        later = ArtifactRow(
            artifact_type=PACK,
            tenant_id=TENANT,
            scope=LINE,
            created_by="PH1.KNOW",
            idempotency_key="by hand",
            status=ARTIFACT_STATUS_CANDIDATE,
        )
        later = await tx.artifacts.register(later, b"by hand")
        await tx.artifacts.activate(PACK, TENANT, LINE, later.artifact_version)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.activated", reason_code="TEST")
    chain.a_day_passes()
    measured = await chain.measure(rollout_id, counts(900, 1_600))
    assert measured.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert await chain.serves(LINE) == later


async def test_a_line_is_taken_back_once_however_much_of_it_was_revoked(chain: Chain) -> None:
    for number in (1, 2):
        row = await chain.packaged(LINE, {f"s-{number}": "ula", f"else-{number}": "vic"})
        await chain.advance(await chain.start(row), FULL)
        chain.a_day_passes()
    await chain.revoke("ula")
    await chain.settle()
    versions = await chain.store.artifacts.versions(PACK, TENANT, LINE)
    assert [version.created_by for version in versions] == ["PH1.KNOW"] * 3 + ["PH1.GOV"]
    serves = await chain.serves(LINE)
    assert serves is not None and serves.package_hash == versions[0].package_hash


async def test_a_consent_that_ran_out_ends_also_where_it_is_given_anew_before_anybody_looks(chain: Chain) -> None:
    signal_id = await chain.capture("s-1", "ula")
    expires_at = chain.clock.now() + timedelta(days=1)
    await chain.call("ula", "GrantConsent", user_id="ula", expires_at=expires_at)
    chain.a_day_passes()
    await chain.call("ula", "GrantConsent", user_id="ula")
    ended = await chain.store.governance.consents.page(TENANT, limit=9, only_open=False)
    assert [(each.user_id, each.trigger) for each in ended] == [("ula", consents.REVOCATION_TRIGGER_EXPIRED_TTL)]
    with pytest.raises(Refusal) as refused:
        await chain.propose(LINE, [signal_id])
    assert reason_name(refused.value.reason) == "CONSENT_REQUIRED"
    chain.clock.advance(1.0)
    assert await chain.propose(LINE, [await chain.capture("s-2", "ula")])
