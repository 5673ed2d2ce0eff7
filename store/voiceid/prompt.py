"""Ask-once (VID.CONF.9): one prompt per session and cooldown and one retry after it, claimed so that two servers cannot
both have it. Beside it the retries of §38.5's conflicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, literal_column, select, update

from store.access import Reads, Writes, for_dialects
from store.schema import conflict_retries, prompt_budgets, prompt_cooldowns, prompt_retries

_OF_SESSION = (
    prompt_retries.c.tenant_id == bindparam("tenant"),
    prompt_retries.c.session_id == bindparam("session"),
    prompt_retries.c.device_id == bindparam("device"),
)
_SPENT = (
    select(conflict_retries.c.state, conflict_retries.c.retries)
    .where(conflict_retries.c.tenant_id == bindparam("tenant"), conflict_retries.c.session_id == bindparam("session"))
    .union_all(select(literal_column("''").label("state"), prompt_retries.c.retries).where(*_OF_SESSION))
)
_CLEAR_RETRIES = delete(conflict_retries).where(
    conflict_retries.c.tenant_id == bindparam("tenant"),
    conflict_retries.c.session_id == bindparam("session"),
    conflict_retries.c.state.in_(bindparam("states", expanding=True)),
)
_AWAIT_RETRY = for_dialects(
    lambda insert: (
        insert(prompt_retries)
        .values(
            tenant_id=bindparam("tenant"),
            session_id=bindparam("session"),
            device_id=bindparam("device"),
            retries=0,
            spent_at=bindparam("at"),
        )
        .on_conflict_do_nothing()
        .returning(prompt_retries.c.retries)
    )
)
_RETRY = (
    update(prompt_retries)
    .where(*_OF_SESSION)
    .values(retries=prompt_retries.c.retries + 1, spent_at=bindparam("at"))
    .returning(prompt_retries.c.retries)
)
_AWAIT_NO_RETRY = delete(prompt_retries).where(*_OF_SESSION, prompt_retries.c.retries <= bindparam("most"))
_GIVE_BACK = (
    update(prompt_budgets)
    .where(prompt_budgets.c.tenant_id == bindparam("tenant"), prompt_budgets.c.session_key == bindparam("key"))
    .values(used=prompt_budgets.c.used - 1)
)
_SPEND = for_dialects(
    lambda insert: (
        insert(prompt_budgets)
        .values(tenant_id=bindparam("tenant"), session_key=bindparam("key"), used=1, spent_at=bindparam("at"))
        .on_conflict_do_update(
            index_elements=list(prompt_budgets.primary_key),
            set_={"used": prompt_budgets.c.used + 1, "spent_at": bindparam("at")},
            where=prompt_budgets.c.used < bindparam("most"),
        )
        .returning(prompt_budgets.c.used)
    )
)
_START_COOLDOWN = for_dialects(
    lambda insert: (
        insert(prompt_cooldowns)
        .values(tenant_id=bindparam("tenant"), cooldown_key=bindparam("key"), until=bindparam("to"))
        .on_conflict_do_update(
            index_elements=list(prompt_cooldowns.primary_key),
            set_={"until": bindparam("to")},
            where=prompt_cooldowns.c.until <= bindparam("from"),
        )
        .returning(prompt_cooldowns.c.until)
    )
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Retries that a session has spent: by conflict state (§38.5), and after its identity prompt, where one waits for
    its retry or had it and is still without a name; else None.
    """

    conflicts: Mapping[str, int]
    after_prompt: int | None


class PromptsReader:
    """Reading budgets, cooldowns and retries."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def used(self, tenant_id: str, session_key: bytes) -> int:
        """How many prompts the session has spent."""
        chosen = select(prompt_budgets.c.used).where(
            prompt_budgets.c.tenant_id == tenant_id, prompt_budgets.c.session_key == session_key
        )
        rows = await self._reads.rows(chosen)
        return int(rows[0].used) if rows else 0

    async def cooldown_until(self, tenant_id: str, cooldown_key: bytes) -> datetime | None:
        """Until when nothing may be asked; None where nothing was asked or it was cleared."""
        chosen = select(prompt_cooldowns.c.until).where(
            prompt_cooldowns.c.tenant_id == tenant_id, prompt_cooldowns.c.cooldown_key == cooldown_key
        )
        rows = await self._reads.rows(chosen)
        return rows[0].until if rows else None

    async def spent(self, tenant_id: str, session_id: str, device_id: str) -> Spent:
        """Retries spent in this session; those after a prompt are the device's."""
        found = await self._reads.rows(_SPENT, _key(tenant_id, session_id, device_id))
        counted = {row.state: row.retries for row in found}
        after_prompt = counted.pop("", None)
        return Spent(counted, after_prompt)


