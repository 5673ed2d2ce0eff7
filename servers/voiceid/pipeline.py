"""One utterance from frames to model windows, while it arrives (VID-2).

bytes → samples → 16 kHz → voice activity → features → the voiced features of every model, cut into windows. Work is
done in blocks of 256 ms, so what comes out does not depend on how the stream was cut into frames. Embedding the windows
is left to the caller; only the last window of each model waits for the end of the utterance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from selene.common.v1 import audio_pb2

from servers.runtime.audio.decode import open_decoder
from servers.runtime.audio.resample import MODEL_RATE_HZ, Resampler
from servers.voiceid.fingerprint import Fingerprint, FingerprintStream
from servers.voiceid.frontend import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    FbankStream,
    MelStream,
    campplus_input,
    floor_gain,
    ge2e_input,
)
from servers.voiceid.models.manifest import ModelManifest
from servers.voiceid.quality import Quality, QualityMeter
from servers.voiceid.vad import CHUNK_SAMPLES, SpeechEvent, VadStep

Samples = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

BLOCK_SAMPLES = 8 * CHUNK_SAMPLES
FRAMES_PER_SECOND = MODEL_RATE_HZ // HOP_SAMPLES
# The largest magnitude that 16-bit PCM has on both sides of zero: a sample that reaches it was clipped.
PCM_SCALE = 32767
FULL_SCALE = PCM_SCALE / 32768

LEAST_ADDED = 1 / 3
"""A last window is embedded if it adds at least that share of what was heard before: at the end of speech it is waited
for, and less hardly moves a voiceprint that weighs windows by their length."""

_NOTHING: Samples = np.zeros(0, np.float32)


class VoiceActivity(Protocol):
    """One stream's voice activity: takes 16 kHz samples, answers for chunks of 512."""

    @property
    def voiced_samples(self) -> int: ...

    def push(self, samples: Samples) -> VadStep: ...

    def flush(self) -> VadStep: ...


class Features(Protocol):
    """One stream's front end: 16 kHz samples in, frames of 10 ms out."""

    def push(self, samples: Samples) -> Samples: ...

    def flush(self) -> Samples: ...


@dataclass(frozen=True, slots=True)
class FrontEndKind:
    """How a front end is opened, where its frames are centred, and how a window of them is fed to a model."""

    open: Callable[[], Features]
    first_centre: int
    shape: Callable[[Samples], Samples]


