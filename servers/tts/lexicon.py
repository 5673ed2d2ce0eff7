"""How terms are spoken (§11: TTS_PRONUNCIATION_PACK), as its consumer reads it. Pure.

An entry serves its locale and every one within it (`en` serves `en-GB`); the closer one wins. A term is found as whole
words, in whatever case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from servers.pack_formats import parse

PACK: Final = "TTS_PRONUNCIATION_PACK"
MOST_IN_A_TEXT: Final = 100
"""Different pronunciations that a provider is told of for one text."""

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pronunciation:
    """A term as it is written, and how it is spoken, in IPA."""

    term: str
    phonemes: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where a term stands in a text, in characters, and how it is spoken, in IPA."""

    start: int
    end: int
    phonemes: str


class Terms:
    """Terms to be found in texts."""

    def __init__(self, pronunciations: Iterable[Pronunciation]) -> None:
        self._by_word: dict[str, list[tuple[int, Pronunciation]]] = {}
        for each in pronunciations:
            first = _WORD.search(each.term)
            if first is not None:
                self._by_word.setdefault(first[0].lower(), []).append((first.start(), each))
        for several in self._by_word.values():
            several.sort(key=lambda one: -len(one[1].term))

    def spans(self, text: str) -> list[Span]:
        """Where they stand, from the left, the longest first; none overlaps another."""
        found: list[Span] = []
        after = 0
        for word in _WORD.finditer(text):
            for leading, each in self._by_word.get(word[0].lower(), ()) if word.start() >= after else ():
                start = word.start() - leading
                end = start + len(each.term)
                if start >= after and text[start:end].lower() == each.term.lower() and not _goes_on(text, end):
                    found.append(Span(start, end, each.phonemes))
                    after = end
                    break
        return found


class Lexicon:
    """A pack by locale; `serving` gives what a text of a locale needs."""

    def __init__(self, entries: Iterable[tuple[str, Pronunciation]]) -> None:
        by_locale: dict[str, dict[str, Pronunciation]] = {}
        for locale, each in entries:
            by_locale.setdefault(locale.casefold(), {})[each.term.lower()] = each
        self._by_locale = by_locale
        self._terms: dict[str, Terms] = {}
        # What a locale nobody named gets is what one of these has: no call has to work it out.
        for locale in by_locale:
            self._of(locale)

    def serving(self, text: str, locale: str) -> tuple[Pronunciation, ...]:
        """What stands in the text, as it is written there, each once."""
        terms = self._of(locale.casefold().replace("_", "-"))
        spans = terms.spans(text)
        written = {text[span.start : span.end]: span.phonemes for span in spans}
        return tuple(Pronunciation(term, phonemes) for term, phonemes in list(written.items())[:MOST_IN_A_TEXT])

    def _of(self, locale: str) -> Terms:
        ranges = [known for known in self._by_locale if locale == known or locale.startswith(f"{known}-")]
        key = max(ranges, key=len, default="")
        if key not in self._terms:
            merged: dict[str, Pronunciation] = {}
            for known in sorted(ranges, key=len):
                merged |= self._by_locale[known]
            self._terms[key] = Terms(merged.values())
        return self._terms[key]


def read(payload: bytes) -> Lexicon:
    """A pack as this owner goes by it. PackUnusable."""
    return Lexicon((each.locale, Pronunciation(each.term, each.phonemes)) for each in parse(PACK, payload).entries)


def _goes_on(text: str, end: int) -> bool:
    return end < len(text) and _WORD.match(text, end) is not None and text[end - 1].isalnum()
