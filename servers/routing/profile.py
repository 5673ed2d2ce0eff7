"""The routing profile (§24, §27, RTE-2): what is wrong with one, and what it comes to for somebody.

Five layers lie over the providers' own values; the most specific layer that sets a field supplies it, and what a layer
leaves unset falls through. Two rows of equal precedence that both apply are ambiguous, and then nothing applies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from hashlib import sha256
from itertools import product
from types import MappingProxyType
from typing import Any, Final

import protovalidate
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from selene.routing.v1.routing_pb2 import (
    DOMAIN_EMAIL,
    DOMAIN_LLM,
    DOMAIN_PUSH,
    DOMAIN_SMS,
    DOMAIN_STT,
    DOMAIN_TTS,
    DOMAIN_WECHAT,
    DOMAIN_WHATSAPP,
    PROFILE_LAYER_CHANNEL_OVERRIDE,
    PROFILE_LAYER_GLOBAL_DEFAULT,
    PROFILE_LAYER_LOCALE_OVERRIDE,
    PROFILE_LAYER_TENANT_OVERRIDE,
    PROFILE_LAYER_USER_EXCEPTION,
    Domain,
    DomainSection,
    LayerSection,
    ProfileLayer,
    Provenance,
    Provider,
    ProviderOverride,
    ProviderRoutingProfileV1,
    RoutingSubject,
    ScopedOverride,
)
from selene.routing.v1.routing_pb2 import CircuitPolicy as CircuitPolicyMessage

from servers.routing.secrets import has_secret_shape, looks_like_secret
from servers.routing.thresholds import CircuitPolicy, Threshold, compared, policy_of

SCHEMA_VERSION: Final = "provider_routing_profile_v1"
ARTIFACT_TYPE: Final = "PROVIDER_ROUTING_PROFILE_V1"
NO_ROLLBACK: Final = "none"
PRECEDENCE_ORDER: Final = (
    PROFILE_LAYER_USER_EXCEPTION,
    PROFILE_LAYER_CHANNEL_OVERRIDE,
    PROFILE_LAYER_LOCALE_OVERRIDE,
    PROFILE_LAYER_TENANT_OVERRIDE,
    PROFILE_LAYER_GLOBAL_DEFAULT,
)
SELECTION_OWNERS: Final[Mapping[str, str]] = MappingProxyType(
    {"stt": "PH1.C", "tts": "PH1.TTS", "llm": "PH1.D", "delivery": "PH1.DELIVERY"}
)
DOMAINS: Final = (
    DOMAIN_STT,
    DOMAIN_TTS,
    DOMAIN_LLM,
    DOMAIN_SMS,
    DOMAIN_EMAIL,
    DOMAIN_WHATSAPP,
    DOMAIN_WECHAT,
    DOMAIN_PUSH,
)
_VERSION_REF = re.compile(re.escape(ARTIFACT_TYPE) + r"@([1-9][0-9]{0,17})")


class ProblemCode(StrEnum):
    """What can be wrong with a profile."""

    CONTRACT_VIOLATED = "CONTRACT_VIOLATED"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    LOOKS_LIKE_SECRET = "LOOKS_LIKE_SECRET"
    DUPLICATE_PROVIDER = "DUPLICATE_PROVIDER"
    UNKNOWN_PROVIDER = "UNKNOWN_PROVIDER"
    DUPLICATE_PROVIDER_OVERRIDE = "DUPLICATE_PROVIDER_OVERRIDE"
    DUPLICATE_OVERRIDE = "DUPLICATE_OVERRIDE"
    WRONG_SELECTION_OWNER = "WRONG_SELECTION_OWNER"
    WRONG_ARTIFACT_ID = "WRONG_ARTIFACT_ID"
    ROLLBACK_TO_ITSELF = "ROLLBACK_TO_ITSELF"
    ROLLBACK_POINTER_INVALID = "ROLLBACK_POINTER_INVALID"
    RETURN_OVERLAPS_OPEN = "RETURN_OVERLAPS_OPEN"
    RETURN_UNREACHABLE = "RETURN_UNREACHABLE"


_DESCRIPTIONS: Final[Mapping[ProblemCode, str]] = MappingProxyType(
    {
        ProblemCode.CONTRACT_VIOLATED: "it is not what the contract asks for",
        ProblemCode.UNKNOWN_FIELD: "it has a field that the contract does not know",
        ProblemCode.LOOKS_LIKE_SECRET: "it looks like a secret; a profile names handles of secrets only",
        ProblemCode.DUPLICATE_PROVIDER: "its provider_ref is in the profile already",
        ProblemCode.UNKNOWN_PROVIDER: "no provider of its domain has its provider_ref",
        ProblemCode.DUPLICATE_PROVIDER_OVERRIDE: "the section overrides its provider already",
        ProblemCode.DUPLICATE_OVERRIDE: "another row is for the same scope",
        ProblemCode.WRONG_SELECTION_OWNER: "each domain is listed once, with the engine that selects for it",
        ProblemCode.WRONG_ARTIFACT_ID: f"it is {ARTIFACT_TYPE}@ and the profile_version",
        ProblemCode.ROLLBACK_TO_ITSELF: "a version returns to an earlier one",
        ProblemCode.ROLLBACK_POINTER_INVALID: f"it is {ARTIFACT_TYPE}@ and an earlier version; first {NO_ROLLBACK}",
        ProblemCode.RETURN_OVERLAPS_OPEN: "a value that returns traffic also opens the circuit",
        ProblemCode.RETURN_UNREACHABLE: "min_samples is more than the probes of a window",
    }
)


@dataclass(frozen=True, slots=True)
class ProfileProblem:
    """Why a profile is refused, or does not resolve. `where` is a path of fields and indices, `rule` the contract's own
    rule in words where that is what it breaks; no value is ever told.
    """

    code: ProblemCode
    where: str
    rule: str = ""

    @property
    def description(self) -> str:
        """What is wrong, in words."""
        return self.rule or _DESCRIPTIONS.get(self.code, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedProvider:
    """A provider as it holds for the subject; `timeout_s` is of one attempt. An empty `locales` means all."""

    provider_ref: str
    priority: int
    enabled: bool
    kms_handle_ref: str
    timeout_s: float
    max_retries: int
    circuit: CircuitPolicy
    region: str
    tenant_allowed: bool
    locales: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Who supplied a field; `scope_id` is empty for GLOBAL_DEFAULT."""

    layer: ProfileLayer
    scope_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A profile as it holds for a subject: providers by domain, the first tried first. Immutable.

    `profile_hash` is of the resolved values alone, so that subjects and versions for whom the same holds share their
    circuits (RTE-5). An empty `allowed_regions` means all.
    """

    profile_id: str
    profile_version: int
    domains: tuple[tuple[Domain, tuple[ResolvedProvider, ...]], ...]
    allowed_regions: tuple[str, ...]
    allow_cross_region: bool
    allow_cross_locale: bool
    allow_inconclusive_fallback: bool
    profile_hash: bytes
    provenance: tuple[tuple[str, Source], ...]

    def providers(self, domain: Domain) -> tuple[ResolvedProvider, ...]:
        """The providers of a domain; none for a domain that the profile does not know."""
        return next((providers for known, providers in self.domains if known == domain), ())


@dataclass(frozen=True, slots=True)
class _Layer:
    source: Source
    section: LayerSection
    where: str


def section_of(profile: ProviderRoutingProfileV1, domain: Domain) -> DomainSection:
    """The section of a domain. Raises KeyError for a domain that the contract does not name."""
    sections = {
        DOMAIN_STT: profile.stt,
        DOMAIN_TTS: profile.tts,
        DOMAIN_LLM: profile.llm,
        DOMAIN_SMS: profile.delivery.sms,
        DOMAIN_EMAIL: profile.delivery.email,
        DOMAIN_WHATSAPP: profile.delivery.whatsapp,
        DOMAIN_WECHAT: profile.delivery.wechat,
        DOMAIN_PUSH: profile.delivery.push,
    }
    return sections[domain]


def validate(profile: ProviderRoutingProfileV1) -> tuple[ProfileProblem, ...]:
    """Everything wrong with a profile, breaches of the contract's own rules included; empty for one that may serve."""
    return (
        *_contract_problems(profile),
        *_text_problems(profile, ""),
        *_provider_problems(profile),
        *_override_problems(profile),
        *_owner_problems(profile),
        *_governance_problems(profile),
        *_circuit_problems(profile),
    )


