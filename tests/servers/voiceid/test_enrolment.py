"""Basic enrolment: clips, lock, profile."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.voiceid.enrolment import HINTS, ClipEvidence, EnrolmentPolicy, Missing, centroid, grade, missing

POLICY = EnrolmentPolicy(min_clips=3, min_total_voiced_seconds=9.0, min_same_voice_bp=5000)
GOOD = ClipEvidence(
    voiced_seconds=2.0,
    clipped_ratio=0.01,
    snr_db=10.0,
    overlap_ratio=0.02,
    duplicate=False,
    score_bp_to_earlier=5000,
)


def test_the_defaults_are_those_of_the_capture_contract():
    assert (POLICY.min_clip_voiced_seconds, POLICY.max_clipped_ratio) == (2.0, 0.01)
    assert (POLICY.max_overlap_ratio, POLICY.min_snr_db) == (0.02, 10.0)


@pytest.mark.parametrize(
    ("change", "rejection"),
    [
        ({}, v1.CLIP_REJECTION_UNSPECIFIED),
        ({"score_bp_to_earlier": None}, v1.CLIP_REJECTION_UNSPECIFIED),
        ({"overlap_ratio": None}, v1.CLIP_REJECTION_UNSPECIFIED),
        ({"duplicate": True}, v1.CLIP_REJECTION_DUPLICATE),
        ({"voiced_seconds": 1.99}, v1.CLIP_REJECTION_TOO_LITTLE_SPEECH),
        ({"voiced_seconds": math.nan}, v1.CLIP_REJECTION_TOO_LITTLE_SPEECH),
        ({"clipped_ratio": 0.011}, v1.CLIP_REJECTION_CLIPPED),
        ({"clipped_ratio": math.nan}, v1.CLIP_REJECTION_CLIPPED),
        ({"snr_db": 9.9}, v1.CLIP_REJECTION_TOO_NOISY),
        ({"snr_db": math.nan}, v1.CLIP_REJECTION_TOO_NOISY),
        ({"overlap_ratio": 0.021}, v1.CLIP_REJECTION_OVERLAP),
        ({"overlap_ratio": math.nan}, v1.CLIP_REJECTION_OVERLAP),
        ({"score_bp_to_earlier": 4999}, v1.CLIP_REJECTION_OTHER_VOICE),
        ({"duplicate": True, "voiced_seconds": 0.0, "snr_db": 0.0}, v1.CLIP_REJECTION_DUPLICATE),
        ({"voiced_seconds": 0.0, "clipped_ratio": 1.0}, v1.CLIP_REJECTION_TOO_LITTLE_SPEECH),
    ],
)
def test_a_clip_is_graded_by_the_gates(change, rejection):
    graded = grade(replace(GOOD, **change), POLICY)
    assert graded.rejection == rejection
    assert graded.accepted == (rejection == v1.CLIP_REJECTION_UNSPECIFIED)
    assert graded.hint == HINTS[rejection] or rejection == v1.CLIP_REJECTION_TOO_LITTLE_SPEECH


@pytest.mark.parametrize(("voiced", "has"), [(1.98, "1.98"), (1.999, "1.99"), (0.0, "0.00")])
def test_a_clip_that_is_too_short_is_told_how_much_speech_it_has_and_needs(voiced, has):
    graded = grade(replace(GOOD, voiced_seconds=voiced), POLICY)
    assert f"2.0 s of speech are needed, this one has {has}." in graded.hint


def test_every_rejection_has_words_for_the_person():
    assert set(HINTS) == set(v1.ClipRejection.values())
    assert all(HINTS.values())


@pytest.mark.parametrize(
    ("clips", "voiced", "lacking"),
    [
        (0, 0.0, Missing(3, 9.0)),
        (2, 8.0, Missing(1, 1.0)),
        (3, 8.5, Missing(0, 0.5)),
        (2, 20.0, Missing(1, 0.0)),
        (3, 9.0, Missing(0, 0.0)),
        (9, 90.0, Missing(0, 0.0)),
        (3, math.nan, Missing(0, 9.0)),
    ],
)
def test_a_profile_locks_when_neither_clips_nor_speech_are_missing(clips, voiced, lacking):
    assert missing(clips, voiced, POLICY) == lacking
    assert lacking.nothing == (clips >= 3 and voiced >= 9.0)


@given(st.integers(1, 8), st.integers(0, 1000))
def test_a_profile_is_a_unit_vector_nearest_to_its_clips_on_average(count, seed):
    clips = np.abs(np.random.default_rng(seed).standard_normal((count, 16)))
    clips = (clips / np.linalg.norm(clips, axis=1, keepdims=True)).astype(np.float32)
    profile = centroid(list(clips))
    assert profile is not None
    assert profile.dtype == np.float32
    assert np.linalg.norm(profile) == pytest.approx(1.0, abs=1e-6)
    assert all(np.mean(clips @ profile) >= np.mean(clips @ clip) - 1e-6 for clip in clips)


@pytest.mark.parametrize(
    "clips",
    [[], [np.full(4, np.nan, np.float32)], [np.eye(4, dtype=np.float32)[0], -np.eye(4, dtype=np.float32)[0]]],
    ids=["none", "not a number", "cancelling"],
)
def test_clips_without_a_direction_make_no_profile(clips):
    assert centroid(clips) is None
