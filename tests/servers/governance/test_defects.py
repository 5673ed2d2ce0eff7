"""A defect at which safety is at stake holds what is learned of its domain until it is closed with proof (§8, path A).

From the signal that learning captures to the rollout that stays, on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_NLP_INTENT_SLOT, GOLD_DOMAIN_STT_TRANSCRIPT
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import defect_pb2 as defects
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.learning.v1 import signal_pb2 as nouns

from servers.governance.consumers import CONSUMERS, learned_of
from servers.governance.defect import NAMED, Unproved, own_work, state_of, unfinished, unproved
from servers.governance.statement import digest, opened
from servers.learning.domains import DOMAINS
from servers.runtime.clock import ManualClock
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.ids import SeededIds
from store.learning import NewSignal
from tests.servers.governance.chain import BETTER, EVIDENCE, REPORT, START, TENANT, Chain, open_store, place
from tests.servers.governance.house import Governed, governing
from tests.support.signals import signal

LINE = place("en")
ACTIVATE = decisions.DECISION_ACTION_ACTIVATE
HELD = decisions.DECISION_REASON_SAFETY_DEFECT_OPEN
PASSED = decisions.Check(passed=True, evidence_ref="ci://run/2")
PROOF = {
    "root_cause_ref": "incident://7/cause",
    "fix_plan_ref": "incident://7/plan",
    "regression_test": PASSED,
    "report": REPORT,
}


@pytest.fixture
async def chain(store_url: str) -> AsyncIterator[Chain]:
    clock, ids = ManualClock(START), SeededIds(1)
    store = await open_store(store_url, clock, ids)
    yield Chain(store, clock, ids)
    await store.close()


async def unsafe(chain: Chain, name: str = "harm", **fields: Any) -> str:
    """The signal of a defect: what was said was unsafe."""
    return await chain.capture(name, "vic", signal_class=nouns.SIGNAL_CLASS_UNSAFE_OUTPUT, **fields)


async def decided(chain: Chain, row: ArtifactRow) -> decisions.DecisionStatement:
    about = {"artifact_id": row.artifact_id, "action": ACTIVATE, "evidence": EVIDENCE}
    statement: decisions.DecisionStatement = (await chain.call("ann", "Decide", **about)).decision.statement
    return statement


async def named(chain: Chain, *signal_ids: str, who: str = "ann", **fields: Any) -> defects.DefectFix:
    fix: defects.DefectFix = (
        await chain.call(who, "ProposeDefectFix", signal_ids=signal_ids, **{**PROOF, **fields})
    ).fix
    return fix


async def refused(chain: Chain, who: str, method: str, **fields: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(Refusal) as caught:
        await chain.call(who, method, **fields)
    return reason_name(caught.value.reason), dict(caught.value.metadata)


async def rows(chain: Chain, *transitions: str) -> list[tuple[str, dict[str, str]]]:
    """Reason and facts of the trail's rows of these transitions."""
    return [
        (event.reason_code, {fact.name: fact.value for fact in event.facts})
        for event in await chain.trail()
        if event.transition in transitions
    ]


