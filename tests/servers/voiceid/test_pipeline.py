"""One utterance gives the same events, windows and measurements however its stream was cut into frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selene.common.v1 import audio_pb2

from clients.audio import Recording
from servers.runtime.audio.decode import AudioError
from servers.voiceid.pipeline import Utterance, Voiceprint, Window, WindowPlan
from servers.voiceid.scorer import VAD_POLICY
from servers.voiceid.silero import Vad, VadModel
from servers.voiceid.vad import CHUNK_SAMPLES, Samples, VadStep
from tests.support.speech import Person

PLANS = (WindowPlan("mel40", 160, 160, 50), WindowPlan("fbank80", 150, 150, 50))
LINEAR16, FLOAT32 = audio_pb2.AUDIO_ENCODING_LINEAR16, audio_pb2.AUDIO_ENCODING_FLOAT32


def utterance(vad_model: VadModel, rate: int = 16_000, encoding: audio_pb2.AudioEncoding = LINEAR16) -> Utterance:
    audio_format = audio_pb2.AudioFormat(encoding=encoding, sample_rate_hz=rate, channel_count=1)
    return Utterance(audio_format, Vad(vad_model, VAD_POLICY), PLANS)


def heard(opened: Utterance, frames: Sequence[bytes]) -> tuple[list[Any], list[Window]]:
    """Events and windows of the whole stream."""
    steps = [*(opened.push(frame) for frame in frames), opened.finish()]
    return [event for step in steps for event in step.events], [window for step in steps for window in step.windows]


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.fixture(scope="module")
def speech_bytes(mira: Person) -> bytes:
    """Speech with silence before, between and after."""
    quiet = np.zeros(8000, np.int16)
    parts = (quiet, mira.ask.samples[:20_000], quiet, mira.ask.samples[20_000:44_000], quiet)
    return np.concatenate(parts).astype("<i2").tobytes()


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_nothing_depends_on_how_the_stream_was_cut(vad_model: VadModel, speech_bytes: bytes, rate: int) -> None:
    whole = utterance(vad_model, rate)
    events, windows = heard(whole, cut(speech_bytes, range(640, len(speech_bytes), 640)))
    assert len(events) >= 2 and len(windows) >= 2

    @given(cuts=st.lists(st.integers(0, len(speech_bytes)), max_size=40))
    @settings(max_examples=12, deadline=None)
    def same(cuts: list[int]) -> None:
        other = utterance(vad_model, rate)
        other_events, other_windows = heard(other, cut(speech_bytes, cuts))
        assert other_events == events
        assert [(one.model, one.fresh) for one in other_windows] == [(one.model, one.fresh) for one in windows]
        for one, expected in zip(other_windows, windows, strict=True):
            np.testing.assert_allclose(one.features, expected.features, rtol=1e-4, atol=1e-4)
        assert other.voiced_seconds == whole.voiced_seconds
        assert other.audio_seconds == pytest.approx(whole.audio_seconds)
        assert np.array_equal(other.fingerprint().words, expected_words)

    expected_words = whole.fingerprint().words
    same()


def test_windows_come_while_the_person_speaks_and_only_the_last_at_the_end(
    vad_model: VadModel, speech_bytes: bytes
) -> None:
    opened = utterance(vad_model)
    early = [
        window
        for frame in cut(speech_bytes, range(640, len(speech_bytes), 640))
        for window in opened.push(frame).windows
    ]
    last = opened.finish().windows
    assert early
    assert len(last) <= len(PLANS)
    assert {window.features.shape for window in early} <= {(160, 40), (150, 80)}


def test_every_voiced_frame_is_fresh_once(vad_model: VadModel, speech_bytes: bytes) -> None:
    opened = utterance(vad_model)
    _, windows = heard(opened, [speech_bytes])
    for model, plan in enumerate(PLANS):
        fresh = sum(window.fresh for window in windows if window.model == model)
        assert opened.voiced_seconds * 100 - plan.hop / 2 - 2 <= fresh <= opened.voiced_seconds * 100 + 2


def test_audio_is_kept_until_it_is_forgotten(vad_model: VadModel, speech_bytes: bytes) -> None:
    opened = utterance(vad_model)
    heard(opened, cut(speech_bytes, range(640, len(speech_bytes), 640)))
    sent = np.frombuffer(speech_bytes, "<i2") / 32768
    opened.forget(before=20_000)
    assert np.allclose(opened.audio(20_000, 50_000), sent[20_000:50_000], atol=1e-4)
    with pytest.raises(ValueError, match="audio is kept from sample 16384"):
        opened.audio(16_383, 50_000)


class AllVoiced:
    """Voice activity of somebody who never pauses."""

    def __init__(self) -> None:
        self.voiced_samples = 0
        self._rest = 0

    def push(self, samples: Samples) -> VadStep:
        chunks, self._rest = divmod(self._rest + len(samples), CHUNK_SAMPLES)
        self.voiced_samples += chunks * CHUNK_SAMPLES
        return VadStep((), np.ones(chunks, np.bool_))

    def flush(self) -> VadStep:
        return VadStep((), np.ones(int(self._rest > 0), np.bool_))


@pytest.mark.parametrize(
    ("seconds", "last"),
    [
        (0.4, None),
        (0.9, 90),
        (1.6, None),
        (2.2, None),  # 0.6 s left: less than half a window
        (2.6, 100),  # 1 s left of it, of which 1 s is fresh
        (4.1, None),  # 0.9 s left: little beside the 3.2 s before
        (4.5, 130),
    ],
)
def test_the_last_window_is_what_is_left_if_it_adds_enough(seconds: float, last: int | None) -> None:
    noise = np.random.default_rng(3).integers(-9000, 9000, round(seconds * 16_000)).astype("<i2").tobytes()
    audio_format = audio_pb2.AudioFormat(encoding=LINEAR16, sample_rate_hz=16_000, channel_count=1)
    opened = Utterance(audio_format, AllVoiced(), PLANS[:1])
    opened.push(noise)
    left = [window for window in opened.finish().windows if len(window.features) < PLANS[0].window]
    assert [round(len(window.features), -1) for window in left] == ([] if last is None else [last])
    assert all(window.fresh == len(window.features) for window in left)


def test_silence_is_no_window(vad_model: VadModel) -> None:
    opened = utterance(vad_model)
    assert heard(opened, [bytes(64_000)]) == ([], [])
    assert opened.voiced_seconds == 0.0 and opened.audio_seconds == 2.0


def test_nothing_is_no_window(vad_model: VadModel) -> None:
    assert heard(utterance(vad_model), []) == ([], [])


def test_speech_shorter_than_the_least_is_not_embedded(vad_model: VadModel, mira: Person) -> None:
    short: Recording = mira.ask.cut(0.3, 0.75)
    opened = utterance(vad_model)
    _, windows = heard(opened, [short.samples.astype("<i2").tobytes()])
    assert opened.voiced_seconds < 0.5
    assert windows == []


def test_other_samples_give_other_windows(vad_model: VadModel, mira: Person, otto: Person) -> None:
    """What framing must not change, the speaker does."""
    raw = [recording.samples[:30_000].astype("<i2").tobytes() for recording in (mira.ask, otto.ask)]
    (one,), (other,) = [heard(utterance(vad_model), [data])[1][:1] for data in raw]
    assert one.features.shape != other.features.shape or not np.allclose(one.features, other.features, atol=0.1)


@pytest.mark.parametrize("bad", [b"\0\0\0", b"\0"])
def test_a_stream_that_ends_inside_a_sample_is_refused(vad_model: VadModel, bad: bytes) -> None:
    opened = utterance(vad_model)
    opened.push(bad)
    with pytest.raises(AudioError) as refusal:
        opened.finish()
    assert refusal.value.reason == "TRUNCATED_SAMPLE"


def test_a_voiceprint_weighs_windows_by_what_they_bring() -> None:
    print_ = Voiceprint([2])
    window = Window(0, np.zeros((1, 1), np.float32), fresh=3)
    print_.add(window, np.array([2.0, 0.0], np.float32))
    print_.add(dataclasses.replace(window, fresh=1), np.array([0.0, 5.0], np.float32))
    expected = np.array([3.0, 1.0]) / np.sqrt(10)
    np.testing.assert_allclose(print_.of(0), expected, atol=1e-6)


def test_a_voiceprint_that_heard_nothing_is_none() -> None:
    print_ = Voiceprint([2, 3])
    print_.add(Window(0, np.zeros((1, 1), np.float32), fresh=3), np.zeros(2, np.float32))
    assert print_.of(0) is None and print_.all() is None
    print_.add(Window(0, np.zeros((1, 1), np.float32), fresh=3), np.ones(2, np.float32))
    assert print_.of(0) is not None and print_.all() is None


def test_windows_that_cancel_out_are_no_voiceprint() -> None:
    print_ = Voiceprint([2])
    window = Window(0, np.zeros((1, 1), np.float32), fresh=1)
    print_.add(window, np.array([1.0, 0.0], np.float32))
    print_.add(window, np.array([-1.0, 0.0], np.float32))
    assert print_.of(0) is None
