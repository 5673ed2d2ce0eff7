"""Slaney's mel bands: linear below 1 kHz, logarithmic above, each of the same area."""

import numpy as np
import pytest

from servers.runtime.mel import slaney_bank


@pytest.mark.parametrize("bands", [40, 80])
def test_every_band_has_the_same_area_in_hertz(bands: int) -> None:
    """So finely sampled, a sum is an integral."""
    bank = slaney_bank(bands, 16_000, 16_000)
    assert bank.shape == (8_001, bands)
    assert bank.sum(axis=0) == pytest.approx(np.ones(bands), rel=0.01)


def test_bands_are_evenly_spaced_below_one_kilohertz_and_a_factor_apart_above() -> None:
    peaks = slaney_bank(80, 160_000, 16_000).argmax(axis=0) / 10
    steps, factors = np.diff(peaks[peaks < 950]), peaks[1:][peaks[:-1] > 1_050] / peaks[:-1][peaks[:-1] > 1_050]
    assert steps == pytest.approx(np.full(len(steps), steps[0]), abs=0.21)
    assert factors == pytest.approx(np.full(len(factors), factors[0]), rel=1e-3)
    assert len(steps) > 10 < len(factors)
