"""Running quality of one stream: clipping, levels, signal-to-noise ratio, lost audio (§33.3). Constant memory.

Levels are in dB relative to a full-scale square wave (a full-scale sine reads -3 dBFS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from servers.voiceid.vad import CHUNK_SAMPLES, Samples

FLOOR_DBFS = -120.0
NOISE_SHARE = 0.1
_STEP_DB = 0.5
_BINS = int(-FLOOR_DBFS / _STEP_DB) + 1


@dataclass(frozen=True, slots=True)
class Quality:
    """What can be said of the audio so far. None: not heard yet, so not known.

    ``clipped_ratio`` and ``lost_ratio`` in [0, 1]; ``speech_dbfs`` is the mean power of voiced chunks, ``noise_dbfs``
    the level that a tenth of all chunks stay below: a clip cut to the speech has no pause, but closures of stops and
    gaps between words show the noise, while breath and the ends of words would pass for it in a median of pauses.
    ``snr_db`` takes the noise out of the speech before it compares them.
    """

    duration_s: float
    clipped_ratio: float
    lost_s: float
    lost_ratio: float
    peak_dbfs: float | None
    speech_dbfs: float | None
    noise_dbfs: float | None
    snr_db: float | None


class QualityMeter:
    """Fed from three places: offsets of frames, decoded samples before resampling, the VAD's chunks and verdicts."""

    def __init__(self, rate_hz: int, full_scale: float) -> None:
        """``rate_hz`` of the decoded samples; a sample whose magnitude reaches ``full_scale`` counts as clipped."""
        self._rate_hz = rate_hz
        self._full_scale = full_scale
        self._heard = 0
        self._clipped = 0
        self._peak = 0.0
        self._first_offset_s: float | None = None
        self._lost_s = 0.0
        self._voiced_power = 0.0
        self._voiced_chunks = 0
        self._levels = np.zeros(_BINS, np.int64)

    def sent(self, offset_s: float, after_s: float) -> None:
        """Take the sender's offset of a frame that comes after ``after_s`` of its audio.

        Lost audio is how much further the sender's clock went than the samples that came; the latest frame decides,
        because what an early frame lacked may only have been late.
        """
        if self._first_offset_s is None:
            self._first_offset_s = offset_s - after_s
        self._lost_s = max(0.0, offset_s - self._first_offset_s - after_s)

    def hear(self, samples: Samples) -> None:
        """Take decoded samples, ``[n]``."""
        self._heard += len(samples)
        if not len(samples):
            return
        magnitudes = np.abs(samples)
        peak = float(magnitudes.max())
        self._peak = max(self._peak, peak)
        if peak >= self._full_scale:
            self._clipped += int(np.count_nonzero(magnitudes >= self._full_scale))

    def judge(self, chunks: Samples, voiced: npt.NDArray[np.bool_]) -> None:
        """Take chunks at 16 kHz, ``[n, 512]``, and which of them are voiced, ``[n]``."""
        powers = np.einsum("ns,ns->n", chunks, chunks).astype(np.float64) / CHUNK_SAMPLES
        for power, is_voiced in zip(powers.tolist(), voiced.tolist(), strict=True):
            level = min(_BINS - 1, round((_dbfs(power) - FLOOR_DBFS) / _STEP_DB))
            self._levels[level] += 1
            if is_voiced:
                self._voiced_power += power
                self._voiced_chunks += 1

    @property
    def duration_s(self) -> float:
        """Seconds heard so far."""
        return self._heard / self._rate_hz

    def report(self) -> Quality:
        """The quality of everything so far."""
        duration_s = self.duration_s
        speech = self._voiced_power / self._voiced_chunks if self._voiced_chunks else None
        noise_dbfs = _quantile(self._levels, NOISE_SHARE)
        return Quality(
            duration_s=duration_s,
            clipped_ratio=self._clipped / self._heard if self._heard else 0.0,
            lost_s=self._lost_s,
            lost_ratio=self._lost_s / (duration_s + self._lost_s) if self._lost_s else 0.0,
            peak_dbfs=_dbfs(self._peak**2) if self._heard else None,
            speech_dbfs=None if speech is None else _dbfs(speech),
            noise_dbfs=noise_dbfs,
            snr_db=None if speech is None or noise_dbfs is None else _snr_db(speech, noise_dbfs),
        )


def _dbfs(power: float) -> float:
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS


def _snr_db(speech_and_noise: float, noise_dbfs: float) -> float:
    """Bounded to ±60 dB: beyond that the noise, or the speech, is below what was measured."""
    noise = 10 ** (noise_dbfs / 10)
    ratio = max(speech_and_noise - noise, 0.0) / noise
    return min(60.0, max(-60.0, 10 * math.log10(ratio) if ratio > 0 else -60.0))


def _quantile(levels: npt.NDArray[np.int64], share: float) -> float | None:
    """The level below which ``share`` of the counted chunks lie, to half a decibel; None where none was counted."""
    total = int(levels.sum())
    if total == 0:
        return None
    index = int(np.searchsorted(np.cumsum(levels), share * total))
    return FLOOR_DBFS + index * _STEP_DB
