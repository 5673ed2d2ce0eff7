"""`selene packs`: the threshold packs that are registered, which of them decides, and what else serves.

Servers read the pointer with every decision, so what is activated here is in force for the next one. What was learned
from people goes live through governance's gates and no other way; what a revocation froze serves no more (§21).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from selene.artifacts.v1.artifacts_pb2 import (
    ARTIFACT_STATUS_ACTIVE,
    ARTIFACT_STATUS_CANDIDATE,
    ARTIFACT_STATUS_PROVISIONAL,
    ArtifactPointer,
    ArtifactRow,
    ArtifactStatus,
)
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope, ScopeType
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY

from servers import pack_formats
from servers.pack_formats import FORMATS, PackUnusable
from servers.runtime.clock import SystemClock
from servers.runtime.config import Settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import SYSTEM_TENANT, open_store
from servers.shipped import ARTIFACT_TYPE, DEPLOYMENT, register_pack
from servers.voiceid.calibration.pack import PackError, PackStatus, ThresholdPack, parse
from store import NotFound, Store, Transaction
from store.artifacts import ArtifactsReader
from store.gold import artifact_ref, gold_ref, ids_among
from store.keys import signature_holds

ACTIVATABLE: Final = frozenset({ARTIFACT_STATUS_CANDIDATE, ARTIFACT_STATUS_PROVISIONAL, ARTIFACT_STATUS_ACTIVE})
OWNER: Final = "PH1.LEARN"

T = TypeVar("T")


class PackReason(StrEnum):
    """Why a pack is not put in force; stable, for programs."""

    PACK_UNKNOWN = "PACK_UNKNOWN"
    PACK_OLDER_THAN_ACTIVE = "PACK_OLDER_THAN_ACTIVE"
    PACK_PROVISIONAL = "PACK_PROVISIONAL"
    PACK_TAKEN_BACK = "PACK_TAKEN_BACK"
    PACK_REVOKED = "PACK_REVOKED"
    """Someone whose consent it rests on took that back: it, or the same content elsewhere, is frozen."""
    PACK_NEEDS_GATES = "PACK_NEEDS_GATES"
    """It was learned from gold, here or elsewhere: only governance puts it in force."""
    PACK_HELD_BY_DEFECT = "PACK_HELD_BY_DEFECT"
    """A defect of voice identity at which safety is at stake is open in the tenant (§8)."""
    PACK_DAMAGED = "PACK_DAMAGED"
    PACK_SIGNATURE_UNTRUSTED = "PACK_SIGNATURE_UNTRUSTED"
    NOTHING_TO_ROLL_BACK_TO = "NOTHING_TO_ROLL_BACK_TO"


class PackRefused(ValueError):
    """Nothing was changed: `reason` is for programs, the message for people."""

    def __init__(self, reason: PackReason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pack's content came from: the artifact that was learned with it, or empty, and whether it was revoked."""

    learned_as: str
    revoked: bool


async def on_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """`work` on the configured store, opened for it and closed after. ConfigError, StoreError."""
    clock = SystemClock()
    store = await open_store(settings, clock, UuidV7Ids(clock))
    try:
        return await work(store)
    finally:
        await store.close()


async def listed(store: Store, tenant_id: str) -> list[dict[str, Any]]:
    """Every version of the tenant, or of the deployment where it is empty, oldest first.

    Then what else serves there, of every type (§11) and scope, each with the version that it returns to.
    """
    scope = scope_of(tenant_id)
    pointer = await store.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
    found = [(row, pointer) for row in await store.artifacts.versions(ARTIFACT_TYPE, tenant_id, scope)]
    for other in sorted(await store.artifacts.all_pointers(list(FORMATS)), key=_place):
        if other.tenant_id == tenant_id and (other.artifact_type, other.scope) != (ARTIFACT_TYPE, scope):
            for version in filter(None, (other.rollback_version, other.active_version)):
                line = (other.artifact_type, tenant_id, other.scope)
                found.append((await store.artifacts.version(*line, version), other))
    described = []
    for row, of_line in found:
        told = await _described(store.artifacts, row, of_line)
        if (await store.governance.cases.get(tenant_id, row.artifact_id)).frozen_by:
            told["status"] = PackReason.PACK_REVOKED.value
        described.append(told)
    return described


