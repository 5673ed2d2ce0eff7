"""A world of dispatchers, providers, webhooks and persons, driven by a seed: nothing in it has a clock of its own.

Every provider keeps a ledger of what it accepted; only the ledgers judge. The machine is trusted with nothing: after
every change its invariants are looked at, and at the end every delivery is final, and truly so, or visibly UNKNOWN.

What the world keeps to, because nobody could do without: clocks differ by at most ``Rules.clock_skew_s``, a request
leaves before its deadline or not at all, reaches its provider within ``NETWORK_S``, and a provider keeps to what it
declares. Run it for long with ``python -m tests.servers.delivery.simulation --steps 1000000``.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_SMS,
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_PRIORITY_URGENT,
    DELIVERY_STATE_LEASED,
    DELIVERY_STATE_SENDING,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    DeliveryState,
)
from selene.delivery.v1.service_pb2 import RESOLUTION_NOT_SENT_GIVE_UP, RESOLUTION_NOT_SENT_RETRY, RESOLUTION_SENT
from selene.provider.v1.provider_pb2 import (
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    ProviderResultV1,
    ProviderStatus,
)

from servers.delivery import machine
from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Lookup, Report, ReportKind, Sent
from servers.delivery.identity import delivery_idem
from servers.delivery.kept import delivery_of, kept
from servers.delivery.machine import Attempt, AttemptKind, Delivery, Event, Option, Policy, RefusalCode, Refused, Rules
from servers.delivery.schedule import QuietHours, instant
from servers.routing.reasons import ProviderReason

START: Final = 1_750_000_000.0
NETWORK_S: Final = 10.0
STORM_S: Final = 3_000.0
CALM_S: Final = 40_000.0
RULES: Final = Rules(
    call_timeout_s=30,
    retry_budget=8,
    tries_per_provider=2,
    backoff_s=2,
    backoff_max_s=60,
    rest_s=90,
    key_margin_s=15,
    clock_skew_s=10,
    poll_every_s=60,
    poll_max_s=3_600,
    inconclusive_polls=3,
    webhook_patience_s=300,
)
MOST_STEPS: Final = 20_000
LEASE_S: Final = 45.0
OVERTAKEN: Final = frozenset({RefusalCode.FENCED, RefusalCode.NOT_LISTED, RefusalCode.LEASE_OVER})
LEASABLE: Final = frozenset({DELIVERY_STATE_LEASED, DELIVERY_STATE_SENDING, DELIVERY_STATE_UNKNOWN})
TOLD: Final = (ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.READ, ReportKind.FAILED)
NOES: Final[Mapping[str, tuple[ProviderStatus, str, float | None]]] = {
    "busy": (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY, 5.0),
    "busy_long": (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY, 200.0),
    "terminal": (PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.SENDER_REFUSED, None),
    "caller_fault": (PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.RECIPIENT_INVALID, None),
    "auth": (PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.CREDENTIAL_REFUSED, None),
}
ACCEPTING: Final = frozenset({"ok", "lost", "reset_taken", "contradict"})
FAULTS: Final = ("ok", "ok", "lost", "lost", "late", "late", "reset_taken", "reset_not", "contradict", "denied", *NOES)
DECLARED: Final = (
    Declares(key_window_s=120, lookups=frozenset({Lookup.KEY}), absent_after_s=20, webhooks=True),
    Declares(key_window_s=3_600),
    Declares(key_window_s=300, lookups=frozenset({Lookup.MESSAGE_ID}), absent_after_s=90, webhooks=True),
    Declares(lookups=frozenset({Lookup.KEY}), absent_after_s=90),
    Declares(lookups=frozenset({Lookup.REQUEST_ID}), webhooks=True),
    Declares(lookups=frozenset({Lookup.MESSAGE_ID}), webhooks=True),
    Declares(key_window_s=3_600, lookups=frozenset({Lookup.KEY}), absent_after_s=90, webhooks=True, cancels=True),
    Declares(lookups=frozenset({Lookup.KEY}), absent_after_s=90, cancels=True),
    Declares(),
)

Steps = Generator[float, None, None]


class Violation(AssertionError):
    """Something happened that must never happen."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One acceptance in a provider's ledger."""

    key: str
    message_id: str
    request_id: str


