"""What providers report of messages, as the deliveries learn it: each event once, with its audit row (§25, DLV-2)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from servers.delivery import ENGINE_ID
from servers.delivery.adapter import Report
from servers.delivery.keeping import KEY, MESSAGE, REQUEST, SYSTEM, changed
from servers.delivery.machine import Refused, Reported, Rules
from servers.runtime.clock import Clock
from servers.runtime.signals import Producer
from store import Store, Transaction

AT_ONCE: Final = 50
"""Reports of a transaction, so that a provider's full batch does not keep every other writer waiting."""
LOOK_AGAIN_S: Final = (0.1, 0.3, 0.8)
STRAY_AFTER: Final = timedelta(hours=1)
TRANSITION: Final = "webhook.taken"


@dataclass(frozen=True, slots=True)
class Taken:
    """How many reports were new, were there before, are of a message that nobody knows yet, and of one that nobody
    knew an hour after it happened.
    """

    new: int = 0
    repeated: int = 0
    early: int = 0
    stray: int = 0


@dataclass(frozen=True, slots=True)
class _About:
    """A report, and the delivery that it is about."""

    tenant_id: str
    delivery_id: str
    report: Report


class Reports:
    """Takes what webhooks say. A provider may report before the answer to the call is kept, so what is of an unknown
    message is looked for again after each of `look_again_s`, and is then left for the provider to repeat: it is not
    noted as seen, so that the repetition is the first. Keeping it instead would keep what strangers to this deployment
    on the same account cause, and what a lost answer leaves is asked of the provider anyway.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        rules: Rules,
        *,
        look_again_s: Sequence[float] = LOOK_AGAIN_S,
        producer: Producer | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._look_again_s = tuple(look_again_s)
        self._producer = producer

    async def take(self, reports: Sequence[Report]) -> Taken:
        """Once each; what is taken stays taken where others are early. StoreUnavailable: ask for all of them again."""
        new, waiting = 0, list(reports)
        repeated = 0
        for wait_s in (0.0, *self._look_again_s):
            if not waiting:
                break
            await asyncio.sleep(wait_s)
            early: list[Report] = []
            for begin in range(0, len(waiting), AT_ONCE):
                work = partial(self._take, waiting[begin : begin + AT_ONCE])
                taken, seen, unknown = await self._store.perform(work)
                new, repeated = new + taken, repeated + seen
                early += unknown
            waiting = early
        now = self._clock.now()
        stray = sum(now - report.at > STRAY_AFTER for report in waiting)
        return Taken(new, repeated, len(waiting) - stray, stray)

    async def _take(self, reports: Sequence[Report], tx: Transaction) -> tuple[int, int, list[Report]]:
        known: list[_About] = []
        unknown: list[Report] = []
        for report in reports:
            about = await _about(tx, report)
            if about is None:
                unknown.append(report)
            else:
                known.append(about)
        # In the order of their names, and then of the deliveries': two requests cannot wait for each other.
        first: list[_About] = []
        for about in sorted(known, key=lambda each: each.report.event_id):
            if not await tx.delivery.webhook_seen(about.report.provider_ref, about.report.event_id):
                first.append(about)
        for about in sorted(first, key=lambda each: (each.tenant_id, each.delivery_id, each.report.at)):
            await self._apply(tx, about)
        return len(first), len(known) - len(first), unknown

    async def _apply(self, tx: Transaction, about: _About) -> None:
        report = about.report
        done = await changed(
            tx,
            about.tenant_id,
            about.delivery_id,
            Reported(report),
            self._rules,
            transition="delivery.reported",
            producer=self._producer,
        )
        tx.audit(
            tenant_id=about.tenant_id,
            owner=ENGINE_ID,
            actor=SYSTEM,
            transition=TRANSITION,
            reason_code=done.code if isinstance(done, Refused) else "TAKEN",
            hashes={"delivery": bytes.fromhex(about.delivery_id)},
            facts={"provider_ref": report.provider_ref, "event_id": report.event_id, "kind": report.kind.name},
        )


async def _about(tx: Transaction, report: Report) -> _About | None:
    names = (
        (KEY, report.idempotency_key),
        (MESSAGE, report.provider_message_id),
        (REQUEST, report.provider_request_id),
    )
    for kind, name in names:
        row = await tx.delivery.by_provider_id(report.provider_ref, kind, name) if name else None
        if row is not None:
            return _About(row.tenant_id, row.delivery_id, report)
    return None
