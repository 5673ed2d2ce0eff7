"""Routing from the client's side: the profile and its layers, providers and their circuits, limits of tenants."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from selene.routing.v1 import service_pb2 as wire
from selene.routing.v1 import service_pb2_grpc as rpc
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1 as ProfileMessage
from selene_messages.selene.common.v1 import PageRequest
from selene_messages.selene.routing import v1

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.following import follow
from clients.retry import RetryPolicy
from clients.routed import Answer, new_key
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_message, to_wire


class Routing:
    """The RoutingService over one connection to any routing owner: the profile, which belongs to the deployment.

    Reading needs role `deployment-operator` or `service`, changing `deployment-operator`. Every method raises
    SeleneError; mutations take an ``idempotency_key``, or make one, so that they are retried safely.
    """

    def __init__(
        self, connection: Connection, *, policy: RetryPolicy | None = None, timeout: float = CALL_TIMEOUT
    ) -> None:
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.RoutingServiceStub(connection.channel)

    async def validate(self, profile: v1.ProviderRoutingProfileV1) -> v1.ValidateProfileResponse:
        """Everything that is wrong with it; nothing is kept."""
        request = wire.ValidateProfileRequest(profile=to_wire(profile, ProfileMessage))
        return await self._ask(self._stub.ValidateProfile, request, v1.ValidateProfileResponse)

    async def put(self, profile: v1.ProviderRoutingProfileV1, *, idempotency_key: str = "") -> v1.ProfileVersion:
        """Register the next version; it is not active yet."""
        request = wire.PutProfileRequest(
            profile=to_wire(profile, ProfileMessage), idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.PutProfile, request, v1.PutProfileResponse)
        return reply.version or v1.ProfileVersion()

    async def activate(self, profile_version: int, reason_code: str, *, idempotency_key: str = "") -> v1.ProfileVersion:
        """Make a registered version the active one. ``reason_code`` is UPPER_SNAKE_CASE."""
        request = wire.ActivateProfileRequest(
            profile_version=profile_version, reason_code=reason_code, idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.ActivateProfile, request, v1.ActivateProfileResponse)
        return reply.version or v1.ProfileVersion()

    async def rollback(self, reason_code: str, *, idempotency_key: str = "") -> v1.ProfileVersion:
        """Return to what was active before, as a new, higher version."""
        request = wire.RollbackProfileRequest(reason_code=reason_code, idempotency_key=idempotency_key or new_key())
        reply = await self._ask(self._stub.RollbackProfile, request, v1.RollbackProfileResponse)
        return reply.version or v1.ProfileVersion()

    async def get(self, profile_version: int = 0) -> v1.GetProfileResponse:
        """A version, the active one for 0."""
        request = wire.GetProfileRequest(profile_version=profile_version)
        return await self._ask(self._stub.GetProfile, request, v1.GetProfileResponse)

    async def list(self, *, page_size: int = 100) -> AsyncGenerator[v1.ProfileVersion, None]:
        """Every version, oldest first."""
        page_token = ""
        while True:
            message = v1.ListProfilesRequest(page=PageRequest(page_size=page_size, page_token=page_token))
            request = to_wire(message, wire.ListProfilesRequest)
            reply = await self._ask(self._stub.ListProfiles, request, v1.ListProfilesResponse)
            for version in reply.versions:
                yield version
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def resolve(self, subject: v1.RoutingSubject) -> v1.ResolveProfileResponse:
        """What the active profile comes to for somebody."""
        request = to_wire(v1.ResolveProfileRequest(subject=subject), wire.ResolveProfileRequest)
        return await self._ask(self._stub.ResolveProfile, request, v1.ResolveProfileResponse)

    async def explain(self, subject: v1.RoutingSubject, prefix: str = "") -> v1.ExplainProfileResponse:
        """Which layer supplied each field whose name begins with ``prefix``."""
        request = to_wire(v1.ExplainProfileRequest(subject=subject, prefix=prefix), wire.ExplainProfileRequest)
        return await self._ask(self._stub.ExplainProfile, request, v1.ExplainProfileResponse)

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


class Circuits:
    """The CircuitService over one connection to the owner whose circuits are meant.

    `providers` needs role `operator`, `service` or `deployment-operator`; forcing `deployment-operator`; the rest one
    of the last two. Every method raises SeleneError.
    """

    def __init__(
        self, connection: Connection, *, policy: RetryPolicy | None = None, timeout: float = CALL_TIMEOUT
    ) -> None:
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.CircuitServiceStub(connection.channel)

    async def providers(self, subject: v1.RoutingSubject) -> v1.ListProvidersResponse:
        """Every provider of the owner as it stands for somebody, in the order in which they are tried."""
        request = to_wire(v1.ListProvidersRequest(subject=subject), wire.ListProvidersRequest)
        return await self._ask(self._stub.ListProviders, request, v1.ListProvidersResponse)

    async def get(self, provider_ref: str, profile_hash: bytes) -> v1.Circuit:
        """One circuit: of a provider, for a resolved profile."""
        request = wire.GetCircuitRequest(key=wire.CircuitKey(provider_ref=provider_ref, profile_hash=profile_hash))
        reply = await self._ask(self._stub.GetCircuit, request, v1.GetCircuitResponse)
        return reply.circuit or v1.Circuit()

    async def watch(self, provider_ref: str = "") -> AsyncGenerator[v1.Circuit, None]:
        """Each circuit as it stands, then each as it changes.

        It goes on across dropped connections, by telling again how each stands.
        """

        def begin(seconds: float) -> Answer:
            request = wire.WatchCircuitsRequest(provider_ref=provider_ref)
            return Answer(self._stub.WatchCircuits(request, timeout=seconds, metadata=self._connection.metadata()))

        async with aclosing(follow(begin, policy=self._policy)) as responses:
            async for response in responses:
                yield to_message(response.circuit, v1.Circuit)

    async def transitions(
        self, provider_ref: str = "", *, page_size: int = 100
    ) -> AsyncGenerator[v1.CircuitTransition, None]:
        """What happened to the owner's circuits, latest first."""
        page_token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=page_token)
            request = to_wire(
                v1.ListTransitionsRequest(provider_ref=provider_ref, page=page), wire.ListTransitionsRequest
            )
            reply = await self._ask(self._stub.ListTransitions, request, v1.ListTransitionsResponse)
            for transition in reply.transitions:
                yield transition
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def force(
        self,
        provider_ref: str,
        profile_hash: bytes,
        force: v1.CircuitForce,
        reason_code: str,
        *,
        idempotency_key: str = "",
    ) -> v1.Circuit:
        """Keep a circuit open or closed, or let the rules decide again; it lasts until it is released."""
        message = v1.ForceCircuitRequest(
            key=v1.CircuitKey(provider_ref=provider_ref, profile_hash=profile_hash),
            force=force,
            reason_code=reason_code,
            idempotency_key=idempotency_key or new_key(),
        )
        request = to_wire(message, wire.ForceCircuitRequest)
        reply = await self._ask(self._stub.ForceCircuit, request, v1.ForceCircuitResponse)
        return reply.circuit or v1.Circuit()

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