@dataclass(slots=True)
class Key:
    """What a provider remembers of a key: when it first saw it, and what it accepted under it."""

    seen_at: float
    taken: Taken | None = None


@dataclass(slots=True)
class Row:
    """What the store keeps of a delivery."""

    value: Delivery
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What kind of world it is.

    ``compare_and_set``: a dispatcher's change is refused where the row has moved on since it was read; else it is made
    to the row as it is by then, and only the fence protects it. ``providers`` None draws them.
    """

    deliveries: int = 4
    dispatchers: int = 3
    providers: tuple[Declares, ...] | None = None
    fallback: bool = False
    quiet: bool = False
    persons: bool = True
    compare_and_set: bool = False
    storm_s: float = STORM_S


def drawn(dice: Random) -> Scenario:
    """A scenario of a seed."""
    return Scenario(
        deliveries=dice.randint(1, 4),
        dispatchers=dice.randint(1, 4),
        fallback=dice.random() < 0.2,
        quiet=dice.random() < 0.2,
        persons=dice.random() < 0.7,
        compare_and_set=dice.random() < 0.5,
    )


class Provider:
    """A provider's own side: what it accepted, what it remembers of keys, how it fails."""

    def __init__(self, world: World, ref: str, declares: Declares) -> None:
        self.world = world
        self.ref = ref
        self.declares = declares
        self.ledger: list[Taken] = []
        self.taken_back: list[Taken] = []
        self._keys: dict[str, Key] = {}
        self._echoes_key = world.dice.random() < 0.7

    def token(self, key: str) -> str:
        return "" if self.declares.key_window_s is None else f"{self.ref}-{key}"

    def leave(self, key: str, attempt: Attempt, answered: Callable[[Sent], None]) -> None:
        """A request leaves for here, and arrives."""
        world = self.world
        fault = "ok" if world.calm else world.dice.choice(FAULTS)
        world.coverage[f"fault {fault}"] += 1
        world.landing[key] += 1
        world.after(world.dice.uniform(0, NETWORK_S), lambda: self._arrive(fault, key, attempt, answered))

    def _arrive(self, fault: str, key: str, attempt: Attempt, answered: Callable[[Sent], None]) -> None:
        seen = self._seen(attempt.token_sent)
        if fault == "late":
            latest = 200.0 if self.declares.absent_after_s is None else self.declares.absent_after_s - NETWORK_S
            self.world.after(self.world.dice.uniform(0, latest), lambda: self._landed(key, attempt, seen, accepts=True))
            return
        taken = self._landed(key, attempt, seen, accepts=fault in ACCEPTING)
        if fault in ("ok", "reset_taken", "contradict") and taken is not None:
            answered(self._answer(fault, taken))
        elif fault in NOES:
            status, reason, retry_after_s = NOES[fault]
            answered(answer(self.ref, Certainty.REFUSED, status, reason, retry_after_s=retry_after_s))
        elif fault in ("reset_not", "denied"):
            answered(lost(self.ref))
            if fault == "denied" and self.declares.webhooks:
                self._report(ReportKind.NOT_TAKEN, key, attempt.request_id, "")

    def _seen(self, token: str) -> Key:
        """The key as it is known when a request arrives: within its window it is the one that was seen first."""
        now, window_s = self.world.now, self.declares.key_window_s
        known = self._keys.get(token)
        if window_s is None or not token:
            return Key(now)
        if known is None or now >= known.seen_at + window_s:
            known = self._keys[token] = Key(now)
        return known

    def _landed(self, key: str, attempt: Attempt, seen: Key, *, accepts: bool) -> Taken | None:
        self.world.landing[key] -= 1
        return self._accept(key, attempt, seen) if accepts else None

    def _accept(self, key: str, attempt: Attempt, seen: Key) -> Taken:
        """Take it, unless something was taken under its key."""
        if seen.taken is not None:
            return seen.taken
        taken = seen.taken = Taken(key, f"{self.ref}-m{next(self.world.ids)}", attempt.request_id)
        self.ledger.append(taken)
        self.world.judge_ledgers(key)
        if self.declares.webhooks:
            least = 1 if self.world.calm else 0
            # What can be taken back has not reached anybody yet.
            told = (ReportKind.ACCEPTED,) if self.declares.cancels else TOLD
            for _ in range(self.world.dice.randint(least, 3)):
                self._report(self.world.dice.choice(told), key, attempt.request_id, taken.message_id)
        return taken

    def _answer(self, fault: str, taken: Taken) -> Sent:
        if fault == "reset_taken":
            return lost(self.ref, provider_message_id=self.world.dice.choice(("", taken.message_id)))
        return answer(
            self.ref,
            Certainty.ACCEPTED,
            PROVIDER_STATUS_OK,
            DeliveryReason.ACCEPTED,
            provider_message_id=taken.message_id,
            provider_request_id=f"pr-{taken.request_id}",
            provider_ack_ref="" if fault == "contradict" else taken.message_id,
        )

    def _report(self, kind: ReportKind, key: str, request_id: str, message_id: str) -> None:
        world = self.world
        report = Report(
            provider_ref=self.ref,
            event_id=f"e{next(world.ids)}",
            kind=kind,
            at=instant(world.now),
            provider_message_id=message_id,
            provider_request_id=f"pr-{request_id}",
            idempotency_key=key if self._echoes_key else "",
        )
        for _ in range(world.dice.choice((1, 1, 2))):
            world.after(world.dice.choice((0.0, 1.0, 30.0, 400.0)), lambda: world.webhook(key, report, 3))

    def find(self, key: str, attempt: Attempt) -> Sent:
        """What its look-up answers. Its adapter is careless: it calls early silence and its own failures a refusal."""
        chance = 1.0 if self.world.calm else self.world.dice.random()
        if chance < 0.15:
            return answer(self.ref, Certainty.UNKNOWN, PROVIDER_STATUS_RETRYABLE_FAIL, DeliveryReason.STILL_UNKNOWN)
        if chance < 0.25:
            return answer(self.ref, Certainty.REFUSED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY)
        if any(self._is_asked(each, key, attempt) for each in self.taken_back):
            return answer(self.ref, Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.CANCELLED)
        taken = next((each for each in self.ledger if self._is_asked(each, key, attempt)), None)
        if taken is None:
            return answer(self.ref, Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.NOT_FOUND)
        return self._answer("ok", taken)

    def take_back(self, key: str, attempt: Attempt) -> Sent:
        """Take a message back, unless it is too late; its answer may be lost, and what it does not have it forgets."""
        taken = next((each for each in self.ledger if self._is_asked(each, key, attempt)), None)
        if taken is None or self.world.dice.random() < 0.3:
            return self.find(key, attempt)
        self.ledger.remove(taken)
        self.taken_back.append(taken)
        return self.find(key, attempt)

    def _is_asked(self, taken: Taken, key: str, attempt: Attempt) -> bool:
        lookups = self.declares.lookups
        return (
            (Lookup.KEY in lookups and taken.key == key)
            or (Lookup.REQUEST_ID in lookups and taken.request_id == attempt.request_id)
            or (Lookup.MESSAGE_ID in lookups and taken.message_id == attempt.provider_message_id)
        )


