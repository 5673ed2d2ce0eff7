"""Consents to be learned from, and what is being done where one ended (§21)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from selene.governance.v1.consent_pb2 import Revocation
from sqlalchemy import (
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from store.access import Reads, Writes
from store.errors import Conflict
from store.governance.tables import OPEN, consents, revocations
from store.learning.row import OF_LEARNING, subject_of
from store.learning.tables import NAMED, signals
from store.schema import Instant, subject_keys

AT_ONCE = 500
"""Ids of one look-up: what a statement binds stays below every database's limit."""


FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class KeptConsent:
    """A consent as it stands."""

    tenant_id: str
    user_id: str
    granted_at: datetime
    expires_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class KeptRevocation:
    """A revocation as it stands, and how many signals it is about."""

    message: Revocation
    signals: int


def _of_these(table: Any) -> tuple[Any, ...]:
    return (table.c.tenant_id == bindparam("tenant"), table.c.user_id.in_(bindparam("users", expanding=True)))


# Of a consent that is over there is no time from which on.
_REVOKED_UNTIL = union_all(
    select(revocations.c.user_id, func.max(revocations.c.captured_at).label("until"))
    .where(*_of_these(revocations))
    .group_by(revocations.c.user_id),
    select(consents.c.user_id, null()).where(
        *_of_these(consents),
        or_(consents.c.ended_at.is_not(None), consents.c.expires_at <= bindparam("now", type_=Instant)),
    ),
)


class ConsentsReader:
    """Reading consents and revocations. Everything raises StoreUnavailable."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def get(self, tenant_id: str, user_id: str) -> KeptConsent | None:
        """A user's consent; None where none was ever given."""
        rows = await self._reads.rows(select(consents).where(*_user(tenant_id, user_id)))
        return _consent(rows[0]) if rows else None

    async def revocation(self, tenant_id: str, revocation_id: str) -> KeptRevocation | None:
        """A revocation as it stands; None where this tenant has none."""
        rows = await self._reads.rows(select(revocations).where(*_is(tenant_id, revocation_id)))
        return _revocation(rows[0]) if rows else None

    async def page(
        self, tenant_id: str, *, limit: int, only_open: bool, before: tuple[datetime, str] | None = None
    ) -> list[Revocation]:
        """Up to `limit` revocations, latest first. `before`: when the page's last was captured, and its id."""
        table = revocations.c
        found = select(revocations).where(table.tenant_id == tenant_id)
        if only_open:
            found = found.where(OPEN)
        if before is not None:
            at, last = bindparam("at", before[0], type_=Instant), bindparam("last", before[1], type_=Text)
            found = found.where(tuple_(table.captured_at, table.revocation_id) < tuple_(at, last))
        found = found.order_by(table.captured_at.desc(), table.revocation_id.desc()).limit(limit)
        return [_revocation(row).message for row in await self._reads.rows(found)]

    async def open(self, *, limit: int) -> list[tuple[str, str]]:
        """Tenant and id of revocations with steps to do, oldest first."""
        found = select(revocations.c.tenant_id, revocations.c.revocation_id).where(OPEN)
        rows = await self._reads.rows(
            found.order_by(revocations.c.captured_at, revocations.c.revocation_id).limit(limit)
        )
        return [(row.tenant_id, row.revocation_id) for row in rows]

    async def expired(self, now: datetime, *, limit: int) -> list[tuple[str, str]]:
        """Tenant and user of consents that have run out and were not ended yet."""
        table = consents.c
        found = select(table.tenant_id, table.user_id).where(table.ended_at.is_(None), table.expires_at <= now)
        rows = await self._reads.rows(found.order_by(table.expires_at, table.tenant_id, table.user_id).limit(limit))
        return [(row.tenant_id, row.user_id) for row in rows]

    async def signal_ids(self, tenant_id: str, user_id: str, until: datetime) -> list[str]:
        """The signals of a user that were captured until then; of everyone in the tenant for the empty user.

        Not those that were erased: nothing tells any more whose they were.
        """
        found = select(signals.c.signal_id).where(signals.c.tenant_id == tenant_id, signals.c.captured_at <= until)
        if user_id:
            key_id = select(subject_keys.c.key_id).where(
                subject_keys.c.tenant_id == tenant_id, subject_keys.c.subject_id == subject_of(user_id)
            )
            named = and_(NAMED, signals.c.user_id == user_id)
            found = found.where(or_(signals.c.key_id == key_id.scalar_subquery(), named))
        return [row.signal_id for row in await self._reads.rows(found.order_by(signals.c.sequence))]

    async def revoked_until(self, tenant_id: str, user_ids: Collection[str], now: datetime) -> dict[str, datetime]:
        """Until when nothing that happened to these users may be taken on: for ever where the consent is over, else
        until it last was. Nobody else is among them.
        """
        until: dict[str, datetime] = {}
        asked = sorted(set(user_ids))
        for start in range(0, len(asked), AT_ONCE):
            some = asked[start : start + AT_ONCE]
            rows = await self._reads.rows(_REVOKED_UNTIL, {"tenant": tenant_id, "users": ["", *some], "now": now})
            found = [(row.user_id, row.until or FOR_EVER) for row in rows]
            for whose, at in found:
                for user_id in (whose,) if whose else some:
                    until[user_id] = max(at, until.get(user_id, at))
        return until

    async def any_ended(self, tenant_id: str, signal_ids: Collection[str], now: datetime) -> bool:
        """Whether some of these signals is of a user who does not consent, or revoked since it was captured.

        What was revoked stays so, also where the user consents again.
        """
        for found in _ended(tenant_id, signal_ids, now):
            if await self._reads.rows(found.limit(1)):
                return True
        return False

    async def ended(self, tenant_id: str, signal_ids: Collection[str], now: datetime) -> set[str]:
        """Those of these signals that `any_ended` is about."""
        return {row.signal_id for found in _ended(tenant_id, signal_ids, now) for row in await self._reads.rows(found)}


