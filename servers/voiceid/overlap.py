"""How much of the speech is two people at once (§38.5 MULTI_SPEAKER_OVERLAP).

A segmentation model (pyannote segmentation 3.0) says for every frame which of at most three local speakers talk, as
one class of a power set: 0 nobody, 1 to 3 one of them, 4 to 6 two of them.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from servers.voiceid.vad import Samples

CLASSES = 7
_FIRST_SINGLE, _FIRST_PAIR = 1, 4

Posteriors = npt.NDArray[np.float32]


class SegmentationModel(Protocol):
    """Frame-level speaker activity. Costs some 75 ms per 10 s, so it is asked on demand, not along the stream."""

    def posteriors(self, samples: Samples) -> Posteriors:
        """``[n]`` samples at 16 kHz to ``[T, 7]`` probabilities, or logarithms of them: only their order counts."""


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


class InferenceSession(Protocol):
    """What is used of ``onnxruntime.InferenceSession``."""

    def get_inputs(self) -> list[Any]: ...

    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> list[Any]: ...


class OnnxSegmentation:
    """A loaded segmentation graph whose only input is audio, ``[1, samples]`` or ``[1, 1, samples]``."""

    def __init__(self, session: InferenceSession) -> None:
        (audio,) = session.get_inputs()
        self._session = session
        self._name = str(audio.name)
        self._rank = len(audio.shape)

    def posteriors(self, samples: Samples) -> Posteriors:
        """See :class:`SegmentationModel`; ``[T, 7]`` out of the graph's ``[1, T, 7]``."""
        shaped = samples.reshape((1,) * (self._rank - 1) + (-1,))
        first: Posteriors = np.asarray(self._session.run(None, {self._name: shaped})[0], np.float32)[0]
        return first
