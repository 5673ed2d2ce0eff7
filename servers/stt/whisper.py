"""One Whisper model in a process of its own: ``python -m servers.stt.whisper WEIGHTS CONFIGURATION VOCABULARY``.

A decode takes up to a second of one core (§22, Selene Local): no event loop can live with that beside it.

Standard input: requests of a kind (one byte), a length (4 bytes, big-endian) and as many bytes. Standard output: one
JSON line for each, in order, and one before the first, once the model is open.

``B`` begins an utterance, ``A`` is PCM16 of it (answer: ``text`` so far), ``E`` ends it (answer: ``words``, each text,
start, end and probability), ``D`` throws it away.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from servers.stt.adapter import BYTES_A_SAMPLE, RATE_HZ
from servers.stt.features import Samples
from servers.stt.models import WhisperFiles
from servers.stt.transcriber import WINDOW_S, Heard, Transcriber

HEADER = struct.Struct(">cI")

GLANCE_EVERY_S = 0.8
"""How much more audio there must be, and how much time must have passed, before it is looked at again."""

REST = 3.0
"""How many times as long as a look took there is none: interims take at most a quarter of a core."""

_QUIET_S = 0.2
_SEARCHED_S = 10.0


class Listener(Protocol):
    """What makes words of samples; see `servers.stt.transcriber.Transcriber`."""

    def glance(self, samples: Samples) -> str | None: ...

    def words(self, samples: Samples) -> list[Heard]: ...


class Recogniser:
    """One utterance at a time. What exceeds the model's 30 s is settled in parts, cut where it is quiet."""

    def __init__(self, listener: Listener, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._monotonic = monotonic
        self.begin()

    def begin(self) -> dict[str, Any]:
        self._pcm = bytearray()
        self._settled: list[Heard] = []
        self._settled_s = 0.0
        self._glanced_at_bytes = 0
        self._rests_until = self._monotonic()
        self._text = ""
        return {}

    def hear(self, pcm: bytes) -> dict[str, Any]:
        """The words so far: what was settled, and what the rest looked like when it was last looked at."""
        self._pcm += pcm
        while len(self._pcm) > _size(WINDOW_S):
            self._settle(_quietest(_samples(self._pcm[: _size(WINDOW_S)])) * BYTES_A_SAMPLE)
        if self._due():
            self._glance()
        return {"text": self._text}

    def end(self) -> dict[str, Any]:
        """All words with their times in seconds and probabilities."""
        self._settle(len(self._pcm))
        return {"words": [(word.text, word.start_s, word.end_s, word.probability) for word in self._settled]}

    def _due(self) -> bool:
        fresh = len(self._pcm) - self._glanced_at_bytes
        return fresh >= _size(GLANCE_EVERY_S) and self._monotonic() >= self._rests_until

    def _glance(self) -> None:
        began_at = self._monotonic()
        seen = self._listener.glance(_samples(self._pcm))
        if seen is not None:
            self._text = " ".join((*(word.text for word in self._settled), seen))
        ended_at = self._monotonic()
        self._glanced_at_bytes = len(self._pcm)
        self._rests_until = ended_at + max(GLANCE_EVERY_S, REST * (ended_at - began_at))

    def _settle(self, size: int) -> None:
        part = _samples(self._pcm[:size])
        if len(part):
            heard = self._listener.words(part)
            self._settled += [
                replace(word, start_s=word.start_s + self._settled_s, end_s=word.end_s + self._settled_s)
                for word in heard
            ]
        self._settled_s += len(part) / RATE_HZ
        del self._pcm[:size]
        self._glanced_at_bytes = 0


def _size(seconds: float) -> int:
    return round(seconds * RATE_HZ) * BYTES_A_SAMPLE


def _samples(pcm: bytes | bytearray) -> Samples:
    return np.frombuffer(bytes(pcm), "<i2").astype(np.float32) / np.float32(32_768)


def _quietest(samples: Samples) -> int:
    """The middle of the quietest fifth of a second among the last ten seconds, in samples."""
    width = round(_QUIET_S * RATE_HZ)
    first = len(samples) - round(_SEARCHED_S * RATE_HZ)
    blocks = samples[first:].reshape(-1, width)
    return first + int(np.argmin(np.square(blocks).mean(axis=1))) * width + width // 2


def serve(recogniser: Recogniser, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers until the requests end."""
    _answer(replies, {"pid": os.getpid()})
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        kind, length = HEADER.unpack(header)
        payload = requests.read(length)
        match kind:
            case b"A":
                answer = recogniser.hear(payload)
            case b"E":
                answer = recogniser.end()
            case _:
                answer = recogniser.begin()
        _answer(replies, answer)


def _answer(replies: BinaryIO, answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer).encode() + b"\n")
    replies.flush()


def main() -> None:
    """Ctrl-C reaches the whole process group; the end of standard input is what ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not pass for an answer
    weights, configuration, vocabulary = map(Path, sys.argv[1:])
    serve(Recogniser(Transcriber(WhisperFiles(weights, configuration, vocabulary))), sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
