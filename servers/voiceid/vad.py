"""Voice activity from speech probabilities: which 32 ms chunks are voiced, and where speech begins and ends.

The probabilities come from a model that sees chunks of 512 samples at 16 kHz, each with the 64 samples before it;
:class:`ChunkFramer` cuts them, :class:`VadStream` turns the answers into events. All offsets are in samples at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from selene.voiceid.v1 import voiceid_pb2

CHUNK_SAMPLES = 512
CONTEXT_SAMPLES = 64
WINDOW_SAMPLES = CONTEXT_SAMPLES + CHUNK_SAMPLES

Samples = npt.NDArray[np.float32]

_NO_WINDOWS: Samples = np.zeros((0, WINDOW_SAMPLES), np.float32)


class ChunkFramer:
    """Cuts a stream into the model's windows; the result does not depend on how the stream was split."""

    def __init__(self) -> None:
        self._rest = np.zeros(CONTEXT_SAMPLES, np.float32)
        self.total_samples = 0

    def push(self, samples: Samples) -> Samples:
        """The windows that are complete now, ``[n, 576]``, n ≥ 0."""
        self.total_samples += len(samples)
        pending = np.concatenate((self._rest, samples))
        count = (len(pending) - CONTEXT_SAMPLES) // CHUNK_SAMPLES
        self._rest = pending[count * CHUNK_SAMPLES :]
        if count == 0:
            return _NO_WINDOWS
        # Overlapping rows of one buffer: sliding_window_view does the same at ten times the cost.
        return np.ndarray((count, WINDOW_SAMPLES), np.float32, pending, strides=(CHUNK_SAMPLES * 4, 4))

    def flush(self) -> Samples:
        """The last, partial chunk padded with zeros, ``[1, 576]``, or nothing, ``[0, 576]``."""
        left = len(self._rest) - CONTEXT_SAMPLES
        if left == 0:
            return _NO_WINDOWS
        window = np.zeros((1, WINDOW_SAMPLES), np.float32)
        window[0, : len(self._rest)] = self._rest
        self._rest = np.zeros(CONTEXT_SAMPLES, np.float32)
        return window


@dataclass(frozen=True, slots=True)
class VadPolicy:
    """When a chunk is voiced and when voiced chunks are speech. Durations in samples at 16 kHz.

    A chunk becomes voiced at ``begin_probability`` and stays so down to ``end_probability``. Speech begins after
    ``min_speech`` of unbroken voice and ends after ``min_silence`` without any.
    """

    begin_probability: float
    end_probability: float
    min_speech: int
    min_silence: int

    def __post_init__(self) -> None:
        if not 0 < self.end_probability <= self.begin_probability <= 1:
            raise ValueError("0 < end_probability <= begin_probability <= 1")
        if self.min_speech < 0 or self.min_silence < 0:
            raise ValueError("durations are not negative")


@dataclass(frozen=True, slots=True)
class SpeechEvent:
    """Speech began or ended at ``offset``."""

    kind: voiceid_pb2.SpeechEvent.Kind
    offset: int


@dataclass(frozen=True, slots=True)
class VadStep:
    """What the newest chunks said: events in order, and which of the chunks are voiced, ``[n]``."""

    events: tuple[SpeechEvent, ...]
    voiced: npt.NDArray[np.bool_]


class VadStream:
    """Hysteresis over one stream's probabilities."""

    def __init__(self, policy: VadPolicy) -> None:
        self._policy = policy
        self._position = 0
        self._voiced_since: int | None = None
        self._silent_since: int | None = None
        self.speaking = False
        self.voiced_samples = 0

    def push(self, probabilities: npt.NDArray[np.float32]) -> VadStep:
        """Take the probabilities of the next chunks, ``[n]``. NaN raises ``ValueError``: silence is not the answer."""
        if not np.isfinite(probabilities).all():
            raise ValueError("a speech probability is not finite")
        return self._advance([float(p) for p in probabilities], self._position + len(probabilities) * CHUNK_SAMPLES)

    def flush(self, probabilities: npt.NDArray[np.float32], total_samples: int) -> VadStep:
        """Take the probability of the last, partial chunk, ``[0]`` or ``[1]``, and end speech that is still open."""
        if not np.isfinite(probabilities).all():
            raise ValueError("a speech probability is not finite")
        step = self._advance([float(p) for p in probabilities], total_samples)
        if not self.speaking:
            return step
        end = total_samples if self._silent_since is None else self._silent_since
        self.speaking = False
        return VadStep((*step.events, SpeechEvent(voiceid_pb2.SpeechEvent.KIND_SPEECH_END, end)), step.voiced)

    def _advance(self, probabilities: list[float], limit: int) -> VadStep:
        events: list[SpeechEvent] = []
        voiced = np.zeros(len(probabilities), np.bool_)
        for index, probability in enumerate(probabilities):
            start, end = self._position, min(self._position + CHUNK_SAMPLES, limit)
            self._position = end
            voiced[index] = self._is_voiced(probability)
            event = self._voice(start, end) if voiced[index] else self._silence(start, end)
            if event is not None:
                events.append(event)
        return VadStep(tuple(events), voiced)

    def _is_voiced(self, probability: float) -> bool:
        continuing = self._voiced_since is not None
        return probability >= (self._policy.end_probability if continuing else self._policy.begin_probability)

    def _voice(self, start: int, end: int) -> SpeechEvent | None:
        self.voiced_samples += end - start
        self._silent_since = None
        if self._voiced_since is None:
            self._voiced_since = start
        if self.speaking or end - self._voiced_since < self._policy.min_speech:
            return None
        self.speaking = True
        return SpeechEvent(voiceid_pb2.SpeechEvent.KIND_SPEECH_BEGIN, self._voiced_since)

    def _silence(self, start: int, end: int) -> SpeechEvent | None:
        self._voiced_since = None
        if self._silent_since is None:
            self._silent_since = start
        if not self.speaking or end - self._silent_since < self._policy.min_silence:
            return None
        self.speaking = False
        return SpeechEvent(voiceid_pb2.SpeechEvent.KIND_SPEECH_END, self._silent_since)
