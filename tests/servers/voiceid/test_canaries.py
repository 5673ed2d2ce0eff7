"""Whom a rollout's candidate serves: the devices of its cohort, for a whole stream, and only while it is fit to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, SCOPE_TYPE_USER, Scope
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.governance.v1.rollout_pb2 import (
    ROLLOUT_STAGE_CANARY_1,
    ROLLOUT_STAGE_CANARY_2,
    ROLLOUT_STAGE_FULL,
    ROLLOUT_STAGE_SHADOW,
    ROLLOUT_STATE_ROLLED_BACK,
    ROLLOUT_STATE_RUNNING,
    Rollout,
    RolloutStage,
    StageEntry,
)
from selene.voiceid.v1 import voiceid_pb2 as v1
from structlog.testing import capture_logs

from servers.cohort import place_bp
from servers.shipped import register_pack
from servers.voiceid.active_packs import CandidateFault, Held, Packs, Served
from servers.voiceid.calibration.pack import ARTIFACT_TYPE
from servers.voiceid.policy import Thresholds
from servers.voiceid.precedence import Subject
from store import Store
from tests.support.packs import shipped, variant
from tests.support.servers import ask, serving, stream_config
from tests.support.speech import Person
from tests.support.stores import audit

TENANT = "dev"
SCOPE = Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=TENANT)
ROLLOUT = "rollout-1"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTIVE, CANDIDATE = 9_100, 9_200
"""The two versions are told apart by their upper threshold."""
SHARES = {
    ROLLOUT_STAGE_SHADOW: 0,
    ROLLOUT_STAGE_CANARY_1: 500,
    ROLLOUT_STAGE_CANARY_2: 2_500,
    ROLLOUT_STAGE_FULL: 10_000,
}


def device(least: int, below: int) -> str:
    """One whose place in the rollout lies between."""
    return next(name for number in range(100_000) if least <= place_bp(ROLLOUT, name := f"device-{number}") < below)


EARLY, LATE, NEVER = device(0, 500), device(500, 2_500), device(2_500, 10_000)


@dataclass
class Line:
    """A tenant's packs, its rollout, and a consumer."""

    store: Store
    packs: Packs
    rollout: Rollout

    async def serve(
        self, device_id: str, held: Held | None = None, *, tenant: str = TENANT, user_id: str = ""
    ) -> Served:
        rows = await self.store.together(lambda rooms: self.packs.rows(rooms, tenant, device_id, held))
        return await self.packs.serve(rows, Subject(user_id=user_id), held)

    async def move(self, stage: RolloutStage) -> None:
        """To a stage, as governance moves it: FULL moves the pointer."""
        self.rollout.stages.append(StageEntry(stage=stage, share_bp=SHARES[stage]))
        async with self.store.transaction() as tx:
            await tx.governance.rollouts.save(self.rollout, NOW)
            if stage == ROLLOUT_STAGE_FULL:
                version = self.rollout.subject.artifact_version
                await tx.artifacts.activate(ARTIFACT_TYPE, TENANT, self.rollout.subject.scope, version)
            audit(tx, TENANT)

    async def take_back(self) -> None:
        self.rollout.state = ROLLOUT_STATE_ROLLED_BACK
        async with self.store.transaction() as tx:
            await tx.governance.rollouts.save(self.rollout, NOW)
            audit(tx, TENANT)

    async def revoke(self) -> None:
        async with self.store.transaction() as tx:
            await tx.governance.cases.freeze(TENANT, [self.rollout.subject.artifact_id], "revocation-1")
            audit(tx, TENANT)


async def begun(
    store: Store,
    stage: RolloutStage = ROLLOUT_STAGE_CANARY_1,
    *,
    payload: bytes = b"",
    scope: Scope = SCOPE,
    active: bool = True,
    **fields: Any,
) -> Line:
    """A rollout at a stage; `fields` are of the candidate's row."""
    baseline = 0
    if active:
        before = variant(proven=True, policy={"conf_high_bp": ACTIVE})
        baseline = (
            await register_pack(store, before, scope=SCOPE, tenant_id=TENANT, provenance_ref="test")
        ).artifact_version
    async with store.transaction() as tx:
        row = await tx.artifacts.register(
            ArtifactRow(
                artifact_type=ARTIFACT_TYPE,
                tenant_id=TENANT,
                scope=scope,
                created_by="test",
                idempotency_key="candidate",
                status=ARTIFACT_STATUS_CANDIDATE,
                **fields,
            ),
            payload or variant(proven=True, policy={"conf_high_bp": CANDIDATE}),
        )
        rollout = Rollout(
            rollout_id=ROLLOUT,
            tenant_id=TENANT,
            subject=ArtifactRef(
                artifact_id=row.artifact_id,
                artifact_type=ARTIFACT_TYPE,
                artifact_version=row.artifact_version,
                scope=scope,
                package_hash=row.package_hash,
            ),
            baseline_version=baseline if scope == SCOPE else 0,
            state=ROLLOUT_STATE_RUNNING,
        )
        await tx.governance.rollouts.start(rollout, NOW)
        audit(tx, TENANT)
    line = Line(store, Packs(store, store.trusted_keys(), shipped().model_set_hash), rollout)
    await line.move(stage)
    return line


