"""The gRPC edge of language: an utterance in, the reply in deltas and one validated decision packet out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import protovalidate
from selene.llm.v1 import service_pb2 as messages
from selene.llm.v1 import service_pb2_grpc as llm_grpc
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK, ProviderResultV1

from servers.llm.adapter import DecisionPacket, Delta, KnownIntent, LlmAdapter, Utterance
from servers.llm.learned import PACK
from servers.routing.edge import permitted, routed_call, switched, unservable
from servers.routing.envelope import Asked, failed
from servers.routing.reasons import ProviderReason
from servers.routing.router import Finished, Limit, Router, Switched
from servers.runtime.clock import Clock
from servers.runtime.errors import FieldViolation, Refusal
from servers.runtime.ids import Ids

CHARACTERS_A_UNIT = 1_000
"""A price is of a thousand characters of the utterance."""

Said = messages.ReplyDelta | messages.DecisionPacket


class LanguageV1(llm_grpc.LanguageServiceServicer):
    """selene.llm.v1.LanguageService."""

    def __init__(self, router: Router[LlmAdapter], clock: Clock, ids: Ids) -> None:
        self._router = router
        self._clock = clock
        self._ids = ids

    async def Respond(self, request: messages.RespondRequest, context: Any) -> AsyncIterator[messages.RespondResponse]:
        caller = permitted(request.scope)
        said_at = _said_at(request, self._clock.now())
        call = routed_call(
            request.scope,
            caller,
            self._clock,
            locale=request.locale,
            request_id=self._ids.new(),
            idempotency_key=request.idempotency_key,
            content=request,
            units=len(request.text) / CHARACTERS_A_UNIT,
            packs=self._router.packs,
        )
        yield messages.RespondResponse(started=messages.RespondStarted(request_id=call.request_id))
        packet = messages.DecisionPacket()
        async with aclosing(self._router.run(call, Answering(request, said_at, call.packs.get(PACK) or ()))) as events:
            async for event in events:
                match event:
                    case messages.ReplyDelta():
                        yield messages.RespondResponse(delta=event)
                    case messages.DecisionPacket():
                        packet = event
                    case Switched():
                        yield messages.RespondResponse(switched=switched(event))
                    case Finished():
                        if not event.done:
                            raise unservable(event)
                        final = messages.RespondFinal(packet=packet, result=event.result, route=event.route)
                        yield messages.RespondResponse(final=final)


class Answering:
    """One utterance, as any provider is asked about it."""

    def __init__(
        self, request: messages.RespondRequest, said_at: datetime, intents: tuple[KnownIntent, ...] = ()
    ) -> None:
        self._request = request
        self._said_at = said_at
        self._intents = intents

    async def begin(
        self, adapter: LlmAdapter, asked: Asked, limit: Limit
    ) -> AsyncGenerator[Said | ProviderResultV1, None]:
        """See `servers.routing.router.Work`: without a valid packet there is no OK."""
        utterance = Utterance(
            tenant_id=asked.tenant_id,
            request_id=asked.request_id,
            idempotency_key=asked.idempotency_key,
            text=self._request.text,
            locale=self._request.locale,
            said_at=self._said_at,
            simulation_context_ref=asked.simulation_context_ref,
            intents=self._intents,
        )
        packets = 0
        said = ""
        async with aclosing(adapter.respond(utterance, deadline=limit.at)) as events:
            async for event in events:
                match event:
                    case Delta():
                        said += event.text
                        yield messages.ReplyDelta(text=event.text)
                    case DecisionPacket():
                        packets += 1
                        packet = packet_message(event)
                        if packets > 1 or protovalidate.collect_violations(packet):
                            yield failed(asked, ProviderReason.RESPONSE_MALFORMED)
                            return
                        yield packet
                    case ProviderResultV1():
                        unfounded = packets == 0 or said != packet.reply
                        refused = unfounded and event.status == PROVIDER_STATUS_OK
                        yield failed(asked, ProviderReason.RESPONSE_MALFORMED) if refused else event
                        return


def packet_message(packet: DecisionPacket) -> messages.DecisionPacket:
    """As the contract shows it; whether it keeps the contract's rules is for its validator to say."""
    return messages.DecisionPacket(
        intent=packet.intent,
        slots=[messages.Slot(name=name, value=value) for name, value in packet.slots],
        reply=packet.reply,
        confidence_bp=packet.confidence_bp,
        needs_clarification=packet.needs_clarification,
    )


def _said_at(request: messages.RespondRequest, now: datetime) -> datetime:
    """When it was said, on the speaker's own clock."""
    try:
        zone = ZoneInfo(request.time_zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        violation = FieldViolation("time_zone", "time_zone.known", "is not a time zone of the IANA database")
        raise Refusal.of_fields([violation]) from None
    try:
        said = request.said_at.ToDatetime(tzinfo=UTC) if request.HasField("said_at") else now
        return said.astimezone(zone)
    except (OverflowError, ValueError):
        violation = FieldViolation("said_at", "said_at.in_calendar", "is beyond the calendar of its time zone")
        raise Refusal.of_fields([violation]) from None
