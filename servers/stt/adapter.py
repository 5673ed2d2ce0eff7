"""What the STT owner asks of a provider, and the only things that a provider may answer (§23, RTE-7)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from selene.provider.v1.provider_pb2 import ProviderResultV1

from servers.routing.reasons import ProviderReason

RATE_HZ = 16_000
BYTES_A_SAMPLE = 2


class SttReason(StrEnum):
    """``reason_code`` of an STT provider's result, where it is not a `ProviderReason` of routing."""

    TRANSCRIBED = "TRANSCRIBED"
    NO_SPEECH = "NO_SPEECH"
    AUDIO_MALFORMED = "AUDIO_MALFORMED"
    AUDIO_TOO_LONG = "AUDIO_TOO_LONG"
    LOCALE_UNSUPPORTED = "LOCALE_UNSUPPORTED"


CALLER_FAULTS = frozenset(
    {
        SttReason.NO_SPEECH,
        SttReason.AUDIO_MALFORMED,
        SttReason.AUDIO_TOO_LONG,
        SttReason.LOCALE_UNSUPPORTED,
        ProviderReason.CONTENT_REFUSED,
    }
)
"""Reasons that lie in what was sent: they say nothing of the provider's health and must not open its circuit."""


@dataclass(frozen=True, slots=True)
class Transcription:
    """What to transcribe: the locale spoken (BCP 47), and the ids that the result carries back.

    `terms` are names and words that may be said, the most frequent first: hints, which a provider may leave aside.
    """

    tenant_id: str
    request_id: str
    idempotency_key: str
    locale: str
    simulation_context_ref: str = "none"
    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Interim:
    """What the audio so far sounds like; the next one replaces it. ``end_s`` is how much audio it covers, seconds."""

    text: str
    end_s: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word, where it lies in the audio in seconds, and the provider's own confidence in it, basis points."""

    text: str
    start_s: float
    end_s: float
    confidence_bp: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """All that was said, final. ``text`` is the words, joined by spaces; ``audio_s`` how much audio was heard."""

    text: str
    words: tuple[Word, ...]
    audio_s: float


SttEvent = Interim | Transcript | ProviderResultV1


class SttAdapter(Protocol):
    """A provider of transcripts."""

    provider_ref: str

    def transcribe(
        self, request: Transcription, audio: AsyncIterator[bytes], *, deadline: float
    ) -> AsyncGenerator[SttEvent, None]:
        """Interims while ``audio`` flows, a Transcript when it has ended and speech was found, then the result.

        ``audio`` is frames of little-endian PCM16, mono, 16 kHz, each of whole samples; it is read as fast as it is
        decoded. ``deadline`` is in the seconds of the adapter's monotonic clock. The last event, and only the last, is
        a ProviderResultV1 (``latency``: from the end of ``audio``). Nothing that goes wrong with the provider is
        raised; what ``audio`` itself raises passes through. Close the generator to give the provider up early.
        """
        ...
