"""What transcription goes by that was learned (§11: STT_VOCAB_PACK, STT_ADAPTATION_PROFILE), as its consumer reads it.
Pure.

An entry serves its locale and every one within it (`en` serves `en-GB`). Terms are hints: a provider that takes hints
is told of them, and hears what it hears. Substitutions hold for whatever provider wrote the words: what reviewers agree
is heard wrongly is written as it was meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from servers.pack_formats import parse
from servers.stt.adapter import Transcript, Word

VOCABULARY: Final = "STT_VOCAB_PACK"
ADAPTATION: Final = "STT_ADAPTATION_PROFILE"
MOST_TERMS: Final = 100
"""That a provider is told of in one call: those that reviewers put most often."""
LONGEST_TERM: Final = 100
"""Characters; what is longer is no hint that a provider takes."""

_AROUND: Final = ".,;:!?\"'\u2019\u201c\u201d()[]\u2026-"


class Terms:
    """A vocabulary by locale."""

    def __init__(self, terms: Iterable[tuple[str, str, int]]) -> None:
        """Locale, term and in how many utterances it was put, each."""
        self._terms = [(locale.casefold(), term, many) for locale, term, many in terms if len(term) <= LONGEST_TERM]
        self._serving: dict[frozenset[str], tuple[str, ...]] = {}
        self._locales = frozenset(locale for locale, _, _ in self._terms)
        # What a locale nobody named gets is what one of these has: no call has to work it out.
        for locale in self._locales:
            self.serving(locale)

    def serving(self, locale: str) -> tuple[str, ...]:
        """What utterances of a locale may hold, the most frequent first."""
        ranges = _ranges(self._locales, locale)
        if ranges not in self._serving:
            counted: Counter[str] = Counter()
            for known, term, many in self._terms:
                if known in ranges:
                    counted[term] += many
            by_frequency = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
            self._serving[ranges] = tuple(term for term, _ in by_frequency[:MOST_TERMS])
        return self._serving[ranges]


@dataclass(frozen=True, slots=True)
class Substitutions:
    """What is written instead of what was heard: words as `_plain` gives them, and how many of them at most."""

    meant: dict[tuple[str, ...], tuple[str, ...]]
    longest: int

    def applied(self, transcript: Transcript) -> Transcript:
        """The transcript as it was meant. Words that take the place of others share their time and their least
        confidence.
        """
        if not transcript.words:
            return replace(transcript, text=self.text(transcript.text))
        words: list[Word] = []
        for heard, meant in self._runs([word.text for word in transcript.words]):
            taken = transcript.words[heard.start : heard.stop]
            words += taken if meant is None else _shared(taken, meant)
        if tuple(words) == transcript.words:
            return transcript
        return replace(transcript, text=" ".join(word.text for word in words), words=tuple(words))

    def text(self, text: str) -> str:
        """The text as it was meant; the same where nothing in it is heard wrongly."""
        heard = text.split()
        runs = list(self._runs(heard))
        if all(meant is None for _, meant in runs):
            return text
        return " ".join(" ".join(heard[place.start : place.stop] if meant is None else meant) for place, meant in runs)

    def _runs(self, heard: Sequence[str]) -> Iterable[tuple[range, tuple[str, ...] | None]]:
        """Stretches from the left, the longest first, and what takes their place; None where they stay."""
        plain = [_plain(word) for word in heard]
        at = 0
        while at < len(heard):
            sizes = range(min(self.longest, len(heard) - at), 0, -1)
            size = next((size for size in sizes if tuple(plain[at : at + size]) in self.meant), 0)
            place = range(at, at + (size or 1))
            meant = self.meant[tuple(plain[at : at + size])] if size else None
            yield place, None if meant is None else _dressed(meant, heard[place.start], heard[place.stop - 1])
            at = place.stop


class Adaptation:
    """A profile by locale."""

    def __init__(self, substitutions: Iterable[tuple[str, str, str, int]]) -> None:
        """Locale, what is heard, what was meant, and in how many utterances, each."""
        self._rows = [(locale.casefold(), heard, meant, many) for locale, heard, meant, many in substitutions]
        self._serving: dict[frozenset[str], Substitutions] = {}
        self._locales = frozenset(locale for locale, *_ in self._rows)
        for locale in self._locales:
            self.serving(locale)

    def serving(self, locale: str) -> Substitutions:
        """What holds for a locale: of several meanings of the same words the most frequent, of equals none."""
        ranges = _ranges(self._locales, locale)
        if ranges not in self._serving:
            counted: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {}
            for known, heard, meant, many in self._rows:
                words = tuple(plain for word in heard.split() if (plain := _plain(word)))
                if known in ranges and words and meant.split():
                    counted.setdefault(words, Counter())[tuple(meant.split())] += many
            found = {words: best for words, several in counted.items() if (best := _clear(several)) is not None}
            self._serving[ranges] = Substitutions(found, max(map(len, found), default=0))
        return self._serving[ranges]


def read_terms(payload: bytes) -> Terms:
    """A vocabulary as this owner goes by it. PackUnusable."""
    return Terms((each.locale, each.term, each.utterances) for each in parse(VOCABULARY, payload).terms)


def read_adaptation(payload: bytes) -> Adaptation:
    """A profile as this owner goes by it. PackUnusable."""
    rows: Any = parse(ADAPTATION, payload).substitutions
    return Adaptation((each.locale, each.heard, each.meant, each.utterances) for each in rows)


def _ranges(known: Iterable[str], locale: str) -> frozenset[str]:
    wanted = locale.casefold()
    return frozenset(each for each in known if wanted == each or wanted.startswith(f"{each}-"))


def _clear(several: Counter[tuple[str, ...]]) -> tuple[str, ...] | None:
    first, *others = several.most_common(2)
    return None if others and others[0][1] == first[1] else first[0]


def _plain(word: str) -> str:
    return word.strip(_AROUND).casefold()


def _dressed(meant: tuple[str, ...], first: str, last: str) -> tuple[str, ...]:
    """With the punctuation that stood around what was heard."""
    before = first[: len(first) - len(first.lstrip(_AROUND))]
    after = last[len(last.rstrip(_AROUND)) :]
    dressed = [*meant]
    dressed[0] = before + dressed[0]
    dressed[-1] = dressed[-1] + after
    return tuple(dressed)


def _shared(taken: Sequence[Word], meant: Sequence[str]) -> list[Word]:
    start_s, end_s = taken[0].start_s, taken[-1].end_s
    confidence_bp = min(word.confidence_bp for word in taken)
    each_s = (end_s - start_s) / len(meant)
    return [
        Word(text, start_s + place * each_s, min(end_s, start_s + (place + 1) * each_s), confidence_bp)
        for place, text in enumerate(meant)
    ]