class World:
    """Everything, and the queue of what happens when. `step` makes the next thing happen."""

    def __init__(self, seed: int, scenario: Scenario | None = None) -> None:
        self.dice = Random(seed)
        self.scenario = scenario or drawn(self.dice)
        self.now = START
        self.ids = itertools.count(1)
        self.steps = 0
        self.coverage: Counter[str] = Counter()
        self.rows: dict[str, Row] = {}
        self.landing: Counter[str] = Counter()
        self.rules = replace(
            RULES,
            fallback_when_inconclusive=self.scenario.fallback,
            quiet_hours=QuietHours(15 * 60 + 10, 15 * 60 + 25, "UTC") if self.scenario.quiet else None,
        )
        declared = self.scenario.providers or tuple(self.dice.choices(DECLARED, k=self.dice.randint(1, 3)))
        self.providers = {ref: Provider(self, ref, each) for ref, each in zip("abc", declared, strict=False)}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._skews = [self._skew() for _ in range(self.scenario.dispatchers)]
        self._lives = [0] * self.scenario.dispatchers
        self._stopped = [0.0] * self.scenario.dispatchers
        for number in range(self.scenario.deliveries):
            self.after(self.dice.uniform(0, self.scenario.storm_s / 4), lambda number=number: self.take_on(number))
        for me in range(self.scenario.dispatchers):
            self._start(me)
        self.after(self.dice.uniform(5, 60), self._weather)

    @property
    def calm(self) -> bool:
        """Whether the storm is over: nothing fails any more."""
        return self.now >= START + self.scenario.storm_s

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Something will happen."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), happen))

    def step(self) -> bool:
        """The next thing happens; whether there is more to come."""
        if not self._queue or self.now > START + self.scenario.storm_s + CALM_S:
            return False
        at, _, happen = heapq.heappop(self._queue)
        self.now = max(self.now, at)
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Violation("it never comes to rest")
        happen()
        return not self._quiescent()

    def run(self) -> World:
        """To the end, and what must be true there."""
        while self.step():
            pass
        self.judge_end()
        return self

    def _quiescent(self) -> bool:
        if not self.calm or any(self.landing.values()) or len(self.rows) < self.scenario.deliveries:
            return False
        return all(row.value.due_at is None for row in self.rows.values())

    def take_on(self, number: int) -> None:
        """An intent is accepted."""
        key = delivery_idem("tenant", f"m{number}", "r", DELIVERY_CHANNEL_SMS, b"payload", "")
        self.rows[key] = Row(
            machine.accepted(
                delivery_id=key,
                tenant_id="tenant",
                message_id=f"m{number}",
                recipient_id="r",
                channel=DELIVERY_CHANNEL_SMS,
                now=self.now,
                priority=self.dice.choice((DELIVERY_PRIORITY_NORMAL, DELIVERY_PRIORITY_URGENT)),
                not_before=self.now + self.dice.choice((0.0, 0.0, 150.0)),
                expires_at=self.now + self.dice.choice((250.0, 900.0, 4_000.0)),
            )
        )

    def change(self, key: str, event: Event, now: float, revision: int | None = None) -> Delivery | Refused | None:
        """One transaction. With a revision it is a compare-and-set: None where the row has moved on."""
        row = self.rows[key]
        if revision is not None and row.revision != revision:
            self.coverage["moved on"] += 1
            return None
        before, after = row.value, machine.apply(row.value, event, now, self.rules)
        if isinstance(after, Refused):
            self.coverage[f"{type(event).__name__} refused {after.code}"] += 1
            return after
        self.coverage[f"{type(event).__name__} in {DeliveryState.Name(before.state)[15:]}"] += 1
        if after != before:
            self.judge_change(before, after)
            row.value, row.revision = after, row.revision + 1
        return after

    def _start(self, me: int) -> None:
        self._lives[me] += 1
        life, steps = self._lives[me], self._dispatcher(me)

        def resume() -> None:
            if self._lives[me] != life:
                return
            if self._stopped[me] > self.now:
                self.after(self._stopped[me] - self.now, resume)
                return
            chance = 1.0 if self.calm else self.dice.random()
            if chance < 0.02:
                self.crash(me)
                return
            delay_s = next(steps)
            if chance < 0.09:
                self.coverage["pause"] += 1
                delay_s += self.dice.choice((self.dice.uniform(1, 40), 60.0, 200.0, 700.0))
            self.after(delay_s, resume)

        self.after(self.dice.uniform(0, 5), resume)

    def crash(self, me: int) -> None:
        """A dispatcher dies between two steps; another one starts in its place."""
        self.coverage["crash"] += 1
        self._lives[me] += 1
        life = self._lives[me]
        self.after(self.dice.uniform(0, 90), lambda: self._start(me) if self._lives[me] == life else None)

    def local(self, me: int) -> float:
        """What a dispatcher's clock shows."""
        return self.now + self._skews[me]

    def _skew(self) -> float:
        half = RULES.clock_skew_s / 2
        return self.dice.choice((-half, half, 0.0, self.dice.uniform(-half, half)))

    def _dispatcher(self, me: int) -> Steps:
        """It never ends; between two of its steps it may crash, or be stopped for long."""
        while True:
            now = self.local(me)
            due = [key for key, row in self.rows.items() if row.value.due_at is not None and row.value.due_at <= now]
            if not due:
                yield self._idle_s(me)
                continue
            key = self.dice.choice(due)
            value = self.rows[key].value
            held = self.change(key, machine.taken(value, f"d{me}", value.fence + 1, now + LEASE_S), now)
            revision = self.rows[key].revision
            yield 0.01
            if isinstance(held, Delivery):
                yield from self._work(Hand(self, me, key, held.fence, revision), held)

    def _idle_s(self, me: int) -> float:
        dues = [row.value.due_at for row in self.rows.values() if row.value.due_at is not None]
        wait_s = min(dues, default=math.inf) - self.local(me)
        return min(max(wait_s, 0.2), 4_000.0 if self.calm else 60.0)

    def _work(self, hand: Hand, value: Delivery) -> Steps:
        match machine.next_action(value, hand.now, self._policy(hand)):
            case machine.Send(provider_ref, declares, token, kind):
                begin = machine.Begin(fence=hand.fence, provider_ref=provider_ref, declares=declares, token=token)
                begun = hand.write(begin)
                if isinstance(begun, Refused) and begun.code not in OVERTAKEN:
                    raise Violation(f"what was advised is refused: {begun.code}")
                if not isinstance(begun, Delivery):
                    return
                self.coverage[f"sent {kind}"] += 1
                if isinstance(machine.apply(begun, begin, hand.now, self.rules), Delivery):
                    raise Violation("begun twice")
                yield 0.01
                yield from self._call(hand, begun.attempts[-1])
            case machine.Poll(provider_ref, number):
                asked_at = hand.now
                sent = self.providers[provider_ref].find(hand.key, value.attempts[number - 1])
                yield self.dice.uniform(0.05, 5)
                hand.write(machine.PollEnded(hand.fence, number, sent, asked_at))
            case machine.TakeBack(provider_ref, number):
                if not isinstance(hand.write(machine.TakeBackBegun(hand.fence, number)), Delivery):
                    return
                until = hand.now + RULES.call_timeout_s
                yield 0.01
                asked_at = hand.now
                if asked_at > until:
                    self.coverage["woke too late to take back"] += 1
                    return
                self.coverage["asked to take back"] += 1
                sent = self.providers[provider_ref].take_back(hand.key, value.attempts[number - 1])
                yield self.dice.uniform(0.05, 5)
                hand.write(machine.TakeBackEnded(hand.fence, number, sent, asked_at))
            case machine.Close(event):
                hand.write(event)
            case machine.Wait(until, reason):
                hand.write(machine.Requeue(hand.fence, until, reason))
            case machine.NeedsPerson(reason):
                hand.write(machine.Requeue(hand.fence, None, reason))
        yield 0.01

    def _call(self, hand: Hand, attempt: Attempt) -> Steps:
        answers: list[Sent] = []
        if hand.now > attempt.deadline_at:
            self.coverage["woke too late"] += 1
            answers.append(
                answer(
                    attempt.provider_ref,
                    Certainty.REFUSED,
                    PROVIDER_STATUS_RETRYABLE_FAIL,
                    ProviderReason.DEADLINE_EXCEEDED,
                )
            )
        else:
            self.providers[attempt.provider_ref].leave(hand.key, attempt, answers.append)
            yield self.dice.uniform(0.1, 20)
        sent = answers[0] if answers else lost(attempt.provider_ref)
        for _ in range(self.dice.choice((1, 1, 1, 2))):
            told = hand.write(machine.Ended(hand.fence, attempt.number, sent, self.dice.random()))
            yield 0.01
        if not isinstance(told, Delivery):
            self.change(hand.key, machine.Learned(attempt.number, attempt.request_id, sent), hand.now)

    def _policy(self, hand: Hand) -> Policy:
        def later(furthest_s: float) -> float:
            return 0.0 if self.calm or self.dice.random() > 0.1 else hand.now + self.dice.uniform(0.1, furthest_s)

        return Policy(
            rules=self.rules,
            options=tuple(
                Option(
                    provider_ref=provider.ref,
                    declares=provider.declares,
                    token=provider.token(hand.key),
                    open_until=later(120),
                    full_until=later(5),
                )
                for provider in self.providers.values()
            ),
        )

    def webhook(self, key: str, report: Report, tries: int) -> None:
        """A webhook comes in; one about nothing that is known comes again."""
        told = self.change(key, machine.Reported(report), self.now)
        if isinstance(told, Refused) and tries > 1:
            self.after(100, lambda: self.webhook(key, report, tries - 1))
        attempts = told.attempts if isinstance(told, Delivery) else ()
        back = any(each.cancels for each in attempts)
        if isinstance(told, Delivery) and report.kind is not ReportKind.NOT_TAKEN and not told.final and not back:
            raise Violation("evidence of an acceptance came, and the delivery is not final")

    def _weather(self) -> None:
        if self.calm:
            return
        self.after(self.dice.uniform(5, 60), self._weather)
        if not self.rows:
            return
        me = self.dice.randrange(self.scenario.dispatchers)
        key = self.dice.choice(list(self.rows))
        chance = self.dice.random()
        if chance < 0.4:
            self._skews[me] = self._skew()
        elif chance < 0.45:
            self.change(key, machine.Cancel("CHANGED_MIND"), self.now)
        elif chance < 0.6:
            self.change(key, self.dice.choice((machine.LeaseLost(), machine.Reconcile(), machine.Expire())), self.now)
        elif self.scenario.persons:
            self.person(key)

    def person(self, key: str) -> None:
        """Somebody looks at the providers' consoles, and says what is the case."""
        value = self.rows[key].value
        if any(taken.key == key for each in self.providers.values() for taken in each.ledger):
            self.change(key, machine.Resolve(RESOLUTION_SENT, "VENDOR_CONSOLE", "ticket"), self.now)
            return
        left = max((each.deadline_at for each in value.uncertain), default=0.0) + RULES.clock_skew_s
        if not self.landing[key] and self.now > left:
            resolution = self.dice.choice((RESOLUTION_NOT_SENT_RETRY, RESOLUTION_NOT_SENT_GIVE_UP))
            self.change(key, machine.Resolve(resolution, "VENDOR_CONSOLE", "ticket"), self.now)

    def run_for(self, seconds: float) -> None:
        """What happens in the next so many seconds."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until and self.step():
            pass
        self.now = max(self.now, until)

    def stop(self, me: int, seconds: float) -> None:
        """A dispatcher is stopped where it stands, and wakes up later as if nothing had been."""
        self._stopped[me] = self.now + seconds

    def acceptances(self, key: str) -> int:
        """In how many entries of all ledgers a delivery is."""
        return sum(taken.key == key for each in self.providers.values() for taken in each.ledger)

    def judge_ledgers(self, key: str) -> None:
        """The promise: one acceptance, and one more for each fallback that the profile allowed."""
        value = self.rows[key].value
        fallbacks = sum(each.kind is AttemptKind.FALLBACK for each in value.attempts)
        if fallbacks and not self.scenario.fallback:
            raise Violation("a fallback that no profile allowed")
        if self.acceptances(key) > 1 + fallbacks:
            raise Violation(f"accepted twice: {[(each.provider_ref, each.kind) for each in value.attempts]}")

    def judge_change(self, before: Delivery, after: Delivery) -> None:
        """What holds of every change."""
        for broken, what in (
            (before.final and standing(before) != standing(after), "what was final changed"),
            (len(after.attempts) < len(before.attempts), "an attempt was forgotten"),
            (after.fence < before.fence, "a fence fell"),
            (loosened(before, after), "what was certain became uncertain"),
            (bool(before.cancel_reason) and not after.cancel_reason, "that it is to be taken back was forgotten"),
            (
                bool(before.cancel_reason) and len(after.attempts) > len(before.attempts),
                "sent although it is to be taken back",
            ),
        ):
            if broken:
                raise Violation(what)
        if problem := problem_of(after):
            raise Violation(problem)
        if self.steps % 16 == 0 and delivery_of(json.loads(json.dumps(kept(after)))) != after:
            raise Violation("what is kept is not what was")

    def judge_end(self) -> None:
        """After the storm every delivery is final, and truly so, or visibly UNKNOWN for want of evidence."""
        for key, row in self.rows.items():
            value, taken = row.value, self.acceptances(key)
            self.coverage[f"end {DeliveryState.Name(value.state)[15:]}"] += 1
            if not value.final and value.state != DELIVERY_STATE_UNKNOWN:
                raise Violation(f"forgotten in {DeliveryState.Name(value.state)}: {value.reason}")
            if value.state == DELIVERY_STATE_SENT_ACKED and not taken:
                raise Violation("said to be sent, and nobody has it")
            if value.final and value.state != DELIVERY_STATE_SENT_ACKED and taken:
                raise Violation(f"{DeliveryState.Name(value.state)}, and a provider has it")
            if value.uncertain and not value.final and all(tells(each) for each in value.uncertain):
                raise Violation("UNKNOWN, although the providers would tell")


@dataclass(frozen=True, slots=True)
class Hand:
    """A dispatcher's hold of one row: by which fence, and as it was when it was read."""

    world: World
    me: int
    key: str
    fence: int
    revision: int
    moves: list[int] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.world.local(self.me)

    def write(self, event: Event) -> Delivery | Refused | None:
        """Its changes follow each other, and nobody else's may come between."""
        revision = (self.moves or [self.revision])[-1] if self.world.scenario.compare_and_set else None
        fence = self.world.rows[self.key].value.fence
        told = self.world.change(self.key, event, self.now, revision)
        if isinstance(told, Delivery):
            if fence != self.fence and not isinstance(event, machine.Expire):
                raise Violation("a change under a lease that is over")
            self.moves.append(self.world.rows[self.key].revision)
        return told