class Consents(ConsentsReader):
    """Writing consents and revocations, within one transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def grant(self, tenant_id: str, user_id: str, expires_at: datetime | None) -> KeptConsent:
        """Give consent from now on, also where an earlier one ended: what was revoked stays revoked."""
        values = {"granted_at": self._writes.clock.now(), "expires_at": expires_at, "ended_at": None}
        made = self._writes.insert(consents).values(tenant_id=tenant_id, user_id=user_id, **values)
        made = made.on_conflict_do_update(index_elements=list(consents.primary_key), set_=values)
        return _consent((await self._writes.write(made.returning(*consents.c))).rows[0])

    async def end(self, tenant_id: str, user_id: str) -> None:
        """End a user's consent, or everyone's in the tenant; one that was never given is noted as ended."""
        now = self._writes.clock.now()
        if user_id:
            made = self._writes.insert(consents).values(
                tenant_id=tenant_id, user_id=user_id, granted_at=now, expires_at=None, ended_at=now
            )
            await self._writes.write(
                made.on_conflict_do_update(index_elements=list(consents.primary_key), set_={"ended_at": now})
            )
            return
        running = update(consents).where(consents.c.tenant_id == tenant_id, consents.c.ended_at.is_(None))
        await self._writes.write(running.values(ended_at=now))

    async def claim_expired(self, tenant_id: str, user_id: str, now: datetime) -> bool:
        """Whether this consent has run out and nobody has ended it yet; then it is locked."""
        table = consents.c
        found = select(table.user_id).where(
            *_user(tenant_id, user_id), table.ended_at.is_(None), table.expires_at <= now
        )
        return bool(await self._writes.rows(found.with_for_update(skip_locked=True)))

    async def capture(self, revocation: Revocation, signals_revoked: int) -> None:
        """Keep a new revocation, as revision 1."""
        revocation.revision = 1
        values = {
            "tenant_id": revocation.tenant_id,
            "revocation_id": revocation.revocation_id,
            "user_id": revocation.user_id,
            "captured_at": self._writes.clock.now(),
            "next_step": revocation.next_step,
            "revision": revocation.revision,
            "signal_count": signals_revoked,
            "body": revocation.SerializeToString(deterministic=True),
        }
        await self._writes.write(self._writes.insert(revocations).values(**values))

    async def claim(self, tenant_id: str, revocation_id: str) -> KeptRevocation | None:
        """A revocation with steps to do, locked; None where another controller works on it, or all are done."""
        found = select(revocations).where(*_is(tenant_id, revocation_id), OPEN).with_for_update(skip_locked=True)
        rows = await self._writes.rows(found)
        return _revocation(rows[0]) if rows else None

    async def save(self, revocation: Revocation) -> None:
        """Keep what became of it. Conflict where it was changed since it was read."""
        before, revocation.revision = revocation.revision, revocation.revision + 1
        changed = (
            update(revocations)
            .where(*_is(revocation.tenant_id, revocation.revocation_id), revocations.c.revision == before)
            .values(
                next_step=revocation.next_step,
                revision=revocation.revision,
                body=revocation.SerializeToString(deterministic=True),
            )
        )
        if not (await self._writes.write(changed)).count:
            raise Conflict(f"revocation {revocation.revocation_id} has gone on")


def _ended(tenant_id: str, signal_ids: Collection[str], now: datetime) -> Iterator[Select[Any]]:
    """Statements that find signals which must not be learned from, some ids at a time."""
    ids = sorted(set(signal_ids))
    given, taken = consents.c, revocations.c
    key = subject_keys.c
    held = and_(key.tenant_id == signals.c.tenant_id, key.key_id == signals.c.key_id)
    erased = and_(signals.c.key_id.is_not(None), key.key_id.is_(None))
    user_id = case(
        (signals.c.key_id.is_(None), signals.c.user_id), else_=func.substr(key.subject_id, len(OF_LEARNING) + 1)
    )
    over = exists().where(
        given.tenant_id == signals.c.tenant_id,
        given.user_id == user_id,
        or_(given.ended_at.is_not(None), given.expires_at <= now),
    )
    revoked = exists().where(
        taken.tenant_id == signals.c.tenant_id,
        taken.captured_at >= signals.c.captured_at,
        or_(taken.user_id == user_id, taken.user_id == ""),
    )
    gone = or_(erased, over, revoked)
    for start in range(0, len(ids), AT_ONCE):
        some = signals.c.signal_id.in_(ids[start : start + AT_ONCE])
        found = select(signals.c.signal_id).select_from(signals.outerjoin(subject_keys, held))
        yield found.where(signals.c.tenant_id == tenant_id, some, gone)


def _user(tenant_id: str, user_id: str) -> tuple[Any, ...]:
    return (consents.c.tenant_id == tenant_id, consents.c.user_id == user_id)


def _is(tenant_id: str, revocation_id: str) -> tuple[Any, ...]:
    return (revocations.c.tenant_id == tenant_id, revocations.c.revocation_id == revocation_id)


def _consent(row: Row[Any]) -> KeptConsent:
    return KeptConsent(row.tenant_id, row.user_id, row.granted_at, row.expires_at, row.ended_at)


def _revocation(row: Row[Any]) -> KeptRevocation:
    return KeptRevocation(Revocation.FromString(row.body), row.signal_count)
