"""Selene Local LLM: fixed rules over a declared grammar (`servers.llm.grammar`), and no language model (RTE-6).

What the grammar does not declare is answered as ``out_of_grammar`` with a request to say it otherwise: an OK of the
provider, which did all that it claims to do. ``quality_score_bp`` is the packet's confidence.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from importlib import resources

from google.protobuf.duration_pb2 import Duration
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_LLM,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
    ProviderStatus,
)

from servers.llm.adapter import CALLER_FAULTS, Delta, LlmEvent, LlmReason, Utterance
from servers.llm.grammar import Grammar, load, read

_WORD = re.compile(r"\S+\s*")


def shipped_grammar() -> Grammar:
    """The grammar that lies beside this module."""
    return load(resources.files("servers.llm").joinpath("grammar.toml").read_text(encoding="utf-8"))


class LocalLlm:
    """Answers by ``grammar``. ``max_chars`` bounds an utterance; ``monotonic`` gives the seconds of every deadline."""

    provider_ref = "selene-local/llm"

    def __init__(
        self, grammar: Grammar, *, max_chars: int = 1_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._grammar = grammar
        self._max_chars = max_chars
        self._monotonic = monotonic

    async def respond(self, utterance: Utterance, *, deadline: float) -> AsyncGenerator[LlmEvent, None]:
        """See `servers.llm.adapter.LlmAdapter`."""
        began_at = self._monotonic()
        refused = self._refusal(utterance)
        if refused is not None:
            yield self._result(utterance, refused, began_at, 0)
            return
        packet = read(self._grammar, utterance.text, utterance.said_at)
        for word in _WORD.findall(packet.reply):
            if self._monotonic() >= deadline:
                yield self._result(utterance, LlmReason.DEADLINE_EXCEEDED, began_at, 0)
                return
            yield Delta(word)
            await asyncio.sleep(0)  # a consumer that never waits would keep the loop for a whole reply
        yield packet
        yield self._result(utterance, LlmReason.ANSWERED, began_at, packet.confidence_bp)

    def _refusal(self, utterance: Utterance) -> LlmReason | None:
        if len(utterance.text) > self._max_chars:
            return LlmReason.UTTERANCE_TOO_LONG
        if not utterance.text.strip():
            return LlmReason.UTTERANCE_EMPTY
        if utterance.locale.lower() not in self._grammar.locales:
            return LlmReason.LOCALE_UNSUPPORTED
        return None

    def _result(self, utterance: Utterance, reason: LlmReason, began_at: float, quality: int) -> ProviderResultV1:
        latency = Duration()
        latency.FromNanoseconds(max(0, round((self._monotonic() - began_at) * 1e9)))
        status = _status(reason)
        return ProviderResultV1(
            provider_ref=self.provider_ref,
            capability=CAPABILITY_LLM,
            request_id=utterance.request_id,
            idempotency_key=utterance.idempotency_key,
            simulation_context_ref=utterance.simulation_context_ref,
            status=status,
            reason_code=reason,
            latency=latency,
            quality_score_bp=quality,
            normalized_payload_ref=f"stream/{utterance.request_id}" if status == PROVIDER_STATUS_OK else "",
        )


def _status(reason: LlmReason) -> ProviderStatus:
    if reason is LlmReason.ANSWERED:
        return PROVIDER_STATUS_OK
    return PROVIDER_STATUS_TERMINAL_FAIL if reason in CALLER_FAULTS else PROVIDER_STATUS_RETRYABLE_FAIL
