"""Text to speech (PH1.TTS): the authoritative playback, by whichever provider its router picks.

It says what it is given and nothing else; it never decides what to say (§22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.runtime.server import Runtime, Service

NAME = "tts"
ENGINE_ID = "PH1.TTS"


async def build(runtime: Runtime) -> Sequence[Service]:
    """The services of this owner, on the runtime's store."""
    from servers.tts.assembly import assemble  # imported late: a client of the name needs no grpc

    return await assemble(runtime)
