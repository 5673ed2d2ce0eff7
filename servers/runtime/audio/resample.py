"""Any contracted sample rate to the 16 kHz that the models hear (VID-2)."""

from __future__ import annotations

import numpy as np
import soxr

from servers.runtime.audio.decode import Samples

MODEL_RATE_HZ = 16_000


class Resampler:
    """Streams one channel to 16 kHz; a stream that is at 16 kHz already passes through untouched.

    The output does not depend on how the input was split. soxr holds some 30 to 100 ms back until :meth:`flush`.
    """

    def __init__(self, rate_hz: int) -> None:
        self._stream = None
        if rate_hz != MODEL_RATE_HZ:
            self._stream = soxr.ResampleStream(rate_hz, MODEL_RATE_HZ, 1, dtype="float32", quality="HQ")

    def push(self, samples: Samples) -> Samples:
        """``[n]`` at the stream's rate to the 16 kHz samples that are ready, ``[m]``, m ≥ 0."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(samples), np.float32)

    def flush(self) -> Samples:
        """The stream has ended: the samples still held. The total is the input's duration at 16 kHz, to one sample."""
        nothing = np.zeros(0, np.float32)
        if self._stream is None:
            return nothing
        return np.asarray(self._stream.resample_chunk(nothing, last=True), np.float32)
