"""A consumer proves by itself what it will load (§19): its own process, its own rule, once for every gate bundle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from selene.artifacts.v1 import artifacts_pb2 as artifacts
from selene.artifacts.v1.artifacts_pb2 import ArtifactRow
from selene.governance.v1 import decision_pb2 as decisions
from selene.governance.v1 import rollout_pb2 as rollouts

from servers.proving import Prover
from servers.replays import Consumption
from servers.runtime.auth import ROLE_SERVICE, Principal, issue_token
from servers.runtime.peers import SERVICE_TENANT, Peer
from servers.stt import consumption as stt
from servers.voiceid import consumption as voiceid
from tests.servers.governance import test_evaluating as voices
from tests.servers.governance.house import TENANT, Governed, governing, words
from tests.support.frozen import frozen_set, pack
from tests.support.stores import audit

VOICE = "VOICEID_THRESHOLD_PACK_V1"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path) as governed:
        yield governed


def prover(
    house: Governed,
    engine_id: str = "PH1.C",
    consumption: Mapping[str, Consumption] = stt.CONSUMPTION,
    *,
    target: str = "",
    subject: str = "",
) -> Prover:
    """As a process of that engine has it; `target` is where it believes governance to be, `subject` its token's."""
    key = house.owners.running.development_key
    assert key is not None
    asking = Principal(SERVICE_TENANT, subject or engine_id, "", frozenset({ROLE_SERVICE}))

    def token() -> str:
        return issue_token(key, asking, now=house.clock.now(), lifetime=timedelta(minutes=5))

    where = target or house.owners.running.target("governance")
    return Prover(house.store, engine_id, consumption, lambda: Peer(where, token))


async def verdict(house: Governed, row: ArtifactRow) -> decisions.ConsumptionVerdict | None:
    return (await house.store.governance.cases.get(TENANT, row.artifact_id)).verdict


async def test_a_pack_whose_other_gates_have_passed_is_proved_by_its_consumer_once(house: Governed) -> None:
    row = await house.candidate()
    consumer = prover(house)
    assert await consumer.tick() == 0, "no gate has passed"
    bundle = await house.permit(row)
    assert await consumer.tick() == 1
    assert [await each.tick() for each in (consumer, prover(house))] == [0, 0]

    made = await verdict(house, row)
    assert made is not None and made.passed
    assert (made.proof.consumer_engine_id, made.proof.consumer_capability_id) == ("PH1.C", "VOCABULARY")
    assert made.proof.gate_bundle_ref == bundle
    assert made.proof.replay_validation_hash == made.found.replay_hash
    assert (made.parser, made.shadow) == (made.found.parser, made.found.shadow)
    [told] = await house.trail("consumption.proved")
    assert told.reason_code == "CONSUMPTION_PROVED"
    assert (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout.rollout_id


async def test_what_was_taken_back_and_permitted_again_is_proved_again(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    await prover(house).tick()
    rollout = (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout
    await house.call("ann", "Rollback", rollout_id=rollout.rollout_id, reason_code="REGRETTED")
    assert await prover(house).tick() == 0
    await house.allow(row)
    assert await prover(house).tick() == 1
    again = (await house.call("ann", "StartRollout", artifact_id=row.artifact_id)).rollout
    assert again.stages[-1].stage == rollouts.ROLLOUT_STAGE_SHADOW


async def test_what_its_parser_refuses_is_told_and_not_tried_again(house: Governed) -> None:
    await house.register(words("one"), active=True)
    row = await house.recorded(await house.register(b"no pack"))
    await house.permit(row)
    consumer = prover(house)
    assert [await consumer.tick(), await consumer.tick()] == [1, 0]
    made = await verdict(house, row)
    assert made is not None and (made.passed, made.parser.accepted, made.parser.defect) == (False, False, "UNREADABLE")
    assert artifacts.CONSUMPTION_BLOCK_REASON_PROOF_MISSING in made.block_reasons


async def test_packs_of_other_engines_and_frozen_ones_are_left_alone(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    assert await prover(house, "PH1.VOICE.ID", voiceid.CONSUMPTION).tick() == 0
    async with house.store.transaction() as tx:
        await tx.governance.cases.freeze(TENANT, [row.artifact_id], "revocation-1")
        audit(tx, TENANT)
    assert await prover(house).tick() == 0


async def test_governance_that_does_not_answer_is_asked_again_and_one_that_denies_is_not(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    assert await prover(house, target="127.0.0.1:1").tick() == 0
    stranger = prover(house, subject="PH1.TTS")
    assert [await stranger.tick(), await stranger.tick()] == [0, 0]
    assert await verdict(house, row) is None
    assert await prover(house).tick() == 1


async def permitted(house: Governed, row: ArtifactRow) -> None:
    """A voice pack, up to its proof."""
    await voices.decided(house, row)
    which: dict[str, Any] = {"artifact_id": row.artifact_id}
    await house.call("build", "SubmitBuilderReport", report=await house.report(row), **which)
    for who, kind in (("bob", decisions.APPROVAL_KIND_CODE), ("cay", decisions.APPROVAL_KIND_LAUNCH)):
        await house.call(who, "Approve", kind=kind, **which)


async def test_voice_identity_replays_the_frozen_set_in_force_beside_the_active_pack(house: Governed) -> None:
    await house.register(voices.ACTIVE, artifact_type=VOICE, active=True)
    await voices.freeze(house, frozen_set())
    row = await voices.candidate(house)
    await permitted(house, row)
    consumer = prover(house, "PH1.VOICE.ID", voiceid.CONSUMPTION)
    assert await consumer.tick() == 1
    made = await verdict(house, row)
    assert made is not None and made.passed and made.found.shadow.turns == len(frozen_set())
    assert [ref.partition(":")[0] for ref in made.found.evidence_refs] == ["artifact"]


async def test_a_pack_beside_a_stricter_one_that_came_into_force_meanwhile_regresses(house: Governed) -> None:
    """What was permitted beside one version is proved beside the one that serves when it is proved."""
    one_impostor = frozen_set(voices.Sample(high=1))
    await house.register(rfc8785.dumps(pack(9_200)), artifact_type=VOICE, active=True)
    await voices.freeze(house, one_impostor)
    row = await voices.candidate(house)
    await permitted(house, row)
    await house.register(voices.ACTIVE, artifact_type=VOICE, active=True)
    await prover(house, "PH1.VOICE.ID", voiceid.CONSUMPTION).tick()
    made = await verdict(house, row)
    assert made is not None
    assert (made.found.shadow.safety_events_active, made.found.shadow.safety_events_candidate) == (0, 1)
    assert artifacts.CONSUMPTION_BLOCK_REASON_SHADOW_REGRESSION in made.block_reasons


async def test_two_processes_of_an_engine_prove_a_pack_once(house: Governed) -> None:
    row = await house.candidate()
    await house.permit(row)
    await asyncio.gather(*(prover(house).tick() for _ in range(4)))
    made = await verdict(house, row)
    assert made is not None and made.passed
    assert len(await house.trail("consumption.proved")) == 1
