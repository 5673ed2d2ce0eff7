"""Trials whose true LLR is known: normal scores of equal variance, so that the LLR is linear in the score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from servers.voiceid.calibration.trials import Cohort, Trial, Trials, collect, duration_name

MODELS = ("fast@1", "slow@1")


def _make(
    *,
    speakers: int = 24,
    utterances: int = 2,
    durations: tuple[float, ...] = (1.0, 3.0),
    distances: tuple[float, float] = (0.4, 0.6),
    spread: float = 0.1,
    same_session: bool = False,
    cohort: Cohort = Cohort("en", "us", "headset", "clean"),  # noqa: B008  # a tuple of strings cannot change
    seed: int = 7,
) -> Trials:
    random = np.random.default_rng(seed)
    rows = []
    for tested in range(speakers):
        for name, seconds in ((f"{tested}-{index}-{s}", s) for index in range(utterances) for s in durations):
            genuine = np.arange(speakers) == tested
            cosines = genuine[:, None] * np.array(distances) + random.normal(0.0, spread, (speakers, 2))
            rows += [
                Trial(
                    genuine=bool(genuine[enrolled]),
                    enrolled=f"s{enrolled:03}",
                    tested=f"s{tested:03}",
                    seconds=seconds,
                    cosines=tuple(np.clip(cosines[enrolled], -1, 1).tolist()),
                    cohort=cohort,
                    utterance=name,
                    clips=3,
                    same_session=bool(genuine[enrolled]) and same_session,
                    condition=duration_name(seconds),
                )
                for enrolled in range(speakers)
            ]
    return collect(MODELS, rows)


@pytest.fixture(scope="session")
def make_normal_trials() -> Callable[..., Trials]:
    """Every speaker's profile against `utterances` of every speaker at each duration.

    Both models are independent; impostor cosines have mean 0, genuine ones `distances`, all the deviation `spread`, so
    a model's true LLR is `distance / spread² * (cosine - distance / 2)`.
    """
    return _make
