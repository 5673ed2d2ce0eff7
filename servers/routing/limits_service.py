"""The gRPC edge of limits (§22): rules of policy, budgets and quotas, put by operators, each change audited.

Every routing owner serves it alike. Servers learn a change from the store within a second: `servers.routing.accounts`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message
from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import Domain

from servers.routing.buckets import Buckets, Change, Changed
from servers.routing.gates import Bucket, take
from servers.routing.moving import move
from servers.routing.slices import period_start
from servers.runtime.auth import (
    ROLE_DEPLOYMENT_OPERATOR,
    ROLE_OPERATOR,
    ROLE_SERVICE,
    Principal,
    require_role,
    require_tenant,
)
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.paging import PageTokens, page_size, page_token_invalid
from servers.runtime.server import Service
from servers.runtime.storage import SYSTEM_TENANT, actor, not_found, once, refusing_store_errors, turn
from store import Conflict, Rooms, Store, Transaction, request_hash
from store.routing import ELSEWHERE, Budget, Key, Quota, Rule, Spending

_TOKENS: Final = PageTokens("policy-rules")
_DEPLOYMENT: Final = "d"
_TENANT: Final = "t"

Reply = TypeVar("Reply", bound=Message)


class _Change(Protocol):
    """A request that changes a tenant's limits, or the deployment's."""

    tenant_id: str
    idempotency_key: str


class LimitsV1(routing_grpc.LimitsServiceServicer):
    """selene.routing.v1.LimitsService. `buckets` hold the tokens of quotas in place of the store."""

    def __init__(self, store: Store, clock: Clock, owner: str, buckets: Buckets | None = None) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._buckets = buckets

    async def PutPolicyRule(self, request: v1.PutPolicyRuleRequest, context: Any) -> v1.PutPolicyRuleResponse:
        caller = _manager(request.tenant_id)
        rule = _rule(request.tenant_id, request.rule)

        async def put(tx: Transaction) -> v1.PutPolicyRuleResponse:
            replaced = await tx.routing.rules.put(rule)
            await self._note(
                tx,
                caller,
                request,
                "policy_rule.put",
                "REPLACED" if replaced else "NEW",
                rule_id=rule.rule_id,
                effect=v1.PolicyEffect.Name(rule.effect).removeprefix("POLICY_EFFECT_"),
                reason=rule.reason,
            )
            return v1.PutPolicyRuleResponse(replaced=replaced)

        content = request_hash(
            rule.tenant_id,
            rule.rule_id,
            int(rule.effect),
            rule.reason,
            {int(domain) for domain in rule.domains},
            {int(capability) for capability in rule.capabilities},
            set(rule.channels),
            set(rule.users),
        )
        return await self._once(caller, request, "PutPolicyRule", content, v1.PutPolicyRuleResponse, put)

    async def DeletePolicyRule(self, request: v1.DeletePolicyRuleRequest, context: Any) -> v1.DeletePolicyRuleResponse:
        caller = _manager(request.tenant_id)

        async def delete(tx: Transaction) -> v1.DeletePolicyRuleResponse:
            if not await tx.routing.rules.delete(request.tenant_id, request.rule_id):
                raise not_found("policy rule", request.rule_id)
            await self._note(tx, caller, request, "policy_rule.deleted", "OPERATOR_REQUEST", rule_id=request.rule_id)
            return v1.DeletePolicyRuleResponse()

        content = request_hash(request.tenant_id, request.rule_id)
        return await self._once(caller, request, "DeletePolicyRule", content, v1.DeletePolicyRuleResponse, delete)

    async def ListPolicyRules(self, request: v1.ListPolicyRulesRequest, context: Any) -> v1.ListPolicyRulesResponse:
        _reader(request.tenant_id)
        size, after = page_size(request.page), _place(_TOKENS.after(request.page), request.tenant_id)
        with refusing_store_errors():
            page = await self._store.routing.rules.page(request.tenant_id, after=after, limit=size + 1)
        following = _token(page[size - 1]) if len(page) > size else ""
        return v1.ListPolicyRulesResponse(
            rules=[v1.TenantPolicyRule(tenant_id=rule.tenant_id, rule=_policy_rule(rule)) for rule in page[:size]],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def SetBudget(self, request: v1.SetBudgetRequest, context: Any) -> v1.SetBudgetResponse:
        caller = _manager(request.tenant_id)
        asked, now = request.budget, self._clock.now()
        budget = Budget(Key(request.tenant_id, asked.domain, asked.period), asked.limit_micros, asked.currency)

        async def put(tx: Transaction) -> v1.SetBudgetResponse:
            before = await tx.routing.budgets.get(budget.key)
            try:
                await tx.routing.budgets.put(budget)
            except Conflict:
                raise _invalid(
                    "budget.currency", "budget.one_currency", "must be that of all the tenant's budgets"
                ) from None
            await self._note(
                tx,
                caller,
                request,
                "budget.set",
                "NEW" if before is None else "REPLACED",
                domain=Domain.Name(asked.domain),
                period=v1.BudgetPeriod.Name(asked.period).removeprefix("BUDGET_PERIOD_"),
                limit_micros=str(asked.limit_micros),
                currency=asked.currency,
                before_micros="" if before is None else str(before.limit_micros),
            )
            spending = await tx.routing.grants.spending(budget.key, period_start(asked.period, now))
            return v1.SetBudgetResponse(budget=_budget_standing(budget, spending))

        content = request_hash(
            request.tenant_id, int(asked.domain), int(asked.period), asked.limit_micros, asked.currency
        )
        return await self._once(caller, request, "SetBudget", content, v1.SetBudgetResponse, put)

    async def DeleteBudget(self, request: v1.DeleteBudgetRequest, context: Any) -> v1.DeleteBudgetResponse:
        caller = _manager(request.tenant_id)
        key = Key(request.tenant_id, request.domain, request.period)
        domain = Domain.Name(request.domain)
        period = v1.BudgetPeriod.Name(request.period).removeprefix("BUDGET_PERIOD_")

        async def delete(tx: Transaction) -> v1.DeleteBudgetResponse:
            before = await tx.routing.budgets.get(key)
            if before is None or not await tx.routing.budgets.delete(key):
                raise not_found("budget", f"{domain} {period}")
            await self._note(
                tx,
                caller,
                request,
                "budget.deleted",
                "OPERATOR_REQUEST",
                domain=domain,
                period=period,
                before_micros=str(before.limit_micros),
            )
            return v1.DeleteBudgetResponse()

        content = request_hash(request.tenant_id, int(request.domain), int(request.period))
        return await self._once(caller, request, "DeleteBudget", content, v1.DeleteBudgetResponse, delete)

    async def ListBudgets(self, request: v1.ListBudgetsRequest, context: Any) -> v1.ListBudgetsResponse:
        _reader(request.tenant_id)
        now = self._clock.now()

        async def standing(rooms: Rooms) -> list[v1.BudgetStanding]:
            return [
                _budget_standing(
                    budget, await rooms.routing.grants.spending(budget.key, period_start(budget.key.period, now))
                )
                for budget in await rooms.routing.budgets.of(request.tenant_id)
            ]

        with refusing_store_errors():
            return v1.ListBudgetsResponse(budgets=await self._store.together(standing))

    async def SetQuota(self, request: v1.SetQuotaRequest, context: Any) -> v1.SetQuotaResponse:
        caller = _manager(request.tenant_id)
        asked, now = request.quota, self._clock.now().timestamp()
        held = await self._held_for(request.tenant_id, asked, now)

        async def put(tx: Transaction) -> v1.SetQuotaResponse:
            before = await tx.routing.quotas.locked(request.tenant_id, asked.domain)
            tokens = asked.capacity
            if before is not None:
                tokens = min(asked.capacity, _level(before, now) if held is None else held)
            kept, at = (tokens, now) if held is None else (0.0, ELSEWHERE)
            quota = Quota(request.tenant_id, asked.domain, asked.capacity, asked.refill_per_s, kept, at)
            await tx.routing.quotas.put(quota)
            await self._note(
                tx,
                caller,
                request,
                "quota.set",
                "NEW" if before is None else "REPLACED",
                domain=Domain.Name(asked.domain),
                capacity=repr(asked.capacity),
                refill_per_s=repr(asked.refill_per_s),
            )
            return v1.SetQuotaResponse(quota=_quota_standing(quota, tokens))

        content = request_hash(request.tenant_id, int(asked.domain), repr(asked.capacity), repr(asked.refill_per_s))
        return await self._once(caller, request, "SetQuota", content, v1.SetQuotaResponse, put)

    async def DeleteQuota(self, request: v1.DeleteQuotaRequest, context: Any) -> v1.DeleteQuotaResponse:
        caller = _manager(request.tenant_id)
        domain = Domain.Name(request.domain)

        async def delete(tx: Transaction) -> v1.DeleteQuotaResponse:
            if not await tx.routing.quotas.delete(request.tenant_id, request.domain):
                raise not_found("quota", domain)
            await self._note(tx, caller, request, "quota.deleted", "OPERATOR_REQUEST", domain=domain)
            return v1.DeleteQuotaResponse()

        content = request_hash(request.tenant_id, int(request.domain))
        return await self._once(caller, request, "DeleteQuota", content, v1.DeleteQuotaResponse, delete)

    async def ListQuotas(self, request: v1.ListQuotasRequest, context: Any) -> v1.ListQuotasResponse:
        _reader(request.tenant_id)
        now = self._clock.now().timestamp()

        async def standing(rooms: Rooms) -> tuple[int, list[Quota]]:
            return await rooms.routing.revisions.of(request.tenant_id), await rooms.routing.quotas.of(request.tenant_id)

        with refusing_store_errors():
            revision, quotas = await self._store.together(standing)
        if self._buckets is None:
            return v1.ListQuotasResponse(quotas=[_quota_standing(quota, _level(quota, now)) for quota in quotas])
        levels = await self._levels(self._buckets, [_unchanged(quota, revision, now) for quota in quotas])
        # What the store holds of a quota is moved when it is used next.
        levels = [min(quota.capacity, level + _level(quota, now)) for quota, level in zip(quotas, levels, strict=True)]
        return v1.ListQuotasResponse(quotas=[_quota_standing(*each) for each in zip(quotas, levels, strict=True)])

    async def _held_for(self, tenant_id: str, asked: v1.Quota, now: float) -> float | None:
        """What the bucket of a quota that is to be set holds outside of the store: that of a new one is filled. None
        where the store keeps it. Refuses with STORE_UNAVAILABLE.
        """
        if self._buckets is None:
            return None

        async def present(rooms: Rooms) -> tuple[int, Quota | None]:
            return (
                await rooms.routing.revisions.of(tenant_id),
                await rooms.routing.quotas.get(tenant_id, asked.domain),
            )

        with refusing_store_errors():
            revision, before = await self._store.together(present)
        change = _filled(tenant_id, asked, revision + 1, now)
        if before is not None:
            change = _unchanged(before, revision, now)
        (level,) = await self._levels(self._buckets, [change])
        if before is None or before.is_elsewhere:
            return level
        with refusing_store_errors():
            return _answered(await move(self._store, self._buckets, self._owner, change))

    async def _levels(self, buckets: Buckets, changes: list[Change]) -> list[float]:
        return [_answered(changed) for changed in await buckets.change(changes)]

    async def _once(
        self,
        caller: Principal,
        request: _Change,
        method: str,
        content: bytes,
        reply: type[Reply],
        work: Callable[[Transaction], Awaitable[Reply]],
    ) -> Reply:
        return await once(
            self._store,
            tenant_id=caller.tenant_id,
            method=method,
            key=request.idempotency_key,
            content=content,
            reply=reply,
            work=work,
        )

    async def _note(
        self, tx: Transaction, caller: Principal, request: _Change, transition: str, reason_code: str, **facts: str
    ) -> None:
        tx.audit(
            tenant_id=request.tenant_id or SYSTEM_TENANT,
            owner=self._owner,
            actor=await actor(tx, caller),
            transition=transition,
            reason_code=reason_code,
            turn=turn(),
            idempotency_key=request.idempotency_key,
            facts=facts,
        )


def limits_service(store: Store, clock: Clock, owner: str, buckets: Buckets | None = None) -> Service:
    """The service, as an owner's `build` returns it; `owner` is the engine id that its audit rows name."""
    add = routing_grpc.add_LimitsServiceServicer_to_server
    return Service(add, LimitsV1(store, clock, owner, buckets), "selene.routing.v1.LimitsService")


