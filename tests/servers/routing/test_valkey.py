"""Quota buckets in a real Valkey: the pure rule is the oracle, and nothing is granted twice whatever fails."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import CAPABILITY_STT
from selene.routing.v1.routing_pb2 import DOMAIN_LLM, DOMAIN_STT
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW
from structlog.testing import capture_logs

from servers.routing.accounts import Accounts, Ticket
from servers.routing.buckets import Change, Changed, ValkeySettings, open_buckets
from servers.routing.gates import Bucket, Request, take
from servers.routing.valkey import KEY, PAUSE_S, ValkeyBuckets
from servers.runtime.config import ConfigError
from store import Store, StoreUnavailable, Unavailability
from store.routing import ELSEWHERE, Quota, Rule
from tests.support.identity import certificates
from tests.support.routed import facts
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock, SeqIds
from tests.support.valkey import ValkeyServer, fronting, running_valkey

PATIENT_S = 5.0
"""Long enough for a loaded machine; tests of silence take less."""
PASSWORD = "canary-of-the-password"
CAPACITY, REFILL_PER_S = 12.0, 0.5
TENANTS = (f"tenant-{number}" for number in itertools.count())
USUAL = Change(tenant_id="t1", domain=DOMAIN_STT, capacity=10.0, refill_per_s=2.0, revision=1, now=100.0)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server for all of hypothesis' examples, which take a tenant each; what was answered outlives it."""
    with running_valkey(tmp_path_factory.mktemp("valkey"), durable=True) as server:
        yield server


def buckets_of(server: ValkeyServer, clock: FakeClock | None = None, *, timeout_s: float = PATIENT_S) -> ValkeyBuckets:
    return ValkeyBuckets(ValkeySettings(url=server.url, timeout_s=timeout_s), (clock or FakeClock()).monotonic)


async def put(store: Store, *limits: Rule | Quota) -> None:
    async with store.transaction() as tx:
        for limit in limits:
            if isinstance(limit, Rule):
                await tx.routing.rules.put(limit)
            else:
                await tx.routing.quotas.put(limit)
        audit(tx)


def ask(accounts: Accounts, clock: FakeClock, tenant: str = "t1") -> Ticket:
    return accounts.admit(
        Request(tenant_id=tenant, domain=DOMAIN_STT, capability=CAPABILITY_STT), clock.now().timestamp()
    )


async def call(accounts: Accounts, clock: FakeClock, tenant: str = "t1") -> str:
    await accounts.ready(tenant)
    return ask(accounts, clock, tenant).passage.verdicts[-1].reason


@dataclass
class Modelled:
    """What a bucket is by the pure rule."""

    bucket: Bucket | None = None
    revision: int = 0
    once: int = 0

    def change(self, change: Change) -> Changed:
        if self.bucket is None:
            self.bucket = Bucket(capacity=change.capacity, refill_per_s=change.refill_per_s, tokens=0.0, at=change.now)
        filled, _ = take(self.bucket, change.now, 0.0)
        if change.revision >= self.revision:
            self.revision = change.revision
            filled = replace(filled, capacity=change.capacity, refill_per_s=change.refill_per_s)
            filled, _ = take(filled, filled.at, 0.0)
        if change.once == 0 or change.once > self.once:
            filled = replace(filled, tokens=min(filled.capacity, filled.tokens + change.put))
        self.once = max(self.once, change.once)
        self.bucket, wait_s = take(filled, change.now, change.take)
        return Changed(self.bucket.tokens, self.bucket.at, wait_s)


