"""The audit trail of an artifact on its way to live behaviour: every row under one correlation, so that a gap shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from selene.audit.v1.audit_pb2 import AuditEvent
from selene.common.v1.scope_pb2 import TurnRef
from selene.gold.v1.gold_pb2 import GOLD_STATE_ACTIVATED, GOLD_STATE_REVERTED, GoldState
from selene.governance.v1.decision_pb2 import ArtifactRef, DecisionStatement
from selene.governance.v1.rollout_pb2 import JUDGE_DOMAIN_VOICE_IDENTITY, Rollout

from servers.governance import ENGINE_ID
from servers.governance.decision import GOING_FORWARD
from servers.governance.judge import Trail
from servers.runtime.context import current_correlation
from store import Rooms, Transaction
from store.ledger import AuditFilter, AuditTrail

SYSTEM: Final = "system"

DECIDED: Final = "governance.decided"
EXAMINED: Final = "frozen_set.examined"
REPORTED: Final = "builder.reported"
APPROVED: Final = "approval.given"
COMPLETED: Final = "gates.completed"
PROVED: Final = "consumption.proved"
STARTED: Final = "rollout.started"
ADVANCED: Final = "rollout.advanced"
ROLLED_BACK: Final = "rollout.rolled_back"
SUPERSEDED: Final = "rollout.superseded"
INVALIDATED: Final = "artifact.invalidated"
GOLD_MOVED: Final[Mapping[GoldState, str]] = MappingProxyType(
    {GOLD_STATE_ACTIVATED: "gold.activated", GOLD_STATE_REVERTED: "gold.reverted"}
)
"""How the trail calls the transitions of gold that are governance's (§17)."""

MOVED: Final = frozenset({STARTED, ADVANCED, ROLLED_BACK})
"""What a rollout did: rows that name it."""

SHOWN: Final = frozenset({COMPLETED, PROVED})
"""What has to be shown anew before each rollout: taking one back withdraws the bundle, and the proof names it."""

_PAGE: Final = 1_000


def correlation_of(artifact_id: str) -> str:
    """What every audit row about an artifact is found by."""
    return f"artifact:{artifact_id}"


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
    tenant_id, artifact_id = rollout.tenant_id, rollout.subject.artifact_id
    cases = rooms.governance.cases
    decided = [DecisionStatement.FromString(each.payload) for each in await cases.decisions(tenant_id, artifact_id)]
    report = (await cases.get(tenant_id, artifact_id)).report
    is_examined = rollout.domain == JUDGE_DOMAIN_VOICE_IDENTITY
    expected = Counter(
        {
            DECIDED: len(decided),
            EXAMINED: sum(each.action in GOING_FORWARD for each in decided) if is_examined else 0,
            APPROVED: len(await cases.approvals(tenant_id, artifact_id)),
            REPORTED: 1,
            COMPLETED: 1,
            PROVED: 1,
            STARTED: 1,
            ADVANCED: len(rollout.stages) - 1,
        }
    )
    events: list[AuditEvent] = []
    audit = rooms.audit if isinstance(rooms, Rooms) else AuditTrail(rooms)
    only, after = AuditFilter(correlation_id=correlation_of(artifact_id)), 0
    while page := await audit.page(tenant_id, after=after, limit=_PAGE, only=only):
        events += [chained.event for chained in page]
        after = page[-1].event.sequence
    found = told(events, rollout.rollout_id, report.report_id if report else "")
    return Trail(expected.total(), (expected & found).total())


def told(events: Iterable[AuditEvent], rollout_id: str, report_id: str) -> Counter[str]:
    """How many rows of an artifact, oldest first, tell of one of its rollouts, and of the report that is in force.

    The bundle and the proof are those of its own start: not of a rollout before it, and not a proof that failed.
    """
    found: Counter[str] = Counter()
    has_begun = False
    for event in events:
        transition, facts = event.transition, {fact.name: fact.value for fact in event.facts}
        if transition in MOVED and facts.get("rollout_id") == rollout_id:
            has_begun = True
        elif transition in MOVED:
            if not has_begun:
                found -= Counter({each: found[each] for each in SHOWN})
            continue
        elif transition in SHOWN and has_begun:
            continue
        elif transition == PROVED and facts.get("passed") != "yes":
            found[PROVED] = 0
            continue
        elif transition == REPORTED and facts.get("report_id") != report_id:
            continue
        found[transition] += 1
    return found
