"""Decided streams for tests: what a decision on who spoke leaves in the store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from selene.voiceid.v1 import voiceid_pb2 as v1
from selene.voiceid.v2.service_pb2 import FinalDecision
from selene.voiceid.v2.voiceid_pb2 import VoiceIdDecision

from store import Store
from store.voiceid import DecidedStream

TENANT = "dev"
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One decision: who was named, and who spoke, as far as somebody said so. `next_to` is the second candidate."""

    named: str = ""
    speaker: str | None = None
    poor: bool = False
    margin_bp: int = 4_000
    next_to: str = ""
    session: str = "session"
    noise: str = "home"


def stream(turn: Turn, at: datetime, tenant_id: str = TENANT) -> DecidedStream:
    """As voice identity keeps it."""
    candidates = [v1.Candidate(user_id=name, score_bp=9_000) for name in (turn.named, turn.next_to) if name]
    reason = v1.VOICE_ID_REASON_QUALITY_LOW if turn.poor else v1.VOICE_ID_REASON_MATCH_HIGH
    decision = VoiceIdDecision(
        score_bp=9_000, margin_to_next_bp=turn.margin_bp, reason_code=reason, candidate_set=candidates
    )
    cohort: Mapping[str, str] = {
        "language": "en",
        "accent_band": "",
        "device_class": "kitchen",
        "noise_class": turn.noise,
    }
    return DecidedStream(
        tenant_id=tenant_id,
        stream_id=f"stream-{next(_NUMBERS):06}",
        session_id=turn.session,
        device_id="kitchen",
        kind="IDENTIFY",
        claimed_user_id="",
        named_user_id=turn.named,
        cohort=cohort,
        decision=FinalDecision(v2=decision).SerializeToString(deterministic=True),
        cooldown_key=b"",
        latency_us=1_000,
        decided_at=at,
        speaker_user_id=turn.speaker,
    )


async def heard(store: Store, turns: Iterable[Turn], at: datetime, tenant_id: str = TENANT) -> Sequence[DecidedStream]:
    """Decided then, all of them."""
    streams = [stream(turn, at, tenant_id) for turn in turns]
    async with store.transaction() as tx:
        for one in streams:
            await tx.voiceid.streams.decide(one)
        tx.audit(tenant_id=tenant_id, owner="test", actor="test", transition="test.heard", reason_code="TEST")
    return streams
