"""Voice packs and the frozen set in force: missing, leaking, regressing, passing; what leaks later goes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.evidence_pb2 import GoldItem, VoiceTrial
from selene.governance.v1 import consent_pb2 as board
from selene.governance.v1 import decision_pb2 as v1
from selene.governance.v1 import rollout_pb2 as rollouts

from servers import frozen
from servers.frozen_sets import FROZEN_SET, FrozenSet
from servers.governance import evaluating
from servers.governance.frozen import Finding
from store.gold import artifact_ref, gold_ref
from store.keys import signature_holds
from store.learning import Pair
from tests.servers.governance.house import PASSED, SCOPE, TENANT, Governed, governing
from tests.servers.governance.test_consent_service import learn, revoke, settled
from tests.support.frozen import NAMES, SPEAKERS, Sample, frozen_set, pack
from tests.support.learned import REF

PACK = "VOICEID_THRESHOLD_PACK_V1"
ACTIVE, LOOSER, OTHER = (rfc8785.dumps(one) for one in (pack(9_900), pack(9_000), pack(9_000, models="b" * 64)))
EVIDENCE = v1.DecisionEvidence(
    policy=PASSED,
    privacy=PASSED,
    required_cohorts=NAMES,
    cohort_results=[v1.CohortResult(cohort=name, genuine_trials=5_000, impostor_trials=50_000) for name in NAMES],
    evaluation_ref=REF,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as opened:
        await opened.register(ACTIVE, artifact_type=PACK, active=True)
        yield opened


async def freeze(house: Governed, found: FrozenSet, tenant: str = TENANT) -> dict[str, Any]:
    return await frozen.add(house.store, found.canonical(), "test", tenant)


async def candidate(house: Governed, payload: bytes = LOOSER) -> ArtifactRow:
    return await house.register(payload, artifact_type=PACK)


async def decided(house: Governed, row: ArtifactRow, **fields: Any) -> tuple[v1.Decision, list[v1.DecisionReason]]:
    statement = (await house.allow(row, **{"evidence": EVIDENCE, **fields})).statement
    return statement.decision, list(statement.reasons)


async def link(house: Governed, ancestors: list[str], row: ArtifactRow) -> None:
    async with house.store.transaction() as tx:
        await tx.gold.lineage.link(TENANT, ancestors, artifact_ref(row.artifact_id))
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.linked", reason_code="TEST")


async def learned_from(house: Governed, row: ArtifactRow, *speakers: str) -> None:
    """The pack came of a gold set of ula's signal s-1, with a trial of these speakers."""
    await learn(house, row, "g-1", {"s-1": "ula"})
    trial = VoiceTrial(score=1.0, cohort="en/mixed/kitchen/home", enrolled_ref=speakers[0], test_ref=speakers[-1])
    async with house.store.transaction() as tx:
        await tx.gold.add_items(TENANT, "g-1", [GoldItem(item_id="i-1", signal_id="s-1", trial=trial)])
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.added", reason_code="TEST")


async def start(house: Governed, row: ArtifactRow) -> rollouts.Rollout:
    """Every gate, with the evidence of voice packs."""
    await decided(house, row)
    which = {"artifact_id": row.artifact_id}
    await house.call("build", "SubmitBuilderReport", report=await house.report(row), **which)
    for who, kind in (("bob", v1.APPROVAL_KIND_CODE), ("cay", v1.APPROVAL_KIND_LAUNCH)):
        await house.call(who, "Approve", kind=kind, **which)
    bundle = (await house.call("ann", "GetGateBundle", **which)).gate_bundle_ref
    shown = await house.proof(row, bundle, consumer_engine_id="PH1.VOICE.ID", consumer_capability_id="IDENTIFY")
    await house.call("build", "SubmitConsumptionProof", **shown)
    return (await house.call("ann", "StartRollout", **which)).rollout


async def test_the_board_says_that_a_voice_shadow_waits_for_false_accepts_on_both_sides(house: Governed) -> None:
    await freeze(house, frozen_set())
    row = await candidate(house)
    rollout = await start(house, row)
    rejects = {rollouts.KPI_METRIC_FALSE_REJECTS: (5, 2_000)}
    await house.measure(rollout, rejects, baseline=rejects)
    await house.controller.tick()
    [held] = (await house.call("ann", "GetBoard", artifact_id=row.artifact_id)).rows
    assert (held.stage, list(held.held_by)[:1]) == (
        rollouts.ROLLOUT_STAGE_SHADOW,
        [rollouts.JUDGE_REASON_METRIC_MISSING],
    )
    assert [(each.metric, each.arm) for each in held.unmeasured] == [
        (rollouts.KPI_METRIC_FALSE_ACCEPTS, rollouts.ARM_CANDIDATE),
        (rollouts.KPI_METRIC_FALSE_ACCEPTS, rollouts.ARM_BASELINE),
    ]
    assert held.next_actor == board.BOARD_ACTOR_CONSUMER


