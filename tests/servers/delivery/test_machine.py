"""The table of delivery: every (state, event), every number at its edge, and what is done next."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_PRIORITY_URGENT,
    DELIVERY_RECEIPT_DELIVERED,
    DELIVERY_RECEIPT_FAILED,
    DELIVERY_RECEIPT_READ,
    DELIVERY_STATE_ACCEPTED,
    DELIVERY_STATE_CANCELLED,
    DELIVERY_STATE_EXPIRED,
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_LEASED,
    DELIVERY_STATE_RETRYABLE,
    DELIVERY_STATE_SENDING,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    DELIVERY_STATE_UNSPECIFIED,
    DeliveryState,
)
from selene.delivery.v1.service_pb2 import (
    RESOLUTION_NOT_SENT_GIVE_UP,
    RESOLUTION_NOT_SENT_RETRY,
    RESOLUTION_SENT,
    RESOLUTION_UNSPECIFIED,
)
from selene.provider.v1.provider_pb2 import (
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
)

from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Lookup, Report, ReportKind, Sent
from servers.delivery.machine import (
    TABLE,
    Attempt,
    AttemptKind,
    Begin,
    Cancel,
    Close,
    CrashFound,
    Delivery,
    Done,
    Ended,
    Event,
    Expire,
    GiveUp,
    Learned,
    Lease,
    LeaseLost,
    NeedsPerson,
    Option,
    Policy,
    Poll,
    PollEnded,
    Reason,
    Reconcile,
    RefusalCode,
    Refused,
    Reported,
    Requeue,
    Resolve,
    Rules,
    Send,
    TakeBack,
    TakeBackBegun,
    TakeBackEnded,
    Wait,
    accepted,
    apply,
    may_send,
    next_action,
    taken,
    trace,
)
from servers.delivery.schedule import QuietHours, instant
from servers.routing.reasons import ProviderReason
from tests.servers.delivery.simulation import answer, lost, problem_of

NOW = 1_750_000_000.0
RULES = Rules()
KEYED = Declares(key_window_s=3_600, lookups=frozenset({Lookup.KEY}), absent_after_s=60, webhooks=True)
BLIND = Declares()
A = Option(provider_ref="a", declares=KEYED, token="a-token")
B = Option(provider_ref="b", declares=BLIND)
POLICY = Policy(rules=RULES, options=(A, B))

YES = answer("a", Certainty.ACCEPTED, PROVIDER_STATUS_OK, DeliveryReason.ACCEPTED, provider_ack_ref="ack")
BUSY = answer("a", Certainty.REFUSED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.PROVIDER_BUSY)
FAULT = answer("a", Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.RECIPIENT_INVALID)
BLOCKED = answer("a", Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.SENDER_REFUSED)
UNAUTHORISED = answer("a", Certainty.REFUSED, PROVIDER_STATUS_RETRYABLE_FAIL, ProviderReason.CREDENTIAL_REFUSED)
LOST = lost("a", provider_message_id="m1")
NOT_FOUND = answer("a", Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.NOT_FOUND)
UNTOLD = answer("a", Certainty.UNKNOWN, PROVIDER_STATUS_RETRYABLE_FAIL, DeliveryReason.STILL_UNKNOWN)


def taken_on(*, expires_at: float = NOW + 86_400, not_before: float = NOW) -> Delivery:
    return accepted(
        delivery_id="d" * 64,
        tenant_id="tenant",
        message_id="m",
        recipient_id="r",
        channel=DELIVERY_CHANNEL_EMAIL,
        now=NOW,
        not_before=not_before,
        expires_at=expires_at,
    )


def after(delivery: Delivery, event: Event, now: float = NOW, rules: Rules = RULES) -> Delivery:
    told = apply(delivery, event, now, rules)
    assert isinstance(told, Delivery), told
    assert problem_of(told) == ""
    return told


def refusal(delivery: Delivery, event: Event, now: float = NOW, rules: Rules = RULES) -> RefusalCode:
    told = apply(delivery, event, now, rules)
    assert isinstance(told, Refused)
    return told.code


def leased(delivery: Delivery, now: float = NOW) -> Delivery:
    return after(delivery, taken(delivery, "dispatcher", delivery.fence + 1, now + 120), now)


def begun(delivery: Delivery, option: Option = A, now: float = NOW, rules: Rules = RULES) -> Delivery:
    held = leased(delivery, now)
    return after(
        held,
        Begin(fence=held.fence, provider_ref=option.provider_ref, declares=option.declares, token=option.token),
        now,
        rules,
    )


def ended(delivery: Delivery, sent: Sent, option: Option = A, now: float = NOW, rules: Rules = RULES) -> Delivery:
    sending = begun(delivery, option, now, rules)
    return after(sending, Ended(sending.fence, len(sending.attempts), sent), now, rules)


def polled(delivery: Delivery, sent: Sent, now: float, *, asked_at: float | None = None) -> Delivery:
    held = leased(delivery, now)
    number = held.uncertain[-1].number
    return after(held, PollEnded(held.fence, number, sent, now if asked_at is None else asked_at), now)


def report(kind: ReportKind, **ids: str) -> Reported:
    return Reported(Report(provider_ref="a", event_id="e", kind=kind, at=instant(NOW), **ids))


def in_state(state: DeliveryState) -> Delivery:
    new = taken_on()
    unknown = ended(new, LOST)
    made = {
        DELIVERY_STATE_ACCEPTED: lambda: new,
        DELIVERY_STATE_LEASED: lambda: leased(new),
        DELIVERY_STATE_SENDING: lambda: begun(new),
        DELIVERY_STATE_SENT_ACKED: lambda: ended(new, YES),
        DELIVERY_STATE_RETRYABLE: lambda: ended(new, BUSY),
        DELIVERY_STATE_UNKNOWN: lambda: unknown,
        DELIVERY_STATE_FAILED_DEFINITE: lambda: ended(new, FAULT),
        DELIVERY_STATE_CANCELLED: lambda: after(new, Cancel("CHANGED_MIND")),
        DELIVERY_STATE_EXPIRED: lambda: after(new, Expire(), NOW + 86_400),
    }
    return made[state]()


STATES = [value for value in DeliveryState.values() if value != DELIVERY_STATE_UNSPECIFIED]
EVENTS: tuple[type, ...] = get_args(Event)
OPEN = {DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_LEASED, DELIVERY_STATE_RETRYABLE}
LISTED = {
    Lease: OPEN | {DELIVERY_STATE_UNKNOWN},
    LeaseLost: {DELIVERY_STATE_LEASED, DELIVERY_STATE_UNKNOWN},
    Begin: {DELIVERY_STATE_LEASED, DELIVERY_STATE_UNKNOWN},
    Ended: {DELIVERY_STATE_SENDING},
    CrashFound: {DELIVERY_STATE_SENDING},
    PollEnded: {DELIVERY_STATE_UNKNOWN},
    Learned: set(STATES) - {DELIVERY_STATE_ACCEPTED},
    Reported: set(STATES) - {DELIVERY_STATE_ACCEPTED},
    Requeue: {DELIVERY_STATE_LEASED, DELIVERY_STATE_UNKNOWN},
    TakeBackBegun: {DELIVERY_STATE_UNKNOWN},
    TakeBackEnded: {DELIVERY_STATE_UNKNOWN},
    Reconcile: {DELIVERY_STATE_UNKNOWN},
    Cancel: OPEN | {DELIVERY_STATE_SENDING, DELIVERY_STATE_UNKNOWN},
    Resolve: {DELIVERY_STATE_UNKNOWN},
    Expire: OPEN,
    GiveUp: {DELIVERY_STATE_LEASED},
}


def an_event(kind: type) -> Event:
    made: dict[type, Event] = {
        Lease: Lease("other", 9, NOW + 200),
        LeaseLost: LeaseLost(),
        Begin: Begin(fence=1, provider_ref="a", declares=KEYED, token="a-token"),
        Ended: Ended(1, 1, YES),
        CrashFound: CrashFound("other", 9, NOW + 200),
        PollEnded: PollEnded(1, 1, YES, NOW),
        TakeBackBegun: TakeBackBegun(1, 1),
        TakeBackEnded: TakeBackEnded(1, 1, YES, NOW),
        Learned: Learned(1, "id", YES),
        Reported: report(ReportKind.DELIVERED, idempotency_key="d" * 64),
        Requeue: Requeue(1, NOW + 5, "CIRCUIT_OPEN"),
        Reconcile: Reconcile(),
        Cancel: Cancel("CHANGED_MIND"),
        Resolve: Resolve(RESOLUTION_SENT, "VENDOR_CONSOLE", "ticket"),
        Expire: Expire(),
        GiveUp: GiveUp(1, Reason.NO_PROVIDER_LEFT),
    }
    return made[kind]


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("state", STATES, ids=lambda state: DeliveryState.Name(state)[15:])
def test_what_the_table_does_not_list_is_refused(state: DeliveryState, kind: type) -> None:
    listed = state in LISTED[kind]
    assert ((state, kind) in TABLE) is listed
    told = apply(in_state(state), an_event(kind), NOW + 500, RULES)
    assert (told == Refused(RefusalCode.NOT_LISTED)) is not listed


@pytest.mark.parametrize("state", STATES, ids=lambda state: DeliveryState.Name(state)[15:])
def test_a_state_of_the_table_can_be_reached(state: DeliveryState) -> None:
    assert in_state(state).state == state


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf])
def test_a_clock_that_shows_no_time_changes_nothing(now: float) -> None:
    assert refusal(taken_on(), Lease("d", 1, NOW + 60), now) == RefusalCode.CLOCK_INVALID


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "state",
    [DELIVERY_STATE_SENT_ACKED, DELIVERY_STATE_FAILED_DEFINITE, DELIVERY_STATE_CANCELLED, DELIVERY_STATE_EXPIRED],
)
def test_nothing_final_changes_its_standing(state: DeliveryState, kind: type) -> None:
    final = in_state(state)
    told = apply(final, an_event(kind), NOW + 90_000, RULES)
    if isinstance(told, Delivery):
        assert (told.state, told.reason, told.since, told.next_at) == (state, final.reason, final.since, None)
    assert next_action(final, NOW + 90_000, POLICY) == Done()


def test_a_delivery_is_sent_and_acknowledged() -> None:
    held = leased(taken_on())
    assert next_action(held, NOW, POLICY) == Send("a", KEYED, "a-token", AttemptKind.FRESH)
    acked = ended(taken_on(), YES, now=NOW + 1)
    assert (acked.state, acked.attempts[0].ack_ref, acked.due_at) == (DELIVERY_STATE_SENT_ACKED, "ack", None)


@pytest.mark.parametrize(
    "sent",
    [replace(YES, provider_ack_ref=""), replace(BUSY, provider_ack_ref="ack"), replace(UNTOLD, provider_ack_ref="ack")],
)
def test_an_answer_that_contradicts_itself_leaves_the_outcome_unknown(sent: Sent) -> None:
    assert ended(taken_on(), sent).state == DELIVERY_STATE_UNKNOWN
    assert ended(taken_on(), sent).attempts[0].ack_ref == ""


@pytest.mark.parametrize("event", [Begin(fence=1, provider_ref="a", declares=KEYED, token="a-token"), GiveUp(1, "X")])
def test_an_old_fence_is_refused(event: Event) -> None:
    first = leased(taken_on())
    second = after(first, Lease("other", 2, NOW + 400), NOW + 120)
    assert refusal(second, event, NOW + 121) == RefusalCode.FENCED


@pytest.mark.parametrize(("fence", "code"), [(0, RefusalCode.FENCED), (1, RefusalCode.FENCED), (2, None)])
def test_a_lease_needs_a_fence_that_was_never_given(fence: int, code: RefusalCode | None) -> None:
    held = leased(taken_on())
    told = apply(held, Lease("other", fence, NOW + 400), NOW + 120, RULES)
    assert told == Refused(code) if code else isinstance(told, Delivery)


@pytest.mark.parametrize(("at", "free"), [(119.999, False), (120.0, True), (120.001, True)])
@pytest.mark.parametrize("state", [DELIVERY_STATE_LEASED, DELIVERY_STATE_SENDING])
def test_a_lease_holds_until_it_runs_out(state: DeliveryState, at: float, free: bool) -> None:
    held = in_state(state)
    told = apply(held, taken(held, "other", 2, NOW + 400), NOW + at, RULES)
    assert isinstance(told, Delivery) is free
    assert told == Refused(RefusalCode.LEASE_HELD) or free


@pytest.mark.parametrize(("at", "allowed"), [(89.999, True), (90.0, True), (90.001, False)])
def test_a_call_begins_only_where_the_lease_outlasts_it(at: float, allowed: bool) -> None:
    told = apply(leased(taken_on()), an_event(Begin), NOW + at, RULES)
    assert told == Refused(RefusalCode.LEASE_OVER) or allowed
    assert isinstance(told, Delivery) is allowed


def test_a_call_begins_once() -> None:
    assert refusal(begun(taken_on()), an_event(Begin)) == RefusalCode.NOT_LISTED


def test_a_dispatcher_that_is_gone_leaves_its_call_unknown() -> None:
    sending = begun(taken_on())
    found = after(sending, taken(sending, "other", 2, NOW + 400), NOW + 120)
    assert (found.state, found.reason) == (DELIVERY_STATE_UNKNOWN, Reason.DISPATCHER_LOST)
    assert refusal(found, Ended(1, 1, YES), NOW + 121) == RefusalCode.NOT_LISTED
    told = after(found, Learned(1, sending.attempts[0].request_id, YES), NOW + 121)
    assert told.state == DELIVERY_STATE_SENT_ACKED


KEY_ENDS = KEYED.key_window_s - RULES.call_timeout_s - RULES.key_margin_s - RULES.clock_skew_s  # type: ignore[operator]  # it has one


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (KEY_ENDS - 0.001, AttemptKind.RESEND),
        (KEY_ENDS, AttemptKind.RESEND),
        (KEY_ENDS + 0.001, RefusalCode.OUTCOME_UNCERTAIN),
    ],
)
def test_a_request_goes_again_only_while_its_key_surely_holds(at: float, told: object) -> None:
    assert may_send(ended(taken_on(), LOST), "a", "a-token", NOW + at, RULES) == told


@pytest.mark.parametrize(("ref", "token"), [("a", "other"), ("a", ""), ("b", "a-token"), ("b", "")])
def test_nothing_but_the_same_request_goes_while_an_outcome_is_unknown(ref: str, token: str) -> None:
    assert may_send(ended(taken_on(), LOST), ref, token, NOW + 5, RULES) == RefusalCode.OUTCOME_UNCERTAIN


def test_a_window_counts_from_the_first_request_under_its_key() -> None:
    first = ended(taken_on(), BUSY)
    second = ended(first, LOST, now=NOW + 3_000)
    assert may_send(second, "a", "a-token", NOW + 3_400, RULES) == AttemptKind.RESEND
    assert may_send(second, "a", "a-token", NOW + 3_500, RULES) == RefusalCode.OUTCOME_UNCERTAIN


def test_a_clock_that_was_set_back_lengthens_no_window() -> None:
    lost_late = after(begun(taken_on()), Ended(1, 1, LOST), NOW + 3_590)
    assert may_send(lost_late, "a", "a-token", NOW + 100, RULES) == RefusalCode.OUTCOME_UNCERTAIN


def test_a_refused_repetition_settles_nothing() -> None:
    again = ended(ended(taken_on(), LOST), BUSY, now=NOW + 10)
    assert (again.state, again.attempts[1].kind) == (DELIVERY_STATE_UNKNOWN, AttemptKind.RESEND)
    fault = ended(ended(taken_on(), LOST), FAULT, now=NOW + 10)
    assert fault.state == DELIVERY_STATE_UNKNOWN


ABSENT = RULES.call_timeout_s + 60 + RULES.clock_skew_s


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (ABSENT - 0.001, DELIVERY_STATE_UNKNOWN),
        (ABSENT, DELIVERY_STATE_RETRYABLE),
        (ABSENT + 0.001, DELIVERY_STATE_RETRYABLE),
    ],
)
def test_not_found_counts_from_when_the_provider_guarantees_it(at: float, state: DeliveryState) -> None:
    unknown = ended(taken_on(), LOST)
    assert polled(unknown, NOT_FOUND, NOW + 500, asked_at=NOW + at).state == state


def test_not_found_never_counts_at_a_provider_that_does_not_guarantee_it() -> None:
    option = replace(A, declares=replace(KEYED, absent_after_s=None))
    assert polled(ended(taken_on(), LOST, option), NOT_FOUND, NOW + 50_000).state == DELIVERY_STATE_UNKNOWN


@pytest.mark.parametrize("sent", [BUSY, UNAUTHORISED, UNTOLD, lost("a")])
def test_a_look_up_that_failed_tells_nothing_of_the_message(sent: Sent) -> None:
    asked = polled(ended(taken_on(), LOST), sent, NOW + 500)
    assert (asked.state, asked.polls, asked.next_at) == (DELIVERY_STATE_UNKNOWN, 1, NOW + 560)


def test_a_look_up_that_finds_it_settles_it() -> None:
    assert polled(ended(taken_on(), LOST), YES, NOW + 60).state == DELIVERY_STATE_SENT_ACKED


def test_polls_go_every_minute_then_twice_as_rarely_down_to_an_hour() -> None:
    value, now, waits = ended(taken_on(), LOST), NOW + 500.0, []
    for _ in range(20):
        value = polled(value, UNTOLD, now)
        assert value.next_at is not None
        waits.append(value.next_at - now)
        now = value.next_at
    assert waits == [60.0] * 11 + [120.0, 240.0, 480.0, 960.0, 1_920.0] + [3_600.0] * 4


def test_retries_are_twice_as_far_apart_and_change_the_provider_in_turn() -> None:
    value, now, refs, waits = taken_on(), NOW, [], []
    for _ in range(RULES.retry_budget):
        action = next_action(leased(value, now), now, POLICY)
        assert isinstance(action, Send)
        refs.append(action.provider_ref)
        value = ended(value, BUSY, next(each for each in POLICY.options if each.provider_ref == refs[-1]), now)
        assert value.next_at is not None
        waits.append(value.next_at - now)
        now = value.next_at
    assert refs == ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0] + [300.0] * 8
    assert next_action(leased(value, now), now, POLICY) == Close(GiveUp(value.fence + 1, Reason.RETRY_BUDGET_SPENT))
    assert may_send(value, "a", "a-token", now, RULES) == RefusalCode.RETRY_BUDGET_SPENT
    assert may_send(replace(value, attempts=value.attempts[:-1]), "a", "a-token", now, RULES) == AttemptKind.FRESH


def test_what_lies_in_the_request_fails_for_good() -> None:
    assert ended(taken_on(), FAULT).state == DELIVERY_STATE_FAILED_DEFINITE


@pytest.mark.parametrize("sent", [BLOCKED, UNAUTHORISED])
def test_a_provider_that_cannot_take_it_is_passed_over_at_once(sent: Sent) -> None:
    refused = ended(taken_on(), sent)
    assert (refused.state, refused.next_at) == (DELIVERY_STATE_RETRYABLE, NOW)
    action = next_action(leased(refused), NOW, POLICY)
    assert isinstance(action, Send) and action.provider_ref == "b"


def test_a_refused_secret_is_tried_again_after_its_rest_and_a_refused_sender_never() -> None:
    alone = Policy(rules=RULES, options=(A,))
    assert next_action(ended(taken_on(), UNAUTHORISED), NOW, alone) == Wait(NOW + RULES.rest_s, Reason.CIRCUIT_OPEN)
    blocked = leased(ended(taken_on(), BLOCKED))
    assert next_action(blocked, NOW, alone) == Close(GiveUp(blocked.fence, Reason.NO_PROVIDER_LEFT))


def test_a_provider_says_itself_when_to_come_again() -> None:
    soon = ended(taken_on(), replace(BUSY, retry_after_s=90.0))
    assert soon.next_at == NOW + 90
    late = ended(taken_on(), replace(BUSY, retry_after_s=4_000.0))
    action = next_action(leased(late, NOW + 2), NOW + 2, POLICY)
    assert isinstance(action, Send) and action.provider_ref == "b"


@pytest.mark.parametrize("retry_after_s", [math.nan, math.inf, -5.0])
def test_a_nonsensical_wait_of_a_provider_is_none(retry_after_s: float) -> None:
    assert ended(taken_on(), replace(BUSY, retry_after_s=retry_after_s)).next_at == NOW + RULES.backoff_s


def test_an_open_circuit_is_passed_over_and_a_full_account_waited_for() -> None:
    held = leased(taken_on())
    shut = Policy(rules=RULES, options=(replace(A, open_until=NOW + 60), B))
    assert isinstance(action := next_action(held, NOW, shut), Send) and action.provider_ref == "b"
    full = Policy(rules=RULES, options=(replace(A, full_until=NOW + 0.5), B))
    assert next_action(held, NOW, full) == Wait(NOW + 0.5, Reason.RATE_LIMITED)
    none = Policy(rules=RULES, options=(replace(A, open_until=math.inf), replace(B, open_until=NOW + 90)))
    assert next_action(held, NOW, none) == Wait(NOW + 90, Reason.CIRCUIT_OPEN)


@pytest.mark.parametrize("options", [(), (replace(A, serves=False),)])
def test_without_a_provider_it_waits_and_does_not_fail(options: tuple[Option, ...]) -> None:
    action = next_action(leased(taken_on()), NOW, Policy(rules=RULES, options=options))
    assert action == Wait(NOW + RULES.backoff_max_s, Reason.NO_PROVIDER)


LACKING = replace(B, serves=False, lacks_secret=True)


def test_a_secret_that_may_come_is_waited_for_within_its_life() -> None:
    held = leased(ended(taken_on(expires_at=NOW + 15), BLOCKED))
    policy = Policy(rules=RULES, options=(A, LACKING))
    assert next_action(held, NOW, policy) == Wait(NOW + 10, Reason.SECRET_AWAITED)
    assert next_action(held, NOW + 10, policy) == Wait(NOW + 15, Reason.SECRET_AWAITED)
    assert next_action(held, NOW + 15, policy) == Close(Expire())
    come = Policy(rules=RULES, options=(A, replace(B, serves=True)))
    assert next_action(held, NOW + 10, come) == Send("b", BLIND, "", AttemptKind.FRESH)


def test_a_secret_is_waited_for_where_nobody_was_asked_yet() -> None:
    policy = Policy(rules=RULES, options=(replace(A, serves=False, lacks_secret=True), LACKING))
    assert next_action(leased(taken_on()), NOW, policy) == Wait(NOW + 10, Reason.SECRET_AWAITED)


def test_a_provider_that_serves_is_not_kept_waiting_for_another_s_secret() -> None:
    policy = Policy(rules=RULES, options=(replace(A, serves=False, lacks_secret=True), B))
    assert next_action(leased(taken_on()), NOW, policy) == Send("b", BLIND, "", AttemptKind.FRESH)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((A,), Reason.NO_PROVIDER_LEFT),
        ((A, replace(B, serves=False)), Reason.NO_PROVIDER_LEFT),
        ((replace(A, serves=False, lacks_secret=True),), Reason.NO_PROVIDER),
    ],
    ids=["refused", "refused, and the other is not allowed", "refused, and without a secret since"],
)
def test_nobody_waits_for_the_secret_of_a_provider_that_will_never_take_it(
    options: tuple[Option, ...], reason: Reason
) -> None:
    held = leased(ended(taken_on(), BLOCKED))
    action = next_action(held, NOW, Policy(rules=RULES, options=options))
    gives_up = Close(GiveUp(held.fence, reason))
    assert action == (gives_up if reason is Reason.NO_PROVIDER_LEFT else Wait(NOW + RULES.backoff_max_s, reason))


def test_an_address_that_no_provider_can_know_fails_at_once() -> None:
    held = leased(taken_on())
    nobody = tuple(replace(each, serves=False, reaches=False) for each in (A, B))
    gives_up = Close(GiveUp(held.fence, Reason.ADDRESS_OUT_OF_REACH))
    assert next_action(held, NOW, Policy(rules=RULES, options=nobody)) == gives_up
    one = (nobody[0], replace(B, serves=False))
    assert next_action(held, NOW, Policy(rules=RULES, options=one)) == Wait(
        NOW + RULES.backoff_max_s, Reason.NO_PROVIDER
    )


@pytest.mark.parametrize(("at", "expires"), [(-0.001, False), (0.0, True), (0.001, True)])
def test_it_expires_at_its_time_where_nothing_left(at: float, expires: bool) -> None:
    end = NOW + 100
    held = leased(taken_on(expires_at=end))
    assert (next_action(held, end + at, POLICY) == Close(Expire())) is expires
    assert isinstance(apply(held, Expire(), end + at, RULES), Delivery) is expires
    assert may_send(held, "a", "a-token", end + at, RULES) == (RefusalCode.EXPIRED if expires else AttemptKind.FRESH)


def test_what_may_have_left_does_not_expire_and_is_not_sent_again_after_its_time() -> None:
    unknown = ended(taken_on(expires_at=NOW + 100), LOST)
    assert refusal(unknown, Expire(), NOW + 200) == RefusalCode.NOT_LISTED
    assert next_action(leased(unknown, NOW + 200), NOW + 200, POLICY) == Poll("a", 1)


@pytest.mark.parametrize(("at", "code"), [(-0.001, RefusalCode.TOO_EARLY), (0.0, AttemptKind.FRESH)])
def test_nothing_leaves_before_its_time(at: float, code: object) -> None:
    later = taken_on(not_before=NOW + 50)
    assert may_send(later, "a", "a-token", NOW + 50 + at, RULES) == code
    assert next_action(later, NOW, POLICY) == Wait(NOW + 50, Reason.NOT_BEFORE)


def test_quiet_hours_delay_all_but_the_urgent() -> None:
    minute = int(NOW % 86_400 // 60)
    quiet = replace(RULES, quiet_hours=QuietHours((minute - 10) % 1440, (minute + 20) % 1440, "UTC"))
    policy = replace(POLICY, rules=quiet)
    held = leased(taken_on())
    over = NOW // 60 * 60 + 20 * 60
    assert next_action(held, NOW, policy) == Wait(over, Reason.QUIET_HOURS)
    assert isinstance(next_action(held, over, policy), Send)
    assert isinstance(next_action(replace(held, priority=DELIVERY_PRIORITY_URGENT), NOW, policy), Send)


def test_no_wait_is_longer_than_its_life() -> None:
    short = leased(taken_on(expires_at=NOW + 10))
    assert next_action(short, NOW, Policy(rules=RULES)) == Wait(NOW + 10, Reason.NO_PROVIDER)


@pytest.mark.parametrize("state", [DELIVERY_STATE_SENDING, DELIVERY_STATE_UNKNOWN])
def test_what_may_have_left_stays_where_it_is_and_nothing_more_is_sent(state: DeliveryState) -> None:
    asked = after(in_state(state), Cancel("CHANGED_MIND"))
    assert (asked.state, asked.cancel_reason) == (state, "CHANGED_MIND")
    assert may_send(asked, "a", "a-token", NOW + 5, RULES) == RefusalCode.CANCEL_ASKED
    assert after(asked, Cancel("AGAIN")) is asked


TAKER = replace(A, declares=replace(KEYED, cancels=True))
TAKERS = Policy(rules=RULES, options=(TAKER, B))
CANCELLED = answer("a", Certainty.REFUSED, PROVIDER_STATUS_TERMINAL_FAIL, DeliveryReason.CANCELLED)


def wanted_back(now: float = NOW + 100) -> Delivery:
    """Leased, after somebody wanted it back."""
    return leased(after(ended(taken_on(), LOST, TAKER), Cancel("CHANGED_MIND"), now), now)


def asked_back(sent: Sent, now: float = NOW + 100) -> Delivery:
    held = wanted_back(now)
    kept = after(held, TakeBackBegun(held.fence, 1), now)
    return after(kept, TakeBackEnded(kept.fence, 1, sent, now), now)


def test_a_provider_that_takes_messages_back_is_asked_to_at_once() -> None:
    assert next_action(wanted_back(), NOW + 100, TAKERS) == TakeBack("a", 1)
    back = asked_back(CANCELLED)
    assert (back.state, back.reason) == (DELIVERY_STATE_CANCELLED, "CHANGED_MIND")


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (YES, DELIVERY_STATE_SENT_ACKED),
        (NOT_FOUND, DELIVERY_STATE_CANCELLED),
        (UNTOLD, DELIVERY_STATE_UNKNOWN),
        (LOST, DELIVERY_STATE_UNKNOWN),
        (BUSY, DELIVERY_STATE_UNKNOWN),
    ],
    ids=["too late", "never there", "cannot tell", "answer lost", "busy"],
)
def test_a_cancel_that_may_have_come_too_late_is_unknown_until_it_is_known(sent: Sent, state: DeliveryState) -> None:
    # Its absence is definite by then: the deadline, what the provider declares and the clocks are over.
    now = NOW + RULES.call_timeout_s + 60 + RULES.clock_skew_s
    assert asked_back(sent, now).state == state


def test_a_message_that_is_not_there_yet_may_still_come_after_it_was_taken_back() -> None:
    assert asked_back(NOT_FOUND).state == DELIVERY_STATE_UNKNOWN


def test_a_provider_is_asked_what_became_of_it_before_it_is_asked_to_take_it_back_again() -> None:
    untold = leased(asked_back(UNTOLD), NOW + 101)
    assert next_action(untold, NOW + 101, TAKERS) == Poll("a", 1)
    again = polled(asked_back(UNTOLD), UNTOLD, NOW + 101)
    assert again.next_at is not None
    assert next_action(leased(again, again.next_at), again.next_at, TAKERS) == TakeBack("a", 1)


def test_what_a_provider_said_before_it_was_asked_to_take_it_back_settles_nothing() -> None:
    untold = asked_back(UNTOLD)
    learned = Learned(1, untold.attempts[0].request_id, YES)
    assert after(untold, learned, NOW + 102).state == DELIVERY_STATE_UNKNOWN
    for kind in (ReportKind.ACCEPTED, ReportKind.FAILED):
        assert after(untold, report(kind, idempotency_key="d" * 64), NOW + 102) is untold
    delivered = after(untold, report(ReportKind.DELIVERED, idempotency_key="d" * 64), NOW + 102)
    assert delivered.state == DELIVERY_STATE_SENT_ACKED


def test_nobody_settles_as_sent_what_is_being_taken_back() -> None:
    held = wanted_back()
    kept = after(held, TakeBackBegun(held.fence, 1), NOW + 100)
    sent = Resolve(RESOLUTION_SENT, "VENDOR_CONSOLE", "ticket")
    assert refusal(kept, sent, NOW + 101) == RefusalCode.TOO_EARLY
    assert after(kept, sent, NOW + 300).state == DELIVERY_STATE_SENT_ACKED


def test_what_a_refusal_or_a_person_leaves_to_be_sent_again_is_cancelled_where_it_was_wanted_back() -> None:
    sending = after(begun(taken_on()), Cancel("CHANGED_MIND"))
    refused_after = after(sending, Ended(sending.fence, 1, BUSY))
    assert (refused_after.state, refused_after.reason) == (DELIVERY_STATE_CANCELLED, "CHANGED_MIND")
    unknown = after(ended(taken_on(), LOST), Cancel("CHANGED_MIND"))
    told = after(unknown, Resolve(RESOLUTION_NOT_SENT_RETRY, "VENDOR_CONSOLE", "ticket"), NOW + 200)
    assert (told.state, told.reason) == (DELIVERY_STATE_CANCELLED, "CHANGED_MIND")
    late = after(sending, Ended(sending.fence, 1, YES))
    assert late.state == DELIVERY_STATE_SENT_ACKED


def test_a_cancellation_beats_the_dispatcher_that_has_not_begun() -> None:
    cancelled = after(leased(taken_on()), Cancel("CHANGED_MIND"))
    assert (cancelled.state, cancelled.reason) == (DELIVERY_STATE_CANCELLED, "CHANGED_MIND")
    assert refusal(cancelled, an_event(Begin)) == RefusalCode.NOT_LISTED


def test_nobody_to_ask_and_nothing_to_wait_for_needs_a_person() -> None:
    unknown = leased(ended(taken_on(), lost("b"), B), NOW + 5)
    assert next_action(unknown, NOW + 5, POLICY) == NeedsPerson()
    hooked = ended(taken_on(), lost("b"), replace(B, declares=Declares(webhooks=True)))
    patience = NOW + RULES.call_timeout_s + RULES.webhook_patience_s
    assert next_action(hooked, patience - 0.001, POLICY) == Wait(patience, Reason.WEBHOOK_AWAITED)
    assert next_action(hooked, patience, POLICY) == NeedsPerson()


def test_a_provider_that_is_gone_cannot_be_asked() -> None:
    unknown = ended(taken_on(), LOST, replace(A, declares=replace(KEYED, webhooks=False, key_window_s=None)))
    assert next_action(unknown, NOW + 500, Policy(rules=RULES, options=(B,))) == NeedsPerson()


def test_a_message_id_is_needed_where_only_that_can_be_asked_for() -> None:
    option = replace(A, declares=Declares(lookups=frozenset({Lookup.MESSAGE_ID})))
    policy = Policy(rules=RULES, options=(option,))
    assert next_action(ended(taken_on(), LOST, option), NOW + 50, policy) == Poll("a", 1)
    assert next_action(ended(taken_on(), lost("a"), option), NOW + 50, policy) == NeedsPerson()


@pytest.mark.parametrize(("polls", "falls_back"), [(9, False), (10, True)])
@pytest.mark.parametrize("allowed", [False, True])
def test_another_provider_gets_it_only_after_an_inconclusive_reconciliation_that_the_profile_allows(
    allowed: bool, polls: int, falls_back: bool
) -> None:
    rules = replace(RULES, fallback_when_inconclusive=allowed)
    unknown = ended(taken_on(), LOST)
    asked = replace(unknown, attempts=(replace(unknown.attempts[0], polls=polls),))
    now = NOW + 4_000
    action = next_action(leased(asked, now), now, Policy(rules=rules, options=(A, B)))
    if not (allowed and falls_back):
        assert action == Poll("a", 1)
        return
    assert action == Send("b", BLIND, "", AttemptKind.FALLBACK)
    fallen = ended(asked, replace(BUSY), B, now, rules)
    assert (fallen.state, fallen.attempts[1].kind) == (DELIVERY_STATE_UNKNOWN, AttemptKind.FALLBACK)


def test_a_fallback_waits_until_no_byte_of_the_request_before_can_leave_and_is_not_forgotten_meanwhile() -> None:
    blind = replace(A, declares=Declares(), token="")
    unknown = ended(taken_on(), lost("a"), blind)
    deadline = unknown.attempts[0].deadline_at
    policy = Policy(rules=replace(RULES, fallback_when_inconclusive=True), options=(blind, B))
    early = deadline - 1
    assert next_action(leased(unknown, early), early, policy) == Wait(deadline, "BACKOFF")
    assert next_action(leased(unknown, deadline), deadline, policy) == Send("b", BLIND, "", AttemptKind.FALLBACK)
    held = replace(policy, rules=RULES)
    assert next_action(leased(unknown, early), early, held) == NeedsPerson()


@pytest.mark.parametrize("kind", [ReportKind.ACCEPTED, ReportKind.DELIVERED, ReportKind.READ, ReportKind.FAILED])
@pytest.mark.parametrize("state", [DELIVERY_STATE_SENDING, DELIVERY_STATE_UNKNOWN, DELIVERY_STATE_RETRYABLE])
def test_a_report_of_any_acceptance_settles_it(state: DeliveryState, kind: ReportKind) -> None:
    told = after(in_state(state), report(kind, idempotency_key="d" * 64))
    assert told.state == DELIVERY_STATE_SENT_ACKED
    assert told.attempts[0].ack_ref == "e"


def test_receipts_come_out_at_the_same_whatever_their_order() -> None:
    acked = in_state(DELIVERY_STATE_SENT_ACKED)
    kinds = (ReportKind.FAILED, ReportKind.DELIVERED, ReportKind.READ, ReportKind.DELIVERED, ReportKind.ACCEPTED)
    for count, best in ((1, DELIVERY_RECEIPT_FAILED), (2, DELIVERY_RECEIPT_DELIVERED), (5, DELIVERY_RECEIPT_READ)):
        for order in itertools.permutations(kinds[:count]):
            value = acked
            for kind in order:
                value = after(value, report(kind, idempotency_key="a-token"))
            assert value.receipt == best


def test_a_report_that_comes_twice_changes_nothing_the_second_time() -> None:
    told = report(ReportKind.DELIVERED, idempotency_key="d" * 64)
    once = after(in_state(DELIVERY_STATE_UNKNOWN), told)
    assert apply(once, told, NOW + 9, RULES) is once


@pytest.mark.parametrize(
    "ids", [{}, {"provider_message_id": "other"}, {"idempotency_key": "other"}, {"provider_request_id": "other"}]
)
def test_a_report_of_something_else_is_refused(ids: dict[str, str]) -> None:
    unknown = in_state(DELIVERY_STATE_UNKNOWN)
    assert refusal(unknown, report(ReportKind.DELIVERED, **ids)) == RefusalCode.NO_SUCH_ATTEMPT


def test_a_report_that_it_was_never_taken_settles_only_the_request_it_names() -> None:
    unknown = in_state(DELIVERY_STATE_UNKNOWN)
    denial = report(ReportKind.NOT_TAKEN, idempotency_key="d" * 64)
    assert after(unknown, denial).state == DELIVERY_STATE_RETRYABLE
    twice = ended(unknown, replace(LOST, provider_message_id="m2"), now=NOW + 5)
    assert refusal(twice, denial, NOW + 6) == RefusalCode.NO_SUCH_ATTEMPT
    by_id = after(twice, report(ReportKind.NOT_TAKEN, provider_message_id="m2"), NOW + 6)
    assert by_id.state == DELIVERY_STATE_UNKNOWN
    assert [each.uncertain for each in by_id.attempts] == [True, False]


def test_ids_that_come_after_the_acceptance_are_kept() -> None:
    told = after(in_state(DELIVERY_STATE_SENDING), report(ReportKind.ACCEPTED, idempotency_key="d" * 64))
    named = after(told, Learned(1, told.attempts[0].request_id, replace(YES, provider_message_id="m9")))
    assert named.attempts[0].provider_message_id == "m9"
    assert named.state == DELIVERY_STATE_SENT_ACKED


@pytest.mark.parametrize(
    ("resolution", "state", "forgiven"),
    [
        (RESOLUTION_SENT, DELIVERY_STATE_SENT_ACKED, 0),
        (RESOLUTION_NOT_SENT_RETRY, DELIVERY_STATE_RETRYABLE, 1),
        (RESOLUTION_NOT_SENT_GIVE_UP, DELIVERY_STATE_FAILED_DEFINITE, 1),
    ],
)
def test_a_person_settles_what_is_unknown(resolution: int, state: DeliveryState, forgiven: int) -> None:
    event = Resolve(resolution, "VENDOR_CONSOLE", "ticket")  # type: ignore[arg-type]  # protobuf enums are ints
    told = after(in_state(DELIVERY_STATE_UNKNOWN), event, NOW + 60)
    assert (told.state, told.reason, told.forgiven) == (state, "VENDOR_CONSOLE", forgiven)


@pytest.mark.parametrize(
    ("resolution", "at", "code"),
    [
        (RESOLUTION_UNSPECIFIED, 60.0, RefusalCode.RESOLUTION_INVALID),
        (RESOLUTION_NOT_SENT_RETRY, RULES.call_timeout_s - 0.001, RefusalCode.TOO_EARLY),
        (RESOLUTION_NOT_SENT_RETRY, RULES.call_timeout_s, None),
    ],
)
def test_nobody_says_not_sent_while_it_may_still_leave(resolution: int, at: float, code: RefusalCode | None) -> None:
    event = Resolve(resolution, "VENDOR_CONSOLE", "ticket")  # type: ignore[arg-type]  # protobuf enums are ints
    told = apply(in_state(DELIVERY_STATE_UNKNOWN), event, NOW + at, RULES)
    assert told == Refused(code) if code else isinstance(told, Delivery)


def test_a_person_gives_it_a_new_retry_budget() -> None:
    spent = replace(RULES, retry_budget=1)
    unknown = ended(taken_on(), LOST, rules=spent)
    again = after(unknown, Resolve(RESOLUTION_NOT_SENT_RETRY, "VENDOR_CONSOLE", "ticket"), NOW + 60, spent)
    assert may_send(again, "a", "a-token", NOW + 60, spent) == AttemptKind.FRESH


def test_it_is_asked_about_at_once_where_somebody_wants_it() -> None:
    waiting = replace(in_state(DELIVERY_STATE_UNKNOWN), next_at=None)
    assert after(waiting, Reconcile(), NOW + 9).due_at == NOW + 9


def test_a_lost_lease_goes_back_to_where_it_stood() -> None:
    assert after(leased(taken_on()), LeaseLost(), NOW + 120).state == DELIVERY_STATE_ACCEPTED
    assert after(leased(in_state(DELIVERY_STATE_RETRYABLE)), LeaseLost(), NOW + 120).state == DELIVERY_STATE_RETRYABLE
    unknown = after(leased(in_state(DELIVERY_STATE_UNKNOWN)), LeaseLost(), NOW + 120)
    assert (unknown.state, unknown.lease) == (DELIVERY_STATE_UNKNOWN, None)


def test_all_attempts_are_of_one_group() -> None:
    assert ended(taken_on(), LOST).attempt_group_id == taken_on().attempt_group_id != taken_on().delivery_id


def test_a_provider_is_asked_by_everything_that_is_known() -> None:
    unknown = ended(taken_on(), LOST)
    asked = trace(unknown, unknown.attempts[0])
    assert (asked.idempotency_key, asked.token_sent, asked.provider_message_id) == ("d" * 64, "a-token", "m1")
    assert asked.request_id == unknown.attempts[0].request_id
    assert asked.sent_at.timestamp() == NOW


def test_an_attempt_is_kept_with_its_token_before_it_ends() -> None:
    attempt = begun(taken_on()).attempts[0]
    assert isinstance(attempt, Attempt)
    assert (attempt.token_sent, attempt.deadline_at, attempt.certainty) == ("a-token", NOW + 30, None)
