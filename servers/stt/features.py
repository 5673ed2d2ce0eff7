"""What Whisper looks at: the logarithm of 80 mel bands, 100 frames a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from servers.runtime.mel import slaney_bank
from servers.stt.adapter import RATE_HZ

BANDS = 80
FRAMES_A_SECOND = 100
WINDOW_FRAMES = 3_000
"""30 seconds: what the model was trained on, and the most that it takes."""

WINDOW_S = WINDOW_FRAMES / FRAMES_A_SECOND

_FFT = 400
_HOP = RATE_HZ // FRAMES_A_SECOND
_FLOOR = 1e-10
_DYNAMIC_RANGE = 8.0
_VOICED = 10**-3.5
_BREAK_FRAMES = 30

Samples = NDArray[np.float32]


class LogMel:
    """Frames of a window, as Whisper's own front end makes them."""

    def __init__(self) -> None:
        self._bank = slaney_bank(BANDS, _FFT, RATE_HZ)
        self._hann = np.hanning(_FFT + 1)[:-1].astype(np.float32)

    def of(self, samples: Samples, frames: int) -> NDArray[np.float32]:
        """f32[80, frames] of samples in [-1, 1], with silence after them; what does not fit is left out.

        Frame ``i`` is centred on sample ``160 * i``. The loudest band sets the floor, 80 dB below it.
        """
        held = samples[: frames * _HOP]
        padded = np.pad(np.pad(held, (0, frames * _HOP - len(held))), _FFT // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:frames]
        spectrum = np.fft.rfft(windows * self._hann)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        logarithms = np.log10(np.maximum(power @ self._bank, _FLOOR))
        clamped = np.maximum(logarithms, logarithms.max() - _DYNAMIC_RANGE)
        return np.ascontiguousarray(((clamped + 4.0) / 4.0).T, dtype=np.float32)


def voiced_s(samples: Samples) -> float:
    """Seconds in which there is something to hear, 35 dB below the loudest or more, and breaks below 0.3 s in it."""
    blocks = samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)
    power = np.square(blocks).mean(axis=1)
    loud = np.flatnonzero(power > _VOICED * power.max(initial=0.0))
    if not len(loud):
        return 0.0
    gaps = np.diff(loud)
    return float(1 + gaps[gaps <= _BREAK_FRAMES].sum() + np.count_nonzero(gaps > _BREAK_FRAMES)) / FRAMES_A_SECOND
