"""Whom a provider does not understand (§30): its transcripts of one person were refused again and again.

Two in a row within five minutes, and the person's next calls ask the others first; it comes last instead of not at all.
That lasts until one of its transcripts is accepted, or for five minutes after the last that was refused. Nobody else's
calls change, whatever becomes of the provider's circuit. A process knows what its own gate has judged.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from selene.routing.v1.routing_pb2 import Domain

from servers.routing.profile import Resolved, ResolvedProvider

IN_A_ROW: Final = 2
HOLDS_S: Final = 300.0
PERSONS: Final = 4096
"""Remembered at most; who was judged longest ago is forgotten first."""

Person = tuple[str, str]
"""A tenant and a user of it."""


class Rejections:
    """What one process's gate said last of each person's transcripts, by provider."""

    def __init__(self) -> None:
        self._of: OrderedDict[Person, dict[str, tuple[int, float]]] = OrderedDict()

    def note(self, person: Person, provider_ref: str, now: float, *, accepted: bool) -> None:
        """The gate has judged a transcript; `now` is monotonic."""
        refused = self._of.get(person, {})
        if accepted:
            refused.pop(provider_ref, None)
            if not refused:
                self._of.pop(person, None)
            return
        count, at = refused.get(provider_ref, (0, now))
        refused[provider_ref] = (count + 1 if now - at < HOLDS_S else 1, now)
        self._of[person] = refused
        self._of.move_to_end(person)
        if len(self._of) > PERSONS:
            self._of.popitem(last=False)

    def last(self, person: Person, now: float) -> frozenset[str]:
        """The providers that this person's next call asks last."""
        refused = self._of.get(person)
        if not refused:
            return frozenset()
        return frozenset(ref for ref, (count, at) in refused.items() if count >= IN_A_ROW and now - at < HOLDS_S)


def asked_last(resolved: Resolved, domain: Domain, behind: Collection[str]) -> Resolved:
    """The profile with these providers behind all others of the domain; each part stays in its order."""
    domains = tuple(
        (known, (*_of(providers, behind, last=False), *_of(providers, behind, last=True)))
        if known == domain
        else (known, providers)
        for known, providers in resolved.domains
    )
    return replace(resolved, domains=domains)


def _of(providers: Sequence[ResolvedProvider], behind: Collection[str], *, last: bool) -> tuple[ResolvedProvider, ...]:
    return tuple(each for each in providers if (each.provider_ref in behind) is last)
