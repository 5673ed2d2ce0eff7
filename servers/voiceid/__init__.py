"""Voice identity (PH1.VOICE.ID): who is speaking, decided over a stream of audio, UNKNOWN whenever it cannot tell.

It never grants authority, never performs side effects, and never names anyone when something is wrong (§35, VID-9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "voiceid"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store. Models that fail their check make it answer UNKNOWN."""
    from servers.voiceid.assembly import assemble  # imported late: rules are importable without grpc and models

    return await assemble(runtime)
