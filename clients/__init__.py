"""The Python client of Selene: a typed async client over grpc.aio, and the `selene` command built on it.

    async with clients.connect("127.0.0.1:7401") as connection:
        voice = clients.VoiceId(connection)
        async with voice.identify(rate=16_000) as stream:
            async for frame in microphone():
                await stream.send(frame)
            outcome = await stream.finish()

Messages that people meet are dataclasses from `selene_messages`; what travels are the generated stubs of `selene`.
"""

from clients.audit import Audit
from clients.channel import Connection, InsecureToken, Tls, connect
from clients.delivery import Deliveries
from clients.errors import SeleneError, Violation
from clients.language import Language, Reply
from clients.routing import Circuits, Limits, Routing
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
    "InsecureToken",
    "Language",
    "Limits",
    "Outcome",
    "Reply",
    "Routing",
    "SeleneError",
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