async def add(store: Store, payload: bytes, name: str, tenant_id: str) -> dict[str, Any]:
    """Registers a pack that `selene calibrate` wrote, without activating it. PackError."""
    row = await register_pack(
        store,
        payload,
        scope=scope_of(tenant_id),
        tenant_id=tenant_id,
        provenance_ref=f"selene packs add:{name}",
        activate=False,
    )
    pointer = await store.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope_of(tenant_id))
    return await _described(store.artifacts, row, pointer)


async def activate(store: Store, version: int, tenant_id: str, *, accept_provisional: bool) -> dict[str, Any]:
    """Points servers at a registered version; the version in force already stays so. PackRefused.

    A PROVISIONAL pack (VID-11) turns CONFIRMED into PROBABLE, so it has to be accepted as what it is. A learned one is
    refused: what its gates ask for cannot be given here.
    """
    scope = scope_of(tenant_id)
    async with store.transaction() as tx:
        await tx.governance.rollouts.one_at_a_time(tenant_id)
        before = await tx.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
        row = await _row(tx.artifacts, tenant_id, scope, version)
        origin = await _origin(tx, row)
        pack = await _checked(tx.artifacts, store, row, origin)
        provisional = pack.status is PackStatus.PROVISIONAL
        if before is not None and version < before.active_version:
            raise PackRefused(
                PackReason.PACK_OLDER_THAN_ACTIVE,
                f"version {before.active_version} is in force; use `selene packs rollback` to return to an earlier one",
            )
        is_active = before is not None and before.active_version == version
        if origin.learned_as and not is_active:
            raise PackRefused(
                PackReason.PACK_NEEDS_GATES,
                f"the pack was learned, so its gates come first: `selene gate show {origin.learned_as}` says which are "
                f"shut, and `selene rollout start {origin.learned_as}` goes on once they are open",
            )
        held_by = await tx.governance.defects.holding(tenant_id, [GOLD_DOMAIN_VOICE_IDENTITY], row.artifact_id, limit=1)
        if held_by and not is_active:
            raise PackRefused(
                PackReason.PACK_HELD_BY_DEFECT,
                f"a defect at which safety is at stake is open, {held_by[0]}: `selene defects list` shows what has "
                "to be mended first",
            )
        if provisional and not accept_provisional:
            reasons = ", ".join(dict.fromkeys(reason.code for reason in pack.reasons))
            raise PackRefused(
                PackReason.PACK_PROVISIONAL,
                f"the pack is not proven ({reasons}), so nobody would be CONFIRMED; add --accept-provisional to use it",
            )
        if not is_active:
            await tx.artifacts.activate(ARTIFACT_TYPE, tenant_id, scope, version)
            tx.audit(
                tenant_id=tenant_id or SYSTEM_TENANT,
                owner=OWNER,
                actor="system",
                transition="threshold_pack.activated",
                reason_code="PROVISIONAL" if provisional else "CALIBRATED",
                scope=scope,
                hashes={"package": row.package_hash},
                facts=_facts(row, pack, before),
            )
        pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
        return await _described(tx.artifacts, row, pointer)


async def rollback(store: Store, tenant_id: str) -> dict[str, Any]:
    """Registers the content that was in force before as a new, higher version and points servers at it (GOV-6).

    Also what was learned: it passed its gates when it came into force. Never what was revoked since. PackRefused.
    """
    scope = scope_of(tenant_id)
    async with store.transaction() as tx:
        await tx.governance.rollouts.one_at_a_time(tenant_id)
        before = await tx.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
        if before is None or not before.rollback_version:
            raise PackRefused(
                PackReason.NOTHING_TO_ROLL_BACK_TO,
                "no pack was in force before the one that is; see `selene packs list`",
            )
        target = await _row(tx.artifacts, tenant_id, scope, before.rollback_version)
        pack = await _checked(tx.artifacts, store, target, await _origin(tx, target))
        row = await tx.artifacts.rollback(
            ARTIFACT_TYPE,
            tenant_id,
            scope,
            created_by=OWNER,
            idempotency_key=f"rollback-of-{before.active_version}",
        )
        tx.audit(
            tenant_id=tenant_id or SYSTEM_TENANT,
            owner=OWNER,
            actor="system",
            transition="threshold_pack.rolled_back",
            reason_code="OPERATOR_ROLLBACK",
            scope=scope,
            hashes={"package": row.package_hash},
            facts={**_facts(row, pack, before), "content_of": f"{ARTIFACT_TYPE}@{before.rollback_version}"},
        )
        pointer = await tx.artifacts.pointer(ARTIFACT_TYPE, tenant_id, scope)
        return await _described(tx.artifacts, row, pointer)


