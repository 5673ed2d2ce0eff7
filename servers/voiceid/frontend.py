"""The two front ends, incremental: push samples as they arrive, get the frames they complete.

Samples are mono float32 at 16 kHz in [-1, 1]; a frame is 25 ms every 10 ms. However the samples are cut into pushes,
the frames are those of the whole recording. A not-a-number sample spoils the frames that cover it and no others.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from servers.runtime.mel import slaney_bank, triangles

SAMPLE_RATE_HZ = 16_000
FRAME_SAMPLES = 400
HOP_SAMPLES = 160
FBANK_BANDS = 80
MEL_BANDS = 40
FLOOR_DBFS = -30.0

_FBANK_FFT = 512
_FBANK_LOW_HZ = 20.0
_PREEMPHASIS = 0.97
_POVEY_EXPONENT = 0.85

Array = NDArray[np.float32]
Points = NDArray[np.floating[Any]]


class FbankStream:
    """Kaldi log filter banks for CAM++: f32[k, 80] of the frames that lie wholly inside the samples so far.

    Nothing is emitted for samples that do not fill a frame (``snip_edges``), so there is nothing to flush.
    ``block`` frames are computed at a time: fewer, larger transforms cost less.
    """

    def __init__(self, block: int = 16) -> None:
        self._framing = _Framing(block, pending=0)
        shape = np.hanning(FRAME_SAMPLES) ** _POVEY_EXPONENT
        self._window = shape.astype(np.float32)
        self._bank = _kaldi_bank()

    def push(self, samples: Array) -> Array:
        return self._features(self._framing.push(samples))

    def flush(self) -> Array:
        """The frames that a block still held back."""
        return self._features(self._framing.rest())

    def _features(self, frames: Array) -> Array:
        if not len(frames):
            return np.zeros((0, FBANK_BANDS), np.float32)
        centred = frames - frames.mean(axis=1, keepdims=True)
        emphasised = centred.copy()
        emphasised[:, 1:] -= np.float32(_PREEMPHASIS) * centred[:, :-1]
        emphasised[:, 0] *= np.float32(1 - _PREEMPHASIS)
        emphasised *= self._window
        energies = _power(emphasised, _FBANK_FFT) @ self._bank
        logarithms: Array = np.log(np.maximum(energies, np.finfo(np.float32).eps))
        return logarithms


class MelStream:
    """Mel power for GE2E: f32[k, 41], 40 bands and, last, the mean square of the frame's 10 ms of samples.

    Frame ``i`` is centred on sample ``160 * i``, with zeros beyond both ends: n samples make ``1 + n // 160`` frames,
    the last of them on ``flush``. The power column is what ``floor_gain`` levels a window by.
    """

    def __init__(self, block: int = 16) -> None:
        self._framing = _Framing(block, pending=FRAME_SAMPLES // 2)
        self._window = np.hanning(FRAME_SAMPLES + 1)[:-1].astype(np.float32)
        self._bank = slaney_bank(MEL_BANDS, FRAME_SAMPLES, SAMPLE_RATE_HZ)

    def push(self, samples: Array) -> Array:
        return self._features(self._framing.push(samples))

    def flush(self) -> Array:
        """The frames at the end of the recording. Nothing may be pushed afterwards."""
        self._framing.extend(np.zeros(FRAME_SAMPLES // 2, np.float32))
        return self._features(self._framing.rest())

    def _features(self, frames: Array) -> Array:
        if not len(frames):
            return np.zeros((0, MEL_BANDS + 1), np.float32)
        features = np.empty((len(frames), MEL_BANDS + 1), np.float32)
        np.matmul(_power(frames * self._window, FRAME_SAMPLES), self._bank, out=features[:, :MEL_BANDS])
        own = frames[:, FRAME_SAMPLES // 2 : FRAME_SAMPLES // 2 + HOP_SAMPLES]
        np.einsum("ks,ks->k", own, own, out=features[:, MEL_BANDS])
        features[:, MEL_BANDS] /= HOP_SAMPLES
        return features


def campplus_input(frames: Array) -> Array:
    """A window of filter banks f32[..., T, 80] minus its own mean over time."""
    centred: Array = frames - frames.mean(axis=-2, keepdims=True)
    return centred


def ge2e_input(frames: Array, gain: Array | float = 1.0) -> Array:
    """A window of ``MelStream`` frames f32[..., T, 41] as mels f32[..., T, 40], times a power gain f32[...]."""
    scaled: Array = frames[..., :MEL_BANDS] * np.asarray(gain, np.float32)[..., None, None]
    return scaled


def floor_gain(frames: Array) -> Array:
    """The power gain f32[...] that raises windows f32[..., T, 41] to -30 dBFS; 1 for louder ones and for silence.

    Power is linear in it, so a window can be levelled after its frames were computed and before the recording ends.
    """
    power = frames[..., MEL_BANDS].mean(axis=-1, dtype=np.float64)
    floor = 10.0 ** (FLOOR_DBFS / 10.0)
    audible = power > np.finfo(np.float32).tiny
    return np.where(audible, np.maximum(floor / np.where(audible, power, 1.0), 1.0), 1.0).astype(np.float32)


class _Framing:
    """Cuts a stream of samples into frames f32[k, 400] every 160 samples; ``pending`` zeros come first."""

    def __init__(self, block: int, pending: int) -> None:
        self._block = block
        self._parts = [np.zeros(pending, np.float32)]
        self._length = pending

    def push(self, samples: Array) -> Array:
        self.extend(samples)
        return self._take(self._block)

    def extend(self, samples: Array) -> None:
        self._parts.append(samples.astype(np.float32))
        self._length += len(samples)

    def rest(self) -> Array:
        return self._take(1)

    def _take(self, least: int) -> Array:
        """All whole frames, as a view that overlaps itself, or none while fewer than ``least`` are there."""
        count = (self._length - FRAME_SAMPLES) // HOP_SAMPLES + 1
        if count < least:
            return np.zeros((0, FRAME_SAMPLES), np.float32)
        samples = np.concatenate(self._parts)
        self._parts = [samples[count * HOP_SAMPLES :]]
        self._length -= count * HOP_SAMPLES
        step = samples.itemsize
        strides = (HOP_SAMPLES * step, step)
        return np.lib.stride_tricks.as_strided(samples, (count, FRAME_SAMPLES), strides, writeable=False)


def _power(frames: Array, size: int) -> Array:
    spectrum = np.fft.rfft(frames, size)
    power: Array = np.square(spectrum.real) + np.square(spectrum.imag)
    return power


def _kaldi_bank() -> Array:
    """f32[257, 80]: triangles in Kaldi's mel scale from 20 Hz to 8 kHz; the Nyquist bin carries nothing."""
    low, high = _kaldi_mel(np.array([_FBANK_LOW_HZ, SAMPLE_RATE_HZ / 2]))
    edges = np.linspace(low, high, FBANK_BANDS + 2)
    bank = triangles(_kaldi_mel(np.fft.rfftfreq(_FBANK_FFT, 1 / SAMPLE_RATE_HZ)), edges)
    bank[-1] = 0
    return bank.astype(np.float32)


def _kaldi_mel(hertz: Points) -> Points:
    mel: Points = 1127.0 * np.log1p(hertz / 700.0)
    return mel
