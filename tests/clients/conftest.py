"""A double of the server, behind real sockets: it keeps what it hears per stream, and misbehaves as scripted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from selene.audit.v1 import service_pb2 as audit1
from selene.audit.v1 import service_pb2_grpc as audit_rpc
from selene.voiceid.v1 import service_pb2 as v1
from selene.voiceid.v1 import service_pb2_grpc as v1_rpc
from selene.voiceid.v1 import voiceid_pb2 as nouns1
from selene.voiceid.v2 import service_pb2 as v2
from selene.voiceid.v2 import service_pb2_grpc as v2_rpc
from selene.voiceid.v2 import voiceid_pb2 as nouns2

CLIPS_WANTED = 3
INTERIM_FRAMES = 5


async def refuse(
    context: Any, code: grpc.StatusCode, reason: str, message: str, metadata: dict[str, str] | None = None
) -> None:
    """Ends the call as the contract says: google.rpc.Status with an ErrorInfo."""
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="selene", metadata=metadata or {}))
    status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
    await context.abort_with_status(rpc_status.to_status(status))


@dataclass
class Heard:
    """One stream as the server knows it, across its calls."""

    stream_id: str
    config: nouns1.StreamConfig
    claimed: str = ""
    frames: list[bytes] = field(default_factory=list)
    calls: int = 0
    context: Any = None

    @property
    def seconds(self) -> float:
        return sum(map(len, self.frames)) / 2 / self.config.audio_format.sample_rate_hz


@dataclass
class Script:
    """What goes wrong, and when. Called with the stream after each frame, before each unary reply."""

    on_frame: Callable[[Heard], Awaitable[None]] | None = None
    refuse_unary: list[Callable[[Any], Awaitable[None]]] = field(default_factory=list)
    on_config: list[Callable[[Any], Awaitable[None]]] = field(default_factory=list)
    deaf: bool = False
    silent_final: bool = False
    tier: "nouns2.IdentityTier.ValueType" = nouns2.IDENTITY_TIER_CONFIRMED
    name_of: Callable[[Heard], str] = lambda heard: "mira"
    profile_version: int = 1
    drifted: "v2.ReEnrollmentCause.ValueType" = v2.RE_ENROLLMENT_CAUSE_UNSPECIFIED


class Double:
    """State behind all servicers of the double."""

    def __init__(self) -> None:
        self.script = Script()
        self.streams: dict[str, Heard] = {}
        self.metadata: list[dict[str, str]] = []
        self.requests: list[Any] = []
        self.enrollments: dict[str, nouns1.Enrollment] = {}
        self.clips: dict[str, list[bytes]] = {}
        self.clip_owners: list[str] = []
        self.events: list[audit1.WatchEventsResponse] = []
        self.watches: list[audit1.WatchEventsRequest] = []
        self.watch_limit = 1_000_000
        self.on_watch: Callable[[audit1.WatchEventsRequest], None] = lambda request: None
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def note(self, context: Any) -> None:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})

    async def unary(self, request: Any, context: Any) -> None:
        self.note(context)
        self.requests.append(request)
        if self.script.refuse_unary:
            await self.script.refuse_unary.pop(0)(context)

    async def converse(self, requests: Any, context: Any, kinds: Any, final: Any) -> AsyncIterator[Any]:
        self.note(context)
        first = await anext(requests)
        config = first.config.stream if kinds.__name__.startswith("Verify") else first.config
        if self.script.on_config:
            await self.script.on_config.pop(0)(context)
        heard = self.streams.get(config.resume_stream_id) if config.resume_stream_id else None
        if heard is None and config.resume_stream_id:
            await refuse(
                context, grpc.StatusCode.FAILED_PRECONDITION, "SESSION_NOT_RESUMABLE", "gone", {"window_s": "30"}
            )
        heard = heard or Heard(f"stream-{len(self.streams) + 1}", config, getattr(first.config, "claimed_user_id", ""))
        self.streams[heard.stream_id] = heard
        heard.calls += 1
        heard.context = context
        started = nouns1.StreamStarted(stream_id=heard.stream_id, config=config, next_sequence=len(heard.frames))
        started.resume_window.FromSeconds(30)
        yield kinds(started=started)
        if self.script.deaf:
            await asyncio.Event().wait()
        async for request in requests:
            if request.frame.sequence != len(heard.frames):
                expected, received = str(len(heard.frames)), str(request.frame.sequence)
                await refuse(
                    context,
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "STREAM_SEQUENCE_BROKEN",
                    "out of order",
                    {"expected": expected, "received": received},
                )
            heard.frames.append(request.frame.audio)
            if self.script.on_frame:
                await self.script.on_frame(heard)
            if len(heard.frames) % INTERIM_FRAMES == 0:
                yield kinds(interim=self.interim(heard))
        if not self.script.silent_final:
            yield kinds(final=final(self, heard))

    def interim(self, heard: Heard) -> nouns1.InterimConfidence:
        interim = nouns1.InterimConfidence(score_bp=min(9900, len(heard.frames) * 100), stage=1)
        interim.audio.FromMicroseconds(round(heard.seconds * 1e6))
        interim.voiced.FromMicroseconds(round(heard.seconds * 1e6))
        return interim

    def decided1(self, heard: Heard) -> nouns1.VoiceIdDecision:
        user_id = self.script.name_of(heard)
        named = bool(user_id) and self.script.tier != nouns2.IDENTITY_TIER_UNKNOWN
        decision = nouns1.VoiceIdDecision(
            decision=nouns1.DECISION_OK if named else nouns1.DECISION_UNKNOWN,
            score_bp=9974 if named else 120,
            reason_code=nouns1.VOICE_ID_REASON_MATCH_HIGH if named else nouns1.VOICE_ID_REASON_SCORE_LOW,
            margin_to_next_bp=8000,
            candidate_set=[nouns1.Candidate(user_id=user_id, score_bp=9974, cosines=[0.81, 0.77])] if named else [],
            next_action=nouns1.NEXT_ACTION_PROCEED if named else nouns1.NEXT_ACTION_PROCEED_GENERIC,
        )
        decision.telemetry.decision_latency.FromMilliseconds(21)
        return decision

    def decided2(self, heard: Heard) -> v2.FinalDecision:
        first = self.decided1(heard)
        second = nouns2.VoiceIdDecision(
            identity_tier=self.script.tier if first.candidate_set else nouns2.IDENTITY_TIER_UNKNOWN,
            score_bp=first.score_bp,
            reason_code=first.reason_code,
            margin_to_next_bp=first.margin_to_next_bp,
            candidate_set=first.candidate_set,
            next_action=first.next_action,
            telemetry=first.telemetry,
        )
        final = v2.FinalDecision(v2=second, v1=first)
        if self.script.drifted:
            final.re_enrollment.user_id = self.script.name_of(heard)
            final.re_enrollment.cause = self.script.drifted
            final.re_enrollment.asked_at.FromSeconds(1_767_225_600)
        return final


class V1(v1_rpc.VoiceIdServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def Identify(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for reply in self.double.converse(request_iterator, context, v1.IdentifyResponse, Double.decided1):
            yield reply

    async def Verify(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for reply in self.double.converse(request_iterator, context, v1.VerifyResponse, Double.decided1):
            yield reply

    async def ConfirmIdentity(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.ConfirmIdentityResponse(decision_was_right=True)


class V2(v2_rpc.VoiceIdServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def Identify(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for reply in self.double.converse(request_iterator, context, v2.IdentifyResponse, Double.decided2):
            yield reply

    async def Verify(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for reply in self.double.converse(request_iterator, context, v2.VerifyResponse, Double.decided2):
            yield reply


class Enrolling(v1_rpc.EnrollmentServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def CreateEnrollment(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        if not request.consent_ref:
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "CONSENT_REQUIRED", "no consent")
        enrollment = nouns1.Enrollment(
            enrollment_id=f"e-{len(self.double.enrollments) + 1}", user_id=request.user_id, clips_missing=CLIPS_WANTED
        )
        self.double.enrollments[enrollment.enrollment_id] = enrollment
        return v1.CreateEnrollmentResponse(enrollment=enrollment)

    async def AddClip(self, request_iterator: Any, context: Any) -> Any:
        config = (await anext(request_iterator)).config
        audio = [request.frame.audio async for request in request_iterator]
        await self.double.unary(config, context)
        self.double.clips[config.idempotency_key] = audio
        self.double.clip_owners.append(config.enrollment_id)
        enrollment = self.double.enrollments[config.enrollment_id]
        enrollment.accepted_clips += 1
        enrollment.clips_missing -= 1
        return v1.AddClipResponse(accepted=True, enrollment=enrollment)

    async def CompleteEnrollment(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        enrollment = self.double.enrollments[request.enrollment_id]
        profile = nouns1.Profile(
            user_id=enrollment.user_id,
            profile_version=self.double.script.profile_version,
            state=nouns1.PROFILE_STATE_LOCKED,
        )
        return v1.CompleteEnrollmentResponse(enrollment=enrollment, profile=profile)

    async def GetEnrollment(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.GetEnrollmentResponse(enrollment=self.double.enrollments[request.enrollment_id])


class Profiles(v1_rpc.ProfileServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def GetProfile(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.GetProfileResponse(profile=nouns1.Profile(user_id=request.user_id, profile_version=4))

    async def ListProfiles(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        start = int(request.page.page_token or 0)
        reply = v1.ListProfilesResponse(profiles=[nouns1.Profile(user_id=f"u-{start}")])
        if start < 2:
            reply.page.next_page_token = str(start + 1)
        return reply

    async def RevokeProfile(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.RevokeProfileResponse(
            profile=nouns1.Profile(user_id=request.user_id, state=nouns1.PROFILE_STATE_REVOKED)
        )

    async def GetGallery(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.GetGalleryResponse(profile_count=2, models=["ge2e@1", "campplus@1"])

    async def GetKpis(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        kpi = nouns1.CohortKpi(cohort=nouns1.CohortLabels(language="en"), decisions=7, tar_bp=-1, frr_bp=-1, far_bp=-1)
        return v1.GetKpisResponse(cohorts=[kpi])


class Policies(v1_rpc.PolicyServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def GetThresholdPack(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.GetThresholdPackResponse(pack=nouns1.ThresholdPack(pack_ref="P@1"), layer="global_default")

    async def GetMigrationStage(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.GetMigrationStageResponse(stage=nouns1.MIGRATION_STAGE_M1)

    async def SetMigrationStage(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return v1.SetMigrationStageResponse(stage=request.stage)


class Auditing(audit_rpc.AuditServiceServicer):
    def __init__(self, double: Double) -> None:
        self.double = double

    async def ListEvents(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return audit1.ListEventsResponse(events=[reply.event for reply in self.double.events])

    async def WatchEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Sends at most `watch_limit` events a call, then drops."""
        self.double.watches.append(request)
        self.double.on_watch(request)
        for reply in self.double.events[request.from_sequence - 1 :][: self.double.watch_limit]:
            yield reply
        await context.abort(grpc.StatusCode.UNAVAILABLE, "dropped")

    async def GetCheckpoint(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        reply = audit1.GetCheckpointResponse(public_key=bytes(32))
        reply.checkpoint.tree_size = len(self.double.events)
        return reply

    async def GetInclusionProof(self, request: Any, context: Any) -> Any:
        return audit1.GetInclusionProofResponse()

    async def GetConsistencyProof(self, request: Any, context: Any) -> Any:
        return audit1.GetConsistencyProofResponse()

    async def VerifyLedger(self, request: Any, context: Any) -> Any:
        await self.double.unary(request, context)
        return audit1.VerifyLedgerResponse(whole=True, rows=len(self.double.events), checkpoints=1)


class Link:
    """A TCP relay in front of the double: cutting it is what a lost network looks like to both sides."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.target = ""
        self.cuts = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, far_writer}
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        except OSError:
            return
        finally:
            sink.close()

    def cut(self) -> None:
        """Drops every connection now; new ones are welcome."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def add_to(server: grpc.aio.Server, double: Double) -> None:
    v1_rpc.add_VoiceIdServiceServicer_to_server(V1(double), server)
    v2_rpc.add_VoiceIdServiceServicer_to_server(V2(double), server)
    v1_rpc.add_EnrollmentServiceServicer_to_server(Enrolling(double), server)
    v1_rpc.add_ProfileServiceServicer_to_server(Profiles(double), server)
    v1_rpc.add_PolicyServiceServicer_to_server(Policies(double), server)
    audit_rpc.add_AuditServiceServicer_to_server(Auditing(double), server)


SERVER_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))


@pytest.fixture
async def double() -> AsyncIterator[Double]:
    double = Double()
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_to(server, double)
    double.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield double
    await server.stop(None)


@pytest.fixture
async def link(double: Double) -> AsyncIterator[Link]:
    link = Link(double.port)
    await link.start()
    yield link
    await link.stop()


@pytest.fixture
def refusal() -> Callable[..., Callable[[Any], Awaitable[None]]]:
    """`refusal(code, reason, metadata)` is a scripted refusal; without a reason, what a dying connection looks like."""

    def scripted(code: grpc.StatusCode, reason: str = "", **metadata: str) -> Callable[[Any], Awaitable[None]]:
        async def end(context: Any) -> None:
            if reason:
                await refuse(context, code, reason, "scripted", metadata)
            await context.abort(code, "scripted")

        return end

    return scripted


@pytest.fixture
def threaded_double() -> Iterator[Double]:
    """The double in a thread with its own loop, for tests of commands, which run a loop of their own."""
    import threading

    double = Double()
    ready, done = threading.Event(), []

    async def serve() -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        add_to(server, double)
        double.port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stop = asyncio.Event()
        done.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(10)
    yield double
    loop, stop = done[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
