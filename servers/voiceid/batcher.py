"""Windows of concurrent streams share ONNX Runtime calls.

Worker threads take jobs from one queue: urgent ones (a stream that was half-closed waits for them) first, then by age.
A worker that takes a job takes along other waiting jobs of the same model and shape, up to the model's batch size. A
job that is not urgent may wait a bounded time for company, never past its deadline.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

LESS_URGENT = 5
"""Steps of niceness: a third of the weight of a thread beside it, so that models neither stall it nor starve."""


class ModelFailed(Exception):
    """The model raised, or answered with something that is no finite array of one row a window."""


class ModelSlow(Exception):
    """The deadline passed before the model answered."""


@dataclass(frozen=True, slots=True)
class Lane:
    """How the windows of one model are run.

    `run` takes stacked windows ``[B, ...]`` and returns ``[B, ...]``; it is called from worker threads.
    `max_wait_s` is how long a job that is not urgent may wait for others.
    """

    name: str
    run: Callable[[Floats], Floats]
    max_batch: int
    max_wait_s: float


@dataclass(slots=True, eq=False)
class _Job:
    lane: Lane
    window: Floats
    queued_at: float
    deadline: float
    future: Future[Floats] = field(default_factory=Future)


class Batcher:
    """Runs windows on `workers` threads. `monotonic` gives seconds; it is the clock of every deadline.

    Close it when done; jobs still waiting then fail with ModelFailed.
    """

    def __init__(self, *, workers: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._wake = threading.Condition()
        self._urgent: deque[_Job] = deque()
        self._patient: deque[_Job] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"voiceid-scorer-{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, lane: Lane, window: Floats, *, deadline: float, urgent: bool = False) -> Future[Floats]:
        """Queue one window; the future ends with the model's row, ModelFailed or ModelSlow."""
        job = _Job(lane, window, self.monotonic(), deadline)
        with self._wake:
            if self._closed:
                raise ModelFailed("the scorer is closed")
            (self._urgent if urgent else self._patient).append(job)
            self._wake.notify()
        return job.future

    def hurry(self, futures: Sequence[Future[Floats]]) -> None:
        """Make waiting jobs urgent: their stream was half-closed."""
        wanted = {id(future) for future in futures}
        with self._wake:
            hurried = [job for job in self._patient if id(job.future) in wanted]
            if hurried:
                self._patient = deque(job for job in self._patient if id(job.future) not in wanted)
                self._urgent.extend(hurried)
                self._wake.notify(len(hurried))

    def waiting(self) -> int:
        """Jobs that no worker has taken yet."""
        with self._wake:
            return len(self._urgent) + len(self._patient)

    def close(self) -> None:
        """Stop the workers after the calls they are in."""
        with self._wake:
            self._closed = True
            left = [*self._urgent, *self._patient]
            self._urgent.clear()
            self._patient.clear()
            self._wake.notify_all()
        for job in left:
            _fail(job, ModelFailed("the scorer is closed"))
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        _give_way()
        while True:
            with self._wake:
                batch = self._take()
                while batch is None and not self._closed:
                    self._wake.wait(self._patience())
                    batch = self._take()
                if batch is None:
                    return
            _run(batch, self.monotonic())

    def _take(self) -> list[_Job] | None:
        """The next batch, or None when nothing may run yet. Called with the lock held."""
        first = self._urgent.popleft() if self._urgent else self._ripe()
        if first is None:
            return None
        batch = [first]
        for queue in (self._urgent, self._patient):
            kept: deque[_Job] = deque()
            while queue and len(batch) < first.lane.max_batch:
                job = queue.popleft()
                same = job.lane is first.lane and job.window.shape == first.window.shape
                (batch if same else kept).append(job)
            queue.extendleft(reversed(kept))
        return batch

    def _ripe(self) -> _Job | None:
        """The oldest job that has company enough, or has waited its time."""
        now = self.monotonic()
        counts: dict[tuple[int, tuple[int, ...]], int] = {}
        for job in self._patient:
            kind = (id(job.lane), job.window.shape)
            counts[kind] = counts.get(kind, 0) + 1
        for job in self._patient:
            full = counts[(id(job.lane), job.window.shape)] >= job.lane.max_batch
            if full or now >= min(job.queued_at + job.lane.max_wait_s, job.deadline):
                self._patient.remove(job)
                return job
        return None

    def _patience(self) -> float | None:
        """Seconds until the first waiting job has waited its time; None when nothing waits."""
        if not self._patient:
            return None
        first = min(min(job.queued_at + job.lane.max_wait_s, job.deadline) for job in self._patient)
        return max(0.0, first - self.monotonic())


def _give_way() -> None:
    """Where threads have a priority of their own, this one's is below the rest of the process.

    On a busy machine models take every core for tens of milliseconds; what receives frames and stores decisions needs
    a core often and briefly, and would wait that long for each of its many steps.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + LESS_URGENT)


def _run(batch: list[_Job], now: float) -> None:
    for job in batch:
        if job.deadline <= now:
            _fail(job, ModelSlow(f"{job.lane.name} was not reached in time"))
    alive = [job for job in batch if job.deadline > now and job.future.set_running_or_notify_cancel()]
    if not alive:
        return
    try:
        rows = alive[0].lane.run(np.stack([job.window for job in alive]))
    except Exception as error:  # whatever a runtime raises is one thing to the caller: no embedding
        for job in alive:
            job.future.set_exception(ModelFailed(f"{job.lane.name}: {type(error).__name__}"))
        return
    for index, job in enumerate(alive):
        row = rows[index] if len(rows) == len(alive) else None
        if row is None or not np.all(np.isfinite(row)):
            job.future.set_exception(ModelFailed(f"{job.lane.name} answered with no finite embedding"))
        else:
            job.future.set_result(row)


def _fail(job: _Job, error: Exception) -> None:
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(error)
