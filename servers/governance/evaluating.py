"""Holds voice packs against the frozen evaluation set that is in force where they apply (§38.1, §38.8)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from selene.artifacts.v1.artifacts_pb2 import ARTIFACT_STATUS_CANDIDATE, ArtifactRow
from selene.gold.v1.evidence_pb2 import GoldItem
from selene.governance.v1.rollout_pb2 import JUDGE_DOMAIN_VOICE_IDENTITY

from servers import activation
from servers.frozen_sets import FrozenSet
from servers.governance import ENGINE_ID, trail
from servers.governance.consumers import domain_of
from servers.governance.frozen import EVALUATION, Evaluation, Finding, NotComparable, Pair, document, evaluate, leaks
from servers.replaying import frozen_pointer, frozen_set
from store import NotFound, Rooms, Transaction
from store.gold import artifact_ref, gold_ref, ids_among

PAIRS: Final = 200
"""How many of the pairs that are confused most are looked at in the set."""

Reads = Rooms | Transaction


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found, by which set and beside which version. `evaluation` is None where the packs were not compared."""

    finding: Finding = Finding.NOT_ASKED
    frozen: ArtifactRow | None = None
    baseline: ArtifactRow | None = None
    evaluation: Evaluation | None = None


async def examine(rooms: Reads, row: ArtifactRow, baseline: ArtifactRow | None) -> Examined:
    """What the set shows of an artifact beside `baseline`, or by itself where there is none. StoreUnavailable.

    A set that a revocation froze, that is damaged or of another scorer is none: MISSING.
    """
    if domain_of(row.artifact_type) != JUDGE_DOMAIN_VOICE_IDENTITY:
        return Examined()
    pointer = await frozen_pointer(rooms, row)
    found = await frozen_set(rooms, pointer) if pointer is not None else None
    if found is None:
        return Examined(Finding.MISSING)
    frozen_row, frozen = found
    if await _leaks(rooms, row, frozen_row, frozen):
        return Examined(Finding.LEAKED, frozen_row, baseline)
    try:
        candidate = await _pack(rooms, row)
        before = await _pack(rooms, baseline) if baseline is not None else candidate
        evaluation = evaluate(frozen, candidate, before, await _pairs(rooms, row.tenant_id))
    except NotComparable:
        return Examined(Finding.MISSING, frozen_row, baseline)
    finding = Finding.REGRESSED if evaluation.regressed else Finding.PASSED
    return Examined(finding, frozen_row, baseline, evaluation)


async def leaked(rooms: Reads, row: ArtifactRow) -> bool:
    """Whether a set that came into force after the artifact was proposed says that it was learned from it.

    One that was in force before was looked at by the decision. StoreUnavailable.
    """
    if domain_of(row.artifact_type) != JUDGE_DOMAIN_VOICE_IDENTITY:
        return False
    pointer = await frozen_pointer(rooms, row)
    proposed_at = (await rooms.governance.cases.get(row.tenant_id, row.artifact_id)).proposed_at
    if pointer is None or (proposed_at is not None and pointer.updated_at.ToDatetime(tzinfo=UTC) < proposed_at):
        return False
    found = await frozen_set(rooms, pointer)
    return found is not None and await _leaks(rooms, row, *found)


async def keep(tx: Transaction, row: ArtifactRow, examined: Examined, *, actor: str) -> str:
    """Keep an evaluation in the ledger, signed, and audit what was found; its reference, empty where there is none."""
    if examined.finding is Finding.NOT_ASKED:
        return ""
    kept = await _register(tx, row, examined)
    hashes = {"candidate": row.package_hash}
    if examined.frozen is not None:
        hashes["frozen_set"] = examined.frozen.package_hash
    if kept is not None:
        hashes["evaluation"] = kept.package_hash
    tx.audit(
        tenant_id=row.tenant_id,
        owner=ENGINE_ID,
        actor=actor,
        transition=activation.EXAMINED,
        reason_code=f"FROZEN_SET_{examined.finding.value}",
        scope=row.scope,
        turn=trail.turn_of(row.artifact_id),
        hashes=hashes,
        facts={
            "artifact_type": row.artifact_type,
            "artifact_version": str(row.artifact_version),
            **_facts(examined.evaluation),
        },
    )
    return kept.payload_ref if kept is not None else ""


def _facts(evaluation: Evaluation | None) -> dict[str, str]:
    if evaluation is None:
        return {}
    shown = evaluation.candidate
    return {
        "regressed": ",".join(evaluation.regressed),
        "collisions": f"{shown.collisions.accepted}/{shown.collisions.trials}",
        "collisions_before": f"{evaluation.baseline.collisions.accepted}/{evaluation.baseline.collisions.trials}",
        "expected_calibration_error": f"{shown.calibration.expected_error:.6f}",
        "cllr": f"{shown.calibration.cllr:.6f}",
    }


async def _register(tx: Transaction, row: ArtifactRow, examined: Examined) -> ArtifactRow | None:
    if examined.evaluation is None or examined.frozen is None:
        return None
    baseline = examined.baseline if examined.baseline is not None else row
    frozen_sha256 = examined.frozen.package_hash.hex()
    payload = document(
        examined.evaluation,
        candidate=row.package_hash.hex(),
        baseline=baseline.package_hash.hex(),
        frozen=frozen_sha256,
    )
    # Running servers may confuse other pairs since: what is compared then is another evaluation.
    key = f"{row.artifact_id}:{frozen_sha256[:16]}:{baseline.package_hash.hex()[:16]}:{tx.ids.new()}"
    return await tx.artifacts.register(
        ArtifactRow(
            artifact_type=EVALUATION,
            tenant_id=row.tenant_id,
            scope=row.scope,
            provenance_ref=f"artifact:{row.artifact_id}",
            created_by=ENGINE_ID,
            idempotency_key=key,
            status=ARTIFACT_STATUS_CANDIDATE,
        ),
        payload,
    )


async def _leaks(rooms: Reads, row: ArtifactRow, frozen_row: ArtifactRow, frozen: FrozenSet) -> bool:
    ancestors = await _ancestors(rooms, row)
    speakers: set[str] = set()
    for gold_set_id in sorted(ids_among(ancestors, gold_ref)):
        speakers |= _speakers(await rooms.gold.evidence(row.tenant_id, gold_set_id))
    return leaks(frozen, speakers=speakers, ancestors=ancestors, frozen_ancestors=await _ancestors(rooms, frozen_row))


def _speakers(items: Iterable[GoldItem]) -> set[str]:
    trials = [one.trial for one in items if one.WhichOneof("content") == "trial"]
    return {name for trial in trials for name in (trial.enrolled_ref, trial.test_ref)}


async def _ancestors(rooms: Reads, row: ArtifactRow) -> set[str]:
    ref = artifact_ref(row.artifact_id)
    return {ref, *await rooms.gold.lineage.closure(row.tenant_id, [ref], descendants=False)}


async def _pack(rooms: Reads, row: ArtifactRow) -> dict[str, Any]:
    """NotComparable."""
    try:
        pack = json.loads(await rooms.artifacts.payload(row.package_hash))
    except (NotFound, ValueError, RecursionError) as error:
        raise NotComparable("the pack cannot be read") from error
    if not isinstance(pack, dict):
        raise NotComparable("the pack cannot be read")
    return pack


async def _pairs(rooms: Reads, tenant_id: str) -> list[Pair]:
    found = await rooms.learning.confusion.top(tenant_id, limit=PAIRS)
    return [frozenset((pair.first_user_id, pair.second_user_id)) for pair in found]
