"""What is left of users in voice identity once their consent ended: nothing that they can be known by (§21, §38.12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import LargeBinary, Select, bindparam, delete, func, select, union, update

from store.access import Writes
from store.schema import enrollment_clips, enrollments, fingerprints, profile_pointers, profiles, reenrollments
from store.vault import KEY_ID_BYTES, Vault
from store.voiceid.profile import Profiles

AT_ONCE = 500
"""Users or keys of one statement: what it binds stays below every database's limit."""


@dataclass(frozen=True, slots=True)
class ErasedVoice:
    """The keys that were destroyed, and how many embeddings of profiles, clips and fingerprints lay under them."""

    key_ids: tuple[bytes, ...] = ()
    profiles: int = 0
    clips: int = 0
    fingerprints: int = 0


def _known(table: Any) -> Select[Any]:
    return select(table.c.user_id).where(table.c.tenant_id == bindparam("tenant"))


def _of_users(table: Any) -> tuple[Any, ...]:
    return (
        table.c.tenant_id == bindparam("tenant"),
        table.c.user_id.in_(bindparam("users", expanding=True)),
    )


def _under_keys(table: Any) -> Any:
    """Whether a row lies under one of these keys: sealed bytes say of which behind their first byte."""
    key_id = func.substr(table.c.sealed, 2, KEY_ID_BYTES, type_=LargeBinary)
    return key_id.in_(bindparam("keys", expanding=True))


_EVERYONE = union(_known(profile_pointers), _known(enrollments), _known(reenrollments), _known(fingerprints))
_TAKE_OUT = (
    update(profile_pointers)
    .where(*_of_users(profile_pointers), profile_pointers.c.state == "LOCKED")
    .values(state="REVOKED", gallery_version=bindparam("raised"), updated_at=bindparam("at"))
)
_ABANDON = (
    update(enrollments)
    .where(*_of_users(enrollments), enrollments.c.state == "PENDING")
    .values(state="ABANDONED", closed_at=bindparam("at"))
)
_ASK_NO_MORE = delete(reenrollments).where(*_of_users(reenrollments))
_FORGET = delete(fingerprints).where(*_of_users(fingerprints))
_MANY = func.count().label("many")
_PROFILES = select(_MANY).select_from(profiles).where(*_of_users(profiles), _under_keys(profiles))
_CLIPS = (
    select(_MANY)
    .select_from(enrollment_clips)
    .where(
        enrollment_clips.c.tenant_id == bindparam("tenant"),
        enrollment_clips.c.enrollment_id.in_(select(enrollments.c.enrollment_id).where(*_of_users(enrollments))),
        _under_keys(enrollment_clips),
    )
)


class Erasures:
    """Erasing within one transaction; the caller audits."""

    def __init__(self, writes: Writes, vault: Vault, gallery: Profiles) -> None:
        self._writes = writes
        self._vault = vault
        self._gallery = gallery

    async def erase(self, tenant_id: str, user_id: str) -> ErasedVoice:
        """Take a user, or for the empty one everyone, out of the gallery and destroy their keys.

        Embeddings, clips, fingerprints, and commitments in the audit trail can be read and linked by nobody any more;
        enrolments that were going on are abandoned, and nobody is told to enrol again. Who consents again enrols again.
        """
        users = [user_id] if user_id else await self._everyone(tenant_id)
        if not users:
            return ErasedVoice()
        # First, as for every change of profiles: it keeps others from locking one meanwhile.
        raised = await self._gallery.raise_version(tenant_id)
        found = ErasedVoice()
        for start in range(0, len(users), AT_ONCE):
            some = await self._erased(tenant_id, users[start : start + AT_ONCE], raised)
            found = ErasedVoice(
                tuple(sorted((*found.key_ids, *some.key_ids))),
                found.profiles + some.profiles,
                found.clips + some.clips,
                found.fingerprints + some.fingerprints,
            )
        return found

    async def _everyone(self, tenant_id: str) -> list[str]:
        return sorted(row.user_id for row in await self._writes.rows(_EVERYONE, {"tenant": tenant_id}))

    async def _erased(self, tenant_id: str, users: Sequence[str], raised: int) -> ErasedVoice:
        which = {"tenant": tenant_id, "users": users}
        now = self._writes.clock.now()
        await self._writes.write(_TAKE_OUT, {**which, "raised": raised, "at": now})
        await self._writes.write(_ABANDON, {**which, "at": now})
        # Before the fingerprints, as a decision changes them: neither then waits for the other.
        await self._writes.write(_ASK_NO_MORE, which)
        forgotten = (await self._writes.write(_FORGET, which)).count
        key_ids = await self._vault.destroy_all(tenant_id, users)
        under = {**which, "keys": key_ids}
        embeddings, clips = [int((await self._writes.rows(one, under))[0].many) for one in (_PROFILES, _CLIPS)]
        return ErasedVoice(tuple(key_ids), embeddings, clips, forgotten)
