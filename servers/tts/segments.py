"""Text cut where a pause would be: one engine serves many streams, a segment of one at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from servers.tts.adapter import Mark, MarkKind
from servers.tts.ssml import FULL_STOPS, Pause, Piece, Place, Spoken

MAX_SEGMENT = 150
"""Characters: some 10 s of speech, 10 to 30 ms of work. A stream that comes meanwhile waits no longer than that."""

# A short word with a full stop is as likely an abbreviation ("Dr. Jones") as the end of a sentence.
_SENTENCE_END = re.compile(r"(?:\w{4,}\.|[!?…])[\"'\u201d\u2019)\]]*\s+|[\u3002\uff01\uff1f]|\n\s*\n")
_CLAUSE_END = re.compile(r"[,;:\u2013\u2014]\s+|[\uff0c\u3001\uff1b]")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+(?:[.'\u2019\-]\w+)*")


@dataclass(frozen=True, slots=True)
class Segment:
    """Text for one call of the engine. ``text_offset`` is where it lies in the spoken text, in characters.

    ``starts_sentence`` is False where the text was cut for its length, or a tag stands inside a sentence.
    """

    text: str
    text_offset: int
    rate_percent: int
    starts_sentence: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """A pause between segments."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Named:
    """A named place between segments."""

    name: str
    text_offset: int


Step = Segment | Silence | Named


def plan(pieces: Sequence[Piece], rate_percent: int) -> tuple[Step, ...]:
    """What to do, in order. ``rate_percent`` is the request's, 100 being the voice's own."""
    steps: list[Step] = []
    offset, starts_sentence = 0, True
    for piece in pieces:
        match piece:
            case Spoken():
                rate = rate_percent * piece.rate_percent // 100
                steps.extend(_segments(piece.text, offset, rate, starts_sentence=starts_sentence))
                offset += len(piece.text)
                starts_sentence = ends_sentence(piece.text)
            case Pause():
                steps.append(Silence(piece.milliseconds))
            case Place():
                steps.append(Named(piece.name, offset))
    return tuple(steps)


def word_mark(segment: Segment, position: int, sample: int) -> Mark | None:
    """The word that begins at character ``position`` of the segment; None where there is none."""
    found = _WORD.match(segment.text, position)
    if not found:
        return None
    return Mark(MarkKind.WORD, sample, segment.text_offset + position, len(found[0]))


def speakable(text: str) -> bool:
    """Whether there is a letter or digit to be said, and nothing that the engine would take for a command.

    Control characters are the engine's own commands, and NUL its end of text; a lone surrogate is no text at all.
    """
    if any(_forbidden(character) for character in text):
        return False
    return any(character.isalnum() for character in text)


def ends_sentence(text: str) -> bool:
    """Whether the text ends with what ends a sentence."""
    return text.rstrip().endswith(FULL_STOPS)


def _forbidden(character: str) -> bool:
    code = ord(character)
    return (code < 0x20 and character not in "\t\n\r") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000


def _segments(text: str, offset: int, rate_percent: int, *, starts_sentence: bool) -> list[Segment]:
    segments: list[Segment] = []
    start = 0
    while start < len(text):
        end, next_starts = _cut(text, start)
        piece = text[start:end]
        if any(character.isalnum() for character in piece):
            segments.append(Segment(piece, offset + start, rate_percent, starts_sentence))
        start, starts_sentence = end, next_starts
    return segments


def _cut(text: str, start: int) -> tuple[int, bool]:
    """Where the segment from ``start`` ends, and whether a sentence ends there."""
    limit = start + MAX_SEGMENT
    if len(text) <= limit:
        return len(text), True
    for pattern in (_SENTENCE_END, _CLAUSE_END, _SPACE):
        ends = [found.end() for found in pattern.finditer(text, start, limit)]
        if ends:
            return ends[-1], pattern is _SENTENCE_END
    return limit, False