def compile(profile: ProviderRoutingProfileV1, subject: RoutingSubject) -> Resolved | ProfileProblem:
    """What a validated profile comes to for a subject. The order of its rows does not matter."""
    layers = _layers_for(profile, subject)
    if isinstance(layers, ProfileProblem):
        return layers
    if problem := next(iter(_provider_problems(profile)), None):
        return problem
    known = {(domain, each.provider_ref) for domain in DOMAINS for each in section_of(profile, domain).providers}
    for layer in layers:
        if problem := next(_section_problems(layer.section, known, layer.where), None):
            return problem
    provenance: dict[str, Source] = {}
    domains = tuple(
        (domain, _resolved_section(section_of(profile, domain), domain, layers, subject, provenance))
        for domain in DOMAINS
    )
    resolved = Resolved(
        profile_id=profile.profile_id,
        profile_version=profile.profile_version,
        domains=domains,
        allowed_regions=_allowed_regions(layers, provenance),
        allow_cross_region=_flag(layers, "allow_cross_region", provenance),
        allow_cross_locale=_flag(layers, "allow_cross_locale", provenance),
        allow_inconclusive_fallback=_flag(layers, "allow_inconclusive_fallback", provenance),
        profile_hash=b"",
        provenance=tuple(sorted(provenance.items())),
    )
    return replace(resolved, profile_hash=_hash(resolved))


