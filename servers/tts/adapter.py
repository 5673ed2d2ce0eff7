"""What the TTS owner asks of a provider, and the only things that a provider may answer (§23, RTE-7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Protocol

from selene.provider.v1.provider_pb2 import ProviderResultV1

from servers.routing.reasons import ProviderReason
from servers.tts.lexicon import Pronunciation


class TtsReason(StrEnum):
    """``reason_code`` of a TTS provider's result, where it is not a `ProviderReason` of routing."""

    SPOKEN = "SPOKEN"
    INTERRUPTED = "INTERRUPTED"
    TEXT_EMPTY = "TEXT_EMPTY"
    TEXT_TOO_LONG = "TEXT_TOO_LONG"
    TEXT_UNSPEAKABLE = "TEXT_UNSPEAKABLE"
    SSML_MALFORMED = "SSML_MALFORMED"
    SSML_UNSUPPORTED = "SSML_UNSUPPORTED"
    LOCALE_UNSUPPORTED = "LOCALE_UNSUPPORTED"
    RATE_OUT_OF_RANGE = "RATE_OUT_OF_RANGE"


CALLER_FAULTS = frozenset(
    {
        TtsReason.TEXT_EMPTY,
        TtsReason.TEXT_TOO_LONG,
        TtsReason.TEXT_UNSPEAKABLE,
        TtsReason.SSML_MALFORMED,
        TtsReason.SSML_UNSUPPORTED,
        TtsReason.LOCALE_UNSUPPORTED,
        TtsReason.RATE_OUT_OF_RANGE,
        ProviderReason.CONTENT_REFUSED,
    }
)
"""Reasons that lie in what was asked: they say nothing of the provider's health and must not open its circuit."""


class Markup(Enum):
    """How the text of a synthesis is to be read."""

    PLAIN = auto()
    SSML = auto()


class MarkKind(Enum):
    """What a mark points at. NAMED is a ``<mark/>`` of the SSML."""

    SENTENCE = auto()
    WORD = auto()
    NAMED = auto()


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What to say, in which locale (BCP 47), how fast (100 is the voice's own pace), and the ids to carry back.

    `pronunciations` are of terms in the text; a provider that can say sounds says them so, others read what is written.
    """

    tenant_id: str
    request_id: str
    idempotency_key: str
    text: str
    locale: str
    markup: Markup = Markup.PLAIN
    rate_percent: int = 100
    simulation_context_ref: str = "none"
    pronunciations: tuple[Pronunciation, ...] = ()


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Little-endian PCM16, mono; ``sample_offset`` is where it begins in the whole synthesis."""

    pcm: bytes
    sample_offset: int
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What begins at ``sample_offset``: a stretch of the spoken text, in characters, or a place with a name.

    The spoken text of plain text is the text itself; of SSML it is what remains without tags, substitutions made.
    """

    kind: MarkKind
    sample_offset: int
    text_offset: int
    text_length: int = 0
    name: str = ""


TtsEvent = AudioChunk | Mark | ProviderResultV1


class TtsAdapter(Protocol):
    """A provider of speech."""

    provider_ref: str

    def synthesise(
        self, request: Synthesis, *, deadline: float, interrupt: asyncio.Event | None = None
    ) -> AsyncGenerator[TtsEvent, None]:
        """Chunks as they are produced, each mark before the chunk that it lies in, then the result.

        ``deadline``, in the seconds of the adapter's monotonic clock, holds until the last chunk was taken. Once
        ``interrupt`` is set no further chunk comes and the result is OK with ``INTERRUPTED``: someone spoke, nothing
        failed. The last event, and only the last, is a ProviderResultV1 (``latency``: to the first chunk). Nothing
        that goes wrong with the provider is raised. Close the generator to give up without a result.
        """
        ...
