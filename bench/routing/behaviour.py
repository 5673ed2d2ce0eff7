"""What providers do and callers ask, by seed: spells of illness, and traffic as a rate that changes in steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import pi, sin
from random import Random
from typing import Final

from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_SMS, DOMAIN_STT, DOMAIN_TTS, DOMAIN_WHATSAPP, Domain

from servers.routing.windows import Outcome

DOMAINS: Final = (DOMAIN_STT, DOMAIN_TTS, DOMAIN_LLM, DOMAIN_SMS, DOMAIN_WHATSAPP)
TIMEOUT_S: Final = 5.0
CALLERS: Final = tuple(f"caller-{number}" for number in range(12))
BAD_CALLER: Final = CALLERS[0]
BURST: Final = 25
# Below every latency limit of a return rule: a healthy answer is never held against its provider.
HEALTHY_MS: Final = (80.0, 900.0)
HEALTHY_ERROR_RATE: Final = 0.001
HEALTHY_REFUSAL_RATE: Final = 0.005


class Illness(StrEnum):
    """What can be wrong with a provider."""

    BROWN_OUT = "BROWN_OUT"
    TIMEOUTS = "TIMEOUTS"
    SLOW = "SLOW"
    REFUSING = "REFUSING"
    HANGING = "HANGING"
    FLAPPING = "FLAPPING"
    BURSTS = "BURSTS"
    AUTH = "AUTH"
    BAD_OUTPUT = "BAD_OUTPUT"
    ONE_CALLER = "ONE_CALLER"


DOWN: Final = (Illness.REFUSING, Illness.HANGING)
_DRAWN: Final = (*Illness, Illness.SLOW, *DOWN)
_BAD_OUTPUT: Final = {
    DOMAIN_LLM: Outcome.SCHEMA_INVALID,
    DOMAIN_SMS: Outcome.ERROR,
    DOMAIN_WHATSAPP: Outcome.HARD_BLOCK,
}


@dataclass(frozen=True, slots=True)
class Spell:
    """One illness of one provider; `severity` in 0..1 is its rate of errors, or how often it flaps."""

    provider: int
    illness: Illness
    start: float
    end: float
    severity: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider does with a call. `accepted` is what the owner's gate or the listener says of the result."""

    outcome: Outcome
    latency_ms: float
    accepted: bool = True

    @property
    def flawed(self) -> bool:
        """Whether anything of it can be held against the provider."""
        return self.outcome is not Outcome.OK or not self.accepted or self.latency_ms > HEALTHY_MS[1]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls a second from each start on, ascending."""

    starts: Sequence[float]
    rates: Sequence[float]


def spells(chance: Random, providers: int, until: float) -> list[Spell]:
    """The first provider falls ill every five hours or so, each other every twenty, for half a minute to an hour; half
    the time the next falls ill with it. One provider's spells do not overlap.
    """
    drawn: list[Spell] = []
    for provider in range(providers):
        gap_s = 72_000 if provider else 18_000
        at = chance.expovariate(1 / gap_s)
        while at < until:
            illness = chance.choice(_DRAWN)
            end = at + min(3600.0, 30 + chance.expovariate(1 / 500))
            drawn.append(Spell(provider, illness, at, end, chance.uniform(0.05, 0.95)))
            if chance.random() < 0.5:
                other = (provider + 1) % providers
                drawn.append(Spell(other, illness, at + chance.uniform(0, 60), end, chance.uniform(0.05, 0.95)))
            at = end + chance.expovariate(1 / gap_s)
    apart: list[Spell] = []
    ends = [0.0] * providers
    for spell in sorted(drawn, key=lambda one: one.start):
        if spell.start >= ends[spell.provider] and spell.start < spell.end:
            apart.append(spell)
            ends[spell.provider] = spell.end
    return apart


def traffic(chance: Random, illnesses: Sequence[Spell], until: float) -> Traffic:
    """0.01 to 0.03 calls a second by day, a fifth of it by night, hours of silence, and rushes of 0.6, 10 or 50 calls a
    second around the beginnings of illnesses.
    """
    base = chance.uniform(0.01, 0.03)
    steps = [(hour * 3600.0, base * (0.6 + 0.4 * sin(2 * pi * hour / 24))) for hour in range(int(until // 3600) + 1)]
    if chance.random() < 0.5:
        silent = chance.uniform(0, until)
        awake = silent + chance.uniform(3600, 4 * 3600)
        steps = [(at, 0.0 if silent <= at < awake else rate) for at, rate in steps]
    rushes = [
        (spell.start - before, spell.start + after, rate)
        for spell in illnesses
        for before, after, rate in chance.choices(
            [(3.0, 8.0, 50.0), (10.0, 25.0, 10.0), (30.0, 600.0, 0.6), (0.0, 0.0, 0.0)], weights=[3, 2, 3, 2]
        )
        if rate > 0
    ]
    edges = sorted({0.0, *(at for at, _ in steps), *(max(0.0, edge) for rush in rushes for edge in rush[:2])})
    rates = []
    place = 0
    for edge in edges:
        while place + 1 < len(steps) and steps[place + 1][0] <= edge:
            place += 1
        rates.append(max([steps[place][1], *(rate for start, end, rate in rushes if start <= edge < end)]))
    return Traffic(edges, rates)


def reply(spell: Spell | None, domain: Domain, caller: str, at: float, nth: int, chance: Random) -> Reply:
    """What comes of a call. `nth` counts the calls of the spell, from 0."""
    latency_ms = chance.uniform(*HEALTHY_MS)
    if spell is not None:
        ill = _ill(spell, domain, caller, at, nth, latency_ms, chance)
        if ill is not None:
            return ill
    if chance.random() < HEALTHY_ERROR_RATE:
        return Reply(Outcome.ERROR, latency_ms)
    return Reply(Outcome.OK, latency_ms, accepted=chance.random() >= HEALTHY_REFUSAL_RATE)


def _ill(
    spell: Spell, domain: Domain, caller: str, at: float, nth: int, latency_ms: float, chance: Random
) -> Reply | None:
    timed_out = Reply(Outcome.TIMEOUT, TIMEOUT_S * 1000)
    hit = chance.random() < spell.severity
    match spell.illness:
        case Illness.BROWN_OUT:
            return Reply(Outcome.ERROR, latency_ms) if hit else None
        case Illness.TIMEOUTS:
            return timed_out if hit else None
        case Illness.SLOW:
            return Reply(Outcome.OK, 3200.0 + latency_ms)
        case Illness.REFUSING:
            return Reply(Outcome.ERROR, 20.0)
        case Illness.HANGING:
            return timed_out
        case Illness.FLAPPING:
            return Reply(Outcome.ERROR, 20.0) if int((at - spell.start) / (1 + 7 * spell.severity)) % 2 == 0 else None
        case Illness.BURSTS:
            return Reply(Outcome.ERROR, 50.0) if nth % 200 < BURST else None
        case Illness.AUTH:
            return Reply(Outcome.AUTH_FAIL, 50.0)
        case Illness.BAD_OUTPUT:
            return Reply(_BAD_OUTPUT.get(domain, Outcome.OK), latency_ms, accepted=False) if hit else None
        case Illness.ONE_CALLER:
            return timed_out if caller == BAD_CALLER else None
