"""Decoder processes and the pool that lends them, for one look at some audio at a time.

A process takes half a second to a second to start and 235 MB (370 for a moment), so it is kept. What was given up in
the middle is tidied up in the background; what has died or does not answer is replaced.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from servers.runtime.workers import Backoff
from servers.stt.adapter import Word
from servers.stt.confidence import to_bp
from servers.stt.hints import with_hints
from servers.stt.models import WhisperFiles

_log = structlog.get_logger("selene.stt.local")

_MAX_REPLY = 1 << 20
_SETTLE_S = 5.0


class WorkerDied(Exception):
    """The process has ended, or said what it should not."""


class Worker:
    """One decoder process, which keeps nothing between calls. Calls do not overlap; after one was cancelled, `discard`
    makes the worker usable again.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._requests = process.stdin
        self._replies = process.stdout
        self._owed = 1  # the line that says that the model is open

    @classmethod
    async def start(cls, files: WhisperFiles) -> Worker:
        """A process with an open model; raises WorkerDied if it cannot be had."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "servers.stt.whisper",
            files.weights,
            files.configuration,
            files.vocabulary,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_REPLY,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        worker = cls(process)
        try:
            await worker._reply()
        except BaseException:
            worker.kill()
            await worker.ended()
            raise
        return worker

    @property
    def clean(self) -> bool:
        """Whether it owes no answer."""
        return not self._owed

    @property
    def pid(self) -> int:
        return self._process.pid

    async def glance(self, pcm: bytes) -> str:
        """What up to 30 s of PCM16 of 16 kHz sound like, quickly and less surely; nothing: no speech."""
        answer = await self._ask(b"G", pcm)
        return str(answer["text"])

    async def words(self, pcm: bytes, terms: Sequence[str] = ()) -> tuple[Word, ...]:
        """The words of up to 30 s; none if it was no speech. Takes a quarter of a second to a second of one core.

        ``terms`` may be said.
        """
        answer = await (self._ask(b"H", with_hints(terms, pcm)) if terms else self._ask(b"W", pcm))
        return tuple(Word(text, start, end, to_bp(probability)) for text, start, end, probability in answer["words"])

    async def discard(self) -> None:
        """Throw away the answers nobody waited for."""
        while self._owed:
            await self._reply()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def ended(self) -> None:
        """Waits until the process is no more."""
        await self._process.wait()

    async def _ask(self, kind: bytes, payload: bytes) -> dict[str, Any]:
        try:
            self._requests.write(kind + len(payload).to_bytes(4, "big") + payload)
            self._owed += 1
            await self._requests.drain()
        except OSError:
            raise WorkerDied("it reads no more") from None
        return await self._reply()

    async def _reply(self) -> dict[str, Any]:
        try:
            line = await self._replies.readline()
            answer = json.loads(line)
        except ValueError:
            raise WorkerDied("it ended, or said what it should not") from None
        self._owed -= 1
        if not isinstance(answer, dict):
            raise WorkerDied("it said what it should not")
        return answer


class Pool:
    """A fixed number of workers, lent to whoever asked first; made by `open_pool`, and closed when done."""

    def __init__(self, workers: list[Worker], files: WhisperFiles, backoff: Backoff) -> None:
        self._all = set(workers)
        self._files = files
        self._backoff = backoff
        self._idle = deque(workers)
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._settling: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        """Workers that could be lent now."""
        return len(self._idle)

    @property
    def pids(self) -> set[int]:
        return {worker.pid for worker in self._all}

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Worker]:
        """A worker for one look; waits its turn. WorkerDied of a closed pool."""
        worker = self.spare() or await self._turn()
        try:
            yield worker
        finally:
            self.give_back(worker)

    def spare(self) -> Worker | None:
        """A worker that nobody waits for, to be given back; None: all are busy. WorkerDied of a closed pool."""
        if self._closed:
            raise WorkerDied("the pool is closed")
        return self._idle.popleft() if self._idle else None

    def give_back(self, worker: Worker) -> None:
        """Take a worker back, in whatever state; never waits. Of a closed pool there is nothing left to take back."""
        if self._closed:
            return
        if worker.clean:
            self._lend(worker)
            return
        task = asyncio.create_task(self._settle(worker))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _turn(self) -> Worker:
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(turn.result())
            raise

    def _lend(self, worker: Worker) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(worker)
                return
        self._idle.append(worker)

    async def close(self) -> None:
        """End every process; streams under way end as PROVIDER_CRASHED."""
        self._closed = True
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(WorkerDied("the pool is closed"))
        for task in self._settling:
            task.cancel()
        await asyncio.gather(*self._settling, return_exceptions=True)
        for worker in self._all:
            worker.kill()
        await asyncio.gather(*(worker.ended() for worker in self._all))

    async def _settle(self, worker: Worker) -> None:
        try:
            async with asyncio.timeout(_SETTLE_S):
                await worker.discard()
        except (WorkerDied, TimeoutError):
            worker.kill()
            await worker.ended()
            self._all.discard(worker)
            worker = await self._successor()
        self._lend(worker)

    async def _successor(self) -> Worker:
        wait_s = 0.0
        while True:
            try:
                worker = await Worker.start(self._files)
            except (WorkerDied, OSError):
                wait_s = self._backoff.after(wait_s, 0.0)
                _log.error("no decoder process", retry_in_s=wait_s)
                await asyncio.sleep(wait_s)
                continue
            self._all.add(worker)
            return worker


async def open_pool(size: int, files: WhisperFiles, backoff: Backoff | None = None) -> Pool:
    """A pool of ``size`` decoder processes, each with the model open; raises WorkerDied if one cannot be had."""
    started = await asyncio.gather(*(Worker.start(files) for _ in range(size)), return_exceptions=True)
    workers = [worker for worker in started if isinstance(worker, Worker)]
    if len(workers) < size:
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.ended() for worker in workers))
        raise WorkerDied("a decoder process could not be started")
    return Pool(workers, files, backoff or Backoff())
