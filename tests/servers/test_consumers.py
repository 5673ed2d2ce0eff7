"""What each consumer makes of recorded turns by a pack (§19): its own parser and rule, the same digest every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from selene.artifacts.v1 import packs_pb2 as packs
from selene.gold.v1.evidence_pb2 import (
    GoldItem,
    GoldLabel,
    LabelledItem,
    ModelOutput,
    OutputLabel,
    Pronunciation,
    PronunciationLabel,
    RecognisedUtterance,
    RoutedTurn,
    RouteOutcome,
    SpanEdit,
    TranscriptLabel,
)

from servers.consumers import CONSUMERS
from servers.pack_formats import FORMATS, PackUnusable
from servers.replays import Answer, Recorded, replayed
from tests.support.frozen import Sample, frozen_set, pack
from tests.support.live_packs import adaptation, canonical, header, preference, pronunciations, stt_ranking, vocabulary

VOICE = "VOICEID_THRESHOLD_PACK_V1"
LOOSER, ACTIVE = (rfc8785.dumps(pack(limit)) for limit in (9_000, 9_900))


def labelled(number: int = 1, labels: Sequence[GoldLabel] = (), **content: Any) -> LabelledItem:
    return LabelledItem(item=GoldItem(item_id=f"i-{number}", signal_id="s-1", **content), labels=labels)


def answers(pack_type: str, payload: bytes, *items: LabelledItem) -> list[Answer]:
    consumption = CONSUMERS[pack_type]
    return list(consumption.answers(consumption.read(payload), Recorded(items=items)))


def utterance(text: str, *labels: TranscriptLabel, number: int = 1) -> LabelledItem:
    said = [GoldLabel(transcript=label) for label in labels]
    return labelled(number, said, utterance=RecognisedUtterance(tokens=text.split(), locale="en-GB"))


RIGHT, WRONG = TranscriptLabel(), TranscriptLabel(edits=[SpanEdit(start_token=0, end_token=1, replacement=["x"])])


@pytest.mark.parametrize(
    ("labels", "unsafe"),
    [((), False), ((RIGHT,), True), ((RIGHT, RIGHT), True), ((RIGHT, WRONG), False), ((WRONG,), False)],
)
def test_a_profile_harms_what_every_reviewer_found_right(labels: tuple[TranscriptLabel, ...], unsafe: bool) -> None:
    [found] = answers("STT_ADAPTATION_PROFILE", adaptation(("ask", "axe")), utterance("ask again", *labels))
    assert found == Answer("i-1", b"axe again", unsafe=unsafe)
    [left] = answers("STT_ADAPTATION_PROFILE", adaptation(("shivon", "Siobhan")), utterance("ask again", *labels))
    assert left == Answer("i-1", b"ask again")


def test_a_vocabulary_answers_with_the_hints_of_the_locale() -> None:
    assert answers("STT_VOCAB_PACK", vocabulary("Siobhan", "Niamh"), utterance("ask")) == [
        Answer("i-1", b"Niamh\nSiobhan")
    ]
    assert answers("STT_VOCAB_PACK", vocabulary("Siobhan", locale="de"), utterance("ask")) == [Answer("i-1", b"")]


@pytest.mark.parametrize(("accepted", "unsafe"), [((), False), ((True, False), False), ((False, False), True)])
def test_a_lexicon_harms_where_it_speaks_what_every_reviewer_rejected(accepted: tuple[bool, ...], unsafe: bool) -> None:
    item = labelled(
        labels=[GoldLabel(pronunciation=PronunciationLabel(accepted=one)) for one in accepted],
        pronunciation=Pronunciation(term="Siobhan", phonemes="si o ban", locale="en"),
    )
    [found] = answers("TTS_PRONUNCIATION_PACK", pronunciations(("Siobhan", "si o ban")), item)
    assert found == Answer("i-1", b"si o ban", unsafe=unsafe)
    [other] = answers("TTS_PRONUNCIATION_PACK", pronunciations(("Siobhan", "sh i v on")), item)
    assert other == Answer("i-1", b"sh i v on")


@pytest.mark.parametrize(
    ("qualities", "unsafe"), [((0, 9_000), True), ((1, 9_000), False), ((0, 0), False), ((9_000, 0), False)]
)
def test_a_ranking_harms_where_whom_it_puts_first_gave_nothing(qualities: tuple[int, int], unsafe: bool) -> None:
    sides = [
        RouteOutcome(provider_ref=name, quality_bp=quality, latency=Duration())
        for name, quality in zip(("new/stt", "old/stt"), qualities, strict=True)
    ]
    item = labelled(route=RoutedTurn(candidate=sides[0], baseline=sides[1]))
    ranking = "STT_ROUTING_POLICY_PACK"
    [found] = answers(ranking, stt_ranking(preference("new/stt", "old/stt")), item)
    assert found == Answer("i-1", b"new/stt", unsafe=unsafe)
    [kept] = answers(ranking, stt_ranking(), item)
    assert kept.outcome == b"old/stt"


def packet(intent: str, **slots: str) -> bytes:
    named = [{"name": name, "value": value} for name, value in slots.items()]
    said = {"intent": intent, "slots": named, "reply": "Yes.", "confidence_bp": 9_000, "needs_clarification": False}
    return json.dumps(said).encode()


def test_a_label_pack_harms_where_it_tells_of_an_intent_that_only_conflicting_packets_have() -> None:
    conflicting = [GoldLabel(output=OutputLabel(policy_conflict=True))] * 2
    items = [
        labelled(1, [GoldLabel(output=OutputLabel())], output=ModelOutput(packet=packet("timer.set", minutes="5"))),
        labelled(2, conflicting, output=ModelOutput(packet=packet("timer.set", minutes="9"))),
        labelled(3, conflicting, output=ModelOutput(packet=packet("door.unlock"))),
        labelled(4, output=ModelOutput(packet=b"no packet")),
    ]
    learned = [packs.LabelledPacket(item_id=str(one), packet=items[one].item.output.packet) for one in (0, 2)]
    payload = canonical(packs.LlmGoldLabelPack(header=header("LLM_GOLD_LABEL_PACK"), packets=learned))
    assert answers("LLM_GOLD_LABEL_PACK", payload, *items) == [
        Answer("i-1", b"timer.set\nminutes"),
        Answer("i-2", b"timer.set\nminutes"),
        Answer("i-3", b"door.unlock", unsafe=True),
        Answer("i-4", b""),
    ]


@pytest.mark.parametrize("pack_type", sorted(CONSUMERS.keys() - {VOICE}))
def test_turns_of_another_kind_are_answered_by_nobody(pack_type: str) -> None:
    other = labelled(boundary={"triggered": True})
    kind = {name: kind for name, kind in vars(packs).items() if isinstance(kind, type)}
    empty = next(
        canonical(each(header=header(pack_type)))
        for each in kind.values()
        if "header" in each.DESCRIPTOR.fields_by_name and _reads(pack_type, canonical(each(header=header(pack_type))))
    )
    assert answers(pack_type, empty, other) == []


def _reads(pack_type: str, payload: bytes) -> bool:
    try:
        CONSUMERS[pack_type].read(payload)
    except PackUnusable:
        return False
    return True


def voice(payload: bytes, *samples: Sample, scorer: str = "") -> Any:
    consumption = CONSUMERS[VOICE]
    recorded = Recorded(frozen=frozen_set(*samples, scorer=scorer))
    return replayed(consumption.answers(consumption.read(payload), recorded))


def test_voice_identity_accepts_the_impostors_that_its_limit_lets_in() -> None:
    sample = Sample(genuine=10, low=2, impostors=20, high=3)
    looser, active = voice(LOOSER, sample), voice(ACTIVE, sample)
    assert (looser.turns, looser.unsafe) == (30, 3)
    assert (active.turns, active.unsafe) == (30, 0)


def test_the_digest_is_the_same_until_a_limit_or_a_trial_is_another() -> None:
    sample = Sample(genuine=10, impostors=20, high=3)
    first = voice(LOOSER, sample)
    assert voice(LOOSER, sample) == first
    assert voice(ACTIVE, sample).digest != first.digest
    assert voice(LOOSER, replace(sample, high=2)).digest != first.digest


def test_trials_of_another_scorer_and_no_trials_are_no_turns() -> None:
    assert voice(LOOSER, Sample(genuine=1, impostors=1), scorer="f" * 64).turns == 0
    consumption = CONSUMERS[VOICE]
    assert not list(consumption.answers(consumption.read(LOOSER), Recorded()))


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"[]", "UNREADABLE"),
        (b"no json", "UNREADABLE"),
        (b'{"artifact_type":"VOICEID_THRESHOLD_PACK_V1","format":2}', "OF_ANOTHER_TYPE"),
        (json.dumps(pack(9_000)).encode(), "NOT_CANONICAL"),
        (rfc8785.dumps({**pack(9_000), "status": "PROVEN"}), "FIELD_INVALID"),
    ],
)
def test_voice_identity_refuses_what_its_decisions_could_not_use(payload: bytes, fault: str) -> None:
    with pytest.raises(PackUnusable) as refused:
        CONSUMERS[VOICE].read(payload)
    assert refused.value.fault.value == fault


def test_what_has_the_format_and_lacks_what_the_rule_asks_is_refused_by_the_consumer() -> None:
    thin = rfc8785.dumps({name: pack(9_000)[name] for name in ("artifact_type", "format", "policy")})
    FORMATS[VOICE].parse(thin)
    with pytest.raises(PackUnusable):
        CONSUMERS[VOICE].read(thin)
    broken = [packs.LabelledPacket(item_id="1", packet=b"no packet")]
    payload = canonical(packs.LlmGoldLabelPack(header=header("LLM_GOLD_LABEL_PACK"), packets=broken))
    FORMATS["LLM_GOLD_LABEL_PACK"].parse(payload)
    with pytest.raises(PackUnusable):
        CONSUMERS["LLM_GOLD_LABEL_PACK"].read(payload)


some_answers = st.lists(st.builds(Answer, st.text(max_size=3), st.binary(max_size=3), st.booleans()), max_size=5)


@given(some_answers, some_answers)
def test_no_other_answers_give_the_same_digest(first: list[Answer], second: list[Answer]) -> None:
    same = [(one.turn, one.outcome) for one in first] == [(one.turn, one.outcome) for one in second]
    assert (replayed(first).digest == replayed(second).digest) is same
    assert (replayed(first).turns, replayed(first).unsafe) == (len(first), sum(one.unsafe for one in first))
