"""A synthetic voice that is always there."""

from __future__ import annotations

import numpy as np
import pytest

# Pitch (relative), first and second formant: where they wander, eight times a second.
_RANGES = ((0.9, 1.1), (350, 750), (1000, 2000))


def vowels(seconds: float, pitch_hz: float = 110.0, seed: int = 0) -> np.ndarray:
    """A voice without words: three syllables a second of harmonics under formants, other ones for every seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    knots = np.linspace(0, seconds, int(seconds * 8) + 2)
    track = [np.interp(time, knots, rng.uniform(low, high, len(knots))) for low, high in _RANGES]
    pitch = pitch_hz * track[0]
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    voice = np.zeros(len(time))
    for harmonic in range(1, 35):
        at = harmonic * pitch
        formants = ((track[1], 120, 1.0), (track[2], 180, 0.4), (2600, 250, 0.2))
        voice += np.cos(harmonic * phase) * sum(
            gain * np.exp(-(((at - f) / width) ** 2)) for f, width, gain in formants
        )
    return (0.15 * voice * np.abs(np.sin(3 * np.pi * time))).astype(np.float32)


@pytest.fixture(scope="session")
def voice():
    return vowels