def subjects(profile: ProviderRoutingProfileV1, most: int) -> tuple[RoutingSubject, ...] | None:
    """Subjects of whom everybody resolves as one: of every tenant that the profile names, and of one that it does not,
    with every locale, channel and user that it names for them, and without. None where they are more than `most`.
    """
    named: dict[str, tuple[set[str], set[str], set[str]]] = {"": ({""}, {""}, {""})}
    providers = (each for domain in DOMAINS for each in section_of(profile, domain).providers)
    tenants = [row.tenant_id for row in profile.tenant_overrides]
    tenants += [tenant_id for provider in providers for tenant_id in provider.allowed_tenants]
    for tenant_id in tenants:
        named.setdefault(tenant_id, ({""}, {""}, {""}))
    for kind, rows in enumerate((profile.locale_overrides, profile.channel_overrides, profile.user_exceptions)):
        for row in rows:
            named.setdefault(row.tenant_id, ({""}, {""}, {""}))[kind].add(row.scope_id)
    if sum(len(locales) * len(channels) * len(users) for locales, channels, users in named.values()) > most:
        return None
    return tuple(
        RoutingSubject(tenant_id=tenant_id, locale=locale, channel=channel, user_id=user_id)
        for tenant_id, scopes in named.items()
        for locale, channel, user_id in product(*scopes)
    )


def explain(resolved: Resolved, prefix: str = "") -> tuple[Provenance, ...]:
    """Which layer supplied each field whose name begins so, such as `providers[openai/stt].`."""
    return tuple(
        Provenance(field=field, layer=source.layer, scope_id=source.scope_id)
        for field, source in resolved.provenance
        if field.startswith(prefix)
    )


