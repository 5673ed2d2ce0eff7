"""The subset of SSML 1.1 that is understood, read into pieces; anything else is refused, never read aloud.

``speak``, ``p``, ``s`` (sentences), ``break`` with ``time`` or ``strength``, ``mark`` with ``name``, ``sub`` with
``alias``, ``prosody`` with ``rate``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from servers.tts.adapter import TtsReason

MAX_BREAK_MS = 10_000
MAX_PAUSES_MS = 60_000
MAX_DEPTH = 16

FULL_STOPS = (".", "!", "?", "\u2026", "\u3002", "\uff01", "\uff1f")

STRENGTH_MS = {"none": 0, "x-weak": 100, "weak": 250, "medium": 500, "strong": 750, "x-strong": 1_000}
RATE_PERCENT = {"x-slow": 50, "slow": 75, "medium": 100, "fast": 140, "x-fast": 180, "default": 100}

_ATTRIBUTES = {
    "speak": {"version", "xmlns", "xml:lang"},
    "p": set[str](),
    "s": set[str](),
    "break": {"time", "strength"},
    "mark": {"name"},
    "sub": {"alias"},
    "prosody": {"rate"},
}
_TIME = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)(ms|s)", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3})%", re.ASCII)


@dataclass(frozen=True, slots=True)
class Spoken:
    """Text to say; ``rate_percent`` on top of the request's own."""

    text: str
    rate_percent: int = 100


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Place:
    """A named point between what is said before and after."""

    name: str


Piece = Spoken | Pause | Place


class SsmlRefused(Exception):
    """``reason`` is SSML_MALFORMED (no XML, or broken values) or SSML_UNSUPPORTED (more than the subset)."""

    def __init__(self, reason: TtsReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def parse(ssml: str) -> tuple[Piece, ...]:
    """The pieces in order, white space collapsed; raises SsmlRefused. Entities cannot be declared."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.ProcessingInstructionHandler = reader.instruction
    try:
        parser.Parse(ssml.encode(), True)
    except (expat.ExpatError, UnicodeEncodeError):
        raise SsmlRefused(TtsReason.SSML_MALFORMED, "this is no well-formed XML") from None
    return tuple(reader.pieces)


@dataclass(slots=True)
class _Reader:
    pieces: list[Piece] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    rates: list[int] = field(default_factory=lambda: [100])
    substituting: bool = False
    paused_ms: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in _ATTRIBUTES or not attributes.keys() <= _ATTRIBUTES[name]:
            raise SsmlRefused(TtsReason.SSML_UNSUPPORTED, "an element or attribute is not in the subset")
        if (name == "speak") != (not self.open) or len(self.open) >= MAX_DEPTH or self.substituting:
            raise SsmlRefused(TtsReason.SSML_MALFORMED, "an element stands where it may not")
        self.open.append(name)
        match name:
            case "break":
                self._pause(_pause_ms(attributes))
            case "mark":
                self.pieces.append(Place(_required(attributes, "name")))
            case "sub":
                self._say(_required(attributes, "alias"))
                self.substituting = True
            case "prosody":
                self.rates.append(self.rates[-1] * _rate_percent(_required(attributes, "rate")) // 100)

    def end(self, name: str) -> None:
        self.open.pop()
        match name:
            case "sub":
                self.substituting = False
            case "prosody":
                self.rates.pop()
            case "p" | "s":
                self._finish_sentence()

    def text(self, text: str) -> None:
        if self.open[-1] in ("break", "mark"):
            raise SsmlRefused(TtsReason.SSML_MALFORMED, "an element that must be empty holds text")
        if not self.substituting:
            self._say(text)

    def doctype(self, *_: object) -> None:
        raise SsmlRefused(TtsReason.SSML_UNSUPPORTED, "no document type may be declared")

    def instruction(self, *_: object) -> None:
        raise SsmlRefused(TtsReason.SSML_UNSUPPORTED, "no processing instruction is followed")

    def _pause(self, milliseconds: int) -> None:
        self.paused_ms += milliseconds
        if self.paused_ms > MAX_PAUSES_MS:
            raise SsmlRefused(TtsReason.SSML_MALFORMED, f"the breaks are longer than {MAX_PAUSES_MS} ms together")
        self.pieces.append(Pause(milliseconds))

    def _say(self, text: str) -> None:
        text = re.sub(r"\s+", " ", text)
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, Spoken) and last.rate_percent == self.rates[-1]:
            self.pieces[-1] = Spoken((last.text + text).replace("  ", " "), last.rate_percent)
        elif text.strip():
            self.pieces.append(Spoken(text, self.rates[-1]))

    def _finish_sentence(self) -> None:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, Spoken) and last.text.strip():
            said = last.text.rstrip()
            self.pieces[-1] = Spoken(said + (" " if said.endswith(FULL_STOPS) else ". "), last.rate_percent)


def _required(attributes: dict[str, str], name: str) -> str:
    value = attributes.get(name, "").strip()
    if not value:
        raise SsmlRefused(TtsReason.SSML_MALFORMED, f"{name} is missing or empty")
    return value


def _pause_ms(attributes: dict[str, str]) -> int:
    if "time" not in attributes:
        strength = attributes.get("strength", "medium")
        if strength not in STRENGTH_MS:
            raise SsmlRefused(TtsReason.SSML_MALFORMED, "strength is not one of SSML's")
        return STRENGTH_MS[strength]
    found = _TIME.fullmatch(attributes["time"].strip())
    milliseconds = float(found[1]) * (1_000 if found[2] == "s" else 1) if found else MAX_BREAK_MS + 1
    if milliseconds > MAX_BREAK_MS:
        raise SsmlRefused(TtsReason.SSML_MALFORMED, f"time is not a time of at most {MAX_BREAK_MS} ms")
    return round(milliseconds)


def _rate_percent(rate: str) -> int:
    if rate in RATE_PERCENT:
        return RATE_PERCENT[rate]
    found = _PERCENT.fullmatch(rate)
    if not found or int(found[1]) == 0:
        raise SsmlRefused(TtsReason.SSML_MALFORMED, "rate is neither one of SSML's nor a percentage")
    return int(found[1])