def limit(served: Served) -> int:
    assert isinstance(served.thresholds, Thresholds), served
    return served.thresholds.policy.conf_high_bp


@pytest.mark.parametrize(
    ("stage", "served"),
    [
        (ROLLOUT_STAGE_SHADOW, set()),
        (ROLLOUT_STAGE_CANARY_1, {EARLY}),
        (ROLLOUT_STAGE_CANARY_2, {EARLY, LATE}),
        (ROLLOUT_STAGE_FULL, {EARLY, LATE, NEVER}),
    ],
)
async def test_the_candidate_serves_the_devices_of_its_cohort(
    store: Store, stage: RolloutStage, served: set[str]
) -> None:
    line = await begun(store, stage)
    for name in (EARLY, LATE, NEVER):
        found = await line.serve(name)
        assert limit(found) == (CANDIDATE if name in served else ACTIVE)
        assert found.held is not None and found.fault is None
        assert found.held.rollout_id == (ROLLOUT if name in served and stage != ROLLOUT_STAGE_FULL else "")


async def test_a_device_stays_on_its_side_whoever_speaks_and_a_larger_share_takes_nobody_out(
    sqlite_store: Store,
) -> None:
    line, names = await begun(sqlite_store), [f"device-{number}" for number in range(150)]

    async def served(user_id: str = "") -> set[str]:
        return {name for name in names if limit(await line.serve(name, user_id=user_id)) == CANDIDATE}

    few = await served()
    assert 0 < len(few) < 20 and await served() == few == await served("mira")
    await line.move(ROLLOUT_STAGE_CANARY_2)
    many = await served()
    assert few < many and 20 <= len(many) < 60


async def test_a_stream_stays_with_the_version_that_it_was_first_judged_by(store: Store) -> None:
    line = await begun(store)
    candidate, active = await line.serve(EARLY), await line.serve(LATE)
    await line.move(ROLLOUT_STAGE_CANARY_2)
    assert limit(await line.serve(LATE, active.held)) == ACTIVE
    assert limit(await line.serve(LATE)) == CANDIDATE
    await line.move(ROLLOUT_STAGE_FULL)
    assert limit(await line.serve(LATE, active.held)) == ACTIVE
    await line.take_back()
    assert limit(await line.serve(EARLY, candidate.held)) == CANDIDATE


async def test_a_candidate_that_was_taken_back_serves_no_further_stream(store: Store) -> None:
    line = await begun(store)
    held = (await line.serve(EARLY)).held
    await line.take_back()
    assert limit(await line.serve(EARLY)) == ACTIVE
    assert limit(await line.serve(EARLY, held)) == CANDIDATE


@pytest.mark.parametrize(
    ("payload", "fields", "fault"),
    [
        (b"garbage", {}, CandidateFault.UNREADABLE),
        (variant()[:-1], {}, CandidateFault.UNREADABLE),
        (b"", {"signature": bytes(64), "signing_key_id": "a stranger's"}, CandidateFault.UNREADABLE),
        (variant(model_set_hash="ab" * 32), {}, CandidateFault.MODEL_MISMATCH),
    ],
)
async def test_a_candidate_that_is_no_pack_for_these_models_leaves_the_active_version(
    store: Store, payload: bytes, fields: dict[str, Any], fault: CandidateFault
) -> None:
    line = await begun(store, payload=payload, **fields)
    with capture_logs() as said:
        found = await line.serve(EARLY)
    assert (limit(found), found.fault) == (ACTIVE, fault)
    assert found.held is not None and not found.held.rollout_id
    assert [(each["rollout_id"], each["reason"]) for each in said] == [(ROLLOUT, fault.value)]
    with capture_logs() as said:
        assert (await line.serve(EARLY, found.held)).fault is fault
        assert (await line.serve(NEVER)).fault is None
    assert not said


async def test_a_candidate_that_the_store_does_not_give_leaves_the_active_version(sqlite_store: Store) -> None:
    line = await begun(sqlite_store)
    assert limit(await line.serve(NEVER)) == ACTIVE
    rows = await sqlite_store.together(lambda rooms: line.packs.rows(rooms, TENANT, EARLY))
    await sqlite_store.close()
    found = await line.packs.serve(rows, Subject())
    assert (limit(found), found.fault) == (ACTIVE, CandidateFault.UNREADABLE)


