"""What one process holds of the limits of its tenants (§22), and the transaction in which it exchanges that.

What is held changes on the event loop only. A transaction works on values that were taken before it, for calls go on
while it runs, and on SQLite it runs in a thread; what came of it is applied afterwards.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from selene.routing.v1.routing_pb2 import DOMAIN_UNSPECIFIED, Domain
from selene.routing.v1.service_pb2 import POLICY_EFFECT_ALLOW, BudgetPeriod

from servers.routing import gates
from servers.routing.gates import Absent, Bucket, Effect, Policy, PolicyRule
from servers.routing.slices import (
    Exchange,
    Slice,
    closed,
    draw,
    ended,
    exchange,
    exchanged,
    give_back,
    period_start,
    top_up,
    wanted,
)
from store import Rooms, Transaction
from store.routing import Budget, Grant, Key, Quota, Rule

GRANT_TTL = timedelta(seconds=60)
DAY_S = 86400.0
OF_DEPLOYMENT = "deployment:"
OF_TENANT = "tenant:"


@dataclass(frozen=True, slots=True)
class Facts:
    """A tenant's limits of one domain, as they were read: those of `revision`, or of a later one."""

    policy: Policy
    budgets: tuple[Budget, ...]
    quota: Quota | None
    revision: int


@dataclass(slots=True)
class Use:
    """How much calls take: the largest and the smallest lately, and all on average."""

    largest: float
    smallest: float
    per_s: float = 0.0
    _asked: bool = False
    _total: float = 0.0

    def ask(self, amount: float) -> None:
        """A call wants so much."""
        self.largest = max(self.largest, amount) if self._asked else amount
        self.smallest = min(self.smallest, amount) if self._asked else amount
        self._asked = True

    def take(self, amount: float) -> None:
        """A call took so much."""
        self._total += amount

    def sum_up(self, elapsed_s: float) -> None:
        """Half of the average is that of the last `elapsed_s`."""
        self.per_s = (self.per_s + self._total / elapsed_s) / 2
        self._total = 0.0
        self._asked = False


@dataclass(slots=True, eq=False)
class Pool:
    """A slice of one period of a budget, in parts, for calls change it. A closed pool takes no calls."""

    budget: Budget
    start: datetime
    use: Use
    limit_micros: int = 0
    granted_micros: int = 0
    spent_micros: int = 0
    reserved_micros: int = 0
    grant: Grant | None = None
    unsure: tuple[Attempt, ...] = ()
    exchanged_at: float = 0.0
    short_at: float = -1.0
    calls: int = 0
    open: bool = True
    changed: bool = False

    @property
    def held(self) -> Slice:
        """The slice as it is now."""
        return Slice(self._part(), self.granted_micros)

    @property
    def offer(self) -> gates.Budget:
        """What calls may be reserved in."""
        part = self._part()
        return part if self.open else closed(part)

    @property
    def left_micros(self) -> int:
        """What calls may still reserve, were the pool open."""
        return self.limit_micros - self.spent_micros - self.reserved_micros

    @property
    def target(self) -> int:
        """How large the slice should be."""
        return int(wanted(self.use.largest, self.use.per_s, self.budget.limit_micros))

    def reserve(self, micros: int) -> None:
        """A call begins."""
        self.calls += 1
        self.reserved_micros += micros
        self.use.take(micros)

    def settle(self, reserved_micros: int, spent_micros: int) -> None:
        """A call has ended: its reservation becomes what it really cost."""
        self.calls -= 1
        self.reserved_micros -= reserved_micros
        self.spent_micros += max(0, spent_micros)

    def apply(self, done: Exchanged) -> None:
        """The transaction of an exchange was kept."""
        after = exchanged(self.held, done.exchange)
        self.granted_micros = after.granted_micros
        self.limit_micros = after.budget.limit_micros
        self.spent_micros = after.budget.spent_micros
        self.grant = done.grant
        self.unsure = ()

    def _part(self) -> gates.Budget:
        return gates.Budget(
            limit_micros=self.limit_micros, spent_micros=self.spent_micros, reserved_micros=self.reserved_micros
        )