def answer(
    ref: str,
    certainty: Certainty,
    status: ProviderStatus,
    reason: str,
    *,
    provider_message_id: str = "",
    provider_request_id: str = "",
    provider_ack_ref: str = "",
    retry_after_s: float | None = None,
) -> Sent:
    """What an adapter hands back."""
    return Sent(
        certainty=certainty,
        result=ProviderResultV1(provider_ref=ref, status=status, reason_code=reason),
        provider_message_id=provider_message_id,
        provider_request_id=provider_request_id,
        provider_ack_ref=provider_ack_ref,
        retry_after_s=retry_after_s,
    )


def lost(ref: str, *, provider_message_id: str = "") -> Sent:
    """No whole answer came."""
    return answer(
        ref,
        Certainty.UNKNOWN,
        PROVIDER_STATUS_RETRYABLE_FAIL,
        DeliveryReason.ANSWER_LOST,
        provider_message_id=provider_message_id,
    )


def standing(delivery: Delivery) -> tuple[int, str, float, float | None]:
    """What is final of a final delivery."""
    return delivery.state, delivery.reason, delivery.since, delivery.next_at


def loosened(before: Delivery, after: Delivery) -> bool:
    """Whether an attempt lost its certainty; that it was accepted after all may be learned of any."""
    return any(
        (was.certainty is Certainty.ACCEPTED and now.certainty is not Certainty.ACCEPTED)
        or (was.certainty is Certainty.REFUSED and now.uncertain)
        for was, now in zip(before.attempts, after.attempts, strict=False)
    )


