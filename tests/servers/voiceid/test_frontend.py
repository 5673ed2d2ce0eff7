"""The incremental front ends: independent of how samples are cut, and equal to Kaldi's and librosa's features."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.voiceid import frontend
from servers.voiceid.frontend import FbankStream, MelStream

SHARED = Path(__file__).parents[4] / "shared"
STREAMS = [FbankStream, MelStream]


def speechlike(seconds, seed=0):
    """Noise whose level rises and falls, with an offset: nothing about it is the same in two frames."""
    rng = np.random.default_rng(seed)
    count = int(seconds * frontend.SAMPLE_RATE_HZ)
    swell = 0.05 + 0.2 * np.sin(np.arange(count) / 3000) ** 2
    return (rng.standard_normal(count) * swell + 0.01).astype(np.float32)


def frames_of(stream, pieces):
    return np.concatenate([*(stream.push(piece) for piece in pieces), stream.flush()])


@pytest.mark.parametrize("kind", STREAMS)
@given(cuts=st.lists(st.integers(0, 16_000), max_size=30), block=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_frames_do_not_depend_on_how_samples_are_cut(kind, cuts, block):
    samples = speechlike(1.0)
    whole = frames_of(kind(block=1), [samples])
    pieces = np.split(samples, sorted(cuts))
    np.testing.assert_allclose(frames_of(kind(block), pieces), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", STREAMS)
def test_single_samples_make_the_same_frames(kind):
    samples = speechlike(0.1)
    whole = frames_of(kind(), [samples])
    np.testing.assert_allclose(frames_of(kind(block=1), np.split(samples, len(samples))), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_fbank_emits_only_whole_frames(count, expected):
    assert frames_of(FbankStream(), [speechlike(1.0)[:count]]).shape == (expected, 80)


@pytest.mark.parametrize(("count", "expected"), [(0, 1), (159, 1), (160, 2), (16_000, 101)])
def test_mel_centres_a_frame_on_every_hop(count, expected):
    assert frames_of(MelStream(), [speechlike(1.0)[:count]]).shape == (expected, 41)


def test_frames_come_as_soon_as_their_block_is_complete():
    stream = FbankStream(block=4)
    assert len(stream.push(np.zeros(400 + 3 * 160 - 1, np.float32))) == 0
    assert len(stream.push(np.zeros(1, np.float32))) == 4


def test_a_caller_may_reuse_its_buffer():
    samples, stream = speechlike(0.5), FbankStream(block=1000)
    buffer = samples.copy()
    stream.push(buffer)
    buffer[:] = 0
    np.testing.assert_allclose(stream.flush(), frames_of(FbankStream(), [samples]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", STREAMS)
def test_not_a_number_spoils_only_the_frames_that_cover_it(kind):
    samples = speechlike(1.0)
    samples[8000] = np.nan
    spoilt = np.flatnonzero(~np.isfinite(frames_of(kind(), [samples])).all(axis=1))
    assert len(spoilt) == 3 if kind is FbankStream else 2
    assert 46 <= spoilt.min() <= spoilt.max() <= 52


@pytest.mark.parametrize("kind", STREAMS)
def test_silence_gives_finite_frames(kind):
    assert np.isfinite(frames_of(kind(), [np.zeros(16_000, np.float32)])).all()


def test_the_strongest_fbank_band_follows_the_pitch_of_a_tone():
    time = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (300, 1000, 3000, 6000)]
    bands = [frames_of(FbankStream(), [tone]).mean(axis=0).argmax() for tone in tones]
    low, high = (1127 * np.log1p(edge / 700) for edge in (20, 8000))
    centres = [(1127 * np.log1p(hertz / 700) - low) / (high - low) * 81 - 1 for hertz in (300, 1000, 3000, 6000)]
    assert np.abs(np.array(bands) - centres).max() <= 1


def test_campplus_input_has_no_mean_over_time():
    frames = frames_of(FbankStream(), [speechlike(1.0)])
    np.testing.assert_allclose(frontend.campplus_input(frames).mean(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize(("level_db", "gain_db"), [(-50, 20), (-31, 1), (-30, 0), (-10, 0)])
def test_quiet_windows_are_raised_to_the_floor_and_loud_ones_left(level_db, gain_db):
    samples = speechlike(1.6)
    samples *= np.float32(10 ** (level_db / 20)) / np.sqrt(np.mean(samples**2))
    window = frames_of(MelStream(), [samples])[:160]
    gain = frontend.floor_gain(window)
    np.testing.assert_allclose(10 * np.log10(gain), gain_db, atol=0.05)
    np.testing.assert_allclose(frontend.ge2e_input(window, gain), window[:, :40] * gain, rtol=1e-6)


def test_silence_is_not_amplified():
    window = frames_of(MelStream(), [np.zeros(25_600, np.float32)])[:160]
    assert frontend.floor_gain(window) == 1.0


@pytest.fixture(scope="module")
def first_frames():
    """The features of a real recording, made with Kaldi's and librosa's own code."""
    soundfile = pytest.importorskip("soundfile")
    golden = SHARED / "voice" / "frontend_golden.npz"
    if not golden.exists():
        pytest.skip("the shared golden features are not here")
    arrays = np.load(golden)
    samples, _ = soundfile.read(SHARED / "data" / "librispeech-dev" / str(arrays["files"][0]), dtype="float32")
    return samples, arrays


def test_fbank_equals_kaldi_on_speech(first_frames):
    samples, arrays = first_frames
    frames = frontend.campplus_input(frames_of(FbankStream(), [samples]))
    np.testing.assert_allclose(frames[:50], arrays["campplus_fbank_first50"], atol=2e-4)


def test_mel_equals_librosa_on_speech(first_frames):
    samples, arrays = first_frames
    mels = frontend.ge2e_input(frames_of(MelStream(), [samples]))
    np.testing.assert_allclose(mels[:50], arrays["ge2e_mel_first50"], rtol=1e-4, atol=1e-6)
