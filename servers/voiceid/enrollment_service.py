"""The gRPC edge of enrolment: clips are graded from their audio, kept sealed, and locked into a profile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from grpc.aio import EOF
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1.scope_pb2 import SCOPE_TYPE_USER, Scope
from selene.voiceid.v1 import service_pb2 as v1_service
from selene.voiceid.v1 import service_pb2_grpc as v1_grpc
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.audio.decode import AudioError
from servers.runtime.audio.order import FrameOrder, config_expected, too_long, undecodable
from servers.runtime.auth import Principal, current_principal, require_device, require_subject, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.ids import Ids
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from servers.voiceid.active_packs import Packs
from servers.voiceid.batcher import Batcher, ModelFailed, ModelSlow
from servers.voiceid.engine import ENGINE_ID
from servers.voiceid.enrolment import ClipEvidence, EnrolmentPolicy, Grade, centroid, grade, missing
from servers.voiceid.fusion import CandidateCosines, Ranking, rank
from servers.voiceid.policy import Thresholds
from servers.voiceid.precedence import Subject
from servers.voiceid.profile_service import profile_message
from servers.voiceid.roster import from_blob, to_blob
from servers.voiceid.scorer import Floats, Listening, Models
from servers.voiceid.settings import VoiceIdSettings
from store import NotFound, Store, Transaction, request_hash
from store.voiceid import Clip, Enrollment, Progress

STATES = {
    "PENDING": v1.ENROLLMENT_STATE_PENDING,
    "LOCKED": v1.ENROLLMENT_STATE_LOCKED,
    "ABANDONED": v1.ENROLLMENT_STATE_ABANDONED,
}


@dataclass(frozen=True, slots=True)
class HeardClip:
    """A clip after its half-close: digest of its bytes, embeddings (None: too little speech), what was measured."""

    sha256: bytes
    embeddings: tuple[Floats, ...] | None
    fingerprint: bytes
    voiced_seconds: float
    clipped_ratio: float
    snr_db: float
    overlap_ratio: float | None


class EnrollmentV1(v1_grpc.EnrollmentServiceServicer):
    """selene.voiceid.v1.EnrollmentService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        settings: VoiceIdSettings,
        models: Models | None,
        batcher: Batcher,
        packs: Packs,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._models = models
        self._batcher = batcher
        self._packs = packs

    async def CreateEnrollment(
        self, request: v1_service.CreateEnrollmentRequest, context: Any
    ) -> v1_service.CreateEnrollmentResponse:
        require_tenant(request.tenant_id)
        require_device(request.device_id)
        caller = require_subject(request.user_id)
        if not request.consent_ref:
            raise Refusal(reasons.ERROR_REASON_CONSENT_REQUIRED, "enrolment needs the reference to a consent")

        async def create(tx: Transaction) -> v1_service.CreateEnrollmentResponse:
            enrollment = await tx.voiceid.enrollments.start(
                request.tenant_id,
                self._ids.new(),
                user_id=request.user_id,
                device_id=request.device_id,
                consent_ref=request.consent_ref,
            )
            await _audit(tx, enrollment, caller, "enrollment.created", "CONSENT_GIVEN", request.idempotency_key)
            return v1_service.CreateEnrollmentResponse(enrollment=self._message(enrollment, Progress(0, 0)))

        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method="CreateEnrollment",
            key=request.idempotency_key,
            content=request_hash(
                request.user_id, request.device_id, request.consent_ref, request.locale, caller.subject
            ),
            reply=v1_service.CreateEnrollmentResponse,
            work=create,
        )

    async def AddClip(self, request_iterator: Any, context: Any) -> v1_service.AddClipResponse:
        first = await context.read()
        if first is EOF or first.WhichOneof("message") != "config":
            raise config_expected(0)
        config: v1_service.ClipConfig = first.config
        enrollment, caller = await self._permitted(config.tenant_id, config.enrollment_id)
        clip = await self._hear(config, context)

        async def add(tx: Transaction) -> v1_service.AddClipResponse:
            return await self._add(tx, config, clip, caller)

        return await once(
            self._store,
            tenant_id=config.tenant_id,
            method="AddClip",
            key=config.idempotency_key,
            content=request_hash(enrollment.enrollment_id, clip.sha256, config.audio_format.SerializeToString()),
            reply=v1_service.AddClipResponse,
            work=add,
        )

    async def CompleteEnrollment(
        self, request: v1_service.CompleteEnrollmentRequest, context: Any
    ) -> v1_service.CompleteEnrollmentResponse:
        enrollment, caller = await self._permitted(request.tenant_id, request.enrollment_id)

        async def complete(tx: Transaction) -> v1_service.CompleteEnrollmentResponse:
            return await self._complete(tx, request, caller)

        return await once(
            self._store,
            tenant_id=request.tenant_id,
            method="CompleteEnrollment",
            key=request.idempotency_key,
            content=request_hash(enrollment.enrollment_id),
            reply=v1_service.CompleteEnrollmentResponse,
            work=complete,
        )

    async def GetEnrollment(
        self, request: v1_service.GetEnrollmentRequest, context: Any
    ) -> v1_service.GetEnrollmentResponse:
        enrollment, _ = await self._permitted(request.tenant_id, request.enrollment_id)
        with refusing_store_errors():
            progress = await self._store.voiceid.enrollments.progress(request.tenant_id, request.enrollment_id)
        return v1_service.GetEnrollmentResponse(enrollment=self._message(enrollment, progress))

    async def _permitted(self, tenant_id: str, enrollment_id: str) -> tuple[Enrollment, Principal]:
        """The enrolment, if the caller may speak for its person on its device."""
        require_tenant(tenant_id)
        with refusing_store_errors():
            try:
                enrollment = await self._store.voiceid.enrollments.get(tenant_id, enrollment_id)
            except NotFound as error:
                raise not_found("enrollment", enrollment_id) from error
        require_device(enrollment.device_id)
        require_subject(enrollment.user_id)
        return enrollment, current_principal()

    async def _hear(self, config: v1_service.ClipConfig, call: Any) -> HeardClip:
        if self._models is None:
            raise _model_unavailable("MODEL_UNAVAILABLE")
        deadline = self._clock.monotonic() + call.time_remaining()
        order, digest = FrameOrder(0), hashlib.sha256()
        try:
            listening = Listening(self._models, self._batcher, config.audio_format)
            try:
                return await self._listen(listening, call, order, digest, min(deadline, self._clock.monotonic() + 600))
            finally:
                listening.abandon()
        except AudioError as error:
            raise undecodable(error, order.following - 1) from error
        except (ModelFailed, ModelSlow) as error:
            cause = "MODEL_SLOW" if isinstance(error, ModelSlow) else "MODEL_FAILED"
            raise _model_unavailable(cause) from error

    async def _listen(
        self, listening: Listening, call: Any, order: FrameOrder, digest: Any, deadline: float
    ) -> HeardClip:
        utterance = listening.utterance
        while (message := await call.read()) is not EOF:
            if message.WhichOneof("message") != "frame":
                raise config_expected(call.received - 1)
            order.admit(message.frame)
            digest.update(message.frame.audio)
            listening.push(message.frame.audio, deadline=deadline)
            if utterance.audio_seconds > self._settings.max_audio_s:
                raise too_long(self._settings.max_audio_s)
        listening.finish(deadline=deadline)
        voiceprint = await listening.ended_all(deadline=deadline)
        overlap_ratio = await listening.overlap(deadline=deadline)
        quality = utterance.quality
        return HeardClip(
            sha256=digest.digest(),
            embeddings=voiceprint.all(),
            fingerprint=listening.fingerprint().to_bytes(),
            voiced_seconds=utterance.voiced_seconds,
            clipped_ratio=quality.clipped_ratio,
            snr_db=quality.snr_db or 0.0,
            overlap_ratio=overlap_ratio,
        )

    async def _add(
        self, tx: Transaction, config: v1_service.ClipConfig, clip: HeardClip, caller: Principal
    ) -> v1_service.AddClipResponse:
        assert self._models is not None  # the clip was heard by them
        tenant_id, enrollment_id = config.tenant_id, config.enrollment_id
        enrollment = await tx.voiceid.enrollments.get(tenant_id, enrollment_id)
        _refuse_closed(enrollment)
        earlier = await tx.voiceid.enrollments.clips(tenant_id, enrollment_id)
        graded = await self._grade(enrollment, clip, earlier)
        if graded.accepted and clip.embeddings is not None:
            await tx.voiceid.enrollments.add_clip(
                tenant_id,
                enrollment_id,
                Clip(
                    clip_id=self._ids.new(),
                    audio_sha256=clip.sha256,
                    voiced_ms=round(clip.voiced_seconds * 1000),
                    model_set_hash=self._models.model_set_hash.hex(),
                    quality={"clipped_ratio": clip.clipped_ratio, "snr_db": clip.snr_db},
                    features=to_blob(clip.embeddings),
                ),
            )
            # All of this enrolment, however many: each can be played again.
            keep = max(self._settings.kept_fingerprints, len(earlier) + 1)
            await tx.voiceid.fingerprints.add(tenant_id, enrollment.user_id, clip.fingerprint, keep=keep, of_clip=True)
        reason = v1.ClipRejection.Name(graded.rejection).removeprefix("CLIP_REJECTION_")
        await _audit(
            tx,
            enrollment,
            caller,
            "enrollment.clip_accepted" if graded.accepted else "enrollment.clip_rejected",
            "CLIP_ACCEPTED" if graded.accepted else reason,
            config.idempotency_key,
            voiced_ms=str(round(clip.voiced_seconds * 1000)),
        )
        progress = await tx.voiceid.enrollments.progress(tenant_id, enrollment_id)
        reply = v1_service.AddClipResponse(
            accepted=graded.accepted,
            rejection=graded.rejection,
            hint=graded.hint,
            clipped_ratio=clip.clipped_ratio,
            snr_db=clip.snr_db,
            enrollment=self._message(enrollment, progress),
        )
        reply.voiced.FromTimedelta(timedelta(seconds=clip.voiced_seconds))
        return reply

    async def _grade(self, enrollment: Enrollment, clip: HeardClip, earlier: Sequence[Clip]) -> Grade:
        packs = await self._packs.read(enrollment.tenant_id)
        found = await self._packs.thresholds(packs, Subject(user_id=enrollment.user_id))
        thresholds = found if isinstance(found, Thresholds) else None
        evidence = ClipEvidence(
            voiced_seconds=clip.voiced_seconds if clip.embeddings else 0.0,
            clipped_ratio=clip.clipped_ratio,
            snr_db=clip.snr_db,
            overlap_ratio=clip.overlap_ratio,
            duplicate=any(one.audio_sha256 == clip.sha256 for one in earlier),
            score_bp_to_earlier=self._score(clip, earlier, thresholds),
        )
        return grade(evidence, self._policy(thresholds))

    def _score(self, clip: HeardClip, earlier: Sequence[Clip], thresholds: Thresholds | None) -> int | None:
        """Calibrated score of the clip against the mean of the earlier ones; 0 when there is no way to compare."""
        if not earlier or thresholds is None or clip.embeddings is None:
            return None
        profile = self._profile(earlier)
        if profile is None:
            return 0
        cosines = tuple(float(np.dot(a, b)) for a, b in zip(profile, clip.embeddings, strict=True))
        ranking = rank([CandidateCosines("", 0, cosines)], clip.voiced_seconds, thresholds.fused)
        return ranking.best.score_bp if isinstance(ranking, Ranking) else 0

    def _profile(self, clips: Sequence[Clip]) -> tuple[Floats, ...] | None:
        """The mean of clips of the models loaded now; None when one is of others, or they make no direction."""
        assert self._models is not None
        model_set_hash = self._models.model_set_hash.hex()
        dimensions = [model.dimension for model in self._models.speakers]
        opened = [from_blob(c.features, dimensions) if c.model_set_hash == model_set_hash else None for c in clips]
        if any(vectors is None for vectors in opened):
            return None
        means = [centroid([vectors[model] for vectors in opened if vectors]) for model in range(len(dimensions))]
        return None if any(mean is None for mean in means) else tuple(mean for mean in means if mean is not None)

    async def _complete(
        self, tx: Transaction, request: v1_service.CompleteEnrollmentRequest, caller: Principal
    ) -> v1_service.CompleteEnrollmentResponse:
        if self._models is None:
            raise _model_unavailable("MODEL_UNAVAILABLE")
        tenant_id, enrollment_id = request.tenant_id, request.enrollment_id
        enrollment = await tx.voiceid.enrollments.get(tenant_id, enrollment_id)
        _refuse_closed(enrollment)
        progress = await tx.voiceid.enrollments.progress(tenant_id, enrollment_id)
        lacking = missing(progress.clip_count, progress.voiced_ms / 1000, self._policy(None))
        if not lacking.nothing:
            raise Refusal(
                reasons.ERROR_REASON_ENROLLMENT_INCOMPLETE,
                "there is not enough accepted speech yet; add clips",
                clips_missing=str(lacking.clips),
                voiced_ms_missing=str(round(lacking.voiced_seconds * 1000)),
            )
        embeddings = self._profile(await tx.voiceid.enrollments.clips(tenant_id, enrollment_id))
        if embeddings is None:
            raise Refusal(
                reasons.ERROR_REASON_ENROLLMENT_CLOSED,
                "the clips were heard by other models than those loaded now; begin again",
                state="STALE",
            )
        profile = await tx.voiceid.profiles.lock(
            tenant_id,
            enrollment.user_id,
            embedding=to_blob(embeddings),
            model_set_hash=self._models.model_set_hash.hex(),
            clip_count=progress.clip_count,
            voiced_ms=progress.voiced_ms,
            consent_ref=enrollment.consent_ref,
            expires_at=self._clock.now() + timedelta(days=self._settings.profile_lifetime_days),
        )
        closed = await tx.voiceid.enrollments.close(
            tenant_id, enrollment_id, "LOCKED", profile_version=profile.profile_version
        )
        await tx.voiceid.devices.add_member(tenant_id, enrollment.device_id, enrollment.user_id)
        await _audit(
            tx,
            closed,
            caller,
            "enrollment.locked",
            "ENOUGH_SPEECH",
            request.idempotency_key,
            profile_version=str(profile.profile_version),
            clips=str(progress.clip_count),
        )
        return v1_service.CompleteEnrollmentResponse(
            enrollment=self._message(closed, progress), profile=profile_message(profile)
        )

    def _policy(self, thresholds: Thresholds | None) -> EnrolmentPolicy:
        return EnrolmentPolicy(
            min_clips=self._settings.min_clips,
            min_total_voiced_seconds=self._settings.min_total_voiced_s,
            min_same_voice_bp=thresholds.policy.conf_mid_bp if thresholds else None,
        )

    def _message(self, enrollment: Enrollment, progress: Progress) -> v1.Enrollment:
        lacking = missing(progress.clip_count, progress.voiced_ms / 1000, self._policy(None))
        message = v1.Enrollment(
            enrollment_id=enrollment.enrollment_id,
            user_id=enrollment.user_id,
            device_id=enrollment.device_id,
            state=STATES[enrollment.state],
            consent_ref=enrollment.consent_ref,
            accepted_clips=progress.clip_count,
            clips_missing=lacking.clips,
            profile_version=enrollment.profile_version,
        )
        message.accepted_voiced.FromMilliseconds(progress.voiced_ms)
        message.voiced_missing.FromTimedelta(timedelta(seconds=lacking.voiced_seconds))
        message.created_at.FromDatetime(enrollment.created_at)
        return message


