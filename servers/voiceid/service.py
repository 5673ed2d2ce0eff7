"""The gRPC edge of the decision services, V1 and V2: who may ask, which generation is served, how replies look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from grpc.aio import EOF
from selene.common.v1 import audio_pb2
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import SCOPE_TYPE_DEVICE, Scope
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2 import service_pb2 as v2_service
from selene.voiceid.v2 import service_pb2_grpc as v2_grpc

from servers.runtime.audio.order import config_expected
from servers.runtime.auth import Principal, current_principal, require_device, require_subject, require_tenant
from servers.runtime.context import current_correlation
from servers.runtime.errors import Refusal
from servers.runtime.signals import Producer
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from servers.voiceid import migration, signals
from servers.voiceid.conversation import Caller, Conversation, Event
from servers.voiceid.engine import ENGINE_ID, Verdict
from servers.voiceid.migrated import Stages
from servers.voiceid.telemetry import DecisionMetrics
from store import Conflict, NotFound, Store, Transaction, request_hash
from store.voiceid import DecidedStream

# Messages of both generations have the same field names, so one edge serves them.
Message = Any


class DecisionEdge:
    """What both generations share."""

    def __init__(self, conversation: Conversation, stages: Stages) -> None:
        self._conversation = conversation
        self._stages = stages

    async def serve(
        self, call: Caller, generation: str, wrap: Callable[[Event, v1.MigrationStage], Message]
    ) -> AsyncIterator[Message]:
        """One stream of either service; `generation` is `v1` or `v2`."""
        first = await call.read()
        config, claimed_user_id = _config(first)
        caller = _permitted(config)
        with refusing_store_errors():
            stage = await self._stages.of(config.tenant_id)
        _refuse_unserved(stage, generation)
        ask = self._conversation.ask(config, claimed_user_id, caller, asks_to_enrol=generation == "v2")
        async for event in self._conversation.events(ask, stage, call, _frame):
            yield wrap(event, stage)


def _config(first: Message) -> tuple[v1.StreamConfig, str]:
    """The config of a stream's first message, and the claim of a Verify."""
    if first is EOF or first.WhichOneof("message") != "config":
        raise config_expected(0)
    config = first.config
    stream = config if isinstance(config, v1.StreamConfig) else config.stream
    if not stream.turn.correlation_id:
        correlation = current_correlation()
        stream.turn.correlation_id = correlation.correlation_id
        stream.turn.turn_id = stream.turn.turn_id or correlation.turn_id
    return stream, "" if stream is config else config.claimed_user_id


def _permitted(config: v1.StreamConfig) -> Principal:
    """The caller, if it may stream for this tenant, this device and this signed-in owner (ALL-3)."""
    require_tenant(config.tenant_id)
    require_device(config.device_id)
    if config.device_owner_user_id:
        require_subject(config.device_owner_user_id)
    return current_principal()


def _refuse_unserved(stage: v1.MigrationStage, generation: str) -> None:
    row = migration.stage_row(stage)
    serves = {"v1": row.v1_serves, "v2": row.v2_serves}
    if serves[generation]:
        return
    raise Refusal(
        reasons.ERROR_REASON_CONTRACT_STAGE_REFUSED,
        "this generation of the contract is not served for this tenant now",
        stage=v1.MigrationStage.Name(stage).removeprefix("MIGRATION_STAGE_"),
        serves=",".join(f"selene.voiceid.{name}" for name, served in serves.items() if served),
    )


def _frame(message: Message, index: int) -> audio_pb2.AudioFrame:
    if message.WhichOneof("message") != "frame":
        raise config_expected(index)
    frame: audio_pb2.AudioFrame = message.frame
    return frame


def _wrap_v1(reply: Callable[..., Message]) -> Callable[[Event, v1.MigrationStage], Message]:
    def wrap(event: Event, stage: v1.MigrationStage) -> Message:
        return reply(final=event.final.v1) if isinstance(event, Verdict) else reply(**{_NAMES[type(event)]: event})

    return wrap


def _wrap_v2(reply: Callable[..., Message]) -> Callable[[Event, v1.MigrationStage], Message]:
    def wrap(event: Event, stage: v1.MigrationStage) -> Message:
        if not isinstance(event, Verdict):
            return reply(**{_NAMES[type(event)]: event})
        final = v2_service.FinalDecision()
        final.CopyFrom(event.final)
        if not migration.stage_row(stage).v1_beside_v2:
            final.ClearField("v1")
        return reply(final=final)

    return wrap


_NAMES = {v1.StreamStarted: "started", v1.SpeechEvent: "speech", v1.InterimConfidence: "interim"}


