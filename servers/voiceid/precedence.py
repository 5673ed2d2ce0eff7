"""Which setting applies (ALL-5, §24, §32): the most specific layer that sets a field supplies it.

A field that a layer leaves unset falls through to the next lower layer. Two rows of one layer that both apply are
ambiguous, and then nothing applies.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")


class Layer(IntEnum):
    """Overlay order of §24, base first: a higher value wins. The names in lower case are the contract's."""

    GLOBAL_DEFAULT = 1
    TENANT_OVERRIDE = 2
    LOCALE_OVERRIDE = 3
    CHANNEL_OVERRIDE = 4
    USER_EXCEPTION = 5


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a setting is resolved for; an empty string where there is none."""

    locale: str = ""
    channel: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class SettingRow(Generic[T]):
    """One row of settings, global or of the subject's tenant. `layer_id` is its locale, channel or user."""

    layer: Layer
    layer_id: str
    source: str
    values: Mapping[str, T]


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    """The fields that are set, and the layer that supplied each."""

    values: Mapping[str, T]
    layers: Mapping[str, Layer]


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Two rows of equal precedence apply: fail closed with SETTING_AMBIGUOUS."""

    layer: Layer
    sources: tuple[str, ...]


def applies(row: SettingRow[T], subject: Subject) -> bool:
    """Global and tenant rows apply to everyone in reach; the others to the locale, channel or user they name."""
    match row.layer:
        case Layer.GLOBAL_DEFAULT | Layer.TENANT_OVERRIDE:
            return True
        case Layer.LOCALE_OVERRIDE:
            return bool(subject.locale) and row.layer_id == subject.locale
        case Layer.CHANNEL_OVERRIDE:
            return bool(subject.channel) and row.layer_id == subject.channel
        case Layer.USER_EXCEPTION:
            return bool(subject.user_id) and row.layer_id == subject.user_id


def resolve(rows: Iterable[SettingRow[T]], subject: Subject) -> Resolved[T] | Ambiguous:
    """Overlay the rows that apply, base first. The order of `rows` does not matter."""
    applying = sorted((row for row in rows if applies(row, subject)), key=lambda row: (row.layer, row.source))
    for lower, upper in pairwise(applying):
        if lower.layer == upper.layer:
            return Ambiguous(upper.layer, tuple(row.source for row in applying if row.layer == upper.layer))
    values: dict[str, T] = {}
    layers: dict[str, Layer] = {}
    for row in applying:
        for field, value in row.values.items():
            if value is not None:
                values[field], layers[field] = value, row.layer
    return Resolved(values, layers)
