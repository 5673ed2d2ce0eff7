"""Selene Local LLM: fixed rules over a declared grammar (`servers.llm.grammar`), and no language model (RTE-6).

What the grammar does not declare is answered as ``out_of_grammar`` with a request to say it otherwise: an OK of the
provider, which did all that it claims to do. ``quality_score_bp`` is the packet's confidence.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from enum import StrEnum
from importlib import resources

from selene.provider.v1.provider_pb2 import CAPABILITY_LLM, ProviderResultV1

from servers.llm.adapter import CALLER_FAULTS, Delta, LlmEvent, LlmReason, Utterance
from servers.llm.grammar import Grammar, load, read
from servers.routing.envelope import answered, status_of
from servers.routing.reasons import ProviderReason

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
                yield self._result(utterance, ProviderReason.DEADLINE_EXCEEDED, began_at, 0)
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

    def _result(self, utterance: Utterance, reason: StrEnum, began_at: float, quality: int) -> ProviderResultV1:
        return answered(
            utterance,
            provider_ref=self.provider_ref,
            capability=CAPABILITY_LLM,
            status=status_of(done=reason is LlmReason.ANSWERED, caller_fault=reason in CALLER_FAULTS),
            reason_code=reason,
            latency_s=self._monotonic() - began_at,
            quality_score_bp=quality,
        )
