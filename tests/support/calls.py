"""Every RPC of the two owners, as data: its path, its kind, and a request that would be served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from selene.audit.v1 import service_pb2 as audit
from selene.common.v1.audio_pb2 import AudioFrame
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service

from clients.channel import Connection
from clients.errors import SeleneError, from_rpc
from tests.support.refused import as_given
from tests.support.servers import pcm16

TENANT, DEVICE, USER = "t-1", "d-1", "mira"


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC: messages to send, and what of its request a token must speak for."""

    owner: str
    path: str
    kind: str
    messages: tuple[Message, ...]
    names_device: bool = False
    names_subject: bool = False
    needs_role: bool = False


def _stream(tenant: str) -> v1.StreamConfig:
    return v1.StreamConfig(
        audio_format=pcm16(), tenant_id=tenant, device_id=DEVICE, session_id="s-1", device_owner_user_id=USER
    )


def rpcs(tenant: str = TENANT, *, enrollment_id: str = "e-1", stream_id: str = "st-1") -> dict[str, Rpc]:
    """All of them, by name; about mira of `tenant` on device d-1."""
    config = _stream(tenant)
    claim1 = v1_service.VerifyConfig(stream=config, claimed_user_id=USER)
    claim2 = v2_service.VerifyConfig(stream=config, claimed_user_id=USER)
    clip = v1_service.ClipConfig(
        tenant_id=tenant, enrollment_id=enrollment_id, audio_format=pcm16(), idempotency_key="k-clip"
    )
    said = AudioFrame(sequence=0, audio=b"\0\0")
    both = {"names_device": True, "names_subject": True}
    table = {
        "v1.VoiceIdService/Identify": (
            (v1_service.IdentifyRequest(config=config), v1_service.IdentifyRequest(frame=said)),
            "stream_stream",
            both,
        ),
        "v1.VoiceIdService/Verify": (
            (v1_service.VerifyRequest(config=claim1), v1_service.VerifyRequest(frame=said)),
            "stream_stream",
            both,
        ),
        "v1.VoiceIdService/ConfirmIdentity": (
            v1_service.ConfirmIdentityRequest(tenant_id=tenant, stream_id=stream_id, idempotency_key="k-confirm"),
            "unary_unary",
            {"names_device": True},
        ),
        "v2.VoiceIdService/Identify": (
            (v2_service.IdentifyRequest(config=config), v2_service.IdentifyRequest(frame=said)),
            "stream_stream",
            both,
        ),
        "v2.VoiceIdService/Verify": (
            (v2_service.VerifyRequest(config=claim2), v2_service.VerifyRequest(frame=said)),
            "stream_stream",
            both,
        ),
        "v1.EnrollmentService/CreateEnrollment": (
            v1_service.CreateEnrollmentRequest(
                tenant_id=tenant, user_id=USER, device_id=DEVICE, consent_ref="c-1", idempotency_key="k-create"
            ),
            "unary_unary",
            both,
        ),
        "v1.EnrollmentService/AddClip": (
            (v1_service.AddClipRequest(config=clip), v1_service.AddClipRequest(frame=said)),
            "stream_unary",
            both,
        ),
        "v1.EnrollmentService/CompleteEnrollment": (
            v1_service.CompleteEnrollmentRequest(
                tenant_id=tenant, enrollment_id=enrollment_id, idempotency_key="k-complete"
            ),
            "unary_unary",
            both,
        ),
        "v1.EnrollmentService/GetEnrollment": (
            v1_service.GetEnrollmentRequest(tenant_id=tenant, enrollment_id=enrollment_id),
            "unary_unary",
            both,
        ),
        "v1.ProfileService/GetProfile": (
            v1_service.GetProfileRequest(tenant_id=tenant, user_id=USER),
            "unary_unary",
            {"names_subject": True},
        ),
        "v1.ProfileService/ListProfiles": (
            v1_service.ListProfilesRequest(tenant_id=tenant),
            "unary_unary",
            {"needs_role": True},
        ),
        "v1.ProfileService/RevokeProfile": (
            v1_service.RevokeProfileRequest(tenant_id=tenant, user_id=USER, idempotency_key="k-revoke"),
            "unary_unary",
            {"names_subject": True},
        ),
        "v1.ProfileService/GetGallery": (
            v1_service.GetGalleryRequest(tenant_id=tenant),
            "unary_unary",
            {"needs_role": True},
        ),
        "v1.ProfileService/GetKpis": (v1_service.GetKpisRequest(tenant_id=tenant), "unary_unary", {"needs_role": True}),
        "v1.PolicyService/GetThresholdPack": (v1_service.GetThresholdPackRequest(tenant_id=tenant), "unary_unary", {}),
        "v1.PolicyService/GetMigrationStage": (
            v1_service.GetMigrationStageRequest(tenant_id=tenant),
            "unary_unary",
            {},
        ),
        "v1.PolicyService/SetMigrationStage": (
            v1_service.SetMigrationStageRequest(
                tenant_id=tenant, stage=v1.MIGRATION_STAGE_M1, idempotency_key="k-stage"
            ),
            "unary_unary",
            {"needs_role": True},
        ),
    }
    found = {
        name: Rpc("voiceid", f"/selene.voiceid.{name}", kind, _tuple(messages), **flags)
        for name, (messages, kind, flags) in table.items()
    }
    return found | {f"audit.{rpc.path.rpartition('/')[2]}": rpc for rpc in _audit(tenant)}


def _audit(tenant: str) -> Sequence[Rpc]:
    ledger = "audit_events"
    requests = {
        "ListEvents": audit.ListEventsRequest(tenant_id=tenant),
        "WatchEvents": audit.WatchEventsRequest(tenant_id=tenant, from_sequence=1),
        "GetCheckpoint": audit.GetCheckpointRequest(tenant_id=tenant, ledger=ledger),
        "GetInclusionProof": audit.GetInclusionProofRequest(tenant_id=tenant, sequence=1),
        "GetConsistencyProof": audit.GetConsistencyProofRequest(tenant_id=tenant, first_size=1, second_size=1),
        "VerifyLedger": audit.VerifyLedgerRequest(tenant_id=tenant),
        "CheckTrail": audit.CheckTrailRequest(tenant_id=tenant, artifact_id="artifact-1"),
    }
    return [
        Rpc(
            "audit",
            f"/selene.audit.v1.AuditService/{name}",
            "unary_stream" if name == "WatchEvents" else "unary_unary",
            (request,),
            needs_role=True,
        )
        for name, request in requests.items()
    ]


def _tuple(messages: Any) -> tuple[Message, ...]:
    return messages if isinstance(messages, tuple) else (messages,)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


async def invoke(connection: Connection, rpc: Rpc, token: str, correlation_id: str) -> SeleneError | bytes:
    """Call it with this token ("": none, not even the header), and give the refusal or the first reply's bytes."""
    metadata = [("x-correlation-id", correlation_id)]
    if token:
        metadata.append(("authorization", f"Bearer {token}"))
    method = getattr(connection.channel, rpc.kind)(rpc.path, request_serializer=_serialized)
    streams_in = rpc.kind.startswith("stream")
    call = method(iter(rpc.messages) if streams_in else rpc.messages[0], timeout=10, metadata=metadata)
    try:
        async with as_given(call):
            if rpc.kind.endswith("unary"):
                reply: bytes = await call
                return reply
            first: bytes = await call.read()
        if first is grpc.aio.EOF:
            raise AssertionError("the stream ended well and empty")
        return first
    except grpc.aio.AioRpcError as error:
        return from_rpc(error)
    finally:
        call.cancel()
