"""What keeps no routing profile from serving and is hardly meant (§27): told beside the problems, and never refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from selene.routing.v1.routing_pb2 import Domain, LayerSection, ProviderRoutingProfileV1

from servers.routing.profile import DOMAINS, override_rows, path_of, section_of


class WarningCode(StrEnum):
    """What can be doubted of a profile."""

    UNKNOWN_ADAPTER = "UNKNOWN_ADAPTER"
    DUPLICATE_PRIORITY = "DUPLICATE_PRIORITY"


_DESCRIPTIONS: Final[Mapping[WarningCode, str]] = MappingProxyType(
    {
        WarningCode.UNKNOWN_ADAPTER: "no server has an adapter of this name: the provider is never asked",
        WarningCode.DUPLICATE_PRIORITY: "another enabled provider has its priority: the name decides who is first",
    }
)

_Places = dict[str, tuple[int, bool]]
"""Priority and whether it is enabled, by provider."""


@dataclass(frozen=True, slots=True)
class ProfileWarning:
    """A doubt about a profile. `where` is a path of fields and indices; no value is ever told."""

    code: WarningCode
    where: str

    @property
    def description(self) -> str:
        """What is doubted, in words."""
        return _DESCRIPTIONS[self.code]


def lint(profile: ProviderRoutingProfileV1, adapters: Mapping[Domain, Collection[str]]) -> tuple[ProfileWarning, ...]:
    """Everything that is doubted. `adapters` are the providers that there are adapters for, by domain; of a domain that
    it does not name, nobody knows.
    """
    return (*_unknown_adapters(profile, adapters), *_duplicate_priorities(profile))


def _unknown_adapters(
    profile: ProviderRoutingProfileV1, adapters: Mapping[Domain, Collection[str]]
) -> Iterator[ProfileWarning]:
    for domain, known in adapters.items():
        for index, provider in enumerate(section_of(profile, domain).providers):
            if provider.provider_ref not in known:
                yield ProfileWarning(WarningCode.UNKNOWN_ADAPTER, f"{path_of(domain)}.providers[{index}]")


def _duplicate_priorities(profile: ProviderRoutingProfileV1) -> Iterator[ProfileWarning]:
    """Of every row that brings two providers to the same place. A row of a locale, a channel or a user lies over its
    tenant's, where there is one.
    """
    base: dict[Domain, _Places] = {}
    for domain in DOMAINS:
        providers = section_of(profile, domain).providers
        listed = {each.provider_ref: (each.priority, each.enabled) for each in providers}
        for index, each in enumerate(providers):
            if any(_ties(listed, each.provider_ref, other.provider_ref) for other in providers[:index]):
                yield ProfileWarning(WarningCode.DUPLICATE_PRIORITY, f"{path_of(domain)}.providers[{index}]")
        base[domain] = listed
    over_all = _over(base, profile.global_default)
    yield from _row_ties(base, over_all, profile.global_default, "global_default")
    of_tenants: dict[str, dict[Domain, _Places]] = {}
    for name, index, (tenant_id, scope_id), section in override_rows(profile):
        below = of_tenants.get(tenant_id, over_all)
        above = _over(below, section)
        yield from _row_ties(below, above, section, f"{name}[{index}].section")
        if not scope_id:
            of_tenants[tenant_id] = above


def _row_ties(
    below: Mapping[Domain, _Places], above: Mapping[Domain, _Places], section: LayerSection, where: str
) -> Iterator[ProfileWarning]:
    """Overrides after which their provider shares a place that it did not share before."""
    for index, override in enumerate(section.providers):
        before, after, ref = below.get(override.domain, {}), above.get(override.domain, {}), override.provider_ref
        if any(_ties(after, ref, other) and not _ties(before, ref, other) for other in after):
            yield ProfileWarning(WarningCode.DUPLICATE_PRIORITY, f"{where}.providers[{index}]")


def _over(below: Mapping[Domain, _Places], section: LayerSection) -> dict[Domain, _Places]:
    above = dict(below)
    for override in section.providers:
        places = above.get(override.domain, {})
        if (place := places.get(override.provider_ref)) is not None:
            priority = override.priority if override.HasField("priority") else place[0]
            enabled = override.enabled if override.HasField("enabled") else place[1]
            above[override.domain] = {**places, override.provider_ref: (priority, enabled)}
    return above


def _ties(places: _Places, one: str, other: str) -> bool:
    mine = places.get(one)
    return one != other and mine is not None and mine[1] and mine == places.get(other)
