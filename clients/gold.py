"""Gold from the client's side: propose sets, add and label evidence, ask for transitions, trace lineage (§5 to §18)."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import betterproto2
from selene.learning.v1 import service_pb2 as wire
from selene.learning.v1 import service_pb2_grpc as rpc
from selene_messages.selene.common.v1 import PageRequest, Scope, ScopeType
from selene_messages.selene.gold import v1 as gold
from selene_messages.selene.learning import v1

from clients.calls import D, UnaryMethod, ask
from clients.channel import Connection
from clients.retry import RetryPolicy
from clients.voiceid import CALL_TIMEOUT, DEVELOPMENT_TENANT
from clients.wire import to_wire

M = TypeVar("M", bound=betterproto2.Message)

AT_ONCE: Final = 1000
"""Items, or labels, of one request; more are sent as several."""
BYTES_AT_ONCE: Final = 1024 * 1024
"""About how much one request holds: a quarter of what the owner takes."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A ref with everything it came from, or led to. What is reached twice is shown whole once, and `again` after."""

    ref: str
    branches: tuple[Tree, ...] = ()
    again: bool = False


class Gold:
    """The GoldService over one connection, for the token's tenant unless another is given.

    Role `service` or `operator` proposes and advances, `reviewer` labels, each of them reads. Every method raises
    SeleneError.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        tenant_id: str = "",
        policy: RetryPolicy | None = None,
        timeout: float = CALL_TIMEOUT,
    ) -> None:
        self._connection = connection
        self._tenant_id = tenant_id or connection.claims().tenant_id or DEVELOPMENT_TENANT
        self._policy = policy or RetryPolicy()
        self._timeout = timeout
        self._stub = rpc.GoldServiceStub(connection.channel)

    @property
    def tenant_id(self) -> str:
        """Whose gold this is."""
        return self._tenant_id

    async def domains(self, *, only_incomplete: bool = False) -> list[v1.LearningDomain]:
        """The learning domains (§3), and what any of them lacks (§15)."""
        request = wire.ListDomainsRequest(only_incomplete=only_incomplete)
        return (await self._ask(self._stub.ListDomains, request, v1.ListDomainsResponse)).domains

    async def propose(
        self,
        domain: gold.GoldDomain,
        tier: gold.GoldTier,
        signal_ids: Iterable[str],
        *,
        scope: Scope | None = None,
        idempotency_key: str = "",
    ) -> gold.GoldCandidate:
        """Assemble a candidate of captured signals; it applies to the tenant where no scope is given."""
        message = v1.ProposeGoldSetRequest(
            tenant_id=self._tenant_id,
            domain=domain,
            tier=tier,
            scope=scope or Scope(scope_type=ScopeType.TENANT, scope_id=self._tenant_id),
            signal_ids=list(signal_ids),
            idempotency_key=idempotency_key or str(uuid.uuid4()),
        )
        request = to_wire(message, wire.ProposeGoldSetRequest)
        reply = await self._ask(self._stub.ProposeGoldSet, request, v1.ProposeGoldSetResponse)
        return reply.candidate or gold.GoldCandidate()

    async def add_items(self, gold_set_id: str, items: Iterable[gold.GoldItem]) -> int:
        """Add items to a CANDIDATE, as many as there are; how many it has then. Again changes nothing."""
        count = 0
        for some in _batches(items):
            message = v1.AddItemsRequest(tenant_id=self._tenant_id, gold_set_id=gold_set_id, items=some)
            reply = await self._ask(self._stub.AddItems, to_wire(message, wire.AddItemsRequest), v1.AddItemsResponse)
            count = reply.item_count
        return count

    async def label(self, gold_set_id: str, labels: Iterable[gold.GoldLabel]) -> int:
        """Label items as the person that the token names; how many labels the set has then."""
        count = 0
        for some in _batches(labels):
            message = v1.LabelItemsRequest(tenant_id=self._tenant_id, gold_set_id=gold_set_id, labels=some)
            request = to_wire(message, wire.LabelItemsRequest)
            count = (await self._ask(self._stub.LabelItems, request, v1.LabelItemsResponse)).label_count
        return count

    async def advance(self, gold_set_id: str, to_state: gold.GoldState) -> v1.AdvanceGoldSetResponse:
        """Ask for a transition (§17); whether it was applied, and why not, is in the reply."""
        message = v1.AdvanceGoldSetRequest(tenant_id=self._tenant_id, gold_set_id=gold_set_id, to_state=to_state)
        request = to_wire(message, wire.AdvanceGoldSetRequest)
        return await self._ask(self._stub.AdvanceGoldSet, request, v1.AdvanceGoldSetResponse)

    async def get(self, gold_set_id: str) -> v1.GetGoldSetResponse:
        """A gold set as it stands: its figures, its history, what it still lacks."""
        request = wire.GetGoldSetRequest(tenant_id=self._tenant_id, gold_set_id=gold_set_id)
        return await self._ask(self._stub.GetGoldSet, request, v1.GetGoldSetResponse)

    async def list(
        self,
        *,
        state: gold.GoldState = gold.GoldState.UNSPECIFIED,
        domain: gold.GoldDomain = gold.GoldDomain.UNSPECIFIED,
        page_size: int = 100,
    ) -> AsyncIterator[gold.GoldCandidate]:
        """The tenant's gold sets, latest first."""
        page_token = ""
        while True:
            message = v1.ListGoldSetsRequest(
                tenant_id=self._tenant_id, state=state, domain=domain, page=_page(page_size, page_token)
            )
            request = to_wire(message, wire.ListGoldSetsRequest)
            reply = await self._ask(self._stub.ListGoldSets, request, v1.ListGoldSetsResponse)
            for candidate in reply.candidates:
                yield candidate
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def items(self, gold_set_id: str, *, page_size: int = 100) -> AsyncIterator[gold.LabelledItem]:
        """The items of a gold set with their labels; once it was approved, the ones that it was approved from."""
        page_token = ""
        while True:
            message = v1.ListItemsRequest(
                tenant_id=self._tenant_id, gold_set_id=gold_set_id, page=_page(page_size, page_token)
            )
            reply = await self._ask(self._stub.ListItems, to_wire(message, wire.ListItemsRequest), v1.ListItemsResponse)
            for item in reply.items:
                yield item
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def lineage(
        self, ref: str, *, descendants: bool = False, page_size: int = 100
    ) -> AsyncIterator[v1.LineageEdge]:
        """What a `signal:<id>`, `gold:<id>` or `artifact:<id>` came from, or led to, from it outwards."""
        page_token = ""
        while True:
            message = v1.ListLineageRequest(
                tenant_id=self._tenant_id, ref=ref, descendants=descendants, page=_page(page_size, page_token)
            )
            request = to_wire(message, wire.ListLineageRequest)
            reply = await self._ask(self._stub.ListLineage, request, v1.ListLineageResponse)
            for edge in reply.edges:
                yield edge
            page_token = reply.page.next_page_token if reply.page else ""
            if not page_token:
                return

    async def packs(self, gold_set_id: str) -> tuple[str, ...]:
        """The ids of the artifacts that were packaged of a gold set, sorted; not those of what came of them since."""
        ref = f"gold:{gold_set_id}"
        edges = [(edge.ancestor_ref, edge.descendant_ref) async for edge in self.lineage(ref, descendants=True)]
        payloads = {far for near, far in edges if near == ref}
        return tuple(sorted({far.removeprefix("artifact:") for near, far in edges if near in payloads}))

    async def tree(self, ref: str, *, descendants: bool = False) -> Tree:
        """`lineage` as a tree that begins at the ref."""
        edges = [edge async for edge in self.lineage(ref, descendants=descendants, page_size=1000)]
        return tree(ref, edges, descendants=descendants)

    async def _ask(self, method: UnaryMethod, request: Any, reply: type[D]) -> D:
        return await ask(self._connection, method, request, reply, within=self._timeout, policy=self._policy)


def tree(ref: str, edges: Sequence[v1.LineageEdge], *, descendants: bool) -> Tree:
    """The edges of a walk as a tree. A ref that is reached by several ways is shown whole where it is reached first."""
    further: dict[str, list[str]] = {}
    for edge in edges:
        near, far = edge.ancestor_ref, edge.descendant_ref
        if not descendants:
            near, far = far, near
        further.setdefault(near, []).append(far)
    shown: set[str] = set()

    def branch(at: str) -> Tree:
        if at in shown:
            return Tree(at, again=at in further)
        shown.add(at)
        return Tree(at, tuple(branch(one) for one in further.get(at, ())))

    return branch(ref)


def _page(size: int, token: str) -> PageRequest:
    return PageRequest(page_size=size, page_token=token)


def _batches(several: Iterable[M]) -> Iterator[list[M]]:
    batch: list[M] = []
    size = 0
    for one in several:
        bytes_of_one = len(bytes(one))
        if batch and (len(batch) == AT_ONCE or size + bytes_of_one > BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += bytes_of_one
    if batch:
        yield batch
