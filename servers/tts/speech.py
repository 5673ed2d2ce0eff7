"""One text on its way to a listener, across the providers that speak it.

Whoever speaks, the listener hears one stream at one rate. A provider that takes over begins at the last sentence that
was begun, where the one before told of sentences and the text is plain; else at the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from servers.tts.adapter import AudioChunk, Mark, MarkKind

MAX_CHUNK_BYTES = 15_360
BYTES_A_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where another provider begins: a place in the text, in characters, and in the audio, in samples."""

    text_offset: int = 0
    sample_offset: int = 0


class Speech:
    """The audio that was sent so far. Rates are Hz, offsets samples at `rate_hz`."""

    def __init__(self, text: str, *, rate_hz: int, resumable: bool) -> None:
        self.rate_hz = rate_hz
        self.samples = 0
        self._text = text
        self._resumable = resumable
        self._sentences: list[Resumed] = []

    def resumed(self) -> Resumed:
        """Where the next provider begins."""
        if not self._resumable or not self.samples:
            return Resumed()
        # A sentence is told of before the audio that it lies in, and that may never have come.
        return next((each for each in reversed(self._sentences) if each.sample_offset <= self.samples), Resumed())

    def part(self) -> Part:
        """The next provider's part."""
        begin = self.resumed()
        return Part(self, self._text[begin.text_offset :], begin.text_offset)

    def place(self, pcm: bytes) -> AudioChunk:
        """The next piece to be sent, in its place."""
        placed = AudioChunk(pcm, self.samples, self.rate_hz)
        self.samples += len(pcm) // BYTES_A_SAMPLE
        return placed

    def began(self, mark: Mark) -> None:
        """A sentence was told of, at its place in the whole."""
        if mark.kind is MarkKind.SENTENCE:
            self._sentences.append(Resumed(mark.text_offset, mark.sample_offset))


class Part:
    """What one provider speaks of it, brought to the stream's rate and place."""

    def __init__(self, speech: Speech, text: str, text_offset: int) -> None:
        self.text = text
        self._speech = speech
        self._text_offset = text_offset
        self._begins_at = speech.samples
        self._resampler: Resampler | None = None

    def mark(self, mark: Mark, rate_hz: int) -> Mark:
        """The mark, at its place in the whole. `rate_hz` is the provider's."""
        placed = Mark(
            kind=mark.kind,
            sample_offset=self._begins_at + round(mark.sample_offset * self._speech.rate_hz / rate_hz),
            text_offset=self._text_offset + mark.text_offset,
            text_length=mark.text_length,
            name=mark.name,
        )
        self._speech.began(placed)
        return placed

    def pieces(self, chunk: AudioChunk) -> list[bytes]:
        """The audio that is ready with this chunk, in pieces that a message holds."""
        if self._resampler is None:
            self._resampler = Resampler(chunk.rate_hz, self._speech.rate_hz)
        return _cut(self._resampler.push(chunk.pcm))

    def rest(self) -> list[bytes]:
        """The audio that was held back, likewise; the part is over."""
        return [] if self._resampler is None else _cut(self._resampler.flush())


class Resampler:
    """PCM16 mono from one rate to another; the output does not depend on how the input was split."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        # Not of integers, which soxr dithers as the chunks fall.
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ") if from_hz != to_hz else None
        )

    def push(self, pcm: bytes) -> bytes:
        """What is ready."""
        if self._stream is None:
            return pcm
        return _pcm16(self._stream.resample_chunk(np.frombuffer(pcm, "<i2").astype(np.float32)))

    def flush(self) -> bytes:
        """What was held back."""
        if self._stream is None:
            return b""
        return _pcm16(self._stream.resample_chunk(np.zeros(0, np.float32), last=True))


def _pcm16(samples: np.ndarray) -> bytes:
    return bytes(np.clip(np.rint(samples), -32_768, 32_767).astype("<i2"))


def _cut(pcm: bytes) -> list[bytes]:
    return [pcm[at : at + MAX_CHUNK_BYTES] for at in range(0, len(pcm), MAX_CHUNK_BYTES)]
