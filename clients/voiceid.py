"""Voice identity for people who write Python: streams, enrolment, profiles, policy and KPIs."""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import grpc
from google.protobuf.message import Message
from selene.common.v1.audio_pb2 import AUDIO_ENCODING_LINEAR16, AudioFormat, AudioFrame
from selene.common.v1.paging_pb2 import PageRequest
from selene.voiceid.v1 import service_pb2 as wire1
from selene.voiceid.v1 import service_pb2_grpc as rpc1
from selene.voiceid.v1 import voiceid_pb2
from selene.voiceid.v2 import service_pb2 as wire2
from selene.voiceid.v2 import service_pb2_grpc as rpc2
from selene_messages.selene.common.v1 import AudioEncoding
from selene_messages.selene.common.v1 import AudioFormat as AudioFormatMessage
from selene_messages.selene.voiceid import v1

from clients import retry
from clients.audio import Recording
from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.credentials import Claims
from clients.duplex import Ending
from clients.outbox import PENDING_BYTES, REPLAY_BYTES
from clients.retry import RetryPolicy
from clients.stream import DecisionStream, Dialect
from clients.wire import to_message, to_wire

Generation = Literal["v1", "v2"]

DEVELOPMENT_TENANT: Final = "dev"
"""Whose calls are those without a token, on a server in its loopback development mode."""

DEFAULT_DEVICE: Final = "selene-client"
STREAM_TIMEOUT: Final = 120.0
CALL_TIMEOUT: Final = 15.0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """How an enrolment went: ``profile`` is set once it is locked; ``graded`` holds one reply a clip given."""

    enrollment: v1.Enrollment
    graded: tuple[v1.AddClipResponse, ...]
    profile: v1.Profile | None


