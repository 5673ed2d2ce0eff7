"""Voice profiles: appended by version, one current per user; a gallery that tells when it is stale (§38.12).

Every change of a tenant's profiles raises its `gallery_version` by one. A server keeps the decrypted gallery, compares
the version (one indexed read) and fetches only what changed since.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, Select, and_, bindparam, delete, func, select, update

from store.access import Reads, Writes
from store.errors import Conflict, KeyDestroyed, NotFound, SealBroken
from store.schema import fingerprints, galleries, profile_pointers, profiles, subject_keys
from store.vault import Vault, VaultReader

PROFILE_PURPOSE = "voiceid.profile"

ProfileState = Literal["LOCKED", "SUPERSEDED", "REVOKED"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One version of a user's profile, without its embedding."""

    tenant_id: str
    user_id: str
    profile_version: int
    state: ProfileState
    model_set_hash: str
    clip_count: int
    voiced_ms: int
    consent_ref: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """A user's current profile. `embedding` is None where it is REVOKED or cannot be opened: take it out."""

    user_id: str
    profile_version: int
    gallery_version: int
    state: ProfileState
    model_set_hash: str
    clip_count: int
    voiced_ms: int
    expires_at: datetime | None
    embedding: bytes | None


_GALLERY_VERSION = select(galleries.c.gallery_version).where(galleries.c.tenant_id == bindparam("tenant"))


class ProfilesReader:
    """Reading profiles and the gallery."""

    def __init__(self, reads: Reads, vault: VaultReader) -> None:
        self._reads = reads
        self._opener = vault

    async def current(self, tenant_id: str, user_id: str) -> Profile | None:
        """The user's current profile, LOCKED or REVOKED; None before the first."""
        page = await self._profiles(
            _versions().where(
                profiles.c.tenant_id == tenant_id,
                profiles.c.user_id == user_id,
                profiles.c.profile_version == profile_pointers.c.profile_version,
            )
        )
        return page[0] if page else None

    async def versions(self, tenant_id: str, user_id: str) -> list[Profile]:
        """Every version, oldest first."""
        chosen = _versions().where(profiles.c.tenant_id == tenant_id, profiles.c.user_id == user_id)
        return await self._profiles(chosen.order_by(profiles.c.profile_version))

    async def page(self, tenant_id: str, *, after_user_id: str = "", limit: int = 100) -> list[Profile]:
        """Up to `limit` current profiles of users above `after_user_id`, in order of user id."""
        chosen = _versions().where(
            profiles.c.tenant_id == tenant_id,
            profiles.c.user_id > after_user_id,
            profiles.c.profile_version == profile_pointers.c.profile_version,
        )
        return await self._profiles(chosen.order_by(profiles.c.user_id).limit(limit))

    async def embedding(self, tenant_id: str, user_id: str) -> GalleryEntry:
        """The user's current profile with its embedding, for a 1:1 claim. NotFound."""
        chosen = _gallery(tenant_id).where(profile_pointers.c.user_id == user_id)
        rows = await self._reads.rows(chosen)
        if not rows:
            raise NotFound(f"user {user_id!r} has no profile")
        return self._entry(tenant_id, rows[0])

    async def gallery_version(self, tenant_id: str) -> int:
        """Raised by one with every change of the tenant's profiles; 0 before the first."""
        rows = await self._reads.rows(_GALLERY_VERSION, {"tenant": tenant_id})
        return int(rows[0].gallery_version) if rows else 0

    async def gallery(self, tenant_id: str, *, since: int = 0) -> AsyncIterator[GalleryEntry]:
        """Current profiles changed after gallery version `since`, opened; with `since=0` only LOCKED ones.

        Read `gallery_version` first and remember that value: what changes meanwhile then comes again, never lost.
        WrongMasterKey, StoreUnavailable.
        """
        chosen = _gallery(tenant_id).where(profile_pointers.c.gallery_version > since)
        if since == 0:
            chosen = chosen.where(profile_pointers.c.state == "LOCKED")
        async for row in self._reads.stream(chosen):
            yield self._entry(tenant_id, row)

    async def _profiles(self, statement: Select[Any]) -> list[Profile]:
        return [_profile(row) for row in await self._reads.rows(statement)]

    def _entry(self, tenant_id: str, row: Row[Any]) -> GalleryEntry:
        return GalleryEntry(
            user_id=row.user_id,
            profile_version=row.profile_version,
            gallery_version=row.gallery_version,
            state=row.state,
            model_set_hash=row.model_set_hash,
            clip_count=row.clip_count,
            voiced_ms=row.voiced_ms,
            expires_at=row.expires_at,
            embedding=self._opened(tenant_id, row),
        )

    def _opened(self, tenant_id: str, row: Row[Any]) -> bytes | None:
        """One damaged row must not take the whole gallery down: it is left out, like a revoked one."""
        if row.state != "LOCKED" or row.key_id is None:
            return None
        try:
            key = self._opener.unwrapped(tenant_id, row.user_id, row)
            return key.open(PROFILE_PURPOSE, bytes(row.sealed))
        except (KeyDestroyed, SealBroken):
            return None


