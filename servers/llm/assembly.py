"""Puts the owner together: its providers, their routing, the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM
from selene.routing.v1.routing_pb2 import DOMAIN_LLM

from servers.llm import ENGINE_ID, NAME
from servers.llm.adapter import CALLER_FAULTS, LlmAdapter, LlmReason
from servers.llm.consumption import CONSUMPTION
from servers.llm.local import LocalLlm, shipped_grammar
from servers.llm.service import LanguageV1
from servers.llm.settings import LLAMA, OPENAI, LlmSettings
from servers.proving import open_prover
from servers.routing.assembly import CredentialOf, left_out, open_leases, open_routing, prices
from servers.routing.credentials import Credential
from servers.routing.live_packs import Parsers
from servers.routing.reasons import ProviderReason
from servers.routing.router import Domestic
from servers.runtime.clock import Clock
from servers.runtime.server import Runtime, Service

ELSEWHERE: Final = frozenset(
    {LlmReason.LOCALE_UNSUPPORTED, LlmReason.UTTERANCE_TOO_LONG, ProviderReason.CONTENT_REFUSED}
)
"""Faults of the request that another provider may not find in it."""

PARSERS: Final[Parsers] = MappingProxyType({pack_type: one.read for pack_type, one in CONSUMPTION.items()})
"""The packs that this owner goes by (§11), and how it reads them."""


class Closable(LlmAdapter, Protocol):
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
    settings = runtime.settings.owner_settings(NAME, LlmSettings)
    local = LocalLlm(shipped_grammar(), monotonic=runtime.clock.monotonic)
    adapters: dict[str, LlmAdapter] = {local.provider_ref: local}
    made = vendors(settings, credential_of, runtime.clock)
    for adapter in made.values():
        runtime.on_stop(adapter.close)
    adapters |= made
    domestic = Domestic(
        domain=DOMAIN_LLM,
        capability=CAPABILITY_LLM,
        rpc="Respond",
        adapters=adapters,
        caller_faults=CALLER_FAULTS,
        elsewhere=ELSEWHERE,
        keyed=made.keys() - (set() if settings.llama.needs_secret else {LLAMA}),
        prices=prices(runtime),
    )
    open_prover(runtime, ENGINE_ID, CONSUMPTION)
    routing = await open_routing(runtime, ENGINE_ID, domestic, leases, PARSERS)
    return (
        Service(
            llm_grpc.add_LanguageServiceServicer_to_server,
            LanguageV1(routing.router, runtime.clock, runtime.ids),
            "selene.llm.v1.LanguageService",
        ),
        *routing.services(runtime),
    )


def vendors(settings: LlmSettings, credential_of: CredentialOf, clock: Clock) -> Mapping[str, Closable]:
    """The providers over a network, without those that are not installed or not configured. To be closed."""
    made: dict[str, Closable] = {}
    try:
        made[OPENAI] = _openai(settings, credential_of(OPENAI), clock)
        if settings.llama.base_url:
            made[LLAMA] = _llama(settings, credential_of(LLAMA) if settings.llama.needs_secret else None, clock)
    except ImportError as error:
        left_out(f"{OPENAI} and {LLAMA}", error)
    return made


def _openai(settings: LlmSettings, credential: Credential, clock: Clock) -> Closable:
    from servers.llm.openai import OpenAiLlm  # imported late, as below: the extra `vendors` may not be installed
    from servers.routing.openai import BASE_URL

    return OpenAiLlm(
        OPENAI,
        settings.openai.base_url or BASE_URL,
        credential,
        model=settings.openai.model,
        monotonic=clock.monotonic,
    )


def _llama(settings: LlmSettings, credential: Credential | None, clock: Clock) -> Closable:
    from servers.llm.openai import AnswerFormat, OpenAiLlm

    return OpenAiLlm(
        LLAMA,
        settings.llama.base_url,
        credential,
        model=settings.llama.model,
        answer_format=AnswerFormat[settings.llama.answer.upper()],
        monotonic=clock.monotonic,
    )