@dataclass(slots=True, eq=False)
class Tenant:
    """A tenant's facts, and what is held for it. `silent`: what more its bucket holds, nobody can tell."""

    tenant_id: str
    facts: Facts
    used_at: float
    tokens: float = 0.0
    quota_use: Use = field(default_factory=lambda: Use(1.0, 1.0))
    quota_short_at: float = -1.0
    quota_changed: bool = False
    silent: bool = False
    pools: dict[tuple[Key, datetime], Pool] = field(default_factory=dict)
    _present: tuple[Pool, ...] = ()
    _day: float | None = None

    def present(self, now: float) -> tuple[Pool, ...]:
        """The pools of the periods of `now`, one a budget."""
        day = now // DAY_S
        if day != self._day:
            self._present = self.of(datetime.fromtimestamp(now, UTC))
            self._day = day
        return self._present

    def of(self, at: datetime) -> tuple[Pool, ...]:
        """The pools of the periods of an instant, made where there are none."""
        pools = []
        for budget in self.facts.budgets:
            start = period_start(budget.key.period, at)
            pool = self.pools.get((budget.key, start))
            if pool is None:
                pool = self.pools[budget.key, start] = Pool(budget, start, Use(1.0, 1.0))
            pools.append(pool)
        return tuple(pools)

    def drop(self, names: Collection[tuple[Key, datetime]]) -> None:
        """Forget pools that hold nothing."""
        for name in names:
            del self.pools[name]
            self._day = None

    def bucket(self, now: float, tokens: float) -> Bucket | Absent:
        """What is held of the quota, to take `tokens` of; it fills again from the bucket that all share only."""
        quota = self.facts.quota
        if quota is None:
            return Absent.DISABLED
        if self.silent and self.tokens < tokens:
            return Absent.UNKNOWN
        return Bucket(capacity=quota.capacity, refill_per_s=quota.refill_per_s, tokens=self.tokens, at=now)

    def give_back(self, tokens: float) -> None:
        """What a call had taken of the quota that is none to be charged."""
        self.tokens += tokens

    def learn(self, facts: Facts) -> None:
        """The facts as they are now. What is held of a limit that changed is exchanged at the next occasion."""
        budgets = {budget.key: budget for budget in facts.budgets}
        for pool in self.pools.values():
            after = budgets.get(pool.budget.key)
            if after != pool.budget:
                pool.changed = True
                pool.budget = after or pool.budget
        before = self.facts.quota
        self.quota_changed |= before is not None and _shape(before) != _shape(facts.quota)
        self.facts = facts
        self._day = None

    def target(self) -> float:
        """How many tokens should be held."""
        quota = self.facts.quota
        if quota is None:
            return 0.0
        return min(quota.capacity, wanted(self.quota_use.largest, self.quota_use.per_s, quota.capacity))


def _shape(quota: Quota | None) -> tuple[float, float] | None:
    return None if quota is None else (quota.capacity, quota.refill_per_s)


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """An exchange that is to be tried. An `optional` one is worth it only where it brings something; the `last` one
    leaves nothing reserved.
    """

    budget: Budget
    start: datetime
    held: Slice
    grant: Grant | None
    unsure: tuple[Attempt, ...]
    grant_id: str
    target: int
    largest: int
    smallest: int
    keep: bool
    optional: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came of an exchange. `short`: there was less than a call's worth."""

    exchange: Exchange
    grant: Grant | None
    short: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """An exchange of which nobody knows whether it was kept: the connection broke at its commit."""

    before: Grant | None
    exchanged: Exchanged


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """Tokens that are to be given back, then taken."""

    tenant_id: str
    domain: Domain
    returned: float
    held: float
    target: float
    largest: float
    smallest: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """Tokens that were exchanged with a bucket outside of the store, for the trail. A slice that is told twice, for the
    answer of the store was lost, has the same id.
    """

    slice_id: str
    tenant_id: str
    taken: float
    returned: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is due, for one transaction."""

    domain: Domain
    budgets: Sequence[BudgetPlan]
    quotas: Sequence[QuotaPlan]
    drawn: Sequence[Drawn]
    overdue: Sequence[Grant]
    now: datetime
    forget_before: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it, in the plan's order: None where an exchange was not worth it; tokens that were taken."""

    budgets: Sequence[Exchanged | None]
    quotas: Sequence[float]


class NothingDone(Exception):
    """Nothing of a plan was worth a change: all is undone."""


async def read_facts(rooms: Rooms, tenant_id: str, domain: Domain) -> Facts:
    """A tenant's limits of one domain. StoreUnavailable."""
    revision = await rooms.routing.revisions.of(tenant_id)
    rules = await rooms.routing.rules.holding(tenant_id)
    budgets = await rooms.routing.budgets.of(tenant_id)
    return Facts(
        policy=Policy.of(_policy_rule(rule) for rule in rules if not rule.domains or domain in rule.domains),
        budgets=tuple(budget for budget in budgets if budget.key.domain in (DOMAIN_UNSPECIFIED, domain)),
        quota=await rooms.routing.quotas.get(tenant_id, domain),
        revision=revision,
    )


