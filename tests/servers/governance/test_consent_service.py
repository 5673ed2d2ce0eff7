"""A consent that ends takes everything with it that was learned under it (§21), and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_REASON_POLICY_SCOPE_VIOLATION,
    GOLD_REASON_POST_DEPLOY_REGRESSION,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
    GOLD_STATE_REVERTED,
    GOLD_STATE_VALIDATING,
    GOLD_TIER_2_HUMAN_VERIFIED,
    GoldReason,
    GoldState,
    GoldTransition,
)
from selene.governance.v1 import consent_pb2 as v1
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.learning.v1.signal_pb2 import INTAKE_PATH_IMPROVEMENT

from servers.governance.revocation import ORDER_OF_WORK
from servers.governance.statement import opened
from store.gold import artifact_ref, gold_ref, signal_ref
from store.learning import NewSignal
from tests.servers.governance.house import SCOPE, TENANT, WORSE, Governed, governing, words
from tests.support.signals import signal

USER = v1.REVOCATION_TRIGGER_USER_REQUEST
TO_PACKAGED: Sequence[GoldState] = (
    GOLD_STATE_CANDIDATE,
    GOLD_STATE_VALIDATING,
    GOLD_STATE_AWAITING_REVIEW,
    GOLD_STATE_GOLD_APPROVED,
    GOLD_STATE_PACKAGED,
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


async def learn(house: Governed, row: ArtifactRow | None, gold_set_id: str, signals: dict[str, str]) -> None:
    """Signals (id → user), a gold set of them, and what was packed of it."""
    new = [
        NewSignal(signal(name, tenant_id=TENANT, user_id=user, signal_id=name), INTAKE_PATH_IMPROVEMENT)
        for name, user in signals.items()
    ]
    candidate = GoldCandidate(
        gold_set_id=gold_set_id,
        domain=GOLD_DOMAIN_STT_TRANSCRIPT,
        tier=GOLD_TIER_2_HUMAN_VERIFIED,
        tenant_id=TENANT,
        scope=SCOPE,
        proposed_by="system",
        policy_version="1",
    )
    async with house.store.transaction() as tx:
        await tx.learning.signals.capture(TENANT, new, lambda one, seen: 1)
        await tx.gold.propose(candidate, signals)
        await tx.gold.lineage.link(TENANT, [signal_ref(each) for each in signals], gold_ref(gold_set_id))
        if row is not None:
            await tx.gold.lineage.link(TENANT, [gold_ref(gold_set_id)], artifact_ref(row.artifact_id))
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.learned", reason_code="TEST")


async def revoke(house: Governed, user: str = "ula", **fields: Any) -> v1.Revocation:
    """The user's own revocation, without the steps that follow by themselves."""
    return (await house.call("ula", "RevokeConsent", user_id=user, trigger=USER, **fields)).revocation


async def settled(house: Governed, revocation: v1.Revocation) -> v1.Revocation:
    """The same revocation once nothing is left to do."""
    await house.controller.tick()
    return (await house.call("ann", "GetRevocation", revocation_id=revocation.revocation_id)).revocation


def steps(revocation: v1.Revocation) -> Sequence[v1.RevocationStep]:
    return [record.step for record in revocation.steps]


async def test_the_freeze_is_done_when_the_reply_leaves(house: Governed) -> None:
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula", "s-2": "other"})
    await house.prove(row)
    revocation = await revoke(house)
    assert steps(revocation) == list(ORDER_OF_WORK[:3])
    assert list(revocation.affected_gold_set_ids) == ["g-1"]
    assert [each.artifact_id for each in revocation.affected_artifacts] == [row.artifact_id]
    refused = await house.refused("ann", "StartRollout", artifact_id=row.artifact_id)
    assert refused.reason == "ARTIFACT_FROZEN"
    assert refused.metadata["revocation_id"] == revocation.revocation_id
    for who, method, fields in (
        ("bob", "Approve", {"kind": decisions.APPROVAL_KIND_CODE}),
        ("build", "SubmitBuilderReport", {"report": decisions.BuilderReport()}),
    ):
        refused = await house.refused(who, method, artifact_id=row.artifact_id, **fields)
        assert refused.reason in ("ARTIFACT_FROZEN", "FIELD_INVALID")
    gold = await house.store.gold.get(TENANT, "g-1")
    assert gold is not None and gold.message.frozen
    decision = (await house.allow(row)).statement
    assert (decision.decision, decision.reasons[0]) == (
        decisions.DECISION_BLOCK,
        decisions.DECISION_REASON_CONSENT_REVOKED,
    )


async def test_what_others_taught_stays_as_it_was(house: Governed) -> None:
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "other"})
    revocation = await settled(house, await revoke(house))
    assert not revocation.affected_artifacts and not revocation.affected_gold_set_ids
    assert (await house.prove(row)).passed


