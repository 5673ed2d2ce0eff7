"""The gRPC edge of delivery (DLV-1): intents in, where they stand out. Accepted means durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from selene.common.v1 import error_reason_pb2 as reasons
from selene.common.v1 import paging_pb2
from selene.delivery.v1 import service_pb2 as messages
from selene.delivery.v1 import service_pb2_grpc as delivery_grpc
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_UNSPECIFIED,
    DELIVERY_STATE_UNKNOWN,
    DeliveryChannel,
    Intent,
)
from selene.delivery.v1.delivery_pb2 import Delivery as DeliveryMessage
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_SEND
from selene.routing.v1 import service_pb2 as routing_messages
from selene.routing.v1.routing_pb2 import Domain

from servers.delivery import ENGINE_ID
from servers.delivery.accepting import Acceptor, Offer, channel_name, delivery_id_of, new_delivery
from servers.delivery.adapter import Declares, DeliveryAdapter
from servers.delivery.addresses import AddressInvalid, normalised
from servers.delivery.keeping import Known, changed, known_of, state_name
from servers.delivery.kept import delivery_message
from servers.delivery.machine import Cancel, Event, Reconcile, Refused, Resolve, Rules
from servers.delivery.parties import CAUSES, sender_sound
from servers.delivery.routes import DOMAIN_OF, locale_of
from servers.delivery.schedule import zone
from servers.routing import gates
from servers.routing.accounts import Ticket
from servers.routing.circuit_service import CircuitsV1
from servers.routing.directory import Directory
from servers.routing.gatekeeper import Gatekeeper
from servers.routing.profile import ProfileProblem, Resolved
from servers.routing.recorder import Recorder, Trail, gate_facts
from servers.routing.router import gate_refusal
from servers.runtime.auth import ROLE_OPERATOR, ROLE_SERVICE, Principal, require_role, require_tenant
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal, reason_name
from servers.runtime.paging import PageTokens, page_size, page_token_invalid
from servers.runtime.redaction import clean_text
from servers.runtime.storage import actor, not_found, once, refusing_store_errors, turn
from store import Store, Transaction, request_hash
from store.delivery import ContentChanged
from store.delivery import Delivery as Row

ATTACHED_BYTES: Final = 10 * 1024 * 1024
WATCH_PAGE: Final = 200
WATCH_POLL_S: Final = 0.2
RECONCILE_PAGE: Final = 200
_TOKENS: Final = PageTokens("deliveries")
_WHOLE_CALL: Final = frozenset({reasons.ERROR_REASON_STORE_UNAVAILABLE, reasons.ERROR_REASON_OVERLOADED})


@dataclass(frozen=True, slots=True)
class Gates:
    """What an intent passes before it is taken on. `prices` are micros a message, by provider."""

    directory: Directory
    keepers: Mapping[Domain, Gatekeeper]
    recorder: Recorder
    prices: Mapping[str, int]


class DeliveryV1(delivery_grpc.DeliveryServiceServicer):
    """selene.delivery.v1.DeliveryService. `accepted` is called when something may be due."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        gates_: Gates,
        rules: Rules,
        stopping: asyncio.Event,
        accepted: Callable[[], None],
        *,
        circuits: Mapping[Domain, CircuitsV1],
        adapters: Mapping[str, DeliveryAdapter],
    ) -> None:
        self._store = store
        self._clock = clock
        self._gates = gates_
        self._rules = rules
        self._stopping = stopping
        self._accepted = accepted
        self._circuits = circuits
        self._adapters = adapters
        self._acceptor = Acceptor(store)

    async def Send(self, request: messages.SendRequest, context: Any) -> messages.SendResponse:
        caller = _sender(request.intent.tenant_id)
        known, repeated = await self._taken_on(request.intent, caller)
        return messages.SendResponse(delivery=_shown(known), repeated=repeated)

    async def SendBatch(self, request: messages.SendBatchRequest, context: Any) -> messages.SendBatchResponse:
        caller = _sender(request.tenant_id)
        foreign = [
            FieldViolation(f"intents[{place}].tenant_id", "intent.tenant", "is the tenant of the batch")
            for place, intent in enumerate(request.intents)
            if intent.tenant_id != request.tenant_id
        ]
        if foreign:
            raise Refusal.of_fields(foreign)
        items = await asyncio.gather(*(self._item(intent, caller) for intent in request.intents))
        return messages.SendBatchResponse(items=items)

    async def Get(self, request: messages.GetRequest, context: Any) -> messages.GetResponse:
        _sender(request.tenant_id)
        with refusing_store_errors():
            row = await self._store.delivery.get(request.tenant_id, request.delivery_id)
        if row is None:
            raise not_found("delivery", request.delivery_id)
        return messages.GetResponse(delivery=_message(row))

    async def List(self, request: messages.ListRequest, context: Any) -> messages.ListResponse:
        _sender(request.tenant_id)
        size = page_size(request.page)
        before = _place(_TOKENS.after(request.page))
        with refusing_store_errors():
            rows = await self._store.delivery.page(
                request.tenant_id, limit=size + 1, state=request.state, channel=request.channel, before=before
            )
        following = _TOKENS.token(_spelled(rows[size - 1])) if len(rows) > size else ""
        return messages.ListResponse(
            deliveries=[_message(row) for row in rows[:size]],
            page=paging_pb2.PageInfo(next_page_token=following),
        )

    async def Watch(self, request: messages.WatchRequest, context: Any) -> AsyncIterator[messages.WatchResponse]:
        _sender(request.tenant_id)
        after = request.after
        if request.from_now:
            with refusing_store_errors():
                after = await self._store.delivery.cursor(request.tenant_id)
            yield messages.WatchResponse(cursor=after)
        while True:
            with refusing_store_errors():
                events = await self._store.delivery.events(
                    request.tenant_id, after=after, limit=WATCH_PAGE, delivery_id=request.delivery_id
                )
            for event in events:
                yield messages.WatchResponse(cursor=event.cursor, delivery=_message(event.delivery))
                after = event.cursor
            if len(events) < WATCH_PAGE:
                await self._pause()

    async def Cancel(self, request: messages.CancelRequest, context: Any) -> messages.CancelResponse:
        caller = _sender(request.tenant_id)
        event = Cancel(request.reason_code)

        async def work(tx: Transaction) -> messages.CancelResponse:
            known = await self._changed(tx, caller, request, event, "delivery.cancelled", {})
            return messages.CancelResponse(delivery=_shown(known), outcome=_cancel_outcome(known))

        reply = await once(
            self._store,
            tenant_id=request.tenant_id,
            method="Delivery.Cancel",
            key=request.idempotency_key,
            content=request_hash(request.delivery_id, request.reason_code),
            reply=messages.CancelResponse,
            work=work,
        )
        if reply.outcome == messages.CANCEL_OUTCOME_PROVIDER_ASKED:
            self._accepted()
        return reply

    async def Resolve(self, request: messages.ResolveRequest, context: Any) -> messages.ResolveResponse:
        caller = _operator(request.tenant_id)
        event = Resolve(request.resolution, request.reason_code, request.evidence_ref)
        facts = {
            "resolution": messages.Resolution.Name(request.resolution).removeprefix("RESOLUTION_"),
            "evidence_ref": clean_text(request.evidence_ref),
        }

        async def work(tx: Transaction) -> messages.ResolveResponse:
            known = await self._changed(tx, caller, request, event, "delivery.resolved", facts)
            return messages.ResolveResponse(delivery=_shown(known))

        reply = await once(
            self._store,
            tenant_id=request.tenant_id,
            method="Delivery.Resolve",
            key=request.idempotency_key,
            content=request_hash(
                request.delivery_id, int(request.resolution), request.reason_code, request.evidence_ref
            ),
            reply=messages.ResolveResponse,
            work=work,
        )
        self._accepted()
        return reply

    async def Reconcile(self, request: messages.ReconcileRequest, context: Any) -> messages.ReconcileResponse:
        caller = _operator(request.tenant_id)
        with refusing_store_errors():
            if request.delivery_id:
                row = await self._store.delivery.get(request.tenant_id, request.delivery_id)
                due = await self._reconciled([row] if row is not None else [], caller)
            else:
                due = await self._reconcile_all(request.tenant_id, caller)
        if due:
            self._accepted()
        return messages.ReconcileResponse(due=due)

    async def ListChannels(self, request: messages.ListChannelsRequest, context: Any) -> messages.ListChannelsResponse:
        wanted = [
            channel for channel in sorted(DOMAIN_OF) if request.channel in (DELIVERY_CHANNEL_UNSPECIFIED, channel)
        ]
        of_subject = routing_messages.ListProvidersRequest(subject=request.subject)
        return messages.ListChannelsResponse(
            channels=[
                self._channel(channel, await self._circuits[DOMAIN_OF[channel]].ListProviders(of_subject, context))
                for channel in wanted
            ]
        )

    def _channel(
        self, channel: DeliveryChannel, standing: routing_messages.ListProvidersResponse
    ) -> messages.ChannelStanding:
        reply = messages.ChannelStanding(channel=channel, refusal=standing.refusal)
        for each in standing.providers:
            provider = reply.providers.add(standing=each)
            if each.provider_ref in self._adapters:
                provider.promise.CopyFrom(_promise(self._adapters[each.provider_ref].declares))
        return reply

    async def _item(self, intent: Intent, caller: Principal) -> messages.SendBatchItem:
        try:
            known, repeated = await self._taken_on(intent, caller)
        except Refusal as refusal:
            if refusal.reason in _WHOLE_CALL:
                raise
            broken = {name: value for each in refusal.violations[:1] for name, value in _named(each)}
            return messages.SendBatchItem(refusal=reason_name(refusal.reason), metadata={**refusal.metadata, **broken})
        return messages.SendBatchItem(delivery=_shown(known), repeated=repeated)

    async def _taken_on(self, intent: Intent, caller: Principal) -> tuple[Known, bool]:
        """The delivery of an intent, and whether it had been taken on before. Refusal."""
        intent = sound(intent)
        delivery_id, payload = delivery_id_of(intent)
        now = self._clock.now().timestamp()
        delivery = new_delivery(intent, delivery_id, now)
        ticket: Ticket | None = None
        try:
            if delivery.expires_at <= max(now, delivery.not_before):
                raise Refusal.of_fields(
                    [FieldViolation("intent.expires_at", "intent.over", "is after now and after `not_before`")]
                )
            price, ticket = await self._admitted(intent, caller, delivery_id)
        except Refusal:
            # What was taken on once stays so, whatever the gates say by now.
            with refusing_store_errors():
                row = await self._store.delivery.get(intent.tenant_id, delivery_id)
            if row is None:
                raise
            return known_of(row), True
        spent = 0
        try:
            offer = Offer(
                intent=intent,
                delivery=delivery,
                payload=payload,
                caller=caller,
                turn=turn(),
                gates=gate_facts(ticket.passage),
            )
            with refusing_store_errors():
                outcome = await self._acceptor.take_on(offer)
            if isinstance(outcome, ContentChanged):
                raise Refusal(
                    reasons.ERROR_REASON_INTENT_CONTENT_CHANGED,
                    "this message was taken on for this recipient before, with other content",
                    delivery_id=outcome.row.delivery_id,
                )
            if outcome.repeated:
                return known_of(outcome.row), True
            spent = price
            self._accepted()
            return Known(delivery, outcome.row.revision, outcome.row.fence), False
        finally:
            ticket.settle(spent)

    async def _admitted(self, intent: Intent, caller: Principal, delivery_id: str) -> tuple[int, Ticket]:
        """The gates of §22, with what a message costs at most. Refusal."""
        domain = DOMAIN_OF[intent.channel]
        resolved = self._resolved(intent)
        enabled = [each.provider_ref for each in resolved.providers(domain) if each.enabled]
        price = max((self._gates.prices.get(ref, 0) for ref in enabled), default=0)
        request = gates.Request(
            tenant_id=intent.tenant_id,
            domain=domain,
            capability=CAPABILITY_DELIVERY_SEND,
            channel=intent.routing_channel,
            user_id=intent.recipient.recipient_id,
            request_id=delivery_id,
            cost_micros=price,
        )
        ticket = await self._gates.keepers[domain].admit(request)
        if not ticket.allowed:
            last = ticket.passage.verdicts[-1]
            trail = Trail(intent.tenant_id, caller.subject, delivery_id[:32], delivery_id, turn())
            trail.add("delivery.refused", last.reason, self._clock.now(), gate_facts(ticket.passage))
            self._gates.recorder.note(trail)
            raise gate_refusal(last)
        return price, ticket

    def _resolved(self, intent: Intent) -> Resolved:
        found = self._gates.directory.resolve(
            intent.tenant_id, locale_of(intent), intent.routing_channel, intent.recipient.recipient_id
        )
        if found is None:
            raise Refusal(reasons.ERROR_REASON_PROFILE_NOT_ACTIVE, "no routing profile is active")
        if isinstance(found, ProfileProblem):
            raise Refusal(
                reasons.ERROR_REASON_SETTING_AMBIGUOUS,
                "two rows of the routing profile of equal precedence apply, so neither does",
                key=f"{found.where} {found.code.value}",
            )
        return found

    async def _changed(
        self,
        tx: Transaction,
        caller: Principal,
        request: messages.CancelRequest | messages.ResolveRequest,
        event: Event,
        transition: str,
        facts: Mapping[str, str],
    ) -> Known:
        known = await changed(
            tx,
            request.tenant_id,
            request.delivery_id,
            event,
            self._rules,
            transition=transition,
            actor=await actor(tx, caller),
            reason=request.reason_code,
            turn=turn(),
            idempotency_key=request.idempotency_key,
            facts=facts,
        )
        if known is None:
            raise not_found("delivery", request.delivery_id)
        if isinstance(known, Refused):
            row = await tx.delivery.get(request.tenant_id, request.delivery_id)
            raise Refusal(
                reasons.ERROR_REASON_DELIVERY_STATE_REFUSED,
                "where the delivery stands does not allow it",
                state="" if row is None else state_name(known_of(row).delivery.state),
            )
        return known

    async def _reconcile_all(self, tenant_id: str, caller: Principal) -> int:
        due = 0
        before: tuple[datetime, str] | None = None
        while True:
            rows = await self._store.delivery.page(
                tenant_id, limit=RECONCILE_PAGE, state=DELIVERY_STATE_UNKNOWN, before=before
            )
            due += await self._reconciled(rows, caller)
            if len(rows) < RECONCILE_PAGE:
                return due
            before = (rows[-1].accepted_at, rows[-1].delivery_id)

    async def _reconciled(self, rows: Sequence[Row], caller: Principal) -> int:
        return await self._store.perform(partial(self._make_due, rows, caller, turn())) if rows else 0

    async def _make_due(self, rows: Sequence[Row], caller: Principal, turn_ref: Any, tx: Transaction) -> int:
        who = (await tx.vault.commitment(caller.tenant_id, caller.subject, b"actor")).hex()
        due = 0
        for row in sorted(rows, key=lambda row: row.delivery_id):
            known = await changed(
                tx,
                row.tenant_id,
                row.delivery_id,
                Reconcile(),
                self._rules,
                transition="delivery.reconcile_asked",
                actor=who,
                reason="RECONCILE_ASKED",
                turn=turn_ref,
            )
            due += isinstance(known, Known)
        # That it was asked for is told although nothing was changed by it.
        tx.audit(
            tenant_id=caller.tenant_id,
            owner=ENGINE_ID,
            actor=who,
            transition="deliveries.reconcile_asked",
            reason_code="RECONCILE_ASKED",
            turn=turn_ref,
            facts={"due": str(due)},
        )
        return due

    async def _pause(self) -> None:
        """Until there may be more. Refusal: NOT_SERVING once the server stops, so that followers go elsewhere."""
        try:
            async with asyncio.timeout(WATCH_POLL_S):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise Refusal(reasons.ERROR_REASON_NOT_SERVING, "the server is stopping; ask another", owner="delivery")