async def test_an_open_defect_holds_the_decision_and_what_closes_it_lets_it_go_on(chain: Chain) -> None:
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"})
    signal_id = await unsafe(chain)
    held = await decided(chain, row)
    assert (held.decision, list(held.reasons)) == (decisions.DECISION_HOLD, [HELD])
    assert list(held.open_defects) == [signal_id]
    listed = (await chain.call("ann", "ListDecisions", artifact_id=row.artifact_id)).decisions[-1]
    assert opened(listed.signed, decisions.DecisionStatement, chain.store.trusted_keys()) == held
    [(why, facts)] = await rows(chain, "governance.decided")
    assert (why, facts["decision"], facts["open_defects"]) == ("SAFETY_DEFECT_OPEN", "HOLD", signal_id)
    blocked = await refused(chain, "build", "SubmitBuilderReport", artifact_id=row.artifact_id, report=REPORT)
    assert blocked == ("GATE_BLOCKED", {"missing": "GOVERNANCE", "open_defects": signal_id})

    fix = await named(chain, signal_id)
    assert (await decided(chain, row)).decision == decisions.DECISION_HOLD
    [closure] = (await chain.call("bob", "CloseDefects", fix_id=fix.fix_id)).closures
    proved = opened(closure.signed, defects.DefectClosureStatement, chain.store.trusted_keys())
    assert (proved.signal_id, proved.fix_id, proved.fix_hash) == (signal_id, fix.fix_id, digest(fix))
    assert proved.closer != fix.proposer
    told = await rows(chain, "defect.fix_proposed", "defect.closed")
    assert [(why, facts["signal_id"], facts["fix_id"]) for why, facts in told] == [
        ("FIX_NAMED", signal_id, fix.fix_id),
        ("PROVED", signal_id, fix.fix_id),
    ]

    assert (await decided(chain, row)).decision == decisions.DECISION_ALLOW
    await chain.start(row)


async def test_a_defect_that_comes_after_the_gates_shuts_them_and_holds_a_rollout_where_it_is(chain: Chain) -> None:
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"})
    await chain.prove(row)
    about = {"artifact_id": row.artifact_id}
    assert (await chain.call("ann", "CheckReleaseGate", **about)).open
    first = await unsafe(chain)
    gate = await chain.call("ann", "CheckReleaseGate", **about)
    assert not gate.open and list(gate.open_defects) == [first]
    assert gate.missing[0] == decisions.GATE_GOVERNANCE
    [board] = (await chain.call("ann", "GetBoard")).rows
    assert list(board.open_defects) == [first]
    reason, told = await refused(chain, "ann", "StartRollout", **about)
    assert (reason, told["open_defects"]) == ("GATE_BLOCKED", first)
    assert told["missing"].startswith("GOVERNANCE")

    await closed(chain, first)
    rollout_id = (await chain.call("ann", "StartRollout", **about)).rollout.rollout_id
    second = await unsafe(chain, "again")
    chain.a_day_passes()
    await chain.measure(rollout_id, BETTER)
    await chain.controller().tick()
    assert (await chain.rollout(rollout_id)).stages[-1].stage == rollouts.ROLLOUT_STAGE_SHADOW
    why, facts = (await rows(chain, "rollout.judged"))[-1]
    assert (why, facts["open_defects"]) == ("SAFETY_DEFECT_OPEN", second)
    assert facts["missing"].startswith("GOVERNANCE")

    await closed(chain, second)
    chain.clock.advance(timedelta(minutes=16).total_seconds())
    await chain.controller().tick()
    assert (await chain.rollout(rollout_id)).stages[-1].stage == rollouts.ROLLOUT_STAGE_CANARY_1


async def closed(chain: Chain, *signal_ids: str) -> None:
    await chain.call("bob", "CloseDefects", fix_id=(await named(chain, *signal_ids)).fix_id)


async def test_a_full_rollout_is_not_reached_while_a_defect_is_open(chain: Chain) -> None:
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"})
    rollout_id = await chain.start(row)
    await chain.advance(rollout_id, rollouts.ROLLOUT_STAGE_CANARY_2)
    signal_id = await unsafe(chain)
    chain.clock.advance(timedelta(days=8).total_seconds())
    await chain.measure(rollout_id, BETTER)
    await chain.controller().tick()
    assert (await chain.rollout(rollout_id)).stages[-1].stage == rollouts.ROLLOUT_STAGE_CANARY_2
    await closed(chain, signal_id)
    chain.clock.advance(timedelta(minutes=16).total_seconds())
    await chain.controller().tick()
    assert (await chain.rollout(rollout_id)).stages[-1].stage == rollouts.ROLLOUT_STAGE_FULL


