"""English whole numbers and durations, in words as a recogniser writes them or in digits."""

from __future__ import annotations

import re

_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

ONES = {word: value for value, word in enumerate(_UNITS + _TEENS)}
TENS = {word: 10 * value for value, word in enumerate(_TENS, start=2)}
MAX_DIGITS = 9

_SECONDS = {
    word: seconds
    for words, seconds in (
        ("hour hours hr hrs h", 3_600),
        ("minute minutes min mins", 60),
        ("second seconds sec secs", 1),
    )
    for word in words.split()
}
_QUARTERS = {
    **dict.fromkeys(("a", "an"), 4),
    **dict.fromkeys(("half", "a half", "half a", "half an", "half of a", "half of an"), 2),
    **dict.fromkeys(("quarter of a", "quarter of an", "a quarter of a", "a quarter of an"), 1),
    **dict.fromkeys(("three quarters of a", "three quarters of an"), 3),
}
_AND_A_HALF = ["and", "a", "half"]
_GLUED = re.compile(r"(?<=[0-9])(?=[a-z])")


def parse(text: str) -> int | None:
    """The number below a thousand million that ``text`` says, all of it; None if it says none, or a broken one."""
    words = text.replace("-", " ").split()
    negative = len(words) > 1 and words[0] in ("minus", "negative")
    value = _digits(words[negative:]) if len(words) == 1 + negative else None
    if value is None:
        value = _thousands(words[negative:])
    if value is None:
        return None
    return -value if negative else value


def duration_s(text: str) -> int | None:
    """The whole seconds that ``text`` says in hours, minutes and seconds, the greater first; None if none or broken."""
    total, amount, last = 0, list[str](), 0
    for word in _GLUED.sub(" ", text).replace("-", " ").split():
        unit = _SECONDS.get(word)
        if unit is None:
            amount.append(word)
            continue
        quarters = _quarters(_without_and(amount) if last else amount)
        if quarters is None or (last and unit >= last):
            return None
        total, amount, last = total + quarters * unit, [], unit
    if amount == _AND_A_HALF:
        total, amount = total + 2 * last, []
    return total // 4 if total and not amount and total % 4 == 0 else None


def _quarters(words: list[str]) -> int | None:
    """How many quarters of a unit the words before it say."""
    said = " ".join(words)
    if said in _QUARTERS:
        return _QUARTERS[said]
    half = words[-3:] == _AND_A_HALF
    whole = parse(" ".join(words[:-3] if half else words))
    return None if whole is None or whole < 0 else 4 * whole + 2 * half


def _digits(words: list[str]) -> int | None:
    found = words[0] if words else ""
    return int(found) if found.isascii() and found.isdigit() and len(found) <= MAX_DIGITS else None


def _thousands(words: list[str]) -> int | None:
    for scale, name in ((1_000_000, "million"), (1_000, "thousand")):
        if name in words:
            at = words.index(name)
            many, rest = _below_thousand(_one_for_a(words[:at])), words[at + 1 :]
            few = _thousands(_without_and(rest)) if rest else 0
            if many is None or many == 0 or few is None or few >= scale or (rest and few == 0):
                return None
            return many * scale + few
    return _below_thousand(words)


def _below_thousand(words: list[str]) -> int | None:
    if "hundred" in words:
        at = words.index("hundred")
        many, rest = _below_hundred(_one_for_a(words[:at])), words[at + 1 :]
        few = _below_hundred(_without_and(rest)) if rest else 0
        if many is None or not 1 <= many <= 9 or few is None or (rest and few == 0):
            return None
        return many * 100 + few
    return _below_hundred(words)


def _below_hundred(words: list[str]) -> int | None:
    match words:
        case [word] if word in ONES:
            return ONES[word]
        case [word] if word in TENS:
            return TENS[word]
        case [ten, one] if ten in TENS and 1 <= ONES.get(one, 0) <= 9:
            return TENS[ten] + ONES[one]
    return None


def _one_for_a(words: list[str]) -> list[str]:
    return ["one"] if words == ["a"] else words


def _without_and(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["and"] else words
