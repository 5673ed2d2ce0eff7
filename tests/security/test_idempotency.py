"""Every mutation, sent again: the same content gives the first reply, other content is refused and audited (ALL-4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from selene.common.v1.audio_pb2 import AudioFrame
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import voiceid_pb2 as v1

from clients.errors import SeleneError
from tests.support.calls import Rpc, invoke, rpcs
from tests.support.servers import DEVICE, TENANT, House, copy_home, serving
from tests.support.speech import Person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(enrolled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home = copy_home(enrolled, tmp_path_factory.mktemp("idempotency") / "home")
    async with serving(home, {"owners.voiceid.replay_min_s": 600.0}) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mutations(house: House, mira: Person) -> dict[str, tuple[Rpc, Rpc]]:
    """Each mutation in an order that lets all of them be served, beside the same key with other content."""
    client = house.client()
    enrollment = await client.create_enrollment("eve", consent_ref="c")
    full = await client.create_enrollment("zoe", consent_ref="c")
    for clip in mira.clips:
        await client.add_clip(full.enrollment_id, clip)
    async with client.identify() as stream:
        outcome = await stream.finish()
    table = rpcs(TENANT, enrollment_id=enrollment.enrollment_id, stream_id=outcome.stream_id)
    create, clip_rpc = table["v1.EnrollmentService/CreateEnrollment"], table["v1.EnrollmentService/AddClip"]
    complete, stage = table["v1.EnrollmentService/CompleteEnrollment"], table["v1.PolicyService/SetMigrationStage"]
    confirm, revoke = table["v1.VoiceIdService/ConfirmIdentity"], table["v1.ProfileService/RevokeProfile"]
    other_clip = list(clip_rpc.messages)
    other_clip[1] = v1_service.AddClipRequest(frame=AudioFrame(sequence=0, audio=b"\1\1"))
    whole = changed(complete, enrollment_id=full.enrollment_id)
    return {
        "CreateEnrollment": (changed(create, device_id=DEVICE), changed(create, device_id="hall")),
        "AddClip": (clip_rpc, replace(clip_rpc, messages=tuple(other_clip))),
        "CompleteEnrollment": (whole, complete),
        "ConfirmIdentity": (confirm, changed(confirm, speaker_user_id="mira")),
        "SetMigrationStage": (stage, changed(stage, stage=v1.MIGRATION_STAGE_M2)),
        "RevokeProfile": (revoke, changed(revoke, user_id="otto")),
    }


def changed(rpc: Rpc, **fields: Any) -> Rpc:
    """The same unary request with other fields."""
    message: Message = type(rpc.messages[0])()
    message.CopyFrom(rpc.messages[0])
    for name, value in fields.items():
        setattr(message, name, value)
    return replace(rpc, messages=(message,))


NAMES = ("CreateEnrollment", "AddClip", "CompleteEnrollment", "ConfirmIdentity", "SetMigrationStage", "RevokeProfile")


@pytest.mark.parametrize("name", NAMES)
async def test_a_key_is_good_for_one_content(house: House, mutations: dict[str, tuple[Rpc, Rpc]], name: str) -> None:
    request, other = mutations[name]
    connection = house.connection()
    first = await invoke(connection, request, "", f"{name}-first")
    assert isinstance(first, bytes), first
    events = len(await house.trail())
    assert await invoke(connection, request, "", f"{name}-again") == first
    assert len(await house.trail()) == events, "a replay changes nothing and audits nothing"
    refusal = await invoke(connection, other, "", f"{name}-other")
    assert isinstance(refusal, SeleneError)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")
    (event,) = (await house.trail())[events:]
    assert (event.transition, event.reason_code) == ("request.refused", "IDEMPOTENCY_KEY_REUSED")
    assert event.turn.correlation_id == f"{name}-other"


async def test_two_calls_with_one_key_at_once_do_it_once(house: House) -> None:
    create = rpcs(TENANT)["v1.EnrollmentService/CreateEnrollment"]
    create = changed(create, user_id="twin", idempotency_key="k-twin")
    connection = house.connection()
    replies = await asyncio.gather(*(invoke(connection, create, "", f"twin-{number}") for number in range(8)))
    assert len(set(replies)) == 1 and isinstance(replies[0], bytes)
    created = [event for event in await house.trail() if event.idempotency_key == "k-twin"]
    assert len(created) == 1
