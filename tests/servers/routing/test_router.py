"""One routed call from the gates to the answer (§22, RTE-3): only the providers are scripted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.common.v1 import error_reason_pb2 as reasons
from selene.provider.v1.provider_pb2 import (
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
)
from selene.routing.v1.routing_pb2 import (
    CIRCUIT_STATE_CLOSED,
    CIRCUIT_STATE_HALF_OPEN,
    CIRCUIT_STATE_OPEN,
    DOMAIN_LLM,
    MEASURE_ERROR_RATE_60S,
    MEASURE_P95_LATENCY_5M,
    MEASURE_POLICY_CONFLICT_COUNT_200,
    MEASURE_TIMEOUT_RATE_60S,
)
from selene.routing.v1.service_pb2 import BUDGET_PERIOD_DAY, POLICY_EFFECT_DENY

from servers.learning.recorded import outcomes
from servers.routing import circuit as rules
from servers.routing.circuit import CONSECUTIVE_FAILURES, Circuit, Step
from servers.routing.directory import DEPLOYMENT, register
from servers.routing.envelope import Asked, payload_ref
from servers.routing.profile import ARTIFACT_TYPE
from servers.routing.recorder import MOST_WAITING, Trail
from servers.routing.router import Finished, Limit, Switched
from servers.routing.thresholds import Reading
from servers.routing.windows import MIN_WITNESS_CALLS, Call, Outcome, caller_of
from servers.runtime.clock import SystemClock
from servers.runtime.errors import Refusal
from store import Store
from store.routing import Budget, Key, Quota, Rule
from tests.support.routed import (
    CONTENT_REFUSED,
    FIRST,
    SECOND,
    THIRD,
    UNSERVABLE,
    UNSERVABLE_HERE,
    Asking,
    Bench,
    Said,
    Turn,
    bench,
    facts,
    fails,
    hangs,
    llm_profile,
    put,
    result,
    says,
)
from tests.support.stores import audit
from tests.support.time import FakeClock

DAILY = Key("t1", DOMAIN_LLM, BUDGET_PERIOD_DAY)
ALLOWED = "POLICY pass ALLOWED_FOR_ALL by deployment:allow"
BUDGET = Budget(DAILY, 1_000, "EUR")


async def refused(call: Awaitable[object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await call
    return caught.value


async def spent(made: Bench) -> int:
    """What the tenant's budget says after everything was settled."""
    await made.recorder.flush()
    await made.accounts.stop()
    start = made.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return (await made.store.routing.grants.spending(DAILY, start)).spent_micros


async def test_the_rows_of_a_call_tell_learning_what_each_route_gave(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, [fails("PROVIDER_BUSY", PROVIDER_STATUS_TERMINAL_FAIL)])
    await made.finished(made.call())
    rows = await made.trail()
    given = outcomes(rows, facts(rows[0])["request_id"])
    tried = [(facts(row)["provider_ref"], row.event_id) for row in rows if row.transition == "call.attempted"]
    assert [(ref, given[ref].event_id, given[ref].quality_bp) for ref, _ in tried] == [
        (*tried[0], 0),
        (*tried[1], 10_000),
    ]


async def test_the_rows_of_one_call_tell_its_chain_in_order(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, [fails("PROVIDER_BUSY", PROVIDER_STATUS_TERMINAL_FAIL)])
    finished = await made.finished(made.call())
    rows = await made.trail()
    assert [(row.transition, row.reason_code) for row in rows] == [
        ("call.gated", "QUOTA_DISABLED"),
        ("call.routed", "PRIMARY"),
        ("call.attempted", "PROVIDER_BUSY"),
        ("call.routed", "FAILOVER"),
        ("call.attempted", "ANSWERED"),
        ("call.finished", "ANSWERED"),
    ]
    assert [facts(rows[0])[f"gate_{place}"] for place in (1, 2, 3)] == [
        ALLOWED,
        "COST pass COST_DISABLED",
        "QUOTA pass QUOTA_DISABLED",
    ]
    assert facts(rows[1])["profile"] == "default@1" and facts(rows[1])["provider_ref"] == FIRST
    assert rows[1].hashes[0].sha256 == finished.route.profile_hash
    assert facts(rows[3])["provider_ref"] == SECOND
    assert facts(rows[4])["status"] == "OK" and facts(rows[5])["attempts"] == "2"
    assert {facts(row)["request_id"] for row in rows} == {"r-1"}
    assert {(row.owner, row.idempotency_key, row.turn.correlation_id) for row in rows} == {("PH1.D", "k-1", "c-1")}
    assert {row.actor for row in rows} != {"mira"} and all(len(row.actor) == 64 for row in rows)


