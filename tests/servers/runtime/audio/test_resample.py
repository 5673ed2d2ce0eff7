"""Every contracted rate becomes 16 kHz, whatever the frame size, without losing or inventing sound."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.runtime.audio.resample import Resampler

RATES = (8_000, 16_000, 24_000, 44_100, 48_000)


def resample(samples, rate, places=()):
    resampler = Resampler(rate)
    bounds = [0, *sorted(place % (len(samples) + 1) for place in places), len(samples)]
    parts = [resampler.push(samples[start:end]) for start, end in pairwise(bounds)]
    return np.concatenate([*parts, resampler.flush()])


@settings(deadline=None)
@given(st.sampled_from(RATES), st.integers(0, 60_000), st.lists(st.integers(0, 60_000), max_size=30))
def test_the_split_does_not_matter_and_the_duration_is_kept(rate, count, places):
    samples = np.random.default_rng(count).uniform(-0.5, 0.5, count).astype(np.float32)
    split, whole = resample(samples, rate, places), resample(samples, rate)
    assert np.array_equal(split, whole)
    assert abs(len(whole) - count * 16_000 / rate) <= 1


def test_audio_at_16_khz_is_not_touched():
    samples = np.linspace(-1, 1, 1_000, dtype=np.float32)
    assert np.array_equal(resample(samples, 16_000, [3, 500]), samples)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 48_000])
def test_a_tone_keeps_its_pitch_level_and_place(rate):
    tone = np.sin(2 * np.pi * 1_000 * np.arange(rate) / rate).astype(np.float32)
    expected = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    assert np.abs(resample(tone, rate) - expected)[800:-800].max() < 1e-3


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
def test_what_16_khz_cannot_carry_does_not_fold_back(rate):
    hiss = np.sin(2 * np.pi * 10_000 * np.arange(rate) / rate).astype(np.float32)
    assert np.abs(resample(hiss, rate))[800:-800].max() < 1e-3
