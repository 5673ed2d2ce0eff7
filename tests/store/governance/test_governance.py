"""What governance keeps, on SQLite and PostgreSQL: append-only where it was decided, locked where it is worked on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow, ConsumptionProof
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.governance.v1 import rollout_pb2 as v1
from selene.governance.v1.consent_pb2 import REVOCATION_STEP_INVALIDATE, REVOCATION_STEP_UNSPECIFIED, Revocation
from selene.governance.v1.decision_pb2 import (
    APPROVAL_KIND_CODE,
    ArtifactRef,
    BuilderReport,
    ConsumptionVerdict,
    DecisionEvidence,
    GateBundleStatement,
    SignedStatement,
)
from selene.learning.v1.signal_pb2 import INTAKE_PATH_IMPROVEMENT
from sqlalchemy import text

from store import Conflict, Store
from store.governance import gate_bundle_ref
from store.keys import signature_holds
from store.learning import NewSignal
from tests.support.signals import signal
from tests.support.stores import audit
from tests.support.time import FakeClock

SCOPE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id="t1")
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SIGNED = SignedStatement(payload_type="kind", payload=b"payload", signature=bytes(64), signing_key_id="key")


def rollout(name: str = "r-1", started_at: datetime = START) -> v1.Rollout:
    made = v1.Rollout(
        rollout_id=name,
        tenant_id="t1",
        subject=ArtifactRef(artifact_id=f"a-{name}", artifact_type="STT_VOCAB_PACK", scope=SCOPE),
        state=v1.ROLLOUT_STATE_RUNNING,
    )
    made.started_at.FromDatetime(started_at)
    return made


def window(starts_at: datetime, lasts: timedelta, arm: v1.Arm = v1.ARM_CANDIDATE, cohort: str = "") -> v1.KpiWindow:
    made = v1.KpiWindow(arm=arm, cohort=cohort, turns=1)
    made.starts_at.FromDatetime(starts_at)
    made.ends_at.FromDatetime(starts_at + lasts)
    return made


async def start(store: Store, *rollouts: v1.Rollout, due_at: datetime = START) -> None:
    async with store.transaction() as tx:
        for each in rollouts:
            await tx.governance.rollouts.start(each, due_at)
        audit(tx)


async def test_a_case_grows_by_what_is_handed_in(store: Store, clock: FakeClock) -> None:
    evidence = DecisionEvidence(evaluation_ref="eval://1")
    async with store.transaction() as tx:
        case = await tx.governance.cases.locked("t1", "a-1")
        await tx.governance.cases.propose("t1", case, "ann", evidence)
        audit(tx)
    clock.advance(MINUTE)
    async with store.transaction() as tx:
        case = await tx.governance.cases.locked("t1", "a-1")
        await tx.governance.cases.propose("t1", case, "bob", evidence)
        await tx.governance.cases.keep_report("t1", case, BuilderReport(report_id="r-1"))
        audit(tx)
    case = await store.governance.cases.get("t1", "a-1")
    assert (case.proposed_at, case.proposers) == (START, ("ann", "bob"))
    assert case.report is not None and case.report.report_id == "r-1"
    assert (case.bundle, case.verdict, case.frozen_by) == (None, None, "")
    assert await store.governance.cases.get("t2", "a-1") != case


async def test_an_artifact_wants_a_proof_from_its_bundle_on_until_one_names_it(store: Store) -> None:
    cases, kind = store.governance.cases, "STT_VOCAB_PACK"
    row = ArtifactRow(
        artifact_id="a-1",
        artifact_type=kind,
        tenant_id="t1",
        scope=SCOPE,
        provenance_ref="test",
        created_by="test",
        idempotency_key="k-1",
        status=ARTIFACT_STATUS_CANDIDATE,
    )
    async with store.transaction() as tx:
        await tx.artifacts.register(row, b"one")
        audit(tx)

    async def keep(number: int | None = None, proved_with: str = "", frozen: bool = False) -> list[str]:
        """What wants a proof after something was handed in."""
        async with store.transaction() as tx:
            case = await tx.governance.cases.locked("t1", "a-1")
            if number is not None:
                statement = GateBundleStatement(bundle_hash=bytes([number] * 32))
                signed = SignedStatement(payload_type="kind", payload=statement.SerializeToString())
                await tx.governance.cases.keep_bundle("t1", case, signed)
            if proved_with:
                verdict = ConsumptionVerdict(proof=ConsumptionProof(gate_bundle_ref=proved_with))
                await tx.governance.cases.keep_verdict("t1", case, verdict)
            if frozen:
                await tx.governance.cases.freeze("t1", ["a-1"], "revocation-1")
            audit(tx)
        return [each.gate_bundle_ref for each in await cases.unproved([kind, "OTHER"], 10)]

    first, second = (gate_bundle_ref(bytes([number] * 32)) for number in (1, 2))
    assert await keep(proved_with="incomplete") == []
    assert await keep(1) == [first]
    assert [each.row.artifact_id for each in await cases.unproved([kind], 10)] == ["a-1"]
    assert await cases.unproved(["OTHER"], 10) == [] == await cases.unproved([kind], 0)
    assert await keep(proved_with=second) == [first]
    assert await keep(proved_with=first) == []
    assert await keep(2) == [second]
    assert await keep(frozen=True) == []


@pytest.mark.parametrize(("table", "column"), [("governance_decisions", "number"), ("governance_approvals", "kind")])
@pytest.mark.parametrize("change", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
async def test_decisions_and_permissions_cannot_be_changed(store: Store, table: str, column: str, change: str) -> None:
    async with store.transaction() as tx:
        await tx.governance.cases.keep_decision("t1", "a-1", SIGNED)
        await tx.governance.cases.keep_approval("t1", "a-1", APPROVAL_KIND_CODE, "bob", SIGNED)
        audit(tx)
    with pytest.raises(Exception, match="append-only"):
        async with store.transaction() as tx:
            await tx.write(text(change.format(table=table, column=column)))
    assert await store.governance.cases.decisions("t1", "a-1") == [SIGNED]
    assert await store.governance.cases.approvers("t1", "a-1") == {APPROVAL_KIND_CODE: "bob"}


async def test_a_permission_is_given_once(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.governance.cases.keep_approval("t1", "a-1", APPROVAL_KIND_CODE, "bob", SIGNED)
        audit(tx)
    with pytest.raises(Conflict):
        async with store.transaction() as tx:
            await tx.governance.cases.keep_approval("t1", "a-1", APPROVAL_KIND_CODE, "cay", SIGNED)


async def test_what_is_signed_verifies_by_the_stores_key(store: Store) -> None:
    async with store.transaction() as tx:
        made = tx.governance.sign(b"statement")
        audit(tx)
    assert signature_holds(store.trusted_keys(), made.key_id, b"statement", made.signature)


async def test_a_freeze_stays_with_the_revocation_that_came_first(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.governance.cases.freeze("t1", ["a-2", "a-1"], "rev-1") == ["a-1", "a-2"]
        assert await tx.governance.cases.freeze("t1", ["a-2", "a-3"], "rev-2") == ["a-3"]
        audit(tx)
    assert (await store.governance.cases.get("t1", "a-2")).frozen_by == "rev-1"
    assert await store.governance.cases.page("t1", limit=10) == []


async def test_windows_of_one_side_do_not_overlap_and_others_may(store: Store) -> None:
    one = rollout()
    await start(store, one)
    hour = timedelta(hours=1)
    async with store.transaction() as tx:
        kept = tx.governance.rollouts

        async def taken(starts_at: datetime, lasts: timedelta, **side: object) -> bool:
            made = window(starts_at, lasts, **side)  # type: ignore[arg-type]  # an arm or a cohort
            return await kept.measured(one, v1.ROLLOUT_STAGE_SHADOW, made)

        assert await taken(START, hour)
        assert await taken(START + hour, hour)
        assert not await taken(START, hour)
        assert not await taken(START + hour - MINUTE, MINUTE * 2)
        assert not await taken(START - hour, hour * 5)
        assert await taken(START, hour, arm=v1.ARM_BASELINE)
        assert await taken(START, hour, cohort="language:en")
        audit(tx)
    assert len(await store.governance.rollouts.windows("t1", "r-1", [v1.ROLLOUT_STAGE_SHADOW])) == 4
    assert await store.governance.rollouts.windows("t1", "r-1", [v1.ROLLOUT_STAGE_FULL]) == []


async def test_a_rollout_is_due_at_its_time_and_no_sooner(store: Store) -> None:
    await start(store, rollout("r-1"), due_at=START + MINUTE)
    due = store.governance.rollouts.due
    assert await due(START + MINUTE - timedelta(microseconds=1), limit=9) == []
    assert await due(START + MINUTE, limit=9) == [("t1", "r-1")]


async def test_a_rollout_that_one_controller_works_on_is_passed_over_by_the_others(store: Store) -> None:
    await start(store, rollout())
    claimed = 0

    async def work() -> None:
        nonlocal claimed
        async with store.transaction() as tx:
            found = await tx.governance.rollouts.claim("t1", "r-1", START)
            if found is not None:
                claimed += 1
                await tx.governance.rollouts.save(found, START + MINUTE)
                audit(tx)

    await asyncio.gather(*(work() for _ in range(4)))
    assert claimed == 1
    kept = await store.governance.rollouts.get("t1", "r-1")
    assert kept is not None and kept.revision == 2


async def test_a_rollout_that_has_gone_on_is_not_overwritten(store: Store) -> None:
    await start(store, rollout())
    stale = await store.governance.rollouts.get("t1", "r-1")
    assert stale is not None
    fresh = v1.Rollout.FromString(stale.SerializeToString())
    async with store.transaction() as tx:
        await tx.governance.rollouts.save(fresh, START)
        audit(tx)
    with pytest.raises(Conflict, match="gone on"):
        async with store.transaction() as tx:
            await tx.governance.rollouts.save(stale, START)


async def test_rollouts_are_paged_latest_first(store: Store) -> None:
    await start(store, *(rollout(f"r-{number}", START + number * MINUTE) for number in range(5)))
    first = await store.governance.rollouts.page("t1", limit=2)
    last = first[-1]
    before = (last.started_at.ToDatetime(tzinfo=UTC), last.rollout_id)
    rest = await store.governance.rollouts.page("t1", limit=9, before=before)
    assert [each.rollout_id for each in (*first, *rest)] == ["r-4", "r-3", "r-2", "r-1", "r-0"]
    assert await store.governance.rollouts.page("t1", limit=9, state=v1.ROLLOUT_STATE_COMPLETED) == []


async def test_a_consent_runs_out_at_its_time_and_can_be_given_again(store: Store, clock: FakeClock) -> None:
    ends = START + MINUTE
    async with store.transaction() as tx:
        await tx.governance.consents.grant("t1", "mira", ends)
        await tx.governance.consents.grant("t1", "otto", None)
        audit(tx)
    consents = store.governance.consents
    assert await consents.expired(ends - timedelta(microseconds=1), limit=9) == []
    assert await consents.expired(ends, limit=9) == [("t1", "mira")]
    async with store.transaction() as tx:
        assert await tx.governance.consents.claim_expired("t1", "mira", ends)
        await tx.governance.consents.end("t1", "mira")
        assert not await tx.governance.consents.claim_expired("t1", "mira", ends)
        audit(tx)
    kept = await consents.get("t1", "mira")
    assert kept is not None and kept.ended_at == clock.now()
    async with store.transaction() as tx:
        again = await tx.governance.consents.grant("t1", "mira", None)
        audit(tx)
    assert again.ended_at is None


@pytest.mark.parametrize(
    ("revoked_by", "over"),
    [("mira", {"before"}), ("", {"before", "others"}), ("otto", {"others"}), ("nobody", set())],
)
async def test_signals_from_before_a_revocation_stay_revoked_once_consent_is_given_anew(
    store: Store, clock: FakeClock, revoked_by: str, over: set[str]
) -> None:
    async def capture(name: str, user: str) -> None:
        new = NewSignal(signal(name, user_id=user, signal_id=name), INTAKE_PATH_IMPROVEMENT)
        async with store.transaction() as tx:
            await tx.learning.signals.capture("t1", [new], lambda one, seen: 1)
            audit(tx)

    await capture("before", "mira")
    await capture("others", "otto")
    revocation = Revocation(revocation_id="rev-1", tenant_id="t1", user_id=revoked_by)
    revocation.captured_at.FromDatetime(clock.now())
    async with store.transaction() as tx:
        await tx.governance.consents.end("t1", revoked_by)
        await tx.governance.consents.capture(revocation, 1)
        for user in ("mira", "otto"):
            await tx.governance.consents.grant("t1", user, None)
        audit(tx)
    clock.advance(timedelta(microseconds=1))
    await capture("after", "mira")
    ended = {
        name
        for name in ("before", "others", "after")
        if await store.governance.consents.any_ended("t1", [name], clock.now())
    }
    assert ended == over
    assert not await store.governance.consents.any_ended("t2", ["before"], clock.now())


async def test_a_revocation_is_open_until_its_last_step(store: Store) -> None:
    revocation = Revocation(revocation_id="rev-1", tenant_id="t1", next_step=REVOCATION_STEP_INVALIDATE)
    revocation.captured_at.FromDatetime(START)
    async with store.transaction() as tx:
        await tx.governance.consents.capture(revocation, 3)
        audit(tx)
    assert await store.governance.consents.open(limit=9) == [("t1", "rev-1")]
    async with store.transaction() as tx:
        kept = await tx.governance.consents.claim("t1", "rev-1")
        assert kept is not None and kept.signals == 3
        kept.message.next_step = REVOCATION_STEP_UNSPECIFIED
        await tx.governance.consents.save(kept.message)
        audit(tx)
    assert await store.governance.consents.open(limit=9) == []
    assert [each.revision for each in await store.governance.consents.page("t1", limit=9, only_open=False)] == [2]
    assert await store.governance.consents.page("t1", limit=9, only_open=True) == []
