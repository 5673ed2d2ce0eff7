"""How an utterance is looked at: often enough to show, seldom enough to rest, and in parts when it is long."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from servers.runtime.clock import ManualClock
from servers.stt.adapter import RATE_HZ
from servers.stt.features import Samples
from servers.stt.transcriber import Heard
from servers.stt.whisper import HEADER, Recogniser, serve


class Scripted:
    """Takes its time, and hears one word in whatever it is given: how many samples that was."""

    def __init__(self, clock: ManualClock, takes_s: float = 0.0) -> None:
        self.clock, self.takes_s = clock, takes_s
        self.glances: list[int] = []
        self.parts: list[Samples] = []

    def glance(self, samples: Samples) -> str | None:
        self.clock.advance(self.takes_s)
        self.glances.append(len(samples))
        return f"glance-{len(self.glances)}"

    def words(self, samples: Samples) -> list[Heard]:
        self.parts.append(samples)
        return [Heard(f"part-{len(self.parts)}", 0.5, 1.0, 0.9)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


def play(recogniser: Recogniser, clock: ManualClock, seconds: float) -> list[str]:
    """Noise as it comes from a microphone, 100 ms at a time; the texts so far."""
    texts = []
    for _ in range(round(seconds * 10)):
        clock.advance(0.1)
        texts.append(str(recogniser.hear(sound(0.1))["text"]))
    return texts


def sound(seconds: float, level: int = 1_000) -> bytes:
    return np.full(round(seconds * RATE_HZ), level, "<i2").tobytes()


def test_a_quick_model_looks_whenever_there_is_enough_new_audio(clock: ManualClock) -> None:
    listener = Scripted(clock)
    texts = play(Recogniser(listener, clock.monotonic), clock, 4.0)
    assert 4 <= len(listener.glances) <= 5
    assert (np.diff(listener.glances) >= 0.8 * RATE_HZ).all()
    assert texts[-1] == f"glance-{len(listener.glances)}"


def test_a_slow_model_rests_three_times_as_long_as_it_worked(clock: ManualClock) -> None:
    listener = Scripted(clock, takes_s=1.0)
    play(Recogniser(listener, clock.monotonic), clock, 20.0)
    working = len(listener.glances) * 1.0
    assert 0.15 < working / (20.0 + working) <= 0.27


def test_audio_that_comes_all_at_once_is_not_looked_at_again_and_again(clock: ManualClock) -> None:
    listener = Scripted(clock)
    recogniser = Recogniser(listener, clock.monotonic)
    for _ in range(100):
        recogniser.hear(sound(0.1))
    assert len(listener.glances) == 1


def test_what_exceeds_the_model_is_settled_where_it_is_quiet(clock: ManualClock) -> None:
    listener = Scripted(clock)
    recogniser = Recogniser(listener, clock.monotonic)
    play(recogniser, clock, 24.0)
    recogniser.hear(sound(0.6, level=0))
    play(recogniser, clock, 15.4)
    words = recogniser.end()["words"]
    first, second = (len(part) / RATE_HZ for part in listener.parts)
    assert 24.0 < first < 24.6
    assert first + second == pytest.approx(40.0)
    assert words == [("part-1", 0.5, 1.0, 0.9), ("part-2", first + 0.5, first + 1.0, 0.9)]


def test_interims_after_a_settled_part_begin_with_it(clock: ManualClock) -> None:
    texts = play(Recogniser(Scripted(clock), clock.monotonic), clock, 33.0)
    assert texts[-1].startswith("part-1 glance-")


def test_nothing_heard_is_nothing_said(clock: ManualClock) -> None:
    listener = Scripted(clock)
    recogniser = Recogniser(listener, clock.monotonic)
    recogniser.hear(b"")
    assert recogniser.end() == {"words": []}
    assert listener.parts == []


def test_a_new_utterance_owes_nothing_to_what_was_thrown_away(clock: ManualClock) -> None:
    listener = Scripted(clock)
    requests = b"".join(
        HEADER.pack(kind, len(data)) + data
        for kind, data in [(b"B", b""), (b"A", sound(1.0)), (b"D", b""), (b"B", b""), (b"A", sound(0.5)), (b"E", b"")]
    )
    replies = io.BytesIO()
    serve(Recogniser(listener, clock.monotonic), io.BytesIO(requests), replies)
    hello, *answers = map(json.loads, replies.getvalue().splitlines())
    assert hello.keys() == {"pid"}
    assert answers == [{}, {"text": "glance-1"}, {}, {}, {"text": ""}, {"words": [["part-1", 0.5, 1.0, 0.9]]}]
    assert [len(part) for part in listener.parts] == [RATE_HZ // 2]