async def test_without_a_frozen_set_a_voice_pack_is_held(house: Governed) -> None:
    assert await decided(house, await candidate(house)) == (
        v1.DECISION_HOLD,
        [v1.DECISION_REASON_FROZEN_SET_MISSING],
    )
    [row] = await house.trail("frozen_set.examined")
    assert (row.reason_code, row.owner) == ("FROZEN_SET_MISSING", "PH1.GOV")


async def test_a_pack_that_passes_is_allowed_and_its_evaluation_is_kept_and_signed(house: Governed) -> None:
    told = await freeze(house, frozen_set())
    row = await candidate(house)
    assert await decided(house, row) == (v1.DECISION_ALLOW, [v1.DECISION_REASON_GATES_PASSED])
    [kept] = await house.store.artifacts.versions("VOICEID_FROZEN_EVALUATION_V1", TENANT, SCOPE)
    assert signature_holds(house.store.trusted_keys(), kept.signing_key_id, kept.package_hash, kept.signature)
    shown = json.loads(await house.store.artifacts.payload(kept.package_hash))
    assert shown["frozen_set"] == told["sha256"]
    assert shown["candidate"]["package"] == row.package_hash.hex()
    assert shown["candidate"]["cohorts"]["noise:home"] == {
        "genuine": 1_500,
        "false_rejects": 0,
        "impostors": 15_000,
        "false_accepts": 0,
    }
    [event] = await house.trail("frozen_set.examined")
    assert {one.name: one.sha256 for one in event.hashes} == {
        "candidate": row.package_hash,
        "evaluation": kept.package_hash,
        "frozen_set": bytes.fromhex(told["sha256"]),
    }


@pytest.mark.parametrize(
    ("sample", "decision", "reasons"),
    [
        (Sample(genuine=1_499), v1.DECISION_HOLD, [v1.DECISION_REASON_COHORT_GATE_FAILED]),
        (Sample(impostors=14_999), v1.DECISION_HOLD, [v1.DECISION_REASON_COHORT_GATE_FAILED]),
        (Sample(low=8), v1.DECISION_HOLD, [v1.DECISION_REASON_COHORT_GATE_FAILED]),
        (Sample(low=7), v1.DECISION_ALLOW, [v1.DECISION_REASON_GATES_PASSED]),
        (Sample(high=1), v1.DECISION_BLOCK, [v1.DECISION_REASON_FROZEN_SET_REGRESSION]),
        (
            Sample(cohort=("de", "mixed", "kitchen", "home")),
            v1.DECISION_HOLD,
            [v1.DECISION_REASON_COHORT_GATE_FAILED],
        ),
    ],
)
async def test_what_the_set_shows_decides_whatever_the_proposer_says(
    house: Governed, sample: Sample, decision: v1.Decision, reasons: list[v1.DecisionReason]
) -> None:
    await freeze(house, frozen_set(sample))
    assert await decided(house, await candidate(house)) == (decision, reasons)


async def test_scores_of_another_scorer_are_no_evaluation(house: Governed) -> None:
    await freeze(house, frozen_set())
    for payload in (OTHER, b"not a pack", b"[1]"):
        assert await decided(house, await candidate(house, payload)) == (
            v1.DECISION_HOLD,
            [v1.DECISION_REASON_FROZEN_SET_MISSING],
        )


@pytest.mark.parametrize(
    ("speakers", "decision"),
    [
        (("mia", "noa"), v1.DECISION_ALLOW),
        (("mia", SPEAKERS[0]), v1.DECISION_BLOCK),
        ((SPEAKERS[1], "noa"), v1.DECISION_BLOCK),
    ],
)
async def test_what_was_learned_from_a_speaker_of_the_set_is_blocked(
    house: Governed, speakers: tuple[str, str], decision: v1.Decision
) -> None:
    await freeze(house, frozen_set())
    row = await candidate(house)
    await learned_from(house, row, *speakers)
    assert (await decided(house, row))[0] == decision


async def test_what_comes_from_a_row_of_the_set_is_blocked(house: Governed) -> None:
    await learn(house, None, "g-0", {"s-1": "ula"})
    await freeze(house, frozen_set(signals=["s-1"]))
    row = await candidate(house)
    await link(house, [gold_ref("g-0")], row)
    assert await decided(house, row) == (v1.DECISION_BLOCK, [v1.DECISION_REASON_FROZEN_SET_LEAKED])


