"""What becomes of a delivery (§25, DLV-1, DLV-2): one table of what may happen in which state, and what to do next.

What makes it safe is decided over the attempts, never over the state alone. An attempt is certain (a provider has it,
or definitely does not) or uncertain. While any attempt is uncertain, nothing goes out but the same request again, to
the same provider, under the same key, while that provider still holds the key; else the provider is asked, and a
webhook or a person is waited for. Once any attempt is accepted, nothing goes out at all. Nor does anything once
somebody asked to take it back: a provider that may have it is then asked to, where it declares that it can, and the
delivery stays UNKNOWN until it is known whether that came too late.

`apply` changes nothing where the table has no row. Every change of a dispatcher names the fence of its lease, and is
refused where a later lease has been given.

Pure. Times are seconds since the epoch; clocks of processes that share a delivery differ by at most
``Rules.clock_skew_s``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_PRIORITY_URGENT,
    DELIVERY_RECEIPT_DELIVERED,
    DELIVERY_RECEIPT_FAILED,
    DELIVERY_RECEIPT_READ,
    DELIVERY_RECEIPT_UNSPECIFIED,
    DELIVERY_STATE_ACCEPTED,
    DELIVERY_STATE_CANCELLED,
    DELIVERY_STATE_EXPIRED,
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_LEASED,
    DELIVERY_STATE_RETRYABLE,
    DELIVERY_STATE_SENDING,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    DeliveryChannel,
    DeliveryPriority,
    DeliveryReceipt,
    DeliveryState,
)
from selene.delivery.v1.service_pb2 import (
    RESOLUTION_NOT_SENT_GIVE_UP,
    RESOLUTION_NOT_SENT_RETRY,
    RESOLUTION_SENT,
    Resolution,
)
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import (
    CALLER_FAULTS,
    Certainty,
    Declares,
    DeliveryReason,
    Lookup,
    Recipient,
    Report,
    ReportKind,
    Sent,
    Trace,
)
from servers.delivery.identity import attempt_group_id, attempt_request_id
from servers.delivery.schedule import QuietHours, backoff, instant, quiet_until
from servers.routing.reasons import ProviderReason

DEFAULT_LIFE_S: Final = 86_400.0
LOOK_FOR_SECRET_S: Final = 10.0
"""How often is looked whether the secret of a provider has come that nobody else can send without."""
FINAL: Final = frozenset(
    {
        DELIVERY_STATE_SENT_ACKED,
        DELIVERY_STATE_FAILED_DEFINITE,
        DELIVERY_STATE_CANCELLED,
        DELIVERY_STATE_EXPIRED,
    }
)


class Reason(StrEnum):
    """Why a delivery or an attempt stands where it stands, where no provider and no person said so."""

    ACCEPTED = "ACCEPTED"
    LEASED = "LEASED"
    SENDING = "SENDING"
    DISPATCHER_LOST = "DISPATCHER_LOST"
    """Whoever sent it is gone: nobody knows whether a byte left."""
    ANSWER_CONTRADICTS = "ANSWER_CONTRADICTS"
    """An acceptance without acknowledgement, or a refusal with one."""
    EXPIRED = "EXPIRED"
    NO_PROVIDER_LEFT = "NO_PROVIDER_LEFT"
    RETRY_BUDGET_SPENT = "RETRY_BUDGET_SPENT"
    NOT_BEFORE = "NOT_BEFORE"
    QUIET_HOURS = "QUIET_HOURS"
    BACKOFF = "BACKOFF"
    CIRCUIT_OPEN = "CIRCUIT_OPEN"
    RATE_LIMITED = "RATE_LIMITED"
    NO_PROVIDER = "NO_PROVIDER"
    SECRET_AWAITED = "SECRET_AWAITED"
    """Nobody can send it now, but a provider lacks no more than its secret."""
    ADDRESS_OUT_OF_REACH = "ADDRESS_OUT_OF_REACH"
    """No provider that there is can know the address."""
    IN_FLIGHT = "IN_FLIGHT"
    WEBHOOK_AWAITED = "WEBHOOK_AWAITED"
    PERSON_NEEDED = "PERSON_NEEDED"


class RefusalCode(StrEnum):
    """Why an event changed nothing."""

    NOT_LISTED = "NOT_LISTED"
    """The table has no such row: it cannot happen in this state."""
    CLOCK_INVALID = "CLOCK_INVALID"
    FENCED = "FENCED"
    """Not the lease in force."""
    LEASE_HELD = "LEASE_HELD"
    """The lease in force has not run out."""
    LEASE_OVER = "LEASE_OVER"
    """The lease would run out under the call."""
    TOO_EARLY = "TOO_EARLY"
    EXPIRED = "EXPIRED"
    OUTCOME_UNCERTAIN = "OUTCOME_UNCERTAIN"
    """An earlier request may have been taken, and no key that still holds covers this one."""
    ALREADY_ACCEPTED = "ALREADY_ACCEPTED"
    RETRY_BUDGET_SPENT = "RETRY_BUDGET_SPENT"
    CANCEL_ASKED = "CANCEL_ASKED"
    """It is to be taken back."""
    NO_SUCH_ATTEMPT = "NO_SUCH_ATTEMPT"
    RESOLUTION_INVALID = "RESOLUTION_INVALID"


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that changed nothing."""

    code: RefusalCode


