"""The live side of the gates POLICY, COST and QUOTA (§22, RTE-3): what calls are admitted by, without any I/O.

    await accounts.ready(tenant_id, cost_micros=estimate)      # reads and takes only where that was not done before
    ticket = accounts.admit(request, now)                      # no I/O
    if ticket.allowed:
        ...
        accounts.settle(ticket, spent_micros)

Every process holds slices of its tenants' budgets and quotas, taken ahead from the store; every 250 ms one transaction
replenishes what runs low and settles what was used, and changed limits are learnt. What all processes hold together
never exceeds what is left. The grants of a process that dies run out and count as spent in full. Where `Buckets` keep
the quotas' tokens, slices are taken from those instead, beginning with what the store's held; each is told in the trail
within seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from selene.routing.v1.routing_pb2 import Domain

from servers.routing.buckets import Buckets, Change, Changed
from servers.routing.gates import NOTHING, Absent, Bucket, Budget, Gate, Passage, Request, Verdict, pass_gates
from servers.routing.holdings import (
    GRANT_TTL,
    Attempt,
    BudgetPlan,
    Drawn,
    Exchanged,
    Exchanges,
    Facts,
    NothingDone,
    Outcome,
    Plan,
    Pool,
    QuotaPlan,
    Tenant,
    read_facts,
)
from servers.routing.moving import move
from servers.routing.slices import charge, top_up
from servers.runtime.clock import Clock
from servers.runtime.ids import Ids
from store import Rooms, Store, StoreError, Transaction
from store.routing import ELSEWHERE, Grant, Quota

TICK_S: Final = 0.25
SETTLE_EVERY_S: Final = 5.0
IDLE_S: Final = 60.0
FACTS_HOLD_S: Final = 60.0
"""How long facts are gone by although the store cannot be read; then nothing is known, and gates refuse."""
OVERDUE_EVERY_S: Final = 1.0
FORGET_EVERY_S: Final = 60.0
FORGET_AFTER: Final = timedelta(days=1)
NEXT_PERIOD_AHEAD: Final = timedelta(seconds=2)
# A slice that is this much too large, for calls became rare, is cut back.
TOO_LARGE: Final = 8

_log = structlog.get_logger("selene.routing")


class Ticket:
    """What the gates said of a call. An allowed call is settled once, when it has ended, or waived: then it took
    nothing, neither of a budget nor of the quota.
    """

    __slots__ = ("_cost_micros", "_give_back", "_pools", "_tell", "passage")

    def __init__(
        self,
        passage: Passage,
        pools: tuple[Pool, ...] = (),
        cost_micros: int = 0,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.passage = passage
        self._pools = pools
        self._cost_micros = cost_micros
        self._give_back: Callable[[], None] | None = give_back
        self._tell: Callable[[int], None] | None = None

    @property
    def allowed(self) -> bool:
        """Whether the call may be made."""
        return self.passage.allowed

    def settle(self, spent_micros: int) -> None:
        """The first time only."""
        self._give_back = None
        pools, self._pools = self._pools, ()
        for pool in pools:
            pool.settle(self._cost_micros, spent_micros)
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(spent_micros)

    def when_settled(self, tell: Callable[[int], None]) -> None:
        """Let it be told, once, what the call has come to."""
        self._tell = tell

    def waive(self) -> None:
        """The first time only, and not once it was settled."""
        give_back = self._give_back
        self.settle(0)
        if give_back is not None:
            give_back()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a round read."""

    revision: int
    facts: dict[str, Facts]
    overdue: list[Grant]
    left: dict[Pool, int]
    tokens: dict[str, float]