class Profiles(ProfilesReader):
    """Changing profiles inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault) -> None:
        super().__init__(writes, vault)
        self._writes = writes
        self._vault = vault

    async def lock(
        self,
        tenant_id: str,
        user_id: str,
        *,
        embedding: bytes,
        model_set_hash: str,
        clip_count: int,
        voiced_ms: int,
        consent_ref: str,
        expires_at: datetime | None = None,
    ) -> Profile:
        """Append the next version and make it current; the one before is SUPERSEDED. ValueError without consent."""
        if not consent_ref:
            raise ValueError("a profile needs consent")
        gallery_version = await self.raise_version(tenant_id)
        profile = Profile(
            tenant_id=tenant_id,
            user_id=user_id,
            profile_version=await self._next_version(tenant_id, user_id),
            state="LOCKED",
            model_set_hash=model_set_hash,
            clip_count=clip_count,
            voiced_ms=voiced_ms,
            consent_ref=consent_ref,
            created_at=self._writes.clock.now(),
            expires_at=expires_at,
        )
        sealed = await self._vault.seal(tenant_id, user_id, PROFILE_PURPOSE, embedding)
        columns = {name: value for name, value in asdict(profile).items() if name != "state"}
        await self._writes.write(self._writes.insert(profiles).values(**columns, sealed=sealed))
        await self._point(profile, gallery_version)
        return profile

    async def revoke(self, tenant_id: str, user_id: str) -> Profile:
        """Take the user out of the gallery and destroy the key: embeddings, clips and fingerprints become unreadable.

        NotFound; Conflict where it is revoked already. The user may enrol again under a new key.
        """
        gallery_version = await self.raise_version(tenant_id)
        before = await self.current(tenant_id, user_id)
        if before is None:
            raise NotFound(f"user {user_id!r} has no profile")
        if before.state == "REVOKED":
            raise Conflict(f"the profile of user {user_id!r} is REVOKED")
        pointer = and_(profile_pointers.c.tenant_id == tenant_id, profile_pointers.c.user_id == user_id)
        moved = update(profile_pointers).where(pointer)
        await self._writes.write(
            moved.values(state="REVOKED", gallery_version=gallery_version, updated_at=self._writes.clock.now())
        )
        await self._vault.destroy(tenant_id, user_id)
        await self._writes.write(
            delete(fingerprints).where(fingerprints.c.tenant_id == tenant_id, fingerprints.c.user_id == user_id)
        )
        revoked = await self.current(tenant_id, user_id)
        if revoked is None:
            raise NotFound(f"user {user_id!r} has no profile")
        return revoked

    async def _point(self, profile: Profile, gallery_version: int) -> None:
        moved = {
            "profile_version": profile.profile_version,
            "state": profile.state,
            "gallery_version": gallery_version,
            "updated_at": profile.created_at,
        }
        pointed = self._writes.insert(profile_pointers).values(
            tenant_id=profile.tenant_id, user_id=profile.user_id, **moved
        )
        await self._writes.write(
            pointed.on_conflict_do_update(index_elements=list(profile_pointers.primary_key), set_=moved)
        )

    async def raise_version(self, tenant_id: str) -> int:
        """The next gallery version. Also serialises the tenant's profile changes: its row stays locked until the
        transaction ends.
        """
        raised = self._writes.insert(galleries).values(tenant_id=tenant_id, gallery_version=1)
        raised = raised.on_conflict_do_update(
            index_elements=list(galleries.primary_key), set_={"gallery_version": galleries.c.gallery_version + 1}
        )
        written = await self._writes.write(raised.returning(galleries.c.gallery_version))
        return int(written.rows[0].gallery_version)

    async def _next_version(self, tenant_id: str, user_id: str) -> int:
        latest = select(func.coalesce(func.max(profiles.c.profile_version), 0).label("version")).where(
            profiles.c.tenant_id == tenant_id, profiles.c.user_id == user_id
        )
        (row,) = await self._writes.rows(latest)
        return int(row.version) + 1


def _versions() -> Select[Any]:
    """Versions beside the pointer that gives each its state."""
    same_user = and_(
        profile_pointers.c.tenant_id == profiles.c.tenant_id, profile_pointers.c.user_id == profiles.c.user_id
    )
    pointed = (profile_pointers.c.profile_version.label("pointed"), profile_pointers.c.state)
    return select(profiles, *pointed).join(profile_pointers, same_user)


def _gallery(tenant_id: str) -> Select[Any]:
    """Pointers with their profile and wrapped key in one pass: no query per user."""
    version = and_(
        profiles.c.tenant_id == profile_pointers.c.tenant_id,
        profiles.c.user_id == profile_pointers.c.user_id,
        profiles.c.profile_version == profile_pointers.c.profile_version,
    )
    key = and_(subject_keys.c.tenant_id == profiles.c.tenant_id, subject_keys.c.subject_id == profiles.c.user_id)
    return (
        select(
            profile_pointers.c.user_id,
            profile_pointers.c.profile_version,
            profile_pointers.c.gallery_version,
            profile_pointers.c.state,
            profiles.c.model_set_hash,
            profiles.c.clip_count,
            profiles.c.voiced_ms,
            profiles.c.expires_at,
            profiles.c.sealed,
            subject_keys.c.key_id,
            subject_keys.c.master_key_id,
            subject_keys.c.wrapped,
        )
        .join_from(profile_pointers, profiles, version)
        .outerjoin(subject_keys, key)
        .where(profile_pointers.c.tenant_id == tenant_id)
    )


def _profile(row: Row[Any]) -> Profile:
    return Profile(
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        profile_version=row.profile_version,
        state=row.state if row.profile_version == row.pointed else "SUPERSEDED",
        model_set_hash=row.model_set_hash,
        clip_count=row.clip_count,
        voiced_ms=row.voiced_ms,
        consent_ref=row.consent_ref,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