def _layers_for(profile: ProviderRoutingProfileV1, subject: RoutingSubject) -> tuple[_Layer, ...] | ProfileProblem:
    """The sections that apply, base first."""
    candidates = [_Layer(Source(PROFILE_LAYER_GLOBAL_DEFAULT), profile.global_default, "global_default")]
    candidates += [
        _Layer(Source(PROFILE_LAYER_TENANT_OVERRIDE, row.tenant_id), row.section, f"tenant_overrides[{index}].section")
        for index, row in enumerate(profile.tenant_overrides)
        if row.tenant_id == subject.tenant_id
    ]
    scoped = (
        (PROFILE_LAYER_LOCALE_OVERRIDE, "locale_overrides", profile.locale_overrides, subject.locale.casefold()),
        (PROFILE_LAYER_CHANNEL_OVERRIDE, "channel_overrides", profile.channel_overrides, subject.channel),
        (PROFILE_LAYER_USER_EXCEPTION, "user_exceptions", profile.user_exceptions, subject.user_id),
    )
    for layer, name, rows, wanted in scoped:
        candidates += [
            _Layer(Source(layer, row.scope_id), row.section, f"{name}[{index}].section")
            for index, row in enumerate(rows)
            if wanted and row.tenant_id == subject.tenant_id and _scope_key(layer, row) == wanted
        ]
    layers = [each.source.layer for each in candidates]
    if doubled := next((each for each in candidates if layers.count(each.source.layer) > 1), None):
        return ProfileProblem(ProblemCode.DUPLICATE_OVERRIDE, doubled.where.partition("[")[0])
    return tuple(candidates)


def _scope_key(layer: ProfileLayer, row: ScopedOverride) -> str:
    """BCP 47 tags are the same in any case; channels and users are not."""
    return row.scope_id.casefold() if layer == PROFILE_LAYER_LOCALE_OVERRIDE else row.scope_id


def _resolved_section(
    section: DomainSection,
    domain: Domain,
    layers: tuple[_Layer, ...],
    subject: RoutingSubject,
    provenance: dict[str, Source],
) -> tuple[ResolvedProvider, ...]:
    resolved = [_resolved_provider(each, domain, layers, subject, provenance) for each in section.providers]
    return tuple(sorted(resolved, key=lambda each: (each.priority, each.provider_ref)))


def _resolved_provider(
    provider: Provider,
    domain: Domain,
    layers: tuple[_Layer, ...],
    subject: RoutingSubject,
    provenance: dict[str, Source],
) -> ResolvedProvider:
    merged, prefix = Provider(), f"providers[{provider.provider_ref}]."
    merged.CopyFrom(provider)
    for field in Provider.DESCRIPTOR.fields:
        provenance[prefix + field.name] = Source(PROFILE_LAYER_GLOBAL_DEFAULT)
    for layer in layers:
        for override in layer.section.providers:
            if (override.domain, override.provider_ref) == (domain, provider.provider_ref):
                for name in _apply(override, merged):
                    provenance[prefix + name] = layer.source
    return ResolvedProvider(
        provider_ref=merged.provider_ref,
        priority=merged.priority,
        enabled=merged.enabled,
        kms_handle_ref=merged.kms_handle_ref,
        timeout_s=merged.timeout.ToTimedelta().total_seconds(),
        max_retries=merged.max_retries,
        circuit=policy_of(merged.circuit),
        region=merged.region,
        tenant_allowed=not merged.allowed_tenants or subject.tenant_id in merged.allowed_tenants,
        locales=tuple(sorted(merged.locales)),
    )


def _apply(override: ProviderOverride, provider: Provider) -> list[str]:
    """Lay an override over a provider; the names of the fields that it sets."""
    named = [name for name in ("priority", "enabled", "timeout", "max_retries", "circuit") if override.HasField(name)]
    for name in named:
        value = getattr(override, name)
        if isinstance(value, Message):
            getattr(provider, name).CopyFrom(value)
        else:
            setattr(provider, name, value)
    return named


def _allowed_regions(layers: tuple[_Layer, ...], provenance: dict[str, Source]) -> tuple[str, ...]:
    saying = [layer for layer in layers if layer.section.allowed_regions]
    provenance["allowed_regions"] = saying[-1].source if saying else Source(PROFILE_LAYER_GLOBAL_DEFAULT)
    return tuple(sorted(saying[-1].section.allowed_regions)) if saying else ()


