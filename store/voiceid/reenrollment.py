"""Users whom drift asks to enrol again (§38.6): governance asks, the next decision that names the user tells it, once.

One row a user. Whoever tells first changes it, so two servers cannot both tell; and what was asked for too early waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Row, bindparam, case, or_, select, update

from store.access import Reads, Writes, for_dialects
from store.schema import Instant, profile_pointers, reenrollments


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user is asked for. The cause is the contract's number; `told_at` is when they last were told anything."""

    user_id: str
    cause: int
    asked_at: datetime
    tell_from: datetime
    told_at: datetime | None


_OF = (reenrollments.c.tenant_id == bindparam("tenant"), reenrollments.c.user_id == bindparam("user"))
_NOW = bindparam("now", type_=Instant)
_AGAIN = reenrollments.c.told_at + bindparam("every", type_=BigInteger)
_GET = select(reenrollments).where(*_OF)
_ASK = for_dialects(
    lambda insert: (
        insert(reenrollments)
        .values(
            tenant_id=bindparam("tenant"),
            user_id=bindparam("user"),
            cause=bindparam("why"),
            asked_at=_NOW,
            tell_from=_NOW,
        )
        .on_conflict_do_update(
            index_elements=list(reenrollments.primary_key),
            set_={
                "cause": bindparam("why"),
                "asked_at": _NOW,
                "tell_from": case((_AGAIN > _NOW, _AGAIN), else_=_NOW),
            },
        )
    )
)
_LOCKED_SINCE = (
    select(profile_pointers.c.user_id)
    .where(
        profile_pointers.c.tenant_id == reenrollments.c.tenant_id,
        profile_pointers.c.user_id == reenrollments.c.user_id,
        profile_pointers.c.state == "LOCKED",
        profile_pointers.c.updated_at > reenrollments.c.asked_at,
    )
    .exists()
)
_TELL = (
    update(reenrollments)
    .where(
        *_OF,
        or_(reenrollments.c.told_at.is_(None), reenrollments.c.told_at < reenrollments.c.asked_at),
        reenrollments.c.tell_from <= _NOW,
        ~_LOCKED_SINCE,
    )
    .values(told_at=_NOW)
    .returning(*reenrollments.c)
)


class ReEnrollmentsReader:
    """Reading what users are asked for."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, tenant_id: str, user_id: str) -> Asked | None:
        """What a user was last asked for, told or not; None where drift never asked."""
        rows = await self._reads.rows(_GET, {"tenant": tenant_id, "user": user_id})
        return _asked(rows[0]) if rows else None


class ReEnrollments(ReEnrollmentsReader):
    """Asking and telling inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def ask(self, tenant_id: str, user_id: str, cause: int, now: datetime, every: timedelta) -> None:
        """Have a user told: at once, or `every` after they last were. What was asked before and not told is over."""
        asked = {
            "tenant": tenant_id,
            "user": user_id,
            "why": cause,
            "now": now,
            "every": every // timedelta(microseconds=1),
        }
        await self._writes.write(_ASK[self._writes.dialect], asked)

    async def tell(self, tenant_id: str, user_id: str, now: datetime) -> Asked | None:
        """What this caller, and nobody else, is to tell the user now; None where there is nothing.

        There is nothing for who was told since it was asked for, may not be told yet, or has enrolled again since.
        """
        told = {"tenant": tenant_id, "user": user_id, "now": now}
        rows = (await self._writes.write(_TELL, told)).rows
        return _asked(rows[0]) if rows else None


def _asked(row: Row[Any]) -> Asked:
    return Asked(row.user_id, row.cause, row.asked_at, row.tell_from, row.told_at)
