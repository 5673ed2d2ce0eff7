"""Which provider serves a call (§22 step 5, §24): the first by priority that may, and whose circuit lets it. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_FORCED_CLOSED,
    CIRCUIT_STATE_FORCED_OPEN,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    Domain,
)

from servers.routing.circuit import Circuit, probe_free
from servers.routing.profile import Resolved, ResolvedProvider

# A provider of this region runs beside the owner: what is sent to it leaves no region.
LOCAL_REGION: Final = "local"


class Refusal(StrEnum):
    """Why a provider does not serve a call."""

    DISABLED = "DISABLED"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    TENANT_NOT_ALLOWED = "TENANT_NOT_ALLOWED"
    REGION_NOT_ALLOWED = "REGION_NOT_ALLOWED"
    CROSS_REGION_FORBIDDEN = "CROSS_REGION_FORBIDDEN"
    CROSS_LOCALE_FORBIDDEN = "CROSS_LOCALE_FORBIDDEN"
    ALREADY_TRIED = "ALREADY_TRIED"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    CIRCUIT_FORCED_OPEN = "CIRCUIT_FORCED_OPEN"
    NO_PROBE_FREE = "NO_PROBE_FREE"


class Unconfigured(StrEnum):
    """Why a provider is NOT_CONFIGURED."""

    NO_ADAPTER = "NO_ADAPTER"
    """The server was started without what it is called by: a package, an endpoint."""
    NO_SECRET = "NO_SECRET"
    """Nothing is kept under its handle, or what was is revoked."""
    NO_SECRETS_OWNER = "NO_SECRETS_OWNER"
    """Who gives out leases is not known to the server, or does not answer."""
    LEASE_DENIED = "LEASE_DENIED"
    """The secret is not granted to this owner, or its lease was ended."""
    SECRET_UNREADABLE = "SECRET_UNREADABLE"
    """There is a lease, but its secret could not be had or is no text."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The provider to call. With `probe` a lease of its circuit is needed first; where that is refused, select again
    with the provider among the tried. `failover` says that it is not the primary, `passed_over` why not
    those before it.
    """

    provider: ResolvedProvider
    probe: bool
    failover: bool
    passed_over: tuple[tuple[str, Refusal], ...]


@dataclass(frozen=True, slots=True)
class NoProvider:
    """Nobody may serve the call. `earliest_retry` is when the first circuit becomes half-open or a probe's lease runs
    out, seconds since the epoch, past already where the evaluation is due; None where waiting does not help.
    """

    earliest_retry: float | None
    refusals: tuple[tuple[str, Refusal], ...]


def select(
    resolved: Resolved,
    circuits: Mapping[str, Circuit],
    domain: Domain,
    region: str = "",
    locale: str = "",
    tried: Collection[str] = (),
    unconfigured: Collection[str] = (),
) -> Chosen | NoProvider:
    """The provider for a call. A provider without a circuit has never failed; `unconfigured` are those that this owner
    has no adapter or no secret for.

    The call belongs to `region`; where that is empty, to the region of the primary, which is the first provider that is
    enabled, allowed and configured, whatever its circuit. Only where the profile allows it does a call leave its
    region, or go to a provider that does not list its locale.
    """
    home = region
    primary: str | None = None
    refusals: list[tuple[str, Refusal]] = []
    for provider in resolved.providers(domain):
        refusal = _not_allowed(provider, resolved, home, locale)
        if refusal is None and provider.provider_ref in unconfigured:
            refusal = Refusal.NOT_CONFIGURED
        if refusal is None:
            primary = primary or provider.provider_ref
            home = home or provider.region
            refusal = _not_available(provider, circuits.get(provider.provider_ref), tried)
        if refusal is None:
            circuit = circuits.get(provider.provider_ref)
            probe = circuit is not None and circuit.state == CIRCUIT_STATE_HALF_OPEN
            return Chosen(provider, probe, provider.provider_ref != primary, tuple(refusals))
        refusals.append((provider.provider_ref, refusal))
    return NoProvider(_earliest_retry(circuits, refusals), tuple(refusals))


def home_of(resolved: Resolved, domain: Domain, locale: str, unconfigured: Collection[str]) -> str:
    """The region of a call that names none: the primary's; empty where there is no primary."""
    for provider in resolved.providers(domain):
        if _not_allowed(provider, resolved, "", locale) is None and provider.provider_ref not in unconfigured:
            return provider.region
    return ""


def serves_locale(provider: ResolvedProvider, locale: str) -> bool:
    """Whether it lists the locale, or a range that holds it: `en` serves `en-GB` (RFC 4647, basic filtering)."""
    wanted = locale.casefold()
    return not locale or not provider.locales or any(_in_range(wanted, each.casefold()) for each in provider.locales)


def _in_range(locale: str, language_range: str) -> bool:
    return locale == language_range or locale.startswith(f"{language_range}-")


def _not_allowed(provider: ResolvedProvider, resolved: Resolved, home: str, locale: str) -> Refusal | None:
    if not provider.enabled:
        return Refusal.DISABLED
    if not provider.tenant_allowed:
        return Refusal.TENANT_NOT_ALLOWED
    if provider.region != LOCAL_REGION:
        if resolved.allowed_regions and provider.region not in resolved.allowed_regions:
            return Refusal.REGION_NOT_ALLOWED
        if home and provider.region != home and not resolved.allow_cross_region:
            return Refusal.CROSS_REGION_FORBIDDEN
    if not resolved.allow_cross_locale and not serves_locale(provider, locale):
        return Refusal.CROSS_LOCALE_FORBIDDEN
    return None


def _not_available(provider: ResolvedProvider, circuit: Circuit | None, tried: Collection[str]) -> Refusal | None:
    if provider.provider_ref in tried:
        return Refusal.ALREADY_TRIED
    if circuit is None or circuit.state in (CIRCUIT_STATE_CLOSED, CIRCUIT_STATE_FORCED_CLOSED):
        return None
    if circuit.state == CIRCUIT_STATE_HALF_OPEN:
        return None if probe_free(circuit, provider.circuit) else Refusal.NO_PROBE_FREE
    return Refusal.CIRCUIT_FORCED_OPEN if circuit.state == CIRCUIT_STATE_FORCED_OPEN else Refusal.CIRCUIT_OPEN


def _earliest_retry(circuits: Mapping[str, Circuit], refusals: list[tuple[str, Refusal]]) -> float | None:
    times: list[float] = []
    for provider_ref, refusal in refusals:
        circuit = circuits.get(provider_ref)
        if circuit is None:
            continue
        if refusal is Refusal.CIRCUIT_OPEN and circuit.state == CIRCUIT_STATE_OPEN and circuit.retry_at is not None:
            times.append(circuit.retry_at)
        if refusal is Refusal.NO_PROBE_FREE:
            times.extend(each.expires_at for each in circuit.leases)
    return min(times, default=None)
