"""The control loops (§21, §29, §38.6): consents that run out, steps of revocations, rollouts whose time has come, and
what drift leads to.

Each piece of work is one transaction that first locks what it is about: however many controllers there are, and
wherever one dies, it is done once or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from selene.governance.v1.consent_pb2 import REVOCATION_STEP_UNSPECIFIED, REVOCATION_TRIGGER_EXPIRED_TTL
from selene.governance.v1.rollout_pb2 import ROLLOUT_STATE_RUNNING

from servers.governance import moving, recovering, revoking, trail
from servers.governance.rollout import ROLLBACK_CHECK, Move
from servers.runtime.clock import Clock
from servers.runtime.errors import Refusal
from servers.runtime.logging import raised
from servers.runtime.loops import repeat
from store import Store, StoreError, Transaction

AT_ONCE: Final = 100
"""Pieces of work of one kind that a tick looks for."""

_log = structlog.get_logger("selene.governance")

Work = Callable[[Transaction, str, str], Awaitable[bool]]


class Controller:
    """One of a process. Times are the clock's; only how often it looks is real time."""

    def __init__(self, store: Store, clock: Clock, *, every_s: float) -> None:
        self._store = store
        self._clock = clock
        self._every_s = every_s
        self._beat_at: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look again and again from now on."""
        self._task = asyncio.ensure_future(repeat(self.tick, self._every_s, "the control loops do not turn"))

    async def stop(self) -> None:
        """Never again; what is being done is undone or done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tick(self) -> int:
        """Do everything that is due now; how many pieces of work that was. StoreUnavailable."""
        governance, now = self._store.governance, self._clock.now()
        done = await self._each(await governance.consents.expired(now, limit=AT_ONCE), self._expire)
        while steps := await self._each(await governance.consents.open(limit=AT_ONCE), self._revoke):
            done += steps
        done += await self._each(await governance.rollouts.due(now, limit=AT_ONCE), self._check)
        done += await self._each(await self._store.learning.drift.undecided(AT_ONCE), self._recover)
        if self._beat_at is None or now - self._beat_at >= ROLLBACK_CHECK.every:
            self._beat_at = now
            done += await self._each(await self._regressed(now), self._take_back)
        return done

    async def _regressed(self, now: datetime) -> list[tuple[str, str]]:
        """The heartbeat: it only reads, for mostly there is nothing to do."""
        running = await self._store.governance.rollouts.all_running()
        return [
            (rollout.tenant_id, rollout.rollout_id)
            for rollout in running
            if await moving.regressed(self._store, rollout, now)
        ]

    async def _each(self, found: Sequence[tuple[str, str]], work: Work) -> int:
        """Each in a transaction of its own: one that fails holds up no other, and is tried again at the next tick."""
        done = 0
        for tenant_id, name in found:
            try:
                async with self._store.transaction() as tx:
                    done += await work(tx, tenant_id, name)
            except (Refusal, StoreError) as error:
                _log.error("not done, tried again", work=work.__name__, of=name, cause=type(error).__name__)
            except Exception as error:
                _log.error("not done, tried again", work=work.__name__, of=name, **raised(error))
        return done

    async def _expire(self, tx: Transaction, tenant_id: str, user_id: str) -> bool:
        now = self._clock.now()
        if not await tx.governance.consents.claim_expired(tenant_id, user_id, now):
            return False
        await revoking.begin(tx, tenant_id, user_id, REVOCATION_TRIGGER_EXPIRED_TTL, now, actor=trail.SYSTEM)
        return True

    async def _revoke(self, tx: Transaction, tenant_id: str, revocation_id: str) -> bool:
        kept = await tx.governance.consents.claim(tenant_id, revocation_id)
        if kept is None or kept.message.next_step == REVOCATION_STEP_UNSPECIFIED:
            return False
        await revoking.go_on(tx, kept, self._clock.now())
        return True

    async def _check(self, tx: Transaction, tenant_id: str, rollout_id: str) -> bool:
        now = self._clock.now()
        await tx.governance.rollouts.one_at_a_time(tenant_id)
        rollout = await tx.governance.rollouts.claim(tenant_id, rollout_id, now)
        if rollout is None:
            return False
        await moving.check(tx, self._store.trusted_keys(), rollout, now)
        return True

    async def _recover(self, tx: Transaction, tenant_id: str, subject: str) -> bool:
        return await recovering.decide(tx, tenant_id, subject, self._clock.now())

    async def _take_back(self, tx: Transaction, tenant_id: str, rollout_id: str) -> bool:
        await tx.governance.rollouts.one_at_a_time(tenant_id)
        rollout = await tx.governance.rollouts.locked(tenant_id, rollout_id)
        if rollout is None or rollout.state != ROLLOUT_STATE_RUNNING:
            return False
        now = self._clock.now()
        return await moving.check(tx, self._store.trusted_keys(), rollout, now, promotes=False) is Move.ROLLBACK
