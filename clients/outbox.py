"""Frames on their way to the server: a bounded queue that can go back to what the server did not get."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

import grpc
from selene.common.v1.audio_pb2 import AudioFrame

from clients.errors import SeleneError

PENDING_BYTES: Final = 64 * 1024
"""Two seconds of 16 kHz PCM16: how far a caller may run ahead of a slow server before `put` waits."""

REPLAY_BYTES: Final = 4 * 1024 * 1024
"""Two minutes of 16 kHz PCM16: how much sent, unacknowledged audio is kept for a resumed stream."""


@dataclass(frozen=True, slots=True)
class _Kept:
    frame: AudioFrame
    end: float | None  # seconds of audio up to the end of this frame; None when it cannot be told


class Outbox:
    """Holds frames from their first `put` until the server is known to have them.

    Frames before the cursor were sent, those from it on are pending. Pending frames are bounded by ``pending_bytes``
    (one frame always fits), sent ones by ``replay_bytes``: beyond that the oldest are let go, and a resume that would
    need them fails.
    """

    def __init__(self, *, pending_bytes: int = PENDING_BYTES, replay_bytes: int = REPLAY_BYTES) -> None:
        self._pending_limit = pending_bytes
        self._replay_limit = replay_bytes
        self._kept: deque[_Kept] = deque()
        self._base = 0  # sequence of the first kept frame
        self._cursor = 0  # sequence of the first pending frame
        self._next = 0  # sequence of the next frame to be put
        self._pending = 0  # bytes
        self._sent = 0  # bytes
        self._closed = False
        self._stopped = False
        self._failure: BaseException | None = None
        self._ready = asyncio.Event()  # something to send, or nothing more will come
        self._room = asyncio.Event()  # something was sent, or nothing more will be

    @property
    def kept_bytes(self) -> int:
        """Audio held now: pending and sent."""
        return self._pending + self._sent

    async def put(self, frame: AudioFrame, end: float | None) -> None:
        """Numbers and queues the frame; waits while the server is behind. Raises what made the stream fail."""
        size = len(frame.audio)
        while not self._stopped and self._pending and self._pending + size > self._pending_limit:
            self._room.clear()
            await self._room.wait()
        if self._failure:
            raise self._failure
        if self._stopped:
            return
        frame.sequence = self._next
        self._next += 1
        self._pending += size
        self._kept.append(_Kept(frame, end))
        self._ready.set()

    def close(self) -> None:
        """No more frames: `head` answers None once everything was sent."""
        self._closed = True
        self._ready.set()

    def stop(self, failure: BaseException | None) -> None:
        """Nothing will be sent any more. `put` raises ``failure``, or does nothing without one."""
        self._stopped, self._failure = True, failure
        self._room.set()

    async def head(self) -> AudioFrame | None:
        """The frame to send next; waits for one; None when the outbox is closed and empty."""
        while self._cursor == self._next and not self._closed:
            self._ready.clear()
            await self._ready.wait()
        return None if self._cursor == self._next else self._kept[self._cursor - self._base].frame

    def sent(self) -> None:
        """The head was written to the wire."""
        size = len(self._kept[self._cursor - self._base].frame.audio)
        self._cursor += 1
        self._pending -= size
        self._sent += size
        while self._sent > self._replay_limit and self._base < self._cursor:
            self._let_go()
        self._room.set()

    def acknowledge(self, audio: float) -> None:
        """The server has heard this many seconds of audio."""
        while self._base < self._cursor:
            end = self._kept[0].end
            if end is None or end > audio:
                return
            self._let_go()

    def rewind(self, sequence: int) -> None:
        """The server expects ``sequence`` next. Raises SeleneError when that frame is not here any more, or not yet."""
        if not self._base <= sequence <= self._next:
            raise SeleneError(
                grpc.StatusCode.DATA_LOSS,
                f"the server expects frame {sequence}, but only {self._base} to {self._next} can be sent",
            )
        self._cursor = sequence
        while self._base < sequence:
            self._kept.popleft()
            self._base += 1
        self._sent, self._pending = 0, sum(len(kept.frame.audio) for kept in self._kept)
        self._room.set()

    def _let_go(self) -> None:
        self._sent -= len(self._kept.popleft().frame.audio)
        self._base += 1