async def test_a_candidate_that_was_read_before_is_served_without_another_read(sqlite_store: Store) -> None:
    line = await begun(sqlite_store)
    assert limit(await line.serve(EARLY)) == CANDIDATE
    rows = await sqlite_store.together(lambda rooms: line.packs.rows(rooms, TENANT, EARLY))
    await sqlite_store.close()
    assert limit(await line.packs.serve(rows, Subject())) == CANDIDATE


async def test_a_revoked_candidate_serves_nobody_not_even_a_stream_that_it_began(store: Store) -> None:
    line = await begun(store)
    held = (await line.serve(EARLY)).held
    await line.revoke()
    for before in (None, held):
        found = await line.serve(EARLY, before)
        assert (limit(found), found.fault) == (ACTIVE, CandidateFault.REVOKED)
    await line.take_back()
    assert limit(await line.serve(EARLY, held)) == ACTIVE


async def test_where_another_version_was_activated_the_candidate_does_not_take_its_place(store: Store) -> None:
    line = await begun(store)
    newer = variant(proven=True, policy={"conf_high_bp": 9_900})
    await register_pack(store, newer, scope=SCOPE, tenant_id=TENANT, provenance_ref="test")
    found = await line.serve(EARLY)
    assert (limit(found), found.fault) == (9_900, CandidateFault.BASELINE_REPLACED)


async def test_a_broken_candidate_over_a_broken_active_version_leaves_nothing(store: Store) -> None:
    line = await begun(store, payload=b"garbage", active=False)
    found = await line.serve(EARLY)
    assert found.thresholds == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK
    assert found.fault is CandidateFault.UNREADABLE


async def test_a_first_version_serves_its_cohort_and_others_have_none(store: Store) -> None:
    line = await begun(store, active=False)
    assert limit(await line.serve(EARLY)) == CANDIDATE
    assert (await line.serve(NEVER)).thresholds == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_candidate_serves_only_whom_its_scope_is_about(store: Store) -> None:
    line = await begun(store, scope=Scope(scope_type=SCOPE_TYPE_USER, scope_id="mira"))
    assert limit(await line.serve(EARLY, user_id="mira")) == CANDIDATE
    assert limit(await line.serve(EARLY, user_id="otto")) == ACTIVE
    assert limit(await line.serve(EARLY)) == ACTIVE
    assert (await line.serve(EARLY, tenant="other")).thresholds == v1.VOICE_ID_REASON_NO_THRESHOLD_PACK


async def test_a_candidate_does_not_displace_a_version_of_a_closer_scope(store: Store) -> None:
    line = await begun(store)
    closer = variant(proven=True, policy={"conf_high_bp": 9_900})
    scope = Scope(scope_type=SCOPE_TYPE_USER, scope_id="mira")
    await register_pack(store, closer, scope=scope, tenant_id=TENANT, provenance_ref="test")
    assert limit(await line.serve(EARLY, user_id="mira")) == 9_900
    assert limit(await line.serve(EARLY, user_id="otto")) == CANDIDATE


async def test_a_decision_says_which_version_decided_and_that_of_its_first_interim_decides(
    home: Path, mira: Person
) -> None:
    async with serving(home) as house:
        line = await begun(house.store)
        for name in (EARLY, LATE):
            await ask(house, mira.ask, session_id=name, device_id=name)
        stream = house.line()
        await stream.config(stream_config(device_id=LATE, session_id="during"))
        await stream.speak(mira.ask)
        while (await stream.event()).WhichOneof("event") != "interim":
            pass
        await line.move(ROLLOUT_STAGE_CANARY_2)
        await stream.finish()
        await ask(house, mira.ask, session_id="after", device_id=LATE)
        await line.revoke()
        await ask(house, mira.ask, session_id="revoked", device_id=LATE)
        decided = {
            event.session_id: {fact.name: fact.value for fact in event.facts}
            for event in await house.trail()
            if event.transition == "voiceid.decided"
        }
    told = {
        session: tuple(facts.get(name) for name in ("threshold_pack", "canary", "rollout_id", "candidate_fault"))
        for session, facts in decided.items()
    }
    by_active = (f"{ARTIFACT_TYPE}@1", "false", None, None)
    by_candidate = (f"{ARTIFACT_TYPE}@2", "true", ROLLOUT, None)
    assert told == {
        EARLY: by_candidate,
        LATE: by_active,
        "during": by_active,
        "after": by_candidate,
        "revoked": (*by_active[:3], "REVOKED"),
    }
