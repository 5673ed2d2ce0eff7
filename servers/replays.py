"""Replays of recorded turns (§19): what a consumer makes of each by a pack, and what all of it comes to. Pure.

Each consumer brings its own parser and its own rule (`Consumption`); nothing here knows what a pack means. The same
pack over the same turns gives the same digest, whichever process works it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from selene.gold.v1.evidence_pb2 import LabelledItem

from servers.framing import framed_digest
from servers.frozen_sets import FrozenSet


@dataclass(frozen=True, slots=True)
class Recorded:
    """The turns: gold that a pack came from, or the frozen evaluation set that is in force where it applies."""

    items: Sequence[LabelledItem] = ()
    frozen: FrozenSet | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a consumer makes of one turn. `unsafe`: by this pack it does harm there, as far as the turn's truth says."""

    turn: str
    outcome: bytes
    unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """How an engine consumes packs of one type: its own parser (PackUnusable) and what it answers by what that gives.

    `by_frozen_set`: the turns are those of the frozen evaluation set, not of gold.
    """

    engine_id: str
    read: Callable[[bytes], Any]
    answers: Callable[[Any, Recorded], Iterable[Answer]]
    by_frozen_set: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay comes to."""

    digest: bytes
    turns: int
    unsafe: int


def replayed(answers: Iterable[Answer]) -> Replayed:
    """SHA-256 over the turns and their outcomes in their order, length-prefixed; how many there are, and are unsafe."""
    given = list(answers)
    digest = framed_digest(*(field for each in given for field in (each.turn, each.outcome)))
    return Replayed(digest, len(given), sum(each.unsafe for each in given))
