"""What counts as audible."""

from __future__ import annotations

import numpy as np
import pytest

from servers.tts.loudness import audible


@pytest.mark.parametrize(
    ("samples", "heard"),
    [([], False), ([0] * 100, False), ([327, -327], False), ([0, 328], True), ([0, -328], True), ([-32_768], True)],
)
def test_a_sample_above_minus_40_db_is_audible(samples: list[int], heard: bool) -> None:
    assert audible(np.array(samples, "<i2").tobytes()) is heard
