"""Overlap of two voices, from a segmentation model's power-set classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.overlap import overlap_ratio


def frames(classes):
    return np.log(np.full((len(classes), 7), 0.05) + 0.65 * np.eye(7)[list(classes)]).astype(np.float32)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([], 0.0),
        ([0, 0, 0], 0.0),
        ([1, 2, 3, 0], 0.0),
        ([4, 5, 6], 1.0),
        ([0, 1, 1, 4], 1 / 3),
        ([0, 0, 2, 5], 1 / 2),
    ],
)
def test_overlap_is_a_share_of_the_voiced_frames(classes, expected):
    assert overlap_ratio(frames(classes)) == pytest.approx(expected)


@given(st.lists(st.integers(0, 6), max_size=80))
def test_silence_does_not_dilute_overlap(classes):
    assert overlap_ratio(frames([*classes, 0, 0, 0])) == overlap_ratio(frames(classes))


@pytest.mark.parametrize("shape", [(5,), (5, 6), (1, 5, 7)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        overlap_ratio(np.zeros(shape, np.float32))


def test_nan_is_refused():
    posteriors = frames([1, 4])
    posteriors[0, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        overlap_ratio(posteriors)
