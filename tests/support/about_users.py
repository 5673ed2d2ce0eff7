"""What a tenant's limits and the routing profile say of one user: `MIRA`."""

from __future__ import annotations

from typing import Final

from selene.routing.v1.routing_pb2 import (
    Domain,
    LayerSection,
    ProviderOverride,
    ProviderRoutingProfileV1,
    ScopedOverride,
)
from selene.routing.v1.service_pb2 import POLICY_EFFECT_DENY

from store import Transaction
from store.routing import Rule
from tests.support.servers import TENANT

MIRA: Final = "mira"
NOT_FOR_MIRA: Final = Rule(
    tenant_id=TENANT, rule_id="no-mira", effect=POLICY_EFFECT_DENY, reason="NOT_FOR_HER", users=frozenset({MIRA})
)


async def deny_mira(tx: Transaction) -> None:
    """A rule of the tenant's own against her."""
    await tx.routing.rules.put(NOT_FOR_MIRA)


def spare_mira(profile: ProviderRoutingProfileV1, domain: Domain, provider_ref: str) -> None:
    """An exception of hers: she is not routed to this provider."""
    off = ProviderOverride(domain=domain, provider_ref=provider_ref, enabled=False)
    section = LayerSection(providers=[off])
    profile.user_exceptions.append(ScopedOverride(tenant_id=TENANT, scope_id=MIRA, section=section))
