"""Identifiers as an argument. Every id is a UUIDv7 (RFC 9562): sorting ids sorts them by the time they were made."""

import os
import random
from collections.abc import Callable
from typing import Protocol

from servers.runtime.clock import Clock

_COUNTER_BITS = 12
_RANDOM_BYTES = 8
_REPLAY_EPOCH_MS = 1_700_000_000_000


class Ids(Protocol):
    """Where identifiers come from."""

    def new(self) -> str:
        """A new id, 36 characters, greater than every id made before it here."""
        ...


class UuidV7Ids:
    """UUIDv7 from a clock and entropy; increasing also within a millisecond and when the clock steps back."""

    def __init__(self, clock: Clock, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._tick = 0  # milliseconds << 12 | counter, so that an overflowing counter borrows from the next millisecond

    def new(self) -> str:
        now_ms = int(self._clock.now().timestamp() * 1000)
        self._tick = max(now_ms << _COUNTER_BITS, self._tick + 1)
        return _uuid7(self._tick, self._entropy(_RANDOM_BYTES))


class SeededIds:
    """The same ids in the same order for the same seed: for replay and for tests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._tick = _REPLAY_EPOCH_MS << _COUNTER_BITS

    def new(self) -> str:
        self._tick += 1 << _COUNTER_BITS
        return _uuid7(self._tick, self._random.randbytes(_RANDOM_BYTES))


def _uuid7(tick: int, entropy: bytes) -> str:
    milliseconds, counter = tick >> _COUNTER_BITS, tick & ((1 << _COUNTER_BITS) - 1)
    tail = int.from_bytes(entropy) & ((1 << 62) - 1)
    digits = f"{milliseconds << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | tail:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
