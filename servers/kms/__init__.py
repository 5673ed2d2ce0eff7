"""Secrets of providers (PH1.KMS): puts, rotates, revokes and leases them (§26).

It never shows a secret: what it hands out are leases, which are redeemed where the provider is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "kms"
ENGINE_ID = "PH1.KMS"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The service of this owner, on the runtime's store."""
    from servers.kms.assembly import assemble  # imported late: a client of the name needs no grpc

    return assemble(runtime)