class AttemptKind(StrEnum):
    """Why an attempt was allowed."""

    FRESH = "FRESH"
    """Every earlier one was definitely refused."""
    RESEND = "RESEND"
    """The same request again, under a key that the provider still holds."""
    FALLBACK = "FALLBACK"
    """To another provider after an inconclusive reconciliation, because the profile allows it (§25, guardrail 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one provider, kept before its first byte leaves.

    No byte of it leaves after ``deadline_at``. ``declares`` is what the provider guaranteed then. ``certainty`` is None
    while it is under way. Where it was refused, ``spent`` says that the same provider will never take it, and
    ``rest_until`` when it may be asked again. ``polls`` counts look-ups that told nothing. ``ack_ref`` is set where and
    only where it was accepted. ``cancels`` counts how often its provider was asked to take it back: from then on what
    it may have said before is worth nothing.
    """

    number: int
    provider_ref: str
    request_id: str
    kind: AttemptKind
    declares: Declares
    token_sent: str
    sent_at: float
    deadline_at: float
    certainty: Certainty | None = None
    reason: str = Reason.SENDING
    ended_at: float | None = None
    provider_request_id: str = ""
    provider_message_id: str = ""
    ack_ref: str = ""
    spent: bool = False
    rest_until: float = 0.0
    polls: int = 0
    cancels: int = 0

    @property
    def uncertain(self) -> bool:
        """Whether the provider may have it, for all that is known."""
        return self.certainty not in (Certainty.ACCEPTED, Certainty.REFUSED)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease: who may change the delivery, by which fence, until when. Fences only grow."""

    holder: str
    fence: int
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery. Neither address nor content is in it; the row that keeps it counts its revisions.

    ``next_at`` is when a dispatcher should look at it; None where only a webhook, a report or a person helps. ``fence``
    is of the latest lease that was ever given; ``forgiven`` attempts no longer count against the retry budget.
    ``cancel_reason`` is why it is to be taken back, where somebody asked when a request may have left already.
    """

    delivery_id: str
    tenant_id: str
    message_id: str
    recipient_id: str
    channel: DeliveryChannel
    accepted_at: float
    expires_at: float
    not_before: float
    since: float
    next_at: float | None
    priority: DeliveryPriority = DELIVERY_PRIORITY_NORMAL
    time_zone: str = ""
    state: DeliveryState = DELIVERY_STATE_ACCEPTED
    reason: str = Reason.ACCEPTED
    receipt: DeliveryReceipt = DELIVERY_RECEIPT_UNSPECIFIED
    attempts: tuple[Attempt, ...] = ()
    lease: Held | None = None
    fence: int = 0
    forgiven: int = 0
    cancel_reason: str = ""

    @property
    def final(self) -> bool:
        """Whether its state never changes again."""
        return self.state in FINAL

    @property
    def attempt_group_id(self) -> str:
        """Of all its attempts (§25, guardrail 4)."""
        return attempt_group_id(self.delivery_id)

    @property
    def tries(self) -> int:
        """How much of the retry budget is used."""
        return len(self.attempts) - self.forgiven

    @property
    def polls(self) -> int:
        """Look-ups that told nothing, of all attempts."""
        return sum(attempt.polls for attempt in self.attempts)

    @property
    def uncertain(self) -> tuple[Attempt, ...]:
        """The attempts that a provider may have taken, for all that is known."""
        return tuple(attempt for attempt in self.attempts if attempt.uncertain)

    @property
    def due_at(self) -> float | None:
        """When a dispatcher should take it: as ``next_at``, and not before a lease in force runs out."""
        if self.final:
            return None
        return self.next_at if self.lease is None else self.lease.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The numbers, in seconds where they end in ``_s``.

    ``call_timeout_s``: how long a call may take; its bytes leave within. ``retry_budget``: attempts in all;
    ``tries_per_provider``: refusals in a row before the next provider has its turn. ``rest_s``: how long a provider is
    passed over that did not take our secret. ``key_margin_s``: how long before the end of a key's window it is no
    longer relied upon. An uncertain outcome is asked about every ``poll_every_s``; after ``inconclusive_polls`` that
    told nothing, or ``webhook_patience_s`` without the webhook where nobody can be asked, reconciliation was
    inconclusive: then another provider may be tried where ``fallback_when_inconclusive``, else the polls go on, each
    time twice as rarely down to ``poll_max_s``.
    """

    call_timeout_s: float = 30.0
    retry_budget: int = 16
    tries_per_provider: int = 3
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    rest_s: float = 300.0
    key_margin_s: float = 60.0
    clock_skew_s: float = 60.0
    poll_every_s: float = 60.0
    poll_max_s: float = 3600.0
    inconclusive_polls: int = 10
    webhook_patience_s: float = 900.0
    fallback_when_inconclusive: bool = False
    quiet_hours: QuietHours | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A provider that is there. ``serves``: whether the profile lets it take messages; one that does not can still be
    asked. ``token`` is the provider-native one of this delivery's key, empty where it knows none. Its circuit lets
    nothing through before ``open_until``, and it is passed over; its account takes nothing before ``full_until``, and
    it is waited for. One that does not serve may lack no more than its secret, which may come, or be one that cannot
    know the address, which it never will. ``tries``: refusals before the next has its turn; 0 for what the rules say.
    """

    provider_ref: str
    declares: Declares
    token: str = ""
    serves: bool = True
    open_until: float = 0.0
    full_until: float = 0.0
    lacks_secret: bool = False
    reaches: bool = True
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What holds for a delivery now: the numbers, and the providers, the preferred first."""

    rules: Rules = field(default_factory=Rules)
    options: tuple[Option, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """A dispatcher takes it."""

    holder: str
    fence: int
    until: float


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A lease ran out before anything left under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """A provider is about to be called: to be kept before the first byte leaves."""

    fence: int
    provider_ref: str
    declares: Declares
    token: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The call under way came back. ``jitter`` in [0, 1] lengthens the wait before the next."""

    fence: int
    number: int
    sent: Sent
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class CrashFound:
    """A dispatcher takes over from one whose lease ran out while its call was under way."""

    holder: str
    fence: int
    until: float