def scope_of(tenant_id: str) -> Scope:
    """Where a pack of this tenant applies; the whole deployment without one."""
    return Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=tenant_id) if tenant_id else DEPLOYMENT


async def _row(artifacts: ArtifactsReader, tenant_id: str, scope: Scope, version: int) -> ArtifactRow:
    try:
        return await artifacts.version(ARTIFACT_TYPE, tenant_id, scope, version)
    except NotFound:
        raise PackRefused(
            PackReason.PACK_UNKNOWN, f"there is no version {version} here; see `selene packs list`"
        ) from None


async def _origin(tx: Transaction, row: ArtifactRow) -> Origin:
    """Of every version with this content, wherever it lies: a rollback and `add` make rows that nothing led to."""
    learned_as, revoked = "", False
    for one in await tx.artifacts.of_content(ARTIFACT_TYPE, row.package_hash):
        ref = artifact_ref(one.artifact_id)
        refs = await tx.gold.lineage.closure(one.tenant_id, [ref], descendants=False)
        if ids_among(refs, gold_ref):
            learned_as = learned_as or one.artifact_id
        for each in sorted({ref, *refs}):
            kind, _, artifact_id = each.partition(":")
            if kind == "artifact" and (await tx.governance.cases.get(one.tenant_id, artifact_id)).frozen_by:
                revoked = True
    return Origin(learned_as, revoked)


async def _checked(artifacts: ArtifactsReader, store: Store, row: ArtifactRow, origin: Origin) -> ThresholdPack:
    """The pack of a row that servers would accept; what they would not is refused here and not by every decision."""
    if row.status not in ACTIVATABLE:
        status = ArtifactStatus.Name(row.status).removeprefix("ARTIFACT_STATUS_")
        raise PackRefused(PackReason.PACK_TAKEN_BACK, f"the version is {status}")
    if origin.revoked:
        raise PackRefused(
            PackReason.PACK_REVOKED,
            "a consent that its content rests on was taken back; `selene packs list` shows what else there is",
        )
    if not signature_holds(store.trusted_keys(), row.signing_key_id, row.package_hash, row.signature):
        raise PackRefused(PackReason.PACK_SIGNATURE_UNTRUSTED, "no key that is trusted here signed it")
    try:
        return parse(await artifacts.payload(row.package_hash))
    except (NotFound, PackError) as error:
        raise PackRefused(PackReason.PACK_DAMAGED, str(error)) from error


def _facts(row: ArtifactRow, pack: ThresholdPack, before: ArtifactPointer | None) -> dict[str, str]:
    replaced = f"{ARTIFACT_TYPE}@{before.active_version}" if before else ""
    return {"pack": f"{ARTIFACT_TYPE}@{row.artifact_version}", "cohort": pack.cohort, "replaced": replaced}


def _place(pointer: ArtifactPointer) -> tuple[str, int, str]:
    return pointer.artifact_type, pointer.scope.scope_type, pointer.scope.scope_id


async def _described(artifacts: ArtifactsReader, row: ArtifactRow, pointer: ArtifactPointer | None) -> dict[str, Any]:
    cohort, models = "", ""
    try:
        payload = await artifacts.payload(row.package_hash)
        if row.artifact_type == ARTIFACT_TYPE:
            pack = parse(payload)
            cohort, status, models = pack.cohort, pack.status.value, pack.model_set_hash[:12]
        else:
            pack_formats.parse(row.artifact_type, payload)
            status = ArtifactStatus.Name(row.status).removeprefix("ARTIFACT_STATUS_")
    except (NotFound, PackError, PackUnusable):
        status = PackReason.PACK_DAMAGED.value
    scope = ScopeType.Name(row.scope.scope_type).removeprefix("SCOPE_TYPE_")
    return {
        "type": row.artifact_type,
        "scope": f"{scope} {row.scope.scope_id}".rstrip(),
        "version": row.artifact_version,
        "state": _state(row, pointer),
        "status": status,
        "cohort": cohort,
        "models": models,
        "sha256": row.package_hash.hex(),
        "registered": row.created_at.ToJsonString(),
        "from": row.provenance_ref,
    }


def _state(row: ArtifactRow, pointer: ArtifactPointer | None) -> str:
    if pointer is not None and row.artifact_version == pointer.active_version:
        return "ACTIVE"
    return "PREVIOUS" if pointer is not None and row.artifact_version == pointer.rollback_version else ""