async def test_a_route_tells_what_the_rows_tell(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, unconfigured=(FIRST,))
    route = (await made.finished()).route
    assert [(each.provider_ref, each.reason_code) for each in route.passed_over] == [(FIRST, "NOT_CONFIGURED")]
    assert [(each.provider_ref, each.status) for each in route.attempts] == [(SECOND, PROVIDER_STATUS_OK)]
    assert (route.request_id, route.profile_id, route.profile_version, route.failover) == ("r-1", "default", 1, False)


REFUSING: dict[str, tuple[Rule | Budget | Quota, reasons.ErrorReason, dict[str, str], list[str]]] = {
    "policy": (
        Rule(tenant_id="t1", rule_id="deny", effect=POLICY_EFFECT_DENY, reason="SUSPENDED"),
        reasons.ERROR_REASON_POLICY_REFUSED,
        {"cause": "SUSPENDED", "rule_id": "deny"},
        ["POLICY refuse SUSPENDED by deny"],
    ),
    "cost": (
        Budget(DAILY, 9, "EUR"),
        reasons.ERROR_REASON_BUDGET_EXCEEDED,
        {"cause": "COST_BUDGET_EXCEEDED"},
        [ALLOWED, "COST refuse COST_BUDGET_EXCEEDED"],
    ),
    "quota": (
        Quota("t1", DOMAIN_LLM, 1.0, 0.1, 0.0, datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
        reasons.ERROR_REASON_QUOTA_EXHAUSTED,
        {"cause": "QUOTA_EXHAUSTED"},
        [
            ALLOWED,
            "COST pass COST_WITHIN_BUDGET",
            "QUOTA refuse QUOTA_EXHAUSTED",
        ],
    ),
}


@pytest.mark.parametrize("gate", REFUSING)
async def test_a_gate_that_refuses_ends_the_call_before_any_provider(store: Store, clock: FakeClock, gate: str) -> None:
    limit, reason, metadata, said = REFUSING[gate]
    made = await bench(store, clock, prices={FIRST: 10})
    await put(store, *([BUDGET] if gate != "cost" else []), limit)
    refusal = await refused(made.run())
    assert refusal.reason == reason
    assert metadata.items() <= dict(refusal.metadata).items()
    assert not any(provider.asked for provider in made.providers.values())
    gated, finished = await made.trail()
    told = facts(gated)
    assert [told[name] for name in sorted(told) if name.startswith("gate_")] == said
    assert finished.reason_code == reasons.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    assert await spent(made) == 0


async def test_who_answered_is_paid_and_who_failed_is_not(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, [fails()], prices={FIRST: 500, SECOND: 30})
    await put(store, BUDGET)
    assert (await made.finished(made.call(units=2.0))).result.provider_ref == SECOND
    assert await spent(made) == 60


async def test_without_an_active_profile_nobody_is_asked(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    alone = Bench(sqlite_store, clock, made.providers, name="p2")
    refusal = await refused(alone.run())
    assert refusal.reason == reasons.ERROR_REASON_PROFILE_NOT_ACTIVE
    (finished,) = await alone.trail()
    assert finished.reason_code == "PROFILE_NOT_ACTIVE"


async def test_a_retryable_failure_is_tried_again_as_often_as_the_profile_says(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda low, high: high)
    made = await bench(sqlite_store, clock, [fails()], profile=llm_profile(max_retries=3))
    events = await made.run()
    assert len(made.providers[FIRST].asked) == 4
    switched = [event for event in events if isinstance(event, Switched)]
    assert [each.to_provider_ref for each in switched] == [FIRST, FIRST, FIRST, SECOND]
    assert {each.reason_code for each in switched} == {"PROVIDER_UNAVAILABLE"}
    first, second, third = made.naps
    assert 0 < first < second < third <= 1.0
    assert [row.reason_code for row in await made.trail("call.attempted")] == ["PROVIDER_UNAVAILABLE"] * 4 + [
        "ANSWERED"
    ]


async def test_a_retry_that_helps_is_the_last(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [fails(), says("at last")], profile=llm_profile(max_retries=3))
    *_, said, finished = await made.run()
    assert said == "at last" and isinstance(finished, Finished)
    assert not finished.route.failover and len(made.providers[FIRST].asked) == 2 and len(made.naps) == 1


async def test_no_retry_waits_beyond_the_calls_deadline(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda low, high: high)
    made = await bench(sqlite_store, clock, [fails()], profile=llm_profile(max_retries=5))
    call = made.call(lasts_s=0.4)
    assert (await made.finished(call)).result.provider_ref == SECOND
    assert sum(made.naps) < 0.4
    assert clock.monotonic() < call.ends_at
    assert 1 < len(made.providers[FIRST].asked) < 10


async def test_what_ended_for_good_is_not_tried_again(sqlite_store: Store, clock: FakeClock) -> None:
    turn = fails("REQUEST_REFUSED", PROVIDER_STATUS_TERMINAL_FAIL)
    made = await bench(sqlite_store, clock, [turn], profile=llm_profile(max_retries=3))
    assert (await made.finished()).result.provider_ref == SECOND
    assert len(made.providers[FIRST].asked) == 1 and made.naps == []


async def test_a_circuit_that_opens_meanwhile_ends_the_retries(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, profile=llm_profile(max_retries=5))

    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        await force(made, rules.force_open)
        yield result(asked, PROVIDER_STATUS_RETRYABLE_FAIL, "PROVIDER_BUSY")

    made.providers[FIRST].now(turn)
    assert (await made.finished()).result.provider_ref == SECOND
    assert len(made.providers[FIRST].asked) == 1


async def force(made: Bench, step: Callable[[Circuit, str, float], Step], provider_ref: str = FIRST) -> None:
    """An operator's hand."""
    async with made.store.transaction() as tx:
        await made.board.change(
            tx,
            made.key(provider_ref),
            lambda circuit, now: step(circuit, "DRILL", now),
            "system",
        )
    await made.board.refresh()


def raising(error: BaseException) -> Turn:
    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        yield "half"
        raise error

    return turn


async def ends(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
    yield "half"


def altered(**changed: object) -> Turn:
    async def turn(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        answer = result(asked, PROVIDER_STATUS_OK, "ANSWERED")
        for name, value in changed.items():
            setattr(answer, name, value)
        yield answer

    return turn


FAILING: dict[str, tuple[Turn, str]] = {
    "busy": (fails("PROVIDER_BUSY"), "PROVIDER_BUSY"),
    "refused": (fails("REQUEST_REFUSED", PROVIDER_STATUS_TERMINAL_FAIL), "REQUEST_REFUSED"),
    "failed half way": (fails("RESPONSE_TRUNCATED", PROVIDER_STATUS_RETRYABLE_FAIL, "half"), "RESPONSE_TRUNCATED"),
    "silent": (hangs(), "DEADLINE_EXCEEDED"),
    "silent half way": (hangs("half"), "DEADLINE_EXCEEDED"),
    "raises": (raising(RuntimeError("sk-live-51Habcdefghijklmnop")), "PROVIDER_CRASHED"),
    "cancels itself": (raising(asyncio.CancelledError()), "PROVIDER_CRASHED"),
    "no result": (ends, "ADAPTER_NOT_A_RESULT"),
    "another tenant's payload": (
        altered(normalized_payload_ref=payload_ref("t2", "r-1")),
        "ADAPTER_FOREIGN_PAYLOAD",
    ),
    "another's answer": (altered(request_id="r-0"), "ADAPTER_REQUEST_ID_MISMATCH"),
    "no payload": (altered(normalized_payload_ref=""), "ADAPTER_CONTRACT_VIOLATED"),
    "no status": (altered(status=0), "ADAPTER_CONTRACT_VIOLATED"),
    "a reason that is none": (altered(reason_code="all good"), "ADAPTER_CONTRACT_VIOLATED"),
    "a secret": (altered(reason_code="AKIAIOSFODNN7EXAMPLE"), "ADAPTER_SECRET_EXPOSED"),
}


@pytest.mark.parametrize("how", FAILING)
async def test_whoever_fails_is_followed_by_the_next(
    sqlite_store: Store, clock: FakeClock, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    turn, reason = FAILING[how]
    made = await bench(sqlite_store, clock, [turn], profile=llm_profile(timeout_s=0.05))
    events = await made.run()
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.done and finished.route.failover
    assert [(each.provider_ref, each.reason_code) for each in finished.route.attempts] == [
        (FIRST, reason),
        (SECOND, "ANSWERED"),
    ]
    assert Switched(FIRST, SECOND, reason) in events
    assert events.index("second") > events.index(Switched(FIRST, SECOND, reason))
    assert [row.reason_code for row in await made.trail("call.attempted")] == [reason, "ANSWERED"]
    assert made.providers[FIRST].let_go == 1
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 1
    captured = capsys.readouterr()
    assert "sk-live" not in captured.out + captured.err


async def test_a_fault_of_the_caller_is_nobodys_failure(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [fails(UNSERVABLE, PROVIDER_STATUS_TERMINAL_FAIL)])
    finished = await made.finished()
    assert not finished.done and finished.result.reason_code == UNSERVABLE
    assert made.providers[SECOND].asked == []
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 0


async def test_what_one_provider_cannot_serve_another_may(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [fails(UNSERVABLE_HERE, PROVIDER_STATUS_TERMINAL_FAIL)])
    finished = await made.finished()
    assert finished.done and finished.result.provider_ref == SECOND
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 0


async def test_what_no_provider_can_serve_is_said_to_be_so(sqlite_store: Store, clock: FakeClock) -> None:
    turn = fails(UNSERVABLE_HERE, PROVIDER_STATUS_TERMINAL_FAIL)
    made = await bench(sqlite_store, clock, [turn], [turn])
    made.providers[THIRD].now(turn)
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_INPUT_UNSERVABLE
    assert dict(refusal.metadata) == {"cause": UNSERVABLE_HERE, "provider": FIRST}


async def test_prompts_that_a_vendor_refuses_one_user_take_it_from_nobody(
    sqlite_store: Store, clock: FakeClock
) -> None:
    """A refused prompt was once a policy conflict of the provider, of which one in 200 calls opens the circuit. §24
    means what the provider itself says against policy; what it refuses lies in the request, and anybody can send it.
    """
    made = await bench(sqlite_store, clock, [fails(CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL)])
    for number in range(199):
        good = Call(caller_of(f"t{number % 20 + 2}", "sam"), Outcome.OK, 20.0)
        made.board.record(made.key(), good, began_at=clock.monotonic(), probe=False)
    for _ in range(CONSECUTIVE_FAILURES + 1):
        finished = await made.finished()
        assert [(each.provider_ref, each.reason_code) for each in finished.route.attempts] == [
            (FIRST, CONTENT_REFUSED),
            (SECOND, "ANSWERED"),
        ]
    readings = made.board.measures(made.key()).readings
    assert readings[MEASURE_POLICY_CONFLICT_COUNT_200] == Reading(0, 199)
    assert readings[MEASURE_ERROR_RATE_60S] == Reading(0, 199)
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED


async def test_whom_every_provider_refuses_is_told_so(sqlite_store: Store, clock: FakeClock) -> None:
    turn = fails(CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL)
    made = await bench(sqlite_store, clock, [turn], [turn])
    made.providers[THIRD].now(turn)
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_INPUT_UNSERVABLE
    assert dict(refusal.metadata) == {"cause": CONTENT_REFUSED, "provider": FIRST}


@pytest.mark.parametrize("how", ["a secret", "another tenant's payload"])
async def test_one_sound_result_against_policy_takes_a_provider_of_language_from_all(
    sqlite_store: Store, clock: FakeClock, how: str
) -> None:
    """It keeps the schema, so it is no broken one; the policy that it breaks is the platform's own."""
    turn, _ = FAILING[how]
    made = await bench(sqlite_store, clock, [turn])
    for number in range(MIN_WITNESS_CALLS):
        good = Call(f"t{number + 2}", Outcome.OK, 20.0)
        made.board.record(made.key(), good, began_at=clock.monotonic(), probe=False)
    assert (await made.finished()).result.provider_ref == SECOND
    await made.board.tick()
    circuit = made.board.circuits()[made.key()]
    assert (circuit.state, circuit.reason) == (CIRCUIT_STATE_OPEN, "POLICY_CONFLICT_COUNT_200_HIGH")


async def test_when_all_have_failed_each_is_named_with_why(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [fails("PROVIDER_BUSY")], [ends])
    made.providers[THIRD].now(fails("CREDENTIAL_REFUSED", PROVIDER_STATUS_TERMINAL_FAIL))
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_PROVIDERS_FAILED
    assert refusal.metadata["providers"] == (
        f"{FIRST}=PROVIDER_BUSY,{SECOND}=ADAPTER_NOT_A_RESULT,{THIRD}=CREDENTIAL_REFUSED"
    )
    assert [row.transition for row in await made.trail()][-2:] == ["call.unrouted", "call.finished"]


async def test_when_all_are_open_the_earliest_retry_is_named(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    for provider_ref in (FIRST, SECOND, THIRD):
        await trip(made, provider_ref)
        clock.advance(timedelta(seconds=10))
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_NO_PROVIDER_AVAILABLE
    assert refusal.metadata["providers"] == ",".join(f"{ref}=CIRCUIT_OPEN" for ref in (FIRST, SECOND, THIRD))
    assert refusal.metadata["earliest_retry"] == "2026-01-01T00:03:00.000Z"
    assert refusal.metadata["retry_after_ms"] == "150000"
    assert not any(provider.asked for provider in made.providers.values())


def failed(made: Bench, times: int, *, provider_ref: str = FIRST, tenant: str = "t1") -> None:
    """So many failures have been measured."""
    for _ in range(times):
        ended = Call(tenant, Outcome.ERROR, 100.0)
        made.board.record(made.key(provider_ref), ended, began_at=made.clock.monotonic(), probe=False)


async def trip(made: Bench, provider_ref: str = FIRST) -> None:
    """A run of failures takes a provider from everybody."""
    failed(made, CONSECUTIVE_FAILURES, provider_ref=provider_ref)
    await made.board.tick()
    assert made.state(provider_ref) == CIRCUIT_STATE_OPEN


async def half_open(made: Bench, provider_ref: str = FIRST) -> None:
    """Its cooldown is over."""
    await trip(made, provider_ref)
    made.clock.advance(timedelta(seconds=181))
    await made.board.tick()
    assert made.state(provider_ref) == CIRCUIT_STATE_HALF_OPEN


async def test_a_provider_that_only_fails_leaves_at_the_next_evaluation(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, [fails()])
    for _ in range(CONSECUTIVE_FAILURES):
        assert (await made.finished()).result.provider_ref == SECOND
    assert len(made.providers[FIRST].asked) == CONSECUTIVE_FAILURES
    await made.board.tick()
    route = (await made.finished()).route
    assert len(made.providers[FIRST].asked) == CONSECUTIVE_FAILURES
    assert [(each.provider_ref, each.reason_code) for each in route.passed_over] == [(FIRST, "CIRCUIT_OPEN")]
    (opened,) = await made.trail("circuit.", "system")
    assert (opened.transition, opened.reason_code) == ("circuit.open", "CONSECUTIVE_FAILURES")


async def test_time_outs_of_one_caller_do_not_take_a_provider_from_all(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [hangs()], profile=llm_profile(timeout_s=0.01))
    for _ in range(MIN_WITNESS_CALLS + 5):
        made.board.record(made.key(), Call("t2", Outcome.OK, 20.0), began_at=clock.monotonic(), probe=False)
    for _ in range(CONSECUTIVE_FAILURES + 1):
        assert (await made.finished()).result.provider_ref == SECOND
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED


async def test_time_outs_of_one_user_do_not_take_a_provider_from_the_rest_of_the_only_tenant(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock, [hangs()], profile=llm_profile(timeout_s=0.01))
    for number in range(MIN_WITNESS_CALLS + 5):
        good = Call(caller_of("t1", f"u{number}"), Outcome.OK, 20.0)
        made.board.record(made.key(), good, began_at=clock.monotonic(), probe=False)
    for _ in range(CONSECUTIVE_FAILURES + 1):
        assert (await made.finished()).result.provider_ref == SECOND
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED
    others = [made.call(user_id=f"u{number}") for number in range(CONSECUTIVE_FAILURES)]
    for call in others:
        assert (await made.finished(call)).result.provider_ref == SECOND
    await made.board.tick()
    assert made.state() == CIRCUIT_STATE_OPEN


def test_a_user_is_told_apart_and_whoever_asks_where_no_user_is_named(sqlite_store: Store, clock: FakeClock) -> None:
    made = Bench(sqlite_store, clock, {})
    assert made.call(user_id="sam", subject="desk").caller == caller_of("t1", "sam")
    assert made.call(user_id="", subject="desk").caller == caller_of("t1", "desk")


async def test_a_call_whose_time_is_over_asks_and_blames_nobody_else(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)

    async def late(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        clock.advance(timedelta(seconds=3))
        yield result(asked, PROVIDER_STATUS_RETRYABLE_FAIL, "PROVIDER_BUSY")

    made.providers[FIRST].now(late)
    refusal = await refused(made.run(made.call(lasts_s=2.0)))
    assert refusal.reason == reasons.ERROR_REASON_DEADLINE_PASSED
    assert made.providers[SECOND].asked == [] and made.providers[THIRD].asked == []
    assert made.board.measures(made.key(SECOND)).readings[MEASURE_ERROR_RATE_60S].samples == 0
    assert [row.reason_code for row in await made.trail()][-2:] == ["DEADLINE_PASSED", "DEADLINE_PASSED"]


@pytest.mark.parametrize(("waited_s", "measured"), [(1.0, 0), (3.0, 1)])
async def test_a_deadline_says_something_of_a_provider_that_had_half_its_time(
    sqlite_store: Store, clock: FakeClock, waited_s: float, measured: int
) -> None:
    made = await bench(sqlite_store, clock)

    async def late(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        clock.advance(timedelta(seconds=waited_s))
        yield result(asked, PROVIDER_STATUS_RETRYABLE_FAIL, "DEADLINE_EXCEEDED")

    made.providers[FIRST].now(late)
    await refused(made.run(made.call(lasts_s=waited_s)))
    assert made.board.measures(made.key()).readings[MEASURE_TIMEOUT_RATE_60S].samples == measured


async def test_time_in_which_a_provider_is_not_waited_for_tells_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)

    async def listening(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        limit.lift()
        assert limit.at == limit.call_ends_at
        clock.advance(timedelta(seconds=60))
        yield result(asked, PROVIDER_STATUS_RETRYABLE_FAIL, "DEADLINE_EXCEEDED")

    made.providers[FIRST].now(listening)
    await refused(made.run())
    assert made.board.measures(made.key()).readings[MEASURE_TIMEOUT_RATE_60S].samples == 0


async def test_a_slow_readers_time_is_not_the_providers(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [says("a", "b", "c", latency_s=9.2)])
    said = []
    async with aclosing(made.router.run(made.call(), Asking())) as events:
        async for event in events:
            clock.advance(timedelta(seconds=3))
            said.append(event)
    assert said[:3] == ["a", "b", "c"] and isinstance(said[3], Finished) and said[3].route.attempts[0].status == 1
    assert len(said[3].route.attempts) == 1
    assert made.board.measures(made.key()).readings[MEASURE_P95_LATENCY_5M].value == 25.0


async def test_a_limit_that_is_moved_while_it_is_waited_for_holds_from_then_on() -> None:
    limit = Limit(SystemClock(), 0.02, SystemClock().monotonic() + 30)
    late = asyncio.Event()

    async def saying() -> AsyncGenerator[str, None]:
        await late.wait()
        yield "late"
        await asyncio.Event().wait()

    events = saying()
    waiting = asyncio.ensure_future(limit.next(events))
    await asyncio.sleep(0)
    limit.lift()
    assert limit.left_s > 20
    done, _ = await asyncio.wait((waiting,), timeout=0.1)
    assert not done
    late.set()
    assert await waiting == "late"
    limit.restart()
    assert limit.left_s <= 0.02
    with pytest.raises(TimeoutError):
        await limit.next(events)


@given(moves=st.lists(st.tuples(st.sampled_from(("restart", "lift", "extend", "pass")), st.floats(0, 50))))
def test_no_limit_goes_beyond_the_calls_end(moves: list[tuple[str, float]]) -> None:
    clock = FakeClock()
    limit = Limit(clock, 5.0, 60.0)
    for move, seconds in moves:
        if move == "extend":
            limit.extend(seconds)
        elif move == "pass":
            clock.advance(timedelta(seconds=seconds))
        else:
            getattr(limit, move)()
        assert limit.at <= 60.0
        assert limit.left_s >= 0 and limit.waited_s >= 0


@pytest.mark.parametrize("probing", [False, True])
async def test_a_cancelled_call_settles_everything_once(store: Store, clock: FakeClock, probing: bool) -> None:
    made = await bench(store, clock, [hangs("half")], prices={FIRST: 100})
    await put(store, BUDGET)
    if probing:
        await half_open(made)
    said = asyncio.Event()

    async def listening() -> None:
        async with aclosing(made.router.run(made.call(lasts_s=600), Asking())) as events:
            async for _ in events:
                said.set()

    call = asyncio.ensure_future(listening())
    await said.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    rows = await made.trail()
    assert [(row.transition, row.reason_code) for row in rows] == [
        ("call.gated", "QUOTA_DISABLED"),
        ("call.routed", "PROBE" if probing else "PRIMARY"),
        ("call.attempted", "CALL_CANCELLED"),
        ("call.finished", "CALL_CANCELLED"),
    ]
    assert made.providers[FIRST].let_go == 1
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 0
    circuit = made.board.circuits()[made.key()]
    assert (circuit.leases, circuit.issued) == ((), 1 if probing else 0)
    assert await spent(made) == 100


async def test_a_reader_that_goes_away_settles_everything_once(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [says("a", "b")], prices={FIRST: 100})
    await put(sqlite_store, BUDGET)
    async with aclosing(made.router.run(made.call(), Asking())) as events:
        assert await anext(events) == "a"
    assert [row.reason_code for row in await made.trail()][-2:] == ["CALL_CANCELLED", "CALL_CANCELLED"]
    assert made.providers[FIRST].let_go == 1
    assert await spent(made) == 100


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_an_adapter_that_does_not_let_go_harms_nobody(
    sqlite_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("servers.routing.router.LETTING_GO_S", 0.01)

    async def clinging(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        try:
            yield result(asked, PROVIDER_STATUS_OK, "ANSWERED")
        finally:
            if how == "raises":
                raise RuntimeError("the link is gone")
            await asyncio.Event().wait()

    made = await bench(sqlite_store, clock, [clinging])
    assert (await made.finished()).result.provider_ref == FIRST
    assert [row.reason_code for row in await made.trail()][-1] == "ANSWERED"


async def test_what_the_work_itself_refuses_is_the_calls_end(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [raising(Refusal(reasons.ERROR_REASON_AUDIO_UNDECODABLE, "no audio"))])
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_AUDIO_UNDECODABLE
    assert made.providers[SECOND].asked == []
    assert [row.reason_code for row in await made.trail()][-2:] == ["AUDIO_UNDECODABLE", "AUDIO_UNDECODABLE"]
    assert made.board.measures(made.key()).readings[MEASURE_ERROR_RATE_60S].samples == 0


async def test_two_processes_let_exactly_the_counted_probes_through(store: Store, clock: FakeClock) -> None:
    answer = asyncio.Event()

    async def patient(asked: Asked, limit: Limit) -> AsyncGenerator[Said, None]:
        await answer.wait()
        yield result(asked, PROVIDER_STATUS_OK, "ANSWERED")

    one = await bench(store, clock)
    two = await bench(store, clock, name="p2")
    await half_open(one)
    await two.board.tick()
    for made in (one, two):
        made.providers[FIRST].now(patient)
    calls = [asyncio.ensure_future(made.finished(made.call(lasts_s=600))) for made in (one, two) for _ in range(20)]
    ordinary = await first_ended(calls, 37)
    assert {finished.result.provider_ref for finished in ordinary} == {SECOND}
    assert {each.reason_code for finished in ordinary for each in finished.route.passed_over} == {"NO_PROBE_FREE"}
    assert len(one.providers[FIRST].asked) + len(two.providers[FIRST].asked) == 3
    answer.set()
    finished = await asyncio.gather(*calls)
    probes = [each for each in finished if each.result.provider_ref == FIRST]
    assert len(probes) == 3 and all(each.route.attempts[0].probe for each in probes)
    await one.board.refresh()
    circuit = one.board.circuits()[one.key()]
    assert (circuit.told, circuit.issued, circuit.leases) == (3, 3, ())


async def first_ended(calls: Sequence[asyncio.Future[Finished]], count: int) -> list[Finished]:
    """As soon as so many have ended."""
    async with asyncio.timeout(20):
        while sum(call.done() for call in calls) < count:
            await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
    return [call.result() for call in calls if call.done()]


async def test_probes_that_are_answered_bring_a_provider_back(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    await half_open(made)
    for probes in (3, 2):
        for _ in range(probes):
            assert (await made.finished()).result.provider_ref == FIRST
        assert (await made.finished()).result.provider_ref == SECOND
        await made.board.tick()
        clock.advance(timedelta(seconds=60))
        await made.board.tick()
    assert made.state() == CIRCUIT_STATE_CLOSED
    assert not (await made.finished()).route.attempts[0].probe
    changed = [row for row in await made.trail("circuit.", "system") if "after" in facts(row)]
    assert [(row.transition, row.reason_code) for row in changed] == [
        ("circuit.open", "CONSECUTIVE_FAILURES"),
        ("circuit.half_open", "COOLDOWN_OVER"),
        ("circuit.closed", "RETURN_RULE_MET"),
    ]


async def test_a_failed_probe_opens_at_once_and_the_call_is_served_by_the_next(
    sqlite_store: Store, clock: FakeClock
) -> None:
    made = await bench(sqlite_store, clock, [fails()], profile=llm_profile(max_retries=3))
    await half_open(made)
    assert (await made.finished()).result.provider_ref == SECOND
    assert len(made.providers[FIRST].asked) == 1
    circuit = made.board.circuits()[made.key()]
    assert (circuit.state, circuit.reason, circuit.trips) == (CIRCUIT_STATE_OPEN, "PROBE_FAILED", 2)


async def test_a_lease_that_runs_out_gives_its_place_back(store: Store, clock: FakeClock) -> None:
    dead = await bench(store, clock)
    await half_open(dead)
    for _ in range(3):
        assert await dead.board.lease(dead.key(), 10.0) is not None
    assert (await dead.finished()).result.provider_ref == SECOND
    clock.advance(timedelta(seconds=11))
    await dead.board.tick()
    assert (await dead.finished()).result.provider_ref == FIRST


async def test_without_a_store_no_probe_is_leased_and_others_serve(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, unconfigured=(SECOND, THIRD))
    await half_open(made)
    await made.finished()
    await sqlite_store.close()
    refusal = await refused(made.run())
    assert refusal.reason == reasons.ERROR_REASON_NO_PROVIDER_AVAILABLE
    assert refusal.metadata["providers"].startswith(f"{FIRST}=NO_PROBE_FREE")
    assert len(made.providers[FIRST].asked) == 1


async def test_a_probe_that_another_process_took_first_names_when_it_is_given_back(
    store: Store, clock: FakeClock
) -> None:
    one = await bench(store, clock)
    two = await bench(store, clock, name="p2", unconfigured=(SECOND, THIRD))
    await half_open(one)
    await two.board.tick()
    for _ in range(3):
        assert await one.board.lease(one.key(), 10.0) is not None
    refusal = await refused(two.run(two.call(lasts_s=600)))
    assert refusal.reason == reasons.ERROR_REASON_NO_PROVIDER_AVAILABLE
    assert refusal.metadata["providers"].startswith(f"{FIRST}=NO_PROBE_FREE")
    assert refusal.metadata["retry_after_ms"] == "10000"
    assert two.providers[FIRST].asked == []


async def test_a_call_that_could_not_be_told_of_is_not_made(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock)
    call = made.call()
    untold = Trail("t1", "mira", "r", "k", call.turn)
    for _ in range(MOST_WAITING):
        made.recorder.note(untold)
    refusal = await refused(made.run(call))
    assert refusal.reason == reasons.ERROR_REASON_OVERLOADED
    assert made.providers[FIRST].asked == []


async def test_a_call_keeps_the_profile_it_began_with(sqlite_store: Store, clock: FakeClock) -> None:
    made = await bench(sqlite_store, clock, [hangs("half")])
    before = made.key()
    async with aclosing(made.router.run(made.call(), Asking())) as events:
        assert await anext(events) == "half"
        following = llm_profile(timeout_s=4.0)
        following.profile_version = 2
        following.artifact_id, following.rollback_pointer_ref = f"{ARTIFACT_TYPE}@2", f"{ARTIFACT_TYPE}@1"
        async with sqlite_store.transaction() as tx:
            await register(tx, following, idempotency_key="2", created_by="PH1.GOV")
            await tx.artifacts.activate(ARTIFACT_TYPE, "", DEPLOYMENT, 2)
            audit(tx, "system")
        await made.refresh()
        made.providers[FIRST].now(says("new"))
        finished = await made.finished()
        assert (finished.route.profile_version, finished.route.profile_hash) == (2, made.key()[0])
        assert finished.key != before
    rows = await made.trail("call.routed")
    assert [facts(row)["profile"] for row in rows] == ["default@2", "default@1"]
    assert rows[1].hashes[0].sha256 == before[0]


async def test_what_a_call_came_to_is_paid_where_it_is_known_at_the_end_only(store: Store, clock: FakeClock) -> None:
    made = await bench(store, clock, prices={FIRST: 1_000})
    await put(store, BUDGET)
    async with aclosing(made.router.run(made.call(), Asking(), lambda: 0.25)) as events:
        assert [event async for event in events]
    assert await spent(made) == 250
