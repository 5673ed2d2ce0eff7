"""The audit trail (PH1.J): reads it, follows it and proves that it is whole. It never writes to it.

Every row was written by the owner whose change it records, in the transaction of that change (ALL-2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "audit"
ENGINE_ID = "PH1.J"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The service of this owner, on the runtime's store."""
    from servers.audit.service import services  # imported late: a client of the name needs no grpc

    return services(runtime)
