"""Replay detection: played again it is found, wherever it is cut and however it was carried; said again it is not."""

from itertools import pairwise

import av
import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.voiceid.fingerprint import (
    Fingerprint,
    FingerprintStream,
    ReplayMatch,
    ReplayPolicy,
    fingerprint,
    is_replay,
    match,
)

POLICY = ReplayPolicy(max_bit_error_rate=0.32, min_length_s=1.0)


def quieter(clip):
    return clip * np.float32(0.2)


def noisy(clip):
    noise = np.random.default_rng(1).standard_normal(len(clip)) * np.sqrt(np.mean(clip**2) / 100)
    return (clip + noise).astype(np.float32)


def telephoned(clip):
    return soxr.resample(soxr.resample(clip, 16_000, 8_000), 8_000, 16_000)


def reverberated(clip):
    decay = np.random.default_rng(2).standard_normal(6_400) * np.exp(-6.9 * np.arange(6_400) / 6_400)
    room = 0.5 * decay / np.linalg.norm(decay)
    room[0] = 0.7
    return np.convolve(clip, room)[: len(clip)].astype(np.float32)


def opus_coded(clip):
    encoder, decoder = av.CodecContext.create("libopus", "w"), av.CodecContext.create("libopus", "r")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 16_000, "mono", "s16", 24_000
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    sound = []
    for start in range(0, len(clip) - 319, 320):
        pcm = (np.clip(clip[start : start + 320], -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, start
        for packet in encoder.encode(frame):
            sound += [part.to_ndarray()[0] for part in decoder.decode(av.Packet(bytes(packet)))]
    return soxr.resample(np.concatenate(sound).astype(np.float32) / 32768, 48_000, 16_000)


CARRIERS = [quieter, noisy, telephoned, reverberated, opus_coded]


@pytest.mark.parametrize("carry", CARRIERS)
def test_a_synthetic_voice_played_again_is_found_where_it_was(voice, carry):
    earlier = [voice(6.0, seed=seed) for seed in range(3)]
    again = carry(earlier[1][16_077 : 16_077 + 48_000])
    found = match(fingerprint(again), [fingerprint(clip) for clip in earlier], POLICY.min_length_s)
    assert is_replay(found, POLICY)
    assert found.clip == 1
    assert found.offset_s == pytest.approx(16_077 / 16_000, abs=0.05)


@pytest.mark.parametrize("carry", CARRIERS)
def test_recorded_speech_played_again_is_found(speech, carry):
    for clips in speech.values():
        clip = max(clips, key=len)
        stored = [fingerprint(other) for other in clips if other is not clip] + [fingerprint(clip)]
        found = match(fingerprint(carry(clip[8_077 : 8_077 + 40_000])), stored, POLICY.min_length_s)
        assert is_replay(found, POLICY)
        assert found.clip == len(stored) - 1


def test_other_speech_of_the_same_speaker_is_no_replay(speech):
    for clips in speech.values():
        prints = [fingerprint(clip) for clip in clips]
        for index, query in enumerate(prints):
            found = match(query, prints[:index] + prints[index + 1 :], POLICY.min_length_s)
            assert not is_replay(found, POLICY)


def test_another_synthetic_voice_is_no_replay(voice):
    stored = [fingerprint(voice(6.0, seed=seed)) for seed in range(4)]
    assert not is_replay(match(fingerprint(voice(4.0, seed=9)), stored, POLICY.min_length_s), POLICY)


@pytest.mark.parametrize(("start", "end"), [(-24_000, 32_000), (64_000, 120_000), (-16_000, 112_000)])
def test_a_partial_overlap_is_found(voice, start, end):
    before, clip, after = voice(2.0, seed=5), voice(6.0, seed=6), voice(2.0, seed=7)
    tape = np.concatenate((before, clip, after))
    query = tape[len(before) + start : len(before) + end]
    found = match(fingerprint(query), [fingerprint(voice(4.0, seed=8)), fingerprint(clip)], POLICY.min_length_s)
    assert is_replay(found, POLICY)
    assert (found.clip, found.offset_s) == (1, pytest.approx(start / 16_000, abs=0.05))


def test_silence_resembles_nothing():
    silence = fingerprint(np.zeros(80_000, np.float32))
    assert not silence.voiced.any()
    assert match(silence, [silence], min_length_s=0.1) is None


def test_only_voiced_audio_is_compared(voice):
    hum = (0.1 * np.random.default_rng(3).standard_normal(32_000)).astype(np.float32)
    one, other = (np.concatenate((hum, voice(2.0, seed=seed))) for seed in (0, 1))
    flags = np.arange(len(one) // 512) >= len(hum) // 512
    stored, query = fingerprint(one, flags), fingerprint(other, flags)
    assert is_replay(match(fingerprint(other), [fingerprint(one)], POLICY.min_length_s), POLICY)
    assert not is_replay(match(query, [stored], POLICY.min_length_s), POLICY)


@pytest.mark.parametrize("count", [0, 1, 4_095, 4_096, 4_351])
def test_a_clip_too_short_for_a_word_has_none(count):
    assert len(fingerprint(np.full(count, 0.1, np.float32)).words) == 0


def test_nothing_stored_or_too_little_speech_matches_nothing(voice):
    short, long = fingerprint(voice(0.5)), fingerprint(voice(4.0))
    assert match(long, [], 1.0) is None
    assert match(short, [long], 1.0) is None
    assert match(long, [short], 1.0) is None
    assert not is_replay(None, POLICY)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 32_000), max_size=60))