def _policy_rule(rule: Rule) -> PolicyRule:
    return PolicyRule(
        rule_id=_told(rule),
        effect=Effect.ALLOW if rule.effect == POLICY_EFFECT_ALLOW else Effect.DENY,
        reason=rule.reason,
        tenants=frozenset({rule.tenant_id} if rule.tenant_id else ()),
        domains=rule.domains,
        capabilities=rule.capabilities,
        channels=rule.channels,
        users=rule.users,
    )


def _told(rule: Rule) -> str:
    """A rule's id as verdicts tell it: no two rules are told alike, although ids are a tenant's own choice."""
    if not rule.tenant_id:
        return f"{OF_DEPLOYMENT}{rule.rule_id}"
    if rule.rule_id.startswith((OF_DEPLOYMENT, OF_TENANT)):
        return f"{OF_TENANT}{rule.rule_id}"
    return rule.rule_id


class Exchanges:
    """Carries a plan out in one transaction. Periods are locked in the order of their keys, then quotas in theirs."""

    def __init__(self, tx: Transaction, owner: str, holder: str, now: datetime) -> None:
        self._tx = tx
        self._owner = owner
        self._holder = holder
        self._now = now
        self._audited = False

    async def all(self, plan: Plan) -> Outcome:
        """Do it. NothingDone, StoreUnavailable."""
        by_period: list[tuple[Key, datetime, int, BudgetPlan | Grant]] = [
            (one.budget.key, one.start, index, one) for index, one in enumerate(plan.budgets)
        ]
        by_period += [(grant.key, grant.period_start, -1, grant) for grant in plan.overdue]
        budgets: list[Exchanged | None] = [None] * len(plan.budgets)
        for _, _, index, due in sorted(by_period, key=lambda entry: entry[:3]):
            if isinstance(due, Grant):
                await self._expire(due)
            else:
                budgets[index] = await self._exchange(due)
        taken = {one.tenant_id: await self._draw(one) for one in sorted(plan.quotas, key=lambda one: one.tenant_id)}
        for one in plan.drawn:
            self._note_drawn(one.tenant_id, plan.domain, one.taken, one.returned, slice_id=one.slice_id)
        if not self._audited:
            raise NothingDone
        if plan.forget_before is not None:
            await self._tx.routing.grants.forget(plan.forget_before)
        return Outcome(budgets, [taken[one.tenant_id] for one in plan.quotas])

    async def _exchange(self, plan: BudgetPlan) -> Exchanged | None:
        grants = self._tx.routing.grants
        spending = await grants.locked(plan.budget, plan.start)
        held, grant, counted = await self._known(plan)
        row = await grants.get(grant.grant_id) if grant is not None else None
        alive = row is not None and row.settled_at is None
        least = exchange(ended(held) if plan.last else held, settled=alive, keep=plan.keep)
        freed = grant.micros if grant is not None and alive else 0
        charged = least.charge_micros if alive else 0
        limit = await self._tx.routing.budgets.get(plan.budget.key)
        after = gates.Budget(
            limit_micros=limit.limit_micros if limit is not None else 0,
            spent_micros=spending.spent_micros + charged,
            reserved_micros=spending.reserved_micros - freed + least.grant_micros,
        )
        ahead = max(0, held.budget.left_micros) if plan.keep else 0
        more = int(
            top_up(
                held=ahead,
                target=plan.target,
                largest=plan.largest,
                smallest=plan.smallest,
                there=after.left_micros,
            )
        )
        if plan.optional and more == 0:
            return None
        if grant is not None and alive:
            await grants.settle(grant, charged, self._now)
        following = await self._take(plan, least.grant_micros + more)
        self._note(
            plan.budget.key,
            "budget.settled" if alive else "budget.granted",
            "SLICE_RETURNED" if plan.last else "SLICE_EXCHANGED",
            start=plan.start,
            grant_id=grant.grant_id if grant is not None else "",
            spent_micros=charged,
            next_grant_id=following.grant_id if following is not None else "",
            next_micros=following.micros if following is not None else 0,
        )
        if plan.last and following is not None:
            await grants.settle(following, following.micros, self._now)
            following = None
        done = replace(
            least,
            charge_micros=charged,
            counted_micros=least.counted_micros + counted,
            grant_micros=least.grant_micros + more if following is not None else 0,
        )
        return Exchanged(done, following, short=ahead + more < plan.largest)

    async def _known(self, plan: BudgetPlan) -> tuple[Slice, Grant | None, int]:
        """What is held, and how much of the spending was accounted for, now that attempts can be looked up."""
        for attempt in reversed(plan.unsure):
            done = attempt.exchanged
            if await self._kept(attempt.before, done):
                return exchanged(plan.held, done.exchange), done.grant, done.exchange.counted_micros
        return plan.held, plan.grant, 0

    async def _kept(self, before: Grant | None, done: Exchanged) -> bool:
        grants = self._tx.routing.grants
        if done.grant is not None:
            return await grants.get(done.grant.grant_id) is not None
        row = await grants.get(before.grant_id) if before is not None else None
        return row is not None and row.settled_at is not None and row.spent_micros == done.exchange.charge_micros

    async def _take(self, plan: BudgetPlan, micros: int) -> Grant | None:
        if micros <= 0:
            return None
        grant = Grant(plan.grant_id, plan.budget.key, plan.start, micros, self._holder, self._now + GRANT_TTL)
        await self._tx.routing.grants.take(grant)
        return grant

    async def _expire(self, grant: Grant) -> None:
        if await self._tx.routing.grants.settle(grant, grant.micros, self._now):
            self._note(
                grant.key,
                "budget.settled",
                "GRANT_EXPIRED",
                start=grant.period_start,
                grant_id=grant.grant_id,
                spent_micros=grant.micros,
                next_grant_id="",
                next_micros=0,
                holder=grant.holder,
            )

    async def _draw(self, plan: QuotaPlan) -> float:
        quota = await self._tx.routing.quotas.locked(plan.tenant_id, plan.domain)
        if quota is None:
            return 0.0
        now = self._now.timestamp()
        if quota.is_elsewhere:
            # Buckets elsewhere are no longer in use, and what they hold nobody knows: it begins empty here.
            quota = replace(quota, tokens=0.0, at=now)
            await self._tx.routing.quotas.fill(plan.tenant_id, plan.domain, tokens=0.0, at=now)
            self._audit(plan.tenant_id, "quota.moved", "BUCKETS_NOT_IN_USE", {"domain": Domain.Name(plan.domain)})
        bucket = Bucket(capacity=quota.capacity, refill_per_s=quota.refill_per_s, tokens=quota.tokens, at=quota.at)
        bucket = give_back(bucket, now, plan.returned)
        bucket, taken = draw(
            bucket, now, held=plan.held, target=plan.target, largest=plan.largest, smallest=plan.smallest
        )
        if taken == plan.returned == 0:
            return 0.0
        await self._tx.routing.quotas.fill(plan.tenant_id, plan.domain, tokens=bucket.tokens, at=bucket.at)
        self._note_drawn(plan.tenant_id, plan.domain, taken, plan.returned)
        return taken

    def _note_drawn(self, tenant_id: str, domain: Domain, taken: float, returned: float, **more: str) -> None:
        facts = {
            "domain": Domain.Name(domain),
            "taken": f"{taken:.3f}",
            "returned": f"{returned:.3f}",
            "holder": self._holder,
            **more,
        }
        self._audit(tenant_id, "quota.taken" if taken else "quota.returned", "SLICE_EXCHANGED", facts)

    def _note(
        self,
        key: Key,
        transition: str,
        reason: str,
        *,
        start: datetime,
        grant_id: str,
        spent_micros: int,
        next_grant_id: str,
        next_micros: int,
        holder: str = "",
    ) -> None:
        facts = {
            "domain": Domain.Name(key.domain),
            "period": BudgetPeriod.Name(key.period).removeprefix("BUDGET_PERIOD_"),
            "period_start": start.isoformat(),
            "grant_id": grant_id,
            "spent_micros": str(spent_micros),
            "next_grant_id": next_grant_id,
            "next_micros": str(next_micros),
            "holder": holder or self._holder,
        }
        self._audit(key.tenant_id, transition, reason, facts)

    def _audit(self, tenant_id: str, transition: str, reason: str, facts: dict[str, str]) -> None:
        self._tx.audit(
            tenant_id=tenant_id,
            owner=self._owner,
            actor="system",
            transition=transition,
            reason_code=reason,
            facts=facts,
        )
        self._audited = True