def sound(intent: Intent) -> Intent:
    """The intent with its address as providers are given it. Refusal for what the contract's own rules do not see:
    FIELD_INVALID, RECIPIENT_ADDRESS_INVALID.
    """
    if not sender_sound(intent.channel, intent.sender):
        raise Refusal.of_fields(
            [FieldViolation("intent.sender", "intent.sender", "is nobody who can send over this channel")]
        )
    time_zone = intent.recipient.time_zone
    if time_zone and zone(time_zone) is None:
        raise Refusal.of_fields(
            [FieldViolation("intent.recipient.time_zone", "intent.time_zone", "is no time zone of IANA's")]
        )
    if sum(len(each.content) for each in intent.content.email.attachments) > ATTACHED_BYTES:
        field, rule = "intent.content.email.attachments", "intent.attachments"
        raise Refusal.of_fields([FieldViolation(field, rule, f"are at most {ATTACHED_BYTES} bytes together")])
    try:
        address = normalised(intent.channel, intent.recipient.address)
    except AddressInvalid:
        raise Refusal(
            reasons.ERROR_REASON_RECIPIENT_ADDRESS_INVALID,
            "the address is none of its channel",
            channel=channel_name(intent.channel),
            cause=CAUSES[intent.channel],
        ) from None
    if address == intent.recipient.address:
        return intent
    same = Intent()
    same.CopyFrom(intent)
    same.recipient.address = address
    return same


