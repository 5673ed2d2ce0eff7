"""Where artifacts come from, for tests of governance: a gold set, and the signal that it was made of."""

from __future__ import annotations

from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_STT_TRANSCRIPT, GOLD_TIER_2_HUMAN_VERIFIED
from selene.learning.v1.signal_pb2 import INTAKE_PATH_IMPROVEMENT

from servers.learning.capturing import capture
from store import Transaction
from store.gold import artifact_ref, gold_ref
from store.learning import NewSignal
from tests.support.signals import signal

EVALUATED = "evaluated"
"""Id of the gold set that evidence refers to, and of its signal."""
REF = gold_ref(EVALUATED)


async def evaluated(tx: Transaction, tenant: str, user: str = "evaluator") -> None:
    """A gold set of one signal of somebody; again changes nothing. The caller audits."""
    if await tx.gold.get(tenant, EVALUATED) is not None:
        return
    new = [NewSignal(signal(EVALUATED, tenant, user_id=user, signal_id=EVALUATED), INTAKE_PATH_IMPROVEMENT)]
    await capture(tx, tenant, new, actor="system", reason="TEST")
    candidate = GoldCandidate(
        gold_set_id=EVALUATED,
        domain=GOLD_DOMAIN_STT_TRANSCRIPT,
        tier=GOLD_TIER_2_HUMAN_VERIFIED,
        tenant_id=tenant,
        scope=Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=tenant),
        proposed_by="system",
        policy_version="1",
    )
    await tx.gold.propose(candidate, [EVALUATED])


async def learned(tx: Transaction, tenant: str, artifact_id: str, user: str = "evaluator") -> None:
    """The artifact came from that gold set. The caller audits."""
    await evaluated(tx, tenant, user)
    await tx.gold.lineage.link(tenant, [REF], artifact_ref(artifact_id))
