"""Gold label packs reach the running owner of language: the model is told of known intents, and of nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from selene.artifacts.v1.packs_pb2 import LabelledPacket, LlmGoldLabelPack

from servers.llm.adapter import DecisionPacket, KnownIntent
from servers.llm.learned import MOST_INTENTS, PACK, intents, read
from servers.pack_formats import PackUnusable
from tests.servers.llm.test_service import LLAMA, LOCAL, OPENAI, Desk, desk, final
from tests.support.live_packs import begin, canonical, header, put, somebody, taken_on, told, vocabulary

TIMER = {"intent": "timer.set", "slots": [{"name": "duration", "value": "Mira's secret hour"}], "confidence_bp": 9_000}
LIGHT = {"intent": "light.on", "slots": [], "confidence_bp": 9_000}


def packet(said: Mapping[str, Any] = TIMER, **changed: Any) -> bytes:
    whole = {"reply": "Yes, Mira.", "needs_clarification": False, **said, **changed}
    return json.dumps(whole).encode()


def pack(*packets: bytes) -> bytes:
    labelled = [LabelledPacket(item_id=f"item-{number}", packet=each) for number, each in enumerate(packets)]
    return canonical(LlmGoldLabelPack(header=header(PACK), packets=labelled))


def test_intents_are_told_with_the_names_of_their_slots_the_most_frequent_first() -> None:
    room = {"name": "room", "value": "kitchen"}
    known = read(
        pack(packet(TIMER), packet(LIGHT), packet(LIGHT, slots=[room]), packet(intent="x", needs_clarification=True))
    )
    assert known == (KnownIntent("light.on", ("room",)), KnownIntent("timer.set", ("duration",)))
    assert read(pack()) == ()


def test_no_more_intents_than_are_told() -> None:
    many = [DecisionPacket(f"intent.n{number:03}", (), "Yes.", 9_000, False) for number in range(MOST_INTENTS + 1)]
    assert [each.name for each in intents(many)] == [each.intent for each in many[:-1]]


@pytest.mark.parametrize(
    "payload",
    [
        b"garbage",
        b"",
        vocabulary(),
        pack(b"{}"),
        pack(packet(), b"not JSON"),
        pack(packet(confidence_bp=10_001)),
        pack(b"\xff"),
    ],
)
def test_a_pack_with_anything_in_it_that_is_no_packet_is_refused(payload: bytes) -> None:
    with pytest.raises(PackUnusable):
        read(payload)


@pytest.fixture
async def llm(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path, OPENAI, LLAMA, LOCAL) as served:
        yield served


def instructions(llm: Desk) -> str:
    [system] = [each["content"] for each in llm.openai.ledger[-1].body["messages"] if each["role"] == "system"]
    return str(system)


async def test_a_model_is_told_of_the_intents_once_their_pack_is_active(llm: Desk) -> None:
    await llm.ask(user="mira")
    before = instructions(llm)
    await put(llm.owners.store, PACK, pack(packet()))
    await taken_on(llm.service._router, f"{PACK}@1")
    events = await llm.ask(user="mira")
    after = instructions(llm)
    assert after.startswith(before) and after != before
    assert json.loads(after.rpartition("\n")[2]) == [{"intent": "timer.set", "slots": ["duration"]}]
    assert "Mira" not in after
    assert await told(llm.owners, events[0].started.request_id) == {"llm_gold_label_pack": f"{PACK}@1"}
    assert final(events).result.provider_ref == OPENAI


async def test_the_cohort_is_served_by_the_candidate_and_a_pack_that_is_none_by_nobody(llm: Desk) -> None:
    early, late = somebody(0, 500, prefix="user"), somebody(500, 10_000, prefix="user")
    await put(llm.owners.store, PACK, pack(packet()))
    await begin(llm.owners.store, await put(llm.owners.store, PACK, pack(packet(LIGHT)), active=False))
    await taken_on(llm.service._router, f"{PACK}@2", key=early)
    named: list[Sequence[str]] = []
    for who in (early, late):
        events = await llm.ask(user=who, idempotency_key=who)
        facts = await told(llm.owners, events[0].started.request_id)
        known = json.loads(instructions(llm).rpartition("\n")[2])
        named.append((facts["llm_gold_label_pack"], facts["llm_gold_label_pack_arm"], known[0]["intent"]))
    assert named == [(f"{PACK}@2", "candidate", "light.on"), (f"{PACK}@1", "baseline", "timer.set")]