FRONT_ENDS: Mapping[str, FrontEndKind] = {
    "fbank80": FrontEndKind(FbankStream, FRAME_SAMPLES // 2, campplus_input),
    "mel40": FrontEndKind(MelStream, 0, lambda frames: ge2e_input(frames, floor_gain(frames))),
}


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """How one model's voiced frames (10 ms each) are cut. An utterance shorter than `least` is not embedded at all."""

    front_end: str
    window: int
    hop: int
    least: int

    @classmethod
    def of(cls, manifest: ModelManifest) -> WindowPlan:
        """The plan that a manifest asks for. Raises ValueError for a front end that this project does not have."""
        if manifest.front_end.id not in FRONT_ENDS:
            known = ", ".join(sorted(FRONT_ENDS))
            raise ValueError(f"{manifest.model_id} wants front end {manifest.front_end.id!r}; there are: {known}")
        seconds = (manifest.window_seconds, manifest.hop_seconds, manifest.min_seconds)
        window, hop, least = (round(value * FRAMES_PER_SECOND) for value in seconds)
        return cls(manifest.front_end.id, window, hop, least)


@dataclass(frozen=True, slots=True)
class Window:
    """Features for one model call, ``[T, bands]``, and the model's index. `fresh` frames are in no earlier window."""

    model: int
    features: Samples
    fresh: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What the newest audio brought: speech events in order and windows that are complete."""

    events: tuple[SpeechEvent, ...] = ()
    windows: tuple[Window, ...] = ()


class Utterance:
    """One stream of audio. Not safe for several threads; `AudioError` of the decoder passes through."""

    def __init__(
        self, audio_format: audio_pb2.AudioFormat, activity: VoiceActivity, plans: Sequence[WindowPlan]
    ) -> None:
        self._decoder = open_decoder(audio_format)
        self._resampler = Resampler(self._decoder.rate_hz)
        self._activity = activity
        self._meter = QualityMeter(self._decoder.rate_hz, FULL_SCALE)
        self._fingerprints = FingerprintStream()
        self._undecoded: list[bytes] = []
        self._undecoded_s = 0.0
        self._pending: list[Samples] = []
        self._pending_samples = 0
        self._mask: Mask = np.zeros(0, np.bool_)
        self._audio: deque[npt.NDArray[np.int16]] = deque()
        self._forgotten = 0
        self._processed = 0
        self._front_ends = {plan.front_end: _FrontEnd(FRONT_ENDS[plan.front_end]) for plan in plans}
        self._cutters = [_Cutter(index, plan) for index, plan in enumerate(plans)]

    @property
    def voiced_seconds(self) -> float:
        """The voiced part of what was processed."""
        return self._activity.voiced_samples / MODEL_RATE_HZ

    @property
    def audio_seconds(self) -> float:
        """All audio taken so far."""
        return self._meter.duration_s + self._undecoded_s

    @property
    def quality(self) -> Quality:
        """Duration, levels, clipping, noise and loss so far."""
        return self._meter.report()

    @property
    def processed_samples(self) -> int:
        """Samples at 16 kHz that have gone through."""
        return self._processed

    def audio(self, start: int, end: int) -> Samples:
        """Processed samples at 16 kHz from ``start`` to ``end``. ValueError for samples that were forgotten."""
        if start < self._forgotten:
            raise ValueError(f"audio is kept from sample {self._forgotten}, not from {start}")
        kept = np.concatenate(self._audio) if self._audio else np.zeros(0, np.int16)
        return kept[start - self._forgotten : end - self._forgotten].astype(np.float32) * np.float32(1 / PCM_SCALE)

    def forget(self, before: int) -> None:
        """Nobody will ask for `audio` before that sample any more."""
        while self._audio and self._forgotten + len(self._audio[0]) <= before:
            self._forgotten += len(self._audio.popleft())

    def fingerprint(self) -> Fingerprint:
        """Of the whole utterance; call it once, after `finish`."""
        return self._fingerprints.finish(self._mask)

    def glimpse(self) -> Window | None:
        """What the first model could hear of the speech while it is less than a window; None before there is enough."""
        cutter = self._cutters[0]
        return cutter.glimpse(self._frames_of(cutter))

    def push(self, frame: bytes, offset_s: float | None = None) -> Heard:
        """Take the bytes of one frame and, if the sender gave it, the frame's offset in seconds."""
        if offset_s is not None:
            self._meter.sent(offset_s, self.audio_seconds)
        self._undecoded.append(frame)
        self._undecoded_s += len(frame) * self._decoder.seconds_a_byte
        if self._decoder.seconds_a_byte and self._pending_samples < BLOCK_SAMPLES - self._undecoded_s * MODEL_RATE_HZ:
            return Heard()
        self._decode()
        if self._pending_samples < BLOCK_SAMPLES:
            return Heard()
        joined = np.concatenate(self._pending)
        whole = len(joined) - len(joined) % BLOCK_SAMPLES
        self._pending = [joined[whole:]]
        self._pending_samples = len(joined) - whole
        events: list[SpeechEvent] = []
        windows: list[Window] = []
        for start in range(0, whole, BLOCK_SAMPLES):
            heard = self._block(joined[start : start + BLOCK_SAMPLES])
            events += heard.events
            windows += heard.windows
        return Heard(tuple(events), tuple(windows))

    def finish(self) -> Heard:
        """The utterance has ended: the rest of the audio and the last window of every model."""
        self._decode()
        self._decoder.finish()
        self._queue(self._resampler.flush())
        rest = np.concatenate(self._pending) if self._pending else _NOTHING
        self._pending, self._pending_samples = [], 0
        first, last = self._activity.push(rest), self._activity.flush()
        step = VadStep(first.events + last.events, np.concatenate((first.voiced, last.voiced)))
        self._listen(rest, step.voiced)
        for front_end in self._front_ends.values():
            front_end.finish(rest, self._mask)
        windows = [window for cutter in self._cutters for window in cutter.finish(self._frames_of(cutter))]
        return Heard(step.events, tuple(windows))

    def _decode(self) -> None:
        if not self._undecoded:
            return
        joined = b"".join(self._undecoded)
        self._undecoded.clear()
        self._undecoded_s = 0.0
        native = self._decoder.push(joined)
        self._meter.hear(native)
        self._queue(self._resampler.push(native))

    def _queue(self, samples: Samples) -> None:
        if len(samples):
            self._pending.append(samples)
            self._pending_samples += len(samples)

    def _block(self, samples: Samples) -> Heard:
        step = self._activity.push(samples)
        self._listen(samples, step.voiced)
        for front_end in self._front_ends.values():
            front_end.push(samples, self._mask)
        windows = [window for cutter in self._cutters for window in cutter.push(self._frames_of(cutter))]
        return Heard(step.events, tuple(windows))

    def _listen(self, samples: Samples, voiced: Mask) -> None:
        self._mask = np.concatenate((self._mask, voiced))
        whole = len(samples) // CHUNK_SAMPLES
        self._meter.judge(samples[: whole * CHUNK_SAMPLES].reshape(whole, CHUNK_SAMPLES), voiced[:whole])
        self._fingerprints.push(samples)
        self._audio.append((samples * np.float32(PCM_SCALE)).astype(np.int16))
        self._processed += len(samples)

    def _frames_of(self, cutter: _Cutter) -> _FrontEnd:
        return self._front_ends[cutter.plan.front_end]


class _FrontEnd:
    """One front end of one stream: computes every frame and keeps the voiced ones."""

    def __init__(self, kind: FrontEndKind) -> None:
        self.shape = kind.shape
        self._features = kind.open()
        self._centre = kind.first_centre
        self._kept: list[Samples] = []
        self.voiced = 0

    def push(self, samples: Samples, mask: Mask) -> None:
        self._keep(self._features.push(samples), mask)

    def finish(self, samples: Samples, mask: Mask) -> None:
        self._keep(self._features.push(samples), mask)
        self._keep(self._features.flush(), mask)

    def _keep(self, frames: Samples, mask: Mask) -> None:
        """Keep the frames whose centre lies in a voiced chunk; beyond the last chunk nothing is voiced."""
        if not len(frames):
            return
        chunks = (self._centre + HOP_SAMPLES * np.arange(len(frames))) // CHUNK_SAMPLES
        self._centre += HOP_SAMPLES * len(frames)
        inside = chunks < len(mask)
        voiced = frames[inside][mask[chunks[inside]]]
        if len(voiced):
            self._kept.append(voiced)
            self.voiced += len(voiced)

    def cut(self, start: int, end: int) -> Samples:
        """Voiced frames ``start`` to ``end`` as a model wants them."""
        if len(self._kept) > 1:
            self._kept = [np.concatenate(self._kept)]
        return self.shape(self._kept[0][start:end])


class _Cutter:
    """Cuts one model's windows out of its front end's voiced frames."""

    def __init__(self, model: int, plan: WindowPlan) -> None:
        self.plan = plan
        self._model = model
        self._next = 0
        self._covered = 0

    def push(self, frames: _FrontEnd) -> list[Window]:
        windows = []
        while frames.voiced >= self._next + self.plan.window:
            end = self._next + self.plan.window
            windows.append(Window(self._model, frames.cut(self._next, end), end - self._covered))
            self._covered = end
            self._next += self.plan.hop
        return windows

    def glimpse(self, frames: _FrontEnd) -> Window | None:
        if self._covered or frames.voiced < self.plan.least:
            return None
        return Window(self._model, frames.cut(0, frames.voiced), frames.voiced)

    def finish(self, frames: _FrontEnd) -> list[Window]:
        """What is left, unless it is too short to say much, or little beside what was embedded before."""
        windows = self.push(frames)
        fresh = frames.voiced - self._covered
        least = self.plan.least if self._covered == 0 else max(self.plan.hop / 2, self._covered * LEAST_ADDED)
        if fresh >= least:
            windows.append(Window(self._model, frames.cut(self._covered, frames.voiced), fresh))
        return windows


def unit(vector: npt.NDArray[np.floating]) -> Samples | None:
    """The vector at length 1, or None for the zero vector, which has no direction."""
    norm = float(np.linalg.norm(vector))
    return None if norm == 0.0 else (vector / norm).astype(np.float32)


class Voiceprint:
    """Window embeddings of one utterance, averaged by the frames that each brought anew."""

    def __init__(self, dimensions: Sequence[int]) -> None:
        self._sums = [np.zeros(size, np.float64) for size in dimensions]

    def add(self, window: Window, embedding: Samples) -> None:
        """Take one window's embedding, ``[D]``; its length does not count. A zero vector counts for nothing."""
        norm = float(np.linalg.norm(embedding))
        if norm > 0.0:
            self._sums[window.model] += window.fresh * (embedding.astype(np.float64) / norm)

    def of(self, model: int) -> Samples | None:
        """Unit vector ``[D]`` of one model, or None when it has heard nothing yet."""
        return unit(self._sums[model])

    def all(self) -> tuple[Samples, ...] | None:
        """Unit vectors of every model, or None while one has heard nothing."""
        vectors = [self.of(model) for model in range(len(self._sums))]
        return None if any(vector is None for vector in vectors) else tuple(v for v in vectors if v is not None)
