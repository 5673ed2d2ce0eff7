"""Routing governed over gRPC: a running owner of language, and operators who call its routing services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.routing.v1 import service_pb2 as v1
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import RoutingSubject

from clients.errors import SeleneError, from_rpc
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, Principal, issue_token
from servers.runtime.storage import SYSTEM_TENANT
from tests.support.owners import Owners, serving

TENANT = "dev"
SUBJECT = RoutingSubject(tenant_id=TENANT, locale="en-US")
_SERVICES = ("RoutingService", "CircuitService")


class Desk:
    """Calls of the routing services by role, each with an idempotency key of its own."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners
        self._keys = 0

    def token(self, *roles: str, tenant: str = TENANT) -> str:
        """A token of somebody with these roles."""
        key = self.owners.running.development_key
        assert key is not None
        principal = Principal(tenant, "ops", "", frozenset(roles))
        return issue_token(key, principal, now=self.owners.clock.now(), lifetime=timedelta(hours=1))

    def begin(self, method: str, *roles: str, tenant: str = TENANT, request: Any = None, **fields: Any) -> Any:
        """One call, not awaited: of an operator of the deployment, or of who has other roles."""
        kind = getattr(v1, f"{method}Request")
        if request is None:
            if "idempotency_key" in kind.DESCRIPTOR.fields_by_name and "idempotency_key" not in fields:
                self._keys += 1
                fields["idempotency_key"] = f"k-{self._keys}"
            request = kind(**fields)
        connection = self.owners.connection("llm", self.token(*(roles or (ROLE_DEPLOYMENT_OPERATOR,)), tenant=tenant))
        for service in _SERVICES:
            stub = getattr(routing_grpc, f"{service}Stub")(connection.channel)
            if hasattr(stub, method):
                return getattr(stub, method)(request, timeout=20, metadata=connection.metadata())
        raise AssertionError(method)

    async def call(self, method: str, *roles: str, **options: Any) -> Any:
        """The reply to one call. grpc.aio.AioRpcError."""
        return await self.begin(method, *roles, **options)

    async def refused(self, method: str, *roles: str, **options: Any) -> SeleneError:
        """How one call is refused."""
        return await refusal(self.begin(method, *roles, **options))

    async def trail(self, begins: str) -> list[AuditEvent]:
        """The deployment's audit rows whose transition begins so."""
        chain = await self.owners.store.audit.page(SYSTEM_TENANT, limit=1000)
        return [each.event for each in chain if each.event.transition.startswith(begins)]


async def refusal(call: Awaitable[Any]) -> SeleneError:
    """How a call is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc(caught.value)


@asynccontextmanager
async def governed(data_dir: Path) -> AsyncIterator[Desk]:
    """The shipped profile on a running owner."""
    async with serving(["llm"], data_dir) as owners:
        yield Desk(owners)
