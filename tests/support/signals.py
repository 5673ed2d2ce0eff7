"""Signals for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1 import signal_pb2 as nouns

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def at(moment: datetime) -> Timestamp:
    """The moment as it travels."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def signal(name: str = "1", tenant: str = "t1", moment: datetime = EPOCH, **fields: Any) -> nouns.LearningSignal:
    """A false reject of mira's, with a consent; `fields` take precedence."""
    usual: dict[str, Any] = {
        "signal_id": f"signal-{name}",
        "correlation_id": "c-1",
        "turn_id": "turn-1",
        "occurred_at": at(moment),
        "tenant_id": tenant,
        "user_id": "mira",
        "device_id": "kitchen",
        "session_id": "s-1",
        "source_engine_id": "PH1.VOICE.ID",
        "source_capability_id": "identify",
        "reason_code": "SCORE_LOW",
        "input_ref": "stream:1",
        "output_ref": "decision:1",
        "outcome_label": "CORRECTED",
        "consent_asserted": True,
        "privacy_scope": nouns.PRIVACY_SCOPE_TENANT,
        "retention_class": nouns.RETENTION_CLASS_STANDARD,
        "severity": nouns.SEVERITY_MEDIUM,
        "confidence_bp": 9000,
        "impact_estimate_bp": 5000,
        "idempotency_key": f"key-{name}",
        "domain": GOLD_DOMAIN_VOICE_IDENTITY,
        "signal_class": nouns.SIGNAL_CLASS_FALSE_REJECT,
        "capture_source": nouns.CAPTURE_SOURCE_RUNTIME_OUTCOME,
    }
    return nouns.LearningSignal(**{**usual, **fields})