class Prompts(PromptsReader):
    """Spending inside a transaction; the caller audits."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def claim(
        self,
        tenant_id: str,
        session_key: bytes,
        cooldown_key: bytes,
        *,
        session_id: str,
        device_id: str,
        max_per_session: int,
        cooldown: timedelta,
        now: datetime,
    ) -> bool:
        """Whether this caller, and nobody else, may ask now; if so the budget is spent, the cooldown starts and the
        session waits for its retry. It may not while the session still waits, whoever was asked.

        Keys are the caller's hashes of the two state keys. A cooldown ends only when `now` reaches it, so a clock that
        went backwards makes the wait longer, never shorter.
        """
        if max_per_session < 1 or not await self._spend(tenant_id, session_key, max_per_session, now):
            return False
        waits = {**_key(tenant_id, session_id, device_id), "at": now}
        if (await self._writes.write(_AWAIT_RETRY[self._writes.dialect], waits)).rows:
            if await self._start_cooldown(tenant_id, cooldown_key, now, now + cooldown):
                return True
            await self.answered(tenant_id, session_id, device_id, at_most=0)
        await self._give_back(tenant_id, session_key)
        return False

    async def retry(self, tenant_id: str, session_id: str, device_id: str, now: datetime) -> int | None:
        """Spend the retry that the session waits for and return how many are spent now; None where it waits for none.

        Of two that hear the session at once, one is told 1.
        """
        spent = {**_key(tenant_id, session_id, device_id), "at": now}
        rows = (await self._writes.write(_RETRY, spent)).rows
        return int(rows[0].retries) if rows else None

    async def answered(self, tenant_id: str, session_id: str, device_id: str, *, at_most: int) -> bool:
        """The session's prompt has its answer, after `at_most` retries: it waits for none. False where it did not."""
        answered = {**_key(tenant_id, session_id, device_id), "most": at_most}
        return (await self._writes.write(_AWAIT_NO_RETRY, answered)).count > 0

    async def clear_cooldown(self, tenant_id: str, cooldown_key: bytes) -> bool:
        """After an explicit, successful confirmation. False where there was none. The session's budget stays spent."""
        chosen = delete(prompt_cooldowns).where(
            prompt_cooldowns.c.tenant_id == tenant_id, prompt_cooldowns.c.cooldown_key == cooldown_key
        )
        return (await self._writes.write(chosen)).count > 0

    async def count_retry(self, tenant_id: str, session_id: str, state: str) -> int:
        """Spend one retry of a conflict state and return how many are spent now."""
        now = self._writes.clock.now()
        counted = self._writes.insert(conflict_retries).values(
            tenant_id=tenant_id, session_id=session_id, state=state, retries=1, spent_at=now
        )
        counted = counted.on_conflict_do_update(
            index_elements=list(conflict_retries.primary_key),
            set_={"retries": conflict_retries.c.retries + 1, "spent_at": now},
        )
        written = await self._writes.write(counted.returning(conflict_retries.c.retries))
        return int(written.rows[0].retries)

    async def clear_retries(self, tenant_id: str, session_id: str, states: Sequence[str]) -> int:
        """These conflicts of the session are resolved: each starts over. How many of them had retries spent."""
        resolved = {"tenant": tenant_id, "session": session_id, "states": states}
        return (await self._writes.write(_CLEAR_RETRIES, resolved)).count

    async def _spend(self, tenant_id: str, session_key: bytes, most: int, now: datetime) -> bool:
        spent = {"tenant": tenant_id, "key": session_key, "most": most, "at": now}
        return bool((await self._writes.write(_SPEND[self._writes.dialect], spent)).rows)

    async def _start_cooldown(self, tenant_id: str, cooldown_key: bytes, now: datetime, until: datetime) -> bool:
        started = {"tenant": tenant_id, "key": cooldown_key, "from": now, "to": until}
        return bool((await self._writes.write(_START_COOLDOWN[self._writes.dialect], started)).rows)

    async def _give_back(self, tenant_id: str, session_key: bytes) -> None:
        await self._writes.write(_GIVE_BACK, {"tenant": tenant_id, "key": session_key})


def _key(tenant_id: str, session_id: str, device_id: str) -> dict[str, str]:
    return {"tenant": tenant_id, "session": session_id, "device": device_id}
