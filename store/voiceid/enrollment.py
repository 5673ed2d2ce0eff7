"""Enrolments and their clips: what was captured under which consent, sealed under the subject's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, func, select, update

from store.access import Reads, Writes
from store.errors import Conflict, NotFound
from store.schema import enrollment_clips, enrollments
from store.vault import Vault, VaultReader

CLIP_PURPOSE = "voiceid.clip"

EnrollmentState = Literal["PENDING", "LOCKED", "ABANDONED"]


@dataclass(frozen=True, slots=True)
class Enrollment:
    """One enrolment. `profile_version` is 0 until it is LOCKED; `closed_at` is when it left PENDING."""

    tenant_id: str
    enrollment_id: str
    user_id: str
    device_id: str
    state: EnrollmentState
    consent_ref: str
    created_at: datetime
    closed_at: datetime | None
    profile_version: int


@dataclass(frozen=True, slots=True)
class Clip:
    """One accepted clip. `features` are the caller's bytes (embeddings), sealed at rest."""

    clip_id: str
    audio_sha256: bytes
    voiced_ms: int
    model_set_hash: str
    quality: Mapping[str, Any]
    features: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """How much an enrolment has gathered."""

    clip_count: int
    voiced_ms: int


class EnrollmentsReader:
    """Reading enrolments."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

    async def get(self, tenant_id: str, enrollment_id: str) -> Enrollment:
        """One enrolment. NotFound."""
        rows = await self._reads.rows(select(enrollments).where(*_is(tenant_id, enrollment_id)))
        if not rows:
            raise NotFound(f"enrollment {enrollment_id!r}")
        return _enrollment(rows[0])

    async def progress(self, tenant_id: str, enrollment_id: str) -> Progress:
        """Clips and voiced milliseconds so far."""
        table = enrollment_clips.c
        gathered = select(
            func.count().label("clips"), func.coalesce(func.sum(table.voiced_ms), 0).label("voiced_ms")
        ).where(table.tenant_id == tenant_id, table.enrollment_id == enrollment_id)
        (row,) = await self._reads.rows(gathered)
        return Progress(int(row.clips), int(row.voiced_ms))

    async def clips(self, tenant_id: str, enrollment_id: str) -> list[Clip]:
        """Every clip in order of arrival, opened. NotFound; KeyDestroyed, SealBroken, WrongMasterKey."""
        enrollment = await self.get(tenant_id, enrollment_id)
        table = enrollment_clips.c
        found = select(enrollment_clips).where(table.tenant_id == tenant_id, table.enrollment_id == enrollment_id)
        rows = await self._reads.rows(found.order_by(table.created_at, table.clip_id))
        if not rows:
            return []
        key = await self._opener.key(tenant_id, enrollment.user_id)
        return [
            Clip(
                clip_id=row.clip_id,
                audio_sha256=bytes(row.audio_sha256),
                voiced_ms=row.voiced_ms,
                model_set_hash=row.model_set_hash,
                quality=row.quality,
                features=key.open(CLIP_PURPOSE, bytes(row.sealed)),
            )
            for row in rows
        ]


class Enrollments(EnrollmentsReader):
    """Changing enrolments inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault

    async def start(
        self, tenant_id: str, enrollment_id: str, *, user_id: str, device_id: str, consent_ref: str
    ) -> Enrollment:
        """A PENDING enrolment. ValueError without consent, Conflict where the id exists."""
        if not consent_ref:
            raise ValueError("an enrolment needs consent")
        row = {
            "tenant_id": tenant_id,
            "enrollment_id": enrollment_id,
            "user_id": user_id,
            "device_id": device_id,
            "state": "PENDING",
            "consent_ref": consent_ref,
            "created_at": self._writes.clock.now(),
            "closed_at": None,
            "profile_version": 0,
        }
        statement = self._writes.insert(enrollments).values(**row).on_conflict_do_nothing().returning(enrollments)
        written = await self._writes.write(statement)
        if not written.rows:
            raise Conflict(f"enrollment {enrollment_id!r} exists")
        return _enrollment(written.rows[0])

    async def add_clip(self, tenant_id: str, enrollment_id: str, clip: Clip) -> bool:
        """Keep a clip, sealed for the enrolment's user. False where this audio or clip id counted already.

        NotFound; Conflict unless the enrolment is PENDING.
        """
        enrollment = await self._locked(tenant_id, enrollment_id)
        if enrollment.state != "PENDING":
            raise Conflict(f"enrollment {enrollment_id!r} is {enrollment.state}")
        sealed = await self._vault.seal(tenant_id, enrollment.user_id, CLIP_PURPOSE, clip.features)
        statement = self._writes.insert(enrollment_clips).values(
            tenant_id=tenant_id,
            enrollment_id=enrollment_id,
            clip_id=clip.clip_id,
            audio_sha256=clip.audio_sha256,
            voiced_ms=clip.voiced_ms,
            model_set_hash=clip.model_set_hash,
            quality=dict(clip.quality),
            sealed=sealed,
            created_at=self._writes.clock.now(),
        )
        statement = statement.on_conflict_do_nothing()
        return bool((await self._writes.write(statement.returning(enrollment_clips.c.clip_id))).rows)

    async def close(
        self, tenant_id: str, enrollment_id: str, state: EnrollmentState, *, profile_version: int = 0
    ) -> Enrollment:
        """PENDING → LOCKED (with the profile's version) or ABANDONED. NotFound; Conflict where it is closed already."""
        if (state == "LOCKED") != (profile_version > 0) or state == "PENDING":
            raise ValueError("an enrolment closes as LOCKED with a profile or as ABANDONED without one")
        enrollment = await self._locked(tenant_id, enrollment_id)
        if enrollment.state != "PENDING":
            raise Conflict(f"enrollment {enrollment_id!r} is {enrollment.state}")
        closed = update(enrollments).where(*_is(tenant_id, enrollment_id))
        changed = closed.values(state=state, closed_at=self._writes.clock.now(), profile_version=profile_version)
        written = await self._writes.write(changed.returning(enrollments))
        return _enrollment(written.rows[0])

    async def _locked(self, tenant_id: str, enrollment_id: str) -> Enrollment:
        found = select(enrollments).where(*_is(tenant_id, enrollment_id)).with_for_update()
        rows = await self._writes.rows(found)
        if not rows:
            raise NotFound(f"enrollment {enrollment_id!r}")
        return _enrollment(rows[0])


def _is(tenant_id: str, enrollment_id: str) -> tuple[Any, ...]:
    return (enrollments.c.tenant_id == tenant_id, enrollments.c.enrollment_id == enrollment_id)


def _enrollment(row: Row[Any]) -> Enrollment:
    return Enrollment(
        tenant_id=row.tenant_id,
        enrollment_id=row.enrollment_id,
        user_id=row.user_id,
        device_id=row.device_id,
        state=row.state,
        consent_ref=row.consent_ref,
        created_at=row.created_at,
        closed_at=row.closed_at,
        profile_version=row.profile_version,
    )
