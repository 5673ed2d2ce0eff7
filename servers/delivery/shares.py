"""What this process may send over provider accounts with a rate: its share of what all processes have (§25)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from servers.delivery import ENGINE_ID
from servers.delivery.rates import Exchanged, Share, account_of, exchange, kept
from servers.runtime.clock import Clock
from servers.runtime.storage import SYSTEM_TENANT
from store import Store, StoreError, Transaction

TELL_AFTER_S: Final = 0.1
"""What was used and what is left over is told so soon after it was drawn: others wait for it."""
AWAY_S: Final = 1.0
"""How long is waited where the store gave no answer."""
_NOTHING: Final = Share(0, 0.0)

_log = structlog.get_logger("selene.delivery")


@dataclass(slots=True)
class _Held:
    """Of one account: the share, when of it tokens were used, and since when nothing is to be had."""

    per_s: float
    burst: float
    share: Share = _NOTHING
    used: list[float] = field(default_factory=list)
    unsure: bool = False
    retry_at: float = 0.0
    waiting: int = 0
    asking: asyncio.Task[None] | None = None
    telling: asyncio.Task[None] | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def owes(self) -> bool:
        """Whether there is something to tell or to give back."""
        return bool(self.share.tokens or self.used or self.unsure)


class Shares:
    """`limits` are messages a second and at once, by provider; one without is not limited."""

    def __init__(self, store: Store, clock: Clock, limits: Mapping[str, tuple[float, float]], *, holder: str) -> None:
        self._store = store
        self._clock = clock
        self._holder = holder
        self._held = {ref: _Held(per_s, burst) for ref, (per_s, burst) in limits.items()}

    def free_at(self, provider_ref: str, now: float) -> float:
        """Before when nothing can be sent, for all that is known here; 0 where it can be tried."""
        held = self._held.get(provider_ref)
        return 0.0 if held is None or self._has(held, now) or held.retry_at <= now else held.retry_at

    async def admit(self, provider_ref: str) -> bool:
        """Use one token, drawing where none is held; False where there is none to be had."""
        held = self._held.get(provider_ref)
        if held is None or self._used(held):
            return True
        if self._now() < held.retry_at:
            return False
        held.waiting += 1
        try:
            if held.asking is None:
                held.asking = asyncio.ensure_future(self._ask(provider_ref, held))
            await asyncio.shield(held.asking)
        finally:
            held.waiting -= 1
        return self._used(held)

    async def stop(self) -> None:
        """Give everything back."""
        for ref, held in self._held.items():
            under_way = [task for task in (held.asking, held.telling) if task is not None]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if held.owes:
                await self._exchange(ref, held, 0)

    def _has(self, held: _Held, now: float) -> bool:
        return held.share.tokens > len(held.used) and now < held.share.until

    def _used(self, held: _Held) -> bool:
        now = self._now()
        if not self._has(held, now):
            return False
        held.used.append(now)
        return True

    async def _ask(self, ref: str, held: _Held) -> None:
        try:
            # Whoever is ready to run wants its token first.
            await asyncio.sleep(0)
            await self._exchange(ref, held, held.waiting)
        finally:
            held.asking = None
        if held.owes and held.telling is None:
            held.telling = asyncio.ensure_future(self._tell(ref, held))

    async def _tell(self, ref: str, held: _Held) -> None:
        try:
            while held.owes:
                await asyncio.sleep(TELL_AFTER_S)
                if held.asking is None and held.owes:
                    await self._exchange(ref, held, held.waiting)
        finally:
            held.telling = None

    async def _exchange(self, ref: str, held: _Held, wanted: int) -> None:
        """Nothing of the share is used meanwhile: what the store is told must be all."""
        async with held.turn:
            used = None if held.unsure else tuple(held.used)
            held.share, held.unsure = _NOTHING, True
            try:
                done = await self._store.perform(partial(self._written, ref, held, used, wanted))
            except StoreError as error:
                held.retry_at = self._now() + AWAY_S
                _log.warning("no share of a rate can be had", provider=ref, cause=type(error).__name__)
                return
            held.used.clear()
            held.share, held.unsure = done.share, False
            if wanted:
                held.retry_at = self._now() + done.wait_s

    async def _written(
        self, ref: str, held: _Held, used: tuple[float, ...] | None, wanted: int, tx: Transaction
    ) -> Exchanged:
        now = self._now()
        before = account_of(await tx.delivery.rate(ref), held.per_s, held.burst, now)
        done = exchange(before, self._holder, used, wanted, now)
        if done.account.shares == before.shares and not used:
            return done
        await tx.delivery.keep_rate(ref, kept(done.account))
        tx.audit(
            tenant_id=SYSTEM_TENANT,
            owner=ENGINE_ID,
            actor="system",
            transition="account.share_exchanged",
            reason_code="SHARE_EXCHANGED",
            facts={
                "provider_ref": ref,
                "holder": self._holder,
                "used": "unknown" if used is None else str(len(used)),
                "share": str(done.share.tokens),
            },
        )
        return done

    def _now(self) -> float:
        return self._clock.now().timestamp()
