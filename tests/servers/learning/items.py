"""Evidence for tests: items of each domain, and labels of people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from selene.gold.v1.evidence_pb2 import (
    Boundary,
    GoldItem,
    GoldLabel,
    LabelledItem,
    LabelledTurn,
    ModelOutput,
    OutputLabel,
    Pronunciation,
    PronunciationLabel,
    RankedContext,
    Ranking,
    RankingLabel,
    RecognisedUtterance,
    RoutedTurn,
    RouteLabel,
    RouteOutcome,
    SpanEdit,
    TranscriptLabel,
    TrialLabel,
    TurnLabel,
    VoiceTrial,
)

from tests.support.gold import distinct

TENANT = "t1"
USER = "u1"
COHORT = "en/gb/phone/quiet"
PACKET: Mapping[str, object] = {
    "intent": "timer.set",
    "slots": [{"name": "minutes", "value": "5"}],
    "reply": "Five minutes from now.",
    "confidence_bp": 9000,
    "needs_clarification": False,
}


def milliseconds(count: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(count)
    return duration


def boundary(start: int = 0, end: int = 10_000, *, triggered: bool = True) -> Boundary:
    return Boundary(start=milliseconds(start), end=milliseconds(end), triggered=triggered)


def edit(start: int, end: int, *replacement: str, entity: bool = False) -> SpanEdit:
    return SpanEdit(start_token=start, end_token=end, replacement=replacement, entity=entity)


def edits(*made: SpanEdit, unresolved: int = 0) -> TranscriptLabel:
    return TranscriptLabel(edits=made, unresolved_tokens=unresolved)


def utterance(tokens: int = 10) -> RecognisedUtterance:
    return RecognisedUtterance(tokens=[f"w{each}" for each in range(tokens)], locale="en-GB")


def pronunciation() -> Pronunciation:
    return Pronunciation(term="Selene", phonemes="si li ni", locale="en-GB")


def accepted(accepts: bool = True, confidence_bp: int = 9500) -> PronunciationLabel:
    return PronunciationLabel(accepted=accepts, confidence_bp=confidence_bp)


def turn(*required_slots: str) -> LabelledTurn:
    return LabelledTurn(text="wake me at seven", required_slots=required_slots)


def meant(intent: str = "alarm.set", **slots: str) -> TurnLabel:
    return TurnLabel(intent=intent, slots=slots)


def output(packet: object = PACKET) -> ModelOutput:
    return ModelOutput(packet=json.dumps(packet).encode())


def context(ref: str, *, tenant: str = TENANT, user: str = "") -> RankedContext:
    return RankedContext(ref=ref, tenant_id=tenant, user_id=user)


def ranking(*contexts: RankedContext) -> Ranking:
    return Ranking(query_ref="q", contexts=contexts or [context(ref) for ref in "abcd"])


def relevant(*refs: str) -> RankingLabel:
    return RankingLabel(relevant_refs=refs)


def outcome(quality_bp: int = 8000, latency_ms: int = 100, cost_micros: int = 100) -> RouteOutcome:
    return RouteOutcome(
        provider_ref="p", quality_bp=quality_bp, latency=milliseconds(latency_ms), cost_micros=cost_micros
    )


def routed(candidate: RouteOutcome, baseline: RouteOutcome) -> RoutedTurn:
    return RoutedTurn(candidate=candidate, baseline=baseline)


def trial(
    score: float, *, cohort: str = COHORT, frozen: bool = False, enrolled: str = "s1", spoke: str = "s2"
) -> VoiceTrial:
    return VoiceTrial(score=score, cohort=cohort, enrolled_ref=enrolled, test_ref=spoke, frozen=frozen)


_CONTENTS: Mapping[type, str] = {
    Boundary: "boundary",
    RecognisedUtterance: "utterance",
    Pronunciation: "pronunciation",
    LabelledTurn: "turn",
    ModelOutput: "output",
    Ranking: "ranking",
    RoutedTurn: "route",
    VoiceTrial: "trial",
}
_VERDICTS: Mapping[type, str] = {
    Boundary: "boundary",
    TranscriptLabel: "transcript",
    PronunciationLabel: "pronunciation",
    TurnLabel: "turn",
    OutputLabel: "output",
    RankingLabel: "ranking",
    RouteLabel: "route",
    TrialLabel: "trial",
}


def item(content: object, item_id: str = "i1", signal_id: str = "s1") -> GoldItem:
    return GoldItem(item_id=item_id, signal_id=signal_id, **{_CONTENTS[type(content)]: content})


def label(verdict: object, labeller: str = "ann", item_id: str = "i1") -> GoldLabel:
    return GoldLabel(item_id=item_id, labeller=labeller, **{_VERDICTS[type(verdict)]: verdict})


def labelled(content: object, verdicts: Iterable[object], item_id: str = "i1") -> LabelledItem:
    """An item, and one label of another person each."""
    people = ("ann", "ben", "cleo", "dan", "eve")
    return LabelledItem(
        item=item(content, item_id),
        labels=[label(verdict, person, item_id) for person, verdict in zip(people, verdicts, strict=False)],
    )


def many(count: int, content: object, verdicts: Sequence[object], first: int = 0) -> list[LabelledItem]:
    """As many items, ``i<first>`` onwards, each of them evidence of its own: see ``distinct``."""
    return [labelled(distinct(content, each), verdicts, f"i{each}") for each in range(first, first + count)]