async def test_what_serves_is_taken_back_and_what_is_left_is_rebuilt(house: Governed) -> None:
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula", "s-2": "other"})
    before = await house.serves()
    rollout = await house.advance(await house.start(row), until=rollouts.ROLLOUT_STAGE_FULL)
    assert await house.serves() != before

    revocation = await settled(house, await revoke(house))
    assert steps(revocation) == list(ORDER_OF_WORK)
    assert revocation.next_step == v1.REVOCATION_STEP_UNSPECIFIED
    assert not any(record.late for record in revocation.steps)
    assert await house.serves() == before
    back = await house.rollout(rollout.rollout_id)
    assert (back.state, back.rollback_reason) == (
        rollouts.ROLLOUT_STATE_ROLLED_BACK,
        decisions.DECISION_REASON_CONSENT_REVOKED,
    )
    rebuilt = [each for each in await house.store.gold.page(TENANT, limit=10) if each.rebuilt_from == "g-1"]
    assert len(rebuilt) == 1 and not rebuilt[0].frozen
    assert await house.store.gold.signal_ids(TENANT, rebuilt[0].gold_set_id) == ["s-2"]
    stated = await house.store.artifacts.versions("ARTIFACT_STATUS_EVENT_V1", TENANT, SCOPE)
    assert [each.provenance_ref for each in stated] == [f"artifact:{row.artifact_id}"]


async def gold_that_is_live(house: Governed) -> rollouts.Rollout:
    """A rollout to everyone of what a gold set of ula's signals was packaged into."""
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula"})
    async with house.store.transaction() as tx:
        for before, after in itertools.pairwise(TO_PACKAGED):
            step = GoldTransition(gold_set_id="g-1", from_state=before, to_state=after, applied=True)
            step.occurred_at.FromDatetime(house.now())
            await tx.gold.move(TENANT, step)
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.packaged", reason_code="TEST")
    return await house.advance(await house.start(row), until=rollouts.ROLLOUT_STAGE_FULL)


async def reverted(house: Governed) -> GoldReason:
    """What the gold set was taken back for."""
    last = (await house.store.gold.history(TENANT, "g-1"))[-1]
    assert (last.to_state, last.applied) == (GOLD_STATE_REVERTED, True)
    activated, back = await house.trail("gold.activated", "gold.reverted")
    assert (activated.reason_code, back.reason_code) == ("OK", GoldReason.Name(last.reason_code).replace("REASON_", ""))
    assert {fact.name: fact.value for fact in back.facts} == {
        "from": "ACTIVATED",
        "gold_set_id": "g-1",
        "to": "REVERTED",
    }
    return last.reason_code


async def test_gold_says_that_a_revocation_took_it_back(house: Governed) -> None:
    await gold_that_is_live(house)
    await settled(house, await revoke(house))
    assert await reverted(house) == GOLD_REASON_POLICY_SCOPE_VIOLATION


async def test_gold_says_so_also_where_the_judge_acts_on_the_revocation_first(house: Governed) -> None:
    rollout = await gold_that_is_live(house)
    await revoke(house)
    judged = await house.measure(rollout)
    assert judged.rollback_reason == decisions.DECISION_REASON_JUDGE_ROLLBACK
    assert await reverted(house) == GOLD_REASON_POLICY_SCOPE_VIOLATION


async def test_gold_of_which_a_later_version_took_the_place_is_taken_back_by_a_revocation_too(house: Governed) -> None:
    first = await gold_that_is_live(house)
    house.skip(timedelta(days=1))
    later = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_FULL)
    assert (await house.rollout(first.rollout_id)).state == rollouts.ROLLOUT_STATE_COMPLETED
    revocation = await settled(house, await revoke(house))
    assert await reverted(house) == GOLD_REASON_POLICY_SCOPE_VIOLATION
    [row] = await house.trail("gold.reverted")
    assert row.turn.correlation_id == f"revocation:{revocation.revocation_id}"
    assert (await house.rollout(later.rollout_id)).state == rollouts.ROLLOUT_STATE_RUNNING


async def test_gold_says_that_a_regression_took_it_back(house: Governed) -> None:
    await house.measure(await gold_that_is_live(house), WORSE)
    assert await reverted(house) == GOLD_REASON_POST_DEPLOY_REGRESSION