class VoiceIdV1(v1_grpc.VoiceIdServiceServicer):
    """selene.voiceid.v1.VoiceIdService."""

    def __init__(
        self, edge: DecisionEdge, store: Store, metrics: DecisionMetrics, producer: Producer | None = None
    ) -> None:
        self._edge = edge
        self._store = store
        self._metrics = metrics
        self._producer = producer

    def Identify(self, request_iterator: Message, context: Message) -> AsyncIterator[v1_service.IdentifyResponse]:
        return self._edge.serve(context, "v1", _wrap_v1(v1_service.IdentifyResponse))

    def Verify(self, request_iterator: Message, context: Message) -> AsyncIterator[v1_service.VerifyResponse]:
        return self._edge.serve(context, "v1", _wrap_v1(v1_service.VerifyResponse))

    async def ConfirmIdentity(
        self, request: v1_service.ConfirmIdentityRequest, context: Message
    ) -> v1_service.ConfirmIdentityResponse:
        caller = require_tenant(request.tenant_id)
        if request.speaker_user_id:
            require_subject(request.speaker_user_id)
        with refusing_store_errors():
            try:
                stream = await self._store.voiceid.streams.get(request.tenant_id, request.stream_id)
            except NotFound as error:
                raise not_found("stream", request.stream_id) from error
        require_device(stream.device_id)

        async def confirm(tx: Transaction) -> v1_service.ConfirmIdentityResponse:
            answer = await _confirm(tx, stream, request, caller)
            await self._leave_signal(tx, stream, request.speaker_user_id)
            return answer

        reply = await once(
            self._store,
            tenant_id=request.tenant_id,
            method="ConfirmIdentity",
            key=request.idempotency_key,
            content=request_hash(caller.subject, request.stream_id, request.speaker_user_id),
            reply=v1_service.ConfirmIdentityResponse,
            work=confirm,
        )
        if stream.speaker_user_id is None:
            self._metrics.confirmed(replace(stream, speaker_user_id=request.speaker_user_id))
        return reply

    async def _leave_signal(self, tx: Transaction, stream: DecidedStream, speaker_user_id: str) -> None:
        """For learning, where the decision was wrong about somebody who consents."""
        user_id = signals.about(stream, speaker_user_id)
        if not user_id or self._producer is None or not self._producer.wants(stream.tenant_id):
            return
        now = tx.clock.now()
        if not signals.consents(await tx.voiceid.profiles.current(stream.tenant_id, user_id), now):
            return
        seen = [signals.corrected(stream, turn(), now, user_id)]
        if signals.switched(stream, speaker_user_id, await tx.voiceid.streams.before(stream)):
            seen.append(signals.not_followed(stream, turn(), now, user_id))
        await self._producer.leave(tx, seen)


async def _confirm(
    tx: Transaction, stream: DecidedStream, request: v1_service.ConfirmIdentityRequest, caller: Principal
) -> v1_service.ConfirmIdentityResponse:
    try:
        await tx.voiceid.streams.name_speaker(request.tenant_id, request.stream_id, request.speaker_user_id)
    except Conflict as error:
        raise Refusal(
            reasons.ERROR_REASON_SESSION_NOT_CONFIRMABLE, "something else was said of this stream before"
        ) from error
    await tx.voiceid.observations.confirm(request.tenant_id, request.stream_id, request.speaker_user_id)
    cleared = bool(request.speaker_user_id) and await tx.voiceid.prompts.clear_cooldown(
        request.tenant_id, stream.cooldown_key
    )
    if request.speaker_user_id:
        await tx.voiceid.prompts.answered(request.tenant_id, stream.session_id, stream.device_id, at_most=0)
    right = stream.named_user_id == request.speaker_user_id
    tx.audit(
        tenant_id=request.tenant_id,
        owner=ENGINE_ID,
        actor=await actor(tx, caller),
        transition="voiceid.confirmed",
        reason_code="DECISION_RIGHT" if right else "DECISION_WRONG",
        scope=Scope(scope_type=SCOPE_TYPE_DEVICE, scope_id=stream.device_id),
        turn=turn(),
        session_id=stream.session_id,
        device_id=stream.device_id,
        idempotency_key=request.idempotency_key,
        facts={"stream_id": stream.stream_id, "cooldown_cleared": str(cleared).lower()},
    )
    return v1_service.ConfirmIdentityResponse(decision_was_right=right, cooldown_cleared=cleared)


class VoiceIdV2(v2_grpc.VoiceIdServiceServicer):
    """selene.voiceid.v2.VoiceIdService."""

    def __init__(self, edge: DecisionEdge) -> None:
        self._edge = edge

    def Identify(self, request_iterator: Message, context: Message) -> AsyncIterator[v2_service.IdentifyResponse]:
        return self._edge.serve(context, "v2", _wrap_v2(v2_service.IdentifyResponse))

    def Verify(self, request_iterator: Message, context: Message) -> AsyncIterator[v2_service.VerifyResponse]:
        return self._edge.serve(context, "v2", _wrap_v2(v2_service.VerifyResponse))