def _refuse_closed(enrollment: Enrollment) -> None:
    if enrollment.state != "PENDING":
        raise Refusal(
            reasons.ERROR_REASON_ENROLLMENT_CLOSED, "this enrolment is closed; begin another", state=enrollment.state
        )


def _model_unavailable(cause: str) -> Refusal:
    return Refusal(reasons.ERROR_REASON_MODEL_UNAVAILABLE, "the speaker models cannot hear this clip now", cause=cause)


async def _audit(
    tx: Transaction,
    enrollment: Enrollment,
    caller: Principal,
    transition: str,
    reason_code: str,
    idempotency_key: str,
    **facts: str,
) -> None:
    """The person is named by a commitment only."""
    user = await tx.vault.commitment(enrollment.tenant_id, enrollment.user_id, b"user")
    consent = await tx.vault.commitment(enrollment.tenant_id, enrollment.user_id, enrollment.consent_ref.encode())
    tx.audit(
        tenant_id=enrollment.tenant_id,
        owner=ENGINE_ID,
        actor=await actor(tx, caller),
        transition=transition,
        reason_code=reason_code,
        scope=Scope(scope_type=SCOPE_TYPE_USER, scope_id=user.hex()),
        turn=turn(),
        device_id=enrollment.device_id,
        idempotency_key=idempotency_key,
        hashes={"consent": consent, "user": user},
        facts={"enrollment_id": enrollment.enrollment_id, **facts},
    )
