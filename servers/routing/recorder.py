"""The audit trail of routed calls (§22 step 9, RTE-3): written beside the calls, many at a time.

A call's rows tell its chain in order: the gates, the profile and the selection, each attempt, the end. They are kept
with the others of the last tenth of a second in one transaction. While the store refuses them they wait, up to
`MOST_WAITING` calls; beyond that no further call is routed, so that none goes untold. A process that is killed loses
what it has not written: the calls of the last tenth of a second, or of as long as the store was away.

A served call is charged with its rows: the same transaction uses up its key. Where another server of the store was
faster with the same call, its rows say so, it is charged nothing, and nothing else is kept of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from selene.common.v1.scope_pb2 import TurnRef

from servers.routing.gates import Passage
from servers.routing.pack_choice import Arm
from store import Store, StoreUnavailable, Transaction
from store.routing import ServedCall, name_of

FLUSH_EVERY_S: Final = 0.1
AT_ONCE: Final = 200
MOST_WAITING: Final = 20_000

_log = structlog.get_logger("selene.routing")


@dataclass(frozen=True, slots=True)
class Step:
    """One row to be."""

    transition: str
    reason_code: str
    at: datetime
    facts: Mapping[str, str]
    hashes: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Charge:
    """What a served call is charged by. `settle` is told, once its rows are kept, whether its key is charged for it:
    it is not where it stands for an earlier call.
    """

    call: ServedCall
    settle: Callable[[bool], None]


@dataclass(slots=True)
class Trail:
    """What happened to one call, in order. `subject` is who called; the trail names a commitment of it. `sides`
    are by rollout; `cost_micros` is what the call came to in the end; `charge` is of a call that was served.
    """

    tenant_id: str
    subject: str
    request_id: str
    idempotency_key: str
    turn: TurnRef
    locale: str = ""
    sides: Mapping[str, Arm] = field(default_factory=dict)
    cost_micros: int = 0
    charge: Charge | None = None
    steps: list[Step] = field(default_factory=list)

    def add(
        self,
        transition: str,
        reason_code: str,
        at: datetime,
        facts: Mapping[str, str],
        hashes: Mapping[str, bytes] | None = None,
    ) -> None:
        """The next step."""
        self.steps.append(Step(transition, reason_code, at, facts, hashes or {}))


def gate_facts(passage: Passage) -> dict[str, str]:
    """What the gates said, numbered as they were asked."""
    facts = {}
    for place, verdict in enumerate(passage.verdicts, start=1):
        said = "pass" if verdict.allowed else "refuse"
        rule = f" by {verdict.rule_id}" if verdict.rule_id else ""
        facts[f"gate_{place}"] = f"{verdict.gate.value} {said} {verdict.reason}{rule}"
    return facts


Beside = Callable[[Transaction, Sequence[Trail]], Awaitable[None]]
"""What else is kept with the trails of calls, in their transaction; it awaits nothing but that."""


class Recorder:
    """Writes trails. `start` begins, `stop` writes what is left."""

    def __init__(self, store: Store, owner: str, beside: Beside | None = None) -> None:
        self._store = store
        self._owner = owner
        self._beside = beside
        self._waiting: list[Trail] = []
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no further call can be told of."""
        return len(self._waiting) >= MOST_WAITING

    def note(self, trail: Trail) -> None:
        """A call has ended, however."""
        self._waiting.append(trail)
        if len(self._waiting) >= AT_ONCE:
            self._wake.set()

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.ensure_future(self._repeat())

    async def stop(self) -> None:
        """Write what is left, then never again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()
        if self._waiting:
            _log.error("calls were not told of in the audit trail", calls=len(self._waiting))

    async def flush(self) -> None:
        """Write everything that waits; what the store does not take waits on."""
        async with self._writing:
            at_once = AT_ONCE
            while self._waiting:
                batch = self._waiting[:at_once]
                repeated: Mapping[int, str] = {}
                try:
                    repeated = await self._store.perform(partial(self._write, batch))
                except StoreUnavailable as error:
                    _log.error("audit rows of calls are waiting", calls=len(self._waiting), cause=error.reason.value)
                    return
                except Exception as error:
                    # A trail that cannot be written must not hold up all others: it is found by writing each alone.
                    if at_once > 1:
                        at_once = 1
                        continue
                    if not await self._give_up(batch[0], type(error).__name__):
                        return
                    at_once = AT_ONCE
                del self._waiting[: len(batch)]
                for place, trail in enumerate(batch):
                    if trail.charge is not None:
                        trail.charge.settle(place not in repeated)

    async def _repeat(self) -> None:
        while True:
            try:
                async with asyncio.timeout(FLUSH_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await asyncio.shield(self.flush())
            except Exception:
                # Whatever it was, what waits is written by a later round.
                _log.exception("audit rows of calls were not written")

    async def _give_up(self, trail: Trail, cause: str) -> bool:
        """One row in place of a trail that cannot be written; whether the store took it."""
        _log.error("a call cannot be told of", request_id=trail.request_id, cause=cause)
        try:
            async with self._store.transaction() as tx:
                tx.audit(
                    tenant_id=trail.tenant_id,
                    owner=self._owner,
                    actor="system",
                    transition="call.untold",
                    reason_code="TRAIL_NOT_WRITABLE",
                    turn=trail.turn,
                    idempotency_key=trail.idempotency_key,
                    facts={"request_id": trail.request_id, "cause": cause},
                )
        except StoreUnavailable:
            return False
        return True

    async def _write(self, batch: list[Trail], tx: Transaction) -> Mapping[int, str]:
        """The places in the batch of calls that another server has served under the same key, with what it served."""
        repeated = await _repeated(batch, tx)
        actors: dict[tuple[str, str], str] = {}
        for place, trail in enumerate(batch):
            repeats = {"repeats": repeated[place]} if place in repeated else {}
            who = (trail.tenant_id, trail.subject)
            if who not in actors:
                actors[who] = (await tx.vault.commitment(trail.tenant_id, trail.subject, b"actor")).hex()
            for step in trail.steps:
                tx.audit(
                    tenant_id=trail.tenant_id,
                    owner=self._owner,
                    actor=actors[who],
                    transition=step.transition,
                    reason_code=step.reason_code,
                    turn=trail.turn,
                    idempotency_key=trail.idempotency_key,
                    hashes=step.hashes,
                    facts={"request_id": trail.request_id, **step.facts, **repeats},
                    occurred_at=step.at,
                )
        if self._beside is not None:
            await self._beside(tx, [trail for place, trail in enumerate(batch) if place not in repeated])
        return repeated


async def _repeated(batch: Sequence[Trail], tx: Transaction) -> dict[int, str]:
    charges = {place: trail.charge.call for place, trail in enumerate(batch) if trail.charge is not None}
    stands_for = await tx.routing.served.claim(list(charges.values()))
    found: dict[int, str] = {}
    for place, call in charges.items():
        served = stands_for[name_of(call)]
        # Another content under the key is another call, which the key does not stand for.
        if served.content == call.content and served.request_id != call.request_id:
            found[place] = served.request_id
    return found
