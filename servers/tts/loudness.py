"""Whether speech can be heard."""

from __future__ import annotations

from typing import Final

import numpy as np

AUDIBLE: Final = 327
"""-40 dB of full scale."""


def audible(pcm: bytes) -> bool:
    """Whether any sample, little-endian PCM16, is loud enough to be heard; whole samples only."""
    samples = np.frombuffer(pcm, "<i2")
    return bool(((samples > AUDIBLE) | (samples < -AUDIBLE)).any())
