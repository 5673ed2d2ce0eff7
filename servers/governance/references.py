"""What a proposal refers to (§12, §40.5): only what the tenant's own store holds is evidence.

signal:<id>   a learning signal that was not erased
gold:<id>     a gold set, or a candidate for one
artifact:<id> a row of the artifacts ledger other than the artifact itself, such as a kept evaluation
decision:<id> an earlier decision on the artifact
audit:<id>    a row of the audit trail
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from store import Rooms, Transaction, audit_trail

if TYPE_CHECKING:
    from servers.governance.deciding import Held


async def resolve(rooms: Rooms | Transaction, artifact: Held, refs: Iterable[str]) -> bool:
    """Whether there is a reference, and every one of them resolves. StoreUnavailable."""
    named = list(refs)
    for ref in named:
        if not await _resolves(rooms, artifact, ref):
            return False
    return bool(named)


async def _resolves(rooms: Rooms | Transaction, artifact: Held, ref: str) -> bool:
    tenant_id, (kind, _, name) = artifact.row.tenant_id, ref.partition(":")
    match kind:
        case "signal":
            found = await rooms.learning.signals.by_ids(tenant_id, [name])
            return name in found and not found[name].erased
        case "gold":
            return await rooms.gold.get(tenant_id, name) is not None
        case "artifact":
            itself = name == artifact.row.artifact_id
            return not itself and await rooms.governance.cases.artifact(tenant_id, name) is not None
        case "decision":
            return any(each.statement.decision_id == name for each in artifact.decisions)
        case "audit":
            return await audit_trail(rooms).event(tenant_id, name) is not None
    return False
