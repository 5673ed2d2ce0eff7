"""The machine in a world that fails in every way, judged by the providers' ledgers; and that the judges can say no."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_STATE_CANCELLED,
    DELIVERY_STATE_EXPIRED,
    DELIVERY_STATE_RETRYABLE,
    DELIVERY_STATE_SENDING,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
)

from servers.delivery import machine
from servers.delivery.adapter import Certainty, Declares, Lookup
from servers.delivery.machine import AttemptKind, Delivery, Rules
from tests.servers.delivery.simulation import Scenario, Violation, World, soak

EVERYTHING = (
    "Begin in LEASED",
    "Begin in UNKNOWN",
    "Begin refused FENCED",
    "Begin refused LEASE_OVER",
    "Cancel in SENDING",
    "Cancel in UNKNOWN",
    "CrashFound in SENDING",
    "Ended refused FENCED",
    "Ended refused NOT_LISTED",
    "Learned in UNKNOWN",
    "PollEnded in UNKNOWN",
    "Reported in SENDING",
    "Reported in UNKNOWN",
    "Reported in SENT_ACKED",
    "Resolve in UNKNOWN",
    "TakeBackEnded in UNKNOWN",
    "end CANCELLED",
    "end EXPIRED",
    "end FAILED_DEFINITE",
    "end SENT_ACKED",
    "end UNKNOWN",
    "moved on",
    "pause",
    "crash",
    "sent FALLBACK",
    "sent FRESH",
    "sent RESEND",
    "woke too late",
)


def test_no_delivery_is_accepted_twice_or_forgotten_whatever_fails() -> None:
    _, steps, coverage = soak(150_000)
    assert steps >= 150_000
    assert [what for what in EVERYTHING if not coverage[what]] == []


def test_a_seed_is_replayed_step_by_step() -> None:
    first, second = World(7).run(), World(7).run()
    assert {key: row.value for key, row in first.rows.items()} == {key: row.value for key, row in second.rows.items()}
    assert (first.steps, first.coverage) == (second.steps, second.coverage)


Mutation = Callable[[pytest.MonkeyPatch], None]


def _named(name: str, made: Callable[[Any], Any]) -> Mutation:
    return lambda patch: patch.setattr(machine, name, made(getattr(machine, name)))


def _row(state: int, event: type, handler: Any) -> Mutation:
    return lambda patch: patch.setattr(machine, "TABLE", {**machine.TABLE, (state, event): handler})


def _without(*events: type) -> Mutation:
    return lambda patch: patch.setattr(
        machine, "TABLE", {row: handler for row, handler in machine.TABLE.items() if row[1] not in events}
    )


def _crash_means_nothing_left(delivery: Delivery, event: Any, now: float, rules: Rules) -> Delivery:
    begun = replace(delivery.attempts[-1], certainty=Certainty.REFUSED, ended_at=now)
    forgotten = replace(delivery, attempts=(*delivery.attempts[:-1], begun), lease=None, fence=event.fence)
    return replace(forgotten, state=DELIVERY_STATE_RETRYABLE, next_at=now)


def _lost_means_refused(told: Any) -> Any:
    def mutant(*arguments: Any) -> Any:
        attempt = told(*arguments)
        unknown = attempt.certainty is Certainty.UNKNOWN
        return replace(attempt, certainty=Certainty.REFUSED) if unknown else attempt

    return mutant


def _by_the_last_alone(settled: Any) -> Any:
    def mutant(delivery: Delivery, *arguments: Any, **options: Any) -> Any:
        certain = replace(delivery.attempts[-1], number=1)
        if certain.certainty is not Certainty.REFUSED:
            return settled(delivery, *arguments, **options)
        told = tuple(
            replace(each, certainty=Certainty.REFUSED) if each.uncertain else each for each in delivery.attempts
        )
        return settled(replace(delivery, attempts=told), *arguments, **options)

    return mutant


def _held_from_the_latest(delivery: Delivery, ref: str, token: str, now: float, rules: Rules) -> bool:
    latest = delivery.attempts[-1]
    window_s = latest.declares.key_window_s
    return bool(token) and latest.provider_ref == ref and window_s is not None and now + 55 <= latest.sent_at + window_s


def _into(state: int) -> Any:
    return lambda delivery, event, now, rules: replace(
        delivery, state=state, reason="MUTANT", since=now, next_at=None, lease=None
    )


MUTATIONS: dict[str, Mutation] = {
    "a key is relied upon for ever": _named("key_holds", lambda _: lambda *arguments: True),
    "a key holds from its latest request": _named("key_holds", lambda _: _held_from_the_latest),
    "not found counts at once": _named("absent_at", lambda _: lambda attempt, rules: attempt.sent_at),
    "not found counts from when it was begun, not from when it may have left": _named(
        "absent_at", lambda _: lambda attempt, rules: attempt.sent_at + (attempt.declares.absent_after_s or 0.0)
    ),
    "no fence": _named("_fenced", lambda _: lambda delivery, fence: None),
    "sends whatever is uncertain": _named("may_send", lambda _: lambda *arguments: AttemptKind.FRESH),
    "a crash is taken for nothing sent": _row(DELIVERY_STATE_SENDING, machine.CrashFound, _crash_means_nothing_left),
    "a lost answer is taken for a refusal": _named("_told", _lost_means_refused),
    "a refused repetition settles the first request": _named("_settled", _by_the_last_alone),
    "what is uncertain can be cancelled": _row(
        DELIVERY_STATE_UNKNOWN, machine.LeaseLost, _into(DELIVERY_STATE_CANCELLED)
    ),
    "what is uncertain expires": _row(DELIVERY_STATE_UNKNOWN, machine.Expire, _into(DELIVERY_STATE_EXPIRED)),
    "what was sent is sent again": _row(DELIVERY_STATE_SENT_ACKED, machine.Reported, _into(DELIVERY_STATE_RETRYABLE)),
    "a look-up's own failure is a refusal": _named("_DEFINITE", lambda known: known | {"PROVIDER_BUSY"}),
    "evidence is not heard": _named("_evidence", lambda _: lambda delivery, known, told, now, rules: delivery),
    "what is to be taken back is sent again": _named(
        "may_send", lambda real: lambda delivery, *given: real(replace(delivery, cancel_reason=""), *given)
    ),
    "a provider's silence takes a message back": _row(
        DELIVERY_STATE_UNKNOWN, machine.TakeBackEnded, _into(DELIVERY_STATE_CANCELLED)
    ),
    "crashes are not found": _without(machine.CrashFound),
    "polls are not heard": _without(machine.PollEnded),
    "a delivery is put back for ever": _named(
        "_back", lambda _: lambda delivery, now, next_at, reason: replace(delivery, lease=None, next_at=None)
    ),
}


def test_judges_find_nothing_in_the_worlds_of_the_mutations() -> None:
    for seed in range(60):
        World(seed).run()


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_judges_catch_a_machine_that_is_wrong(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    with pytest.raises(Violation):
        soak(400_000)


def test_judges_catch_that_what_was_said_before_it_was_taken_back_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    taker = Declares(
        key_window_s=3_600, lookups=frozenset({Lookup.KEY}), absent_after_s=90, webhooks=True, cancels=True
    )
    scenario = Scenario(providers=(taker,), persons=False)
    soak(20_000, scenario=scenario)
    monkeypatch.setattr(machine, "_asked_to_take_back", lambda *given: False)
    with pytest.raises(Violation):
        soak(400_000, scenario=scenario)


def test_judges_catch_a_key_that_is_relied_upon_to_its_very_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = Scenario(providers=(Declares(key_window_s=60),), persons=False)
    soak(20_000, scenario=scenario)
    held = machine.key_holds
    without = {"call_timeout_s": 0.0, "key_margin_s": 0.0, "clock_skew_s": 0.0}
    monkeypatch.setattr(machine, "key_holds", lambda *given: held(*given[:-1], replace(given[-1], **without)))
    with pytest.raises(Violation):
        soak(400_000, scenario=scenario)
