"""What takes a rollout back at once, by the rows that the running system left (§20, §29). Pure.

A refusal, or a leak that was caught, is the candidate's where the candidate served the turn that it happened in:
anybody can be refused. A side effect that happened twice names no turn: it is every serving candidate's, for no rollout
goes on beside one. What a decision or a routed call shows by itself, their owners count with the other KPIs of their
side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from selene.audit.v1.audit_pb2 import AuditEvent
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.governance.v1.rollout_pb2 import ROLLOUT_STAGE_SHADOW, Rollout, SafetyCounts

AUTHORITY: Final = "authority_violations"
DUPLICATE: Final = "duplicate_side_effects"
PRIVACY: Final = "privacy_leaks"

REFUSED: Final = "request.refused"
GATE_REFUSED: Final = "gate.refused"
ATTEMPTED: Final = "call.attempted"
DUPLICATED: Final = "delivery.duplicated"

INCIDENTS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        (REFUSED, "TENANT_MISMATCH"): AUTHORITY,
        (REFUSED, "SUBJECT_MISMATCH"): AUTHORITY,
        (REFUSED, "DEVICE_MISMATCH"): AUTHORITY,
        (REFUSED, "ROLE_REQUIRED"): AUTHORITY,
        (REFUSED, "OWN_WORK_REFUSED"): AUTHORITY,
        (GATE_REFUSED, "GATE_BLOCKED"): AUTHORITY,
        (GATE_REFUSED, "OWN_WORK_REFUSED"): AUTHORITY,
        (REFUSED, "CONSENT_REQUIRED"): PRIVACY,
        (ATTEMPTED, "ADAPTER_FOREIGN_PAYLOAD"): PRIVACY,
        (ATTEMPTED, "ADAPTER_SECRET_EXPOSED"): PRIVACY,
        (DUPLICATED, "SECOND_ACCEPTANCE"): DUPLICATE,
    }
)
"""Rows of the trail by transition and reason, and what each of them is a count of."""

TURNLESS: Final = frozenset({DUPLICATE})
"""What counts without a turn that the candidate served."""


def serving_since(rollout: Rollout) -> datetime | None:
    """Since when the candidate serves anybody; None in the shadow."""
    served = (stage.entered_at for stage in rollout.stages if stage.stage != ROLLOUT_STAGE_SHADOW)
    first = next(served, None)
    return first.ToDatetime(tzinfo=UTC) if first is not None else None


def served(subject: ArtifactRef, turn: Iterable[AuditEvent]) -> bool:
    """Whether some row of a turn tells that the candidate served it."""
    ref = f"{subject.artifact_type}@{subject.artifact_version}"
    return any(fact.value == ref for event in turn for fact in event.facts)


def counted(
    subject: ArtifactRef, incidents: Sequence[AuditEvent], turns: Mapping[str, Sequence[AuditEvent]]
) -> SafetyCounts:
    """The candidate's incidents. ``turns`` are the rows of each turn that one happened in, by correlation."""
    counts = SafetyCounts()
    for event in incidents:
        kind = INCIDENTS.get((event.transition, event.reason_code))
        if kind is None:
            continue
        if kind in TURNLESS or served(subject, turns.get(event.turn.correlation_id, ())):
            setattr(counts, kind, getattr(counts, kind) + 1)
    return counts
