"""What tenants may do and spend (§22): rules of policy, budgets and quotas, as operators set them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from selene.provider.v1.provider_pb2 import Capability
from selene.routing.v1.routing_pb2 import DOMAIN_UNSPECIFIED, Domain
from selene.routing.v1.service_pb2 import BudgetPeriod, PolicyEffect
from sqlalchemy import Row, bindparam, delete, or_, select, tuple_, union_all, update

from store.access import Reads, Writes
from store.errors import Conflict
from store.schema import (
    routing_budgets,
    routing_counter,
    routing_quotas,
    routing_revisions,
    routing_rules,
    routing_spending,
)

DEPLOYMENT = ""
COUNTER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of policy, of a tenant or of the deployment (""). An empty set means all."""

    tenant_id: str
    rule_id: str
    effect: PolicyEffect
    reason: str
    domains: frozenset[Domain] = frozenset()
    capabilities: frozenset[Capability] = frozenset()
    channels: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names a budget. The unspecified domain means all domains together."""

    tenant_id: str
    domain: Domain
    period: BudgetPeriod


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent in a period, in millionths of `currency` (ISO 4217)."""

    key: Key
    limit_micros: int
    currency: str


ELSEWHERE: Final = -1.0


@dataclass(frozen=True, slots=True)
class Quota:
    """A token bucket of one domain. `tokens` were there at `at`, seconds since the epoch; ELSEWHERE where the store has
    given them away for a bucket that is kept elsewhere, and holds none itself.
    """

    tenant_id: str
    domain: Domain
    capacity: float
    refill_per_s: float
    tokens: float
    at: float

    @property
    def is_elsewhere(self) -> bool:
        """Whether the store has given its tokens away."""
        return self.at < 0


class RevisionsReader:
    """Reading what changed."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def after(self, revision: int) -> dict[str, int]:
        """Tenants whose limits changed after `revision`, "" for the deployment's rules; and at which."""
        rows = await self._reads.rows(_CHANGED, {"seen": revision})
        return {row.tenant_id: row.revision for row in rows}

    async def of(self, tenant_id: str) -> int:
        """At which a tenant's limits changed last; 0 where they never did."""
        rows = await self._reads.rows(_REVISION, {"tenant": tenant_id})
        return int(rows[0].revision) if rows else 0


class Revisions(RevisionsReader):
    """Numbering changes inside a transaction."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self._writes = writes

    async def bump(self, tenant_id: str) -> None:
        """The tenant's limits change. Others who change limits, of whomever, wait for this transaction's end."""
        first = self._writes.insert(routing_counter).values(id=COUNTER, revision=1)
        counted = first.on_conflict_do_update(
            index_elements=[routing_counter.c.id], set_={"revision": routing_counter.c.revision + 1}
        )
        written = await self._writes.write(counted.returning(routing_counter.c.revision))
        revision = int(written.rows[0].revision)
        changed = self._writes.insert(routing_revisions).values(tenant_id=tenant_id, revision=revision)
        await self._writes.write(
            changed.on_conflict_do_update(index_elements=[routing_revisions.c.tenant_id], set_={"revision": revision})
        )


class RulesReader:
    """Reading rules."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def holding(self, tenant_id: str) -> list[Rule]:
        """Every rule that holds for a tenant: the deployment's first, then the tenant's, each by id."""
        return [_rule(row) for row in await self._reads.rows(_HOLDING, {"tenant": tenant_id})]

    async def page(self, tenant_id: str, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Rule]:
        """Up to `limit` of `holding`, of those after the place (tenant, rule id)."""
        chosen = _HOLDING.where(tuple_(routing_rules.c.tenant_id, routing_rules.c.rule_id) > after).limit(limit)
        return [_rule(row) for row in await self._reads.rows(chosen, {"tenant": tenant_id})]


