"""The gRPC edge of profiles: reads that never show an embedding, the withdrawal of consent, the gallery, the KPIs."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from selene.common.v1 import paging_pb2
from selene.common.v1.scope_pb2 import SCOPE_TYPE_USER, Scope
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, require_role, require_subject, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.instants import instant
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from servers.voiceid.engine import ENGINE_ID, Engine
from servers.voiceid.kpi import Cohort, DecidedStream, Kpi, kpis
from servers.voiceid.telemetry import cohort_labels
from store import Conflict, NotFound, Store, Transaction, request_hash
from store.voiceid import Profile

STATES = {
    "LOCKED": v1.PROFILE_STATE_LOCKED,
    "SUPERSEDED": v1.PROFILE_STATE_SUPERSEDED,
    "REVOKED": v1.PROFILE_STATE_REVOKED,
}
_TOKENS = PageTokens("profiles")


def profile_message(profile: Profile) -> v1.Profile:
    """A profile as anyone may read it."""
    message = v1.Profile(
        user_id=profile.user_id,
        profile_version=profile.profile_version,
        state=STATES[profile.state],
        model_set_hash=bytes.fromhex(profile.model_set_hash),
        clip_count=profile.clip_count,
        consent_ref=profile.consent_ref,
    )
    message.voiced.FromMilliseconds(profile.voiced_ms)
    message.created_at.FromDatetime(profile.created_at)
    if profile.expires_at is not None:
        message.expires_at.FromDatetime(profile.expires_at)
    return message


class ProfileV1(v1_grpc.ProfileServiceServicer):
    """selene.voiceid.v1.ProfileService."""

    def __init__(self, store: Store, clock: Clock, engine: Engine) -> None:
        self._store = store
        self._clock = clock
        self._engine = engine

    async def GetProfile(self, request: v1_service.GetProfileRequest, context: Any) -> v1_service.GetProfileResponse:
        require_tenant(request.tenant_id)
        require_subject(request.user_id)
        with refusing_store_errors():
            profile = await self._store.voiceid.profiles.current(request.tenant_id, request.user_id)
        if profile is None:
            raise not_found("profile", request.user_id)
        return v1_service.GetProfileResponse(profile=profile_message(profile))

    async def ListProfiles(
        self, request: v1_service.ListProfilesRequest, context: Any
    ) -> v1_service.ListProfilesResponse:
        _operator(request.tenant_id)
        size = page_size(request.page)
        with refusing_store_errors():
            page = await self._store.voiceid.profiles.page(
                request.tenant_id, after_user_id=_TOKENS.after(request.page), limit=size + 1
            )
        following = _TOKENS.token(page[size - 1].user_id) if len(page) > size else ""
        return v1_service.ListProfilesResponse(
            profiles=[profile_message(profile) for profile in page[:size]],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def RevokeProfile(
        self, request: v1_service.RevokeProfileRequest, context: Any
    ) -> v1_service.RevokeProfileResponse:
        require_tenant(request.tenant_id)
        caller = require_subject(request.user_id)

        async def revoke(tx: Transaction) -> v1_service.RevokeProfileResponse:
            # Commitments are made first: afterwards the key that they are salted with is gone, which is the point.
            user = await tx.vault.commitment(request.tenant_id, request.user_id, b"user")
            by = await actor(tx, caller)
            try:
                profile = await tx.voiceid.profiles.revoke(request.tenant_id, request.user_id)
            except (NotFound, Conflict) as error:
                raise not_found("profile", request.user_id) from error
            tx.audit(
                tenant_id=request.tenant_id,
                owner=ENGINE_ID,
                actor=by,
                transition="profile.revoked",
                reason_code="CONSENT_REVOKED_USER_REQUEST",
                scope=Scope(scope_type=SCOPE_TYPE_USER, scope_id=user.hex()),
                turn=turn(),
                idempotency_key=request.idempotency_key,
                hashes={"user": user},
                facts={"profile_version": str(profile.profile_version)},
            )
            return v1_service.RevokeProfileResponse(profile=profile_message(profile))

        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method="RevokeProfile",
            key=request.idempotency_key,
            content=request_hash(request.user_id),
            reply=v1_service.RevokeProfileResponse,
            work=revoke,
        )

    async def GetGallery(self, request: v1_service.GetGalleryRequest, context: Any) -> v1_service.GetGalleryResponse:
        _operator(request.tenant_id)
        with refusing_store_errors():
            roster = await self._engine.rosters.of(request.tenant_id, self._clock.now())
            members = []
            if request.device_id:
                members = await self._store.voiceid.devices.members(request.tenant_id, request.device_id)
        models = self._engine.models
        return v1_service.GetGalleryResponse(
            profile_count=len(roster.only(members)) if request.device_id else len(roster),
            gallery_version=roster.first.version,
            models=models.names if models else (),
            model_set_hash=models.model_set_hash if models else b"",
            stale_profile_count=roster.stale,
            member_user_ids=members,
        )

    async def GetKpis(self, request: v1_service.GetKpisRequest, context: Any) -> v1_service.GetKpisResponse:
        _operator(request.tenant_id)
        since = instant(request, "since") or datetime(1970, 1, 2, tzinfo=UTC)
        until = instant(request, "until") or self._clock.now()
        wanted = cohort_labels(request.cohort)
        with refusing_store_errors():
            streams = [
                DecidedStream(
                    Cohort(**stream.cohort), stream.named_user_id, stream.speaker_user_id, stream.latency_us / 1e6
                )
                async for stream in self._store.voiceid.streams.decided(request.tenant_id, since=since, until=until)
                if all(stream.cohort[name] == value for name, value in wanted.items() if value)
            ]
        return v1_service.GetKpisResponse(cohorts=[_kpi(row) for row in kpis(streams)])


def _operator(tenant_id: str) -> None:
    require_tenant(tenant_id)
    require_role(ROLE_OPERATOR, ROLE_SERVICE)


def _kpi(row: Kpi) -> v1.CohortKpi:
    return v1.CohortKpi(
        cohort=v1.CohortLabels(**asdict(row.cohort)),
        decisions=row.decisions,
        named=row.named,
        genuine=row.genuine,
        impostor=row.impostor,
        tar_bp=row.tar_bp,
        frr_bp=row.frr_bp,
        far_bp=row.far_bp,
        latency_p50=_duration(row.latency_p50),
        latency_p95=_duration(row.latency_p95),
        latency_p99=_duration(row.latency_p99),
    )


def _duration(seconds: float) -> Duration | None:
    if math.isnan(seconds):
        return None
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
