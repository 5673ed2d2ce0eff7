"""Language understanding (PH1.D): a boundary that proposes, and never decides or acts (§22).

What a provider says of an utterance is a packet that others check; without a valid packet there is no proposal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "llm"
ENGINE_ID = "PH1.D"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store."""
    from servers.llm.assembly import assemble  # imported late: a client of the name needs no grpc

    return await assemble(runtime)