class Rules(RulesReader):
    """Changing rules inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, revisions: Revisions) -> None:
        super().__init__(writes)
        self._writes = writes
        self._revisions = revisions

    async def put(self, rule: Rule) -> bool:
        """Put a rule; whether it took the place of another."""
        await self._revisions.bump(rule.tenant_id)
        mine = select(routing_rules.c.rule_id).where(*_is_rule(rule.tenant_id, rule.rule_id))
        replaced = bool(await self._writes.rows(mine))
        values = {
            "effect": rule.effect,
            "reason": rule.reason,
            "domains": sorted(rule.domains),
            "capabilities": sorted(rule.capabilities),
            "channels": sorted(rule.channels),
            "users": sorted(rule.users),
            "updated_at": self._writes.clock.now(),
        }
        made = self._writes.insert(routing_rules).values(tenant_id=rule.tenant_id, rule_id=rule.rule_id, **values)
        await self._writes.write(
            made.on_conflict_do_update(index_elements=list(routing_rules.primary_key), set_=values)
        )
        return replaced

    async def delete(self, tenant_id: str, rule_id: str) -> bool:
        """Delete a rule; False where there was none."""
        await self._revisions.bump(tenant_id)
        return (await self._writes.write(delete(routing_rules).where(*_is_rule(tenant_id, rule_id)))).count > 0


class BudgetsReader:
    """Reading budgets."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def of(self, tenant_id: str) -> list[Budget]:
        """A tenant's budgets, by domain and period."""
        return [_budget(row) for row in await self._reads.rows(_BUDGETS, {"tenant": tenant_id})]

    async def get(self, key: Key) -> Budget | None:
        """The budget of this name."""
        rows = await self._reads.rows(select(routing_budgets).where(*_is_budget(key)))
        return _budget(rows[0]) if rows else None


class Budgets(BudgetsReader):
    """Changing budgets inside a transaction; the caller audits. What was spent of a period stays spent."""

    def __init__(self, writes: Writes, revisions: Revisions) -> None:
        super().__init__(writes)
        self._writes = writes
        self._revisions = revisions

    async def put(self, budget: Budget) -> None:
        """Set a budget. Conflict where the tenant has a budget, or has spent, in another currency."""
        key = budget.key
        await self._revisions.bump(key.tenant_id)
        others = union_all(
            select(routing_budgets.c.currency).where(
                routing_budgets.c.tenant_id == key.tenant_id,
                tuple_(routing_budgets.c.domain, routing_budgets.c.period) != (key.domain, key.period),
            ),
            select(routing_spending.c.currency).where(routing_spending.c.tenant_id == key.tenant_id),
        )
        if any(row.currency != budget.currency for row in await self._writes.rows(others)):
            raise Conflict("a tenant's budgets are all in one currency")
        values = {
            "limit_micros": budget.limit_micros,
            "currency": budget.currency,
            "updated_at": self._writes.clock.now(),
        }
        made = self._writes.insert(routing_budgets).values(
            tenant_id=key.tenant_id, domain=key.domain, period=key.period, **values
        )
        await self._writes.write(
            made.on_conflict_do_update(index_elements=list(routing_budgets.primary_key), set_=values)
        )

    async def delete(self, key: Key) -> bool:
        """Delete a budget: nothing limits what it limited. False where there was none."""
        await self._revisions.bump(key.tenant_id)
        return (await self._writes.write(delete(routing_budgets).where(*_is_budget(key)))).count > 0


class QuotasReader:
    """Reading quotas."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def of(self, tenant_id: str) -> list[Quota]:
        """A tenant's quotas, by domain."""
        return [_quota(row) for row in await self._reads.rows(_QUOTAS, {"tenant": tenant_id})]

    async def get(self, tenant_id: str, domain: Domain) -> Quota | None:
        """The quota of a domain."""
        rows = await self._reads.rows(select(routing_quotas).where(*_is_quota(tenant_id, domain)))
        return _quota(rows[0]) if rows else None


