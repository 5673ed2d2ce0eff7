"""The live side of delivery (DLV-2): leases what is due, does what the machine says, and keeps every step.

What makes it safe lies elsewhere: the machine decides, the store's fences let one holder at a time change a delivery.
Here it is seen to that an attempt is kept before its first byte leaves, that no byte leaves after the time that was
kept with it, and that what was learnt is never lost: neither to a lease that ran out meanwhile nor to a store that is
away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import compress, takewhile
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_STATE_UNKNOWN,
    DeliveryChannel,
    DeliveryState,
    Intent,
)
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_DELIVERY_CANCEL,
    CAPABILITY_DELIVERY_SEND,
    CAPABILITY_DELIVERY_STATUS,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    Capability,
)

from servers.delivery import ENGINE_ID
from servers.delivery.adapter import Certainty, DeliveryAdapter, DeliveryReason, Message, Sent
from servers.delivery.contents import message_of
from servers.delivery.keeping import NOTHING, Keeper, Known, Step, known_of, state_name
from servers.delivery.machine import (
    Attempt,
    Begin,
    Close,
    CrashFound,
    Delivery,
    Done,
    Ended,
    Event,
    GiveUp,
    Learned,
    NeedsPerson,
    Policy,
    Poll,
    PollEnded,
    Reason,
    Reconcile,
    Refused,
    Requeue,
    Rules,
    Send,
    TakeBack,
    TakeBackBegun,
    TakeBackEnded,
    Wait,
    apply,
    askable,
    next_action,
    taken,
    trace,
)
from servers.delivery.room import Room
from servers.delivery.routes import Routes, Ways
from servers.delivery.settings import DispatchSettings
from servers.routing.envelope import Asked, answered, refused
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock
from servers.runtime.storage import SYSTEM_TENANT
from store import KeyDestroyed, Rooms, Store, StoreError, Transaction
from store.delivery import Delivery as Row

HOLD_S: Final = 2.0
"""A wait of up to this is waited out under the lease; a longer one gives it back."""
LOOK_FOR_UNKNOWN_EVERY_S: Final = 1.0
LATE_S: Final = 0.5
"""How long after its deadline an adapter may still say what came of a call."""
LEAVE_S: Final = 2.0
"""How long what need not be kept, for a lease that runs out does as well, is tried to be kept."""
UNREADABLE_S: Final = 300.0
ASKED_AT_ONCE: Final = 200
"""UNKNOWN deliveries of a page, at the start."""
ERASED: Final = "RECIPIENT_ERASED"
UNREADABLE: Final = "INTENT_UNREADABLE"
FAILOVER: Final = "FAILOVER"

_log = structlog.get_logger("selene.delivery")


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is to be sent; None where the recipient was erased, and `unreadable` where it cannot be opened now."""

    intent: Intent | None
    unreadable: bool = False


@dataclass(slots=True)
class _Work:
    """A delivery under a lease of ours. Lease and changes that the store lacks are in `known` already."""

    row: Row
    known: Known
    opened: _Opened
    until: float
    passed_over: str = ""

    @property
    def fence(self) -> int:
        return self.row.fence