async def test_an_open_defect_holds_no_rollback(chain: Chain) -> None:
    rollout_id = await chain.start(await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"}))
    await unsafe(chain)
    reply = await chain.call("ann", "Rollback", rollout_id=rollout_id, reason_code="INCIDENT")
    assert reply.decision.statement.decision == decisions.DECISION_ROLLBACK


async def test_neither_another_domain_nor_what_is_milder_holds_anything(chain: Chain) -> None:
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "vic"})
    await unsafe(chain, "nlp", domain=GOLD_DOMAIN_NLP_INTENT_SLOT)
    await chain.capture("crash", "vic", signal_class=nouns.SIGNAL_CLASS_CRASH)
    assert (await decided(chain, row)).decision == decisions.DECISION_ALLOW


async def test_a_pack_that_is_learned_from_the_defect_mends_it_and_closes_it_once_it_serves(chain: Chain) -> None:
    signal_id = await unsafe(chain)
    other = await chain.capture("s-2", "ula")
    row = await chain.learned(LINE, [signal_id, other])
    assert list((await decided(chain, row)).reasons) == [HELD]
    elsewhere = await chain.packaged(place("de"), {"s-3": "ula", "s-4": "vic"})
    assert await refused(
        chain, "ann", "ProposeDefectFix", signal_ids=[signal_id], **PROOF, artifact_id=elsewhere.artifact_id
    ) == ("DEFECT_FIX_UNPROVED", {"cause": "NOT_LEARNED_FROM_DEFECT"})

    fix = await named(chain, signal_id, artifact_id=row.artifact_id)
    assert (fix.artifact.artifact_id, fix.artifact.package_hash) == (row.artifact_id, row.package_hash)
    rollout_id = await chain.start(row)
    assert list((await decided(chain, elsewhere)).open_defects) == [signal_id]
    later = await unsafe(chain, "later")
    gate = {"artifact_id": row.artifact_id}
    assert list((await chain.call("ann", "CheckReleaseGate", **gate)).open_defects) == [later]
    both = await named(chain, later, artifact_id=row.artifact_id)
    assert (await chain.call("ann", "CheckReleaseGate", **gate)).open

    for one in (fix, both):
        assert await refused(chain, "bob", "CloseDefects", fix_id=one.fix_id) == (
            "DEFECT_FIX_UNPROVED",
            {"cause": "FIX_NOT_SERVING"},
        )
    await chain.advance(rollout_id, rollouts.ROLLOUT_STAGE_FULL)
    for one in (fix, both):
        assert len((await chain.call("bob", "CloseDefects", fix_id=one.fix_id)).closures) == 1
    assert (await decided(chain, elsewhere)).decision == decisions.DECISION_ALLOW


async def test_what_was_closed_stays_closed_by_the_proof_that_closed_it(chain: Chain) -> None:
    signal_id, other = await unsafe(chain), await unsafe(chain, "other")
    first, second = await named(chain, signal_id), await named(chain, signal_id, other)
    request = chain.request("CloseDefects", fix_id=first.fix_id)
    reply = await chain.ask("bob", "CloseDefects", request)
    assert await chain.ask("bob", "CloseDefects", request) == reply
    closed_twice = ("DEFECT_STATE_REFUSED", {"signal_id": signal_id, "state": "CLOSED"})
    assert await refused(chain, "bob", "CloseDefects", fix_id=first.fix_id) == closed_twice
    assert await refused(chain, "cay", "CloseDefects", fix_id=second.fix_id) == closed_twice
    assert await refused(chain, "ann", "ProposeDefectFix", signal_ids=[signal_id], **PROOF) == closed_twice
    assert [why for why, _ in await rows(chain, "defect.refused")] == ["DEFECT_STATE_REFUSED"] * 3
    shown = {one.signal_id: one for one in (await chain.call("cay", "ListDefects")).defects}
    assert shown[signal_id].state == defects.DEFECT_STATE_CLOSED
    assert (shown[signal_id].fix, shown[signal_id].closure) == (first, reply.closures[0])
    assert (shown[other].state, shown[other].fix) == (defects.DEFECT_STATE_FIX_PROPOSED, second)
    assert (await chain.store.verify(TENANT)).ok


