"""Who comes first among providers, by what was learned of them (§11: STT_ROUTING_POLICY_PACK, TTS_ROUTING_POLICY_PACK).
Pure.

A preference moves a provider before the one that it was preferred over, where most evaluators preferred it and quality
did not fall. It changes an order and nothing else: who is enabled, allowed, configured and healthy is the profile's and
the circuits' to say, and so is the region of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from selene.routing.v1.routing_pb2 import Domain

from servers.pack_formats import parse
from servers.routing.profile import Resolved, ResolvedProvider

HALF_BP: Final = 5_000

Pair = tuple[str, str]
"""A provider, and whom it comes before."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Pairs that do not contradict each other."""

    pairs: tuple[Pair, ...]


def ranking_of(pack_type: str, payload: bytes) -> Ranking:
    """What a routing pack comes to. PackUnusable."""
    return Ranking(consistent(parse(pack_type, payload).preferences))


def consistent(preferences: Sequence[Any]) -> tuple[Pair, ...]:
    """The pairs that the preferences support, the strongest first; one that contradicts stronger ones is left out."""
    pairs: list[Pair] = []
    supported = [each for each in preferences if each.preferred_bp > HALF_BP and each.quality_delta_bp >= 0]
    by_strength = sorted(
        supported, key=lambda each: (-each.preferred_bp, -each.turns, each.provider_ref, each.over_provider_ref)
    )
    for each in by_strength:
        if not _reaches(pairs, each.over_provider_ref, each.provider_ref):
            pairs.append((each.provider_ref, each.over_provider_ref))
    return tuple(pairs)


def ranked(resolved: Resolved, domain: Domain, ranking: Ranking) -> Resolved:
    """The profile with the domain's providers in the learned order: whoever is preferred stands right before the one
    that it is preferred over, all others where the profile has them.
    """
    domains = tuple(
        (known, _ordered(providers, ranking.pairs) if known == domain else providers)
        for known, providers in resolved.domains
    )
    return replace(resolved, domains=domains)


def ordered(provider_refs: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Each in its turn, and before it whoever has to come before it."""
    found: dict[str, None] = {}

    def place(provider_ref: str) -> None:
        for other in provider_refs:
            if (other, provider_ref) in pairs and other not in found:
                place(other)
        found.setdefault(provider_ref)

    for each in provider_refs:
        place(each)
    return tuple(found)


def _ordered(providers: Sequence[ResolvedProvider], pairs: Sequence[Pair]) -> tuple[ResolvedProvider, ...]:
    by_ref = {each.provider_ref: each for each in providers}
    return tuple(by_ref[ref] for ref in ordered(tuple(by_ref), pairs))


def _reaches(pairs: Sequence[Pair], start: str, end: str) -> bool:
    """Whether `start` comes before `end` by these pairs, or is it."""
    found, waiting = set[str](), [start]
    while waiting:
        found.add(current := waiting.pop())
        waiting += [over for first, over in pairs if first == current and over not in found]
    return end in found