class VoiceId:
    """The voice identity services over one connection.

    Tenant and device default to the token's. ``generation`` chooses the contract of the decision streams. Every method
    raises SeleneError; mutations take an ``idempotency_key``, or make one, so that they are retried safely.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        device_id: str = "",
        generation: Generation = "v2",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        claims = Claims() if tenant_id and device_id else connection.claims()
        self.tenant_id = tenant_id or claims.tenant_id or DEVELOPMENT_TENANT
        self.device_id = device_id or claims.device_id or DEFAULT_DEVICE
        self.generation = generation
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        channel = connection.channel
        self._v1 = rpc1.VoiceIdServiceStub(channel)
        self._v2 = rpc2.VoiceIdServiceStub(channel)
        self._enrollment = rpc1.EnrollmentServiceStub(channel)
        self._profiles = rpc1.ProfileServiceStub(channel)
        self._policies = rpc1.PolicyServiceStub(channel)

    def config(
        self, *, rate: int = 16_000, encoding: AudioEncoding = AudioEncoding.LINEAR16, session_id: str = ""
    ) -> v1.StreamConfig:
        """A config to adjust and give to `identify` or `verify`: this tenant and device, a new session unless named."""
        return v1.StreamConfig(
            audio_format=AudioFormatMessage(encoding=encoding, sample_rate_hz=rate, channel_count=1),
            tenant_id=self.tenant_id,
            device_id=self.device_id,
            session_id=session_id or str(uuid.uuid4()),
        )

    def identify(
        self,
        config: v1.StreamConfig | None = None,
        *,
        timeout: float = STREAM_TIMEOUT,
        pending_bytes: int = PENDING_BYTES,
        replay_bytes: int = REPLAY_BYTES,
    ) -> DecisionStream:
        """Who is speaking? 16 kHz PCM16 unless ``config`` says otherwise; see DecisionStream."""
        if self.generation == "v1":
            dialect = self._dialect(self._v1.Identify, wire1.IdentifyRequest, _as_config(wire1.IdentifyRequest))
        else:
            dialect = self._dialect(self._v2.Identify, wire2.IdentifyRequest, _as_config(wire2.IdentifyRequest))
        return self._stream(dialect, config, timeout, pending_bytes, replay_bytes)

    def verify(
        self,
        claimed_user_id: str,
        config: v1.StreamConfig | None = None,
        *,
        timeout: float = STREAM_TIMEOUT,
        pending_bytes: int = PENDING_BYTES,
        replay_bytes: int = REPLAY_BYTES,
    ) -> DecisionStream:
        """Is the speaker ``claimed_user_id``?"""
        if self.generation == "v1":
            claim1 = lambda c: wire1.VerifyRequest(config=wire1.VerifyConfig(stream=c, claimed_user_id=claimed_user_id))  # noqa: E731 - one line a dialect
            dialect = self._dialect(self._v1.Verify, wire1.VerifyRequest, claim1)
        else:
            claim2 = lambda c: wire2.VerifyRequest(config=wire2.VerifyConfig(stream=c, claimed_user_id=claimed_user_id))  # noqa: E731 - as above
            dialect = self._dialect(self._v2.Verify, wire2.VerifyRequest, claim2)
        return self._stream(dialect, config, timeout, pending_bytes, replay_bytes)

    def _dialect(self, method: Any, request: Any, config: Callable[[voiceid_pb2.StreamConfig], Any]) -> Dialect:
        # One correlation id for all attempts: to whoever reads the trail, a resumed stream is one request.
        correlation_id = str(uuid.uuid4())
        return Dialect(
            open=lambda seconds: method(timeout=seconds, metadata=self._connection.metadata(correlation_id)),
            config=config,
            frame=lambda frame: request(frame=frame),
        )

    def _stream(
        self, dialect: Dialect, config: v1.StreamConfig | None, timeout: float, pending_bytes: int, replay_bytes: int
    ) -> DecisionStream:
        return DecisionStream(
            dialect,
            to_wire(config or self.config(), voiceid_pb2.StreamConfig),
            timeout=timeout,
            policy=self._policy,
            pending_bytes=pending_bytes,
            replay_bytes=replay_bytes,
        )

    async def confirm(
        self, stream_id: str, speaker_user_id: str, *, idempotency_key: str = ""
    ) -> v1.ConfirmIdentityResponse:
        """Says who really spoke in a decided stream; "" for nobody who is enrolled."""
        request = wire1.ConfirmIdentityRequest(
            tenant_id=self.tenant_id,
            stream_id=stream_id,
            speaker_user_id=speaker_user_id,
            idempotency_key=idempotency_key or _key(),
        )
        return await self._ask(self._v1.ConfirmIdentity, request, v1.ConfirmIdentityResponse)

    async def create_enrollment(
        self, user_id: str, *, consent_ref: str, locale: str = "", idempotency_key: str = ""
    ) -> v1.Enrollment:
        """Begins to enrol a person on this device."""
        request = wire1.CreateEnrollmentRequest(
            tenant_id=self.tenant_id,
            user_id=user_id,
            device_id=self.device_id,
            consent_ref=consent_ref,
            locale=locale,
            idempotency_key=idempotency_key or _key(),
        )
        reply = await self._ask(self._enrollment.CreateEnrollment, request, v1.CreateEnrollmentResponse)
        return reply.enrollment or v1.Enrollment()

    async def add_clip(self, enrollment_id: str, clip: Recording, *, idempotency_key: str = "") -> v1.AddClipResponse:
        """Streams one clip, as fast as the server takes it. A lost reply is asked for with the same key and audio."""
        config = wire1.ClipConfig(
            tenant_id=self.tenant_id,
            enrollment_id=enrollment_id,
            audio_format=AudioFormat(encoding=AUDIO_ENCODING_LINEAR16, sample_rate_hz=clip.rate, channel_count=1),
            idempotency_key=idempotency_key or _key(),
        )
        metadata = self._connection.metadata()

        async def attempt(seconds: float) -> wire1.AddClipResponse:
            call = self._enrollment.AddClip(_clip_requests(config, clip), timeout=seconds, metadata=metadata)
            ending = Ending(call)
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                raise await ending.unmask(error) from error

        policy = RetryPolicy(self._policy.attempts, self._policy.first_wait, self._policy.longest_wait, STREAM_TIMEOUT)
        return to_message(await retry.call(attempt, within=STREAM_TIMEOUT, policy=policy), v1.AddClipResponse)

    async def complete_enrollment(
        self, enrollment_id: str, *, idempotency_key: str = ""
    ) -> v1.CompleteEnrollmentResponse:
        """Locks the profile."""
        request = wire1.CompleteEnrollmentRequest(
            tenant_id=self.tenant_id, enrollment_id=enrollment_id, idempotency_key=idempotency_key or _key()
        )
        return await self._ask(self._enrollment.CompleteEnrollment, request, v1.CompleteEnrollmentResponse)

    async def get_enrollment(self, enrollment_id: str) -> v1.Enrollment:
        request = wire1.GetEnrollmentRequest(tenant_id=self.tenant_id, enrollment_id=enrollment_id)
        reply = await self._ask(self._enrollment.GetEnrollment, request, v1.GetEnrollmentResponse)
        return reply.enrollment or v1.Enrollment()

    async def enroll(
        self,
        user_id: str,
        clips: Sequence[Recording],
        *,
        consent_ref: str = "",
        locale: str = "",
        enrollment_id: str = "",
        stop_when_enough: bool = False,
        on_clip: Callable[[Recording, v1.AddClipResponse], None] | None = None,
    ) -> Enrolled:
        """Create, add clips, complete. Without enough accepted speech the enrolment stays open and ``profile`` is None.

        ``enrollment_id`` goes on with one that is open, which keeps its consent and its accepted clips: ``clips`` are
        more of them; ValueError where it is of another person. ``stop_when_enough`` leaves the rest of ``clips`` unused
        once nothing is missing; ``on_clip`` hears each grade.
        """
        if enrollment_id:
            enrollment = await self.get_enrollment(enrollment_id)
            if enrollment.user_id != user_id:
                raise ValueError(f"enrolment {enrollment_id} is of {enrollment.user_id}, not of {user_id}")
        else:
            enrollment = await self.create_enrollment(user_id, consent_ref=consent_ref, locale=locale)
        graded: list[v1.AddClipResponse] = []
        for clip in clips:
            reply = await self.add_clip(enrollment.enrollment_id, clip)
            graded.append(reply)
            enrollment = reply.enrollment or enrollment
            if on_clip:
                on_clip(clip, reply)
            if stop_when_enough and is_enough(enrollment):
                break
        if not is_enough(enrollment):
            return Enrolled(enrollment, tuple(graded), None)
        completed = await self.complete_enrollment(enrollment.enrollment_id)
        return Enrolled(completed.enrollment or enrollment, tuple(graded), completed.profile)

    async def get_profile(self, user_id: str) -> v1.Profile:
        request = wire1.GetProfileRequest(tenant_id=self.tenant_id, user_id=user_id)
        return (await self._ask(self._profiles.GetProfile, request, v1.GetProfileResponse)).profile or v1.Profile()

    async def list_profiles(self, *, page_size: int = 100) -> AsyncIterator[v1.Profile]:
        """Every profile of the tenant, by user id; pages are fetched as they are needed."""
        page_token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=page_token)
            request = wire1.ListProfilesRequest(tenant_id=self.tenant_id, page=page)
            reply = await self._ask(self._profiles.ListProfiles, request, v1.ListProfilesResponse)
            for profile in reply.profiles:
                yield profile
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def revoke_profile(self, user_id: str, *, idempotency_key: str = "") -> v1.Profile:
        """Withdraws consent: the key that opens the person's embeddings is destroyed, for good."""
        request = wire1.RevokeProfileRequest(
            tenant_id=self.tenant_id, user_id=user_id, idempotency_key=idempotency_key or _key()
        )
        reply = await self._ask(self._profiles.RevokeProfile, request, v1.RevokeProfileResponse)
        return reply.profile or v1.Profile()

    async def gallery(self, *, device_id: str = "") -> v1.GetGalleryResponse:
        """What a stream would be compared with; only a device's members where one is named."""
        request = wire1.GetGalleryRequest(tenant_id=self.tenant_id, device_id=device_id)
        return await self._ask(self._profiles.GetGallery, request, v1.GetGalleryResponse)

    async def kpis(
        self,
        *,
        cohort: v1.CohortLabels | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[v1.CohortKpi]:
        """TAR, FRR, FAR and latency per cohort. Times need a zone."""
        message = v1.GetKpisRequest(tenant_id=self.tenant_id, cohort=cohort, since=since, until=until)
        request = to_wire(message, wire1.GetKpisRequest)
        return (await self._ask(self._profiles.GetKpis, request, v1.GetKpisResponse)).cohorts

    async def threshold_pack(
        self, *, locale: str = "", channel: str = "", user_id: str = ""
    ) -> v1.GetThresholdPackResponse:
        """The pack that applies to a scope, and which layer supplied it."""
        request = wire1.GetThresholdPackRequest(
            tenant_id=self.tenant_id, locale=locale, channel=channel, user_id=user_id
        )
        return await self._ask(self._policies.GetThresholdPack, request, v1.GetThresholdPackResponse)

    async def migration_stage(self) -> v1.MigrationStage:
        request = wire1.GetMigrationStageRequest(tenant_id=self.tenant_id)
        return (await self._ask(self._policies.GetMigrationStage, request, v1.GetMigrationStageResponse)).stage

    async def set_migration_stage(self, stage: v1.MigrationStage, *, idempotency_key: str = "") -> v1.MigrationStage:
        """Moves the tenant to a neighbouring stage."""
        message = v1.SetMigrationStageRequest(
            tenant_id=self.tenant_id, stage=stage, idempotency_key=idempotency_key or _key()
        )
        request = to_wire(message, wire1.SetMigrationStageRequest)
        return (await self._ask(self._policies.SetMigrationStage, request, v1.SetMigrationStageResponse)).stage

    async def _ask(self, method: UnaryMethod, request: Message, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


def is_enough(enrollment: v1.Enrollment) -> bool:
    """Nothing is missing, as the server counts."""
    return enrollment.clips_missing <= 0 and not enrollment.voiced_missing


def _as_config(request: Any) -> Callable[[voiceid_pb2.StreamConfig], Any]:
    return lambda config: request(config=config)


def _key() -> str:
    return str(uuid.uuid4())


async def _clip_requests(config: wire1.ClipConfig, clip: Recording) -> AsyncIterator[wire1.AddClipRequest]:
    yield wire1.AddClipRequest(config=config)
    start = 0.0
    for sequence, audio in enumerate(clip.frames()):
        frame = AudioFrame(sequence=sequence, audio=audio)
        frame.offset.FromMicroseconds(round(start * 1e6))
        start += len(audio) / 2 / clip.rate
        yield wire1.AddClipRequest(frame=frame)
