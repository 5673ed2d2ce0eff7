"""What speech recognition and synthesis learn: substitutions, terms, pronunciations (§11). Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from selene.artifacts.v1.packs_pb2 import LexiconEntry, SttSubstitution, VocabTerm
from selene.gold.v1.evidence_pb2 import LabelledItem, SpanEdit

from servers.learning.consensus import agreed


def adaptation(items: Sequence[LabelledItem]) -> list[SttSubstitution]:
    """What was heard instead of what was meant, where reviewers replaced words by words; how often each."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for labelled, edits in _edited(items):
        utterance = labelled.item.utterance
        pairs = {
            (" ".join(utterance.tokens[edit.start_token : edit.end_token]), " ".join(edit.replacement))
            for edit in edits
        }
        counted.update((utterance.locale, heard, meant) for heard, meant in pairs if heard and meant)
    return [
        SttSubstitution(locale=locale, heard=heard, meant=meant, utterances=many)
        for (locale, heard, meant), many in sorted(counted.items())
    ]


def vocabulary(items: Sequence[LabelledItem]) -> list[VocabTerm]:
    """The names and terms that reviewers put, by locale; in how many utterances each."""
    counted: Counter[tuple[str, str]] = Counter()
    for labelled, edits in _edited(items):
        terms = {" ".join(edit.replacement) for edit in edits if edit.entity and edit.replacement}
        counted.update((labelled.item.utterance.locale, term) for term in terms)
    return [VocabTerm(locale=locale, term=term, utterances=many) for (locale, term), many in sorted(counted.items())]


def pronunciations(items: Sequence[LabelledItem]) -> list[LexiconEntry]:
    """What all reviewers accepted. Of a term with several accepted pronunciations it is the one with most judgments."""
    judged: Counter[tuple[str, str, str]] = Counter()
    for labelled in items:
        verdict = agreed(labelled)
        if verdict is not None and verdict.pronunciation.accepted:
            one = labelled.item.pronunciation
            judged[one.locale, one.term, one.phonemes] += len(labelled.labels)
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for (locale, term, phonemes), many in sorted(judged.items()):
        if many > best.get((locale, term), (0, ""))[0]:
            best[locale, term] = (many, phonemes)
    return [
        LexiconEntry(locale=locale, term=term, phonemes=phonemes)
        for (locale, term), (_, phonemes) in sorted(best.items())
    ]


def _edited(items: Sequence[LabelledItem]) -> Iterator[tuple[LabelledItem, Sequence[SpanEdit]]]:
    for labelled in items:
        verdict = agreed(labelled)
        if verdict is not None:
            yield labelled, verdict.transcript.edits
