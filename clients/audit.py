"""The audit trail from the client's side: list it, follow it without gaps, check it, read its signed checkpoint."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Final

from google.protobuf.message import Message
from selene.audit.v1 import service_pb2 as wire
from selene.audit.v1 import service_pb2_grpc as rpc
from selene_messages.selene.audit import v1
from selene_messages.selene.common.v1 import PageRequest

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.errors import SeleneError
from clients.following import follow
from clients.retry import RetryPolicy
from clients.routed import Answer
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_message, to_wire

AUDIT_LEDGER: Final = "audit_events"


class Audit:
    """The AuditService over one connection. Needs role `auditor` or `operator`; raises SeleneError."""

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
        self._stub = rpc.AuditServiceStub(connection.channel)

    async def list_events(
        self,
        *,
        owner: str = "",
        transition: str = "",
        correlation_id: str = "",
        session_id: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[v1.ChainedEvent]:
        """Events that agree with every filter set, oldest first."""
        page_token = ""
        while True:
            message = v1.ListEventsRequest(
                tenant_id=self.tenant_id,
                owner=owner,
                transition=transition,
                correlation_id=correlation_id,
                session_id=session_id,
                since=since,
                until=until,
                page=PageRequest(page_size=page_size, page_token=page_token),
            )
            request = to_wire(message, wire.ListEventsRequest)
            reply = await self._ask(self._stub.ListEvents, request, v1.ListEventsResponse)
            for event in reply.events:
                yield event
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def length(self) -> int:
        """How many events the trail holds now, by its checkpoint; 0 when it is empty."""
        try:
            checkpoint = (await self.checkpoint()).checkpoint
        except SeleneError as error:
            if error.reason == "RESOURCE_NOT_FOUND":
                return 0
            raise
        return checkpoint.tree_size if checkpoint else 0

    async def watch(self, from_sequence: int = 0) -> AsyncGenerator[v1.ChainedEvent, None]:
        """Follows the trail from a sequence on, from now on for 0; no gap and no repeat across dropped connections."""
        cursor = from_sequence or await self.length() + 1

        def begin(seconds: float) -> Answer:
            request = wire.WatchEventsRequest(tenant_id=self.tenant_id, from_sequence=cursor)
            return Answer(self._stub.WatchEvents(request, timeout=seconds, metadata=self._connection.metadata()))

        async with aclosing(follow(begin, policy=self._policy)) as responses:
            async for response in responses:
                cursor = response.event.event.sequence + 1
                yield to_message(response.event, v1.ChainedEvent)

    async def checkpoint(self, ledger: str = AUDIT_LEDGER) -> v1.GetCheckpointResponse:
        """The latest signed checkpoint of `audit_events` or `artifacts_ledger`, with the public key that signed it."""
        request = wire.GetCheckpointRequest(tenant_id=self.tenant_id, ledger=ledger)
        return await self._ask(self._stub.GetCheckpoint, request, v1.GetCheckpointResponse)

    async def verify(self) -> v1.VerifyLedgerResponse:
        """Has the server recompute the whole chain. This trusts the server; `selene audit verify --store` does not."""
        request = wire.VerifyLedgerRequest(tenant_id=self.tenant_id)
        return await self._ask(self._stub.VerifyLedger, request, v1.VerifyLedgerResponse)

    async def _ask(self, method: UnaryMethod, request: Message, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)
