"""Overlap of two voices, from a segmentation model's power-set classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.voiceid.overlap import OnnxSegmentation, overlap_ratio


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


class RecordedSession:
    """A session that answers with given frames and remembers what it was asked."""

    def __init__(self, shape, answer):
        self.shape, self.answer, self.asked = shape, answer, None

    def get_inputs(self):
        return [type("Input", (), {"name": "wave", "shape": self.shape})]

    def run(self, output_names, input_feed):
        self.asked = input_feed["wave"].shape
        return [self.answer[None]]


@pytest.mark.parametrize(("shape", "asked"), [([1, "n"], (1, 1600)), ([1, 1, "n"], (1, 1, 1600))])
def test_the_adapter_gives_the_graph_its_shape(shape, asked):
    session = RecordedSession(shape, frames([0, 1, 4]))
    assert overlap_ratio(OnnxSegmentation(session).posteriors(np.zeros(1600, np.float32))) == 0.5
    assert session.asked == asked
