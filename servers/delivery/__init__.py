"""Delivery (PH1.DELIVERY): sends what others decided to send, over the provider that its router picks.

It never sends twice what a provider may have taken, and never forgets what it accepted (§25).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "delivery"
ENGINE_ID = "PH1.DELIVERY"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store."""
    from servers.delivery.assembly import assemble  # imported late: a client of the name needs no grpc

    return await assemble(runtime)
