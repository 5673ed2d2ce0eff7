"""Replay detection against a subject's own earlier audio (VID-14): binary spectral fingerprints.

After Haitsma and Kalker (ISMIR 2002). A word of 32 bits every 16 ms: bit b says whether the difference of the energies
of bands b and b+1 rose or fell since the previous frame. The sound itself cannot be had back from them. Two
utterances, even of one sentence by one person, agree in about half of the bits wherever they are laid over each
other; a recording that is played again agrees in most of them. All audio is mono at 16 kHz in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from servers.voiceid.vad import CHUNK_SAMPLES, Samples

RATE_HZ = 16_000
FRAME_SAMPLES = 4096
HOP_SAMPLES = 256
HOP_S = HOP_SAMPLES / RATE_HZ
_BANDS = 33
_LOW_HZ, _HIGH_HZ = 250.0, 3600.0  # what a telephone lets through
_BLOCK_FRAMES = 16
_EDGES = np.rint(np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1) * FRAME_SAMPLES / RATE_HZ).astype(np.intp)
_WINDOW = np.hanning(FRAME_SAMPLES).astype(np.float32)

# The search looks at this many words of the query, at every second position, then at the best positions in full.
_PROBES, _STRIDE, _CANDIDATES = 64, 2, 16
_GAP_WORD = np.uint32(0xAAAAAAAA)  # half of the bits set: says nothing for or against any word

Words = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """``words`` [n], one per 16 ms, and which of them lie in speech, ``voiced`` [n]: only those are ever compared."""

    words: Words
    voiced: Mask

    def __post_init__(self) -> None:
        if self.words.shape != self.voiced.shape:
            raise ValueError("one voiced flag a word")

    def to_bytes(self) -> bytes:
        """4⅛ bytes a word, for the store."""
        return self.words.astype("<u4").tobytes() + np.packbits(self.voiced).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Fingerprint:
        """The inverse of :meth:`to_bytes`; raises ``ValueError`` on bytes that it cannot have made."""
        count = len(data) * 8 // 33
        if 4 * count + math.ceil(count / 8) != len(data):
            raise ValueError(f"{len(data)} bytes are no fingerprint")
        flags = np.unpackbits(np.frombuffer(data, np.uint8, offset=4 * count), count=count)
        return cls(np.frombuffer(data, "<u4", count).astype(np.uint32), flags.astype(np.bool_))


class FingerprintStream:
    """Fingerprints audio while it arrives. The result does not depend on how the stream was split."""

    def __init__(self) -> None:
        self._pending: Samples = np.zeros(0, np.float32)
        self._last: npt.NDArray[np.float32] | None = None
        self._words: list[Words] = []
        self._audible: list[Mask] = []

    def push(self, samples: Samples) -> None:
        """Take samples, ``[n]``."""
        self._pending = np.concatenate((self._pending, samples))
        block = FRAME_SAMPLES + (_BLOCK_FRAMES - 1) * HOP_SAMPLES
        while len(self._pending) >= block:
            self._take(self._pending[:block])
            self._pending = self._pending[_BLOCK_FRAMES * HOP_SAMPLES :]

    def finish(self, voiced_chunks: Mask | None = None) -> Fingerprint:
        """The fingerprint of everything. ``voiced_chunks`` flags 512 samples each, as the VAD does; None: all of it."""
        if len(self._pending) >= FRAME_SAMPLES:
            self._take(self._pending)
            self._pending = self._pending[:0]
        words = np.concatenate(self._words) if self._words else np.zeros(0, np.uint32)
        voiced = np.concatenate(self._audible) if self._audible else np.zeros(0, np.bool_)
        if voiced_chunks is not None:
            voiced = voiced & _at_words(voiced_chunks, len(words))
        return Fingerprint(words, voiced)

    def _take(self, samples: Samples) -> None:
        frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME_SAMPLES)[::HOP_SAMPLES]
        spectra = scipy.fft.rfft(frames * _WINDOW, axis=1)[:, _EDGES[0] : _EDGES[-1]]
        power = np.square(spectra.real) + np.square(spectra.imag)
        energies = np.add.reduceat(power, _EDGES[:-1] - _EDGES[0], axis=1)
        if self._last is not None:
            energies = np.concatenate((self._last, energies))
        self._last = energies[-1:]
        rose = np.diff(np.diff(energies, axis=1), axis=0) > 0
        self._words.append(np.packbits(rose, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32))
        audible: Mask = energies[1:].max(axis=1) > 0
        self._audible.append(audible)


def fingerprint(samples: Samples, voiced_chunks: Mask | None = None) -> Fingerprint:
    """The fingerprint of a whole clip, ``[n]`` samples; empty below 272 ms."""
    stream = FingerprintStream()
    stream.push(samples)
    return stream.finish(voiced_chunks)


@dataclass(frozen=True, slots=True)
class ReplayMatch:
    """The place where a query resembles stored audio most.

    ``offset_s`` is where the query begins, from the start of stored clip ``clip`` (negative: before it);
    ``length_s`` is how much speech was compared there.
    """

    clip: int
    bit_error_rate: float
    offset_s: float
    length_s: float

    @property
    def similarity(self) -> float:
        """1 where every bit agrees, 0 where no more do than by chance."""
        return max(0.0, 1 - 2 * self.bit_error_rate)


@dataclass(frozen=True, slots=True)
class ReplayPolicy:
    """What counts as a replay: at most this many bits differ, over at least this much speech."""

    max_bit_error_rate: float
    min_length_s: float


def is_replay(found: ReplayMatch | None, policy: ReplayPolicy) -> bool:
    """Whether a match is a replay. No match is none: too little speech cannot be judged, and the caller knows that."""
    if found is None:
        return False
    return found.bit_error_rate <= policy.max_bit_error_rate and found.length_s >= policy.min_length_s


def match(query: Fingerprint, stored: Sequence[Fingerprint], min_length_s: float) -> ReplayMatch | None:
    """The best overlap of ``query`` with any of ``stored`` that compares at least ``min_length_s`` of speech.

    None where no overlap is that long. Either may be a part of the other, or they may overlap at an end.
    """
    needed = max(1, math.ceil(min_length_s / HOP_S))
    if np.count_nonzero(query.voiced) < needed or not stored:
        return None
    haystack, starts = _lay_out(stored, len(query.words))
    best: ReplayMatch | None = None
    best_evidence = -math.inf
    for position in _likely_positions(query, haystack):
        clip = int(np.searchsorted(starts, position + len(query.words), side="right")) - 1
        for index in {max(0, clip - 1), max(0, clip)}:
            compared = _compare(query, stored[index], position - int(starts[index]), needed)
            if compared is None:
                continue
            errors, words = compared
            evidence = (0.5 - errors) * math.sqrt(words)
            if evidence > best_evidence:
                offset_s = (position - int(starts[index])) * HOP_S
                best, best_evidence = ReplayMatch(index, errors, offset_s, words * HOP_S), evidence
    return best


def _at_words(voiced_chunks: Mask, count: int) -> Mask:
    """The VAD's flags at the middle of each word's pair of frames; beyond the last chunk there is no speech."""
    chunks = (np.arange(count) * HOP_SAMPLES + (FRAME_SAMPLES + HOP_SAMPLES) // 2) // CHUNK_SAMPLES
    flags: Mask = np.zeros(count, np.bool_)
    known = chunks < len(voiced_chunks)
    flags[known] = voiced_chunks[chunks[known]]
    return flags


def _lay_out(stored: Sequence[Fingerprint], margin: int) -> tuple[Words, npt.NDArray[np.intp]]:
    """All clips in one row, ``margin`` neutral words before, between and after them, and where each begins."""
    lengths = np.array([len(clip.words) for clip in stored])
    starts = margin + np.concatenate(([0], np.cumsum(lengths + margin)[:-1])).astype(np.intp)
    row = np.full(margin + int((lengths + margin).sum()), _GAP_WORD, np.uint32)
    for start, clip in zip(starts, stored, strict=True):
        row[start : start + len(clip.words)] = np.where(clip.voiced, clip.words, _GAP_WORD)
    return row, starts


def _likely_positions(query: Fingerprint, haystack: Words) -> list[int]:
    """Where the query's probes differ least from the row, each with its neighbours."""
    voiced = np.flatnonzero(query.voiced)
    probes = voiced[np.linspace(0, len(voiced) - 1, min(_PROBES, len(voiced))).astype(np.intp)]
    phases = [np.ascontiguousarray(haystack[phase::_STRIDE]) for phase in range(_STRIDE)]
    count = (len(haystack) - len(query.words)) // _STRIDE
    if count == 0:
        return []
    distances = np.zeros(count, np.uint16)
    for probe in probes:
        row = phases[probe % _STRIDE][probe // _STRIDE :][:count]
        distances += np.bitwise_count(row ^ query.words[probe])
    nearest = np.argpartition(distances, min(_CANDIDATES, count - 1))[:_CANDIDATES]
    return sorted({_STRIDE * int(place) + shift for place in nearest for shift in (-1, 0, 1)})


def _compare(query: Fingerprint, clip: Fingerprint, offset: int, needed: int) -> tuple[float, int] | None:
    """Bit error rate and number of words voiced in both, the query laid at ``offset``; None below ``needed``."""
    start, end = max(0, -offset), min(len(query.words), len(clip.words) - offset)
    if end - start < needed:
        return None
    both = query.voiced[start:end] & clip.voiced[start + offset : end + offset]
    words = int(np.count_nonzero(both))
    if words < needed:
        return None
    differing = np.bitwise_count(query.words[start:end] ^ clip.words[start + offset : end + offset])
    return int(differing[both].sum()) / (32 * words), words
