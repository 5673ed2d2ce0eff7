"""Writes the audit trail of an artifact on its way to live behaviour: every row under one correlation, so that a gap
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from selene.common.v1.scope_pb2 import TurnRef
from selene.governance.v1.decision_pb2 import ArtifactRef
from selene.governance.v1.rollout_pb2 import Rollout

from servers.activation import correlation_of
from servers.activation_reading import checked
from servers.governance import ENGINE_ID
from servers.governance.judge import Trail
from servers.runtime.context import current_correlation
from store import Rooms, Transaction

SYSTEM: Final = "system"


def turn_of(artifact_id: str) -> TurnRef:
    """Where a row about an artifact belongs: in its trail, and in the call that asked, if one did."""
    asked_in = current_correlation().correlation_id
    return TurnRef(correlation_id=correlation_of(artifact_id), turn_id=asked_in)


def watch_of(rollout_id: str) -> str:
    """What the looks of the control loops at a rollout are found by: many, so not among the rows of its artifact."""
    return f"rollout:{rollout_id}"


def told_defects(signal_ids: Sequence[str]) -> dict[str, str]:
    """The open defects that hold an artifact, as facts of a row; nothing where none does."""
    return {"open_defects": ",".join(signal_ids)} if signal_ids else {}


def note(
    tx: Transaction,
    tenant_id: str,
    subject: ArtifactRef,
    transition: str,
    reason_code: str,
    *,
    actor: str = SYSTEM,
    idempotency_key: str = "",
    facts: Mapping[str, str] | None = None,
    correlation_id: str = "",
) -> None:
    """An audit row about an artifact. `turn_id` is the correlation of the call, where one asked."""
    asked_in = current_correlation().correlation_id
    tx.audit(
        tenant_id=tenant_id,
        owner=ENGINE_ID,
        actor=actor,
        transition=transition,
        reason_code=reason_code,
        scope=subject.scope,
        turn=TurnRef(correlation_id=correlation_id or correlation_of(subject.artifact_id), turn_id=asked_in),
        idempotency_key=idempotency_key,
        hashes={"package": subject.package_hash},
        facts={
            "artifact_type": subject.artifact_type,
            "artifact_version": str(subject.artifact_version),
            **(facts or {}),
        },
    )


async def completeness(rooms: Rooms | Transaction, rollout: Rollout) -> Trail:
    """How many rows the trail of this activation has to hold, and how many of them it does. StoreUnavailable."""
    subject = rollout.subject
    found = await checked(rooms, rollout.tenant_id, subject.artifact_id, subject.artifact_type, rollout)
    return Trail(len(found.rows), found.found)