def _manager(tenant_id: str) -> Principal:
    """Who may change a tenant's limits: an operator of it; of the deployment's, an operator of the deployment."""
    if not tenant_id:
        return require_role(ROLE_DEPLOYMENT_OPERATOR)
    require_tenant(tenant_id)
    return require_role(ROLE_OPERATOR)


def _reader(tenant_id: str) -> Principal:
    require_tenant(tenant_id)
    return require_role(ROLE_OPERATOR, ROLE_SERVICE)


def _rule(tenant_id: str, rule: v1.PolicyRule) -> Rule:
    return Rule(
        tenant_id=tenant_id,
        rule_id=rule.rule_id,
        effect=rule.effect,
        reason=rule.reason_code,
        domains=frozenset(rule.domains),
        capabilities=frozenset(rule.capabilities),
        channels=frozenset(rule.channels),
        users=frozenset(rule.users),
    )


def _policy_rule(rule: Rule) -> v1.PolicyRule:
    return v1.PolicyRule(
        rule_id=rule.rule_id,
        effect=rule.effect,
        reason_code=rule.reason,
        domains=sorted(rule.domains),
        capabilities=sorted(rule.capabilities),
        channels=sorted(rule.channels),
        users=sorted(rule.users),
    )


def _token(rule: Rule) -> str:
    return _TOKENS.token((_TENANT if rule.tenant_id else _DEPLOYMENT) + rule.rule_id)


