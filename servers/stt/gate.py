"""The transcript gate of PH1.C (§22, RTE-7): whether what was heard may be used.

| heard                                  | verdict  | reason           |
|----------------------------------------|----------|------------------|
| no word                                | REJECTED | `NO_SPEECH`      |
| words, quality below `accept_min_bp`   | REJECTED | `CONFIDENCE_LOW` |
| words, quality `accept_min_bp` or more | ACCEPTED | `TRANSCRIBED`    |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from selene.stt.v1.service_pb2 import (
    TRANSCRIPT_VERDICT_ACCEPTED,
    TRANSCRIPT_VERDICT_REJECTED,
    TranscriptVerdict,
)

from servers.stt.adapter import SttReason

CONFIDENCE_LOW: Final = "CONFIDENCE_LOW"


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict and why. `of_provider` is whether it says anything of the provider: silence does not."""

    verdict: TranscriptVerdict
    reason_code: str
    of_provider: bool = True

    @property
    def accepted(self) -> bool:
        return self.verdict == TRANSCRIPT_VERDICT_ACCEPTED


def judge(text: str, quality_score_bp: int, *, accept_min_bp: int) -> Judged:
    """The verdict on a text, empty where no speech was found, of this quality in basis points."""
    if not text.strip():
        return Judged(TRANSCRIPT_VERDICT_REJECTED, SttReason.NO_SPEECH, of_provider=False)
    if quality_score_bp < accept_min_bp:
        return Judged(TRANSCRIPT_VERDICT_REJECTED, CONFIDENCE_LOW)
    return Judged(TRANSCRIPT_VERDICT_ACCEPTED, SttReason.TRANSCRIBED)
