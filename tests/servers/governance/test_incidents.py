"""Rows that the running system leaves take a rollout back at once, through the control loops as they run (§20, §29)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from selene.audit.v1.audit_pb2 import AuditEvent, NamedFact
from selene.common.v1.scope_pb2 import TurnRef
from selene.governance.v1 import rollout_pb2 as rollouts
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.voiceid.v1.voiceid_pb2 import CONFLICT_STATE_SPOOF_RISK

from servers.governance.measures import INCIDENTS, counted
from servers.kpi_windows import last_end
from servers.routing.measuring import Calls
from servers.runtime.meter import Meter
from servers.voiceid.measuring import Decisions
from store.routing import CallObservation
from store.schema import INCIDENTS as INDEXED
from store.voiceid import Observation
from tests.servers.governance import test_evaluating as voices
from tests.servers.governance.house import PACK, TENANT, Governed, governing
from tests.support.frozen import frozen_set

CANARY_1, CANARY_2 = rollouts.ROLLOUT_STAGE_CANARY_1, rollouts.ROLLOUT_STAGE_CANARY_2
WINDOW = timedelta(minutes=15)
AUTHORITY = rollouts.JUDGE_REASON_AUTHORITY_VIOLATION
PRIVACY = rollouts.JUDGE_REASON_PRIVACY_LEAK
DUPLICATE = rollouts.JUDGE_REASON_DUPLICATE_SIDE_EFFECT
KINDS = {
    "authority_violations": AUTHORITY,
    "privacy_leaks": PRIVACY,
    "duplicate_side_effects": DUPLICATE,
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


async def plant(house: Governed, transition: str, reason: str, *, turn: str = "", serves: int = 0) -> None:
    """A row of the trail; with `serves`, also the one that tells which version served its turn."""
    async with house.store.transaction() as tx:
        about = TurnRef(correlation_id=turn, turn_id="turn-1" if turn else "")
        if serves:
            facts = {"provider_ref": "p", PACK.lower(): f"{PACK}@{serves}"}
            tx.audit(
                tenant_id=TENANT,
                owner="PH1.C",
                actor="system",
                transition="call.finished",
                reason_code="ANSWERED",
                turn=about,
                facts=facts,
            )
        tx.audit(tenant_id=TENANT, owner="PH1.C", actor="system", transition=transition, reason_code=reason, turn=about)


async def rolling(house: Governed, stage: rollouts.RolloutStage = CANARY_1) -> rollouts.Rollout:
    """A rollout in a stage."""
    return await house.advance(await house.start(await house.candidate()), until=stage)


async def looked(house: Governed, rollout: rollouts.Rollout) -> rollouts.Rollout:
    """The rollout once the heartbeat has looked."""
    house.skip(timedelta(minutes=2))
    await house.controller.tick()
    return await house.rollout(rollout.rollout_id)


def is_running(rollout: rollouts.Rollout) -> bool:
    return rollout.state == rollouts.ROLLOUT_STATE_RUNNING


@pytest.mark.parametrize(("row", "kind"), INCIDENTS.items())
async def test_an_incident_of_a_turn_that_the_candidate_served_takes_it_back(
    house: Governed, row: tuple[str, str], kind: str
) -> None:
    rollout = await rolling(house)
    await plant(house, *row, turn="c-1", serves=int(rollout.subject.artifact_version))
    stands = await looked(house, rollout)
    assert stands.state == rollouts.ROLLOUT_STATE_ROLLED_BACK
    assert list(stands.last_judgement.reasons) == [KINDS[kind]]
    [told] = await house.trail("rollout.rolled_back")
    assert told.reason_code == rollouts.JudgeReason.Name(KINDS[kind]).removeprefix("JUDGE_REASON_")


async def test_anybody_can_be_refused_and_it_is_not_the_candidates(house: Governed) -> None:
    rollout = await rolling(house)
    version = int(rollout.subject.artifact_version)
    await plant(house, "request.refused", "TENANT_MISMATCH", turn="c-1")
    await plant(house, "request.refused", "TENANT_MISMATCH")
    await plant(house, "request.refused", "TENANT_MISMATCH", turn="c-2", serves=version - 1)
    await plant(house, "request.refused", "TOKEN_EXPIRED", turn="c-3", serves=version)
    assert is_running(await looked(house, rollout))


async def test_nothing_is_the_candidates_that_serves_nobody_yet(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    await plant(house, "delivery.duplicated", "SECOND_ACCEPTANCE")
    assert is_running(await looked(house, rollout))


async def test_what_happened_before_the_candidate_served_is_not_its_own(house: Governed) -> None:
    rollout = await house.start(await house.candidate())
    await plant(house, "delivery.duplicated", "SECOND_ACCEPTANCE")
    rollout = await house.advance(rollout, until=CANARY_1)
    assert is_running(await looked(house, rollout))


async def test_a_side_effect_that_happened_twice_names_no_turn_and_takes_back(tmp_path: Path, store_url: str) -> None:
    async with governing(tmp_path, {"store.url": store_url}) as house:
        rollout = await rolling(house)
        await plant(house, "request.refused", "ROLE_REQUIRED", turn="c-1")
        assert is_running(await looked(house, rollout))
        await plant(house, "delivery.duplicated", "SECOND_ACCEPTANCE")
        stands = await looked(house, rollout)
        assert list(stands.last_judgement.reasons) == [DUPLICATE]
        assert not is_running(stands)


async def test_a_conflict_of_a_routed_call_of_the_candidate_takes_it_back(house: Governed) -> None:
    rollout = await rolling(house)
    for arm, back in ((rollouts.ARM_BASELINE, False), (rollouts.ARM_CANDIDATE, True)):
        call = CallObservation(
            tenant_id=TENANT,
            rollout_id=rollout.rollout_id,
            owner="PH1.C",
            call_id=f"call-{arm}",
            arm=arm,
            at=house.now(),
            locale="en",
            latency_us=1_000,
            cost_micros=0,
            outputs=1,
            schema_valid=1,
            policy_conflicts=1,
            failed=False,
            timed_out=False,
            fell_back=False,
        )
        async with house.store.transaction() as tx:
            await tx.routing.calls.add([call])
            tx.audit(tenant_id=TENANT, owner="PH1.C", actor="system", transition="call.finished", reason_code="OK")
        house.skip(2 * WINDOW)
        meter = Meter(
            house.store, house.clock, "PH1.C", Calls("PH1.C", {PACK}), window_s=WINDOW.total_seconds(), look_s=60.0
        )
        await meter.tick()
        assert await house.store.governance.measured.until(rollout, "PH1.C") == last_end(house.now(), WINDOW)
        stands = await looked(house, rollout)
        assert is_running(stands) is not back
    assert rollouts.JUDGE_REASON_SAFETY_CONFLICT in stands.last_judgement.reasons


@pytest.mark.parametrize(("named", "back"), [("", False), ("mira", True)])
async def test_who_is_named_in_a_conflict_of_identity_takes_the_candidate_back(
    house: Governed, named: str, back: bool
) -> None:
    await house.register(voices.ACTIVE, artifact_type=voices.PACK, active=True)
    await voices.freeze(house, frozen_set())
    rollout = await voices.start(house, await voices.candidate(house))
    observation = Observation(
        tenant_id=TENANT,
        rollout_id=rollout.rollout_id,
        stream_id="stream-1",
        arm=rollouts.ARM_CANDIDATE,
        at=house.now(),
        session_id="session-1",
        cohort={},
        named_user_id=named,
        accepted=bool(named),
        conflict_state=CONFLICT_STATE_SPOOF_RISK,
        prompt_key=b"key",
        prompted=False,
        asked=False,
        latency_us=None,
    )
    async with house.store.transaction() as tx:
        await tx.voiceid.observations.add([observation])
        tx.audit(
            tenant_id=TENANT,
            owner="PH1.VOICE.ID",
            actor="system",
            transition="voiceid.decided",
            reason_code="SPOOF_RISK",
        )
    house.skip(2 * WINDOW)
    meter = Meter(house.store, house.clock, "PH1.VOICE.ID", Decisions(), window_s=WINDOW.total_seconds(), look_s=60.0)
    assert await meter.tick() == 1
    stands = await looked(house, rollout)
    assert is_running(stands) is not back
    assert (rollouts.JUDGE_REASON_SAFETY_CONFLICT in stands.last_judgement.reasons) is back


def test_the_index_holds_every_reason_that_is_counted() -> None:
    assert set(re.findall("[A-Z_]{5,}", str(INDEXED))) == {reason for _, reason in INCIDENTS}


def test_every_incident_counts_by_itself() -> None:
    subject = ArtifactRef(artifact_type=PACK, artifact_version=2)
    turn = TurnRef(correlation_id="c-1")
    served = AuditEvent(turn=turn, facts=[NamedFact(name="pack", value=f"{PACK}@2")])
    rows = [AuditEvent(transition=transition, reason_code=why, turn=turn) for transition, why in INCIDENTS]
    counts = counted(subject, rows, {"c-1": [served, *rows]})
    assert (counts.authority_violations, counts.privacy_leaks, counts.duplicate_side_effects) == (7, 3, 1)
    assert counted(subject, rows, {}).authority_violations == 0