async def test_what_is_no_defect_cannot_be_closed(chain: Chain) -> None:
    mild = await chain.capture("mild", "vic", signal_class=nouns.SIGNAL_CLASS_CRASH)
    for signal_id in (mild, "nothing"):
        told = await refused(chain, "ann", "ProposeDefectFix", signal_ids=[signal_id], **PROOF)
        assert told == ("RESOURCE_NOT_FOUND", {"resource": "defect", "id": signal_id})
    assert await refused(chain, "bob", "CloseDefects", fix_id="nothing") == (
        "RESOURCE_NOT_FOUND",
        {"resource": "fix", "id": "nothing"},
    )
    signal_id = await unsafe(chain)
    told = await refused(chain, "ann", "ProposeDefectFix", signal_ids=[signal_id], **PROOF, artifact_id="nothing")
    assert told == ("RESOURCE_NOT_FOUND", {"resource": "artifact", "id": "nothing"})


async def test_nobody_closes_by_their_own_fix(chain: Chain) -> None:
    fix = await named(chain, await unsafe(chain), who="dan")
    assert await refused(chain, "dan", "CloseDefects", fix_id=fix.fix_id) == (
        "OWN_WORK_REFUSED",
        {"cause": "PROPOSER"},
    )
    assert (await refused(chain, "ann", "CloseDefects", fix_id=fix.fix_id))[0] == "ROLE_REQUIRED"
    await chain.call("bob", "CloseDefects", fix_id=fix.fix_id)


async def test_a_defect_stays_where_its_user_is_forgotten(chain: Chain) -> None:
    signal_id = await unsafe(chain)
    row = await chain.packaged(LINE, {"s-1": "ula", "s-2": "xan"})
    await chain.revoke("vic")
    await chain.settle()
    assert list((await decided(chain, row)).open_defects) == [signal_id]
    await closed(chain, signal_id)
    assert (await decided(chain, row)).decision == decisions.DECISION_ALLOW


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


async def captured(house: Governed, *names: str) -> Sequence[str]:
    made = [signal(name, "dev", domain=GOLD_DOMAIN_STT_TRANSCRIPT) for name in names]
    async with house.store.transaction() as tx:
        new = [NewSignal(one, nouns.INTAKE_PATH_DEFECT, safety_critical=True) for one in made]
        await tx.learning.signals.capture("dev", new, lambda signal, seen: 1)
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.captured", reason_code="TEST")
    return [one.signal_id for one in made]


async def test_over_the_wire_a_defect_is_its_tenants_and_of_who_has_the_role(house: Governed) -> None:
    [signal_id] = await captured(house, "1")
    about: dict[str, Any] = {"signal_ids": [signal_id], **PROOF}
    for who, method, fields in (("build", "ProposeDefectFix", about), ("bob", "CloseDefects", {"fix_id": "f"})):
        refusal = await house.refused(who, method, tenant="other", **fields)
        assert refusal.reason == "TENANT_MISMATCH"
    assert (await house.refused("bob", "ListDefects", tenant="other")).reason == "TENANT_MISMATCH"
    assert (await house.refused("bob", "ProposeDefectFix", **about)).reason == "ROLE_REQUIRED"
    assert (await house.refused("build", "CloseDefects", fix_id="f")).reason == "ROLE_REQUIRED"
    assert (await house.refused("ula", "ListDefects")).reason == "ROLE_REQUIRED"
    fix = (await house.call("build", "ProposeDefectFix", **about)).fix
    assert len((await house.call("bob", "CloseDefects", fix_id=fix.fix_id)).closures) == 1


async def test_the_defects_that_hold_an_artifact_are_told_up_to_a_limit(house: Governed) -> None:
    row = await house.candidate()
    ids = await captured(house, *(f"{number:02}" for number in range(NAMED + 3)))
    told = (await house.allow(row)).statement
    assert list(told.open_defects) == list(ids[:NAMED])
    pages = []
    token = ""
    while True:
        reply = await house.call("ann", "ListDefects", page={"page_size": 7, "page_token": token})
        pages += [one.signal_id for one in reply.defects]
        token = reply.page.next_page_token
        if not token:
            break
    assert pages == list(ids)


