"""The gRPC edge of what decides how voice identity decides: threshold packs and the migration stage."""

from __future__ import annotations

from typing import Any

from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import SCOPE_TYPE_TENANT, Scope
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.auth import ROLE_OPERATOR, require_role, require_tenant
from servers.runtime.errors import Refusal
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from servers.voiceid import migration
from servers.voiceid.active_packs import SETTING_KEY, ActivePack, Packs
from servers.voiceid.engine import ENGINE_ID
from servers.voiceid.migrated import PREFIX, Stages
from servers.voiceid.precedence import Subject
from store import Store, Transaction, request_hash


class PolicyV1(v1_grpc.PolicyServiceServicer):
    """selene.voiceid.v1.PolicyService."""

    def __init__(self, store: Store, packs: Packs, stages: Stages) -> None:
        self._store = store
        self._packs = packs
        self._stages = stages

    async def GetThresholdPack(
        self, request: v1_service.GetThresholdPackRequest, context: Any
    ) -> v1_service.GetThresholdPackResponse:
        require_tenant(request.tenant_id)
        with refusing_store_errors():
            found = await self._packs.active(
                request.tenant_id, Subject(request.locale, request.channel, request.user_id)
            )
        if isinstance(found, ActivePack):
            return v1_service.GetThresholdPackResponse(pack=_pack(found), layer=found.layer.name.lower())
        if found == v1.VOICE_ID_REASON_SETTING_AMBIGUOUS:
            raise Refusal(
                reasons.ERROR_REASON_SETTING_AMBIGUOUS,
                "two settings of equal precedence apply, so neither does",
                key=SETTING_KEY,
            )
        raise not_found("threshold_pack", request.tenant_id)

    async def GetMigrationStage(
        self, request: v1_service.GetMigrationStageRequest, context: Any
    ) -> v1_service.GetMigrationStageResponse:
        require_tenant(request.tenant_id)
        with refusing_store_errors():
            return v1_service.GetMigrationStageResponse(stage=await self._stages.of(request.tenant_id))

    async def SetMigrationStage(
        self, request: v1_service.SetMigrationStageRequest, context: Any
    ) -> v1_service.SetMigrationStageResponse:
        require_tenant(request.tenant_id)
        caller = require_role(ROLE_OPERATOR)

        async def move(tx: Transaction) -> v1_service.SetMigrationStageResponse:
            present = await self._stages.of(request.tenant_id, tx)
            if not migration.may_move(present, request.stage):
                raise Refusal(
                    reasons.ERROR_REASON_STAGE_TRANSITION_INVALID,
                    "a tenant moves one stage at a time",
                    **{"from": _name(present), "to": _name(request.stage)},
                )
            await self._stages.move(tx, request.tenant_id, request.stage)
            tx.audit(
                tenant_id=request.tenant_id,
                owner=ENGINE_ID,
                actor=await actor(tx, caller),
                transition="migration.moved",
                reason_code="OPERATOR_REQUEST",
                scope=Scope(scope_type=SCOPE_TYPE_TENANT, scope_id=request.tenant_id),
                turn=turn(),
                idempotency_key=request.idempotency_key,
                facts={"from": _name(present), "to": _name(request.stage)},
            )
            return v1_service.SetMigrationStageResponse(stage=request.stage)

        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method="SetMigrationStage",
            key=request.idempotency_key,
            content=request_hash(int(request.stage)),
            reply=v1_service.SetMigrationStageResponse,
            work=move,
        )


def _name(stage: v1.MigrationStage) -> str:
    return v1.MigrationStage.Name(stage).removeprefix(PREFIX)


def _pack(found: ActivePack) -> v1.ThresholdPack:
    policy, rows = found.thresholds.policy, found.pack.cohorts
    return v1.ThresholdPack(
        pack_ref=found.thresholds.pack_ref,
        package_hash=found.row.package_hash,
        cohort=found.thresholds.cohort,
        provisional=found.thresholds.provisional,
        conf_high_bp=policy.conf_high_bp,
        conf_mid_bp=policy.conf_mid_bp,
        min_margin_bp=policy.min_margin_bp,
        genuine_trials=sum(row.genuine for row in rows),
        impostor_trials=sum(row.impostor for row in rows),
        canonical_json=found.canonical_json.decode(),
        signing_key_id=found.row.signing_key_id,
        signature=found.row.signature,
    )
