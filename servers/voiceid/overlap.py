"""How much of the speech is two people at once (§38.5 MULTI_SPEAKER_OVERLAP).

A segmentation model (pyannote segmentation 3.0) says for every frame which of at most three local speakers talk, as
one class of a power set: 0 nobody, 1 to 3 one of them, 4 to 6 two of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CLASSES = 7
_FIRST_SINGLE, _FIRST_PAIR = 1, 4

Posteriors = npt.NDArray[np.float32]


def overlap_ratio(powerset_posteriors: Posteriors) -> float:
    """Frames with two speakers as a share of frames with any, from ``[T, 7]``; 0 where nobody speaks.

    Raises ``ValueError`` on another shape or on NaN: an answer that cannot be read is no proof of a single speaker.
    """
    if powerset_posteriors.ndim != 2 or powerset_posteriors.shape[1] != CLASSES:
        raise ValueError(f"expected [T, {CLASSES}], not {list(powerset_posteriors.shape)}")
    if np.isnan(powerset_posteriors).any():
        raise ValueError("a posterior is NaN")
    if not len(powerset_posteriors):
        return 0.0
    likeliest = powerset_posteriors.argmax(axis=1)
    voiced = int(np.count_nonzero(likeliest >= _FIRST_SINGLE))
    overlapped = int(np.count_nonzero(likeliest >= _FIRST_PAIR))
    return overlapped / voiced if voiced else 0.0