async def test_what_was_revoked_is_not_learned_from_again_once_consent_is_given_anew(house: Governed) -> None:
    old, new = await house.candidate(), await house.candidate()
    await learn(house, None, "g-1", {"s-1": "ula"})
    await settled(house, await revoke(house))
    house.skip(timedelta(seconds=1))
    await house.call("ula", "GrantConsent", user_id="ula")
    await learn(house, new, "g-2", {"s-2": "ula"})
    async with house.store.transaction() as tx:
        await tx.gold.lineage.link(TENANT, [signal_ref("s-1")], artifact_ref(old.artifact_id))
        tx.audit(tenant_id=TENANT, owner="test", actor="test", transition="test.linked", reason_code="TEST")
    blocked = (await house.allow(old)).statement
    assert (blocked.decision, list(blocked.reasons)) == (
        decisions.DECISION_BLOCK,
        # What was erased can no longer be shown to be anybody's to learn from.
        [decisions.DECISION_REASON_CONSENT_INACTIVE, decisions.DECISION_REASON_PRIVACY_VIOLATION],
    )
    assert (await house.allow(new)).statement.decision == decisions.DECISION_ALLOW


async def rebuilt(house: Governed) -> dict[str, list[str]]:
    """What each gold set that was built anew comes from, by the set that it was built from."""
    found = [each for each in await house.store.gold.page(TENANT, limit=10) if each.rebuilt_from]
    assert len({each.rebuilt_from for each in found}) == len(found)
    return {each.rebuilt_from: await house.store.gold.signal_ids(TENANT, each.gold_set_id) for each in found}


async def test_gold_of_two_who_revoked_is_built_anew_once_and_without_either(house: Governed) -> None:
    await learn(house, None, "g-1", {"s-1": "ula", "s-2": "vic", "s-3": "other"})
    for user in ("ula", "vic"):
        await house.call("ann", "RevokeConsent", user_id=user, trigger=USER)
    await house.controller.tick()
    assert await rebuilt(house) == {"g-1": ["s-3"]}


async def test_a_later_revocation_builds_anew_what_was_rebuilt_and_nothing_that_was_taken_apart(
    house: Governed,
) -> None:
    await learn(house, None, "g-1", {"s-1": "ula", "s-2": "vic", "s-3": "other"})
    await settled(house, await revoke(house))
    [again] = [each.gold_set_id for each in await house.store.gold.page(TENANT, limit=10) if each.rebuilt_from]
    await house.call("ann", "RevokeConsent", user_id="vic", trigger=USER)
    await house.controller.tick()
    assert await rebuilt(house) == {"g-1": ["s-2", "s-3"], again: ["s-3"]}


async def test_who_revokes_a_second_time_has_nothing_built_anew_a_second_time(house: Governed) -> None:
    await learn(house, None, "g-1", {"s-1": "ula", "s-2": "other"})
    await settled(house, await revoke(house))
    await settled(house, await revoke(house))
    assert await rebuilt(house) == {"g-1": ["s-2"]}


async def test_a_canary_ends_without_a_pointer_having_moved(house: Governed) -> None:
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula"})
    rollout = await house.start(row)
    pointer = await house.pointer()
    await settled(house, await revoke(house))
    assert (await house.rollout(rollout.rollout_id)).state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert await house.pointer() == pointer


async def test_where_nothing_clean_is_left_nothing_serves(house: Governed) -> None:
    first = await house.register(words("one"), active=True)
    second = await house.register(words("two"), active=True)
    await learn(house, first, "g-1", {"s-1": "ula"})
    await learn(house, second, "g-2", {"s-2": "ula"})
    await settled(house, await revoke(house))
    assert await house.pointer() is None


async def test_a_rollback_never_returns_to_what_was_revoked(house: Governed) -> None:
    oldest = await house.register(words("one"), active=True)
    revoked = await house.register(words("two"), active=True)
    await learn(house, revoked, "g-1", {"s-1": "ula"})
    rollout = await house.advance(await house.start(await house.candidate()), until=rollouts.ROLLOUT_STAGE_FULL)
    await settled(house, await revoke(house))
    assert await house.serves() == await house.store.artifacts.payload(rollout.subject.package_hash)
    await house.call("ann", "Rollback", rollout_id=rollout.rollout_id, reason_code="REGRETTED")
    assert await house.serves() == words("one")
    assert await house.store.artifacts.payload(oldest.package_hash) == words("one")


async def test_the_receipt_is_signed_and_names_the_user_by_a_commitment_only(house: Governed) -> None:
    row = await house.register(words("one"), active=True)
    newer = await house.register(words("two"), active=True)
    await learn(house, newer, "g-1", {"s-1": "ula", "s-2": "ula"})
    revocation = await settled(house, await revoke(house))
    receipt = opened(revocation.receipt, v1.ErasureReceipt, house.store.trusted_keys())
    assert (receipt.signals, [each.artifact_id for each in receipt.invalidated]) == (2, [newer.artifact_id])
    assert [each.package_hash for each in receipt.replaced_by] == [row.package_hash]
    assert b"ula" not in revocation.receipt.payload


