"""Deliveries in the store: each change of the machine's value with its audit row, many of them in one transaction."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import structlog
from selene.common.v1.scope_pb2 import TurnRef
from selene.delivery.v1.delivery_pb2 import DeliveryState

from servers.delivery import ENGINE_ID
from servers.delivery.adapter import Certainty
from servers.delivery.kept import delivery_of, kept
from servers.delivery.machine import Attempt, Delivery, Event, Refused, Rules, apply
from servers.delivery.schedule import instant
from servers.delivery.signals import seen_in
from servers.runtime.batches import Batches
from servers.runtime.clock import Clock
from servers.runtime.signals import Producer
from store import Store, StoreUnavailable, Transaction, Unavailability
from store.delivery import Change, ProviderId, Swap
from store.delivery import Delivery as Row

AT_ONCE: Final = 200
SYSTEM: Final = "system"
SWAPS: Final = 8
AGAIN_FIRST_S: Final = 0.05
AGAIN_MOST_S: Final = 1.0

NOTHING: Final[Mapping[str, str]] = {}
DUPLICATED: Final = "delivery.duplicated"
"""How the trail calls it that a second provider, or the same one again, took what was taken already."""
KEY: Final = "key"
REQUEST: Final = "request"
MESSAGE: Final = "message"

_log = structlog.get_logger("selene.delivery")


@dataclass(frozen=True, slots=True)
class Known:
    """A delivery, and which revision and fence of its row it was made of."""

    delivery: Delivery
    revision: int
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a delivery becomes, and what the trail says of it. `passed_over`: why its first choice is not asked."""

    before: Known
    after: Delivery
    transition: str
    actor: str = SYSTEM
    reason: str = ""
    turn: TurnRef = field(default_factory=TurnRef)
    idempotency_key: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    passed_over: str = ""


def known_of(row: Row) -> Known:
    """The delivery of a row. KeyError, TypeError and ValueError for a body that none was made of."""
    return Known(delivery_of(row.body), row.revision, row.fence)


def state_name(state: DeliveryState) -> str:
    """Such as `SENT_ACKED`."""
    return DeliveryState.Name(state).removeprefix("DELIVERY_STATE_")


async def write(step: Step, tx: Transaction, producer: Producer | None = None) -> Known | None:
    """Within a transaction; None where somebody was faster, and nothing was written. The producer tells learning."""
    return (await write_all([step], tx, producer))[0]


async def write_all(steps: Sequence[Step], tx: Transaction, producer: Producer | None = None) -> list[Known | None]:
    """`write` for many steps, in as many statements as for one. Of several of one delivery the earlier go first."""
    outcomes: list[Known | None] = [None] * len(steps)
    for turn in _turns(steps):
        swapped = await tx.delivery.swap_all([_swap(steps[place]) for place in turn])
        done = [place for place, happened in zip(turn, swapped, strict=True) if happened]
        noted = {_id(steps[place]): _ids(steps[place].after) - _ids(steps[place].before.delivery) for place in done}
        await tx.delivery.note_ids(noted)
        for place in done:
            outcomes[place] = _audited(steps[place], tx)
    if producer is not None:
        await _tell_learning(producer, [step for step, done in zip(steps, outcomes, strict=True) if done], tx)
    return outcomes


async def _tell_learning(producer: Producer, steps: Sequence[Step], tx: Transaction) -> None:
    wanted = (step for step in steps if producer.wants(step.after.tenant_id))
    seen = [seen_in(step.before.delivery, step.after, step.passed_over, step.turn) for step in wanted]
    if said := [one for one in seen if one is not None]:
        await producer.leave(tx, said)


def _turns(steps: Sequence[Step]) -> list[list[int]]:
    """Places of steps, a delivery's n-th step in the n-th turn."""
    seen: Counter[tuple[str, str]] = Counter()
    turns: list[list[int]] = []
    for place, step in enumerate(steps):
        turn = seen[_id(step)]
        seen[_id(step)] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(place)
    return turns


def _swap(step: Step) -> Swap:
    before, after = step.before, step.after
    change = Change(
        tenant_id=after.tenant_id,
        delivery_id=after.delivery_id,
        state=after.state,
        due_at=None if after.due_at is None else instant(after.due_at),
        body=kept(after),
        provider_account=after.attempts[-1].provider_ref if after.attempts else None,
        releases=after.lease is None,
    )
    return Swap(change, before.revision, before.fence)


def _audited(step: Step, tx: Transaction) -> Known:
    before, after = step.before, step.after
    last = after.attempts[-1] if after.attempts else None
    tx.audit(
        tenant_id=after.tenant_id,
        owner=ENGINE_ID,
        actor=step.actor,
        transition=step.transition,
        reason_code=step.reason or after.reason,
        turn=step.turn,
        idempotency_key=step.idempotency_key,
        hashes=hashes_of(after),
        facts={**_facts(before.delivery, after, last), **step.facts},
    )
    if len(accepted := _accepting(after)) > max(1, len(_accepting(before.delivery))):
        tx.audit(
            tenant_id=after.tenant_id,
            owner=ENGINE_ID,
            actor=step.actor,
            transition=DUPLICATED,
            reason_code="SECOND_ACCEPTANCE",
            turn=step.turn,
            hashes=hashes_of(after),
            facts={"attempts": ",".join(str(each.number) for each in accepted)},
        )
    return Known(after, before.revision + 1, before.fence)