def _flag(layers: tuple[_Layer, ...], name: str, provenance: dict[str, Source]) -> bool:
    """A permission; one that no layer gives is not given."""
    saying = [layer for layer in layers if layer.section.HasField(name)]
    provenance[name] = saying[-1].source if saying else Source(PROFILE_LAYER_GLOBAL_DEFAULT)
    return bool(saying) and bool(getattr(saying[-1].section, name))


def _hash(resolved: Resolved) -> bytes:
    values = {
        "domains": [[domain, [asdict(each) for each in providers]] for domain, providers in resolved.domains],
        "allowed_regions": resolved.allowed_regions,
        "allow_cross_region": resolved.allow_cross_region,
        "allow_cross_locale": resolved.allow_cross_locale,
        "allow_inconclusive_fallback": resolved.allow_inconclusive_fallback,
    }
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).digest()


def _contract_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    for violation in protovalidate.collect_violations(profile):
        where = _field_path(violation.proto.field) or violation.proto.rule_id
        # Messages of the standard rules, and of this contract's own, name the rule and never what was found.
        yield ProfileProblem(ProblemCode.CONTRACT_VIOLATED, where or "profile", violation.proto.message)


def _field_path(path: Any) -> str:
    """Lists are all that a profile subscripts."""
    elements = path.elements if path is not None else ()
    return ".".join(
        element.field_name + ("" if element.subscript is None else f"[{element.subscript.value}]")
        for element in elements
    )


def _text_problems(message: Message, where: str) -> Iterator[ProfileProblem]:
    """Secrets in any text, and fields that the contract does not have. A handle may hold no secret, but may be long."""
    if len(UnknownFieldSet(message)):
        yield ProfileProblem(ProblemCode.UNKNOWN_FIELD, where or "profile")
    for field, value in message.ListFields():
        place = f"{where}.{field.name}".removeprefix(".")
        suspicious = has_secret_shape if field.name == "kms_handle_ref" else looks_like_secret
        single = isinstance(value, str | Message)
        for at, item in [(place, value)] if single else _numbered(place, value):
            if isinstance(item, Message):
                yield from _text_problems(item, at)
            elif isinstance(item, str) and suspicious(item):
                yield ProfileProblem(ProblemCode.LOOKS_LIKE_SECRET, at)


def _numbered(place: str, value: object) -> list[tuple[str, object]]:
    items = value if isinstance(value, Iterable) and not isinstance(value, bytes) else ()
    return [(f"{place}[{index}]", item) for index, item in enumerate(items)]


def _provider_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    """A provider is once in a profile: its circuit and its overrides go by its name."""
    seen: set[str] = set()
    for domain in DOMAINS:
        for index, provider in enumerate(section_of(profile, domain).providers):
            if provider.provider_ref in seen:
                yield ProfileProblem(ProblemCode.DUPLICATE_PROVIDER, f"{path_of(domain)}.providers[{index}]")
            seen.add(provider.provider_ref)


def _override_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    known = {(domain, each.provider_ref) for domain in DOMAINS for each in section_of(profile, domain).providers}
    yield from _section_problems(profile.global_default, known, "global_default")
    seen: set[tuple[str, str, str]] = set()
    for name, index, scope, section in override_rows(profile):
        if (name, *scope) in seen:
            yield ProfileProblem(ProblemCode.DUPLICATE_OVERRIDE, f"{name}[{index}]")
        seen.add((name, *scope))
        yield from _section_problems(section, known, f"{name}[{index}].section")


def override_rows(
    profile: ProviderRoutingProfileV1,
) -> Iterator[tuple[str, int, tuple[str, str], LayerSection]]:
    """The rows over the global default: their list, place, tenant and scope, and what they say. A tenant's scope is
    empty; tenants come first.
    """
    for index, row in enumerate(profile.tenant_overrides):
        yield "tenant_overrides", index, (row.tenant_id, ""), row.section
    for name, layer, rows in (
        ("locale_overrides", PROFILE_LAYER_LOCALE_OVERRIDE, profile.locale_overrides),
        ("channel_overrides", PROFILE_LAYER_CHANNEL_OVERRIDE, profile.channel_overrides),
        ("user_exceptions", PROFILE_LAYER_USER_EXCEPTION, profile.user_exceptions),
    ):
        for index, scoped in enumerate(rows):
            yield name, index, (scoped.tenant_id, _scope_key(layer, scoped)), scoped.section


