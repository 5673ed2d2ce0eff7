"""The audit trail from the client's side: list it, follow it without gaps, check it, prove what is in it."""

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
from clients.proof import Evidence, Fault, Finding, ProofBroken, findings
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
        try:
            return await self._ask(self._stub.GetCheckpoint, request, v1.GetCheckpointResponse)
        except SeleneError as error:
            if error.reason == "RESOURCE_NOT_FOUND":
                raise error.with_next_step(f"the ledger {ledger} of tenant {self.tenant_id} is empty so far") from error
            raise

    async def inclusion_proof(self, sequence: int, *, key: bytes = b"", since: v1.Checkpoint | None = None) -> Evidence:
        """Evidence, checked here, that the event is in the trail; `findings` of `clients.proof` checks it anywhere.

        ``key`` is the public key that is believed, 32 bytes; unset, the one that the server names is. With ``since``
        the trail is also shown to have only grown since that checkpoint. Raises ProofBroken, SeleneError.
        """
        return await self._proved(sequence, key, since)

    async def consistency_proof(self, since: v1.Checkpoint, *, key: bytes = b"") -> Evidence:
        """Evidence, checked here, that the trail has only grown since a checkpoint that was kept.

        ``key`` as in `inclusion_proof`. Raises ProofBroken, also where the trail is shorter now, and SeleneError.
        """
        return await self._proved(None, key, since)

    async def _proved(self, sequence: int | None, key: bytes, since: v1.Checkpoint | None) -> Evidence:
        signed = await self.checkpoint()
        checkpoint = signed.checkpoint or v1.Checkpoint()
        size = checkpoint.tree_size
        inclusion = await self._inclusion(sequence, size) if sequence is not None else None
        consistency = await self._consistency(since.tree_size, size) if since and 0 < since.tree_size < size else None
        evidence = Evidence(checkpoint, signed.public_key, inclusion, consistency)
        found = findings(evidence, key=key or signed.public_key, since=since)
        if (checkpoint.tenant_id, checkpoint.ledger) != (self.tenant_id, AUDIT_LEDGER):
            found.append(Finding(Fault.OTHER_TRAIL, f"the server answered with another trail than {self.tenant_id!r}"))
        if sequence is not None and evidence.event.sequence != sequence:
            found.append(Finding(Fault.EVENT_CHANGED, f"the server answered with another event than {sequence}"))
        if found:
            raise ProofBroken(evidence, found)
        return evidence

    async def _inclusion(self, sequence: int, tree_size: int) -> v1.GetInclusionProofResponse:
        request = wire.GetInclusionProofRequest(tenant_id=self.tenant_id, sequence=sequence, tree_size=tree_size)
        return await self._ask(self._stub.GetInclusionProof, request, v1.GetInclusionProofResponse)

    async def _consistency(self, first_size: int, second_size: int) -> v1.GetConsistencyProofResponse:
        request = wire.GetConsistencyProofRequest(
            tenant_id=self.tenant_id, first_size=first_size, second_size=second_size
        )
        return await self._ask(self._stub.GetConsistencyProof, request, v1.GetConsistencyProofResponse)

    async def verify(self) -> v1.VerifyLedgerResponse:
        """Has the server recompute the whole chain. This trusts the server; `selene audit verify --store` does not."""
        request = wire.VerifyLedgerRequest(tenant_id=self.tenant_id)
        return await self._ask(self._stub.VerifyLedger, request, v1.VerifyLedgerResponse)

    async def check_trail(self, *, artifact_id: str = "", rollout_id: str = "") -> v1.CheckTrailResponse:
        """Whether the trail of an activation is complete, row by row: of an artifact with its latest rollout, or of the
        rollout that is named.
        """
        request = (
            wire.CheckTrailRequest(tenant_id=self.tenant_id, rollout_id=rollout_id)
            if rollout_id
            else wire.CheckTrailRequest(tenant_id=self.tenant_id, artifact_id=artifact_id)
        )
        return await self._ask(self._stub.CheckTrail, request, v1.CheckTrailResponse)

    async def _ask(self, method: UnaryMethod, request: Message, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)