async def test_a_learned_pack_that_is_named_needs_no_closing_to_go_on_but_every_gate(house: Governed) -> None:
    row = await house.candidate()
    [signal_id] = await captured(house, "1")
    async with house.store.transaction() as tx:
        await tx.gold.lineage.link("dev", [f"signal:{signal_id}"], f"artifact:{row.artifact_id}")
        tx.audit(tenant_id="dev", owner="test", actor="test", transition="test.linked", reason_code="TEST")
    await house.call("build", "ProposeDefectFix", signal_ids=[signal_id], **PROOF, artifact_id=row.artifact_id)
    assert (await house.refused("ann", "StartRollout", artifact_id=row.artifact_id)).reason == "GATE_BLOCKED"
    await house.start(row)


def fix(**fields: Any) -> defects.DefectFix:
    usual = {"fix_id": "f-1", "signal_ids": ["s-1"], "proposer": "ann", **PROOF}
    return defects.DefectFix(**{**usual, **fields})


def failing() -> decisions.BuilderReport:
    report = decisions.BuilderReport()
    report.CopyFrom(REPORT)
    report.verification.replay_tests.passed = False
    return report


PACK = decisions.ArtifactRef(artifact_id="a-1", package_hash=b"h" * 32)


@pytest.mark.parametrize(
    ("named_fix", "learned_from", "named_before", "cause"),
    [
        (fix(), [], [], None),
        (fix(artifact=PACK), ["s-0", "s-1"], [], None),
        (fix(artifact=PACK), ["s-0"], ["s-0"], None),
        (fix(artifact=PACK), ["s-0"], [], Unproved.NOT_LEARNED_FROM_DEFECT),
        (fix(artifact=PACK), [], ["s-0"], Unproved.NOT_LEARNED_FROM_DEFECT),
        (fix(regression_test=decisions.Check(evidence_ref="ci://1")), [], [], Unproved.REGRESSION_TEST_NOT_PASSED),
        (fix(regression_test=decisions.Check(passed=True)), [], [], Unproved.REGRESSION_TEST_NOT_PASSED),
        (fix(report=failing()), [], [], Unproved.VERIFICATION_NOT_PASSED),
        (fix(report=decisions.BuilderReport()), [], [], Unproved.VERIFICATION_NOT_PASSED),
    ],
)
def test_what_a_fix_is_named_with(
    named_fix: defects.DefectFix, learned_from: list[str], named_before: list[str], cause: Unproved | None
) -> None:
    assert unproved(named_fix, learned_from, named_before) == cause


def test_a_fix_that_is_a_pack_closes_once_its_content_serves() -> None:
    assert unfinished(fix(), b"") is None
    assert unfinished(fix(artifact=PACK), b"h" * 32) is None
    assert unfinished(fix(artifact=PACK), b"") == Unproved.FIX_NOT_SERVING


def test_who_named_the_fix_or_proposed_its_pack_does_not_close() -> None:
    assert own_work("bob", fix(), ["cay"]) is None
    assert own_work("ann", fix(), []) is not None
    assert own_work("cay", fix(), ["cay"]) is not None


def test_a_defect_is_open_until_it_is_closed() -> None:
    assert state_of(named=False, closed=False) == defects.DEFECT_STATE_OPEN
    assert state_of(named=True, closed=False) == defects.DEFECT_STATE_FIX_PROPOSED
    assert state_of(named=True, closed=True) == defects.DEFECT_STATE_CLOSED


def test_packs_are_held_by_the_domains_that_learning_builds_them_of() -> None:
    for artifact_type in CONSUMERS:
        domains = {one.domain for one in DOMAINS if artifact_type in one.pack_types}
        assert domains and set(learned_of(artifact_type)) == domains, artifact_type
    assert learned_of("UNKNOWN") == ()