def _place(place: str, tenant_id: str) -> tuple[str, str]:
    """Whose rule was the last that was seen, and which. Refuses with PAGE_TOKEN_INVALID."""
    if not place:
        return "", ""
    whose, rule_id = place[0], place[1:]
    if whose not in (_DEPLOYMENT, _TENANT):
        raise page_token_invalid()
    return ("" if whose == _DEPLOYMENT else tenant_id), rule_id


def _budget_standing(budget: Budget, spending: Spending) -> v1.BudgetStanding:
    key = budget.key
    standing = v1.BudgetStanding(
        budget=v1.Budget(
            domain=key.domain, period=key.period, limit_micros=budget.limit_micros, currency=budget.currency
        ),
        spent_micros=spending.spent_micros,
        reserved_micros=spending.reserved_micros,
    )
    standing.period_start.FromDatetime(spending.period_start)
    return standing


def _quota_standing(quota: Quota, tokens: float) -> v1.QuotaStanding:
    return v1.QuotaStanding(
        quota=v1.Quota(domain=quota.domain, capacity=quota.capacity, refill_per_s=quota.refill_per_s),
        tokens=tokens,
    )


def _unchanged(quota: Quota, revision: int, now: float) -> Change:
    return Change(
        tenant_id=quota.tenant_id,
        domain=quota.domain,
        capacity=quota.capacity,
        refill_per_s=quota.refill_per_s,
        revision=revision,
        now=now,
    )