def tells(attempt: Attempt) -> bool:
    """Whether its provider says in the end, by itself, what became of an attempt."""
    return Lookup.KEY in attempt.declares.lookups and attempt.declares.absent_after_s is not None


def problem_of(value: Delivery) -> str:
    """What is wrong with a delivery, whatever happened to it; empty where nothing is."""
    accepted = [each for each in value.attempts if each.certainty is Certainty.ACCEPTED]
    under_way = [each for each in value.attempts if each.certainty is None]
    sending, unknown = value.state == DELIVERY_STATE_SENDING, value.state == DELIVERY_STATE_UNKNOWN
    problems = (
        (value.state == DELIVERY_STATE_SENT_ACKED and not accepted, "SENT_ACKED without an acceptance"),
        (bool(accepted) and not value.final, "accepted, and not final"),
        (any(bool(each.ack_ref) != (each in accepted) for each in value.attempts), "an acknowledgement out of place"),
        (sending and under_way != [value.attempts[-1]], "SENDING, and not its last attempt under way"),
        (bool(under_way) and not sending and not value.final, "a call under way, and not SENDING"),
        (unknown and not value.uncertain, "UNKNOWN, and nothing is"),
        (
            bool(value.uncertain) and not (unknown or sending or value.final),
            "something is unknown, and it is not UNKNOWN",
        ),
        (value.lease is not None and value.state not in LEASABLE, "a lease where none is"),
        (value.lease is not None and value.lease.fence != value.fence, "a lease with an old fence"),
        (value.final and value.next_at is not None, "final, and something is to happen"),
        ([each.number for each in value.attempts] != list(range(1, len(value.attempts) + 1)), "attempts out of order"),
    )
    return next((what for broken, what in problems if broken), "")


def soak(steps: int, seed: int = 0, scenario: Scenario | None = None) -> tuple[int, int, Counter[str]]:
    """Worlds of seeds from ``seed`` on, until so many steps are made: worlds, steps, and what happened how often."""
    made, coverage = 0, Counter[str]()
    for worlds in itertools.count(1):
        number = seed + worlds - 1
        world = World(number, scenario)
        try:
            world.run()
        except Violation as violation:
            raise Violation(f"seed {number}, step {world.steps}: {violation}") from violation
        made += world.steps
        coverage += world.coverage
        if made >= steps:
            return worlds, made, coverage
    raise AssertionError("seeds never end")


def main() -> None:
    """Run for long and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    begun = time.perf_counter()
    worlds, steps, coverage = soak(asked.steps, asked.seed)
    took_s = time.perf_counter() - begun
    for what, times in sorted(coverage.items()):
        print(f"{times:>10,}  {what}")
    print(f"{worlds:,} worlds, {steps:,} steps in {took_s:.1f} s: {steps / took_s:,.0f} steps/s; accepted twice: 0")


if __name__ == "__main__":
    main()