def _accepting(delivery: Delivery) -> list[Attempt]:
    """The attempts that a provider has taken: more than one is a side effect that happened twice."""
    return [each for each in delivery.attempts if each.certainty is Certainty.ACCEPTED]


def hashes_of(delivery: Delivery) -> Mapping[str, bytes]:
    """By what the trail finds a delivery again: its id, and the group of its attempts (§25, guardrail 4)."""
    return {
        "delivery": bytes.fromhex(delivery.delivery_id),
        "delivery_attempt_group": bytes.fromhex(delivery.attempt_group_id),
    }


def _facts(before: Delivery, after: Delivery, last: Attempt | None) -> dict[str, str]:
    facts = {"before": state_name(before.state), "after": state_name(after.state)}
    if last is not None:
        facts |= {
            "attempt": str(last.number),
            "provider_ref": last.provider_ref,
            "provider_idempotency_token_sent": last.token_sent,
            "provider_request_id": last.provider_request_id,
            "provider_message_id": last.provider_message_id,
            "provider_ack_ref": last.ack_ref,
            "attempt_reason": last.reason,
        }
    return {name: value for name, value in facts.items() if value}


def _ids(delivery: Delivery) -> frozenset[ProviderId]:
    """What the webhooks of those providers that have any may call it."""
    return frozenset(
        ProviderId(attempt.provider_ref, kind, value)
        for attempt in delivery.attempts
        if attempt.declares.webhooks
        for kind, value in (
            (KEY, delivery.delivery_id),
            (KEY, attempt.token_sent),
            (REQUEST, attempt.provider_request_id),
            (MESSAGE, attempt.provider_message_id),
        )
        if value
    )


class Keeper:
    """Keeps steps; those of one moment share a transaction."""

    def __init__(self, store: Store, clock: Clock, rules: Rules, producer: Producer | None = None) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._producer = producer
        self._steps: Batches[Step, Known | None] = Batches(self._write, AT_ONCE)

    async def keep(self, step: Step, *, until: float | None = None) -> Known | None:
        """The delivery as it is kept; None where somebody was faster, or the store was away until then (monotonic
        seconds; None means for as long as it takes). A commit whose answer was lost is looked for.
        """
        wait_s = AGAIN_FIRST_S
        while True:
            try:
                return await self._steps.put(step)
            except StoreUnavailable as error:
                _log.warning("a delivery is not kept yet", transition=step.transition, cause=error.reason.value)
            if until is not None and self._clock.monotonic() >= until:
                return None
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_MOST_S)
            settled, found = await self._found(step)
            if settled:
                return found

    async def tell(
        self, tenant_id: str, delivery_id: str, event: Event, transition: str, **facts: str
    ) -> Known | Refused | None:
        """Apply what needs no lease, however often others are faster, and wait for the store; None where there is no
        such delivery.
        """
        wait_s = AGAIN_FIRST_S
        while True:
            try:
                row = await self._store.delivery.get(tenant_id, delivery_id)
            except StoreUnavailable:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, AGAIN_MOST_S)
                continue
            if row is None:
                return None
            before = known_of(row)
            after = apply(before.delivery, event, self._clock.now().timestamp(), self._rules)
            if isinstance(after, Refused):
                return after
            if after is before.delivery:
                return before
            done = await self.keep(Step(before=before, after=after, transition=transition, facts=facts))
            if done is not None:
                return done

    async def _found(self, step: Step) -> tuple[bool, Known | None]:
        """Whether it is settled that a step was kept, or never will be."""
        after = step.after
        try:
            row = await self._store.delivery.get(after.tenant_id, after.delivery_id)
        except StoreUnavailable:
            return False, None
        if row is None:
            return True, None
        there = known_of(row)
        if (there.revision, there.fence) == (step.before.revision, step.before.fence):
            return False, None
        same = there.revision == step.before.revision + 1 and there.delivery == after
        return True, replace(there, fence=step.before.fence) if same else None

    async def _write(self, steps: Sequence[Step]) -> Sequence[Known | None]:
        return await self._store.perform(partial(write_all, steps, producer=self._producer))


def _id(step: Step) -> tuple[str, str]:
    return step.after.tenant_id, step.after.delivery_id


async def changed(
    tx: Transaction,
    tenant_id: str,
    delivery_id: str,
    event: Event,
    rules: Rules,
    *,
    transition: str,
    actor: str = SYSTEM,
    reason: str = "",
    turn: TurnRef | None = None,
    idempotency_key: str = "",
    facts: Mapping[str, str] = NOTHING,
    producer: Producer | None = None,
) -> Known | Refused | None:
    """Apply what needs no lease within the caller's transaction; None where there is no such delivery, and what told
    nothing new writes nothing. StoreUnavailable where others were faster again and again.
    """
    for _ in range(SWAPS):
        row = await tx.delivery.get(tenant_id, delivery_id)
        if row is None:
            return None
        before = known_of(row)
        after = apply(before.delivery, event, tx.clock.now().timestamp(), rules)
        if isinstance(after, Refused):
            return after
        if after is before.delivery:
            return before
        step = Step(
            before=before,
            after=after,
            transition=transition,
            actor=actor,
            reason=reason,
            turn=turn or TurnRef(),
            idempotency_key=idempotency_key,
            facts=facts,
        )
        done = await write(step, tx, producer)
        if done is not None:
            return done
    raise StoreUnavailable(Unavailability.LOCKED, "the delivery changes faster than it can be changed")
