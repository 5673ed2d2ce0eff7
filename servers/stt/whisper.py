"""One Whisper model in a process of its own: ``python -m servers.stt.whisper WEIGHTS CONFIGURATION VOCABULARY``.

A decode takes up to a second of one core (§22, Selene Local): no event loop can live with that beside it.

Standard input: requests of a kind (one byte), a length (4 bytes, big-endian) and as many bytes of PCM16, at most 30 s.
Standard output: one JSON line for each, in order, and one before the first, once the model is open. Nothing is kept
between requests.

``G`` is a glance (answer: ``text``), ``W`` asks for the ``words``, each text, start, end and probability, ``H`` for
the same with hints before the audio (`servers.stt.hints`).
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from servers.stt.features import Samples
from servers.stt.hints import hinted
from servers.stt.models import WhisperFiles
from servers.stt.transcriber import Heard, Transcriber

HEADER = struct.Struct(">cI")


class Listener(Protocol):
    """What makes words of samples; see `servers.stt.transcriber.Transcriber`."""

    def glance(self, samples: Samples) -> str | None: ...

    def words(self, samples: Samples, terms: Sequence[str] = ()) -> list[Heard]: ...


def serve(listener: Listener, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers until the requests end."""
    _answer(replies, {"pid": os.getpid()})
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        kind, length = HEADER.unpack(header)
        terms, pcm = hinted(requests.read(length)) if kind == b"H" else ((), requests.read(length))
        samples = _samples(pcm)
        if kind == b"G":
            _answer(replies, {"text": listener.glance(samples) or ""})
        else:
            heard = listener.words(samples, terms) if len(samples) else []
            _answer(replies, {"words": [(word.text, word.start_s, word.end_s, word.probability) for word in heard]})


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32_768)


def _answer(replies: BinaryIO, answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer).encode() + b"\n")
    replies.flush()


def main() -> None:
    """Ctrl-C reaches the whole process group; the end of standard input is what ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not pass for an answer
    weights, configuration, vocabulary = map(Path, sys.argv[1:])
    serve(Transcriber(WhisperFiles(weights, configuration, vocabulary)), sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