async def test_what_was_learned_from_the_set_itself_is_blocked(house: Governed) -> None:
    await freeze(house, frozen_set())
    [in_force] = await house.store.artifacts.versions(FROZEN_SET, TENANT, SCOPE)
    row = await candidate(house)
    await link(house, [artifact_ref(in_force.artifact_id)], row)
    assert await decided(house, row) == (v1.DECISION_BLOCK, [v1.DECISION_REASON_FROZEN_SET_LEAKED])


async def test_a_sibling_of_the_set_that_shares_nothing_with_it_is_none(house: Governed) -> None:
    await freeze(house, frozen_set())
    row = await candidate(house)
    await learn(house, row, "g-2", {"s-2": "other"})
    assert (await decided(house, row))[0] == v1.DECISION_ALLOW


async def test_a_set_of_the_deployment_is_in_force_where_the_tenant_has_none(house: Governed) -> None:
    await freeze(house, frozen_set(), tenant="")
    assert (await decided(house, await candidate(house)))[0] == v1.DECISION_ALLOW
    await freeze(house, frozen_set(Sample(high=1)))
    assert (await decided(house, await candidate(house)))[0] == v1.DECISION_BLOCK


async def test_a_set_with_a_row_whose_consent_was_revoked_is_none(house: Governed) -> None:
    await learn(house, None, "g-0", {"s-1": "ula"})
    await freeze(house, frozen_set(signals=["s-1"]))
    assert (await decided(house, await candidate(house)))[0] == v1.DECISION_ALLOW
    await settled(house, await revoke(house))
    assert (await decided(house, await candidate(house)))[1] == [v1.DECISION_REASON_FROZEN_SET_MISSING]


async def test_a_promotion_is_held_until_confused_pairs_collide_less(house: Governed) -> None:
    # Both packs accept the impostors that score 9500 bp: nothing got worse, and nothing better.
    await house.register(rfc8785.dumps(pack(9_100)), artifact_type=PACK, active=True)
    await freeze(house, frozen_set(Sample(high=5)))
    row = await candidate(house)
    assert (await decided(house, row))[0] == v1.DECISION_ALLOW
    _, reasons = await decided(house, row, action=v1.DECISION_ACTION_PROMOTE)
    assert v1.DECISION_REASON_CONFUSION_NOT_REDUCED in reasons
    stricter = await candidate(house, rfc8785.dumps(pack(9_800)))
    _, reasons = await decided(house, stricter, action=v1.DECISION_ACTION_PROMOTE)
    assert v1.DECISION_REASON_CONFUSION_NOT_REDUCED not in reasons


async def test_collisions_are_of_the_pairs_that_running_servers_confuse(house: Governed) -> None:
    ada, bob, cyd = SPEAKERS
    await freeze(house, frozen_set(Sample(impostors=30_000)))
    async with house.store.transaction() as tx:
        await tx.learning.confusion.replace(
            TENANT, [Pair(ada, cyd, 3, 0, house.now()), Pair(bob, "zoe", 2, 0, house.now())]
        )
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.confused", reason_code="TEST")
    await decided(house, await candidate(house))
    [event] = await house.trail("frozen_set.examined")
    facts = {fact.name: fact.value for fact in event.facts}
    assert (facts["collisions"], facts["collisions_before"], facts["regressed"]) == ("0/15000", "0/15000", "")


async def test_a_rollback_asks_for_no_evaluation(house: Governed) -> None:
    decision, _ = await decided(house, await candidate(house), action=v1.DECISION_ACTION_ROLLBACK)
    assert decision == v1.DECISION_ROLLBACK
    assert await house.trail("frozen_set.examined") == []


async def test_a_pack_that_turns_out_to_leak_is_taken_back_by_the_control_loops(house: Governed) -> None:
    await freeze(house, frozen_set())
    await learn(house, None, "g-0", {"s-1": "ula"})
    row = await candidate(house)
    await link(house, [gold_ref("g-0")], row)
    rollout = await start(house, row)
    await house.controller.tick()
    assert (await house.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_RUNNING
    await freeze(house, frozen_set(signals=["s-1"]))
    house.clock.skip(61)
    await house.controller.tick()
    stands = await house.rollout(rollout.rollout_id)
    assert stands.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert stands.rollback_reason == v1.DECISION_REASON_FROZEN_SET_LEAKED
    [event] = await house.trail("rollout.rolled_back")
    assert event.reason_code == "FROZEN_SET_LEAKED"
    decisions = (await house.call("ann", "ListDecisions", artifact_id=row.artifact_id)).decisions
    assert decisions[-1].statement.decision == v1.DECISION_ROLLBACK


async def test_what_is_no_voice_pack_is_not_asked_for_one(house: Governed) -> None:
    row = await house.candidate()
    assert (await house.allow(row)).statement.decision == v1.DECISION_ALLOW
    examined = await evaluating.examine(house.store, row, None)
    assert examined.finding is Finding.NOT_ASKED
    assert not await evaluating.leaked(house.store, row)
