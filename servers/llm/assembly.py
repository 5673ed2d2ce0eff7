"""Puts the owner together: its providers, their routing, the services."""

from __future__ import annotations

from collections.abc import Sequence

from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.provider.v1.provider_pb2 import CAPABILITY_LLM
from selene.routing.v1.routing_pb2 import DOMAIN_LLM

from servers.llm import ENGINE_ID
from servers.llm.adapter import CALLER_FAULTS, LlmAdapter, LlmReason
from servers.llm.local import LocalLlm, shipped_grammar
from servers.llm.service import LanguageV1
from servers.routing.assembly import open_routing, prices
from servers.routing.router import Domestic
from servers.runtime.server import Runtime, Service


async def assemble(runtime: Runtime) -> Sequence[Service]:
    """ConfigError, StoreError."""
    local = LocalLlm(shipped_grammar(), monotonic=runtime.clock.monotonic)
    adapters: dict[str, LlmAdapter] = {local.provider_ref: local}
    domestic = Domestic(
        domain=DOMAIN_LLM,
        capability=CAPABILITY_LLM,
        adapters=adapters,
        caller_faults=CALLER_FAULTS,
        elsewhere=frozenset({LlmReason.LOCALE_UNSUPPORTED, LlmReason.UTTERANCE_TOO_LONG}),
        prices=prices(runtime),
    )
    routing = await open_routing(runtime, ENGINE_ID, domestic, unconfigured=lambda: ())
    return (
        Service(
            llm_grpc.add_LanguageServiceServicer_to_server,
            LanguageV1(routing.router, runtime.clock, runtime.ids),
            "selene.llm.v1.LanguageService",
        ),
        *routing.services(runtime),
    )
