"""What may be evidence at all (§5.2, §38.8): content of its domain, labels that fit their item. Pure.

What a contract can express is checked before this; here is what takes an item and its domain, or a label and its item.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from google.protobuf.duration_pb2 import Duration
from selene.gold.v1.evidence_pb2 import Boundary, GoldItem, GoldLabel, SpanEdit
from selene.gold.v1.gold_pb2 import (
    GOLD_DOMAIN_CONTEXT_RANK,
    GOLD_DOMAIN_LLM_BOUNDARY,
    GOLD_DOMAIN_NLP_INTENT_SLOT,
    GOLD_DOMAIN_PAE_ROUTE,
    GOLD_DOMAIN_STT_TRANSCRIPT,
    GOLD_DOMAIN_TTS_PRONUNCIATION,
    GOLD_DOMAIN_VOCABULARY,
    GOLD_DOMAIN_VOICE_IDENTITY,
    GOLD_DOMAIN_WAKE_ENDPOINT,
    GoldDomain,
)

from servers.framing import framed_digest

COHORT_PARTS: Final = 4
"""Language, accent band, device class, noise class (§38.3)."""


class Cause(StrEnum):
    """Why something is no evidence."""

    DOMAIN_WITHOUT_EVIDENCE = "DOMAIN_WITHOUT_EVIDENCE"
    """No content is defined for the domain."""
    CONTENT_OF_ANOTHER_DOMAIN = "CONTENT_OF_ANOTHER_DOMAIN"
    SIGNAL_NOT_OF_SET = "SIGNAL_NOT_OF_SET"
    FROZEN_EVALUATION_ROW = "FROZEN_EVALUATION_ROW"
    BOUNDARY_NEGATIVE = "BOUNDARY_NEGATIVE"
    BOUNDARY_REVERSED = "BOUNDARY_REVERSED"
    """It ends where it begins, or before."""
    SLOT_NAME_EMPTY = "SLOT_NAME_EMPTY"
    CONTEXT_REPEATED = "CONTEXT_REPEATED"
    LATENCY_NEGATIVE = "LATENCY_NEGATIVE"
    ROUTE_NOT_RECORDED = "ROUTE_NOT_RECORDED"
    """The trail tells of no call of its signal in which both providers were asked."""
    COHORT_MALFORMED = "COHORT_MALFORMED"
    LABEL_OF_ANOTHER_ITEM = "LABEL_OF_ANOTHER_ITEM"
    VERDICT_OF_ANOTHER_DOMAIN = "VERDICT_OF_ANOTHER_DOMAIN"
    SPAN_REVERSED = "SPAN_REVERSED"
    SPAN_OUT_OF_RANGE = "SPAN_OUT_OF_RANGE"
    SPANS_OVERLAP = "SPANS_OVERLAP"
    """They overlap, or are not in order, or two insert at the same place."""
    EDIT_CHANGES_NOTHING = "EDIT_CHANGES_NOTHING"
    UNRESOLVED_TOKENS_TOO_MANY = "UNRESOLVED_TOKENS_TOO_MANY"
    """More than the utterance has."""
    CONTEXT_NOT_RANKED = "CONTEXT_NOT_RANKED"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something is no evidence; ``cause`` is stable, for programs."""

    cause: str


CONTENT: Final[Mapping[GoldDomain, str]] = MappingProxyType(
    {
        GOLD_DOMAIN_WAKE_ENDPOINT: "boundary",
        GOLD_DOMAIN_STT_TRANSCRIPT: "utterance",
        GOLD_DOMAIN_VOCABULARY: "utterance",
        GOLD_DOMAIN_TTS_PRONUNCIATION: "pronunciation",
        GOLD_DOMAIN_NLP_INTENT_SLOT: "turn",
        GOLD_DOMAIN_LLM_BOUNDARY: "output",
        GOLD_DOMAIN_CONTEXT_RANK: "ranking",
        GOLD_DOMAIN_PAE_ROUTE: "route",
        GOLD_DOMAIN_VOICE_IDENTITY: "trial",
    }
)
"""What an item of each domain holds, by the names of `selene.gold.v1.GoldItem.content`."""

_VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {content: "transcript" if content == "utterance" else content for content in CONTENT.values()}
)


def problem_of_item(domain: GoldDomain, item: GoldItem, signal_ids: Container[str]) -> Problem | None:
    """What is wrong with an item of a gold set of ``domain`` built from ``signal_ids``; None where nothing is."""
    wanted = CONTENT.get(domain)
    if wanted is None:
        return Problem(Cause.DOMAIN_WITHOUT_EVIDENCE)
    if item.WhichOneof("content") != wanted:
        return Problem(Cause.CONTENT_OF_ANOTHER_DOMAIN)
    if item.signal_id not in signal_ids:
        return Problem(Cause.SIGNAL_NOT_OF_SET)
    check = _ITEMS.get(wanted)
    cause = None if check is None else check(item)
    return None if cause is None else Problem(cause)


def problem_of_label(item: GoldItem, label: GoldLabel) -> Problem | None:
    """What is wrong with a label of an item that has no problem itself; None where nothing is."""
    if label.item_id != item.item_id:
        return Problem(Cause.LABEL_OF_ANOTHER_ITEM)
    content = item.WhichOneof("content")
    if content is None or label.WhichOneof("verdict") != _VERDICTS[content]:
        return Problem(Cause.VERDICT_OF_ANOTHER_DOMAIN)
    check = _LABELS.get(content)
    cause = None if check is None else check(item, label)
    return None if cause is None else Problem(cause)


def item_contradicts(known: GoldItem, again: GoldItem) -> bool:
    """Whether an item that comes again, under the same id, says something else."""
    return known.item_id == again.item_id and known != again


def label_contradicts(known: GoldLabel, again: GoldLabel) -> bool:
    """Whether the same person says something else of the same item; when it was said is not what was said."""
    if (known.item_id, known.labeller) != (again.item_id, again.labeller):
        return False
    said, says = GoldLabel(), GoldLabel()
    said.CopyFrom(known)
    says.CopyFrom(again)
    said.ClearField("labelled_at")
    says.ClearField("labelled_at")
    return said != says


def identity_of(item: GoldItem, source: str) -> bytes:
    """What an item is evidence of, whatever it is called: two items of one identity are one piece of evidence.

    `source` names the turn that its signal is about. What an item asks of people (its required slots), and where it is
    put (its cohort, its locale), does not make it another one. A routed turn is the two rows of the trail that it is
    from, where the server filled them in.
    """
    content = item.WhichOneof("content") or ""
    about = "" if is_recorded(item) else source
    said = _SAID[content](item) if content in _SAID else ()
    return framed_digest(*_texts(content, about), *said)


def is_recorded(item: GoldItem) -> bool:
    """Whether what its routes gave is from the trail."""
    return bool(item.route.candidate.event_id and item.route.baseline.event_id)


def nanoseconds(duration: Duration) -> int:
    """A duration as a whole number."""
    return duration.seconds * 1_000_000_000 + duration.nanos


