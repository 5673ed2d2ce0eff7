"""How an utterance is looked at: often enough to show, seldom enough to rest, and in parts when it is long."""

from __future__ import annotations

import numpy as np
import pytest

from servers.stt.adapter import RATE_HZ, Word
from servers.stt.progress import Progress


def sound(seconds: float, level: int = 1_000) -> bytes:
    return np.full(round(seconds * RATE_HZ), level, "<i2").tobytes()


def play(progress: Progress, seconds: float, *, a_look_takes_s: float = 0.0, pace: float = 1.0) -> list[float]:
    """Noise 100 ms at a time; how much was pending at each look."""
    now, looks = 0.0, []
    for _ in range(round(seconds * 10)):
        now += 0.1 * pace
        progress.add(sound(0.1))
        if progress.worth_a_glance(now):
            looks.append(len(progress.pending) / 2 / RATE_HZ)
            progress.glanced(f"glance-{len(looks)}", now, now + a_look_takes_s)
            now += a_look_takes_s
    return looks


def test_a_quick_model_looks_whenever_there_is_enough_new_audio() -> None:
    progress = Progress(0.0)
    looks = play(progress, 4.0)
    assert 4 <= len(looks) <= 5
    assert (np.diff(looks) >= 0.8 - 1e-9).all()
    assert progress.text == f"glance-{len(looks)}"


def test_a_slow_model_rests_three_times_as_long_as_it_worked() -> None:
    looks = play(Progress(0.0), 20.0, a_look_takes_s=1.0)
    working = len(looks) * 1.0
    assert 0.15 < working / (20.0 + working) <= 0.27


def test_audio_that_comes_all_at_once_is_not_looked_at_again_and_again() -> None:
    assert len(play(Progress(0.0), 10.0, pace=0.0)) == 1


def test_what_exceeds_the_model_is_settled_where_it_is_quiet() -> None:
    progress = Progress(0.0)
    play(progress, 24.0)
    progress.add(sound(0.6, level=0))
    assert progress.full_part() is None
    play(progress, 15.4)
    part = progress.full_part()
    assert part is not None
    first_s = len(part) / 2 / RATE_HZ
    assert 24.0 < first_s < 24.6
    progress.settle(part, [Word("first", 0.5, 1.0, 9_000)])
    assert len(progress.pending) / 2 / RATE_HZ == pytest.approx(40.0 - first_s)
    progress.settle(progress.pending, [Word("second", 0.5, 1.0, 9_000)])
    assert progress.words == (Word("first", 0.5, 1.0, 9_000), Word("second", first_s + 0.5, first_s + 1.0, 9_000))
    assert progress.audio_s == pytest.approx(40.0)
    assert not progress.pending


def test_interims_after_a_settled_part_begin_with_it() -> None:
    progress = Progress(0.0)
    progress.add(sound(31.0))
    part = progress.full_part()
    assert part is not None
    progress.settle(part, [Word("settled", 0.5, 1.0, 9_000)])
    progress.glanced("seen", 1.0, 1.1)
    assert progress.text == "settled seen"


def test_a_look_that_finds_nothing_takes_nothing_back() -> None:
    progress = Progress(0.0)
    progress.add(sound(1.0))
    progress.glanced("seen", 1.0, 1.1)
    progress.glanced("", 2.0, 2.1)
    assert progress.text == "seen"
