"""A declared grammar (`grammar.toml`) and the one way to read an utterance by it. What it does not declare, it says.

``confidence_bp`` says how literally an utterance matched, not how likely the answer is right: 10,000 as declared,
9,000 after fillers were taken off, 0 outside the grammar.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from servers.llm import numerals
from servers.llm.adapter import DecisionPacket

OUT_OF_GRAMMAR = "out_of_grammar"
AMBIGUOUS = "ambiguous"

LITERAL_BP = 10_000
AFTER_FILLERS_BP = 9_000

_NUMBER = r"(?:(?:minus|negative) )?[a-z0-9]+(?:[ -][a-z0-9]+){0,12}?"
_NOT_SPOKEN = re.compile(r"[^\w\s'\-]|_")
_SIGNS = (("+", " plus "), ("\u00d7", " times "), ("*", " times "), ("\u00f7", " divided by "), ("/", " divided by "))


class GrammarInvalid(Exception):
    """The data does not make a grammar; the message names the intent."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What may be said (patterns over normalised text), and what is replied."""

    name: str
    patterns: tuple[re.Pattern[str], ...]
    reply: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grammar:
    """All that is understood; made by `load`."""

    locales: frozenset[str]
    fillers: tuple[str, ...]
    intents: tuple[Intent, ...]
    out_of_grammar: str
    ambiguous: str


def load(toml: str) -> Grammar:
    """The grammar in a TOML document of the shape of `grammar.toml`; raises GrammarInvalid."""
    try:
        data = tomllib.loads(toml)
        grammar = Grammar(
            frozenset(data["locales"]),
            tuple(sorted(data["fillers"], key=len, reverse=True)),
            tuple(_intent(entry) for entry in data["intents"]),
            data["out_of_grammar"]["reply"],
            data["ambiguous"]["reply"],
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, re.error) as defect:
        raise GrammarInvalid(f"not a grammar: {defect}") from None
    _check_examples(grammar)
    return grammar


def read(grammar: Grammar, text: str, said_at: datetime) -> DecisionPacket:
    """What ``text``, said at ``said_at``, means by the grammar. Two meanings are none: it is asked again."""
    spoken = normalise(text)
    for candidate, confidence_bp in ((spoken, LITERAL_BP), (strip_fillers(spoken, grammar.fillers), AFTER_FILLERS_BP)):
        found = _matches(grammar, candidate)
        if len(found) > 1:
            return DecisionPacket(AMBIGUOUS, (), grammar.ambiguous, 0, needs_clarification=True)
        if found:
            intent, slots = found[0]
            return _packet(intent, slots, said_at, confidence_bp)
    return DecisionPacket(OUT_OF_GRAMMAR, (), grammar.out_of_grammar, 0, needs_clarification=True)


def normalise(text: str) -> str:
    """Lower case, signs of arithmetic between digits as words, no other punctuation, single spaces."""
    spoken = text.lower().replace("\u2019", "'")
    for sign, word in _SIGNS:
        spoken = re.sub(rf"(?<=\d)\s*{re.escape(sign)}\s*(?=\d)", word, spoken)
    spoken = re.sub(r"(?<=\d)\s+-\s+(?=\d)", " minus ", spoken)
    return " ".join(_NOT_SPOKEN.sub(" ", spoken).split())


def strip_fillers(spoken: str, fillers: Sequence[str]) -> str:
    """The utterance without the fillers at its beginning and end; what would be left empty is kept."""
    stripped = True
    while stripped:
        stripped = False
        for filler in fillers:
            if spoken.startswith(filler + " "):
                spoken, stripped = spoken[len(filler) + 1 :], True
            if spoken.endswith(" " + filler):
                spoken, stripped = spoken[: -len(filler) - 1], True
    return spoken


def _intent(entry: Mapping[str, object]) -> Intent:
    patterns = tuple(re.compile(str(pattern).replace("{number}", _NUMBER)) for pattern in _strings(entry, "patterns"))
    return Intent(str(entry["name"]), patterns, str(entry["reply"]), _strings(entry, "examples"))


def _strings(entry: Mapping[str, object], key: str) -> tuple[str, ...]:
    values = entry[key]
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{entry['name']}.{key} is not a list of strings")
    return tuple(values)


def _check_examples(grammar: Grammar) -> None:
    for intent in grammar.intents:
        for example in intent.examples:
            found = [match.name for match, _ in _matches(grammar, normalise(example))]
            if found != [intent.name]:
                raise GrammarInvalid(f"{intent.name}: the example {example!r} means {found}")


def _matches(grammar: Grammar, spoken: str) -> list[tuple[Intent, dict[str, str]]]:
    found = []
    for intent in grammar.intents:
        for pattern in intent.patterns:
            match = pattern.fullmatch(spoken)
            if match and _numbers_are_numbers(match.groupdict()):
                found.append((intent, match.groupdict()))
                break
    return found


def _numbers_are_numbers(slots: Mapping[str, str]) -> bool:
    numbers = all(numerals.parse(slots[name]) is not None for name in ("left", "right") if name in slots)
    return numbers and ("duration" not in slots or numerals.duration_s(slots["duration"]) is not None)


def _packet(intent: Intent, slots: dict[str, str], said_at: datetime, confidence_bp: int) -> DecisionPacket:
    values = slots | {"time": f"{said_at:%H:%M}", "date": f"{said_at:%A} {said_at.day} {said_at:%B %Y}"}
    if "duration" in slots:
        slots["seconds"] = str(numerals.duration_s(slots["duration"]))
    if "operator" in slots:
        result = _compute(slots["left"], slots["operator"], slots["right"])
        if result is None:
            named = tuple(sorted(slots.items()))
            return DecisionPacket(intent.name, named, "I cannot divide by zero. Which number?", confidence_bp, True)
        values["result"] = slots["result"] = result
    return DecisionPacket(
        intent.name, tuple(sorted(slots.items())), intent.reply.format_map(values), confidence_bp, False
    )


def _compute(left: str, operator: str, right: str) -> str | None:
    one, other = Fraction(numerals.parse(left) or 0), Fraction(numerals.parse(right) or 0)
    match operator:
        case "plus":
            return _written(one + other)
        case "minus":
            return _written(one - other)
        case "times" | "multiplied by":
            return _written(one * other)
    return _written(one / other) if other else None


def _written(value: Fraction) -> str:
    """Whole numbers as they are, others to four places; a rounded one says so."""
    if value.denominator == 1:
        return str(value.numerator)
    rounded = round(value, 4)
    digits = f"{float(rounded):.4f}".rstrip("0").rstrip(".")
    return digits if rounded == value else f"about {digits}"
