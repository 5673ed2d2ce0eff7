"""Puts the owner together: its providers, their routing, the services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from selene.provider.v1.provider_pb2 import CAPABILITY_TTS
from selene.routing.v1.routing_pb2 import DOMAIN_TTS
from selene.tts.v1 import service_pb2_grpc as tts_grpc

from servers.proving import open_prover
from servers.routing.assembly import CredentialOf, left_out, open_leases, open_routing, prices
from servers.routing.credentials import Credential
from servers.routing.live_packs import Parsers
from servers.routing.reasons import ProviderReason
from servers.routing.router import Domestic
from servers.runtime.clock import Clock
from servers.runtime.server import OnStop, Runtime, Service
from servers.tts import ENGINE_ID, NAME
from servers.tts.adapter import CALLER_FAULTS, TtsAdapter, TtsReason
from servers.tts.consumption import CONSUMPTION, RANKING
from servers.tts.service import TextToSpeechV1
from servers.tts.settings import TtsSettings

ELSEWHERE = frozenset(
    {
        TtsReason.LOCALE_UNSUPPORTED,
        TtsReason.SSML_UNSUPPORTED,
        TtsReason.TEXT_TOO_LONG,
        TtsReason.TEXT_UNSPEAKABLE,
        TtsReason.RATE_OUT_OF_RANGE,
        ProviderReason.CONTENT_REFUSED,
    }
)
"""Faults of the request that another provider may not find in it."""

PARSERS: Final[Parsers] = MappingProxyType({pack_type: one.read for pack_type, one in CONSUMPTION.items()})
"""The packs that this owner goes by (§11), and how it reads them."""


class Closable(TtsAdapter, Protocol):
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
    settings = runtime.settings.owner_settings(NAME, TtsSettings)
    adapters: dict[str, TtsAdapter] = {}
    if settings.local:
        adapters |= await local(runtime.clock, runtime.on_stop)
    made = vendors(settings, credential_of, runtime.clock)
    for adapter in made.values():
        runtime.on_stop(adapter.close)
    adapters |= made
    domestic = Domestic(
        domain=DOMAIN_TTS,
        capability=CAPABILITY_TTS,
        rpc="Synthesize",
        adapters=adapters,
        caller_faults=CALLER_FAULTS,
        elsewhere=ELSEWHERE,
        keyed=made.keys(),
        prices=prices(runtime),
        ranking=RANKING,
    )
    open_prover(runtime, ENGINE_ID, CONSUMPTION)
    routing = await open_routing(runtime, ENGINE_ID, domestic, leases, PARSERS)
    return (
        Service(
            tts_grpc.add_TextToSpeechServiceServicer_to_server,
            TextToSpeechV1(routing.router, routing.board, runtime.store, runtime.clock, runtime.ids),
            "selene.tts.v1.TextToSpeechService",
        ),
        *routing.services(runtime),
    )


async def local(clock: Clock, on_stop: Callable[[OnStop], None]) -> Mapping[str, TtsAdapter]:
    """The synthesiser on this machine; nothing, and a line in the log, where it cannot be had."""
    try:
        from servers.tts import espeak  # imported late: the extra `local` may not be installed
        from servers.tts.local import LocalTts

        adapter = LocalTts(await asyncio.to_thread(espeak.load), monotonic=clock.monotonic)
    except (ImportError, OSError) as error:
        return left_out("selene-local/tts", error)

    async def close() -> None:
        adapter.close()

    on_stop(close)
    return {adapter.provider_ref: adapter}


def vendors(settings: TtsSettings, credential_of: CredentialOf, clock: Clock) -> Mapping[str, Closable]:
    """The vendors' synthesisers, without those that are not installed. To be closed."""
    made: dict[str, Closable] = {}
    for provider_ref, make in (("openai/tts", _openai), ("google/tts", _google)):
        try:
            made[provider_ref] = make(settings, credential_of(provider_ref), clock)
        except ImportError as error:
            left_out(provider_ref, error)
    return made


def _openai(settings: TtsSettings, credential: Credential, clock: Clock) -> Closable:
    from servers.routing.openai import BASE_URL  # imported late, as below: the extra `vendors` may not be installed
    from servers.tts.openai import OpenAiTts

    return OpenAiTts(
        credential,
        model=settings.openai.model,
        voice=settings.openai.voice,
        base_url=settings.openai.base_url or BASE_URL,
        monotonic=clock.monotonic,
    )


def _google(settings: TtsSettings, credential: Credential, clock: Clock) -> Closable:
    from servers.tts.google import ENDPOINT, GoogleTts

    return GoogleTts(
        credential,
        endpoint=settings.google.endpoint or ENDPOINT,
        plaintext=settings.google.plaintext,
        monotonic=clock.monotonic,
    )