@dataclass(frozen=True, slots=True)
class PollEnded:
    """A provider was asked, at ``asked_at``, what became of an attempt."""

    fence: int
    number: int
    sent: Sent
    asked_at: float


@dataclass(frozen=True, slots=True)
class TakeBackBegun:
    """A provider is about to be asked to take an attempt back: to be kept before."""

    fence: int
    number: int


@dataclass(frozen=True, slots=True)
class TakeBackEnded:
    """A provider was asked, at ``asked_at``, to take an attempt back."""

    fence: int
    number: int
    sent: Sent
    asked_at: float


@dataclass(frozen=True, slots=True)
class Learned:
    """The outcome of an attempt from somebody whose lease is over: evidence, whoever brings it."""

    number: int
    request_id: str
    sent: Sent


@dataclass(frozen=True, slots=True)
class Reported:
    """A provider reports by a webhook."""

    report: Report


@dataclass(frozen=True, slots=True)
class Requeue:
    """The holder puts it back until then; None where time alone does not help."""

    fence: int
    until: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Somebody wants it asked about now."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """The tenant takes it back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """A person found out what is the case."""

    resolution: Resolution
    reason: str
    evidence_ref: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Its time is over."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The holder has no provider left to ask."""

    fence: int
    reason: str


Event = (
    Lease
    | LeaseLost
    | Begin
    | Ended
    | CrashFound
    | PollEnded
    | TakeBackBegun
    | TakeBackEnded
    | Learned
    | Reported
    | Requeue
    | Reconcile
    | Cancel
    | Resolve
    | Expire
    | GiveUp
)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before then."""

    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """Keep `Begin` with these, then call the provider."""

    provider_ref: str
    declares: Declares
    token: str
    kind: AttemptKind


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the provider what became of an attempt."""

    provider_ref: str
    number: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Keep `TakeBackBegun`, then ask the provider to take the attempt back."""

    provider_ref: str
    number: int


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing may be sent any more: apply this."""

    event: Expire | GiveUp


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Only a person can tell, or a webhook that nobody expects any more."""

    reason: str = Reason.PERSON_NEEDED


@dataclass(frozen=True, slots=True)
class Done:
    """It is final."""


Action = Wait | Send | Poll | TakeBack | Close | NeedsPerson | Done


def accepted(
    *,
    delivery_id: str,
    tenant_id: str,
    message_id: str,
    recipient_id: str,
    channel: DeliveryChannel,
    now: float,
    priority: DeliveryPriority = DELIVERY_PRIORITY_NORMAL,
    time_zone: str = "",
    not_before: float | None = None,
    expires_at: float | None = None,
) -> Delivery:
    """A delivery that was just taken on; without ``expires_at`` it lives a day."""
    start = now if not_before is None else max(now, not_before)
    return Delivery(
        delivery_id=delivery_id,
        tenant_id=tenant_id,
        message_id=message_id,
        recipient_id=recipient_id,
        channel=channel,
        accepted_at=now,
        not_before=start,
        expires_at=now + DEFAULT_LIFE_S if expires_at is None else expires_at,
        since=now,
        next_at=start,
        priority=priority,
        time_zone=time_zone,
    )


def apply(delivery: Delivery, event: Event, now: float, rules: Rules) -> Delivery | Refused:
    """The delivery after an event; the very same one where the event told nothing new."""
    handler = TABLE.get((delivery.state, type(event)))
    if handler is None:
        return Refused(RefusalCode.NOT_LISTED)
    if not math.isfinite(now):
        return Refused(RefusalCode.CLOCK_INVALID)
    return handler(delivery, event, now, rules)


def taken(delivery: Delivery, holder: str, fence: int, until: float) -> Lease | CrashFound:
    """The event of a dispatcher that got the row's lease: what it finds may have been left in the middle of a call."""
    if delivery.state == DELIVERY_STATE_SENDING:
        return CrashFound(holder, fence, until)
    return Lease(holder, fence, until)


def trace(delivery: Delivery, attempt: Attempt, recipient: Recipient | None = None) -> Trace:
    """By what a provider is asked about an attempt."""
    return Trace(
        idempotency_key=delivery.delivery_id,
        request_id=attempt.request_id,
        sent_at=instant(attempt.sent_at),
        token_sent=attempt.token_sent,
        provider_request_id=attempt.provider_request_id,
        provider_message_id=attempt.provider_message_id,
        recipient=recipient,
    )


def may_send(delivery: Delivery, provider_ref: str, token: str, now: float, rules: Rules) -> AttemptKind | RefusalCode:
    """Whether a request may go to this provider, as what; or why not."""
    if any(attempt.certainty is Certainty.ACCEPTED for attempt in delivery.attempts):
        return RefusalCode.ALREADY_ACCEPTED
    if delivery.cancel_reason:
        return RefusalCode.CANCEL_ASKED
    if now >= delivery.expires_at:
        return RefusalCode.EXPIRED
    if now < delivery.not_before:
        return RefusalCode.TOO_EARLY
    if delivery.tries >= rules.retry_budget:
        return RefusalCode.RETRY_BUDGET_SPENT
    uncertain = delivery.uncertain
    if not uncertain:
        return AttemptKind.FRESH
    same = all((each.provider_ref, each.token_sent) == (provider_ref, token) for each in uncertain)
    if same and key_holds(delivery, provider_ref, token, now, rules):
        return AttemptKind.RESEND
    elsewhere = all(each.provider_ref != provider_ref and inconclusive(each, now, rules) for each in uncertain)
    if rules.fallback_when_inconclusive and elsewhere:
        return AttemptKind.FALLBACK
    return RefusalCode.OUTCOME_UNCERTAIN


