"""What identity decisions say to learning (§34.1): conflicts, poor audio, and what people corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1.signal_pb2 import (
    CAPTURE_SOURCE_USER_CORRECTION,
    SEVERITY_HIGH,
    SEVERITY_LOW,
    SEVERITY_MEDIUM,
    SIGNAL_CLASS_FALSE_ACCEPT,
    SIGNAL_CLASS_FALSE_REJECT,
    SIGNAL_CLASS_LOW_QUALITY_CAPTURE,
    SIGNAL_CLASS_MULTI_SPEAKER,
    SIGNAL_CLASS_REAUTH_FRICTION,
    SIGNAL_CLASS_SPEAKER_SWITCH,
    SIGNAL_CLASS_SPOOF_RISK,
    Severity,
    SignalClass,
)
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.signals import Seen
from store.voiceid import DecidedStream, Profile

CAPABILITY: Final = "identify"
HEARD_BP: Final = 8_000
"""How sure a decision is of a conflict or of poor audio."""
SAID_BP: Final = 9_000
"""How sure somebody is who says who spoke."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a conflict, or a reason, says: its class, how bad it is, and how much it matters in basis points."""

    signal_class: SignalClass
    severity: Severity
    impact_bp: int


CONFLICTS: Mapping[v1.ConflictState, Row] = MappingProxyType(
    {
        v1.CONFLICT_STATE_SPOOF_RISK: Row(SIGNAL_CLASS_SPOOF_RISK, SEVERITY_HIGH, 9_000),
        v1.CONFLICT_STATE_MULTI_SPEAKER_OVERLAP: Row(SIGNAL_CLASS_MULTI_SPEAKER, SEVERITY_LOW, 3_000),
        v1.CONFLICT_STATE_DEVICE_OWNER_MISMATCH: Row(SIGNAL_CLASS_REAUTH_FRICTION, SEVERITY_MEDIUM, 5_000),
        v1.CONFLICT_STATE_PROFILE_MISMATCH: Row(SIGNAL_CLASS_REAUTH_FRICTION, SEVERITY_MEDIUM, 5_000),
    }
)
"""§38.5's states: the owner's confirmation and the challenge phrase are what §34.1 calls re-authentication friction."""

REASONS: Mapping[v1.VoiceIdReason, Row] = MappingProxyType(
    {v1.VOICE_ID_REASON_QUALITY_LOW: Row(SIGNAL_CLASS_LOW_QUALITY_CAPTURE, SEVERITY_LOW, 2_000)}
)


def row_of(conflict_state: v1.ConflictState, reason: v1.VoiceIdReason) -> Row | None:
    """What a decision says to learning; None where that is nothing."""
    return CONFLICTS.get(conflict_state) or REASONS.get(reason)


def consents(profile: Profile | None, now: datetime) -> bool:
    """Whether a person's enrolment, with the consent that it was begun with, holds now."""
    if profile is None or profile.state != "LOCKED" or not profile.consent_ref:
        return False
    return profile.expires_at is None or now < profile.expires_at


def decided(row: Row, stream: DecidedStream, reason: v1.VoiceIdReason, turn: TurnRef, user_id: str) -> Seen:
    """A decision on a stream that was about `user_id`, who consents."""
    return Seen(
        tenant_id=stream.tenant_id,
        event=stream.stream_id,
        signal_class=row.signal_class,
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        capability=CAPABILITY,
        reason_code=v1.VoiceIdReason.Name(reason).removeprefix("VOICE_ID_REASON_"),
        outcome="UNKNOWN",
        input_ref=f"stream:{stream.stream_id}",
        output_ref=f"decision:{stream.stream_id}",
        severity=row.severity,
        confidence_bp=HEARD_BP,
        impact_bp=row.impact_bp,
        at=stream.decided_at,
        turn=turn,
        user_id=user_id,
        device_id=stream.device_id,
        session_id=stream.session_id,
    )


def about(stream: DecidedStream, speaker_user_id: str) -> str:
    """Whom a correction is about: who was named wrongly, else who was not recognised; empty where nothing is wrong."""
    if stream.named_user_id == speaker_user_id:
        return ""
    return stream.named_user_id or speaker_user_id


def switched(stream: DecidedStream, speaker_user_id: str, before: DecidedStream | None) -> bool:
    """Whether the speaker changed and the decision did not follow: it named again whom the one before it in its session
    named, of whom nobody says that it was wrong, while somebody else spoke.
    """
    named = stream.named_user_id
    if not named or named == speaker_user_id or before is None or before.named_user_id != named:
        return False
    return before.speaker_user_id in (None, named)


def corrected(stream: DecidedStream, turn: TurnRef, now: datetime, user_id: str) -> Seen:
    """Somebody said that a decision was wrong: it named the wrong one, or nobody where it knew the speaker. It is
    `about` this user, who consents.
    """
    accepted = bool(stream.named_user_id)
    return Seen(
        tenant_id=stream.tenant_id,
        event=stream.stream_id,
        signal_class=SIGNAL_CLASS_FALSE_ACCEPT if accepted else SIGNAL_CLASS_FALSE_REJECT,
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        capability=CAPABILITY,
        reason_code="DECISION_WRONG",
        outcome="CORRECTED",
        input_ref=f"stream:{stream.stream_id}",
        output_ref=f"decision:{stream.stream_id}",
        severity=SEVERITY_HIGH if accepted else SEVERITY_MEDIUM,
        confidence_bp=SAID_BP,
        impact_bp=9_000 if accepted else 6_000,
        at=now,
        turn=turn,
        user_id=user_id,
        device_id=stream.device_id,
        session_id=stream.session_id,
        source=CAPTURE_SOURCE_USER_CORRECTION,
    )


def not_followed(stream: DecidedStream, turn: TurnRef, now: datetime, user_id: str) -> Seen:
    """That the decision did not follow a change of speaker, of the user who was named again, who consents."""
    return replace(
        corrected(stream, turn, now, user_id), signal_class=SIGNAL_CLASS_SPEAKER_SWITCH, reason_code="SPEAKER_SWITCHED"
    )
