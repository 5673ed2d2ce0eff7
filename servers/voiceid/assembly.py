"""Puts the owner together: models, engine, services."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v2 import service_pb2_grpc as v2_grpc

from servers.proving import open_prover
from servers.runtime.server import Runtime, Service
from servers.runtime.signals import producer
from servers.voiceid import NAME
from servers.voiceid.consumption import CONSUMPTION
from servers.voiceid.conversation import Conversation
from servers.voiceid.engine import ENGINE_ID, Engine
from servers.voiceid.enrollment_service import EnrollmentV1
from servers.voiceid.measuring import meter
from servers.voiceid.migrated import Stages
from servers.voiceid.models import registry
from servers.voiceid.models.faults import ModelError
from servers.voiceid.policy_service import PolicyV1
from servers.voiceid.profile_service import ProfileV1
from servers.voiceid.scorer import Models, open_batcher, open_models
from servers.voiceid.service import DecisionEdge, VoiceIdV1, VoiceIdV2
from servers.voiceid.settings import VoiceIdSettings
from servers.voiceid.silero import vad_path
from servers.voiceid.telemetry import DecisionMetrics

_log = structlog.get_logger("selene.voiceid")


async def assemble(runtime: Runtime) -> Sequence[Service]:
    """ConfigError for settings that cannot be used."""
    settings = runtime.settings.owner_settings(NAME, VoiceIdSettings)
    models = await asyncio.to_thread(_models, settings)
    batcher = open_batcher()
    metrics = DecisionMetrics(runtime.telemetry.registry)
    leaving = producer(runtime.settings, ENGINE_ID)
    engine = Engine(runtime.store, runtime.clock, settings, models, batcher, metrics, leaving)
    stages = Stages(runtime.store, settings.default_stage)
    conversation = Conversation(engine, runtime.clock, runtime.ids.new, metrics)
    edge = DecisionEdge(conversation, stages)

    async def close() -> None:
        conversation.live.close()
        await asyncio.to_thread(batcher.close)

    runtime.on_stop(close)
    measuring = meter(runtime.store, runtime.clock, settings)
    runtime.on_stop(measuring.stop)
    measuring.start()
    open_prover(runtime, ENGINE_ID, CONSUMPTION)
    enrollment = EnrollmentV1(runtime.store, runtime.clock, runtime.ids, settings, models, batcher, engine.packs)
    return (
        Service(
            v1_grpc.add_VoiceIdServiceServicer_to_server,
            VoiceIdV1(edge, runtime.store, metrics, leaving),
            "selene.voiceid.v1.VoiceIdService",
        ),
        Service(v2_grpc.add_VoiceIdServiceServicer_to_server, VoiceIdV2(edge), "selene.voiceid.v2.VoiceIdService"),
        Service(v1_grpc.add_EnrollmentServiceServicer_to_server, enrollment, "selene.voiceid.v1.EnrollmentService"),
        Service(
            v1_grpc.add_ProfileServiceServicer_to_server,
            ProfileV1(runtime.store, runtime.clock, engine),
            "selene.voiceid.v1.ProfileService",
        ),
        Service(
            v1_grpc.add_PolicyServiceServicer_to_server,
            PolicyV1(runtime.store, engine.packs, stages),
            "selene.voiceid.v1.PolicyService",
        ),
    )


def _models(settings: VoiceIdSettings) -> Models | None:
    """The models, or None with the reason in the log: the server then answers UNKNOWN (VID-9)."""
    cache = settings.models_dir or registry.default_cache_dir()
    try:
        return open_models(cache, vad_path(cache), settings.models, settings.overlap_model, settings.countermeasure)
    except ModelError as error:
        _log.error("no voice models: every decision is UNKNOWN", reason=error.reason.value, detail=str(error))
        return None