def _filled(tenant_id: str, quota: v1.Quota, revision: int, now: float) -> Change:
    """Once a revision, so that two operators who set the same quota fill its bucket once."""
    return Change(
        tenant_id=tenant_id,
        domain=quota.domain,
        capacity=quota.capacity,
        refill_per_s=quota.refill_per_s,
        revision=revision,
        now=now,
        put=quota.capacity,
        once=revision,
    )


def _answered(changed: Changed | None) -> float:
    """The tokens of a bucket that was heard. Refuses with STORE_UNAVAILABLE."""
    if changed is None:
        raise Refusal(
            reasons.ERROR_REASON_STORE_UNAVAILABLE,
            "the buckets of quotas cannot be reached; nothing was changed",
            cause="BUCKETS_SILENT",
        )
    return changed.tokens


def _level(quota: Quota, now: float) -> float:
    """How many tokens the store's bucket holds now."""
    if quota.is_elsewhere:
        return 0.0
    bucket = Bucket(capacity=quota.capacity, refill_per_s=quota.refill_per_s, tokens=quota.tokens, at=quota.at)
    return take(bucket, now, 0.0)[0].tokens


def _invalid(field: str, rule: str, message: str) -> Refusal:
    return Refusal.of_fields([FieldViolation(field, rule, message)])
