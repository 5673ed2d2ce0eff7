"""IPA as espeak-ng writes it between ``[[`` and ``]]``, for its English voices. Pure.

Other languages have other tables in the engine, where the same letters may mean other sounds, so nothing is respelt for
them. A pronunciation with a sound that is not in the table is not used: half of it would be another word.
"""

# ruff: noqa: RUF001  letters of IPA that look like others are what this is about
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from servers.tts.lexicon import Span

LANGUAGE: Final = "en"

VOWELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "eɪ": "eI", "aɪ": "aI", "aʊ": "aU", "ɔɪ": "OI", "oʊ": "oU", "əʊ": "oU", "iː": "i:", "uː": "u:", "ɑː": "A:",
        "ɔː": "O:", "ɜː": "3:", "eː": "e:", "oː": "o:", "i": "i", "ɪ": "I", "e": "e", "ɛ": "E", "æ": "a", "a": "a",
        "ʌ": "V", "ə": "@", "ɚ": "3", "ɝ": "3:", "ɜ": "3:", "ʊ": "U", "u": "u", "ɑ": "A:", "ɒ": "0", "ɔ": "O", "o": "o",
    }
)  # fmt: skip
CONSONANTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tʃ": "tS", "dʒ": "dZ", "ʧ": "tS", "ʤ": "dZ", "p": "p", "b": "b", "t": "t", "d": "d", "k": "k", "g": "g",
        "ɡ": "g", "f": "f", "v": "v", "θ": "T", "ð": "D", "s": "s", "z": "z", "ʃ": "S", "ʒ": "Z", "h": "h", "m": "m",
        "n": "n", "ŋ": "N", "l": "l", "ɹ": "r", "r": "r", "j": "j", "w": "w", "ɾ": "t#", "ʔ": "?", "x": "x",
    }
)  # fmt: skip
STRESS: Final[Mapping[str, str]] = MappingProxyType({"ˈ": "'", "ˌ": ","})
BREAKS: Final = frozenset(". |‿")
"""Boundaries of syllables and words, at which two letters are never one sound."""
_TIES: Final = dict.fromkeys(map(ord, "\u0361\u035c/[]"))
_LONGEST: Final = 2


def mnemonics(ipa: str) -> str | None:
    """What the engine is to read; None for what it cannot say. Stress stands before the vowel, as it wants it."""
    said, stress, has_vowel = "", "", False
    text = ipa.translate(_TIES)
    at = 0
    while at < len(text):
        if text[at] in STRESS:
            stress = STRESS[text[at]]
            at += 1
            continue
        if text[at] in BREAKS:
            said += "|"
            at += 1
            continue
        sound = next((text[at : at + size] for size in (_LONGEST, 1) if _known(text[at : at + size])), "")
        if not sound:
            return None
        if sound in VOWELS:
            said += stress + VOWELS[sound]
            stress, has_vowel = "", True
        else:
            said += CONSONANTS[sound]
        at += len(sound)
    return said if has_vowel and not stress else None


@dataclass(frozen=True, slots=True)
class Respelt:
    """A text with some of its words as sounds; `original` tells where a place in it lies in the text."""

    text: str
    _starts: tuple[int, ...]
    _originals: tuple[tuple[int, bool], ...]

    def original(self, position: int) -> int:
        """In characters; all of a word that was respelt lies where the word begins."""
        if position < 0:
            return position
        place = bisect_right(self._starts, position) - 1
        begins, is_respelt = self._originals[place]
        return begins if is_respelt else begins + position - self._starts[place]


def respell(text: str, spans: Iterable[Span]) -> Respelt | None:
    """The text for the engine's phoneme mode; None where nothing in it is spoken otherwise than it is written."""
    pieces, starts, originals = [""], [0], [(0, False)]
    length, after = 0, 0
    for span in spans:
        sounds = mnemonics(span.phonemes)
        if sounds is None:
            continue
        for piece, begins, is_respelt in (
            (_plain(text[after : span.start]), after, False),
            (f"[[{sounds}]]", span.start, True),
        ):
            pieces.append(piece)
            starts.append(length)
            originals.append((begins, is_respelt))
            length += len(piece)
        after = span.end
    if after == 0:
        return None
    starts.append(length)
    originals.append((after, False))
    pieces.append(_plain(text[after:]))
    return Respelt("".join(pieces), tuple(starts), tuple(originals))


def _known(sound: str) -> bool:
    return sound in VOWELS or sound in CONSONANTS


def _plain(text: str) -> str:
    """As long as before, without what would begin a phoneme."""
    return text.replace("[[", "[ ")
