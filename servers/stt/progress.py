"""How far an utterance has come: what is settled, what is still to be decoded, and when a look at it is worthwhile.

The audio stays here: a decoder is asked for one look at a time, and held for no longer (`servers.stt.local`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from servers.stt.adapter import BYTES_A_SAMPLE, RATE_HZ, Word
from servers.stt.features import WINDOW_S

GLANCE_EVERY_S = 0.8
"""How much more audio there must be, and how much time must have passed, before it is looked at again."""

REST = 3.0
"""How many times as long as a look took there is none: interims of a stream take at most a quarter of a core."""

_QUIET_S = 0.2
_SEARCHED_S = 10.0


class Progress:
    """One utterance, PCM16 of 16 kHz. What exceeds the model's 30 s is settled in parts, cut where it is quiet."""

    def __init__(self, now: float) -> None:
        self.text = ""
        """The words so far: what was settled, and what the rest looked like when it was last looked at."""
        self.words: tuple[Word, ...] = ()
        """What is settled, with times in the utterance."""
        self._pcm = bytearray()
        self._settled_bytes = 0
        self._glanced_at_bytes = 0
        self._rests_until = now

    @property
    def audio_s(self) -> float:
        """Seconds that were added."""
        return (self._settled_bytes + len(self._pcm)) / (RATE_HZ * BYTES_A_SAMPLE)

    @property
    def pending(self) -> bytes:
        """What is not settled."""
        return bytes(self._pcm)

    def add(self, pcm: bytes) -> None:
        """What follows, in whole samples."""
        self._pcm += pcm

    def full_part(self) -> bytes | None:
        """What has to be settled before there is more than the model takes; None: nothing yet."""
        size = _size(WINDOW_S)
        return bytes(self._pcm[: _quietest(self._pcm[:size])]) if len(self._pcm) > size else None

    def settle(self, part: bytes, heard: Iterable[Word]) -> None:
        """`part`, the first of what is pending, was decoded: `heard`, with times in the part."""
        offset_s = self._settled_bytes / (RATE_HZ * BYTES_A_SAMPLE)
        moved = (replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s) for word in heard)
        self.words += tuple(moved)
        self._settled_bytes += len(part)
        del self._pcm[: len(part)]
        self._glanced_at_bytes = 0

    def worth_a_glance(self, now: float) -> bool:
        fresh = len(self._pcm) - self._glanced_at_bytes
        return fresh >= _size(GLANCE_EVERY_S) and now >= self._rests_until

    def glanced(self, seen: str, began_at: float, ended_at: float) -> None:
        """What is pending looks like `seen`; nothing: no speech."""
        if seen:
            self.text = " ".join((*(word.text for word in self.words), seen))
        self._glanced_at_bytes = len(self._pcm)
        self._rests_until = ended_at + max(GLANCE_EVERY_S, REST * (ended_at - began_at))


def _size(seconds: float) -> int:
    return round(seconds * RATE_HZ) * BYTES_A_SAMPLE


def _quietest(pcm: bytes | bytearray) -> int:
    """The middle of the quietest fifth of a second among the last ten seconds, in bytes."""
    samples = np.frombuffer(bytes(pcm), "<i2").astype(np.float32)
    width = round(_QUIET_S * RATE_HZ)
    first = len(samples) - round(_SEARCHED_S * RATE_HZ)
    blocks = samples[first:].reshape(-1, width)
    return (first + int(np.argmin(np.square(blocks).mean(axis=1))) * width + width // 2) * BYTES_A_SAMPLE