class Limits:
    """The LimitsService over one connection to any routing owner: what a tenant may do and spend.

    Changing needs role `operator`, reading that or `service`; a rule of the deployment needs `deployment-operator`.
    Every method raises SeleneError; mutations take an ``idempotency_key``, or make one.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.tenant_id = tenant_id or connection.claims().tenant_id or DEVELOPMENT_TENANT
        self._connection = connection
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.LimitsServiceStub(connection.channel)

    async def put_rule(self, rule: v1.PolicyRule, *, deployment: bool = False, idempotency_key: str = "") -> bool:
        """Put a rule of policy; whether it took the place of another of the same id."""
        message = v1.PutPolicyRuleRequest(
            tenant_id="" if deployment else self.tenant_id, rule=rule, idempotency_key=idempotency_key or new_key()
        )
        request = to_wire(message, wire.PutPolicyRuleRequest)
        return (await self._ask(self._stub.PutPolicyRule, request, v1.PutPolicyRuleResponse)).replaced

    async def delete_rule(self, rule_id: str, *, deployment: bool = False, idempotency_key: str = "") -> None:
        """Delete a rule of policy."""
        request = wire.DeletePolicyRuleRequest(
            tenant_id="" if deployment else self.tenant_id,
            rule_id=rule_id,
            idempotency_key=idempotency_key or new_key(),
        )
        await self._ask(self._stub.DeletePolicyRule, request, v1.DeletePolicyRuleResponse)

    async def rules(self, *, page_size: int = 100) -> AsyncGenerator[v1.TenantPolicyRule, None]:
        """The rules that hold for the tenant: the deployment's first."""
        page_token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=page_token)
            message = v1.ListPolicyRulesRequest(tenant_id=self.tenant_id, page=page)
            request = to_wire(message, wire.ListPolicyRulesRequest)
            reply = await self._ask(self._stub.ListPolicyRules, request, v1.ListPolicyRulesResponse)
            for rule in reply.rules:
                yield rule
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def set_budget(self, budget: v1.Budget, *, idempotency_key: str = "") -> v1.BudgetStanding:
        """Set a budget of a period; what was spent in the period stays spent."""
        message = v1.SetBudgetRequest(
            tenant_id=self.tenant_id, budget=budget, idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.SetBudget, to_wire(message, wire.SetBudgetRequest), v1.SetBudgetResponse)
        return reply.budget or v1.BudgetStanding()

    async def budgets(self) -> list[v1.BudgetStanding]:
        """Budgets, with what is spent and reserved of the present period."""
        request = wire.ListBudgetsRequest(tenant_id=self.tenant_id)
        return (await self._ask(self._stub.ListBudgets, request, v1.ListBudgetsResponse)).budgets

    async def delete_budget(self, domain: v1.Domain, period: v1.BudgetPeriod, *, idempotency_key: str = "") -> None:
        """Delete a budget; UNSPECIFIED names that of all domains together."""
        message = v1.DeleteBudgetRequest(
            tenant_id=self.tenant_id, domain=domain, period=period, idempotency_key=idempotency_key or new_key()
        )
        await self._ask(self._stub.DeleteBudget, to_wire(message, wire.DeleteBudgetRequest), v1.DeleteBudgetResponse)

    async def set_quota(self, quota: v1.Quota, *, idempotency_key: str = "") -> v1.QuotaStanding:
        """Set the quota of a domain: a bucket that fills again."""
        message = v1.SetQuotaRequest(
            tenant_id=self.tenant_id, quota=quota, idempotency_key=idempotency_key or new_key()
        )
        reply = await self._ask(self._stub.SetQuota, to_wire(message, wire.SetQuotaRequest), v1.SetQuotaResponse)
        return reply.quota or v1.QuotaStanding()

    async def delete_quota(self, domain: v1.Domain, *, idempotency_key: str = "") -> None:
        """Delete the quota of a domain."""
        message = v1.DeleteQuotaRequest(
            tenant_id=self.tenant_id, domain=domain, idempotency_key=idempotency_key or new_key()
        )
        await self._ask(self._stub.DeleteQuota, to_wire(message, wire.DeleteQuotaRequest), v1.DeleteQuotaResponse)

    async def quotas(self) -> list[v1.QuotaStanding]:
        """Quotas, with the tokens that are left."""
        request = wire.ListQuotasRequest(tenant_id=self.tenant_id)
        return (await self._ask(self._stub.ListQuotas, request, v1.ListQuotasResponse)).quotas

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)
