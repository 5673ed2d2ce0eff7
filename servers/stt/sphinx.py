"""One pocketsphinx decoder in a process of its own: ``python -m servers.stt.sphinx`` (§22, Selene Local).

The bindings hold the interpreter's lock while they work: beside a decoder, a thread was seen to wait 0.2 s for a block
of audio, 0.6 s for the end of an utterance and 0.4 s while a decoder is opened. No event loop can live with that.

Standard input: requests of a kind (one byte), a length (4 bytes, big-endian) and as many bytes. Standard output: one
JSON line for each, in order, and one before the first, once the decoder is open.

``B`` begins an utterance, ``A`` is PCM16 of it (answer: ``text`` so far), ``E`` ends it (answer: ``words``, each text,
start, end and posterior, and ``voiced_s``), ``D`` throws it away.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
from typing import Any, BinaryIO

from pocketsphinx import Decoder, Vad

HEADER = struct.Struct(">cI")
BEGIN, AUDIO, END, DISCARD = b"B", b"A", b"E", b"D"

FRAMES_A_SECOND = 100
# A second, flat pass makes the end of an utterance three times as long and was no more often right on read English;
# the cap on active states bounds how slow hard audio gets.
OPTIONS = {"samprate": 16_000, "fwdflat": False, "maxhmmpf": 10_000, "loglevel": "FATAL"}

# The strictest of its four modes: what passes for a voice in hum or hiss would be transcribed as short words.
VAD_MODE = 3

_PRONUNCIATION = re.compile(r"\(\d+\)$")


class Recogniser:
    """One utterance at a time, each decoded as if it were the first."""

    def __init__(self) -> None:
        self._decoder = Decoder(**OPTIONS)
        self._vad = Vad(mode=VAD_MODE, sample_rate=16_000)
        self._open = False
        self._unheard = b""
        self._voiced_frames = 0

    def begin(self) -> dict[str, Any]:
        """Make the front end anew: the mean and the frames it keeps of the speaker before change what is understood."""
        self.discard()
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._open = True
        self._unheard, self._voiced_frames = b"", 0
        return {}

    def hear(self, pcm: bytes) -> dict[str, Any]:
        """The words so far."""
        self._decoder.process_raw(pcm)
        self._count_voiced(pcm)
        found = self._decoder.hyp()
        return {"text": found.hypstr if found else ""}

    def end(self) -> dict[str, Any]:
        """The words with their times in seconds and posteriors, and how many seconds were voiced."""
        self.discard()
        segments = self._decoder.seg() if self._decoder.hyp() else None
        words = [
            (
                _PRONUNCIATION.sub("", segment.word),
                segment.start_frame / FRAMES_A_SECOND,
                (segment.end_frame + 1) / FRAMES_A_SECOND,
                segment.prob,
            )
            for segment in segments or ()
            if segment.word[0] not in "<[+"
        ]
        return {"words": words, "voiced_s": self._voiced_frames * self._vad.frame_length}

    def discard(self) -> dict[str, Any]:
        if self._open:
            self._open = False
            self._decoder.end_utt()
        return {}

    def _count_voiced(self, pcm: bytes) -> None:
        heard, size = self._unheard + pcm, self._vad.frame_bytes
        whole = len(heard) - len(heard) % size
        self._voiced_frames += sum(self._vad.is_speech(heard[at : at + size]) for at in range(0, whole, size))
        self._unheard = heard[whole:]


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers until the requests end."""
    recogniser = Recogniser()
    _answer(replies, {"pid": os.getpid()})
    while len(header := requests.read(HEADER.size)) == HEADER.size:
        kind, length = HEADER.unpack(header)
        payload = requests.read(length)
        match kind:
            case b"B":
                answer = recogniser.begin()
            case b"A":
                answer = recogniser.hear(payload)
            case b"E":
                answer = recogniser.end()
            case _:
                answer = recogniser.discard()
        _answer(replies, answer)


def _answer(replies: BinaryIO, answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer).encode() + b"\n")
    replies.flush()


def main() -> None:
    """Ctrl-C reaches the whole process group; the end of standard input is what ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not pass for an answer
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
