"""What a case expects of a message: the fields that it names, and no others."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

ANYTHING = "..."
"""In a list: any number of items, also none."""

_DURATION = re.compile(r"-?\d+(\.\d+)?s")
_WHOLE = re.compile(r"-?\d+")


@dataclass(frozen=True)
class Matcher:
    """A condition on one value; `text` says it to whoever reads the failure."""

    text: str
    holds: Callable[[Any], bool]


class CaseLoader(yaml.CSafeLoader):
    """YAML with the conditions of this folder as tags."""


def _condition(tag: str, make: Callable[[Any], Callable[[Any], bool]]) -> None:
    def construct(loader: CaseLoader, node: yaml.Node) -> Matcher:
        argument = _argument(loader, node)
        return Matcher(f"{tag} {'' if argument is None else argument}".strip(), make(argument))

    CaseLoader.add_constructor(tag, construct)


def _argument(loader: CaseLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        text = str(loader.construct_scalar(node))
        return int(text) if _WHOLE.fullmatch(text) else text
    return loader.construct_sequence(node, deep=True)


def _repeated(loader: CaseLoader, node: yaml.Node) -> str:
    text, times = loader.construct_sequence(node)
    return str(text) * int(times)


_condition("!at_least", lambda least: lambda value: _number(value) >= _number(least))
_condition("!at_most", lambda most: lambda value: _number(value) <= _number(most))
_condition("!one_of", lambda choices: lambda value: value in choices)
_condition("!bytes", lambda length: lambda value: len(base64.b64decode(value)) == length)
_condition("!holds", lambda part: lambda value: part in value)
CaseLoader.add_constructor("!repeat", _repeated)

SOME = Matcher("something", lambda value: value not in (None, "", "0", 0, [], {}))
ABSENT = Matcher("absent", lambda value: value is None)
EMPTY = Matcher("empty", lambda value: value in (None, "", [], {}))


def differences(expected: Any, actual: Any, at: str = "") -> list[str]:
    """Where `actual` is not what `expected` says, a line each. A mapping names only the fields that matter."""
    if isinstance(expected, Matcher):
        return [] if _holds(expected, actual) else [f"{at}: {actual!r} is not {expected.text}"]
    if isinstance(expected, dict):
        fields = actual if isinstance(actual, dict) else {}
        return [
            line for name, value in expected.items() for line in differences(value, fields.get(name), f"{at}.{name}")
        ]
    if isinstance(expected, list):
        items = actual if isinstance(actual, list) else []
        return [] if _sequence(expected, items) else _explained(expected, items, at)
    same = _plain(expected) == _plain(actual)
    return [] if same else [f"{at}: {actual!r} is not {expected!r}"]


def _holds(matcher: Matcher, actual: Any) -> bool:
    try:
        return matcher.holds(actual)
    except (ArithmeticError, TypeError, ValueError):
        return False


def _explained(expected: list[Any], actual: list[Any], at: str) -> list[str]:
    """Which items there are, and what is wrong with the last: in a stream, the decision."""
    kinds = [next(iter(item), None) if isinstance(item, dict) else item for item in actual]
    last = bool(expected) and bool(actual) and expected[-1] != ANYTHING
    return [f"{at}: {kinds!r} do not read as wanted"] + (
        differences(expected[-1], actual[-1], f"{at}[-1]") if last else []
    )


def _sequence(expected: list[Any], actual: list[Any]) -> bool:
    if not expected:
        return not actual
    if expected[0] == ANYTHING:
        return any(_sequence(expected[1:], actual[skipped:]) for skipped in range(len(actual) + 1))
    return bool(actual) and not differences(expected[0], actual[0]) and _sequence(expected[1:], actual[1:])


def _plain(value: Any) -> Any:
    """Proto JSON writes 64-bit integers as text and durations with as many digits as it likes."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return ("duration", Decimal(value[:-1]))
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value


def _number(value: Any) -> Decimal:
    plain = _plain(value)
    return plain[1] if isinstance(plain, tuple) else Decimal(str(plain))