async def test_steps_that_come_too_late_say_so_and_are_done_all_the_same(house: Governed) -> None:
    await house.register(words("one"), active=True)
    newer = await house.register(words("two"), active=True)
    await learn(house, newer, "g-1", {"s-1": "ula"})
    revocation = await revoke(house)
    house.skip(timedelta(minutes=61))
    revocation = await settled(house, revocation)
    late = {record.step for record in revocation.steps if record.late}
    assert late == {v1.REVOCATION_STEP_GOV_ROLLBACK}
    assert await house.serves() == words("one")
    last = (await house.call("ann", "ListDecisions", artifact_id=newer.artifact_id)).decisions[-1].statement
    assert decisions.DECISION_REASON_REVOCATION_SLA_MISSED in last.reasons


async def test_a_consent_runs_out_by_itself(house: Governed) -> None:
    await house.register(words("one"), active=True)
    newer = await house.register(words("two"), active=True)
    await learn(house, newer, "g-1", {"s-1": "ula"})
    expires_at = house.now() + timedelta(days=30)
    request: dict[str, Any] = {"user_id": "ula", "expires_at": expires_at}
    granted = (await house.call("ula", "GrantConsent", **request)).consent
    assert granted.expires_at.ToDatetime(tzinfo=UTC) == expires_at
    await house.controller.tick()
    assert await house.serves() == words("two")
    house.skip(timedelta(days=30))
    await house.controller.tick()
    assert await house.serves() == words("one")
    revocations = (await house.call("ann", "ListRevocations")).revocations
    assert [each.trigger for each in revocations] == [v1.REVOCATION_TRIGGER_EXPIRED_TTL]
    assert (await house.call("ula", "GetConsent", user_id="ula")).consent.HasField("ended_at")


async def test_an_artifact_of_somebody_whose_consent_ended_is_blocked_before_it_is_frozen(house: Governed) -> None:
    await revoke(house)
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula"})
    decision = (await house.allow(row)).statement
    assert (decision.decision, decision.reasons[0]) == (
        decisions.DECISION_BLOCK,
        decisions.DECISION_REASON_CONSENT_INACTIVE,
    )


async def test_a_tenants_policy_revokes_for_everyone_and_only_an_operator_applies_it(house: Governed) -> None:
    row = await house.candidate()
    await learn(house, row, "g-1", {"s-1": "ula", "s-2": "other"})
    policy = {"user_id": "", "trigger": v1.REVOCATION_TRIGGER_TENANT_POLICY}
    assert (await house.refused("ula", "RevokeConsent", **policy)).reason == "ROLE_REQUIRED"
    revocation = (await house.call("ann", "RevokeConsent", **policy)).revocation
    assert revocation.steps[0].affected == 4, "and those of the evaluation, and of the turns that it is held against"


async def test_nobody_revokes_for_somebody_else(house: Governed) -> None:
    for who, method, fields in (
        ("ula", "RevokeConsent", {"user_id": "other", "trigger": USER}),
        ("bob", "GrantConsent", {"user_id": "ula"}),
        ("bob", "GetConsent", {"user_id": "ula"}),
    ):
        assert (await house.refused(who, method, **fields)).reason == "SUBJECT_MISMATCH"
    for trigger in (v1.REVOCATION_TRIGGER_UNSPECIFIED, v1.REVOCATION_TRIGGER_EXPIRED_TTL):
        refused = await house.refused("ann", "RevokeConsent", user_id="ula", trigger=trigger)
        assert refused.reason == "FIELD_INVALID"
    revocation = await revoke(house)
    refused = await house.refused("bob", "GetRevocation", revocation_id=revocation.revocation_id)
    assert refused.reason == "SUBJECT_MISMATCH"


async def test_a_repeated_revocation_is_the_same_one(house: Governed) -> None:
    first = await revoke(house, idempotency_key="gone")
    assert (await revoke(house, idempotency_key="gone")).revocation_id == first.revocation_id


async def test_every_step_is_a_row_of_the_trail_with_its_reason(house: Governed) -> None:
    await house.register(words("one"), active=True)
    await learn(house, await house.register(words("two"), active=True), "g-1", {"s-1": "ula"})
    revocation = await settled(house, await revoke(house))
    told = [
        (event.transition, event.reason_code)
        for event in await house.owners.trail(TENANT)
        if event.turn.correlation_id == f"revocation:{revocation.revocation_id}"
    ]
    user = "CONSENT_REVOKED_USER_REQUEST"
    assert told == [
        ("revocation.captured", user),
        ("revocation.frozen", user),
        ("revocation.resolved", user),
        ("revocation.erased", user),
        ("revocation.invalidated", user),
        ("revocation.rolled_back", "CONSENT_REVOKE_ROLLBACK_APPLIED"),
        ("revocation.rebuilt", "CONSENT_REVOKE_REBUILD_REQUIRED"),
        ("revocation.released", user),
    ]
