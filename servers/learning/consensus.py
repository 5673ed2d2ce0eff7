"""What everybody who labelled an item says of it: what a pack may teach (§5.2, §11). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median_low
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration
from selene.gold.v1.evidence_pb2 import (
    Boundary,
    GoldItem,
    GoldLabel,
    LabelledItem,
    OutputLabel,
    PronunciationLabel,
    RankingLabel,
    RouteLabel,
    SpanEdit,
    TranscriptLabel,
    TrialLabel,
    TurnLabel,
)

from servers.learning.evidence import nanoseconds


def agreed(labelled: LabelledItem) -> GoldLabel | None:
    """The verdict that all labels of an item share, of no labeller; None where there are none, or they differ.

    Boundaries may differ in where they lie: it is the median, the earlier of two. Of rankings it is what everybody
    finds relevant, of turns the slots that everybody gives alike, which must include the required ones. Its confidence
    is that of the least sure.
    """
    verdict = _VERDICTS.get(labelled.item.WhichOneof("content") or "")
    if verdict is None or not labelled.labels:
        return None
    said = verdict(labelled.item, labelled.labels)
    if said is not None:
        said.item_id = labelled.item.item_id
    return said


Labels = Sequence[GoldLabel]


def _boundary(_: GoldItem, labels: Labels) -> GoldLabel | None:
    if len({label.boundary.triggered for label in labels}) > 1:
        return None
    start = median_low(nanoseconds(label.boundary.start) for label in labels)
    end = median_low(nanoseconds(label.boundary.end) for label in labels)
    triggered = labels[0].boundary.triggered
    return GoldLabel(boundary=Boundary(start=_duration(start), end=_duration(end), triggered=triggered))


def _duration(nanos: int) -> Duration:
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)


def _transcript(_: GoldItem, labels: Labels) -> GoldLabel | None:
    edits = [label.transcript.edits for label in labels]
    if len({tuple(_place(edit) for edit in each) for each in edits}) > 1:
        return None
    shared = [
        SpanEdit(
            start_token=alike[0].start_token,
            end_token=alike[0].end_token,
            replacement=alike[0].replacement,
            entity=all(edit.entity for edit in alike),
        )
        for alike in zip(*edits, strict=True)
    ]
    unresolved = max(label.transcript.unresolved_tokens for label in labels)
    return GoldLabel(transcript=TranscriptLabel(edits=shared, unresolved_tokens=unresolved))


def _place(edit: SpanEdit) -> tuple[int, int, tuple[str, ...]]:
    return edit.start_token, edit.end_token, tuple(edit.replacement)


def _pronunciation(_: GoldItem, labels: Labels) -> GoldLabel | None:
    if len({label.pronunciation.accepted for label in labels}) > 1:
        return None
    least_sure = min(label.pronunciation.confidence_bp for label in labels)
    accepted = labels[0].pronunciation.accepted
    return GoldLabel(pronunciation=PronunciationLabel(accepted=accepted, confidence_bp=least_sure))


def _turn(item: GoldItem, labels: Labels) -> GoldLabel | None:
    slots = [dict(label.turn.slots) for label in labels]
    alike = {name: value for name, value in slots[0].items() if all(each.get(name) == value for each in slots)}
    disputed = {name for each in slots for name in each} - alike.keys()
    if len({label.turn.intent for label in labels}) > 1 or disputed.intersection(item.turn.required_slots):
        return None
    return GoldLabel(turn=TurnLabel(intent=labels[0].turn.intent, slots=alike))


def _output(_: GoldItem, labels: Labels) -> GoldLabel | None:
    if len({label.output.policy_conflict for label in labels}) > 1:
        return None
    return GoldLabel(output=OutputLabel(policy_conflict=labels[0].output.policy_conflict))


def _ranking(item: GoldItem, labels: Labels) -> GoldLabel:
    said = [set(label.ranking.relevant_refs) for label in labels]
    relevant = [context.ref for context in item.ranking.contexts if all(context.ref in each for each in said)]
    return GoldLabel(ranking=RankingLabel(relevant_refs=relevant))


def _route(_: GoldItem, labels: Labels) -> GoldLabel | None:
    if len({label.route.candidate_better for label in labels}) > 1:
        return None
    return GoldLabel(route=RouteLabel(candidate_better=labels[0].route.candidate_better))


def _trial(_: GoldItem, labels: Labels) -> GoldLabel | None:
    if len({label.trial.genuine for label in labels}) > 1:
        return None
    return GoldLabel(trial=TrialLabel(genuine=labels[0].trial.genuine))


_VERDICTS: Final[Mapping[str, Callable[[GoldItem, Labels], GoldLabel | None]]] = MappingProxyType(
    {
        "boundary": _boundary,
        "utterance": _transcript,
        "pronunciation": _pronunciation,
        "turn": _turn,
        "output": _output,
        "ranking": _ranking,
        "route": _route,
        "trial": _trial,
    }
)
