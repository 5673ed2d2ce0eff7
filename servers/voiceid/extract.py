"""Recordings through the streaming pipeline, for calibration, benchmarks and tests: what is measured is what serves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from selene.common.v1 import audio_pb2

from servers.runtime.audio.decode import AudioError
from servers.runtime.audio.resample import MODEL_RATE_HZ, Resampler
from servers.voiceid.batcher import Batcher, ModelFailed, ModelSlow
from servers.voiceid.calibration.folder import ClipUnusable, Cut, Heard
from servers.voiceid.enrolment import centroid
from servers.voiceid.scorer import VAD_POLICY, Listening, Models
from servers.voiceid.silero import Vad
from servers.voiceid.vad import CHUNK_SAMPLES

Floats = npt.NDArray[np.float32]

FRAME_SECONDS = 0.02
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Recording:
    """Mono samples in [-1, 1], ``[n]``, at one of the rates of the contract."""

    samples: Floats
    rate_hz: int

    @classmethod
    def read(cls, path: Path) -> Recording:
        """A WAV or FLAC file; channels are averaged. Raises soundfile.SoundFileError."""
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        return cls(samples.mean(axis=1), int(rate_hz))

    def at_model_rate(self) -> Recording:
        """The same sound at 16 kHz."""
        resampler = Resampler(self.rate_hz)
        return Recording(np.concatenate((resampler.push(self.samples), resampler.flush())), MODEL_RATE_HZ)

    def frames(self) -> Sequence[bytes]:
        """LINEAR16 frames of 20 ms, as a phone sends them."""
        pcm = (np.clip(self.samples, -1, 1) * 32767).astype("<i2")
        step = round(self.rate_hz * FRAME_SECONDS)
        return [pcm[start : start + step].tobytes() for start in range(0, len(pcm), step)]

    def audio_format(self) -> audio_pb2.AudioFormat:
        return audio_pb2.AudioFormat(
            encoding=audio_pb2.AUDIO_ENCODING_LINEAR16, sample_rate_hz=self.rate_hz, channel_count=1
        )


class PipelineExtractor:
    """The calibration's view of the models: clips in, embeddings of their cuts out, through `Listening`."""

    def __init__(self, models: Models, batcher: Batcher) -> None:
        self._models = models
        self._batcher = batcher

    @property
    def models(self) -> tuple[str, ...]:
        return self._models.names

    def voiced_seconds(self, path: Path) -> float:
        """Net speech of a clip. ClipUnusable when it cannot be read."""
        return float(self._voiced(_read(path)).sum()) * CHUNK_SAMPLES / MODEL_RATE_HZ

    def extract(self, path: Path, cuts: Sequence[Cut]) -> Sequence[Heard]:
        """One answer a cut, each streamed alone. ClipUnusable when the clip, or one cut of it, cannot be embedded."""
        return [self.hear(piece) for piece in self.pieces(path, cuts)]

    def pieces(self, path: Path, cuts: Sequence[Cut]) -> Sequence[Recording]:
        """The sound of every cut, at 16 kHz. ClipUnusable when the clip cannot be read."""
        recording = _read(path)
        voiced = self._voiced(recording)
        return [Recording(_cut(recording.samples, voiced, cut), MODEL_RATE_HZ) for cut in cuts]

    def hear(self, recording: Recording) -> Heard:
        """A whole recording, streamed in frames of 20 ms. ClipUnusable when it holds too little speech, or fails."""
        deadline = time.monotonic() + PATIENCE_S
        listening = Listening(self._models, self._batcher, recording.audio_format())
        try:
            for frame in recording.frames():
                listening.push(frame, deadline=deadline)
            listening.finish(deadline=deadline)
            embeddings = asyncio.run(listening.ended_all(deadline=deadline)).all()
        except (AudioError, ModelFailed, ModelSlow) as error:
            raise ClipUnusable(str(error)) from error
        if embeddings is None:
            raise ClipUnusable(f"{listening.utterance.voiced_seconds:.2f} s of speech are too little to be embedded")
        return Heard(listening.utterance.voiced_seconds, embeddings)

    def profile(self, pieces: Sequence[Heard]) -> tuple[Floats, ...]:
        """The profile that enrolment makes of these clips. ClipUnusable when they make none."""
        vectors = [centroid([piece.embeddings[index] for piece in pieces]) for index in range(len(self.models))]
        profile = tuple(vector for vector in vectors if vector is not None)
        if len(profile) != len(vectors):
            raise ClipUnusable("the clips cancel each other out")
        return profile

    def _voiced(self, recording: Recording) -> npt.NDArray[np.bool_]:
        vad = Vad(self._models.vad, VAD_POLICY, block=16)
        steps = (vad.push(recording.samples), vad.flush())
        return np.concatenate([step.voiced for step in steps])


def _read(path: Path) -> Recording:
    try:
        return Recording.read(path).at_model_rate()
    except (soundfile.SoundFileError, OSError, RuntimeError) as error:
        raise ClipUnusable(f"{path.name} cannot be read: {error}") from error


def _cut(samples: Floats, voiced: npt.NDArray[np.bool_], cut: Cut) -> Floats:
    """From the chunk where net speech reaches the cut's start to the one where it reaches its end."""
    spoken = np.cumsum(voiced) * CHUNK_SAMPLES / MODEL_RATE_HZ
    first = int(np.searchsorted(spoken, cut.start, side="right")) if cut.start > 0.0 else 0
    end = math.inf if cut.seconds is None else cut.start + cut.seconds
    last = int(np.searchsorted(spoken, end - 1e-9)) + 1
    return samples[first * CHUNK_SAMPLES : last * CHUNK_SAMPLES]
