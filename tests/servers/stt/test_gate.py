"""The transcript gate, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.stt.v1.service_pb2 import TRANSCRIPT_VERDICT_ACCEPTED, TRANSCRIPT_VERDICT_REJECTED, TranscriptVerdict

from servers.stt.gate import judge

ACCEPTED, REJECTED = TRANSCRIPT_VERDICT_ACCEPTED, TRANSCRIPT_VERDICT_REJECTED


@pytest.mark.parametrize(
    ("text", "quality_bp", "verdict", "reason"),
    [
        ("what time is it", 10_000, ACCEPTED, "TRANSCRIBED"),
        ("what time is it", 5_000, ACCEPTED, "TRANSCRIBED"),
        ("what time is it", 4_999, REJECTED, "CONFIDENCE_LOW"),
        ("what time is it", 0, REJECTED, "CONFIDENCE_LOW"),
        ("", 0, REJECTED, "NO_SPEECH"),
        ("", 10_000, REJECTED, "NO_SPEECH"),
        (" \n", 10_000, REJECTED, "NO_SPEECH"),
    ],
)
def test_every_row_of_the_gate(text: str, quality_bp: int, verdict: TranscriptVerdict, reason: str) -> None:
    judged = judge(text, quality_bp, accept_min_bp=5_000)
    assert (judged.verdict, judged.reason_code) == (verdict, reason)
    assert judged.of_provider == (reason != "NO_SPEECH")


@given(st.text(), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_transcript_is_accepted_only_with_words_of_enough_quality(text: str, quality_bp: int, least_bp: int) -> None:
    judged = judge(text, quality_bp, accept_min_bp=least_bp)
    assert judged.accepted == bool(text.strip() and quality_bp >= least_bp)