def _sender(tenant_id: str) -> Principal:
    require_role(ROLE_SERVICE, ROLE_OPERATOR)
    return require_tenant(tenant_id)


def _operator(tenant_id: str) -> Principal:
    require_role(ROLE_OPERATOR)
    return require_tenant(tenant_id)


def _named(violation: FieldViolation) -> tuple[tuple[str, str], ...]:
    return ("field", violation.field), ("rule", violation.rule)


def _promise(declares: Declares) -> messages.ProviderPromise:
    promise = messages.ProviderPromise(
        looks_up=bool(declares.lookups), reports=declares.webhooks, takes_back=declares.cancels
    )
    if declares.key_window_s is not None:
        promise.key_window.FromTimedelta(timedelta(seconds=declares.key_window_s))
    return promise


def _cancel_outcome(known: Known) -> messages.CancelOutcome:
    if known.delivery.final:
        return messages.CANCEL_OUTCOME_TAKEN_BACK
    if any(attempt.declares.cancels for attempt in known.delivery.uncertain):
        return messages.CANCEL_OUTCOME_PROVIDER_ASKED
    return messages.CANCEL_OUTCOME_NOTHING_MORE_SENT


def _message(row: Row) -> DeliveryMessage:
    return _shown(known_of(row))


def _shown(known: Known) -> DeliveryMessage:
    return delivery_message(known.delivery, known.revision)


def _spelled(row: Row) -> str:
    return f"{row.accepted_at.timestamp():.6f} {row.delivery_id}"


def _place(token: str) -> tuple[datetime, str] | None:
    """Refusal: PAGE_TOKEN_INVALID."""
    if not token:
        return None
    at, _, delivery_id = token.partition(" ")
    try:
        return datetime.fromtimestamp(float(at), UTC), delivery_id
    except (ValueError, OverflowError, OSError):
        raise page_token_invalid() from None