def _texts(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


def _packet(packet: bytes) -> bytes:
    """JSON that says the same is the same, however it is written."""
    try:
        return json.dumps(json.loads(packet), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return packet


def _of_boundary(item: GoldItem) -> tuple[bytes, ...]:
    return _texts(str(nanoseconds(item.boundary.start)), str(nanoseconds(item.boundary.end)))


def _of_ranking(item: GoldItem) -> tuple[bytes, ...]:
    return _texts(item.ranking.query_ref, *(context.ref for context in item.ranking.contexts))


def _of_route(item: GoldItem) -> tuple[bytes, ...]:
    candidate, baseline = item.route.candidate, item.route.baseline
    return _texts(candidate.event_id, candidate.provider_ref, baseline.event_id, baseline.provider_ref)


def _of_trial(item: GoldItem) -> tuple[bytes, ...]:
    return _texts(item.trial.enrolled_ref, item.trial.test_ref, item.trial.score.hex())


_SAID: Final[Mapping[str, Callable[[GoldItem], tuple[bytes, ...]]]] = MappingProxyType(
    {
        "boundary": _of_boundary,
        "utterance": lambda item: _texts(*item.utterance.tokens),
        "pronunciation": lambda item: _texts(
            item.pronunciation.term, item.pronunciation.phonemes, item.pronunciation.locale
        ),
        "turn": lambda item: _texts(item.turn.text),
        "output": lambda item: (_packet(item.output.packet),),
        "ranking": _of_ranking,
        "route": _of_route,
        "trial": _of_trial,
    }
)
"""What of an item makes it the evidence that it is."""


def _boundary(boundary: Boundary) -> Cause | None:
    start, end = nanoseconds(boundary.start), nanoseconds(boundary.end)
    if start < 0:
        return Cause.BOUNDARY_NEGATIVE
    return Cause.BOUNDARY_REVERSED if end <= start else None


def _turn(item: GoldItem) -> Cause | None:
    return Cause.SLOT_NAME_EMPTY if "" in item.turn.required_slots else None


def _ranking(item: GoldItem) -> Cause | None:
    refs = [context.ref for context in item.ranking.contexts]
    return Cause.CONTEXT_REPEATED if len(set(refs)) < len(refs) else None


def _route(item: GoldItem) -> Cause | None:
    latencies = (item.route.candidate.latency, item.route.baseline.latency)
    return Cause.LATENCY_NEGATIVE if any(nanoseconds(each) < 0 for each in latencies) else None


def _trial(item: GoldItem) -> Cause | None:
    if item.trial.frozen:
        return Cause.FROZEN_EVALUATION_ROW
    parts = item.trial.cohort.split("/")
    return None if len(parts) == COHORT_PARTS and all(parts) else Cause.COHORT_MALFORMED


def _transcript(item: GoldItem, label: GoldLabel) -> Cause | None:
    tokens, behind, inserted_at = item.utterance.tokens, 0, -1
    for edit in label.transcript.edits:
        start, end = edit.start_token, edit.end_token
        if start > end:
            return Cause.SPAN_REVERSED
        if start < 0 or end > len(tokens):
            return Cause.SPAN_OUT_OF_RANGE
        if start < behind or start == end == inserted_at:
            return Cause.SPANS_OVERLAP
        if _same(edit, tokens[start:end]):
            return Cause.EDIT_CHANGES_NOTHING
        behind, inserted_at = end, end if start == end else -1
    return Cause.UNRESOLVED_TOKENS_TOO_MANY if label.transcript.unresolved_tokens > len(tokens) else None


def _same(edit: SpanEdit, tokens: list[str]) -> bool:
    return list(edit.replacement) == tokens


def _slots(_: GoldItem, label: GoldLabel) -> Cause | None:
    return Cause.SLOT_NAME_EMPTY if "" in label.turn.slots else None


def _relevance(item: GoldItem, label: GoldLabel) -> Cause | None:
    ranked = {context.ref for context in item.ranking.contexts}
    return None if ranked.issuperset(label.ranking.relevant_refs) else Cause.CONTEXT_NOT_RANKED


_ITEMS: Final[Mapping[str, Callable[[GoldItem], Cause | None]]] = MappingProxyType(
    {
        "boundary": lambda item: _boundary(item.boundary),
        "turn": _turn,
        "ranking": _ranking,
        "route": _route,
        "trial": _trial,
    }
)
_LABELS: Final[Mapping[str, Callable[[GoldItem, GoldLabel], Cause | None]]] = MappingProxyType(
    {
        "boundary": lambda _, label: _boundary(label.boundary),
        "utterance": _transcript,
        "turn": _slots,
        "ranking": _relevance,
    }
)
