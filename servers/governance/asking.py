"""How an RPC of this owner changes something: once for its key, and what refuses it is audited where it is a gate's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from selene.common.v1.error_reason_pb2 import ErrorReason

from servers.governance import ENGINE_ID
from servers.runtime.auth import Principal
from servers.runtime.errors import Refusal, reason_name
from servers.runtime.storage import Reply, actor, once, refusing_store_errors, turn
from store import Store, Transaction, request_hash


async def once_noted(
    store: Store,
    caller: Principal,
    request: Any,
    reply: type[Reply],
    work: Callable[[Transaction], Awaitable[Reply]],
    *,
    noted: Collection[ErrorReason],
    transition: str,
) -> Reply:
    """The reply of `work`, done once for the request's key. Refusals that are `noted` are rows of the trail."""
    method = type(request).DESCRIPTOR.name.removesuffix("Request")
    async with _noting_refusal(store, caller, method, request, noted, transition):
        return await once(
            store,
            tenant_id=request.tenant_id,
            method=f"governance.{method}",
            key=request.idempotency_key,
            content=_content(caller, request),
            reply=reply,
            work=work,
        )


@asynccontextmanager
async def _noting_refusal(
    store: Store, caller: Principal, method: str, request: Any, noted: Collection[ErrorReason], transition: str
) -> AsyncIterator[None]:
    """A gate's refusal is audited before the caller hears of it: what it refused was undone."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason in noted:
            with refusing_store_errors():
                async with store.transaction() as tx:
                    tx.audit(
                        tenant_id=request.tenant_id,
                        owner=ENGINE_ID,
                        actor=await actor(tx, caller),
                        transition=transition,
                        reason_code=reason_name(refusal.reason),
                        turn=turn(),
                        idempotency_key=request.idempotency_key,
                        facts={"method": method, **refusal.metadata},
                    )
        raise


def _content(caller: Principal, request: Message) -> bytes:
    """What makes another request the same one: who asks, and everything that is asked."""
    return request_hash(caller.subject, request.SerializeToString(deterministic=True))
