"""What a dispatcher does with what it leases, over a provider on a real socket and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_EMAIL,
    DELIVERY_PRIORITY_URGENT,
    DELIVERY_STATE_EXPIRED,
    DELIVERY_STATE_FAILED_DEFINITE,
    DELIVERY_STATE_LEASED,
    DELIVERY_STATE_SENT_ACKED,
    DELIVERY_STATE_UNKNOWN,
    Content,
    EmailContent,
    Intent,
)
from selene.routing.v1.routing_pb2 import DOMAIN_EMAIL, MEASURE_SEND_FAIL_RATE_100, LayerSection

from servers.delivery.adapter import Certainty, Declares
from servers.delivery.keeping import Keeper, Known, Step, known_of
from servers.delivery.machine import Attempt, AttemptKind, Cancel, Lease, Refused, Rules, apply
from servers.delivery.schedule import QuietHours
from servers.delivery.settings import DispatchSettings
from servers.routing.defaults import ProviderSeed, default_profile
from servers.routing.thresholds import Reading
from servers.runtime.clock import ManualClock
from servers.runtime.ids import SeededIds
from store import Store, StoreUnavailable, Unavailability
from tests.servers.delivery.test_crashes import START
from tests.support.crashing import SETTINGS, House, house
from tests.support.deliveries import TENANT, profile, text
from tests.support.servers import until
from tests.support.simulators.plain_delivery import BLIND, FINDABLE, KEYED, Act, PlainAdapter, Provider, Taken, provider
from tests.support.stores import MASTER_KEY, SIGNING_KEY, audit

REF = "plain/sms"
EARLIER = START - timedelta(days=1)
RULES = Rules(backoff_s=5.0, inconclusive_polls=2, clock_skew_s=1.0)


@asynccontextmanager
async def alone(url: str, declares: Declares = KEYED, rules: Rules = RULES) -> AsyncIterator[tuple[House, Provider]]:
    """One provider and a house."""
    clock = ManualClock(START)
    store = await Store.open(url, clock=clock, ids=SeededIds(1), signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    async with provider(keyed=declares.key_window_s is not None) as simulator:
        adapter = PlainAdapter(REF, simulator.url, declares, clock)
        async with house(store, clock, [adapter], profile(REF), rules) as made:
            yield made, simulator
        await adapter.close()
    await store.close()


async def test_what_waits_in_quiet_hours_goes_out_when_they_end_and_the_urgent_at_once(sqlite_url: str) -> None:
    quiet = replace(RULES, quiet_hours=QuietHours(9 * 60, 13 * 60, "UTC"))
    async with alone(sqlite_url, rules=quiet) as (there, simulator):
        waits, goes = await there.accept(text("m1"), text("m2", priority=DELIVERY_PRIORITY_URGENT))
        process = await there.process()
        await process.round()
        await process.quiet()
        assert simulator.accepted == [goes]
        waiting = await there.delivery(TENANT, waits)
        assert (waiting.reason, waiting.next_at) == ("QUIET_HOURS", START.timestamp() + 3600)
        there.clock.advance(3601)
        await there.settle(process, TENANT, [waits])
        assert simulator.accepted == [goes, waits]


async def test_what_is_too_late_is_not_sent(sqlite_url: str) -> None:
    over = Timestamp()
    over.FromDatetime(START + timedelta(seconds=30))
    async with alone(sqlite_url) as (there, simulator):
        (late,) = await there.accept(text("m1", expires_at=over))
        there.clock.advance(31)
        (delivery,) = await there.settle(await there.process(), TENANT, [late])
        assert delivery.state == DELIVERY_STATE_EXPIRED
        assert simulator.requests == []


async def test_an_erased_recipient_gets_nothing_and_the_delivery_ends(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, simulator):
        (gone,) = await there.accept(text("m1", recipient="mira"))
        async with there.store.transaction() as tx:
            assert await tx.delivery.erase(TENANT, "mira")
            audit(tx, TENANT)
        (delivery,) = await there.settle(await there.process(), TENANT, [gone])
        assert (delivery.state, delivery.reason) == (DELIVERY_STATE_FAILED_DEFINITE, "RECIPIENT_ERASED")
        assert simulator.requests == []


async def test_a_lost_answer_is_asked_about_where_the_provider_can_tell(sqlite_url: str) -> None:
    async with alone(sqlite_url, FINDABLE) as (there, simulator):
        simulator.plan(Act.TAKE_AND_LOSE_REPLY)
        (lost,) = await there.accept(text("m1"))
        (delivery,) = await there.settle(await there.process(), TENANT, [lost])
        assert delivery.state == DELIVERY_STATE_SENT_ACKED
        assert simulator.requests == [lost]


async def test_one_recipient_of_the_only_tenant_does_not_take_a_provider_from_the_others(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, simulator):
        process = await there.process()
        simulator.plan(*[Act.DOWN] * 5)
        await there.settle(process, TENANT, await there.accept(text("bad", recipient="bad")))
        for number in range(12):
            await there.settle(process, TENANT, await there.accept(text(f"good-{number}")))
        (board,) = there.boards
        (key,) = board.circuits()
        assert board.measures(key).readings[MEASURE_SEND_FAIL_RATE_100] == Reading(0, 13)


async def test_nobody_is_written_to_again_where_nobody_can_tell(sqlite_url: str) -> None:
    async with alone(sqlite_url, BLIND) as (there, simulator):
        simulator.plan(Act.RESET)
        (lost,) = await there.accept(text("m1"))
        (delivery,) = await there.settle(await there.process(), TENANT, [lost])
        assert (delivery.state, delivery.next_at) == (DELIVERY_STATE_UNKNOWN, None)
        there.clock.advance(86_400)
        await there.settle(await there.process(), TENANT, [lost])
        assert simulator.requests == [lost]


async def test_a_process_that_comes_up_asks_at_once_about_what_was_left_for_later(sqlite_url: str) -> None:
    lookups = replace(FINDABLE, absent_after_s=None)
    rarely = replace(RULES, inconclusive_polls=0)
    async with alone(sqlite_url, lookups, rarely) as (there, simulator):
        simulator.plan(Act.RESET)
        (lost,) = await there.accept(text("m1"))
        earlier = await there.process()
        for _ in range(6):
            there.clock.advance(1000)
            while await earlier.round():
                await earlier.quiet()
        asked = await there.delivery(TENANT, lost)
        assert asked.state == DELIVERY_STATE_UNKNOWN and asked.next_at is not None
        assert asked.next_at > there.clock.now().timestamp() + rarely.poll_every_s
        simulator.ledger.append(Taken(lost, "late", "hello", again=False))
        (await there.process()).start()
        async with asyncio.timeout(10):
            while True:
                if (await there.delivery(TENANT, lost)).state == DELIVERY_STATE_SENT_ACKED:
                    break
                await asyncio.sleep(0.02)
        assert simulator.requests == [lost]


@pytest.mark.parametrize("declares", [BLIND, replace(FINDABLE, absent_after_s=None)], ids=["blind", "asked soon"])
async def test_what_nobody_can_be_asked_about_or_is_asked_about_soon_keeps_its_turn(
    sqlite_url: str, declares: Declares
) -> None:
    async with alone(sqlite_url, declares) as (there, simulator):
        simulator.plan(Act.RESET)
        (lost,) = await there.accept(text("m1"))
        process = await there.process()
        for _ in range(3):
            await process.round()
            await process.quiet()
            there.clock.advance(40)
        before = await there.delivery(TENANT, lost)
        await process.reconcile()
        assert await there.delivery(TENANT, lost) == before
        assert before.state == DELIVERY_STATE_UNKNOWN
        assert simulator.requests == [lost]


@pytest.mark.parametrize("allowed", [True, False])
async def test_another_provider_is_tried_where_nobody_can_tell_and_the_profile_allows_it(
    sqlite_url: str, allowed: bool
) -> None:
    other = "spare/sms"
    governed = profile(REF, other)
    governed.tenant_overrides.add(
        tenant_id=TENANT if allowed else "another", section=LayerSection(allow_inconclusive_fallback=True)
    )
    clock = ManualClock(START)
    store = await Store.open(sqlite_url, clock=clock, ids=SeededIds(1), signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    async with provider(keyed=False) as first, provider(keyed=False) as second:
        adapters = [PlainAdapter(ref, each.url, BLIND, clock) for ref, each in ((REF, first), (other, second))]
        first.plan(Act.RESET)
        async with house(store, clock, adapters, governed, RULES) as there:
            (lost,) = await there.accept(text("m1"))
            (delivery,) = await there.settle(await there.process(), TENANT, [lost])
        for each in adapters:
            await each.close()
    await store.close()
    assert first.requests == [lost]
    assert second.requests == ([lost] if allowed else [])
    assert delivery.state == (DELIVERY_STATE_SENT_ACKED if allowed else DELIVERY_STATE_UNKNOWN)
    assert [attempt.kind for attempt in delivery.attempts][1:] == ([AttemptKind.FALLBACK] if allowed else [])


async def test_an_account_takes_no_more_than_its_rate(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, simulator):
        ids = await there.accept(*(text(f"m{number}") for number in range(5)))
        # One in ten seconds, two at once.
        process = await there.process(rates={REF: (0.1, 2.0)})
        await process.round()
        await process.quiet()
        assert len(simulator.accepted) == 2
        left = [await there.delivery(TENANT, each) for each in ids]
        assert {each.reason for each in left if not each.final} == {"RATE_LIMITED"}
        there.clock.advance(10.5)
        await process.round()
        await process.quiet()
        assert len(simulator.accepted) == 3


def mail(name: str) -> Intent:
    """A mail of 10 kB and a little more."""
    said = text(
        name, channel=DELIVERY_CHANNEL_EMAIL, content=Content(email=EmailContent(subject="m", text="x" * 10**4))
    )
    said.recipient.address = "ann@example.org"
    return said


@asynccontextmanager
async def mails(url: str, *acts: Act) -> AsyncIterator[tuple[House, Provider]]:
    """A provider of mails and a house."""
    seeds = [ProviderSeed(provider_ref="plain/email", region="eu", timeout_s=1.5)]
    routed = default_profile({DOMAIN_EMAIL: seeds}, effective_from=EARLIER, judge_threshold_set_id="t-1")
    clock = ManualClock(START)
    store = await Store.open(url, clock=clock, ids=SeededIds(1), signing_key=SIGNING_KEY, master_key=MASTER_KEY)
    async with provider() as simulator:
        simulator.plan(*acts)
        adapter = PlainAdapter("plain/email", simulator.url, KEYED, clock)
        async with house(store, clock, [adapter], routed, RULES) as there:
            yield there, simulator
        await adapter.close()
    await store.close()


@pytest.mark.parametrize(("open_bytes", "at_once"), [(100_000, 3), (25_000, 2), (15_000, 1), (1, 1)])
async def test_mails_lie_open_only_as_far_as_there_is_room_and_the_others_go_once_there_is(
    sqlite_url: str, open_bytes: int, at_once: int
) -> None:
    async with mails(sqlite_url, *[Act.TAKE_AND_HANG] * 3) as (there, simulator):
        ids = await there.accept(*(mail(f"m{number}") for number in range(3)))
        process = await there.process(settings=DispatchSettings(lease_s=60.0, open_bytes=open_bytes))
        assert await process.round() == 3
        await until(lambda: len(simulator.requests) == at_once)
        assert process.under_way == 3
        simulator.go_on.set()
        await process.quiet()
        assert sorted(simulator.accepted) == sorted(ids)


async def test_a_mail_for_which_there_is_no_room_in_time_is_given_back(sqlite_url: str) -> None:
    async with mails(sqlite_url, Act.TAKE_AND_HANG) as (there, simulator):
        ids = await there.accept(mail("m1"), mail("m2"))
        # A lease of which a call takes nearly all leaves no time to wait.
        process = await there.process(settings=DispatchSettings(lease_s=RULES.call_timeout_s + 0.01, open_bytes=1))
        assert await process.round() == 2
        await until(lambda: process.under_way == 1)
        there_now = [await there.store.delivery.get(TENANT, each) for each in ids]
        (waits,) = [row for row in there_now if row is not None and not row.holder]
        assert (waits.fence, waits.due_at, waits.revision) == (1, START, 1)
        simulator.go_on.set()
        await process.quiet()
        there.clock.advance(61)
        await there.settle(await there.process(), TENANT, ids)
        assert sorted(simulator.accepted) == sorted(ids)


async def test_two_messages_to_one_person_go_one_after_the_other(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, simulator):
        simulator.plan(Act.TAKE_AND_HANG)
        ids = await there.accept(text("m1", recipient="mira"), text("m2", recipient="mira"))
        process = await there.process()
        await process.round()
        await simulator.came.wait()
        assert await process.round() == 0
        assert len(simulator.requests) == 1
        simulator.go_on.set()
        await process.quiet()
        await there.settle(process, TENANT, ids)
        assert sorted(simulator.accepted) == sorted(ids)


async def test_a_process_that_stops_keeps_that_it_does_not_know(sqlite_url: str) -> None:
    async with alone(sqlite_url, BLIND) as (there, simulator):
        simulator.plan(Act.TAKE_AND_HANG)
        (lost,) = await there.accept(text("m1"))
        process = await there.process(settings=SETTINGS.model_copy(update={"grace_s": 0.2}))
        await process.round()
        await simulator.came.wait()
        await process.stop()
        delivery = await there.delivery(TENANT, lost)
        assert (delivery.state, delivery.reason) == (DELIVERY_STATE_UNKNOWN, "ANSWER_LOST")


class Lossy:
    """A store whose next answer is lost after, or before, the commit."""

    def __init__(self, store: Store, *, kept: bool) -> None:
        self.delivery = store.delivery
        self._store = store
        self._kept = kept
        self.lost = 0

    async def perform(self, work: Any) -> Any:
        if self.lost == 0:
            self.lost += 1
            if self._kept:
                await self._store.perform(work)
            raise StoreUnavailable(Unavailability.UNAVAILABLE, "the answer was lost")
        return await self._store.perform(work)


@pytest.mark.parametrize("kept", [True, False])
async def test_a_commit_whose_answer_was_lost_is_found_and_never_made_twice(sqlite_url: str, kept: bool) -> None:
    async with alone(sqlite_url) as (there, _):
        (name,) = await there.accept(text("m1"))
        now = there.clock.now()
        until = now + timedelta(seconds=60)

        async def lease(tx: Any) -> Any:
            rows = await tx.delivery.lease_due(now, holder="d", until=until, limit=1)
            audit(tx, TENANT)
            return rows

        (row,) = await there.store.perform(lease)
        before = known_of(row)
        after = apply(before.delivery, Lease("d", row.fence, until.timestamp()), now.timestamp(), RULES)
        lossy: Any = Lossy(there.store, kept=kept)
        keeper = Keeper(lossy, there.clock, RULES)
        done = await keeper.keep(Step(before=before, after=after, transition="delivery.leased"))  # type: ignore[arg-type]  # it is none of the refusals
        assert done is not None and (done.revision, done.delivery.state) == (2, DELIVERY_STATE_LEASED)
        there_now = await there.store.delivery.get(TENANT, name)
        assert there_now is not None and there_now.revision == 2


async def test_of_two_steps_of_one_delivery_kept_at_once_the_second_is_not(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, _):
        names = await there.accept(text("m1"), text("m2"))
        rows = [await there.store.delivery.get(TENANT, name) for name in names]
        first, second = (known_of(row) for row in rows if row is not None)
        keeper = Keeper(there.store, there.clock, RULES)

        def cancelled(known: Known, reason: str) -> Step:
            after = apply(known.delivery, Cancel(reason), there.clock.now().timestamp(), RULES)
            assert not isinstance(after, Refused)
            return Step(before=known, after=after, transition="delivery.cancelled")

        steps = [cancelled(first, "ONE"), cancelled(first, "OTHER"), cancelled(second, "ONE")]
        one, other, beside = await asyncio.gather(*(keeper.keep(step) for step in steps))
        assert one is not None and one.revision == 2 and one.delivery.reason == "ONE"
        assert other is None
        assert beside is not None and beside.delivery.delivery_id == names[1]
        assert [(await there.delivery(TENANT, name)).reason for name in names] == ["ONE", "ONE"]


async def test_a_second_acceptance_leaves_a_row_that_says_so_and_only_once(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, _):
        (name,) = await there.accept(text("m1"))
        row = await there.store.delivery.get(TENANT, name)
        assert row is not None
        keeper, known = Keeper(there.store, there.clock, RULES), known_of(row)
        attempts = tuple(
            Attempt(
                number=number,
                provider_ref=f"provider-{number}",
                request_id=f"request-{number}",
                kind=AttemptKind.FRESH,
                declares=Declares(),
                token_sent="",
                sent_at=0.0,
                deadline_at=1.0,
                certainty=Certainty.ACCEPTED,
                reason="ACCEPTED",
                ended_at=1.0,
                ack_ref=f"ack-{number}",
            )
            for number in (1, 2)
        )
        for several in (attempts[:1], attempts, attempts):
            after = replace(known.delivery, attempts=several)
            done = await keeper.keep(Step(before=known, after=after, transition="delivery.reported"))
            assert done is not None
            known = done
        told = [each.event async for each in there.store.audit.stream(TENANT)]
        assert [each.transition for each in told][-4:] == [
            "delivery.reported",
            "delivery.reported",
            "delivery.duplicated",
            "delivery.reported",
        ]
        [duplicated] = [each for each in told if each.transition == "delivery.duplicated"]
        assert (duplicated.reason_code, duplicated.facts[0].value) == ("SECOND_ACCEPTANCE", "1,2")


async def test_a_channel_is_leased_for_once_half_of_it_is_free_or_a_poll_is_due(sqlite_url: str) -> None:
    async with alone(sqlite_url) as (there, simulator):
        simulator.plan(Act.TAKE, *[Act.TAKE_AND_HANG] * 3, Act.TAKE, *[Act.TAKE] * 3)
        await there.accept(*(text(f"m{number}") for number in range(8)))
        process = await there.process(settings=SETTINGS.model_copy(update={"concurrency": 4, "batch": 8}))
        assert await process.round() == 4
        while True:
            await asyncio.sleep(0)
            if process.under_way == 3:
                break
        assert await process.round() == 0
        there.clock.advance(SETTINGS.poll_s)
        assert await process.round() == 1
        simulator.go_on.set()
        await process.quiet()
        assert await process.round() == 3
        await process.quiet()
        assert len(simulator.accepted) == 8