class Accounts:
    """The accounts of one domain's tenants in this process. `owner` is whose audit rows they are; `buckets` hold the
    tokens of quotas in place of the store.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        domain: Domain,
        *,
        owner: str,
        holder: str = "",
        buckets: Buckets | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._domain = domain
        self._owner = owner
        self._holder = holder or ids.new()
        self._buckets = buckets
        self._tenants: dict[str, Tenant] = {}
        self._wanted: set[str] = set()
        self._revision = -1
        self._confirmed_at = self._summed_at = clock.monotonic()
        self._drawn: list[Drawn] = []
        self._told_at = clock.monotonic()
        self._failed_at = self._overdue_at = self._forgot_at = -FORGET_EVERY_S
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Replenish every 250 ms, until `stop`."""
        self._ticking = asyncio.ensure_future(self._tick())

    async def stop(self) -> None:
        """Settle and give back everything, and admit nothing any more. Calls under way are charged their estimates."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._stopped = True
        self._wanted.clear()
        async with self._lock:
            await self._replenish()
        if self._tenants:
            _log.warning("grants were not settled: they count as spent when they run out", tenants=len(self._tenants))
        self._tenants.clear()

    async def ready(self, tenant_id: str, *, cost_micros: int = 0, tokens: float = 1.0) -> None:
        """Have what a call of this size is judged by. Returns at once where it is there, or was just looked for.

        Never fails: where the store cannot be read, `admit` refuses what it knows nothing of.
        """
        # The second round is for a call that is dearer than what a tenant is begun with.
        for _ in range(2):
            now = self._clock.monotonic()
            tenant = self._tenants.get(tenant_id)
            if tenant is not None and not self._lacks(tenant, cost_micros, tokens, now):
                return
            if self._stopped or now - self._failed_at < TICK_S:
                return
            self._wanted.add(tenant_id)
            await asyncio.shield(self._round())

    def look(self, request: Request, now: float, decided: Mapping[Gate, Verdict]) -> Passage:
        """What `admit` would come to; nothing is reserved."""
        tenant = self._known(request, self._clock.monotonic())
        if tenant is None:
            return pass_gates(request, None, Absent.UNKNOWN, Absent.UNKNOWN, now, decided)
        budget, bucket = _tightest(tenant.present(now)), tenant.bucket(now, request.tokens)
        return pass_gates(request, tenant.facts.policy, budget, bucket, now, decided)

    def admit(self, request: Request, now: float, decided: Mapping[Gate, Verdict] = NOTHING) -> Ticket:
        """Ask the gates, and reserve what they let through. No I/O; `now` is seconds since the epoch. `decided` are
        verdicts of gates in the place of these, which reserve for themselves.
        """
        monotonic = self._clock.monotonic()
        tenant = self._known(request, monotonic)
        if tenant is None:
            return Ticket(pass_gates(request, None, Absent.UNKNOWN, Absent.UNKNOWN, now, decided))
        tenant.used_at = monotonic
        pools = () if Gate.COST in decided else tenant.present(now)
        bucket = Absent.DISABLED if Gate.QUOTA in decided else tenant.bucket(now, request.tokens)
        passage = pass_gates(request, tenant.facts.policy, _tightest(pools), bucket, now, decided)
        for pool in pools:
            pool.use.ask(request.cost_micros)
        tenant.quota_use.ask(request.tokens)
        if not passage.allowed:
            return Ticket(passage)
        for pool in pools:
            pool.reserve(request.cost_micros)
        if isinstance(passage.bucket, Bucket):
            tenant.tokens = passage.bucket.tokens
            tenant.quota_use.take(request.tokens)
            return Ticket(passage, pools, request.cost_micros, partial(tenant.give_back, request.tokens))
        return Ticket(passage, pools, request.cost_micros)

    def _known(self, request: Request, monotonic: float) -> Tenant | None:
        known = request.domain == self._domain and self._knows(monotonic)
        return self._tenants.get(request.tenant_id) if known else None

    def settle(self, ticket: Ticket, spent_micros: int) -> None:
        """A call has ended: it cost this, 0 where it was not made. A second time changes nothing."""
        ticket.settle(spent_micros)

    async def replenish(self) -> None:
        """One round: what is due, in one transaction. Rounds that are asked for while one waits are that one."""
        await asyncio.shield(self._round())

    def _knows(self, monotonic: float) -> bool:
        return not self._stopped and monotonic - self._confirmed_at <= FACTS_HOLD_S

    def _lacks(self, tenant: Tenant, cost_micros: int, tokens: float, now: float) -> bool:
        tenant.used_at = now
        lacks = not self._knows(now)
        for pool in tenant.present(self._clock.now().timestamp()):
            if cost_micros > max(0, pool.left_micros) or not pool.open:
                pool.use.ask(cost_micros)
                lacks |= now - pool.short_at >= TICK_S
        if tenant.facts.quota is not None and tenant.tokens < tokens:
            tenant.quota_use.ask(tokens)
            lacks |= now - tenant.quota_short_at >= TICK_S
        return lacks

    async def _tick(self) -> None:
        while True:
            try:
                await self.replenish()
            except Exception as error:  # whatever it was, the next round may succeed; until then slices run out
                _log.error("a round of the accounts failed", cause=type(error).__name__)
            await asyncio.sleep(TICK_S)

    def _round(self) -> asyncio.Task[None]:
        if self._next is None:
            self._next = asyncio.ensure_future(self._run())
        return self._next

    async def _run(self) -> None:
        async with self._lock:
            self._next = None
            if not self._stopped:
                await self._replenish()

    async def _replenish(self) -> None:
        monotonic, now = self._clock.monotonic(), self._clock.now()
        self._sum_up(monotonic)
        wanted = self._wanted - self._tenants.keys()
        leaving = {
            tenant_id
            for tenant_id, tenant in self._tenants.items()
            if self._stopped or (monotonic - tenant.used_at > IDLE_S and not _busy(tenant))
        }
        try:
            seen = await self._read(wanted, now, monotonic)
            self._learn(seen, monotonic)
            if self._buckets is not None:
                await self._look(self._buckets, seen, leaving, now, monotonic)
            await self._carry_out(seen, leaving, now, monotonic)
        except StoreError as error:
            if monotonic - self._failed_at > FORGET_EVERY_S:
                _log.warning("limits cannot be read or settled", cause=type(error).__name__)
            self._failed_at = self._clock.monotonic()
            return
        self._wanted -= wanted
        for tenant_id in leaving:
            if self._stopped or not _busy(self._tenants[tenant_id]):
                del self._tenants[tenant_id]

    def _sum_up(self, monotonic: float) -> None:
        elapsed = monotonic - self._summed_at
        if elapsed < TICK_S / 2:
            return
        self._summed_at = monotonic
        for tenant in self._tenants.values():
            tenant.quota_use.sum_up(elapsed)
            for pool in tenant.pools.values():
                pool.use.sum_up(elapsed)

    async def _read(self, wanted: Collection[str], now: datetime, monotonic: float) -> _Seen:
        """Everything that a round goes by, in one hop. StoreUnavailable."""
        known = tuple(self._tenants)
        hungry = [pool for tenant in self._tenants.values() for pool in tenant.pools.values() if _hungry(pool)]
        thirsty = [tenant.tenant_id for tenant in self._tenants.values() if self._buckets is None and _thirsty(tenant)]
        look_for_overdue = monotonic - self._overdue_at >= OVERDUE_EVERY_S

        async def read(rooms: Rooms) -> _Seen:
            changed = await rooms.routing.revisions.after(self._revision)
            again = known if "" in changed else [tenant_id for tenant_id in known if tenant_id in changed]
            facts = {tenant_id: await read_facts(rooms, tenant_id, self._domain) for tenant_id in (*again, *wanted)}
            left = {}
            for pool in hungry:
                spending = await rooms.routing.grants.spending(pool.budget.key, pool.start)
                limit = pool.budget.limit_micros
                left[pool] = limit - spending.spent_micros - spending.reserved_micros
            tokens = {}
            for tenant_id in thirsty:
                quota = await rooms.routing.quotas.get(tenant_id, self._domain)
                if quota is not None:
                    filled = quota.tokens + max(0.0, now.timestamp() - quota.at) * quota.refill_per_s
                    tokens[tenant_id] = min(quota.capacity, filled)
            overdue = await rooms.routing.grants.overdue(now) if look_for_overdue else []
            return _Seen(max(changed.values(), default=self._revision), facts, overdue, left, tokens)

        seen = await self._store.together(read)
        if look_for_overdue:
            self._overdue_at = monotonic
        return seen

    def _learn(self, seen: _Seen, monotonic: float) -> None:
        self._revision = seen.revision
        self._confirmed_at = monotonic
        for tenant_id, facts in seen.facts.items():
            tenant = self._tenants.get(tenant_id)
            if tenant is None:
                self._tenants[tenant_id] = Tenant(tenant_id, facts, used_at=monotonic)
            else:
                tenant.learn(facts)

    async def _carry_out(self, seen: _Seen, leaving: Collection[str], now: datetime, monotonic: float) -> None:
        budgets: list[tuple[Tenant, Pool, BudgetPlan]] = []
        quotas: list[tuple[Tenant, QuotaPlan]] = []
        current: set[Pool] = set()
        for tenant in self._tenants.values():
            last = tenant.tenant_id in leaving
            if not last:
                current.update(tenant.of(now), tenant.of(now + NEXT_PERIOD_AHEAD))
            for pool in tenant.pools.values():
                plan = self._budget_plan(pool, seen, now, monotonic, current=pool in current, stopping=last)
                if plan is not None:
                    budgets.append((tenant, pool, plan))
            draw = self._quota_plan(tenant, seen, monotonic, last=last)
            if draw is not None:
                quotas.append((tenant, draw))
        if self._buckets is not None:
            await self._draw(self._buckets, quotas, seen, now, monotonic)
            quotas = []
        pools = [pool for tenant in self._tenants.values() for pool in tenant.pools.values()]
        held = {pool.grant.grant_id for pool in pools if pool.grant is not None}
        overdue = [grant for grant in seen.overdue if grant.grant_id not in held]
        telling = bool(self._drawn) and (self._stopped or monotonic - self._told_at >= SETTLE_EVERY_S)
        if budgets or quotas or overdue or telling:
            await self._exchange(budgets, quotas, overdue, now, monotonic)
        for tenant in self._tenants.values():
            tenant.drop({name for name, pool in tenant.pools.items() if pool not in current and _empty(pool)})

    def _budget_plan(
        self, pool: Pool, seen: _Seen, now: datetime, monotonic: float, *, current: bool, stopping: bool
    ) -> BudgetPlan | None:
        gone = not current
        last = stopping or (gone and pool.calls == 0)
        owed = charge(pool.held)
        expiring = pool.grant is not None and pool.grant.expires_at - now < GRANT_TTL / 2
        must = expiring or bool(pool.unsure)
        keep = optional = False
        if gone:
            must |= last and (pool.grant is not None or owed > 0)
        else:
            settling = owed > 0 and (pool.grant is None or monotonic - pool.exchanged_at >= SETTLE_EVERY_S)
            hungry = _hungry(pool)
            scrap = hungry and not _helped(pool, seen) and 0 < pool.left_micros < pool.use.smallest
            keep = not (scrap or pool.changed or pool.left_micros > TOO_LARGE * pool.target)
            must |= settling or not keep
            optional = not must and hungry
            if optional and not _helped(pool, seen):
                pool.short_at = monotonic
                return None
        if not must and not optional:
            return None
        return BudgetPlan(
            budget=pool.budget,
            start=pool.start,
            held=pool.held,
            grant=pool.grant,
            unsure=pool.unsure,
            grant_id=self._ids.new(),
            target=0 if gone else pool.target,
            largest=int(pool.use.largest),
            smallest=int(pool.use.smallest),
            keep=keep,
            optional=optional,
            last=last,
        )

    def _quota_plan(self, tenant: Tenant, seen: _Seen, monotonic: float, *, last: bool) -> QuotaPlan | None:
        if tenant.silent and not last:
            return None
        use, held, returned = tenant.quota_use, tenant.tokens, 0.0
        target = 0.0 if last else tenant.target()
        if last or tenant.quota_changed:
            held, returned = 0.0, held
        elif not _thirsty(tenant):
            return None
        else:
            there = seen.tokens.get(tenant.tenant_id, target)
            smallest, largest = use.smallest, use.largest
            if not top_up(held=held, target=target, largest=largest, smallest=smallest, there=there):
                tenant.quota_short_at = monotonic
                if not 0 < held < smallest:
                    return None
                held, returned = 0.0, held
        if returned == 0 and target == 0:
            return None
        return QuotaPlan(tenant.tenant_id, self._domain, returned, held, target, use.largest, use.smallest)

    async def _look(
        self, buckets: Buckets, seen: _Seen, leaving: Collection[str], now: datetime, monotonic: float
    ) -> None:
        """What there is in buckets that slices are to be taken from."""
        asking = [
            (tenant, self._change(tenant, tenant.facts.quota, now))
            for tenant in self._tenants.values()
            if tenant.facts.quota is not None and tenant.tenant_id not in leaving
            if tenant.quota_changed or _thirsty(tenant)
        ]
        told = await buckets.change([change for _, change in asking])
        for (tenant, change), answered in zip(asking, told, strict=True):
            changed, quota = answered, tenant.facts.quota
            if changed is not None and quota is not None and not quota.is_elsewhere:
                changed = await move(self._store, buckets, self._owner, change)
                moved = replace(quota, tokens=0.0, at=ELSEWHERE)
                tenant.facts = replace(tenant.facts, quota=moved)
            _heard(tenant, changed, monotonic)
            if changed is not None:
                seen.tokens[tenant.tenant_id] = changed.tokens

    async def _draw(
        self,
        buckets: Buckets,
        quotas: list[tuple[Tenant, QuotaPlan]],
        seen: _Seen,
        now: datetime,
        monotonic: float,
    ) -> None:
        """Give back and take. What others took since the buckets were looked into, this round goes without."""
        drawing = []
        for tenant, draw in quotas:
            tenant.tokens -= draw.returned
            tenant.quota_changed = False
            quota = tenant.facts.quota
            if quota is None:
                continue
            there = min(quota.capacity, seen.tokens.get(tenant.tenant_id, 0.0) + draw.returned)
            amount = top_up(
                held=draw.held, target=draw.target, largest=draw.largest, smallest=draw.smallest, there=there
            )
            drawing.append((tenant, draw, self._change(tenant, quota, now, put=draw.returned, take=amount)))
        told = await buckets.change([change for _, _, change in drawing])
        for (tenant, draw, change), changed in zip(drawing, told, strict=True):
            taken = change.take if changed is not None and changed.wait_s == 0 else 0.0
            tenant.tokens += taken
            if changed is not None and (taken or draw.returned):
                self._drawn.append(Drawn(self._ids.new(), tenant.tenant_id, taken, draw.returned))
            _heard(tenant, changed, monotonic)
            if draw.held + taken < draw.largest:
                tenant.quota_short_at = monotonic

    def _change(self, tenant: Tenant, quota: Quota, now: datetime, *, put: float = 0.0, take: float = 0.0) -> Change:
        return Change(
            tenant_id=tenant.tenant_id,
            domain=self._domain,
            capacity=quota.capacity,
            refill_per_s=quota.refill_per_s,
            revision=tenant.facts.revision,
            now=now.timestamp(),
            put=put,
            take=take,
        )

    async def _exchange(
        self,
        budgets: list[tuple[Tenant, Pool, BudgetPlan]],
        quotas: list[tuple[Tenant, QuotaPlan]],
        overdue: list[Grant],
        now: datetime,
        monotonic: float,
    ) -> None:
        forgetting = monotonic - self._forgot_at >= FORGET_EVERY_S
        drawn = tuple(self._drawn)
        plan = Plan(
            self._domain,
            [one for _, _, one in budgets],
            [one for _, one in quotas],
            drawn,
            overdue,
            now,
            now - FORGET_AFTER if forgetting else None,
        )
        outcomes: list[Outcome] = []

        async def work(tx: Transaction) -> None:
            outcomes.append(await Exchanges(tx, self._owner, self._holder, now).all(plan))

        for _, pool, one in budgets:
            pool.open = one.keep
        for tenant, draw in quotas:
            tenant.tokens -= draw.returned
        try:
            await self._store.perform(work)
        except NothingDone:
            outcomes = [Outcome([None] * len(budgets), [0.0] * len(quotas))]
        except StoreError:
            self._unkept(outcomes, budgets, quotas)
            raise
        finally:
            for _, pool, _ in budgets:
                pool.open = True
        if forgetting:
            self._forgot_at = monotonic
        del self._drawn[: len(drawn)]
        self._told_at = monotonic
        for (_, pool, _), done in zip(budgets, outcomes[0].budgets, strict=True):
            _keep(pool, done, monotonic)
        for (tenant, draw), taken in zip(quotas, outcomes[0].quotas, strict=True):
            tenant.tokens += taken
            tenant.quota_changed = False
            if draw.held + taken < draw.largest:
                tenant.quota_short_at = monotonic

    def _unkept(
        self,
        outcomes: list[Outcome],
        budgets: list[tuple[Tenant, Pool, BudgetPlan]],
        quotas: list[tuple[Tenant, QuotaPlan]],
    ) -> None:
        """Nothing was kept, unless the work was done and only its commit failed: then nobody knows."""
        if not outcomes:
            for tenant, draw in quotas:
                tenant.tokens += draw.returned
            return
        for (_, pool, one), done in zip(budgets, outcomes[0].budgets, strict=True):
            if done is not None:
                pool.unsure = (*pool.unsure, Attempt(one.grant, done))


def _tightest(pools: tuple[Pool, ...]) -> Budget | Absent:
    """What is left least of: where that lets a call through, all do."""
    if not pools:
        return Absent.DISABLED
    if len(pools) == 1:
        return pools[0].offer
    return min((pool.offer for pool in pools), key=lambda budget: budget.left_micros)


def _busy(tenant: Tenant) -> bool:
    return any(pool.calls for pool in tenant.pools.values())


def _hungry(pool: Pool) -> bool:
    return 2 * pool.left_micros < pool.target


def _helped(pool: Pool, seen: _Seen) -> bool:
    """Whether there is something for a pool, as it was read."""
    use = pool.use
    there = seen.left.get(pool, pool.budget.limit_micros)
    held = pool.left_micros
    return top_up(held=held, target=pool.target, largest=use.largest, smallest=use.smallest, there=there) >= 1


def _heard(tenant: Tenant, changed: Changed | None, monotonic: float) -> None:
    """Note whether a bucket outside of the store was heard; where not, it is asked again with the next round."""
    tenant.silent = changed is None
    if tenant.silent:
        tenant.quota_short_at = monotonic


def _thirsty(tenant: Tenant) -> bool:
    return 2 * tenant.tokens < tenant.target()


def _keep(pool: Pool, done: Exchanged | None, monotonic: float) -> None:
    if done is None:
        pool.short_at = monotonic
        return
    pool.apply(done)
    pool.changed = False
    pool.exchanged_at = monotonic
    pool.short_at = monotonic if done.short else -1.0


def _empty(pool: Pool) -> bool:
    return pool.calls == 0 and pool.grant is None and not pool.unsure and charge(pool.held) == 0
