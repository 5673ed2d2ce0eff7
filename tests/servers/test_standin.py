"""The endpoint that the demonstration breaks: answered through the real adapter over a real socket, then not."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pytest
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderResultV1

from servers.llm.adapter import DecisionPacket, LlmEvent, Utterance
from servers.llm.openai import AnswerFormat, OpenAiLlm
from servers.standin import StandIn, standing_in

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


async def ask(model: StandIn, text: str) -> list[LlmEvent]:
    adapter = OpenAiLlm("llama/llm", model.base_url, None, model="stand-in", answer_format=AnswerFormat.JSON_OBJECT)
    utterance = Utterance(
        tenant_id="dev", request_id="r-1", idempotency_key="k-1", locale="en-US", text=text, said_at=AT
    )
    try:
        return [event async for event in adapter.respond(utterance, deadline=time.monotonic() + 10)]
    finally:
        await adapter.close()


def post(url: str, body: bytes = b"") -> Any:
    request = urllib.request.Request(url, data=body, method="POST", headers={"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=5)


async def test_it_answers_as_a_model_of_its_protocol_does() -> None:
    with standing_in() as model:
        *_, packet, result = await ask(model, "What time is it?")
    assert isinstance(packet, DecisionPacket) and isinstance(result, ProviderResultV1)
    assert (packet.intent, packet.reply) == ("time.query", "It is 12:30 on Sunday.")
    assert result.status == PROVIDER_STATUS_OK
    assert (model.answered, model.failed) == (1, 0)


async def test_what_it_does_not_know_it_asks_back() -> None:
    with standing_in() as model:
        *_, packet, _ = await ask(model, "Sing.")
    assert isinstance(packet, DecisionPacket)
    assert (packet.intent, packet.needs_clarification) == ("unknown", True)


async def test_once_broken_it_fails_every_call() -> None:
    with standing_in() as model:
        with post(f"{model.url}/break") as answer:
            assert answer.status == 200
        (result,) = await ask(model, "What time is it?")
    assert isinstance(result, ProviderResultV1)
    assert result.status == PROVIDER_STATUS_RETRYABLE_FAIL
    assert (model.answered, model.failed) == (0, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", json.dumps({"messages": [{"content": "{}"}]}).encode()])
def test_what_is_no_request_of_ours_is_a_bad_request(body: bytes) -> None:
    with standing_in() as model, pytest.raises(urllib.error.HTTPError) as refused:
        post(f"{model.base_url}/chat/completions", body)
    assert refused.value.code == 400


def test_another_path_is_not_found() -> None:
    with standing_in() as model, pytest.raises(urllib.error.HTTPError) as refused:
        post(f"{model.base_url}/embeddings", b"{}")
    assert refused.value.code == 404
