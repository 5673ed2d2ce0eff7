"""The front end, against what Whisper's own says it is."""

from __future__ import annotations

import numpy as np
import pytest

from servers.stt.adapter import RATE_HZ
from servers.stt.features import BANDS, WINDOW_FRAMES, LogMel, voiced_s


def tone(hertz: float, seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)


def test_a_tone_lights_the_band_it_lies_in_for_as_long_as_it_lasts() -> None:
    """1 kHz is 15 of 45.245 mel, so of 80 bands, of which 81 steps make the whole, it lies at 26.85 steps."""
    frames = LogMel().of(tone(1_000, 1.0), 300)
    assert frames.shape == (BANDS, 300)
    assert frames.dtype == np.float32
    assert set(frames[:, 5:95].argmax(axis=0)) == {26}
    assert (frames[:, 105:] == frames.min()).all()


def test_nothing_is_more_than_eighty_decibels_below_the_loudest() -> None:
    frames = LogMel().of(tone(1_000, 1.0), WINDOW_FRAMES)
    assert frames.max() - frames.min() == pytest.approx(8 / 4)


@pytest.mark.parametrize("samples", [0, 1, RATE_HZ])
def test_silence_is_the_floor(samples: int) -> None:
    frames = LogMel().of(np.zeros(samples, np.float32), 100)
    assert frames == pytest.approx(np.full((BANDS, 100), (-10 + 4) / 4))


def test_what_does_not_fit_is_left_out() -> None:
    both = np.concatenate((tone(500, 2.0), tone(3_000, 1.0)))
    assert (LogMel().of(both, 190)[:, :185] == LogMel().of(tone(500, 2.0), 190)[:, :185]).all()


@pytest.mark.parametrize(
    ("seconds", "voiced"),
    [
        ((1.0,), 1.0),
        ((-2.0, 1.0, -2.0), 1.0),
        ((0.5, -0.2, 0.5), 1.2),
        ((0.5, -0.8, 0.5), 1.0),
        ((-1.0,), 0.0),
        ((), 0.0),
    ],
)
def test_pauses_are_not_voiced_and_the_breaks_of_speech_are(seconds: tuple[float, ...], voiced: float) -> None:
    """Negative: silence of that length."""
    parts = [tone(300, length) if length > 0 else np.zeros(round(-length * RATE_HZ), np.float32) for length in seconds]
    samples = np.concatenate([np.zeros(0, np.float32), *parts])
    assert voiced_s(samples) == pytest.approx(voiced, abs=0.03)