def key_holds(delivery: Delivery, provider_ref: str, token: str, now: float, rules: Rules) -> bool:
    """Whether a request that leaves within the call's time is still taken for those that went to this provider under
    this token. The window counts from the first of them, whatever became of it. A clock that was set back behind what
    it wrote earlier lengthens no window.
    """
    same = [each for each in delivery.attempts if (each.provider_ref, each.token_sent) == (provider_ref, token)]
    windows = [each.declares.key_window_s for each in same]
    if not token or not same:
        return False
    ends = [each.sent_at + window for each, window in zip(same, windows, strict=True) if window is not None]
    latest = max(now, delivery.since, *(each.ended_at or each.sent_at for each in delivery.attempts))
    leaves_by = latest + rules.call_timeout_s + rules.key_margin_s + rules.clock_skew_s
    return len(ends) == len(same) and leaves_by <= min(ends)


def absent_at(attempt: Attempt, rules: Rules) -> float | None:
    """From when on "not found" means that the provider never took an attempt; None where it never does. It counts from
    the last moment at which a byte of it may have left.
    """
    after_s = attempt.declares.absent_after_s
    return None if after_s is None else attempt.deadline_at + after_s + rules.clock_skew_s


def askable(attempt: Attempt) -> bool:
    """Whether its provider can be asked about it, by what is known of it."""
    lookups = attempt.declares.lookups
    return bool(lookups & {Lookup.KEY, Lookup.REQUEST_ID}) or (
        Lookup.MESSAGE_ID in lookups and bool(attempt.provider_message_id)
    )


def inconclusive(attempt: Attempt, now: float, rules: Rules) -> bool:
    """Whether everything was tried that could tell what became of an uncertain attempt."""
    if askable(attempt):
        return attempt.polls >= rules.inconclusive_polls
    if attempt.declares.webhooks:
        return now >= _patience_over(attempt, rules)
    return now >= attempt.deadline_at


def next_action(delivery: Delivery, now: float, policy: Policy) -> Action:
    """What the holder of the lease does next."""
    if delivery.final:
        return Done()
    if delivery.state == DELIVERY_STATE_SENDING:
        return Wait(now if delivery.lease is None else delivery.lease.until, Reason.IN_FLIGHT)
    if delivery.state == DELIVERY_STATE_UNKNOWN:
        return _reconciled(delivery, now, policy)
    if now >= delivery.expires_at:
        return Close(Expire())
    action = _dispatched(delivery, now, policy)
    return replace(action, until=min(action.until, delivery.expires_at)) if isinstance(action, Wait) else action


