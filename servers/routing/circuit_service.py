"""The gRPC edge of circuits (§24): the live table, one circuit, what changes, what happened, and an operator's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.routing.v1 import routing_pb2 as routing
from selene.routing.v1 import service_pb2 as messages
from selene.routing.v1 import service_pb2_grpc as routing_grpc

from servers.routing import circuit as rules
from servers.routing.board import Board, Key
from servers.routing.circuit import Circuit, Step
from servers.routing.kept import circuit_message, timestamp
from servers.routing.leases import Leases
from servers.routing.profile import Resolved, Source
from servers.routing.profile_service import permitted
from servers.routing.router import Router
from servers.routing.selection import Chosen, NoProvider, Refusal, Unconfigured, select
from servers.runtime.auth import ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE, require_role
from servers.runtime.errors import Refusal as Refused
from servers.runtime.paging import PageTokens, page_size
from servers.runtime.storage import actor, not_found, once, refusing_store_errors
from store import Store, Transaction, request_hash

_TOKENS: Final = PageTokens("routing-transitions")
_UNSENT: Final = 1024
_AVAILABILITY: Final = {
    Refusal.NOT_CONFIGURED: messages.AVAILABILITY_NOT_CONFIGURED,
    Refusal.CIRCUIT_OPEN: messages.AVAILABILITY_CIRCUIT_OPEN,
    Refusal.CIRCUIT_FORCED_OPEN: messages.AVAILABILITY_CIRCUIT_OPEN,
    Refusal.NO_PROBE_FREE: messages.AVAILABILITY_CIRCUIT_OPEN,
}
_FORCE: Final[dict[int, Callable[[Circuit, str, float], Step]]] = {
    messages.CIRCUIT_FORCE_OPEN: rules.force_open,
    messages.CIRCUIT_FORCE_CLOSED: rules.force_close,
    messages.CIRCUIT_FORCE_RELEASED: rules.release,
}


class CircuitsV1(routing_grpc.CircuitServiceServicer):
    """selene.routing.v1.CircuitService."""

    def __init__(
        self, store: Store, router: Router[Any], board: Board, stopping: asyncio.Event, leases: Leases | None = None
    ) -> None:
        self._store = store
        self._leases = leases
        self._router = router
        self._board = board
        self._stopping = stopping

    async def ListProviders(
        self, request: messages.ListProvidersRequest, context: Any
    ) -> messages.ListProvidersResponse:
        subject = request.subject
        permitted(subject)
        if self._leases is not None:
            # What was revoked a moment ago is not shown as ready: the next call would not get it either.
            await self._leases.let_go()
        resolved = self._router.resolve(subject.tenant_id, subject.locale, subject.channel, subject.user_id)
        chosen = self._select(resolved, subject.locale, ())
        return messages.ListProvidersResponse(
            domain=self._router.domestic.domain,
            providers=self._standings(resolved, subject.locale, chosen),
            profile_hash=resolved.profile_hash,
            refusal="NO_PROVIDER_AVAILABLE" if isinstance(chosen, NoProvider) else "",
        )

    async def GetCircuit(self, request: messages.GetCircuitRequest, context: Any) -> messages.GetCircuitResponse:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        await self._board.refresh()
        key = (request.key.profile_hash, request.key.provider_ref)
        circuit = self._board.circuits().get(key)
        if circuit is None:
            raise not_found("circuit", request.key.provider_ref)
        return messages.GetCircuitResponse(circuit=self._message(key, circuit))

    async def WatchCircuits(
        self, request: messages.WatchCircuitsRequest, context: Any
    ) -> AsyncIterator[messages.WatchCircuitsResponse]:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        changed: asyncio.Queue[tuple[Key, Circuit]] = asyncio.Queue(_UNSENT)

        def put(key: Key, circuit: Circuit) -> None:
            if changed.full():
                # A reader this slow misses the oldest; where each circuit stands it still learns.
                changed.get_nowait()
            changed.put_nowait((key, circuit))

        unwatch = self._board.watch(put)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            for key, circuit in sorted(self._board.circuits().items()):
                put(key, circuit)
            while True:
                following = asyncio.ensure_future(changed.get())
                await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    following.cancel()
                    raise Refused(
                        reasons.ERROR_REASON_NOT_SERVING, "the server is stopping; ask another", owner=self._board.owner
                    )
                key, circuit = following.result()
                if request.provider_ref in ("", key[1]):
                    yield messages.WatchCircuitsResponse(circuit=self._message(key, circuit))
        finally:
            unwatch()
            stopping.cancel()

    async def ListTransitions(
        self, request: messages.ListTransitionsRequest, context: Any
    ) -> messages.ListTransitionsResponse:
        require_role(ROLE_DEPLOYMENT_OPERATOR, ROLE_SERVICE)
        size = page_size(request.page)
        with refusing_store_errors():
            rows = await self._store.routing.circuits.transitions(
                self._board.owner,
                provider_ref=request.provider_ref,
                before=_TOKENS.after(request.page),
                limit=size + 1,
            )
        following = _TOKENS.token(rows[size - 1].transition_id) if len(rows) > size else ""
        return messages.ListTransitionsResponse(
            transitions=[
                messages.CircuitTransition(
                    provider_ref=row.provider_ref,
                    profile_hash=row.profile_hash,
                    before=row.before,  # type: ignore[arg-type]  # protobuf enums are ints; the stub says otherwise
                    after=row.after,  # type: ignore[arg-type]  # as above
                    reason_code=row.reason_code,
                    at=timestamp(row.at.timestamp()),
                )
                for row in rows[:size]
            ],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def ForceCircuit(self, request: messages.ForceCircuitRequest, context: Any) -> messages.ForceCircuitResponse:
        caller = require_role(ROLE_DEPLOYMENT_OPERATOR)
        key = (request.key.profile_hash, request.key.provider_ref)
        if key not in self._board.circuits():
            raise not_found("circuit", request.key.provider_ref)
        force = _FORCE[request.force]

        async def change(tx: Transaction) -> messages.ForceCircuitResponse:
            def step(circuit: Circuit, now: float) -> Step:
                return force(circuit, request.reason_code, now)

            circuit = await self._board.change(tx, key, step, await actor(tx, caller))
            return messages.ForceCircuitResponse(circuit=self._message(key, circuit))

        reply = await once(
            self._store,
            tenant_id=caller.tenant_id,
            method=f"ForceCircuit.{self._board.owner}",
            key=request.idempotency_key,
            content=request_hash(*key, int(request.force), request.reason_code),
            reply=messages.ForceCircuitResponse,
            work=change,
        )
        await self._board.refresh()
        return reply

    def _select(self, resolved: Resolved, locale: str, tried: tuple[str, ...]) -> Chosen | NoProvider:
        return select(
            resolved,
            self._board.view(resolved.profile_hash),
            self._router.domestic.domain,
            locale=locale,
            tried=tried,
            unconfigured=self._router.unconfigured(resolved),
        )

    def _standings(
        self, resolved: Resolved, locale: str, chosen: Chosen | NoProvider
    ) -> list[messages.ProviderStanding]:
        providers = resolved.providers(self._router.domestic.domain)
        layers = dict(resolved.provenance)
        following = chosen.provider.provider_ref if isinstance(chosen, Chosen) else ""
        view = self._board.view(resolved.profile_hash)
        unconfigured = self._router.unconfigured(resolved)
        standings = []
        for provider in providers:
            ref = provider.provider_ref
            others = tuple(each.provider_ref for each in providers if each.provider_ref != ref)
            alone = self._select(resolved, locale, others)
            refusal = dict(alone.refusals)[ref] if isinstance(alone, NoProvider) else None
            measures = self._board.measures((resolved.profile_hash, ref))
            standing = messages.ProviderStanding(
                provider_ref=ref,
                priority=provider.priority,
                priority_layer=layers.get(f"providers[{ref}].priority", _GLOBAL).layer,
                availability=_availability(refusal),
                reason_code=_reason(refusal, unconfigured.get(ref)),
                readings=[
                    messages.MeasureReading(measure=measure, value=reading.value, samples=reading.samples)
                    for measure, reading in sorted(measures.readings.items())
                ],
                next=ref == following,
            )
            evidence = self._board.evidence(ref)
            if evidence.succeeded_at is not None:
                standing.last_succeeded_at.CopyFrom(timestamp(evidence.succeeded_at))
            if evidence.failed_at is not None and evidence.failure is not None:
                standing.last_failed_at.CopyFrom(timestamp(evidence.failed_at))
                standing.last_failure = evidence.failure.value
            if ref in view:
                standing.circuit.CopyFrom(self._message((resolved.profile_hash, ref), view[ref]))
            standings.append(standing)
        return standings

    def _message(self, key: Key, circuit: Circuit) -> routing.Circuit:
        return circuit_message(self._board.owner, key[1], key[0], circuit)


_GLOBAL: Final = Source(routing.PROFILE_LAYER_GLOBAL_DEFAULT)


def _reason(refusal: Refusal | None, unconfigured: Unconfigured | None) -> str:
    if refusal is Refusal.NOT_CONFIGURED and unconfigured is not None:
        return unconfigured.value
    return "" if refusal is None else refusal.value


def _availability(refusal: Refusal | None) -> messages.Availability:
    if refusal is None:
        return messages.AVAILABILITY_READY
    return _AVAILABILITY.get(refusal, messages.AVAILABILITY_NOT_ALLOWED)
