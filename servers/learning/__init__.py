"""Learning (PH1.FEEDBACK, PH1.LEARN, PH1.KNOW): takes on signals, makes gold of their evidence, and packs of gold.

It never activates anything: what it builds is advisory until governance, builder and release gates have passed (§2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "learning"
ENGINE_ID = "PH1.FEEDBACK"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store."""
    from servers.learning.assembly import assemble  # imported late: a client of the name needs no grpc

    return await assemble(runtime)
