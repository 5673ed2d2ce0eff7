"""Begins the adaptation that governance allows (§38.6): a gold candidate of the breach's signal, for the chain of §34.

Nothing is applied by it: evidence, labels, governance and every gate come after. Where the signal may not be learned
from, for nobody consents to it or no longer does, adaptation does not begin, and the breach says so.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, SCOPE_TYPE_USER, Scope
from selene.gold.v1.evidence_pb2 import GoldCandidate
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY, GOLD_TIER_2_HUMAN_VERIFIED
from selene.learning.v1.drift_pb2 import (
    DRIFT_OUTCOME_ADAPTATION_ALLOWED,
    DRIFT_OUTCOME_FROZEN,
    DRIFT_OUTCOME_NOTHING_TO_LEARN,
    DRIFT_OUTCOME_STARTED,
    DriftOutcome,
)

from servers.learning.golding import GOLD_WRITER, may_teach
from servers.learning.matrix import POLICY_VERSION
from store import Transaction
from store.learning import Breach

PROPOSER: Final = "system"


class _Signal(Enum):
    """Whether a breach's signal can be learned from."""

    WAITING = "WAITING"
    ADMISSIBLE = "ADMISSIBLE"
    ABSENT = "ABSENT"


async def begin(tx: Transaction, tenant_id: str, subject: str, signal_of: Callable[[Breach], str]) -> bool:
    """Begin every adaptation of a subject that governance allows; False where none can begin yet.

    `signal_of`: the signal that learning was told of a breach by, which engines may have left and nobody taken on yet.
    """
    standing = await tx.learning.drift.locked(tenant_id, subject)
    breaches = await tx.learning.drift.of_subject(tenant_id, subject)
    done = False
    for breach in breaches:
        if breach.outcome != DRIFT_OUTCOME_ADAPTATION_ALLOWED:
            continue
        if standing.frozen:
            await _end(tx, breach, DRIFT_OUTCOME_FROZEN, "DRIFT_AUTO_APPLY_FROZEN")
            done = True
            continue
        candidate, signal_id = _candidate(tx, breach), signal_of(breach)
        found = await _signal(tx, candidate, signal_id)
        if found is _Signal.WAITING:
            continue
        if found is _Signal.ADMISSIBLE:
            await tx.gold.propose(candidate, [signal_id])
            await _end(tx, breach, DRIFT_OUTCOME_STARTED, "DRIFT_ADAPTATION", candidate.gold_set_id)
        else:
            await _end(tx, breach, DRIFT_OUTCOME_NOTHING_TO_LEARN, "DRIFT_NOTHING_TO_LEARN")
        done = True
    return done


async def _signal(tx: Transaction, candidate: GoldCandidate, signal_id: str) -> _Signal:
    tenant_id = candidate.tenant_id
    captured = (await tx.learning.signals.by_ids(tenant_id, [signal_id])).get(signal_id)
    if captured is None:
        is_left = await tx.learning.outbox.holds(tenant_id, signal_id)
        return _Signal.WAITING if is_left else _Signal.ABSENT
    if captured.erased or not may_teach(candidate, captured.signal):
        return _Signal.ABSENT
    has_ended = await tx.governance.consents.any_ended(tenant_id, [signal_id], tx.clock.now())
    return _Signal.ABSENT if has_ended else _Signal.ADMISSIBLE


def _candidate(tx: Transaction, breach: Breach) -> GoldCandidate:
    """For the user, whose signal teaches nobody else; for the tenant where the subject is a cohort."""
    user_id = breach.user_id
    scope_type, scope_id = (SCOPE_TYPE_USER, user_id) if user_id else (SCOPE_TYPE_TENANT, breach.tenant_id)
    return GoldCandidate(
        gold_set_id=tx.ids.new(),
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        tier=GOLD_TIER_2_HUMAN_VERIFIED,
        tenant_id=breach.tenant_id,
        scope=Scope(scope_type=scope_type, scope_id=scope_id),
        proposed_by=PROPOSER,
        policy_version=POLICY_VERSION,
    )


async def _end(tx: Transaction, breach: Breach, outcome: DriftOutcome, reason: str, gold_set_id: str = "") -> None:
    await tx.learning.drift.begin(breach, outcome, gold_set_id)
    user_id = breach.user_id
    # Whose voice it is stays out of the trail: a commitment stands for them.
    tx.audit(
        tenant_id=breach.tenant_id,
        owner=GOLD_WRITER,
        actor=PROPOSER,
        transition="gold.proposed" if gold_set_id else "drift.adaptation_refused",
        reason_code=reason,
        hashes={"subject": await tx.vault.commitment(breach.tenant_id, user_id, b"user")} if user_id else {},
        facts={
            "window_ends_at": breach.window_ends_at.isoformat(),
            **({"gold_set_id": gold_set_id, "signals": "1"} if gold_set_id else {}),
            **({} if user_id else {"subject": breach.subject}),
        },
    )
