"""Reads the trail of an activation, and what is kept of it, out of the store: what the rule of `activation` goes by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from selene.audit.v1.audit_pb2 import AuditEvent
from selene.governance.v1.decision_pb2 import ApprovalStatement, DecisionStatement
from selene.governance.v1.rollout_pb2 import Rollout

from servers.activation import GOLD_MOVED, Activation, Checked, Standing, check, correlation_of
from servers.pack_formats import THRESHOLD_PACK
from store import AuditFilter, Rooms, Transaction, audit_trail
from store.gold import artifact_ref, gold_ref, ids_among
from store.governance import Case

_PAGE: Final = 1_000

Reads = Rooms | Transaction


async def checked(
    rooms: Reads, tenant_id: str, artifact_id: str, artifact_type: str, rollout: Rollout | None
) -> Checked:
    """The rows that the trail of an artifact and of one of its rollouts has to hold. StoreUnavailable."""
    cases = rooms.governance.cases
    case = await cases.get(tenant_id, artifact_id)
    decided = await cases.decisions(tenant_id, artifact_id)
    permitted = await cases.approvals(tenant_id, artifact_id)
    gold = await rooms.gold.lineage.gold_sets(tenant_id, artifact_ref(artifact_id)) if rollout is not None else ()
    activation = Activation(
        decisions=[DecisionStatement.FromString(each.payload) for each in decided],
        approvals=[ApprovalStatement.FromString(each.payload) for each in permitted],
        report_id=case.report.report_id if case.report is not None else "",
        bundled=case.bundle is not None,
        proved=case.verdict is not None,
        examined=artifact_type == THRESHOLD_PACK,
        rollout=rollout,
        gold={each: await rooms.gold.history(tenant_id, each) for each in gold},
    )
    events = await _events(rooms, tenant_id, AuditFilter(correlation_id=correlation_of(artifact_id)))
    found = check(activation, events)
    astray = {row.facts["gold_set_id"] for row in found.rows if _is_astray(row.transition, row.standing)}
    if not astray:
        return found
    return check(activation, [*events, *await _of_siblings(rooms, tenant_id, artifact_id, case, sorted(astray))])


def _is_astray(transition: str, standing: Standing) -> bool:
    return transition in GOLD_MOVED.values() and standing is not Standing.FOUND


async def _of_siblings(
    rooms: Reads, tenant_id: str, artifact_id: str, case: Case, gold_set_ids: Iterable[str]
) -> list[AuditEvent]:
    """The rows of how gold moved in the trails of what else was built from it, and of what revoked it."""
    refs = await rooms.gold.lineage.closure(tenant_id, map(gold_ref, gold_set_ids), descendants=True)
    correlations = set(map(correlation_of, ids_among(refs, artifact_ref)))
    correlations -= {correlation_of(artifact_id)}
    if case.frozen_by:
        correlations.add(f"revocation:{case.frozen_by}")
    found: list[AuditEvent] = []
    for correlation_id in sorted(correlations):
        for transition in GOLD_MOVED.values():
            only = AuditFilter(correlation_id=correlation_id, transition=transition)
            found += await _events(rooms, tenant_id, only)
    return sorted(found, key=lambda event: event.sequence)


async def _events(rooms: Reads, tenant_id: str, only: AuditFilter) -> list[AuditEvent]:
    audit = audit_trail(rooms)
    events: list[AuditEvent] = []
    while True:
        after = events[-1].sequence if events else 0
        page = await audit.page(tenant_id, after=after, limit=_PAGE, only=only)
        events += [chained.event for chained in page]
        if len(page) < _PAGE:
            return events
