"""Governance (PH1.GOV, PH1.BUILDER): decides what may go live, rolls it out in stages, judges it, takes it back.

It never builds an artifact and never grants authority: it only moves pointers to what was built, and only forward
through every gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from servers.replays import Consumption
    from servers.runtime.server import Runtime, Service

NAME = "governance"
ENGINE_ID = "PH1.GOV"
ROLE_APPROVER = "approver"


async def build(runtime: Runtime, consumers: Mapping[str, Consumption]) -> Sequence[Service]:
    """The services of this owner, on the runtime's store. `consumers`: how packs are consumed, by their types."""
    from servers.governance.assembly import assemble  # imported late: a client of the name needs no grpc

    return assemble(runtime, consumers)
