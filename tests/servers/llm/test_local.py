"""The local LLM boundary as a provider: deltas, one packet, one result."""

from __future__ import annotations

from datetime import UTC, datetime

import protovalidate
import pytest
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_LLM,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
)

from servers.llm.adapter import DecisionPacket, Delta, LlmAdapter, LlmEvent, LlmReason, Utterance
from servers.llm.local import LocalLlm, shipped_grammar
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import ManualClock

SAID_AT = datetime(2026, 3, 1, 9, 5, tzinfo=UTC)


async def answer(text: str, locale: str = "en-US", deadline: float = 10.0) -> tuple[list[LlmEvent], ProviderResultV1]:
    llm: LlmAdapter = LocalLlm(shipped_grammar(), monotonic=ManualClock(SAID_AT).monotonic)
    said = Utterance("t-1", "req-1", "idem-1", text, locale, SAID_AT)
    *events, result = [event async for event in llm.respond(said, deadline=deadline)]
    assert isinstance(result, ProviderResultV1)
    protovalidate.validate(result)
    return events, result


async def test_the_deltas_are_the_reply_of_the_packet_that_follows() -> None:
    events, result = await answer("what time is it")
    *deltas, packet = events
    assert isinstance(packet, DecisionPacket)
    assert len(deltas) == 3
    assert "".join(delta.text for delta in deltas if isinstance(delta, Delta)) == packet.reply == "It is 09:05."
    assert (result.status, result.reason_code, result.quality_score_bp) == (PROVIDER_STATUS_OK, "ANSWERED", 10_000)
    assert (result.provider_ref, result.capability) == ("selene-local/llm", CAPABILITY_LLM)
    assert (result.request_id, result.idempotency_key) == ("req-1", "idem-1")


async def test_not_to_understand_is_an_answer_of_no_quality() -> None:
    events, result = await answer("sing me a song")
    packet = events[-1]
    assert isinstance(packet, DecisionPacket)
    assert packet.intent == "out_of_grammar"
    assert (result.status, result.quality_score_bp) == (PROVIDER_STATUS_OK, 0)


@pytest.mark.parametrize(
    ("text", "locale", "reason"),
    [
        ("", "en-US", LlmReason.UTTERANCE_EMPTY),
        (" \n", "en-US", LlmReason.UTTERANCE_EMPTY),
        ("a" * 1_000_000, "en-US", LlmReason.UTTERANCE_TOO_LONG),
        ("hello", "de-DE", LlmReason.LOCALE_UNSUPPORTED),
        ("hello", "", LlmReason.LOCALE_UNSUPPORTED),
    ],
)
async def test_what_cannot_be_read_is_refused_with_its_reason(text: str, locale: str, reason: LlmReason) -> None:
    events, result = await answer(text, locale)
    assert events == []
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_TERMINAL_FAIL, reason)
    assert result.normalized_payload_ref == ""


async def test_a_deadline_that_has_passed_leaves_no_packet() -> None:
    events, result = await answer("what time is it", deadline=0.0)
    assert events == []
    assert (result.status, result.reason_code) == (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.DEADLINE_EXCEEDED)
