"""Micro-batching: who waits for whom, and what a model's misbehaviour turns into."""

import os
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from servers.voiceid.batcher import LESS_URGENT, Batcher, Lane, ModelFailed, ModelSlow

WINDOW = np.ones((4, 2), np.float32)


class Recorder:
    """A model that keeps the batch sizes it was given and can be held at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append([float(window[0, 0]) for window in windows])
        return windows[:, 0, :]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    running = Batcher(workers=1)
    yield running
    running.close()


def window(tag: float, frames: int = 4) -> np.ndarray:
    return np.full((frames, 2), tag, np.float32)


def soon() -> float:
    return time.monotonic() + 10


def test_windows_of_several_streams_share_one_call(batcher: Batcher) -> None:
    model = Recorder()
    lane = Lane("m", model, max_batch=3, max_wait_s=5.0)
    futures = [batcher.submit(lane, window(tag), deadline=soon()) for tag in (1, 2, 3)]
    assert [future.result(5)[0] for future in futures] == [1, 2, 3]
    assert model.batches == [[1, 2, 3]]


def test_windows_of_different_lengths_are_not_mixed(batcher: Batcher) -> None:
    model = Recorder()
    lane = Lane("m", model, max_batch=8, max_wait_s=0.0)
    model.gate.clear()
    first = batcher.submit(lane, window(0), deadline=soon())
    assert model.entered.wait(5)
    futures = [batcher.submit(lane, window(tag, frames), deadline=soon()) for tag, frames in ((1, 4), (2, 7), (3, 4))]
    model.gate.set()
    for future in (first, *futures):
        future.result(5)
    assert model.batches == [[0], [1, 3], [2]]


def test_a_lone_window_waits_no_longer_than_its_bound(batcher: Batcher) -> None:
    lane = Lane("m", Recorder(), max_batch=8, max_wait_s=0.01)
    assert batcher.submit(lane, window(1), deadline=soon()).result(5)[0] == 1


def test_a_window_that_need_not_wait_passes_one_that_does(batcher: Batcher) -> None:
    patient, prompt = Recorder(), Recorder()
    waiting = batcher.submit(Lane("patient", patient, max_batch=4, max_wait_s=60.0), window(1), deadline=soon())
    futures = [
        batcher.submit(Lane("prompt", prompt, max_batch=1, max_wait_s=0.0), window(tag), deadline=soon())
        for tag in (2, 3)
    ]
    assert [future.result(5)[0] for future in futures] == [2, 3]
    assert not waiting.done()
    batcher.hurry([waiting])
    assert waiting.result(5)[0] == 1


def test_an_urgent_window_goes_before_older_ones(batcher: Batcher) -> None:
    model = Recorder()
    lane = Lane("m", model, max_batch=1, max_wait_s=0.0)
    model.gate.clear()
    busy = batcher.submit(lane, window(0), deadline=soon())
    assert model.entered.wait(5)
    patient = [batcher.submit(lane, window(tag), deadline=soon()) for tag in (1, 2)]
    urgent = batcher.submit(lane, window(9), deadline=soon(), urgent=True)
    batcher.hurry(patient[1:])
    model.gate.set()
    for future in (busy, *patient, urgent):
        future.result(5)
    assert model.batches == [[0], [9], [2], [1]]


@pytest.mark.parametrize(
    "answer",
    [
        lambda windows: np.full((len(windows), 2), np.nan, np.float32),
        lambda windows: np.full((len(windows), 2), np.inf, np.float32),
        lambda windows: np.zeros((len(windows) + 1, 2), np.float32),
        lambda windows: 1 / 0,
    ],
    ids=["nan", "infinite", "wrong-count", "raises"],
)
def test_a_model_that_misbehaves_fails_the_window_and_not_the_scorer(batcher: Batcher, answer) -> None:
    with pytest.raises(ModelFailed):
        batcher.submit(Lane("bad", answer, 1, 0.0), WINDOW, deadline=soon()).result(5)
    assert batcher.submit(Lane("good", Recorder(), 1, 0.0), WINDOW, deadline=soon()).result(5)[0] == 1


def test_a_window_whose_deadline_has_passed_is_never_run(batcher: Batcher) -> None:
    model = Recorder()
    with pytest.raises(ModelSlow):
        batcher.submit(Lane("m", model, 1, 0.0), WINDOW, deadline=time.monotonic() - 1).result(5)
    assert model.batches == []


def test_a_window_that_was_given_up_is_never_run(batcher: Batcher) -> None:
    model = Recorder()
    lane = Lane("m", model, max_batch=1, max_wait_s=0.0)
    model.gate.clear()
    busy = batcher.submit(lane, window(0), deadline=soon())
    assert model.entered.wait(5)
    assert batcher.submit(lane, window(1), deadline=soon()).cancel()
    model.gate.set()
    busy.result(5)
    batcher.submit(lane, window(2), deadline=soon()).result(5)
    assert model.batches == [[0], [2]]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own here")
def test_models_give_way_to_the_rest_of_the_process(batcher: Batcher) -> None:
    def own_niceness(windows: np.ndarray) -> np.ndarray:
        return np.full((len(windows), 1), os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), np.float32)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    row = batcher.submit(Lane("niceness", own_niceness, 1, 0.0), window(1.0), deadline=soon()).result()
    assert row[0] == min(19, before + LESS_URGENT)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_closing_fails_what_still_waits() -> None:
    batcher = Batcher(workers=1)
    model = Recorder()
    lane = Lane("m", model, max_batch=1, max_wait_s=0.0)
    model.gate.clear()
    batcher.submit(lane, window(0), deadline=soon())
    assert model.entered.wait(5)
    waiting = batcher.submit(lane, window(1), deadline=soon())
    model.gate.set()
    batcher.close()
    with pytest.raises((ModelFailed, AssertionError)):
        waiting.result(5)
        raise AssertionError("ran after all")  # the worker may have taken it before the close
    with pytest.raises(ModelFailed):
        batcher.submit(lane, window(2), deadline=soon())
