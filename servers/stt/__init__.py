"""Speech to text (PH1.C): the authoritative transcript, from whichever provider its router picks.

It never answers, never acts on what was said, and hands on no transcript when a provider fails (§22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "stt"
ENGINE_ID = "PH1.C"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store. A provider that cannot be had here is left out."""
    from servers.stt.assembly import assemble  # imported late: a client of the name needs no grpc

    return await assemble(runtime)
