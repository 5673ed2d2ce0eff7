"""From a decision to live behaviour over gRPC, and everything that a gate stops on the way."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from selene.artifacts.v1 import artifacts_pb2 as artifacts
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.governance.v1 import consent_pb2 as board
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.routing.v1.service_pb2 import POLICY_EFFECT_DENY

from servers.cohort import serves
from servers.governance.consumers import ORPHANS
from servers.governance.statement import canonical, digest, opened, payload_type, signed_bytes
from servers.learning.packs import empty
from servers.runtime.peers import SERVICE_TENANT
from store.gold import artifact_ref, signal_ref
from store.keys import SigningKey
from store.routing import Rule
from tests.servers.governance.house import BETTER, EVIDENCE, PACK, REPORT, TENANT, WORSE, Governed, governing, words
from tests.servers.governance.windows import both
from tests.support.learned import REF
from tests.support.live_packs import adaptation
from tests.support.stores import audit

ACTIVATE = decisions.DECISION_ACTION_ACTIVATE
POLICY, PRIVACY = decisions.APPROVAL_KIND_POLICY, decisions.APPROVAL_KIND_PRIVACY
CODE, LAUNCH = decisions.APPROVAL_KIND_CODE, decisions.APPROVAL_KIND_LAUNCH
DAY = timedelta(days=1)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


async def test_a_good_pack_goes_live_stage_by_stage_and_a_worse_one_comes_back_by_itself(house: Governed) -> None:
    row = await house.candidate()
    rollout = await house.start(row)
    assert [stage.stage for stage in rollout.stages] == [rollouts.ROLLOUT_STAGE_SHADOW]

    before = await house.serves()
    rollout = await house.advance(rollout, until=rollouts.ROLLOUT_STAGE_CANARY_2)
    assert await house.serves() == before
    rollout = await house.advance(rollout, until=rollouts.ROLLOUT_STAGE_FULL)

    stages = [(entry.stage, entry.share_bp) for entry in rollout.stages]
    assert [share for _, share in stages] == [0, 500, 2_500, 10_000]
    entered = [entry.entered_at.ToDatetime() for entry in rollout.stages]
    assert all(later - earlier >= DAY for earlier, later in itertools.pairwise(entered))
    assert entered[3] - entered[1] >= 7 * DAY  # the stability window of §38.9
    pointer = await house.pointer()
    assert pointer is not None
    assert (pointer.active_version, pointer.rollback_version) == (row.artifact_version, rollout.baseline_version)
    promoted = (await house.call("ann", "ListDecisions", artifact_id=row.artifact_id)).decisions[-1].statement
    assert (promoted.action, promoted.decision) == (decisions.DECISION_ACTION_PROMOTE, decisions.DECISION_ALLOW)

    worse = await house.measure(rollout, WORSE)
    assert worse.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert await house.serves() == before
    returned = await house.pointer()
    assert returned is not None and returned.active_version > pointer.active_version
    assert [event.reason_code for event in await house.trail("rollout.rolled_back")] == ["REGRESSION"]


async def test_a_worse_pack_never_reaches_anybody(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    before = await house.pointer()
    judged = await house.measure(rollout, WORSE)
    assert judged.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert judged.rollback_reason == decisions.DECISION_REASON_JUDGE_ROLLBACK
    assert await house.pointer() == before


async def test_a_pack_that_is_no_better_stays_in_the_first_canary(house: Governed) -> None:
    rollout = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_CANARY_1)
    for _ in range(3):
        await house.measure(rollout, {**BETTER, rollouts.KPI_METRIC_WORD_ERRORS: (990, 10_000)})
        await house.controller.tick()
    stands = await house.rollout(rollout.rollout_id)
    assert stands.stages[-1].stage == rollouts.ROLLOUT_STAGE_CANARY_1
    assert stands.last_judgement.verdict == rollouts.JUDGE_VERDICT_HOLD


async def test_without_traffic_nothing_moves(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    for _ in range(3):
        house.skip(10 * DAY)
        await house.controller.tick()
    stands = await house.rollout(rollout.rollout_id)
    assert len(stands.stages) == 1
    assert list(stands.last_judgement.reasons) == [rollouts.JUDGE_REASON_NO_TRAFFIC]


async def test_a_shadow_of_which_only_turns_were_counted_stays_until_its_guards_were_measured(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    for counts in ({}, {rollouts.KPI_METRIC_WORD_ERRORS: (1_000, 10_000)}):
        await house.measure(rollout, counts, baseline=counts)
        await house.controller.tick()
        stands = await house.rollout(rollout.rollout_id)
        assert len(stands.stages) == 1
        assert list(stands.last_judgement.reasons)[:1] == [rollouts.JUDGE_REASON_METRIC_MISSING]
    await house.measure(
        rollout, {rollouts.KPI_METRIC_WORD_ERRORS: (999, 10_000), rollouts.KPI_METRIC_REJECTS: (20, 2_000)}
    )
    await house.controller.tick()
    assert (await house.rollout(rollout.rollout_id)).stages[-1].stage == rollouts.ROLLOUT_STAGE_CANARY_1


async def test_the_board_says_what_a_shadow_still_has_to_be_measured_by(house: Governed) -> None:
    row = await house.candidate()
    rollout = await house.start(row)
    begun = await on_board(house, row)
    assert begun.next_actor == board.BOARD_ACTOR_CONTROLLER and len(begun.unmeasured) == 4
    words = {rollouts.KPI_METRIC_WORD_ERRORS: (1_000, 10_000)}
    await house.measure(rollout, words, baseline={**words, rollouts.KPI_METRIC_REJECTS: (20, 2_000)})
    held = await on_board(house, row)
    assert list(held.held_by)[:1] == [rollouts.JUDGE_REASON_METRIC_MISSING]
    missing = [(each.metric, each.arm) for each in held.unmeasured]
    assert missing == [(rollouts.KPI_METRIC_REJECTS, rollouts.ARM_CANDIDATE)]
    assert held.next_actor == board.BOARD_ACTOR_CONSUMER
    await house.measure(rollout)
    await house.controller.tick()
    gone_on = await on_board(house, row)
    assert gone_on.stage == rollouts.ROLLOUT_STAGE_CANARY_1 and gone_on.next_actor == board.BOARD_ACTOR_CONTROLLER


async def on_board(house: Governed, row: ArtifactRow) -> board.BoardRow:
    """What the board says of one artifact."""
    [found] = (await house.call("ann", "GetBoard", artifact_id=row.artifact_id)).rows
    return found


async def test_a_privacy_leak_takes_a_rollout_back_with_the_window_that_tells_of_it(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    entered = rollout.stages[-1].entered_at.ToDatetime()
    house.skip(timedelta(minutes=2))
    windows = both(1, {}, {}, lasts=timedelta(minutes=1))
    for window in windows:
        window.starts_at.FromDatetime(entered)
        window.ends_at.FromDatetime(entered + timedelta(minutes=1))
    windows[1].safety.privacy_leaks = 1
    reply = await house.call("build", "RecordKpis", rollout_id=rollout.rollout_id, windows=windows)
    assert reply.rollout.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert list(reply.rollout.last_judgement.reasons) == [rollouts.JUDGE_REASON_PRIVACY_LEAK]


async def test_gates_open_in_their_order_only(house: Governed) -> None:
    row = await house.candidate()
    about = {"artifact_id": row.artifact_id}
    early = await house.refused("build", "SubmitBuilderReport", report=REPORT, **about)
    assert (early.reason, early.metadata["missing"]) == ("GATE_BLOCKED", "GOVERNANCE")
    await house.allow(row)
    early = await house.refused("bob", "Approve", kind=CODE, **about)
    assert (early.reason, early.metadata["missing"]) == ("GATE_BLOCKED", "LEARNING_BRIDGE")
    await house.call("build", "SubmitBuilderReport", report=REPORT, **about)
    early = await house.refused("ann", "StartRollout", **about)
    assert early.metadata["missing"] == "CODE_APPROVAL,LAUNCH_APPROVAL,CONSUMPTION_PROOF"
    refused = await house.trail("gate.refused")
    assert [event.reason_code for event in refused] == ["GATE_BLOCKED"] * 3


async def test_a_report_whose_suite_did_not_pass_keeps_the_release_gate_shut(house: Governed) -> None:
    row = await house.candidate()
    await house.allow(row)
    failing = decisions.BuilderReport()
    failing.CopyFrom(REPORT)
    failing.verification.replay_tests.passed = False
    await house.call("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=failing)
    for who, kind in (("bob", CODE), ("cay", LAUNCH)):
        await house.call(who, "Approve", artifact_id=row.artifact_id, kind=kind)
    gate = await house.call("ann", "CheckReleaseGate", artifact_id=row.artifact_id, through=decisions.GATE_RELEASE)
    assert (gate.open, list(gate.missing)) == (False, [decisions.GATE_RELEASE])
    await house.call("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=REPORT)
    gate = await house.call("ann", "CheckReleaseGate", artifact_id=row.artifact_id, through=decisions.GATE_RELEASE)
    assert gate.open


async def test_two_people_permit_and_neither_of_them_proposed(house: Governed) -> None:
    row = await house.candidate()
    about = {"artifact_id": row.artifact_id}
    await house.call("dan", "Decide", action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE, **about)
    await house.call("build", "SubmitBuilderReport", report=REPORT, **about)
    own = await house.refused("dan", "Approve", kind=CODE, **about)
    assert (own.reason, own.metadata["cause"]) == ("OWN_WORK_REFUSED", "PROPOSER")
    await house.call("bob", "Approve", kind=CODE, **about)
    twice = await house.refused("bob", "Approve", kind=LAUNCH, **about)
    assert (twice.reason, twice.metadata["cause"]) == ("OWN_WORK_REFUSED", "APPROVER")
    reply = await house.call("cay", "Approve", kind=LAUNCH, **about)
    assert not reply.bundle.missing


async def test_the_bundle_is_signed_once_it_is_whole_and_exchanged_by_nobody(house: Governed) -> None:
    row = await house.candidate()
    ref = await house.permit(row)
    reply = await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)
    statement = opened(reply.signed, decisions.GateBundleStatement, house.store.trusted_keys())
    assert statement.bundle_hash == digest(reply.bundle) and ref.endswith(statement.bundle_hash.hex())
    late = await house.refused("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=REPORT)
    assert late.reason == "GATE_BLOCKED"


async def test_every_decision_and_permission_is_a_statement_that_verifies(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).bundle
    trusted = house.store.trusted_keys()
    assert opened(bundle.decision.signed, decisions.DecisionStatement, trusted) == bundle.decision.statement
    assert bundle.decision.statement.subject.package_hash == row.package_hash
    for approval in bundle.approvals:
        assert opened(approval.signed, decisions.ApprovalStatement, trusted) == approval.statement


async def test_a_later_hold_shuts_the_gate_that_was_open(house: Governed) -> None:
    row = await house.candidate()
    await house.prove(row)
    poor = decisions.DecisionEvidence(policy=EVIDENCE.policy, privacy=EVIDENCE.privacy)
    held = await house.allow(row, evidence=poor)
    assert held.statement.decision == decisions.DECISION_HOLD
    refused = await house.refused("ann", "StartRollout", artifact_id=row.artifact_id)
    assert refused.reason == "GATE_BLOCKED" and refused.metadata["missing"].startswith("GOVERNANCE")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"replay_validation_hash": b"x" * 32}, "REPLAY_MISMATCH"),
        ({"rollback_pointer_ref": "STT_VOCAB_PACK@9"}, "ROLLBACK_POINTER_MISSING"),
        ({"gate_bundle_ref": "store://governance_gate_bundles/00"}, "GATE_BUNDLE_INCOMPLETE"),
        ({"consumer_engine_id": "PH1.TTS"}, "PROOF_MISSING"),
    ],
)
async def test_a_proof_that_does_not_hold_is_answered_with_its_block_reason(
    house: Governed, fields: dict[str, object], reason: str
) -> None:
    row = await house.candidate()
    bundle = await house.permit(row)
    verdict = (await house.call("build", "SubmitConsumptionProof", **await house.proof(row, bundle, **fields))).verdict
    named = [artifacts.ConsumptionBlockReason.Name(each) for each in verdict.block_reasons]
    assert named == [f"CONSUMPTION_BLOCK_REASON_{reason}"] and not verdict.passed
    gate = await house.call("ann", "CheckReleaseGate", artifact_id=row.artifact_id)
    assert (gate.open, list(gate.missing)) == (False, [decisions.GATE_CONSUMPTION_PROOF])


async def test_a_shadow_with_more_safety_events_blocks(house: Governed) -> None:
    row = await house.candidate()
    shown = await house.proof(row, await house.permit(row))
    shown["shadow"] = decisions.ShadowResult(turns=100, safety_events_active=1, safety_events_candidate=2)
    verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
    assert list(verdict.block_reasons) == [artifacts.CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION]


@pytest.mark.parametrize("artifact_type", [*sorted(ORPHANS), "LEFTOVER_PACK", "WAKE_THRESHOLD_PACK"])
async def test_an_artifact_that_no_server_loads_is_an_orphan_and_blocked(house: Governed, artifact_type: str) -> None:
    payload = empty(artifact_type) or b"one"
    await house.register(payload, artifact_type=artifact_type, active=True)
    orphan = await house.register(payload, artifact_type=artifact_type)
    decision = (await house.allow(orphan)).statement
    assert decision.decision == decisions.DECISION_BLOCK
    assert decisions.DECISION_REASON_NO_CONSUMER in decision.reasons


@pytest.mark.parametrize("artifact_type", sorted(ORPHANS))
async def test_an_orphan_is_not_proved_by_whoever_says_that_they_consume_it(
    house: Governed, artifact_type: str
) -> None:
    await house.register(empty(artifact_type), artifact_type=artifact_type, active=True)
    orphan = await house.recorded(await house.register(empty(artifact_type), artifact_type=artifact_type))
    for engine in ORPHANS[artifact_type]:
        shown = await house.proof(orphan, "bundle", consumer_engine_id=engine)
        verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
        assert artifacts.CONSUMPTION_BLOCK_REASON_PROOF_MISSING in verdict.block_reasons
        assert verdict.found.parser.defect == "TYPE_UNKNOWN"
    refused = await house.refused("ann", "StartRollout", artifact_id=orphan.artifact_id)
    assert refused.reason == "GATE_BLOCKED"


@pytest.mark.parametrize(
    ("payload", "defect"),
    [
        (b"not a pack", "UNREADABLE"),
        (b"", "FIELD_INVALID"),
        (adaptation(("heard", "meant")), "FIELD_INVALID"),
        (words("two") + b"\xa2\x06\x01x", "NOT_CANONICAL"),
    ],
)
async def test_a_payload_that_the_consumers_parser_refuses_is_not_proved_by_a_claim(
    house: Governed, payload: bytes, defect: str
) -> None:
    await house.register(words("one"), active=True)
    row = await house.recorded(await house.register(payload))
    shown = await house.proof(row, await house.permit(row))
    assert shown["parser"].accepted
    verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
    assert (verdict.passed, verdict.found.parser.accepted, verdict.found.parser.defect) == (False, False, defect)
    assert artifacts.CONSUMPTION_BLOCK_REASON_PROOF_MISSING in verdict.block_reasons
    gate = await house.call("ann", "CheckReleaseGate", artifact_id=row.artifact_id)
    assert (gate.open, list(gate.missing)) == (False, [decisions.GATE_CONSUMPTION_PROOF])
    [told] = await house.trail("consumption.proved")
    facts = {fact.name: fact.value for fact in told.facts}
    assert (told.reason_code, facts["parser_found"]) == ("PROOF_MISSING", defect)


async def test_a_replay_that_builder_and_consumer_agree_on_and_the_turns_do_not_give_is_blocked(
    house: Governed,
) -> None:
    row = await house.candidate()
    await house.allow(row)
    await house.call("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=REPORT)
    for who, kind in (("bob", CODE), ("cay", LAUNCH)):
        await house.call(who, "Approve", artifact_id=row.artifact_id, kind=kind)
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref
    shown = await house.proof(row, bundle, replay_validation_hash=REPORT.expected_replay_hash)
    verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
    assert list(verdict.block_reasons) == [artifacts.CONSUMPTION_BLOCK_REASON_REPLAY_MISMATCH]
    assert verdict.found.replay_hash == (await house.replay(row)).replay_hash != REPORT.expected_replay_hash


async def test_a_pack_without_recorded_turns_has_run_beside_nothing_whatever_was_counted(house: Governed) -> None:
    await house.register(words("one"), active=True)
    row = await house.register(words("two"))
    shown = await house.proof(row, await house.permit(row))
    assert shown["shadow"].turns == 1_000
    verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
    assert list(verdict.block_reasons) == [artifacts.CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION]


async def test_a_profile_that_writes_what_was_right_otherwise_regresses_though_its_consumer_counts_nothing(
    house: Governed,
) -> None:
    profile = {"artifact_type": "STT_ADAPTATION_PROFILE"}
    await house.register(adaptation(("shivon", "Siobhan")), **profile, active=True)
    row = await house.register(adaptation(("shivon", "Siobhan"), ("ask", "axe")), **profile)
    await house.recorded(row, "call shivon", right=("ask again", "never mind"))
    shown = await house.proof(row, await house.permit(row))
    verdict = (await house.call("build", "SubmitConsumptionProof", **shown)).verdict
    assert list(verdict.block_reasons) == [artifacts.CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION]
    found = verdict.found
    assert (found.shadow.turns, found.shadow.safety_events_active, found.shadow.safety_events_candidate) == (3, 0, 1)
    assert (found.beside_version, list(found.evidence_refs)) == (1, [REF, f"gold:recorded-{row.artifact_id}"])


async def test_nobody_proves_what_they_proposed_or_permitted(house: Governed) -> None:
    row = await house.candidate()
    await house.call("sam", "Decide", artifact_id=row.artifact_id, action=ACTIVATE, evidence=EVIDENCE)
    await house.call("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=await house.report(row))
    await house.call("tess", "Approve", artifact_id=row.artifact_id, kind=CODE)
    await house.call("cay", "Approve", artifact_id=row.artifact_id, kind=LAUNCH)
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).gate_bundle_ref
    shown = await house.proof(row, bundle)
    for who, cause in (("sam", "PROPOSER"), ("tess", "APPROVER")):
        own = await house.refused(who, "SubmitConsumptionProof", **shown)
        assert (own.reason, own.metadata["cause"]) == ("OWN_WORK_REFUSED", cause)
    assert (await house.call("build", "SubmitConsumptionProof", **shown)).verdict.passed
    refused = await house.trail("gate.refused")
    assert [event.reason_code for event in refused] == ["OWN_WORK_REFUSED"] * 2


async def test_whoever_proposes_after_they_have_proved_has_proved_their_own_work(house: Governed) -> None:
    row = await house.candidate()
    shown = await house.proof(row, await house.permit(row))
    assert (await house.call("sam", "SubmitConsumptionProof", **shown)).verdict.passed
    await house.call("sam", "Decide", artifact_id=row.artifact_id, action=ACTIVATE, evidence=EVIDENCE)
    gate = await house.call("ann", "CheckReleaseGate", artifact_id=row.artifact_id)
    assert (gate.open, list(gate.missing)) == (False, [decisions.GATE_CONSUMPTION_PROOF])
    assert artifacts.CONSUMPTION_BLOCK_REASON_PROOF_MISSING in gate.block_reasons
    refused = await house.refused("ann", "StartRollout", artifact_id=row.artifact_id)
    assert (refused.reason, refused.metadata["missing"]) == ("GATE_BLOCKED", "CONSUMPTION_PROOF")


async def test_a_service_of_the_deployment_proves_for_the_engine_that_it_is_only(house: Governed) -> None:
    row = await house.candidate()
    shown = await house.proof(row, await house.permit(row))
    other = await house.refused("PH1.TTS", "SubmitConsumptionProof", tenant=SERVICE_TENANT, **shown)
    assert other.reason == "SUBJECT_MISMATCH"
    itself = await house.refused("PH1.C", "SubmitConsumptionProof", tenant="somebody", **shown)
    assert itself.reason == "TENANT_MISMATCH"
    proved = await house.begin("PH1.C", "SubmitConsumptionProof", tenant=SERVICE_TENANT, **shown)
    assert proved.verdict.passed


async def test_an_artifact_for_everybody_is_no_tenants_to_activate(house: Governed) -> None:
    everybody = Scope(scope_type=SCOPE_TYPE_GLOBAL)
    await house.register(words("one"), scope=everybody, active=True)
    wide = await house.register(words("two"), scope=everybody)
    decision = (await house.allow(wide)).statement
    assert decision.reasons[0] == decisions.DECISION_REASON_TENANT_SCOPE_UNVERIFIED


@pytest.mark.parametrize("pointer", ["STT_VOCAB_PACK@7", "STT_ADAPTATION_PROFILE@1", "nothing", "STT_VOCAB_PACK@0"])
async def test_a_rollback_pointer_to_nothing_is_held(house: Governed, pointer: str) -> None:
    await house.register(words("one"), active=True)
    row = await house.register(words("two"), pointer=pointer)
    decision = (await house.allow(row)).statement
    assert (decision.decision, list(decision.reasons)) == (
        decisions.DECISION_HOLD,
        [decisions.DECISION_REASON_ROLLBACK_POINTER_MISSING],
    )


async def test_one_rollout_at_a_time_for_a_kind_and_scope(house: Governed) -> None:
    first = await house.start(await house.candidate())
    second = await house.candidate()
    await house.prove(second)
    refused = await house.refused("ann", "StartRollout", artifact_id=second.artifact_id)
    assert (refused.reason, refused.metadata["rollout_id"]) == ("ROLLOUT_STATE_REFUSED", first.rollout_id)
    await house.call("ann", "Rollback", rollout_id=first.rollout_id, reason_code="MADE_ROOM")
    await house.call("ann", "StartRollout", artifact_id=second.artifact_id)


async def test_a_later_rollout_that_reaches_everyone_completes_the_one_before(house: Governed) -> None:
    first = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_FULL)
    house.skip(DAY)
    second = await house.start(await house.candidate())
    await house.advance(second, until=rollouts.ROLLOUT_STAGE_FULL)
    assert (await house.rollout(first.rollout_id)).state == rollouts.ROLLOUT_STATE_COMPLETED
    assert (await house.rollout(second.rollout_id)).state == rollouts.ROLLOUT_STATE_RUNNING


async def test_an_operator_takes_a_rollout_back_once(house: Governed) -> None:
    rollout = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_FULL)
    about = {"rollout_id": rollout.rollout_id, "reason_code": "VENDOR_INCIDENT", "idempotency_key": "back"}
    reply = await house.call("ann", "Rollback", **about)
    assert reply.decision.statement.decision == decisions.DECISION_ROLLBACK
    assert reply.returned.artifact_version > rollout.subject.artifact_version
    assert await house.call("ann", "Rollback", **about) == reply
    told = (await house.trail("rollout.rolled_back"))[0]
    assert (told.reason_code, {"why": "VENDOR_INCIDENT"}) == (
        "OPERATOR_REQUEST",
        {fact.name: fact.value for fact in told.facts if fact.name == "why"},
    )
    again = await house.refused("ann", "Rollback", **{**about, "idempotency_key": "again"})
    assert (again.reason, again.metadata["state"]) == ("ROLLOUT_STATE_REFUSED", "ROLLED_BACK")


@pytest.mark.parametrize("by_itself", [True, False])
async def test_what_was_taken_back_waits_for_a_new_permission(house: Governed, by_itself: bool) -> None:
    row = await house.candidate()
    about = {"artifact_id": row.artifact_id}
    rollout = await house.advance(await house.start(row), until=rollouts.ROLLOUT_STAGE_CANARY_1)
    report = (await house.call("ann", "GetPromotionReport", rollout_id=rollout.rollout_id)).report
    if by_itself:
        await house.measure(rollout, WORSE)
    else:
        await house.call("ann", "Rollback", rollout_id=rollout.rollout_id, reason_code="REGRETTED")
    assert (await house.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_ROLLED_BACK

    refused = await house.refused("ann", "StartRollout", **about)
    assert (refused.reason, refused.metadata["missing"]) == ("GATE_BLOCKED", "GOVERNANCE,CONSUMPTION_PROOF")
    assert not (await house.call("ann", "CheckReleaseGate", **about)).open
    later = (await house.call("ann", "GetPromotionReport", rollout_id=rollout.rollout_id)).report
    assert later.gate_bundle_hash == report.gate_bundle_hash

    await house.allow(row)
    bundle = (await house.call("ann", "GetGateBundle", **about)).gate_bundle_ref
    assert (await house.call("build", "SubmitConsumptionProof", **await house.proof(row, bundle))).verdict.passed
    again = (await house.call("ann", "StartRollout", **about)).rollout
    assert again.stages[-1].stage == rollouts.ROLLOUT_STAGE_SHADOW


async def test_windows_that_overlap_or_lie_in_the_future_are_refused(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    await house.measure(rollout)
    now = house.now()
    over = both(10, {}, {}, starts_at=now - timedelta(hours=2), lasts=timedelta(hours=1))
    refused = await house.refused("build", "RecordKpis", rollout_id=rollout.rollout_id, windows=over)
    assert refused.reason == "KPI_WINDOW_OVERLAPS"
    ahead = both(10, {}, {}, starts_at=now, lasts=timedelta(hours=1))
    refused = await house.refused("build", "RecordKpis", rollout_id=rollout.rollout_id, windows=ahead)
    assert refused.reason == "FIELD_INVALID"
    early = both(10, {}, {}, starts_at=now - 10 * DAY, lasts=timedelta(hours=1))
    refused = await house.refused("build", "RecordKpis", rollout_id=rollout.rollout_id, windows=early)
    assert [violation.field for violation in refused.violations] == ["windows[0].starts_at", "windows[1].starts_at"]


async def test_the_board_says_who_must_act(house: Governed) -> None:
    row = await house.candidate()

    async def stands() -> board.BoardRow:
        rows = (await house.call("ann", "GetBoard")).rows
        assert len(rows) == 1
        return rows[0]

    await house.allow(row)
    assert (await stands()).next_actor == board.BOARD_ACTOR_BUILDER
    bundle = await house.permit(row)
    assert (await stands()).next_actor == board.BOARD_ACTOR_CONSUMER
    await house.call("build", "SubmitConsumptionProof", **await house.proof(row, bundle))
    assert (await stands()).next_actor == board.BOARD_ACTOR_OPERATOR
    rollout = (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout
    assert ((await stands()).next_actor, (await stands()).rollout_id) == (
        board.BOARD_ACTOR_CONTROLLER,
        rollout.rollout_id,
    )


async def test_the_promotion_report_is_signed_and_holds_the_evidence(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    await house.measure(rollout)
    reply = await house.call("ann", "GetPromotionReport", rollout_id=rollout.rollout_id)
    report = opened(reply.signed, rollouts.PromotionReport, house.store.trusted_keys())
    assert report == reply.report
    words = next(
        finding for finding in report.cohort_deltas[0].findings if finding.metric == rollouts.KPI_METRIC_WORD_ERRORS
    )
    assert words.delta_ppm == -200_000
    assert [statement.decision for statement in report.decisions] == [decisions.DECISION_ALLOW]


async def test_the_trail_of_an_activation_is_under_one_correlation_without_a_gap(house: Governed) -> None:
    row = await house.candidate()
    await house.advance(await house.start(row), until=rollouts.ROLLOUT_STAGE_CANARY_1)
    about = [
        event.transition
        for event in await house.owners.trail("dev")
        if event.turn.correlation_id == f"artifact:{row.artifact_id}"
    ]
    assert about == [
        "governance.decided",
        "builder.reported",
        "approval.given",
        "approval.given",
        "gates.completed",
        "consumption.proved",
        "rollout.started",
        "rollout.advanced",
    ]


@pytest.mark.parametrize(
    ("who", "method", "fields"),
    [
        ("ula", "Decide", {"artifact_id": "a", "action": 1, "evidence": EVIDENCE}),
        ("ann", "Approve", {"artifact_id": "a", "kind": CODE}),
        ("bob", "StartRollout", {"artifact_id": "a"}),
        ("ann", "RecordKpis", {"rollout_id": "r", "windows": both(1, {}, {})}),
        ("bob", "Rollback", {"rollout_id": "r", "reason_code": "BECAUSE"}),
        ("ula", "GetBoard", {}),
    ],
)
async def test_each_call_wants_its_role(house: Governed, who: str, method: str, fields: dict[str, object]) -> None:
    assert (await house.refused(who, method, **fields)).reason == "ROLE_REQUIRED"
    assert (await house.refused("ann", method, tenant_id="other", **fields)).reason == "TENANT_MISMATCH"


async def test_a_decision_is_made_once_for_a_key_and_not_for_other_content(house: Governed) -> None:
    row = await house.candidate()
    first = await house.allow(row, idempotency_key="once")
    assert await house.allow(row, idempotency_key="once") == first
    asked = {"artifact_id": row.artifact_id, "evidence": EVIDENCE, "action": decisions.DECISION_ACTION_ROLLBACK}
    assert (await house.refused("ann", "Decide", idempotency_key="once", **asked)).reason == "IDEMPOTENCY_KEY_REUSED"
    assert len((await house.call("ann", "ListDecisions", artifact_id=row.artifact_id)).decisions) == 1


async def test_a_version_that_is_not_newer_than_what_serves_does_not_begin(house: Governed) -> None:
    row = await house.candidate()
    await house.prove(row)
    await house.register(words("newer"), active=True)
    refused = await house.refused("ann", "StartRollout", artifact_id=row.artifact_id)
    assert (refused.reason, refused.metadata) == ("ROLLOUT_STATE_REFUSED", {"state": "SUPERSEDED"})


async def test_a_canary_tells_its_consumers_whom_the_candidate_serves(house: Governed) -> None:
    row = await house.candidate()
    rollout = await house.start(row)
    canaries = house.store.governance.rollouts.canaries
    assert await canaries([PACK]) == []
    rollout = await house.advance(rollout, until=rollouts.ROLLOUT_STAGE_CANARY_1)
    told = await canaries([PACK])
    assert [(each.rollout_id, each.subject.artifact_version, each.stages[-1].share_bp) for each in told] == [
        (rollout.rollout_id, row.artifact_version, 500)
    ]
    served = [f"user-{number}" for number in range(2_000) if serves(rollout.rollout_id, f"user-{number}", 500)]
    rollout = await house.advance(rollout, until=rollouts.ROLLOUT_STAGE_CANARY_2)
    share = (await canaries([PACK]))[0].stages[-1].share_bp
    assert share == 2_500 and all(serves(rollout.rollout_id, user, share) for user in served)
    await house.call("ann", "Rollback", rollout_id=rollout.rollout_id, reason_code="ENOUGH")
    assert await canaries([PACK]) == []


async def test_statements_that_somebody_else_signed_open_no_gate(house: Governed) -> None:
    row = await house.candidate()
    held = await house.allow(row, evidence=decisions.DecisionEvidence())
    forged = decisions.DecisionStatement()
    forged.CopyFrom(held.statement)
    forged.decision = decisions.DECISION_ALLOW
    stranger = SigningKey(bytes(32))
    kind, payload = payload_type(decisions.DecisionStatement), canonical(forged)
    for key_id in (stranger.key_id, held.signed.signing_key_id):
        signed = decisions.SignedStatement(
            payload_type=kind,
            payload=payload,
            signature=stranger.sign(signed_bytes(kind, payload)),
            signing_key_id=key_id,
        )
        async with house.store.transaction() as tx:
            await tx.governance.cases.keep_decision("dev", row.artifact_id, signed)
            tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.forged", reason_code="TEST")
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).bundle
    assert bundle.missing[0] == decisions.GATE_GOVERNANCE


async def test_a_permission_of_another_artifact_does_not_count(house: Governed) -> None:
    first = await house.candidate()
    await house.permit(first)
    approvals = (await house.call("ann", "GetGateBundle", artifact_id=first.artifact_id)).bundle.approvals
    second = await house.candidate()
    await house.allow(second)
    await house.call("build", "SubmitBuilderReport", artifact_id=second.artifact_id, report=REPORT)
    async with house.store.transaction() as tx:
        for each in approvals:
            said = each.statement
            await tx.governance.cases.keep_approval("dev", second.artifact_id, said.kind, said.approver, each.signed)
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.moved", reason_code="TEST")
    bundle = (await house.call("ann", "GetGateBundle", artifact_id=second.artifact_id)).bundle
    assert list(bundle.missing) == [decisions.GATE_CODE_APPROVAL, decisions.GATE_LAUNCH_APPROVAL]


async def test_an_activation_whose_trail_lacks_a_row_is_taken_back(house: Governed) -> None:
    row = await house.candidate()
    rollout = await house.start(row)
    held = (await house.call("ann", "ListDecisions", artifact_id=row.artifact_id)).decisions[0]
    async with house.store.transaction() as tx:
        # A decision that was kept, and that no row of the artifact's trail tells of.
        await tx.governance.cases.keep_decision("dev", row.artifact_id, held.signed)
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.unnoted", reason_code="TEST")
    await house.controller.tick()
    stands = await house.rollout(rollout.rollout_id)
    assert stands.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert list(stands.last_judgement.reasons) == [rollouts.JUDGE_REASON_AUDIT_INCOMPLETE]


async def test_a_permission_that_is_given_again_stays_the_first_ones(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    given = (await house.call("ann", "GetGateBundle", artifact_id=row.artifact_id)).bundle.approvals[0]
    about = {"artifact_id": row.artifact_id, "kind": CODE}
    assert (await house.call("bob", "Approve", **about)).approval == given
    assert (await house.refused("cay", "Approve", **about)).reason == "OWN_WORK_REFUSED"
    assert [event.reason_code for event in await house.trail("approval.repeated")] == ["ALREADY_GIVEN"]


NOWHERE = [
    "ci://run/1",
    "gold:unknown",
    "gold:of-another",
    "signal:unknown",
    "artifact:unknown",
    "decision:unknown",
    "audit:unknown",
    "",
]


async def of_another_tenant(house: Governed) -> None:
    async with house.store.transaction() as tx:
        candidate = GoldCandidate(gold_set_id="of-another", tenant_id="other", proposed_by="x", policy_version="1")
        await tx.gold.propose(candidate, ["s-1"])
        audit(tx, "other")


@pytest.mark.parametrize(
    ("field", "decision", "reason"),
    [
        ("policy", decisions.DECISION_BLOCK, decisions.DECISION_REASON_POLICY_VIOLATION),
        ("privacy", decisions.DECISION_BLOCK, decisions.DECISION_REASON_PRIVACY_VIOLATION),
        ("evaluation_ref", decisions.DECISION_HOLD, decisions.DECISION_REASON_COHORT_GATE_FAILED),
    ],
)
async def test_evidence_that_refers_to_nothing_of_the_tenants_is_none(
    house: Governed, field: str, decision: decisions.Decision, reason: decisions.DecisionReason
) -> None:
    await of_another_tenant(house)
    row = await house.candidate()
    for ref in [*NOWHERE, f"artifact:{row.artifact_id}"]:
        evidence = decisions.DecisionEvidence()
        evidence.CopyFrom(EVIDENCE)
        if field == "evaluation_ref":
            evidence.evaluation_ref = ref
        else:
            getattr(evidence, field).evidence_ref = ref
        statement = (await house.allow(row, evidence=evidence)).statement
        assert (statement.decision, list(statement.reasons)) == (decision, [reason]), ref


async def test_a_reference_to_any_row_of_the_tenants_own_resolves(house: Governed) -> None:
    before = await house.register(b"one", active=True)
    row = await house.candidate()
    first = await house.allow(row)
    [decided] = await house.trail("governance.decided")
    for ref in (
        "signal:evaluated",
        "gold:evaluated",
        f"artifact:{before.artifact_id}",
        f"decision:{first.statement.decision_id}",
        f"audit:{decided.event_id}",
    ):
        evidence = decisions.DecisionEvidence()
        evidence.CopyFrom(EVIDENCE)
        evidence.policy.evidence_ref = evidence.privacy.evidence_ref = evidence.evaluation_ref = ref
        assert (await house.allow(row, evidence=evidence)).statement.decision == decisions.DECISION_ALLOW, ref


async def test_a_report_whose_evidence_is_nowhere_opens_no_bridge_and_moves_nothing(house: Governed) -> None:
    await of_another_tenant(house)
    row = await house.candidate()
    await house.allow(row)
    for ref in [one for one in NOWHERE if one]:
        report = decisions.BuilderReport()
        report.CopyFrom(REPORT)
        report.evidence_refs.append(ref)
        refused = await house.refused("build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=report)
        assert (refused.reason, refused.metadata["missing"]) == ("GATE_BLOCKED", "LEARNING_BRIDGE"), ref
    assert await house.trail("builder.reported") == []
    assert (await house.store.governance.cases.get(TENANT, row.artifact_id)).report is None


async def test_a_proposers_word_does_not_pass_what_the_server_knows_better(house: Governed) -> None:
    row = await house.candidate()
    rule = Rule(tenant_id=TENANT, rule_id="r-1", effect=POLICY_EFFECT_DENY, reason="SUSPENDED")
    async with house.store.transaction() as tx:
        await tx.routing.rules.put(rule)
        audit(tx, TENANT)
    blocked = (await house.allow(row)).statement
    assert list(blocked.reasons) == [decisions.DECISION_REASON_POLICY_VIOLATION]
    async with house.store.transaction() as tx:
        await tx.routing.rules.delete(TENANT, "r-1")
        await tx.gold.lineage.link(TENANT, [signal_ref("never-captured")], artifact_ref(row.artifact_id))
        audit(tx, TENANT)
    blocked = (await house.allow(row)).statement
    assert (blocked.decision, list(blocked.reasons)) == (
        decisions.DECISION_BLOCK,
        [decisions.DECISION_REASON_PRIVACY_VIOLATION],
    )


async def test_of_what_was_learned_from_nothing_two_statements_of_somebody_else_are_needed(house: Governed) -> None:
    await house.register(b"one", active=True)
    row = await house.register(b"two", learned_from_gold=False)
    about = {"artifact_id": row.artifact_id}
    POLICY, PRIVACY = decisions.APPROVAL_KIND_POLICY, decisions.APPROVAL_KIND_PRIVACY
    violations = [decisions.DECISION_REASON_PRIVACY_VIOLATION, decisions.DECISION_REASON_POLICY_VIOLATION]
    assert list((await house.allow(row)).statement.reasons) == violations
    own = await house.refused("ann", "Approve", kind=POLICY, **about)
    assert own.reason == "ROLE_REQUIRED"
    # Whoever states it may not propose it, before or after.
    await house.call("dan", "Approve", kind=POLICY, **about)
    await house.call("dan", "Decide", action=decisions.DECISION_ACTION_ACTIVATE, evidence=EVIDENCE, **about)
    await house.call("bob", "Approve", kind=PRIVACY, **about)
    assert list((await house.allow(row)).statement.reasons) == violations[1:]
    other = await house.register(b"three", learned_from_gold=False)
    for kind in (POLICY, PRIVACY):
        await house.call("bob", "Approve", kind=kind, artifact_id=other.artifact_id)
    assert (await house.allow(other)).statement.decision == decisions.DECISION_ALLOW
    # Who stated may still permit: a statement is no permission.
    await house.call("build", "SubmitBuilderReport", artifact_id=other.artifact_id, report=REPORT)
    await house.call("bob", "Approve", artifact_id=other.artifact_id, kind=CODE)
    again = await house.refused("bob", "Approve", artifact_id=other.artifact_id, kind=LAUNCH)
    assert (again.reason, again.metadata) == ("OWN_WORK_REFUSED", {"cause": "APPROVER"})
