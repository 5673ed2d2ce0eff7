"""Quality of a stream: what is measured agrees with how the sound was made."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.quality import FLOOR_DBFS, QualityMeter


def meter(rate_hz: int = 16_000) -> QualityMeter:
    return QualityMeter(rate_hz, full_scale=0.999)


def noise(power_db: float, chunks: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((chunks, 512)) * 10 ** (power_db / 20)).astype(np.float32)


def test_nothing_heard_is_nothing_known():
    report = meter().report()
    assert (report.duration_s, report.clipped_ratio, report.lost_ratio) == (0.0, 0.0, 0.0)
    assert (report.peak_dbfs, report.speech_dbfs, report.noise_dbfs, report.snr_db) == (None, None, None, None)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300), st.lists(st.integers(0, 1_000), max_size=8))
def test_clipping_and_peak_do_not_depend_on_the_split(values, places):
    samples = np.array(values, np.float32)
    bounds = [0, *sorted(place % (len(samples) + 1) for place in places), len(samples)]
    heard = meter()
    for start, end in pairwise(bounds):
        heard.hear(samples[start:end])
    report = heard.report()
    assert report.clipped_ratio == sum(abs(value) >= 0.999 for value in values) / len(values)
    peak = max(abs(value) for value in values)
    assert report.peak_dbfs == pytest.approx(max(FLOOR_DBFS, 20 * np.log10(max(peak, 1e-12))), abs=1e-3)


def test_a_clipped_sine_is_noticed():
    sine = np.sin(2 * np.pi * 200 * np.arange(16_000) / 16_000)
    clean, clipped = meter(), meter()
    clean.hear((0.9 * sine).astype(np.float32))
    clipped.hear(np.clip(2 * sine, -1, 1).astype(np.float32))
    assert clean.report().clipped_ratio == 0
    assert clipped.report().clipped_ratio == pytest.approx(
        2 / 3, abs=0.01
    )  # |sin| exceeds a half two thirds of the time


@pytest.mark.parametrize("snr_db", [0, 10, 20, 35])
def test_snr_level_and_noise_floor_are_found(snr_db):
    background, voice = noise(-50, 60), noise(-50 + snr_db, 40)
    voice[:, :] += np.roll(noise(-50, 40), 1, axis=1)
    heard = meter()
    heard.judge(background, np.zeros(60, np.bool_))
    heard.judge(voice, np.ones(40, np.bool_))
    report = heard.report()
    assert report.noise_dbfs == pytest.approx(-50, abs=0.5)
    assert report.speech_dbfs == pytest.approx(10 * np.log10(10**-5 + 10 ** (-5 + snr_db / 10)), abs=0.5)
    assert report.snr_db == pytest.approx(snr_db, abs=1)


def test_without_a_pause_the_quietest_voice_stands_for_the_noise():
    heard = meter()
    heard.judge(np.concatenate((noise(-55, 10), noise(-20, 90))), np.ones(100, np.bool_))
    assert heard.report().noise_dbfs == pytest.approx(-55, abs=1)


def test_digital_silence_has_a_floor_and_a_finite_snr():
    heard = meter()
    heard.judge(np.zeros((10, 512), np.float32), np.zeros(10, np.bool_))
    assert heard.report().snr_db is None
    heard.judge(noise(-20, 10), np.ones(10, np.bool_))
    assert heard.report().noise_dbfs == FLOOR_DBFS
    assert heard.report().snr_db == 60


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_levels_do_not_depend_on_the_split(sizes):
    chunks = noise(-30, sum(sizes))
    voiced = np.arange(len(chunks)) % 3 > 0
    whole, parts = meter(), meter()
    whole.judge(chunks, voiced)
    bounds = np.cumsum([0, *sizes])
    for start, end in pairwise(bounds):
        parts.judge(chunks[start:end], voiced[start:end])
    assert whole.report() == parts.report()


def test_audio_that_never_came_is_counted_as_lost():
    heard = meter(8_000)
    frame = np.zeros(160, np.float32)  # 20 ms
    for index in (0, 1, 2, 7, 8, 9):  # 80 ms between the third and the fourth frame are missing
        heard.sent(3.0 + index * 0.02, heard.duration_s)
        heard.hear(frame)
    report = heard.report()
    assert report.duration_s == pytest.approx(0.12)
    assert report.lost_s == pytest.approx(0.08)
    assert report.lost_ratio == pytest.approx(0.4)


def test_a_late_frame_is_not_lost_audio():
    heard = meter()
    frame = np.zeros(320, np.float32)
    for index, delay in enumerate((0, 0, 0.015, 0, 0)):
        heard.sent(index * 0.02 + delay, heard.duration_s)
        heard.hear(frame)
    assert heard.report().lost_s == pytest.approx(0, abs=1e-9)


def test_without_offsets_nothing_can_be_said_to_be_lost():
    heard = meter()
    heard.hear(np.zeros(320, np.float32))
    assert heard.report().lost_s == 0
