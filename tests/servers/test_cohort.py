"""Who is in a canary (§29): sticky, nested, and different from rollout to rollout."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from servers.cohort import PLACES, place_bp, serves
from servers.governance.rollout import STAGES

SUBJECTS = [f"user-{number}" for number in range(4_000)]


@given(st.text(), st.text(), st.integers(0, PLACES), st.integers(0, PLACES))
def test_growing_shares_hold_everyone_of_the_smaller_ones(rollout: str, subject: str, one: int, other: int) -> None:
    smaller, larger = sorted((one, other))
    assert not serves(rollout, subject, smaller) or serves(rollout, subject, larger)


@given(st.text(), st.text())
def test_nobody_is_served_by_a_shadow_and_everybody_by_the_full_stage(rollout: str, subject: str) -> None:
    assert not serves(rollout, subject, 0) and serves(rollout, subject, PLACES)


def test_a_place_is_the_first_eight_bytes_of_the_hash_of_its_length_prefixed_fields() -> None:
    spelled = bytes(7) + b"\x15selene.rollout-cohort" + bytes(7) + b"\x01r" + bytes(7) + b"\x03ann"
    assert place_bp("r", "ann") == int(sha256(spelled).hexdigest()[:16], 16) % 10_000


def test_a_share_is_about_as_large_as_it_says() -> None:
    for stage in STAGES.values():
        served = sum(serves("rollout-1", subject, stage.share_bp) for subject in SUBJECTS)
        assert abs(served / len(SUBJECTS) - stage.share_bp / PLACES) < 0.02


def test_rollouts_draw_differently() -> None:
    first, second = ({s for s in SUBJECTS if serves(rollout, s, 2_500)} for rollout in ("r-1", "r-2"))
    assert 0.05 < len(first & second) / len(SUBJECTS) < 0.075  # a quarter of a quarter
