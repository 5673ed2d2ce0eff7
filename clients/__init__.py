"""The Python client of Selene: a typed async client over grpc.aio, and the `selene` command built on it.

    async with clients.connect("127.0.0.1:7401") as connection:
        voice = clients.VoiceId(connection)
        async with voice.identify(rate=16_000) as stream:
            async for frame in microphone():
                await stream.send(frame)
            outcome = await stream.finish()

Messages that people meet are dataclasses from `selene_messages`; what travels are the generated stubs of `selene`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.audit import Audit
    from clients.channel import Connection, InsecureToken, Tls, connect
    from clients.delivery import Deliveries
    from clients.errors import SeleneError, Violation
    from clients.language import Language, Reply
    from clients.proof import Evidence, ProofBroken
    from clients.routing import Circuits, Limits, Routing
    from clients.signals import Signals, SignalStream
    from clients.speech import Speech, Spoken, Stt, Transcription, Tts
    from clients.stream import DecisionStream, Outcome
    from clients.voiceid import Enrolled, VoiceId

__all__ = [
    "Audit",
    "Circuits",
    "Connection",
    "DecisionStream",
    "Deliveries",
    "Enrolled",
    "Evidence",
    "InsecureToken",
    "Language",
    "Limits",
    "Outcome",
    "ProofBroken",
    "Reply",
    "Routing",
    "SeleneError",
    "SignalStream",
    "Signals",
    "Speech",
    "Spoken",
    "Stt",
    "Tls",
    "Transcription",
    "Tts",
    "Violation",
    "VoiceId",
    "connect",
]

# Imported when first asked for: importing gRPC takes long, and `selene` must first say what gRPC reads at its import.
_HOMES = {
    "Audit": "clients.audit",
    "Circuits": "clients.routing",
    "Connection": "clients.channel",
    "DecisionStream": "clients.stream",
    "Deliveries": "clients.delivery",
    "Enrolled": "clients.voiceid",
    "Evidence": "clients.proof",
    "InsecureToken": "clients.channel",
    "Language": "clients.language",
    "Limits": "clients.routing",
    "Outcome": "clients.stream",
    "ProofBroken": "clients.proof",
    "Reply": "clients.language",
    "Routing": "clients.routing",
    "SeleneError": "clients.errors",
    "SignalStream": "clients.signals",
    "Signals": "clients.signals",
    "Speech": "clients.speech",
    "Spoken": "clients.speech",
    "Stt": "clients.speech",
    "Tls": "clients.channel",
    "Transcription": "clients.speech",
    "Tts": "clients.speech",
    "Violation": "clients.errors",
    "VoiceId": "clients.voiceid",
    "connect": "clients.channel",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