class Dispatcher:
    """One of a process. `holder` names it in leases; `jitter` gives numbers of [0, 1)."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        routes: Routes,
        keeper: Keeper,
        rules: Rules,
        settings: DispatchSettings,
        *,
        holder: str,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._clock = clock
        self._routes = routes
        self._keeper = keeper
        self._rules = rules
        self._settings = settings
        self._holder = holder
        self._jitter = jitter
        self._room = Room(settings.open_bytes)
        self._awake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._busy: Counter[int] = Counter()
        self._looked_for_unknown_at = float("-inf")
        self._looked_everywhere_at = float("-inf")
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._stopping = False

    def start(self) -> None:
        """Dispatch from now on."""
        self._tasks = (asyncio.ensure_future(self._repeat()), asyncio.ensure_future(self._begun()))

    def wake(self) -> None:
        """Something may be due."""
        self._awake.set()

    async def stop(self) -> None:
        """Take nothing more, let calls come to their end for a while, then break them off: what became of them is then
        unknown, and is kept so.
        """
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.grace_s)
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    @property
    def under_way(self) -> int:
        """How many deliveries are worked on here."""
        return len(self._running)

    async def quiet(self) -> None:
        """Once nothing is under way here."""
        while self._running:
            await asyncio.wait(self._running)

    async def reconcile(self) -> None:
        """Have asked at once what is UNKNOWN, can be asked about, and would not be within a poll's time: whoever was
        here before asked ever more rarely, or lacked the provider. The others keep their turn: a process that is
        restarted again and again asks nobody more often. StoreError.
        """
        for tenant_id in await self._store.delivery.tenants():
            before: tuple[datetime, str] | None = None
            while True:
                rows = await self._store.delivery.page(
                    tenant_id, limit=ASKED_AT_ONCE, state=DELIVERY_STATE_UNKNOWN, before=before
                )
                await asyncio.gather(*(self._asked_about(row) for row in rows))
                if len(rows) < ASKED_AT_ONCE:
                    break
                before = (rows[-1].accepted_at, rows[-1].delivery_id)
        self._looked_for_unknown_at = float("-inf")
        self._awake.set()

    async def _asked_about(self, row: Row) -> None:
        delivery = known_of(row).delivery
        can = any(each.provider_ref in self._routes.adapters and askable(each) for each in delivery.uncertain)
        soon = self._now() + self._rules.poll_every_s
        if can and (delivery.due_at is None or delivery.due_at > soon):
            transition = "delivery.reconcile_asked"
            await self._keeper.tell(row.tenant_id, row.delivery_id, Reconcile(), transition, holder=self._holder)

    async def round(self) -> int:
        """Lease what is due and begin it; how many that were. StoreError."""
        monotonic = self._clock.monotonic()
        channels, limit = self._rooms(monotonic)
        if not channels:
            return 0
        unknown = monotonic - self._looked_for_unknown_at >= LOOK_FOR_UNKNOWN_EVERY_S
        rows = await self._store.perform(partial(self._lease, channels, limit, unknown=unknown))
        if unknown:
            self._looked_for_unknown_at = monotonic
        if not rows:
            return 0
        await self._open(rows)
        return len(rows)

    async def _open(self, rows: Sequence[Row]) -> None:
        """Begin what was leased: together what there is room for, the rest each once there is. StoreError."""
        sizes: Sequence[int] = [0] * len(rows)
        if any(row.channel == DELIVERY_CHANNEL_EMAIL for row in rows):
            sizes = await self._store.together(partial(_sizes, rows))
        fits = [self._room.enter(size) for size in sizes]
        try:
            opened = iter(await self._store.together(partial(_open_all, list(compress(rows, fits)))))
        except BaseException:
            for size in compress(sizes, fits):
                self._room.leave(size)
            raise
        for row, size, fit in zip(rows, sizes, fits, strict=True):
            self._begin(row, size, next(opened) if fit else None)

    def _rooms(self, monotonic: float) -> tuple[list[int], int]:
        """For which channels to lease, and how many, so that none gets more than it may have under way.

        What one call leaves free is not worth a transaction: a channel waits until half of it is free, though no
        longer than a poll.
        """
        most = self._settings.concurrency
        rooms = {channel: most - self._busy[channel] for channel in DeliveryChannel.values() if channel}
        everywhere = monotonic - self._looked_everywhere_at >= self._settings.poll_s
        if everywhere:
            self._looked_everywhere_at = monotonic
        least = 1 if everywhere else most - most // 2
        rooms = {channel: room for channel, room in rooms.items() if room >= least}
        return list(rooms), min([self._settings.batch, *rooms.values()])

    async def _repeat(self) -> None:
        while True:
            self._awake.clear()
            found = 0
            try:
                found = await self.round()
            except StoreError as error:
                _log.warning("nothing can be leased", cause=type(error).__name__)
            except Exception as error:
                # It must go on, whatever it was; its text may hold what is sent.
                _log.error("a round of the dispatcher failed", cause=type(error).__name__)
            if found == 0:
                await self._pause()
            else:
                await asyncio.sleep(0)

    async def _begun(self) -> None:
        while True:
            try:
                await self.reconcile()
                return
            except StoreError as error:
                _log.warning("what is unknown cannot be asked about yet", cause=type(error).__name__)
            except Exception as error:
                # A delivery that cannot be read keeps nobody from the others: they are asked about when they are due.
                _log.error("what is unknown was not asked about at the start", cause=type(error).__name__)
                return
            await asyncio.sleep(self._settings.poll_s)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.poll_s):
                await self._awake.wait()
        except TimeoutError:
            pass

    async def _lease(self, channels: Sequence[int], limit: int, tx: Transaction, *, unknown: bool) -> list[Row]:
        now = self._clock.now()
        until = now + timedelta(seconds=self._settings.lease_s)
        rows = await tx.delivery.lease_due(now, holder=self._holder, until=until, limit=limit, channels=channels)
        if unknown and len(rows) < limit:
            rows += await tx.delivery.lease_due(
                now,
                holder=self._holder,
                until=until,
                limit=limit - len(rows),
                channels=channels,
                states=[DELIVERY_STATE_UNKNOWN],
            )
        if rows:
            tx.audit(
                tenant_id=SYSTEM_TENANT,
                owner=ENGINE_ID,
                actor="system",
                transition="deliveries.leased",
                reason_code="DUE",
                facts={"holder": self._holder, "deliveries": str(len(rows)), "until": until.isoformat()},
            )
        return rows

    def _begin(self, row: Row, size: int, opened: _Opened | None = None) -> None:
        """Its room was taken where it is opened already."""
        self._busy[row.channel] += 1
        begun = self._work(row, opened) if opened is not None else self._opened_later(row, size)
        task = asyncio.ensure_future(begun)
        self._running.add(task)

        def over(done: asyncio.Task[None]) -> None:
            self._running.discard(done)
            if opened is not None:
                self._room.leave(size)
            self._busy[row.channel] -= 1
            # Others of the same recipient may have waited for this one, and others of the channel for its place.
            if not self._running or self._busy[row.channel] == self._settings.concurrency // 2:
                self._awake.set()

        task.add_done_callback(over)

    async def _opened_later(self, row: Row, size: int) -> None:
        """Once there is room for it, if that is while its lease leaves time for a call; else it is given back."""
        until = row.lease_until.timestamp() if row.lease_until is not None else 0.0
        try:
            async with asyncio.timeout(max(0.0, until - self._rules.call_timeout_s - self._now())):
                await self._room.entered(size)
        except TimeoutError:
            await self._give_back(row)
            return
        try:
            (opened,) = await self._store.together(partial(_open_all, [row]))
            await self._work(row, opened)
        except StoreError as error:
            _log.warning("a delivery was not opened", delivery=row.delivery_id, cause=type(error).__name__)
        finally:
            self._room.leave(size)

    async def _work(self, row: Row, opened: _Opened) -> None:
        try:
            work = await self._taken(row, opened)
            if work is not None:
                await self._worked(work)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The lease runs out by itself, and then it is looked at again.
            _log.error("a delivery was left", delivery=row.delivery_id, cause=type(error).__name__)

    async def _taken(self, row: Row, opened: _Opened) -> _Work | None:
        """Ours from now on, by the machine too. That somebody else was lost in the middle of a call is kept first."""
        until = row.lease_until.timestamp() if row.lease_until is not None else 0.0
        known = known_of(row)
        event = taken(known.delivery, self._holder, row.fence, until)
        after = apply(known.delivery, event, self._now(), self._rules)
        if isinstance(after, Refused):
            _log.error("a leased delivery is not to be had", delivery=row.delivery_id, code=after.code.value)
            return None
        work = _Work(row, known, opened, until)
        if isinstance(event, CrashFound):
            return work if await self._keep(work, after, "delivery.crash_found") else None
        work.known = replace(known, delivery=after)
        return work

    async def _worked(self, work: _Work) -> None:
        """Until the lease is given back."""
        passed_over: set[str] = set()
        while True:
            if work.opened.unreadable:
                await self._apply(work, Requeue(work.fence, self._now() + UNREADABLE_S, UNREADABLE), "requeued")
                return
            now, delivery = self._now(), work.known.delivery
            ways = self._routes.ways(delivery, work.opened.intent, now, passed_over)
            rules = replace(self._rules, fallback_when_inconclusive=ways.fallback)
            action = next_action(delivery, now, Policy(rules=rules, options=ways.options))
            match action:
                case Send():
                    if await self._sent(work, action, ways, rules, passed_over):
                        return
                case Poll():
                    await self._polled(work, action, ways)
                    return
                case TakeBack():
                    await self._taken_back(work, action, ways)
                    return
                case Wait():
                    if not await self._waited(work, action, now):
                        return
                case Close():
                    await self._apply(work, action.event, "closed")
                    return
                case NeedsPerson():
                    await self._apply(work, Requeue(work.fence, None, action.reason), "waits_for_person")
                    return
                case Done():
                    await self._give_back(work.row)
                    return

    async def _waited(self, work: _Work, wait: Wait, now: float) -> bool:
        """Whether it was worth waiting for under the lease; else it is given back until then."""
        if work.opened.intent is None and work.known.delivery.state != DELIVERY_STATE_UNKNOWN:
            await self._apply(work, GiveUp(work.fence, ERASED), "closed")
            return False
        call_s = self._rules.call_timeout_s
        if wait.until - now <= HOLD_S and wait.until + call_s < work.until and not self._stopping:
            await asyncio.sleep(max(0.01, wait.until - now))
            return True
        await self._apply(work, Requeue(work.fence, wait.until, wait.reason), "requeued")
        return False

    async def _sent(self, work: _Work, send: Send, ways: Ways, rules: Rules, passed_over: set[str]) -> bool:
        """One attempt, and whether the lease is given back with it; nothing happens where it is not its turn yet."""
        ref = send.provider_ref
        timeout_s = min(ways.timeouts.get(ref, self._rules.call_timeout_s), self._rules.call_timeout_s - LATE_S)
        lease_id: str | None = None
        if ref in ways.probing:
            lease_id = await self._routes.probe(ways, ref, timeout_s)
            if lease_id is None:
                passed_over.add(ref)
                return False
        sent: Sent | None = None
        try:
            if not await self._routes.admit(ref):
                return False
            moved = _moved(work.known.delivery, ways, ref, self._now())
            work.passed_over = moved.get("failover_reason", "")
            begun_at = self._clock.monotonic()
            begin = Begin(fence=work.fence, provider_ref=ref, declares=send.declares, token=send.token)
            after = apply(work.known.delivery, begin, self._now(), rules)
            if isinstance(after, Refused):
                await self._apply(work, Requeue(work.fence, self._now(), after.code.value), "requeued")
                return True
            if not await self._keep(work, after, "delivery.sending", until=begun_at + timeout_s, facts=moved):
                return True
            sent = await self._called(work, self._routes.adapters[ref], begun_at + timeout_s)
            self._routes.record(ways, after, sent, began_at=begun_at, probe=lease_id is not None)
            await self._ended(work, sent)
            return True
        finally:
            if lease_id is not None:
                await self._routes.settle(ways, ref, lease_id, sent)

    async def _called(self, work: _Work, adapter: DeliveryAdapter, deadline: float) -> Sent:
        """What came of the attempt that was just kept."""
        delivery = work.known.delivery
        attempt = delivery.attempts[-1]
        message = message_of(delivery, work.opened.intent, attempt.request_id)
        asked = _asked(message, adapter.provider_ref, CAPABILITY_DELIVERY_SEND)
        if self._clock.monotonic() >= deadline:
            # The process stood still, or the store was slow: nothing has left, and nothing may any more.
            return _never_left(asked)
        try:
            return await self._answer(adapter.send(message, deadline=deadline), asked, deadline)
        except asyncio.CancelledError:
            lost = asyncio.ensure_future(self._ended(work, _lost(asked, DeliveryReason.ANSWER_LOST)))
            await asyncio.wait((lost,), timeout=self._settings.grace_s)
            raise

    async def _answer(self, call: Coroutine[Any, Any, Sent], asked: Asked, deadline: float) -> Sent:
        """What an adapter says, or that nobody knows; never raises but for our own cancellation."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic()) + LATE_S):
                sent = await call
        except TimeoutError:
            return _lost(asked, ProviderReason.DEADLINE_EXCEEDED)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            _log.error("an adapter cancelled itself", provider=asked.provider_ref)
            return _lost(asked, ProviderReason.PROVIDER_CRASHED)
        except Exception as error:
            _log.error("an adapter raised", provider=asked.provider_ref, cause=type(error).__name__)
            return _lost(asked, ProviderReason.PROVIDER_CRASHED)
        problem = refused(sent.result, asked)
        if problem is None:
            return sent
        _log.error("an adapter broke its contract", provider=asked.provider_ref, problem=problem.value)
        # An acceptance stays one, however it is wrapped: to doubt it would be to send again.
        certainty = sent.certainty if sent.certainty is Certainty.ACCEPTED else Certainty.UNKNOWN
        return replace(sent, certainty=certainty, result=_result(asked, problem.value))

    async def _ended(self, work: _Work, sent: Sent) -> None:
        """Keep what came of the attempt under way, with the lease or without it."""
        attempt = work.known.delivery.attempts[-1]
        event = Ended(fence=work.fence, number=attempt.number, sent=sent, jitter=self._jitter())
        after = apply(work.known.delivery, event, self._now(), self._rules)
        if isinstance(after, Refused) or not await self._keep(work, after, _ended_as(after.state)):
            await self._learned(work, attempt, sent)

    async def _learned(self, work: _Work, attempt: Attempt, sent: Sent) -> None:
        """Somebody else holds the delivery by now: what is known is evidence to them."""
        delivery = work.known.delivery
        event = Learned(number=attempt.number, request_id=attempt.request_id, sent=sent)
        told = await self._keeper.tell(
            delivery.tenant_id, delivery.delivery_id, event, "delivery.learned", holder=self._holder
        )
        if isinstance(told, Refused):
            _log.warning("what was learnt too late tells nothing", delivery=delivery.delivery_id, code=told.code.value)

    async def _polled(self, work: _Work, poll: Poll, ways: Ways) -> None:
        delivery = work.known.delivery
        attempt = delivery.attempts[poll.number - 1]
        deadline = self._deadline(poll.provider_ref, ways)
        asked_at = self._now()
        sent = await self._told(work, attempt, CAPABILITY_DELIVERY_STATUS, deadline)
        event = PollEnded(fence=work.fence, number=poll.number, sent=sent, asked_at=asked_at)
        after = apply(delivery, event, self._now(), self._rules)
        if isinstance(after, Refused):
            _log.warning("a look-up tells nothing", delivery=delivery.delivery_id, code=after.code.value)
        elif not await self._keep(work, after, "delivery.polled") and sent.certainty is Certainty.ACCEPTED:
            # A "not found" is worth something under the lease only, by the time at which it was asked.
            await self._learned(work, attempt, sent)

    async def _taken_back(self, work: _Work, take_back: TakeBack, ways: Ways) -> None:
        """Have a provider take an attempt back, if it is not too late; that it is asked to is kept before."""
        deadline = self._deadline(take_back.provider_ref, ways)
        begin = TakeBackBegun(fence=work.fence, number=take_back.number)
        begun = apply(work.known.delivery, begin, self._now(), self._rules)
        if isinstance(begun, Refused) or not await self._keep(work, begun, "delivery.cancel_sending", until=deadline):
            return
        if self._clock.monotonic() >= deadline:
            return  # the lease runs out, and whoever takes it next asks what became of it
        attempt = work.known.delivery.attempts[take_back.number - 1]
        asked_at = self._now()
        sent = await self._told(work, attempt, CAPABILITY_DELIVERY_CANCEL, deadline)
        event = TakeBackEnded(fence=work.fence, number=take_back.number, sent=sent, asked_at=asked_at)
        after = apply(work.known.delivery, event, self._now(), self._rules)
        if isinstance(after, Refused):
            _log.warning("what was taken back tells nothing", delivery=work.row.delivery_id, code=after.code.value)
        else:
            await self._keep(work, after, "delivery.cancel_sent")

    async def _told(self, work: _Work, attempt: Attempt, capability: Capability, deadline: float) -> Sent:
        """What the provider of an earlier attempt says of it, or that it takes it back."""
        delivery = work.known.delivery
        adapter = self._routes.adapters[attempt.provider_ref]
        message = message_of(delivery, work.opened.intent, attempt.request_id)
        call = adapter.cancel if capability == CAPABILITY_DELIVERY_CANCEL else adapter.find
        told = call(message, trace(delivery, attempt, message.recipient), deadline=deadline)
        return await self._answer(told, _asked(message, attempt.provider_ref, capability), deadline)

    def _deadline(self, provider_ref: str, ways: Ways) -> float:
        most_s = self._rules.call_timeout_s
        return self._clock.monotonic() + min(ways.timeouts.get(provider_ref, most_s), most_s)

    async def _apply(self, work: _Work, event: Event, transition: str) -> None:
        """What the machine says, kept; the lease ends with it."""
        after = apply(work.known.delivery, event, self._now(), self._rules)
        if isinstance(after, Refused):
            _log.error("a delivery stands otherwise", delivery=work.row.delivery_id, code=after.code.value)
            return
        await self._keep(work, after, f"delivery.{transition}", until=self._clock.monotonic() + LEAVE_S)

    async def _keep(
        self,
        work: _Work,
        after: Any,
        transition: str,
        *,
        until: float | None = None,
        facts: Mapping[str, str] = NOTHING,
    ) -> bool:
        step = Step(
            before=work.known,
            after=after,
            transition=transition,
            reason=FAILOVER if facts else "",
            facts=facts,
            passed_over=work.passed_over,
        )
        done = await self._keeper.keep(step, until=until)
        if done is not None:
            work.known = done
        return done is not None

    async def _give_back(self, row: Row) -> None:
        """The lease only."""

        async def release(tx: Transaction) -> None:
            if await tx.delivery.release(row.tenant_id, row.delivery_id, fence=row.fence):
                tx.audit(
                    tenant_id=row.tenant_id,
                    owner=ENGINE_ID,
                    actor="system",
                    transition="delivery.released",
                    reason_code="NOTHING_TO_DO",
                    hashes={"delivery": bytes.fromhex(row.delivery_id)},
                )

        await self._store.perform(release)

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _moved(delivery: Delivery, ways: Ways, provider_ref: str, now: float) -> dict[str, str]:
    """From whom a request goes on to this provider, and why (§24); empty where it stays, or is the first choice's."""
    if delivery.attempts and delivery.attempts[-1].provider_ref != provider_ref:
        before = delivery.attempts[-1]
        return {"failover_from": before.provider_ref, "failover_reason": before.reason}
    preferred = takewhile(lambda option: option.provider_ref != provider_ref, ways.options)
    passed_over = next((each for each in preferred if each.serves and each.open_until > now), None)
    if passed_over is None:
        return {}
    return {"failover_from": passed_over.provider_ref, "failover_reason": Reason.CIRCUIT_OPEN}