def _dispatched(delivery: Delivery, now: float, policy: Policy) -> Action:
    """Where every earlier attempt was definitely refused."""
    if hold := _hold(delivery, now, policy.rules):
        return hold
    if delivery.tries >= policy.rules.retry_budget:
        return Close(GiveUp(delivery.fence, Reason.RETRY_BUDGET_SPENT))
    refused = {option.provider_ref: _refusals(delivery, option.provider_ref) for option in policy.options}
    unspent = [each for each in policy.options if not any(one.spent for one in refused[each.provider_ref])]
    left = [option for option in unspent if option.serves]
    if not left:
        return _nobody_left(delivery, now, policy, unspent)
    usual = policy.rules.tries_per_provider
    in_turn = sorted(left, key=lambda option: len(refused[option.provider_ref]) // (option.tries or usual))
    free = {option.provider_ref: _free_at(option, refused[option.provider_ref]) for option in in_turn}
    chosen = next((option for option in in_turn if free[option.provider_ref] <= now), None)
    if chosen is None:
        return Wait(min(free.values()), Reason.CIRCUIT_OPEN)
    if chosen.full_until > now:
        return Wait(chosen.full_until, Reason.RATE_LIMITED)
    return Send(chosen.provider_ref, chosen.declares, chosen.token, AttemptKind.FRESH)


def _nobody_left(delivery: Delivery, now: float, policy: Policy, unspent: list[Option]) -> Action:
    """Where no provider can be asked to send it: whether one may come yet."""
    if any(option.lacks_secret for option in unspent):
        return Wait(now + min(LOOK_FOR_SECRET_S, policy.rules.backoff_max_s), Reason.SECRET_AWAITED)
    if any(option.serves for option in policy.options):
        return Close(GiveUp(delivery.fence, Reason.NO_PROVIDER_LEFT))
    if policy.options and not any(option.reaches for option in policy.options):
        return Close(GiveUp(delivery.fence, Reason.ADDRESS_OUT_OF_REACH))
    return Wait(now + policy.rules.backoff_max_s, Reason.NO_PROVIDER)


def _reconciled(delivery: Delivery, now: float, policy: Policy) -> Action:
    """Where a provider may have it: take it back where that is wanted, the same request again, else ask, else another
    provider, else wait.
    """
    if delivery.next_at is not None and now < delivery.next_at:
        return Wait(delivery.next_at, Reason.BACKOFF)
    if take_back := _to_take_back(delivery, policy):  # in turn with asking what became of it
        return take_back
    rules = policy.rules
    hold = _hold(delivery, now, rules)
    sends = [(max(free, hold.until) if hold else free, send) for free, send in _allowed(delivery, now, policy)]
    now_sent = next((send for free, send in sends if free <= now), None)
    if now_sent is not None:
        return now_sent
    there = {option.provider_ref for option in policy.options}
    asked = [each for each in delivery.uncertain if each.provider_ref in there and askable(each)]
    if asked:
        least = min(asked, key=lambda each: each.polls)
        return Poll(least.provider_ref, least.number)
    waits = [Wait(free, hold.reason if hold else Reason.CIRCUIT_OPEN) for free, _ in sends if math.isfinite(free)]
    patience = [_patience_over(each, rules) for each in delivery.uncertain if each.declares.webhooks]
    waits += [Wait(each, Reason.WEBHOOK_AWAITED) for each in patience if each > now]
    if rules.fallback_when_inconclusive:  # bytes may still leave, and only then is nothing left to try
        waits += [Wait(each.deadline_at, Reason.BACKOFF) for each in delivery.uncertain if now < each.deadline_at]
    return min(waits, key=lambda wait: wait.until, default=NeedsPerson())


def _to_take_back(delivery: Delivery, policy: Policy) -> TakeBack | None:
    there = {option.provider_ref for option in policy.options}
    for each in delivery.uncertain if delivery.cancel_reason else ():
        in_turn = each.cancels <= each.polls < policy.rules.inconclusive_polls
        if each.declares.cancels and in_turn and each.provider_ref in there:
            return TakeBack(each.provider_ref, each.number)
    return None


def _allowed(delivery: Delivery, now: float, policy: Policy) -> list[tuple[float, Send]]:
    """The requests that may go although something is uncertain, and when each provider is free; the preferred first."""
    sends: list[tuple[float, Send]] = []
    for option in policy.options:
        refused = _refusals(delivery, option.provider_ref)
        kind = may_send(delivery, option.provider_ref, option.token, now, policy.rules)
        if isinstance(kind, AttemptKind) and option.serves and not any(each.spent for each in refused):
            free = max(_free_at(option, refused), option.full_until)
            sends.append((free, Send(option.provider_ref, option.declares, option.token, kind)))
    return sends


def _hold(delivery: Delivery, now: float, rules: Rules) -> Wait | None:
    """What delays it whichever provider takes it."""
    if now < delivery.not_before:
        return Wait(delivery.not_before, Reason.NOT_BEFORE)
    if delivery.next_at is not None and now < delivery.next_at:
        return Wait(delivery.next_at, Reason.BACKOFF)
    if delivery.priority == DELIVERY_PRIORITY_URGENT:
        return None
    loud = quiet_until(now, rules.quiet_hours, delivery.time_zone)
    return Wait(loud, Reason.QUIET_HOURS) if loud > now else None


def _refusals(delivery: Delivery, provider_ref: str) -> list[Attempt]:
    counted = delivery.attempts[delivery.forgiven :]
    return [each for each in counted if each.provider_ref == provider_ref and each.certainty is Certainty.REFUSED]


def _free_at(option: Option, refused: list[Attempt]) -> float:
    return max((option.open_until, *(each.rest_until for each in refused)))


def _patience_over(attempt: Attempt, rules: Rules) -> float:
    return attempt.deadline_at + rules.webhook_patience_s


def _lease(delivery: Delivery, event: Lease, now: float, _: Rules) -> Delivery | Refused:
    if refusal := _not_takeable(delivery, event, now):
        return refusal
    held = replace(delivery, lease=Held(event.holder, event.fence, event.until), fence=event.fence)
    if delivery.state == DELIVERY_STATE_UNKNOWN:
        return held
    return _to(held, DELIVERY_STATE_LEASED, Reason.LEASED, now, next_at=held.next_at, lease=held.lease)


def _crash_found(delivery: Delivery, event: CrashFound, now: float, _: Rules) -> Delivery | Refused:
    if refusal := _not_takeable(delivery, event, now):
        return refusal
    lost = replace(delivery.attempts[-1], certainty=Certainty.UNKNOWN, reason=Reason.DISPATCHER_LOST, ended_at=now)
    held = replace(_with(delivery, lost), lease=Held(event.holder, event.fence, event.until), fence=event.fence)
    return _to(held, DELIVERY_STATE_UNKNOWN, Reason.DISPATCHER_LOST, now, next_at=now, lease=held.lease)


def _lease_lost(delivery: Delivery, _: LeaseLost, now: float, __: Rules) -> Delivery | Refused:
    if delivery.lease is None:
        return delivery
    if now < delivery.lease.until:
        return Refused(RefusalCode.LEASE_HELD)
    return _back(delivery, now, delivery.next_at, Reason.DISPATCHER_LOST)


def _begin(delivery: Delivery, event: Begin, now: float, rules: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    deadline_at = now + rules.call_timeout_s
    if delivery.lease is None or deadline_at > delivery.lease.until:
        return Refused(RefusalCode.LEASE_OVER)
    kind = may_send(delivery, event.provider_ref, event.token, now, rules)
    if isinstance(kind, RefusalCode):
        return Refused(kind)
    number = len(delivery.attempts) + 1
    attempt = Attempt(
        number=number,
        provider_ref=event.provider_ref,
        request_id=attempt_request_id(delivery.delivery_id, number),
        kind=kind,
        declares=event.declares,
        token_sent=event.token,
        sent_at=now,
        deadline_at=deadline_at,
    )
    begun = replace(delivery, attempts=(*delivery.attempts, attempt))
    return _to(begun, DELIVERY_STATE_SENDING, Reason.SENDING, now, next_at=delivery.next_at, lease=delivery.lease)


def _ended(delivery: Delivery, event: Ended, now: float, rules: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    attempt = delivery.attempts[-1]
    if event.number != attempt.number:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    return _settled(_with(delivery, _told(attempt, event.sent, now, rules)), now, rules, event.jitter)


def _poll_ended(delivery: Delivery, event: PollEnded, now: float, rules: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    attempt = next((each for each in delivery.uncertain if each.number == event.number), None)
    if attempt is None:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    told = _told(attempt, event.sent, now, rules)
    if _tells(attempt, told, event.asked_at, now, rules):
        return _settled(_with(delivery, told), now, rules, at_once=True)
    absent = absent_at(attempt, rules)
    asked = replace(
        attempt,
        polls=attempt.polls + 1,
        provider_request_id=told.provider_request_id,
        provider_message_id=told.provider_message_id,
    )
    wait_s = backoff(asked.polls - rules.inconclusive_polls, 0.0, base_s=rules.poll_every_s, max_s=rules.poll_max_s)
    again = now + wait_s if absent is None or not now < absent < now + wait_s else absent
    return replace(_with(delivery, asked), next_at=again, lease=None)


def _take_back_begun(delivery: Delivery, event: TakeBackBegun, _: float, __: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    attempt = next((each for each in delivery.uncertain if each.number == event.number), None)
    if attempt is None:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    return _with(delivery, replace(attempt, cancels=attempt.cancels + 1))


def _take_back_ended(delivery: Delivery, event: TakeBackEnded, now: float, rules: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    attempt = next((each for each in delivery.uncertain if each.number == event.number), None)
    if attempt is None:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    told = _told(attempt, event.sent, now, rules)
    if _tells(attempt, told, event.asked_at, now, rules):
        return _settled(_with(delivery, told), now, rules, at_once=True)
    # It may have been too late, or have worked without saying so: what became of it is asked as of any other.
    return replace(delivery, next_at=now, lease=None)


def _tells(attempt: Attempt, told: Attempt, asked_at: float, now: float, rules: Rules) -> bool:
    """Whether what a provider answered when it was asked says what became of an attempt."""
    absent = absent_at(attempt, rules)
    early = told.reason == DeliveryReason.NOT_FOUND and (absent is None or min(asked_at, now) < absent)
    refused = told.certainty is Certainty.REFUSED and told.reason in _DEFINITE and not early
    return refused or told.certainty is Certainty.ACCEPTED


def _learned(delivery: Delivery, event: Learned, now: float, rules: Rules) -> Delivery | Refused:
    attempt = next(
        (each for each in delivery.attempts if (each.number, each.request_id) == (event.number, event.request_id)), None
    )
    if attempt is None:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    told = _told(attempt, event.sent, now, rules)
    if told.certainty is Certainty.ACCEPTED and _asked_to_take_back(delivery, attempt.provider_ref):
        return _named(delivery, attempt, told)
    return _evidence(delivery, attempt, told, now, rules)


def _reported(delivery: Delivery, event: Reported, now: float, rules: Rules) -> Delivery | Refused:
    report = event.report
    attempt = _reported_attempt(delivery, report)
    if attempt is None:
        return Refused(RefusalCode.NO_SUCH_ATTEMPT)
    if report.kind in _BEFORE_SENT and _asked_to_take_back(delivery, report.provider_ref):
        return delivery
    if report.kind is ReportKind.NOT_TAKEN:
        told = replace(attempt, certainty=Certainty.REFUSED, reason=report.reason_code or DeliveryReason.NOT_FOUND)
    else:
        told = replace(
            attempt,
            certainty=Certainty.ACCEPTED,
            reason=DeliveryReason.ACCEPTED,
            provider_request_id=attempt.provider_request_id or report.provider_request_id,
            provider_message_id=attempt.provider_message_id or report.provider_message_id,
            ack_ref=attempt.ack_ref or report.provider_message_id or report.event_id,
        )
    receipt = max(delivery.receipt, _RECEIPTS.get(report.kind, DELIVERY_RECEIPT_UNSPECIFIED), key=_RECEIPT_ORDER.index)
    noted = delivery if receipt == delivery.receipt else replace(delivery, receipt=receipt)
    return _evidence(noted, attempt, replace(told, ended_at=attempt.ended_at or now), now, rules)


def _requeue(delivery: Delivery, event: Requeue, now: float, _: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    return _back(delivery, now, event.until, event.reason)


def _reconcile(delivery: Delivery, _: Reconcile, now: float, __: Rules) -> Delivery | Refused:
    return delivery if delivery.next_at is not None and delivery.next_at <= now else replace(delivery, next_at=now)


def _cancel(delivery: Delivery, event: Cancel, now: float, _: Rules) -> Delivery | Refused:
    return _to(delivery, DELIVERY_STATE_CANCELLED, event.reason, now)


def _cancel_asked(delivery: Delivery, event: Cancel, now: float, _: Rules) -> Delivery | Refused:
    if delivery.cancel_reason:
        return delivery
    asked = replace(delivery, cancel_reason=event.reason)
    return replace(asked, next_at=now) if delivery.state == DELIVERY_STATE_UNKNOWN else asked


def _resolve(delivery: Delivery, event: Resolve, now: float, rules: Rules) -> Delivery | Refused:
    if event.resolution == RESOLUTION_SENT:
        if (
            delivery.lease is not None
            and now < delivery.lease.until
            and any(each.cancels for each in delivery.uncertain)
        ):
            return Refused(RefusalCode.TOO_EARLY)  # its provider may be taking it back just now
        attempt = delivery.uncertain[-1]
        found = replace(attempt, certainty=Certainty.ACCEPTED, reason=event.reason, ack_ref=event.evidence_ref)
        return _to(_with(delivery, found), DELIVERY_STATE_SENT_ACKED, event.reason, now)
    if event.resolution not in (RESOLUTION_NOT_SENT_RETRY, RESOLUTION_NOT_SENT_GIVE_UP):
        return Refused(RefusalCode.RESOLUTION_INVALID)
    if any(now < each.deadline_at for each in delivery.uncertain):
        return Refused(RefusalCode.TOO_EARLY)
    none = replace(
        delivery,
        forgiven=len(delivery.attempts),
        attempts=tuple(
            replace(each, certainty=Certainty.REFUSED, reason=event.reason) if each.uncertain else each
            for each in delivery.attempts
        ),
    )
    if event.resolution == RESOLUTION_NOT_SENT_GIVE_UP:
        return _to(none, DELIVERY_STATE_FAILED_DEFINITE, event.reason, now)
    if delivery.cancel_reason:
        return _to(none, DELIVERY_STATE_CANCELLED, delivery.cancel_reason, now)
    return _to(none, DELIVERY_STATE_RETRYABLE, event.reason, now, next_at=now)


def _expire(delivery: Delivery, _: Expire, now: float, __: Rules) -> Delivery | Refused:
    if now < delivery.expires_at:
        return Refused(RefusalCode.TOO_EARLY)
    return _to(delivery, DELIVERY_STATE_EXPIRED, Reason.EXPIRED, now)


def _give_up(delivery: Delivery, event: GiveUp, now: float, _: Rules) -> Delivery | Refused:
    if refusal := _fenced(delivery, event.fence):
        return refusal
    return _to(delivery, DELIVERY_STATE_FAILED_DEFINITE, event.reason, now)


def _not_takeable(delivery: Delivery, event: Lease | CrashFound, now: float) -> Refused | None:
    if event.fence <= delivery.fence:
        return Refused(RefusalCode.FENCED)
    if delivery.lease is not None and now < delivery.lease.until:
        return Refused(RefusalCode.LEASE_HELD)
    return None


def _fenced(delivery: Delivery, fence: int) -> Refused | None:
    held = delivery.lease is not None and delivery.lease.fence == fence == delivery.fence
    return None if held else Refused(RefusalCode.FENCED)


def _told(attempt: Attempt, sent: Sent, now: float, rules: Rules) -> Attempt:
    """The attempt with what a provider answered; an answer that contradicts itself leaves it uncertain."""
    certainty, reason = sent.certainty, sent.result.reason_code
    if (certainty is Certainty.ACCEPTED) != bool(sent.provider_ack_ref):
        certainty, reason = Certainty.UNKNOWN, Reason.ANSWER_CONTRADICTS
    terminal = sent.result.status == PROVIDER_STATUS_TERMINAL_FAIL
    return replace(
        attempt,
        certainty=certainty,
        reason=reason,
        ended_at=now,
        provider_request_id=sent.provider_request_id or attempt.provider_request_id,
        provider_message_id=sent.provider_message_id or attempt.provider_message_id,
        ack_ref=sent.provider_ack_ref if certainty is Certainty.ACCEPTED else "",
        spent=certainty is Certainty.REFUSED and terminal and reason not in _PASSING,
        rest_until=now + _rest_s(sent, rules) if certainty is Certainty.REFUSED else 0.0,
    )


def _rest_s(sent: Sent, rules: Rules) -> float:
    own = sent.retry_after_s or 0.0
    asked = own if math.isfinite(own) and own > 0 else 0.0
    return max(asked, rules.rest_s if sent.result.reason_code in _CREDENTIAL else 0.0)


def _evidence(delivery: Delivery, known: Attempt, told: Attempt, now: float, rules: Rules) -> Delivery:
    """What somebody without the lease tells of an attempt: it never makes anything less certain."""
    if told.certainty is Certainty.ACCEPTED:
        better = known.certainty is not Certainty.ACCEPTED
    else:
        better = known.uncertain and told.certainty is Certainty.REFUSED
    if not better:
        return _named(delivery, known, told)
    learned = _with(delivery, told)
    if delivery.final or _still_sending(learned):
        return learned
    return _settled(learned, now, rules, at_once=True)


def _asked_to_take_back(delivery: Delivery, provider_ref: str) -> bool:
    """Under one key, what is taken back of one attempt is taken back of all."""
    return any(each.cancels for each in delivery.attempts if each.provider_ref == provider_ref)


def _named(delivery: Delivery, known: Attempt, told: Attempt) -> Delivery:
    """With what a provider calls it, and nothing more that it told."""
    named = replace(
        known,
        provider_request_id=known.provider_request_id or told.provider_request_id,
        provider_message_id=known.provider_message_id or told.provider_message_id,
    )
    return delivery if named == known else _with(delivery, named)


def _still_sending(delivery: Delivery) -> bool:
    accepted_by = [each for each in delivery.attempts if each.certainty is Certainty.ACCEPTED]
    under_way = delivery.state == DELIVERY_STATE_SENDING and delivery.attempts[-1].certainty is None
    return under_way and not accepted_by


def _settled(delivery: Delivery, now: float, rules: Rules, jitter: float = 0.0, *, at_once: bool = False) -> Delivery:
    """Where a delivery stands by its attempts, none of which is under way."""
    acked = next((each for each in delivery.attempts if each.certainty is Certainty.ACCEPTED), None)
    if acked is not None:
        return _to(delivery, DELIVERY_STATE_SENT_ACKED, acked.reason, now)
    wait_s = backoff(delivery.tries, jitter, base_s=rules.backoff_s, max_s=rules.backoff_max_s)
    if uncertain := delivery.uncertain:
        return _to(delivery, DELIVERY_STATE_UNKNOWN, uncertain[-1].reason, now, next_at=now + wait_s)
    last = max(delivery.attempts, key=lambda each: (each.ended_at or each.sent_at, each.number))
    if last.reason == DeliveryReason.CANCELLED or delivery.cancel_reason:
        return _to(delivery, DELIVERY_STATE_CANCELLED, delivery.cancel_reason or last.reason, now)
    if last.reason in CALLER_FAULTS:
        return _to(delivery, DELIVERY_STATE_FAILED_DEFINITE, last.reason, now)
    elsewhere = last.spent or last.reason in _CREDENTIAL
    rest_s = last.rest_until - now if last.rest_until - now <= rules.backoff_max_s else 0.0
    again = now if at_once or elsewhere else now + max(wait_s, rest_s)
    return _to(delivery, DELIVERY_STATE_RETRYABLE, last.reason, now, next_at=again)


def _reported_attempt(delivery: Delivery, report: Report) -> Attempt | None:
    """The attempt that a report is about: by the provider's ids, else by its key. That none was taken under a key that
    several attempts share says nothing of any one of them.
    """
    there = [each for each in delivery.attempts if each.provider_ref == report.provider_ref]
    by_id = [
        each
        for each in there
        if (report.provider_message_id and each.provider_message_id == report.provider_message_id)
        or (report.provider_request_id and each.provider_request_id == report.provider_request_id)
    ]
    if by_id:
        return by_id[-1]
    keys = {delivery.delivery_id} | {each.token_sent for each in there if each.token_sent}
    if report.idempotency_key not in keys or (report.kind is ReportKind.NOT_TAKEN and len(there) > 1):
        return None
    return max(there, key=lambda each: (each.uncertain, each.number), default=None)


def _back(delivery: Delivery, now: float, next_at: float | None, reason: str) -> Delivery:
    """To where it stood before the lease."""
    if delivery.state == DELIVERY_STATE_UNKNOWN:
        return replace(delivery, lease=None, next_at=next_at)
    state = DELIVERY_STATE_RETRYABLE if delivery.attempts else DELIVERY_STATE_ACCEPTED
    due = delivery.expires_at if next_at is None else min(next_at, delivery.expires_at)
    return _to(delivery, state, reason, now, next_at=due)


def _with(delivery: Delivery, attempt: Attempt) -> Delivery:
    at = attempt.number - 1
    return replace(delivery, attempts=(*delivery.attempts[:at], attempt, *delivery.attempts[at + 1 :]))


def _to(
    delivery: Delivery,
    state: DeliveryState,
    reason: str,
    now: float,
    *,
    next_at: float | None = None,
    lease: Held | None = None,
) -> Delivery:
    """Into a state; a lease lasts only where it is said to."""
    since = delivery.since if state == delivery.state else max(now, delivery.since)
    return replace(delivery, state=state, reason=reason, since=since, next_at=next_at, lease=lease)


# What a provider may have said of a message before it took it back.
_BEFORE_SENT: Final = frozenset({ReportKind.ACCEPTED, ReportKind.FAILED})
# What a provider may answer to a look-up that is of the message; all else is of the look-up itself.
_DEFINITE: Final[frozenset[str]] = frozenset(DeliveryReason) - {
    DeliveryReason.ACCEPTED,
    DeliveryReason.STILL_UNKNOWN,
    DeliveryReason.ANSWER_LOST,
}
_CREDENTIAL: Final[frozenset[str]] = frozenset(
    {ProviderReason.CREDENTIAL_UNAVAILABLE, ProviderReason.CREDENTIAL_REFUSED}
)
# Whatever the status says, the same provider may take it later.
_PASSING: Final[frozenset[str]] = _CREDENTIAL | {DeliveryReason.NOT_FOUND}

# Reports come twice and out of order: the later one here wins.
_RECEIPT_ORDER: Final = (
    DELIVERY_RECEIPT_UNSPECIFIED,
    DELIVERY_RECEIPT_FAILED,
    DELIVERY_RECEIPT_DELIVERED,
    DELIVERY_RECEIPT_READ,
)
_RECEIPTS: Final[Mapping[ReportKind, DeliveryReceipt]] = MappingProxyType(
    {
        ReportKind.DELIVERED: DELIVERY_RECEIPT_DELIVERED,
        ReportKind.READ: DELIVERY_RECEIPT_READ,
        ReportKind.FAILED: DELIVERY_RECEIPT_FAILED,
    }
)

Handler = Callable[[Delivery, Any, float, Rules], "Delivery | Refused"]

_IDLE: Final[Mapping[type[Event], Handler]] = {Lease: _lease, Cancel: _cancel, Expire: _expire}
_EVIDENCE: Final[Mapping[type[Event], Handler]] = {Reported: _reported, Learned: _learned}
_ROWS: Final[Mapping[DeliveryState, Mapping[type[Event], Handler]]] = {
    DELIVERY_STATE_ACCEPTED: {**_IDLE},
    DELIVERY_STATE_LEASED: {
        **_IDLE,
        **_EVIDENCE,
        Begin: _begin,
        Requeue: _requeue,
        LeaseLost: _lease_lost,
        GiveUp: _give_up,
    },
    DELIVERY_STATE_SENDING: {**_EVIDENCE, Ended: _ended, CrashFound: _crash_found, Cancel: _cancel_asked},
    DELIVERY_STATE_RETRYABLE: {**_IDLE, **_EVIDENCE},
    DELIVERY_STATE_UNKNOWN: {
        **_EVIDENCE,
        Lease: _lease,
        LeaseLost: _lease_lost,
        Begin: _begin,
        PollEnded: _poll_ended,
        TakeBackBegun: _take_back_begun,
        TakeBackEnded: _take_back_ended,
        Requeue: _requeue,
        Reconcile: _reconcile,
        Cancel: _cancel_asked,
        Resolve: _resolve,
    },
    # Final: what comes late is noted, and changes no state.
    DELIVERY_STATE_SENT_ACKED: {**_EVIDENCE},
    DELIVERY_STATE_FAILED_DEFINITE: {**_EVIDENCE},
    DELIVERY_STATE_CANCELLED: {**_EVIDENCE},
    DELIVERY_STATE_EXPIRED: {**_EVIDENCE},
}
TABLE: Final[Mapping[tuple[DeliveryState, type[Event]], Handler]] = MappingProxyType(
    {(state, event): handler for state, row in _ROWS.items() for event, handler in row.items()}
)