AMOUNTS = st.one_of(st.just(0.0), st.floats(0.0, 15.0), st.integers(0, 15).map(float))
CHANGES = st.lists(
    st.tuples(
        st.one_of(st.floats(-3.0, 20.0), st.sampled_from([-1e6, -0.5, 0.0, 1e9])),
        st.sampled_from([(10.0, 2.0), (3.0, 0.1), (0.0, 1.0), (10.0, 0.0), (1e9, 1 / 3)]),
        st.integers(1, 4),
        AMOUNTS,
        st.integers(0, 3),
        st.one_of(AMOUNTS, st.just(-1.0)),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(steps=CHANGES)
def test_the_script_does_what_the_pure_rule_does_to_the_last_bit(
    lasting: ValkeyServer, steps: list[tuple[float, tuple[float, float], int, float, int, float]]
) -> None:
    tenant, now, changes = next(TENANTS), 1_000_000.0, []
    for by, (capacity, refill_per_s), revision, given_back, once, taken in steps:
        now += by
        changes.append(
            Change(
                tenant_id=tenant,
                domain=DOMAIN_STT,
                capacity=capacity,
                refill_per_s=refill_per_s,
                revision=revision,
                now=now,
                put=given_back,
                once=once,
                take=taken,
            )
        )

    async def play() -> list[Changed | None]:
        buckets = buckets_of(lasting)
        try:
            return await buckets.change(changes)
        finally:
            await buckets.close()

    modelled = Modelled()
    assert asyncio.run(play()) == [modelled.change(change) for change in changes]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("both"), st.just(0), st.just(0)),
        st.tuples(st.just("round"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([300, 1_100, 20_000])),
        st.tuples(st.just("back"), st.just(0), st.sampled_from([500, 60_000])),
        st.tuples(st.just("shrink"), st.just(0), st.integers(1, 12)),
        st.tuples(st.just("die"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("lost"), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_two_processes_never_exceed_a_bucket_they_share_whoever_dies(
    sqlite_template: Path, lasting: ValkeyServer, steps: list[tuple[str, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "selene.db"
        shutil.copy(sqlite_template, database)
        asyncio.run(_play(f"sqlite:///{database}", lasting, next(TENANTS), steps))


async def _play(url: str, server: ValkeyServer, tenant: str, steps: list[tuple[str, int, int]]) -> None:
    clock = FakeClock()
    store = await open_store(url, clock)
    quota = Quota(tenant, DOMAIN_STT, CAPACITY, REFILL_PER_S, 0.0, ELSEWHERE)
    await put(store, Rule(tenant_id="", rule_id="all", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED"), quota)
    opened: list[ValkeyBuckets] = []

    def born() -> Accounts:
        opened.append(buckets_of(server, clock))
        name = f"p{len(opened)}"
        return Accounts(store, clock, SeqIds(name), DOMAIN_STT, owner="PH1.C", holder=name, buckets=opened[-1])

    processes = [born(), born()]
    full = Change(
        tenant_id=tenant,
        domain=DOMAIN_STT,
        capacity=CAPACITY,
        refill_per_s=REFILL_PER_S,
        revision=1,
        now=clock.now().timestamp(),
        put=CAPACITY,
    )
    assert await opened[0].change([full]) == [Changed(CAPACITY, full.now, 0.0)]
    calls, passed = 0, 0.0
    for step, who, number in steps:
        if step in ("call", "both"):
            asking = [processes[who]] if step == "call" else processes
            reasons = await asyncio.gather(*(call(each, clock, tenant) for each in asking))
            calls += reasons.count("QUOTA_GRANTED")
        elif step == "round":
            await processes[who].replenish()
        elif step == "wait":
            clock.advance(timedelta(milliseconds=number))
            passed += number / 1000
        elif step == "back":
            clock.advance(-timedelta(milliseconds=number))
        elif step == "shrink":
            await put(store, replace(quota, capacity=float(number)))
        elif step == "die":
            processes[who] = born()
        elif step == "restart":
            server.kill()
            server.start()
        elif step == "lost":
            server.command("DEL", KEY.format(tenant=tenant, domain=int(DOMAIN_STT)))
        assert calls <= CAPACITY + REFILL_PER_S * passed + 1e-6
    await put(store, quota)
    for each in processes:
        clock.advance(timedelta(minutes=5))
        await each.ready(tenant)
        clock.advance(timedelta(minutes=5))
        assert await call(each, clock, tenant) == "QUOTA_GRANTED"
        await each.stop()
    for bucket in opened:
        await bucket.close()
    await store.close()


@pytest.fixture
async def limited(sqlite_store: Store, clock: FakeClock) -> Store:
    """A store with a quota that never fills again, whose tokens are in Valkey already."""
    await put(
        sqlite_store,
        Rule(tenant_id="", rule_id="all", effect=POLICY_EFFECT_ALLOW, reason="ALLOWED"),
        Quota("t1", DOMAIN_STT, 10.0, 0.0, 0.0, ELSEWHERE),
    )
    return sqlite_store


@pytest.fixture
def process(limited: Store, clock: FakeClock) -> Callable[[ValkeyBuckets], Accounts]:
    """Opens the accounts of a process."""
    return lambda buckets: Accounts(limited, clock, SeqIds("p"), DOMAIN_STT, owner="PH1.C", buckets=buckets)


def filled(clock: FakeClock) -> Change:
    return replace(USUAL, refill_per_s=0.0, now=clock.now().timestamp(), put=10.0)


Process = Callable[[ValkeyBuckets], Accounts]


async def test_a_bucket_is_used_to_its_last_token_and_not_beyond(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    accounts, reasons = process(buckets), []
    for _ in range(12):
        reasons.append(await call(accounts, clock))
        clock.advance(timedelta(milliseconds=300))
    assert reasons == ["QUOTA_GRANTED"] * 10 + ["QUOTA_NEVER"] * 2
    kept = await limited.routing.quotas.get("t1", DOMAIN_STT)
    assert kept is not None and kept.is_elsewhere
    await accounts.stop()
    await buckets.close()


async def test_what_is_held_of_a_quota_that_changes_is_not_granted_twice(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    accounts, reasons = process(buckets), []
    for number in range(14):
        await put(limited, Quota("t1", DOMAIN_STT, 10.0 + number / 100, 0.0, 0.0, ELSEWHERE))
        clock.advance(timedelta(milliseconds=300))
        await accounts.replenish()
        reasons.append(await call(accounts, clock))
    assert reasons == ["QUOTA_GRANTED"] * 10 + ["QUOTA_NEVER"] * 4
    await accounts.stop()
    await buckets.close()


class Interrupted:
    """The buckets of a process, and what happens between its looking into them and its taking."""

    def __init__(self, buckets: ValkeyBuckets, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._buckets = buckets
        self._meanwhile = meanwhile

    async def change(self, changes: Sequence[Change]) -> list[Changed | None]:
        if any(change.take for change in changes):
            await self._meanwhile()
        return await self._buckets.change(changes)

    async def close(self) -> None:
        await self._buckets.close()


async def test_what_others_took_meanwhile_is_not_granted(
    valkey: ValkeyServer, limited: Store, clock: FakeClock
) -> None:
    buckets, others = buckets_of(valkey, clock), buckets_of(valkey)
    await buckets.change([filled(clock)])
    taking = replace(filled(clock), put=0.0, take=10.0)
    between = Interrupted(buckets, lambda: others.change([taking]))
    accounts = Accounts(limited, clock, SeqIds("p"), DOMAIN_STT, owner="PH1.C", buckets=between)
    assert await call(accounts, clock) == "QUOTA_NEVER"
    await accounts.stop()
    await buckets.close()
    await others.close()


async def test_what_nobody_answered_is_not_granted(valkey: ValkeyServer, limited: Store, clock: FakeClock) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    between = Interrupted(buckets, lambda: asyncio.to_thread(valkey.kill))
    accounts = Accounts(limited, clock, SeqIds("p"), DOMAIN_STT, owner="PH1.C", buckets=between)
    assert await call(accounts, clock) == "QUOTA_UNKNOWN"
    await accounts.stop()
    await buckets.close()


async def test_after_a_failure_valkey_is_left_alone_for_a_second(valkey: ValkeyServer, clock: FakeClock) -> None:
    async with fronting(valkey) as front:
        buckets = ValkeyBuckets(ValkeySettings(url=f"valkey://127.0.0.1:{front.port}", timeout_s=0.2), clock.monotonic)
        front.passing.clear()
        assert await buckets.change([USUAL]) == [None]
        front.passing.set()
        asked = front.asked
        clock.advance(timedelta(seconds=PAUSE_S / 2))
        assert await buckets.change([USUAL]) == [None]
        assert front.asked == asked
        clock.advance(timedelta(seconds=PAUSE_S / 2))
        assert await buckets.change([USUAL]) == [Changed(0.0, 100.0, 0.0)]
        await buckets.close()


async def test_what_a_process_did_not_use_is_given_back(
    valkey: ValkeyServer, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    accounts = process(buckets)
    assert await call(accounts, clock) == "QUOTA_GRANTED"
    await accounts.stop()
    (left,) = await buckets.change([replace(filled(clock), put=0.0)])
    assert left is not None and left.tokens == 9.0
    await buckets.close()


async def test_without_valkey_what_is_held_is_used_then_nothing_is_known_until_it_is_back(
    tmp_path: Path, limited: Store, process: Process, clock: FakeClock
) -> None:
    with running_valkey(tmp_path, durable=True) as server:
        buckets = buckets_of(server, clock)
        await buckets.change([filled(clock)])
        accounts = process(buckets)
        assert await call(accounts, clock) == "QUOTA_GRANTED"
        (left,) = await buckets.change([replace(filled(clock), put=0.0)])
        assert left is not None and 0 < left.tokens < 9.0
        held = int(9.0 - left.tokens)
        server.kill()
        reasons = []
        for number in range(10):
            clock.advance(timedelta(seconds=PAUSE_S))
            if number == 1:
                await put(limited, Quota("t1", DOMAIN_STT, 10.5, 0.0, 0.0, ELSEWHERE))
            await accounts.replenish()
            reasons.append(await call(accounts, clock))
        assert reasons == ["QUOTA_GRANTED"] * held + ["QUOTA_UNKNOWN"] * (10 - held)
        server.start()
        clock.advance(timedelta(seconds=PAUSE_S))
        assert await call(accounts, clock) == "QUOTA_GRANTED"
        kept = await limited.routing.quotas.get("t1", DOMAIN_STT)
        assert kept is not None and kept.is_elsewhere
        await accounts.stop()
        await buckets.close()


async def test_a_bucket_that_valkey_has_forgotten_is_empty(
    valkey: ValkeyServer, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    valkey.kill()
    valkey.start()
    accounts = process(buckets)
    assert await call(accounts, clock) == "QUOTA_NEVER"
    await accounts.stop()
    await buckets.close()


async def rows_of(store: Store, transition: str) -> list[dict[str, str]]:
    """The facts of the tenant's audit rows of a transition, oldest first."""
    chain = await store.audit.page("t1", limit=1000)
    return [facts(each.event) for each in chain if each.event.transition == transition]


async def test_where_valkey_comes_into_use_quotas_begin_with_what_the_store_held_once(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock
) -> None:
    await put(limited, Quota("t1", DOMAIN_STT, 10.0, 0.0, 4.0, clock.now().timestamp()))
    buckets, others = buckets_of(valkey, clock), buckets_of(valkey, clock)
    one, other, reasons = process(buckets), process(others), []
    await asyncio.gather(one.ready("t1"), other.ready("t1"))
    for number in range(8):
        reasons.append(await call((one, other)[number % 2], clock))
        clock.advance(timedelta(milliseconds=300))
    assert reasons.count("QUOTA_GRANTED") == 4
    assert [each["tokens"] for each in await rows_of(limited, "quota.moved")] == ["4.000"]
    # Nothing is granted twice where Valkey loses it, and nothing where the store keeps the tokens again.
    valkey.kill()
    valkey.start()
    clock.advance(timedelta(seconds=PAUSE_S))
    third = process(buckets)
    assert await call(third, clock) == "QUOTA_NEVER"
    without = Accounts(limited, clock, SeqIds("w"), DOMAIN_STT, owner="PH1.C")
    assert await call(without, clock) == "QUOTA_NEVER"
    for each in (one, other, third, without):
        await each.stop()
    await buckets.close()
    await others.close()


async def test_where_valkey_does_not_answer_the_store_keeps_what_it_holds(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock
) -> None:
    await put(limited, Quota("t1", DOMAIN_STT, 10.0, 0.0, 4.0, clock.now().timestamp()))
    valkey.kill()
    buckets = buckets_of(valkey, clock)
    accounts = process(buckets)
    assert await call(accounts, clock) == "QUOTA_UNKNOWN"
    kept = await limited.routing.quotas.get("t1", DOMAIN_STT)
    assert kept is not None and kept.tokens == 4.0 and not kept.is_elsewhere
    valkey.start()
    clock.advance(timedelta(seconds=PAUSE_S))
    assert await call(accounts, clock) == "QUOTA_GRANTED"
    await accounts.stop()
    await buckets.close()


async def test_a_quota_that_valkey_kept_fills_again_in_the_store_from_nothing(limited: Store, clock: FakeClock) -> None:
    await put(limited, Quota("t1", DOMAIN_STT, 10.0, 1.0, 0.0, ELSEWHERE))
    accounts = Accounts(limited, clock, SeqIds("w"), DOMAIN_STT, owner="PH1.C")
    assert await call(accounts, clock) == "QUOTA_EXHAUSTED"
    clock.advance(timedelta(seconds=2))
    reasons = [await call(accounts, clock) for _ in range(3)]
    assert reasons == ["QUOTA_GRANTED"] * 2 + ["QUOTA_EXHAUSTED"]
    await accounts.stop()


async def test_each_slice_that_is_taken_or_given_back_is_in_the_trail(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    accounts = process(buckets)
    for _ in range(6):
        assert await call(accounts, clock) == "QUOTA_GRANTED"
        clock.advance(timedelta(milliseconds=300))
    clock.advance(timedelta(seconds=6))
    await accounts.replenish()
    taken = await rows_of(limited, "quota.taken")
    await accounts.stop()
    returned = await rows_of(limited, "quota.returned")
    (left,) = await buckets.change([replace(filled(clock), put=0.0)])
    assert left is not None
    assert taken == await rows_of(limited, "quota.taken")
    assert sum(float(each["taken"]) for each in taken) - sum(float(each["returned"]) for each in returned) == 6.0
    assert left.tokens == 4.0
    ids = [each["slice_id"] for each in (*taken, *returned)]
    assert len(set(ids)) == len(ids) and len(taken) > 1
    await buckets.close()


async def test_slices_that_cannot_be_told_at_once_are_told_when_the_store_is_back(
    valkey: ValkeyServer, limited: Store, process: Process, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut(work: object) -> None:
        raise StoreUnavailable(Unavailability.UNAVAILABLE, "cut")

    buckets = buckets_of(valkey, clock)
    await buckets.change([filled(clock)])
    accounts = process(buckets)
    with monkeypatch.context() as broken:
        broken.setattr(limited, "perform", cut)
        for _ in range(4):
            assert await call(accounts, clock) == "QUOTA_GRANTED"
            clock.advance(timedelta(seconds=2))
            await accounts.replenish()
    assert await rows_of(limited, "quota.taken") == []
    clock.advance(timedelta(seconds=6))
    await accounts.replenish()
    (left,) = await buckets.change([replace(filled(clock), put=0.0)])
    assert left is not None
    taken = sum(float(each["taken"]) for each in await rows_of(limited, "quota.taken"))
    returned = sum(float(each["returned"]) for each in await rows_of(limited, "quota.taken"))
    assert taken - returned == 10.0 - left.tokens > 4.0
    await accounts.stop()
    await buckets.close()


async def test_a_wrong_password_is_silence_and_the_right_one_is_read_when_it_is_there(
    tmp_path: Path, process: Process, clock: FakeClock
) -> None:
    file = tmp_path / "password"
    file.write_text(f"not-{PASSWORD}\n")
    with running_valkey(tmp_path, password=PASSWORD) as server, capture_logs() as logs:
        configured = ValkeySettings(url=server.url, password_file=file, timeout_s=PATIENT_S)
        buckets = open_buckets(configured, clock.monotonic)
        assert isinstance(buckets, ValkeyBuckets)
        accounts = process(buckets)
        assert await call(accounts, clock) == "QUOTA_UNKNOWN"
        file.unlink()
        clock.advance(timedelta(seconds=PAUSE_S))
        assert await call(accounts, clock) == "QUOTA_UNKNOWN"
        file.write_text(f"{PASSWORD}\n")
        clock.advance(timedelta(seconds=PAUSE_S))
        assert await buckets.change([filled(clock)]) == [Changed(10.0, clock.now().timestamp(), 0.0)]
        assert await call(accounts, clock) == "QUOTA_GRANTED"
        await accounts.stop()
        await buckets.close()
    assert [line["cause"] for line in logs if "buckets" in line["event"]] == ["AuthenticationError"]
    assert PASSWORD not in repr((logs, buckets, configured, buckets._client))


async def test_a_slow_valkey_is_silence_and_its_late_answer_is_nobodys(
    valkey: ValkeyServer, process: Process, clock: FakeClock
) -> None:
    async with fronting(valkey) as front:
        settings_ = ValkeySettings(url=f"valkey://127.0.0.1:{front.port}", timeout_s=0.2)
        buckets = ValkeyBuckets(settings_, clock.monotonic)
        direct = buckets_of(valkey)
        await direct.change([filled(clock), replace(filled(clock), tenant_id="t2", put=7.0)])
        accounts = process(buckets)
        assert await buckets.change([replace(filled(clock), put=0.0)]) == [Changed(10.0, clock.now().timestamp(), 0.0)]
        front.passing.clear()
        assert await call(accounts, clock) == "QUOTA_UNKNOWN"
        asked = front.asked
        assert await call(accounts, clock) == "QUOTA_UNKNOWN"
        assert front.asked == asked
        front.passing.set()
        clock.advance(timedelta(seconds=PAUSE_S))
        other = replace(filled(clock), tenant_id="t2", put=0.0)
        assert await buckets.change([other]) == [Changed(7.0, clock.now().timestamp(), 0.0)]
        assert await call(accounts, clock) == "QUOTA_GRANTED"
        await accounts.stop()
        await buckets.close()
        await direct.close()


async def test_tokens_of_an_answer_that_was_lost_are_nobodys(
    valkey: ValkeyServer, process: Process, clock: FakeClock
) -> None:
    direct = buckets_of(valkey)
    await direct.change([filled(clock)])
    async with fronting(valkey) as front:
        buckets = ValkeyBuckets(ValkeySettings(url=f"valkey://127.0.0.1:{front.port}", timeout_s=0.2), clock.monotonic)
        taking = replace(filled(clock), put=0.0, take=1.0)
        assert await buckets.change([taking]) == [Changed(9.0, taking.now, 0.0)]
        front.passing.clear()
        taking = replace(taking, take=4.0)
        assert await buckets.change([taking]) == [None]
        await buckets.close()
    (left,) = await direct.change([replace(filled(clock), put=0.0)])
    assert left is not None and left.tokens == 5.0
    await direct.close()


async def test_a_damaged_bucket_does_not_silence_the_others(
    valkey: ValkeyServer, process: Process, clock: FakeClock
) -> None:
    buckets = buckets_of(valkey, clock)
    valkey.command("SET", KEY.format(tenant="t2", domain=int(DOMAIN_STT)), "damage")
    both = [replace(USUAL, tenant_id="t2"), replace(USUAL, put=1.0), replace(USUAL, domain=DOMAIN_LLM)]
    for _ in range(2):
        broken, fine, other = await buckets.change(both)
        assert broken is None and fine is not None and other == Changed(0.0, 100.0, 0.0)
    await buckets.close()


async def test_of_two_shapes_of_a_bucket_the_newer_holds_whoever_comes_last(valkey: ValkeyServer) -> None:
    buckets = buckets_of(valkey)
    await buckets.change([replace(USUAL, capacity=100.0, put=100.0)])
    smaller = replace(USUAL, capacity=5.0, refill_per_s=0.0, revision=2)
    stale = replace(USUAL, capacity=100.0, now=200.0, take=6.0)
    assert await buckets.change([smaller, stale]) == [Changed(5.0, 100.0, 0.0), Changed(5.0, 200.0, None)]
    await buckets.close()


async def test_tls_is_spoken_to_the_server_whose_authority_is_trusted_only(
    valkey: ValkeyServer, tmp_path: Path, clock: FakeClock
) -> None:
    flags, trusted = certificates(tmp_path)
    (tmp_path / "other").mkdir()
    _, foreign = certificates(tmp_path / "other")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(flags["tls.certificate"], flags["tls.private_key"])
    async with fronting(valkey, context) as front:
        url = f"valkeys://127.0.0.1:{front.port}"
        for ca_file, answered in ((trusted.ca, True), (foreign.ca, False)):
            buckets = open_buckets(ValkeySettings(url=url, ca_file=ca_file, timeout_s=PATIENT_S), clock.monotonic)
            assert buckets is not None
            assert [told is not None for told in await buckets.change([USUAL])] == [answered]
            await buckets.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "valkey://:secret@127.0.0.1:6379"},
        {"url": "valkey://cache.example:6379"},
        {"url": "redis://127.0.0.1:6379"},
        {"url": "valkeys://cache.example:6379?ssl_cert_reqs=none"},
        {"url": "valkeys://cache.example:6379/first"},
        {"url": "valkey://127.0.0.1", "ca_file": "ca.pem"},
        {"url": "valkey://127.0.0.1", "timeout_s": 0},
        {"url": "valkey://127.0.0.1", "password": "secret"},
    ],
)
def test_settings_that_cannot_be_used_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ValkeySettings.model_validate(wrong)


def test_settings_that_name_a_server_are_accepted() -> None:
    for url in ("valkeys://cache.example:6379/2", "valkey://localhost:6379", "valkey://[::1]:6379/"):
        assert ValkeySettings(url=url).url == url


def test_a_file_that_is_not_there_is_a_matter_of_the_settings(tmp_path: Path) -> None:
    configured = ValkeySettings(url="valkey://127.0.0.1", password_file=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="nothing cannot be read"):
        open_buckets(configured, FakeClock().monotonic)


def test_without_its_client_the_settings_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "servers.routing.valkey")
    monkeypatch.setitem(sys.modules, "valkey", None)
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)
    with pytest.raises(ConfigError, match=r"selene-platform\[valkey\]"):
        open_buckets(ValkeySettings(url="valkey://127.0.0.1"), FakeClock().monotonic)
    assert open_buckets(None, FakeClock().monotonic) is None