async def _sizes(rows: Sequence[Row], rooms: Rooms) -> Sequence[int]:
    """What mails weigh; whatever else can be sent is small."""
    found: dict[tuple[str, str], int] = {}
    mails = [row for row in rows if row.channel == DELIVERY_CHANNEL_EMAIL]
    for tenant_id in {row.tenant_id for row in mails}:
        ids = [row.delivery_id for row in mails if row.tenant_id == tenant_id]
        sizes = await rooms.delivery.intent_sizes(tenant_id, ids)
        found |= {(tenant_id, each): size for each, size in sizes.items()}
    return [found.get((row.tenant_id, row.delivery_id), 0) for row in rows]


async def _open_all(rows: Sequence[Row], rooms: Rooms) -> Sequence[_Opened]:
    opened: dict[tuple[str, str], _Opened] = {}
    for tenant_id in {row.tenant_id for row in rows}:
        ids = [row.delivery_id for row in rows if row.tenant_id == tenant_id]
        found = await rooms.delivery.open_all(tenant_id, ids)
        opened |= {(tenant_id, each): _opened(each, intent) for each, intent in zip(ids, found, strict=True)}
    return [opened[row.tenant_id, row.delivery_id] for row in rows]


def _opened(delivery_id: str, intent: bytes | StoreError) -> _Opened:
    try:
        if not isinstance(intent, StoreError):
            return _Opened(Intent.FromString(intent))
        if isinstance(intent, KeyDestroyed):
            return _Opened(None)
        cause = type(intent).__name__
    except DecodeError as error:
        cause = type(error).__name__
    _log.error("an intent cannot be read", delivery=delivery_id, cause=cause)
    return _Opened(None, unreadable=True)


def _asked(message: Message, provider_ref: str, capability: Capability) -> Asked:
    return Asked(
        tenant_id=message.tenant_id,
        provider_ref=provider_ref,
        capability=capability,
        request_id=message.request_id,
        idempotency_key=message.idempotency_key,
        simulation_context_ref=message.simulation_context_ref,
    )


def _result(asked: Asked, reason: str) -> Any:
    return answered(
        asked,
        provider_ref=asked.provider_ref,
        capability=asked.capability,
        status=PROVIDER_STATUS_RETRYABLE_FAIL,
        reason_code=reason,
    )


def _lost(asked: Asked, reason: str) -> Sent:
    return Sent(certainty=Certainty.UNKNOWN, result=_result(asked, reason))


def _never_left(asked: Asked) -> Sent:
    return Sent(certainty=Certainty.REFUSED, result=_result(asked, ProviderReason.DEADLINE_EXCEEDED))


def _ended_as(state: DeliveryState) -> str:
    return f"delivery.{state_name(state).lower()}"
