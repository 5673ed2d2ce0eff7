"""Filter banks in the mel scale, for every front end that looks at speech in bands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_KNEE_HZ = 1000.0
_KNEE_MEL = 15.0
_STEP = 6.4 ** (1 / 27)

Points = NDArray[np.floating[Any]]


def slaney_bank(bands: int, fft_size: int, rate_hz: int) -> NDArray[np.float32]:
    """f32[1 + fft_size // 2, bands]: triangles in hertz between Slaney's mel points, each of unit area."""
    edges = _slaney_hz(np.linspace(0.0, _slaney_mel(rate_hz / 2), bands + 2))
    bank = triangles(np.fft.rfftfreq(fft_size, 1 / rate_hz), edges)
    return (bank * (2.0 / (edges[2:] - edges[:-2]))).astype(np.float32)


def triangles(positions: Points, edges: Points) -> Points:
    """f64[positions, edges - 2]: band ``i`` rises from edge ``i`` to 1 at the next and falls to the one after that."""
    rising = (positions[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - positions[:, None]) / (edges[2:] - edges[1:-1])
    weights: Points = np.maximum(np.minimum(rising, falling), 0.0)
    return weights


def _slaney_hz(mel: Points) -> Points:
    """Linear up to 1 kHz (15 mel), then 27 mel for each factor of 6.4."""
    return np.where(mel < _KNEE_MEL, mel * _KNEE_HZ / _KNEE_MEL, _KNEE_HZ * _STEP ** (mel - _KNEE_MEL))


def _slaney_mel(hertz: float) -> float:
    """Above the knee only: the upper edge of the bank lies there."""
    return _KNEE_MEL + float(np.log(hertz / _KNEE_HZ) / np.log(_STEP))