def _section_problems(section: LayerSection, known: set[tuple[Domain, str]], where: str) -> Iterator[ProfileProblem]:
    seen: set[tuple[Domain, str]] = set()
    for index, override in enumerate(section.providers):
        key = (override.domain, override.provider_ref)
        if key not in known:
            yield ProfileProblem(ProblemCode.UNKNOWN_PROVIDER, f"{where}.providers[{index}]")
        if key in seen:
            yield ProfileProblem(ProblemCode.DUPLICATE_PROVIDER_OVERRIDE, f"{where}.providers[{index}]")
        seen.add(key)


def _owner_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    for index, owner in enumerate(profile.selection_owner_engine):
        if SELECTION_OWNERS.get(owner.domain) != owner.engine:
            yield ProfileProblem(ProblemCode.WRONG_SELECTION_OWNER, f"selection_owner_engine[{index}]")
    if sorted(owner.domain for owner in profile.selection_owner_engine) != sorted(SELECTION_OWNERS):
        yield ProfileProblem(ProblemCode.WRONG_SELECTION_OWNER, "selection_owner_engine")


def _governance_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    itself = f"{ARTIFACT_TYPE}@{profile.profile_version}"
    if profile.artifact_id != itself:
        yield ProfileProblem(ProblemCode.WRONG_ARTIFACT_ID, "artifact_id")
    pointer = profile.rollback_pointer_ref
    if pointer in (itself, profile.artifact_id):
        yield ProfileProblem(ProblemCode.ROLLBACK_TO_ITSELF, "rollback_pointer_ref")
        return
    earlier = _VERSION_REF.fullmatch(pointer)
    first = profile.profile_version == 1
    if (pointer != NO_ROLLBACK) if first else (earlier is None or int(earlier[1]) > profile.profile_version):
        yield ProfileProblem(ProblemCode.ROLLBACK_POINTER_INVALID, "rollback_pointer_ref")


def _circuit_problems(profile: ProviderRoutingProfileV1) -> Iterator[ProfileProblem]:
    for domain in DOMAINS:
        for index, provider in enumerate(section_of(profile, domain).providers):
            yield from _policy_problems(provider.circuit, f"{path_of(domain)}.providers[{index}].circuit")
    sections = [("global_default", profile.global_default)]
    sections += [(f"{name}[{index}].section", section) for name, index, _, section in override_rows(profile)]
    for where, section in sections:
        for index, override in enumerate(section.providers):
            if override.HasField("circuit"):
                yield from _policy_problems(override.circuit, f"{where}.providers[{index}].circuit")


def _policy_problems(message: CircuitPolicyMessage, where: str) -> Iterator[ProfileProblem]:
    policy = policy_of(message)
    windows = max((rule.windows for rule in policy.return_when), default=1)
    for index, rule in enumerate(policy.return_when):
        if rule.min_samples > policy.probes // windows:
            yield ProfileProblem(ProblemCode.RETURN_UNREACHABLE, f"{where}.return_when[{index}]")
        if any(_overlaps(opening, rule) for opening in policy.open_when if opening.measure == rule.measure):
            yield ProfileProblem(ProblemCode.RETURN_OVERLAPS_OPEN, f"{where}.return_when[{index}]")


def _overlaps(opening: Threshold, returning: Threshold) -> bool:
    """Whether some value both opens a circuit and lets traffic return. Comparisons change at their limits only."""
    values = (limit + step for limit in (opening.limit, returning.limit) for step in (-0.5, 0, 0.5))
    return any(
        compared(opening.comparison, value, opening.limit) and compared(returning.comparison, value, returning.limit)
        for value in values
        if value >= 0
    )


def path_of(domain: Domain) -> str:
    """Where a profile has the section of a domain."""
    name = Domain.Name(domain).removeprefix("DOMAIN_").lower()
    return name if name in SELECTION_OWNERS else f"delivery.{name}"