def test_the_split_does_not_change_the_fingerprint(voice, places):
    samples = voice(2.0)
    stream = FingerprintStream()
    for start, end in pairwise([0, *sorted(places), len(samples)]):
        stream.push(samples[start:end])
    assert np.array_equal(stream.finish().words, fingerprint(samples).words)


words = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans()), max_size=200)


@given(words)
def test_a_stored_fingerprint_is_read_back(pairs):
    made = Fingerprint(
        np.array([word for word, _ in pairs], np.uint32), np.array([flag for _, flag in pairs], np.bool_)
    )
    read = Fingerprint.from_bytes(made.to_bytes())
    assert np.array_equal(read.words, made.words)
    assert np.array_equal(read.voiced, made.voiced)


@pytest.mark.parametrize("size", [1, 4, 6, 34])
def test_bytes_of_another_length_are_refused(size):
    with pytest.raises(ValueError, match="no fingerprint"):
        Fingerprint.from_bytes(bytes(size))


@given(st.integers(1, 120), st.lists(st.integers(0, 120), min_size=1, max_size=6), st.integers(1, 60))
def test_any_sizes_can_be_matched(length, stored_lengths, needed):
    rng = np.random.default_rng(length)
    query, *stored = (
        Fingerprint(rng.integers(0, 2**32, count, np.uint32), rng.random(count) < 0.9)
        for count in (length, *stored_lengths)
    )
    found = match(query, stored, needed * 0.016)
    if found is not None:
        assert found.length_s >= needed * 0.016 - 1e-9
        assert found.length_s <= min(length, stored_lengths[found.clip]) * 0.016 + 1e-9
        assert 0 <= found.bit_error_rate <= 1


@pytest.mark.parametrize(
    ("rate", "length_s", "expected"), [(0.32, 1.0, True), (0.33, 1.0, False), (0.1, 0.9, False), (0.0, 9.0, True)]
)
def test_the_policy_decides(rate, length_s, expected):
    assert is_replay(ReplayMatch(0, rate, 0.0, length_s), POLICY) is expected


def test_similarity_runs_from_chance_to_identity():
    assert [ReplayMatch(0, rate, 0.0, 1.0).similarity for rate in (0.0, 0.25, 0.5, 0.7)] == [1.0, 0.5, 0.0, 0.0]
