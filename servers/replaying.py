"""A pack and the one that it is to replace, replayed on what the store has recorded (§19).

The evidence is the ledger's own: the payload by its hash, the gold that the pack came from, the frozen evaluation set
in force where it applies. Governance works this out before it believes a proof, the consumer before it hands one in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from selene.artifacts.v1.artifacts_pb2 import ArtifactPointer, ArtifactRow
from selene.common.v1.scope_pb2 import SCOPE_TYPE_GLOBAL, SCOPE_TYPE_TENANT
from selene.governance.v1.decision_pb2 import ConsumptionReplay, ParserResult, ShadowResult

from servers.frozen_sets import FROZEN_SET, FrozenSet, FrozenSetUnusable, parse
from servers.pack_formats import PackFault, PackUnusable
from servers.replays import Consumption, Recorded, Replayed, replayed
from store import NotFound, Rooms, Transaction
from store.gold import artifact_ref, gold_ref, ids_among

PARSER_FAILED: Final = "PARSER_FAILED"
PAYLOAD_DAMAGED: Final = "PAYLOAD_DAMAGED"

Reads = Rooms | Transaction

_POINTER: Final = re.compile(r"([A-Z][A-Z0-9_]{2,63})@([1-9][0-9]{0,17})")
_log = structlog.get_logger("selene.replaying")


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What is replayed, where it lies, and how many items people have taken back."""

    recorded: Recorded
    refs: tuple[str, ...] = ()
    erased: int = 0


async def replay(rooms: Reads, consumers: Mapping[str, Consumption], row: ArtifactRow) -> ConsumptionReplay:
    """What its consumer makes of an artifact, and of the version beside it, on the recorded turns. StoreUnavailable.

    Without a consumer, or where its parser refuses the payload, nothing is replayed; without a version beside it that
    its consumer can answer by, no turn is counted.
    """
    consumption = consumers.get(row.artifact_type)
    if consumption is None:
        return _refused(row, PackFault.TYPE_UNKNOWN.value)
    payload = await _payload(rooms, row)
    if payload is None:
        return _refused(row, PAYLOAD_DAMAGED)
    try:
        pack = await asyncio.to_thread(consumption.read, payload)
    except PackUnusable as unusable:
        return _refused(row, unusable.fault.value)
    except Exception as error:
        # Whatever a parser does with bytes that it should have refused, the pack is not accepted.
        _log.error("a parser raised", artifact=row.artifact_id, cause=type(error).__name__)
        return _refused(row, PARSER_FAILED)
    evidence = await _evidence(rooms, consumption, row)
    candidate = await asyncio.to_thread(_run, consumption, pack, evidence.recorded)
    found = ConsumptionReplay(
        parser=ParserResult(accepted=True, package_hash=row.package_hash),
        replay_hash=candidate.digest,
        evidence_refs=evidence.refs,
        shadow=ShadowResult(privacy_leaks=evidence.erased),
    )
    other = await beside(rooms, row)
    active = await _replayed_version(rooms, consumption, other, evidence.recorded) if other is not None else None
    if other is not None and active is not None and active.turns == candidate.turns:
        found.beside_version = other.artifact_version
        found.shadow.turns = candidate.turns
        found.shadow.safety_events_active = active.unsafe
        found.shadow.safety_events_candidate = candidate.unsafe
    return found


async def beside(rooms: Reads, row: ArtifactRow) -> ArtifactRow | None:
    """The version that consumers load now; the one to return to where they load none, or the artifact itself."""
    pointer = await rooms.artifacts.pointer(row.artifact_type, row.tenant_id, row.scope)
    if pointer is None or pointer.active_version == row.artifact_version:
        return await rollback_target(rooms, row)
    return await rooms.artifacts.version(row.artifact_type, row.tenant_id, row.scope, pointer.active_version)


async def rollback_target(rooms: Reads, row: ArtifactRow) -> ArtifactRow | None:
    """The version that an artifact names to return to: an earlier one of its own line whose content is there."""
    pointer = _POINTER.fullmatch(row.rollback_pointer_ref)
    if pointer is None or pointer[1] != row.artifact_type or int(pointer[2]) >= row.artifact_version:
        return None
    try:
        target = await rooms.artifacts.version(row.artifact_type, row.tenant_id, row.scope, int(pointer[2]))
        await rooms.artifacts.payload(target.package_hash)
    except NotFound:
        return None
    return target


async def frozen_pointer(rooms: Reads, row: ArtifactRow) -> ArtifactPointer | None:
    """To the frozen set of the artifact's own scope, else the tenant's, else the deployment's."""
    pointers = {
        (one.scope.scope_type, one.scope.scope_id): one
        for one in await rooms.artifacts.pointers(FROZEN_SET, row.tenant_id)
    }
    own = (row.scope.scope_type, row.scope.scope_id)
    chain = (own, (SCOPE_TYPE_TENANT, row.tenant_id), (SCOPE_TYPE_GLOBAL, ""))
    return next((pointers[scope] for scope in chain if scope in pointers), None)


async def frozen_set(rooms: Reads, pointer: ArtifactPointer) -> tuple[ArtifactRow, FrozenSet] | None:
    """The set that a pointer names; None where it is damaged, or a revocation froze it."""
    try:
        line = (FROZEN_SET, pointer.tenant_id, pointer.scope)
        found = await rooms.artifacts.version(*line, pointer.active_version)
        frozen = await asyncio.to_thread(parse, await rooms.artifacts.payload(found.package_hash))
    except (NotFound, FrozenSetUnusable):
        return None
    case = await rooms.governance.cases.get(found.tenant_id, found.artifact_id)
    return None if case.frozen_by else (found, frozen)


async def _evidence(rooms: Reads, consumption: Consumption, row: ArtifactRow) -> _Evidence:
    if consumption.by_frozen_set:
        pointer = await frozen_pointer(rooms, row)
        found = await frozen_set(rooms, pointer) if pointer is not None else None
        if found is None:
            return _Evidence(Recorded())
        frozen_row, frozen = found
        return _Evidence(Recorded(frozen=frozen), (artifact_ref(frozen_row.artifact_id),))
    ancestors = await rooms.gold.lineage.closure(row.tenant_id, [artifact_ref(row.artifact_id)], descendants=False)
    gold_set_ids = sorted(ids_among(ancestors, gold_ref))
    items = [item for each in gold_set_ids for item in await rooms.gold.items(row.tenant_id, each)]
    kept = [item for item in items if not item.erased]
    return _Evidence(Recorded(items=kept), tuple(map(gold_ref, gold_set_ids)), len(items) - len(kept))


async def _replayed_version(
    rooms: Reads, consumption: Consumption, row: ArtifactRow, recorded: Recorded
) -> Replayed | None:
    payload = await _payload(rooms, row)
    if payload is None:
        return None
    try:
        pack = await asyncio.to_thread(consumption.read, payload)
    except PackUnusable:
        return None
    return await asyncio.to_thread(_run, consumption, pack, recorded)


def _run(consumption: Consumption, pack: Any, recorded: Recorded) -> Replayed:
    return replayed(consumption.answers(pack, recorded))


async def _payload(rooms: Reads, row: ArtifactRow) -> bytes | None:
    try:
        return await rooms.artifacts.payload(row.package_hash)
    except NotFound:
        return None


def _refused(row: ArtifactRow, defect: str) -> ConsumptionReplay:
    return ConsumptionReplay(parser=ParserResult(package_hash=row.package_hash, defect=defect))