class Quotas(QuotasReader):
    """Changing quotas inside a transaction; the caller audits."""

    def __init__(self, writes: Writes, revisions: Revisions) -> None:
        super().__init__(writes)
        self._writes = writes
        self._revisions = revisions

    async def locked(self, tenant_id: str, domain: Domain) -> Quota | None:
        """`get`, and nobody else takes tokens until the transaction ends."""
        chosen = select(routing_quotas).where(*_is_quota(tenant_id, domain)).with_for_update()
        rows = await self._writes.rows(chosen)
        return _quota(rows[0]) if rows else None

    async def put(self, quota: Quota) -> None:
        """Set a quota with the tokens that it holds. ValueError for no domain, or what is no number of tokens."""
        if quota.domain == DOMAIN_UNSPECIFIED:
            raise ValueError("a quota is of one domain")
        if not all(math.isfinite(part) and part >= 0 for part in (quota.capacity, quota.refill_per_s, quota.tokens)):
            raise ValueError("a bucket's numbers are finite and not negative")
        await self._revisions.bump(quota.tenant_id)
        values = {
            "capacity": quota.capacity,
            "refill_per_s": quota.refill_per_s,
            "tokens": quota.tokens,
            "at": quota.at,
            "updated_at": self._writes.clock.now(),
        }
        made = self._writes.insert(routing_quotas).values(tenant_id=quota.tenant_id, domain=quota.domain, **values)
        await self._writes.write(
            made.on_conflict_do_update(index_elements=list(routing_quotas.primary_key), set_=values)
        )

    async def fill(self, tenant_id: str, domain: Domain, *, tokens: float, at: float) -> None:
        """Set what a bucket holds; the caller has it `locked`."""
        level = update(routing_quotas).where(*_is_quota(tenant_id, domain)).values(tokens=tokens, at=at)
        await self._writes.write(level)

    async def delete(self, tenant_id: str, domain: Domain) -> bool:
        """Delete a quota: nothing limits what it limited. False where there was none."""
        await self._revisions.bump(tenant_id)
        return (await self._writes.write(delete(routing_quotas).where(*_is_quota(tenant_id, domain)))).count > 0


_CHANGED = select(routing_revisions).where(routing_revisions.c.revision > bindparam("seen"))
_REVISION = select(routing_revisions.c.revision).where(routing_revisions.c.tenant_id == bindparam("tenant"))
_HOLDING = (
    select(routing_rules)
    .where(or_(routing_rules.c.tenant_id == DEPLOYMENT, routing_rules.c.tenant_id == bindparam("tenant")))
    .order_by(routing_rules.c.tenant_id, routing_rules.c.rule_id)
)
_BUDGETS = (
    select(routing_budgets)
    .where(routing_budgets.c.tenant_id == bindparam("tenant"))
    .order_by(routing_budgets.c.domain, routing_budgets.c.period)
)
_QUOTAS = (
    select(routing_quotas).where(routing_quotas.c.tenant_id == bindparam("tenant")).order_by(routing_quotas.c.domain)
)


def _is_rule(tenant_id: str, rule_id: str) -> tuple[Any, ...]:
    return routing_rules.c.tenant_id == tenant_id, routing_rules.c.rule_id == rule_id


def _is_budget(key: Key) -> tuple[Any, ...]:
    of = routing_budgets.c
    return of.tenant_id == key.tenant_id, of.domain == key.domain, of.period == key.period


def _is_quota(tenant_id: str, domain: Domain) -> tuple[Any, ...]:
    return routing_quotas.c.tenant_id == tenant_id, routing_quotas.c.domain == domain


def _rule(row: Row[Any]) -> Rule:
    return Rule(
        tenant_id=row.tenant_id,
        rule_id=row.rule_id,
        effect=row.effect,
        reason=row.reason,
        domains=_set(row.domains),
        capabilities=_set(row.capabilities),
        channels=_set(row.channels),
        users=_set(row.users),
    )


def _set(values: Collection[Any]) -> frozenset[Any]:
    return frozenset(values)


def _budget(row: Row[Any]) -> Budget:
    return Budget(Key(row.tenant_id, row.domain, row.period), row.limit_micros, row.currency)


def _quota(row: Row[Any]) -> Quota:
    return Quota(row.tenant_id, row.domain, row.capacity, row.refill_per_s, row.tokens, row.at)
