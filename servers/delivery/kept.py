"""A delivery as the store keeps it, as the contract shows it, and the names that providers have for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_ATTEMPT_KIND_FALLBACK,
    DELIVERY_ATTEMPT_KIND_FRESH,
    DELIVERY_ATTEMPT_KIND_RESEND,
    DeliveryAttempt,
)
from selene.delivery.v1.delivery_pb2 import Delivery as DeliveryMessage

from servers.delivery.adapter import Certainty, Declares, Lookup
from servers.delivery.machine import Attempt, AttemptKind, Delivery, Held
from servers.routing.kept import timestamp

_KINDS: Final = {
    AttemptKind.FRESH: DELIVERY_ATTEMPT_KIND_FRESH,
    AttemptKind.RESEND: DELIVERY_ATTEMPT_KIND_RESEND,
    AttemptKind.FALLBACK: DELIVERY_ATTEMPT_KIND_FALLBACK,
}


# `asdict` copies every value deeply, which takes longer than to write the row.
_FIELDS: Final = tuple(field.name for field in fields(Delivery))
_ATTEMPT_FIELDS: Final = tuple(field.name for field in fields(Attempt))
_DECLARES_FIELDS: Final = tuple(field.name for field in fields(Declares))


def kept(delivery: Delivery) -> dict[str, Any]:
    """As JSON; `delivery_of` gives the same delivery back."""
    body = {name: getattr(delivery, name) for name in _FIELDS}
    lease = delivery.lease
    body["attempts"] = [_kept_attempt(attempt) for attempt in delivery.attempts]
    body["lease"] = None if lease is None else {"holder": lease.holder, "fence": lease.fence, "until": lease.until}
    return body


def delivery_of(body: Mapping[str, Any]) -> Delivery:
    """The delivery that was kept. KeyError, TypeError and ValueError for what none was made of."""
    lease = body["lease"]
    return Delivery(
        delivery_id=str(body["delivery_id"]),
        tenant_id=str(body["tenant_id"]),
        message_id=str(body["message_id"]),
        recipient_id=str(body["recipient_id"]),
        channel=int(body["channel"]),  # type: ignore[arg-type]  # protobuf enums are ints; the stub says otherwise
        accepted_at=float(body["accepted_at"]),
        expires_at=float(body["expires_at"]),
        not_before=float(body["not_before"]),
        since=float(body["since"]),
        next_at=_float(body["next_at"]),
        priority=int(body["priority"]),  # type: ignore[arg-type]  # as above
        time_zone=str(body["time_zone"]),
        state=int(body["state"]),  # type: ignore[arg-type]  # as above
        reason=str(body["reason"]),
        receipt=int(body["receipt"]),  # type: ignore[arg-type]  # as above
        attempts=tuple(_attempt_of(attempt) for attempt in body["attempts"]),
        lease=None if lease is None else Held(str(lease["holder"]), int(lease["fence"]), float(lease["until"])),
        fence=int(body["fence"]),
        forgiven=int(body["forgiven"]),
        cancel_reason=str(body.get("cancel_reason", "")),
    )


def delivery_message(delivery: Delivery, revision: int) -> DeliveryMessage:
    """As the contract shows it; the row counts its revisions."""
    message = DeliveryMessage(
        delivery_id=delivery.delivery_id,
        tenant_id=delivery.tenant_id,
        message_id=delivery.message_id,
        recipient_id=delivery.recipient_id,
        channel=delivery.channel,
        state=delivery.state,
        reason_code=delivery.reason,
        receipt=delivery.receipt,
        accepted_at=timestamp(delivery.accepted_at),
        since=timestamp(delivery.since),
        expires_at=timestamp(delivery.expires_at),
        attempts=[_attempt_message(attempt) for attempt in delivery.attempts],
        revision=revision,
        cancel_reason_code=delivery.cancel_reason,
    )
    if delivery.next_at is not None and not delivery.final:
        message.next_at.CopyFrom(timestamp(delivery.next_at))
    return message


def references(delivery: Delivery) -> frozenset[tuple[str, str]]:
    """By which names a webhook may speak of it: (provider_ref, id) of every attempt's token, request and message, and
    of the key itself at every provider that was called.
    """
    return frozenset(
        (attempt.provider_ref, name)
        for attempt in delivery.attempts
        for name in (
            delivery.delivery_id,
            attempt.token_sent,
            attempt.provider_request_id,
            attempt.provider_message_id,
        )
        if name
    )


def _kept_attempt(attempt: Attempt) -> dict[str, Any]:
    body = {name: getattr(attempt, name) for name in _ATTEMPT_FIELDS}
    body["declares"] = {name: getattr(attempt.declares, name) for name in _DECLARES_FIELDS}
    body["declares"]["lookups"] = sorted(lookup.name for lookup in attempt.declares.lookups)
    body["certainty"] = None if attempt.certainty is None else attempt.certainty.name
    return body


def _attempt_of(body: Mapping[str, Any]) -> Attempt:
    declares = body["declares"]
    certainty = body["certainty"]
    return Attempt(
        number=int(body["number"]),
        provider_ref=str(body["provider_ref"]),
        request_id=str(body["request_id"]),
        kind=AttemptKind(body["kind"]),
        declares=Declares(
            key_window_s=_float(declares["key_window_s"]),
            lookups=frozenset(Lookup[name] for name in declares["lookups"]),
            absent_after_s=_float(declares["absent_after_s"]),
            webhooks=bool(declares["webhooks"]),
            cancels=bool(declares["cancels"]),
        ),
        token_sent=str(body["token_sent"]),
        sent_at=float(body["sent_at"]),
        deadline_at=float(body["deadline_at"]),
        certainty=None if certainty is None else Certainty[certainty],
        reason=str(body["reason"]),
        ended_at=_float(body["ended_at"]),
        provider_request_id=str(body["provider_request_id"]),
        provider_message_id=str(body["provider_message_id"]),
        ack_ref=str(body["ack_ref"]),
        spent=bool(body["spent"]),
        rest_until=float(body["rest_until"]),
        polls=int(body["polls"]),
        cancels=int(body.get("cancels", 0)),
    )


def _attempt_message(attempt: Attempt) -> DeliveryAttempt:
    message = DeliveryAttempt(
        number=attempt.number,
        provider_ref=attempt.provider_ref,
        sent_at=timestamp(attempt.sent_at),
        reason_code=attempt.reason,
        provider_idempotency_token_sent=attempt.token_sent,
        provider_request_id=attempt.provider_request_id,
        provider_message_id=attempt.provider_message_id,
        provider_ack_ref=attempt.ack_ref,
        kind=_KINDS[attempt.kind],
    )
    if attempt.ended_at is not None:
        message.ended_at.CopyFrom(timestamp(attempt.ended_at))
    return message


def _float(value: object) -> float | None:
    return None if value is None else float(str(value))
