"""Drift of voice identity from the client's side: breaches, the review of a freeze, confused pairs (§38.6, §38.7)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from google.protobuf.message import Message
from selene.learning.v1 import service_pb2 as wire
from selene.learning.v1 import service_pb2_grpc as rpc
from selene_messages.selene.common.v1 import PageRequest
from selene_messages.selene.learning import v1

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.retry import RetryPolicy
from clients.routed import new_key
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_wire


class Drift:
    """The DriftService over one connection, for the token's tenant unless another is given.

    `service`, `operator` and `reviewer` read, `reviewer` reviews. Every method raises SeleneError.
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
        self._stub = rpc.DriftServiceStub(connection.channel)

    async def breaches(self, *, subject: str = "", page_size: int = 100) -> AsyncGenerator[v1.DriftBreach, None]:
        """Figures that left their limits, latest first; of one subject where it is given."""
        token = ""
        while True:
            page = PageRequest(page_size=page_size, page_token=token)
            message = v1.ListDriftBreachesRequest(tenant_id=self.tenant_id, subject=subject, page=page)
            request = to_wire(message, wire.ListDriftBreachesRequest)
            method, reply_type = self._stub.ListDriftBreaches, v1.ListDriftBreachesResponse
            reply = await self._ask(method, request, reply_type)
            for breach in reply.breaches:
                yield breach
            token = reply.page.next_page_token if reply.page else ""
            if not token:
                return

    async def review(self, subject: str, *, idempotency_key: str = "") -> int:
        """End a freeze, as the person that the token names; how many breaches were reviewed. RESOURCE_NOT_FOUND."""
        message = v1.ReviewDriftRequest(
            tenant_id=self.tenant_id, subject=subject, idempotency_key=idempotency_key or new_key()
        )
        request = to_wire(message, wire.ReviewDriftRequest)
        reply = await self._ask(self._stub.ReviewDrift, request, v1.ReviewDriftResponse)
        return reply.breaches

    async def pairs(self, *, limit: int = 20) -> list[v1.ConfusionPair]:
        """The pairs of speakers who were taken for each other most, in the last 14 days; at most 200."""
        message = v1.ListConfusionPairsRequest(tenant_id=self.tenant_id, limit=limit)
        request = to_wire(message, wire.ListConfusionPairsRequest)
        method, reply_type = self._stub.ListConfusionPairs, v1.ListConfusionPairsResponse
        return (await self._ask(method, request, reply_type)).pairs

    async def _ask(self, method: UnaryMethod, request: Message, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)
