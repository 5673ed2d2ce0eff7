"""Mail over SendGrid's HTTP interface, v3 (§24, §25). It knows no keys, and looks nothing up without a paid addition:
a lost answer stays unknown until its event webhook tells of the mail, by the key that goes with it as an argument.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS, Capability

from servers.delivery.adapter import (
    Certainty,
    Declares,
    DeliveryReason,
    Message,
    Report,
    ReportKind,
    Sent,
    Trace,
    WebhookRefused,
)
from servers.delivery.http import Answer, HttpVendor, refusal
from servers.delivery.mail_settings import SendGridSettings
from servers.delivery.mime import Mailbox, MailRefused, check, mailbox
from servers.delivery.outcome import Ended, accepted, ended, identifier, revealed
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason

ARGUMENT: Final = "delivery_idem"
MAX_EVENTS: Final = 10_000

_SIGNATURE: Final = "x-twilio-email-event-webhook-signature"
_TIMESTAMP: Final = "x-twilio-email-event-webhook-timestamp"

# SendGrid answers 401 with this text when the account is out of credits.
_NO_CREDITS: Final = "Maximum credits exceeded"
_BY_FIELD: Final[Mapping[str, StrEnum]] = MappingProxyType(
    {
        "from": DeliveryReason.SENDER_REFUSED,
        "personalizations": DeliveryReason.RECIPIENT_INVALID,
        "subject": DeliveryReason.CONTENT_REFUSED,
        "content": DeliveryReason.CONTENT_REFUSED,
        "attachments": DeliveryReason.CONTENT_REFUSED,
    }
)
_EVENTS: Final[Mapping[str, tuple[ReportKind, str]]] = MappingProxyType(
    {
        "processed": (ReportKind.ACCEPTED, ""),
        "deferred": (ReportKind.ACCEPTED, ""),
        "delivered": (ReportKind.DELIVERED, ""),
        "spamreport": (ReportKind.DELIVERED, ""),
        "open": (ReportKind.READ, ""),
        "click": (ReportKind.READ, ""),
        "bounce": (ReportKind.FAILED, DeliveryReason.RECIPIENT_UNREACHABLE),
        "dropped": (ReportKind.FAILED, DeliveryReason.CONTENT_REFUSED),
    }
)
_DROPPED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Bounced Address": DeliveryReason.RECIPIENT_UNREACHABLE,
        "Invalid": DeliveryReason.RECIPIENT_INVALID,
        "Unsubscribed Address": DeliveryReason.RECIPIENT_OPTED_OUT,
        "Spam Reporting Address": DeliveryReason.RECIPIENT_OPTED_OUT,
    }
)


class SendGrid:
    """Sends as the account of ``credential``. ``monotonic`` gives seconds and is the clock of every deadline. Close it
    when done.
    """

    declares: Final = Declares(webhooks=True)

    def __init__(
        self,
        provider_ref: str,
        settings: SendGridSettings,
        credential: Credential,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.provider_ref = provider_ref
        self._settings = settings
        self._credential = credential
        self._monotonic = monotonic
        self._http = HttpVendor(settings.base_url, monotonic=monotonic)

    def token(self, idempotency_key: str) -> str:
        """None: SendGrid knows no keys. Its events carry ours as the argument `ARGUMENT`."""
        return ""

    async def prewarm(self) -> bool:
        """Open a connection, so that the first call need not; whether something answered."""
        return await self._http.prewarm()

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `servers.delivery.adapter.DeliveryAdapter`."""
        began_at = self._monotonic()
        try:
            content = json.dumps(self._body(message)).encode()
            headers = {
                "authorization": f"Bearer {await revealed(self._credential)}",
                "content-type": "application/json",
            }
            answer = await self._http.ask("POST", "/v3/mail/send", headers=headers, content=content, deadline=deadline)
            mail_id = _mail_id(answer)
        except Ended as end:
            return ended(message, end, provider_ref=self.provider_ref, latency_s=self._monotonic() - began_at)
        return accepted(
            message,
            provider_ref=self.provider_ref,
            ack_ref=mail_id,
            latency_s=self._monotonic() - began_at,
            provider_message_id=mail_id,
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """UNKNOWN, without a call: see above."""
        return self._unasked(message, CAPABILITY_DELIVERY_STATUS)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """UNKNOWN, without a call: SendGrid takes back only what it was told to send later."""
        return self._unasked(message, CAPABILITY_DELIVERY_CANCEL)

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self._http.close()

    def _unasked(self, message: Message, capability: Capability) -> Sent:
        end = Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        return ended(message, end, provider_ref=self.provider_ref, latency_s=0.0, capability=capability)

    def _body(self, message: Message) -> dict[str, Any]:
        settings, content = self._settings, message.content
        try:
            name = "" if message.sender else settings.sender_name
            sender = mailbox(message.sender or settings.sender, field="sender", name=name)
            recipient = mailbox(message.recipient.address, field="recipient")
            check(content)
        except MailRefused as refused:
            raise Ended(Certainty.REFUSED, refused.reason) from None
        kinds = [("text/plain", content.text), ("text/html", content.html)]
        body: dict[str, Any] = {
            "personalizations": [
                {"to": [_party(recipient)], "custom_args": {ARGUMENT: message.idempotency_key}},
            ],
            "from": _party(sender),
            "subject": content.subject,
            "content": [{"type": kind, "value": value} for kind, value in kinds if value],
            "headers": {"Auto-Submitted": "auto-generated"},
        }
        if content.attachments:
            body["attachments"] = [
                {
                    "filename": each.filename,
                    "type": each.media_type,
                    "content": b64encode(each.content).decode(),
                    "disposition": "attachment",
                }
                for each in content.attachments
            ]
        return body


class SendGridWebhook:
    """Reads SendGrid's event webhook. ``window_s`` is how far its time and ours may lie apart: it documents none, and
    delivers again for a day where nobody answers.
    """

    def __init__(self, provider_ref: str, *, window_s: float = 86_400.0) -> None:
        self.provider_ref = provider_ref
        self._window_s = window_s

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `servers.delivery.adapter.Webhook`. ``secret`` is the public key that SendGrid shows, base 64 of DER."""
        _check_signature(headers, body, secret, now, self._window_s)
        try:
            events = json.loads(body)
        except (ValueError, RecursionError):
            raise WebhookRefused("MALFORMED") from None
        if not isinstance(events, list) or len(events) > MAX_EVENTS:
            raise WebhookRefused("MALFORMED")
        return tuple(report for event in events if (report := self._report(event)) is not None)

    def _report(self, event: object) -> Report | None:
        """What an event says; None of what is unknown, or is of no mail that we sent."""
        if not isinstance(event, dict):
            raise WebhookRefused("MALFORMED")
        name, at = event.get("event"), event.get("timestamp")
        found = _EVENTS.get(name) if isinstance(name, str) else None
        mail_id = identifier(event.get("sg_message_id")).partition(".")[0]
        key = identifier(event.get(ARGUMENT))
        if found is None or not (mail_id or key):
            return None
        if not isinstance(at, int) or not 0 <= at < 1 << 33:
            raise WebhookRefused("MALFORMED")
        kind, reason = found
        if name == "open" and event.get("sg_machine_open") is True:
            kind = ReportKind.DELIVERED  # a mail program fetched it ahead of its reader
        if name == "dropped":
            reason = _DROPPED.get(str(event.get("reason")), reason)
        return Report(
            provider_ref=self.provider_ref,
            event_id=identifier(event.get("sg_event_id")) or _hash(event),
            kind=kind,
            at=datetime.fromtimestamp(at, UTC),
            provider_message_id=mail_id,
            idempotency_key=key,
            reason_code=reason,
        )


def _party(box: Mailbox) -> dict[str, str]:
    return {"email": box.address, "name": box.name} if box.name else {"email": box.address}


def _mail_id(answer: Answer) -> str:
    """The id of a mail that was taken. Ended."""
    if not answer.done:
        raise _refused(answer)
    mail_id = identifier(answer.headers.get("x-message-id"))
    if answer.status != 202 or not mail_id:
        raise Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
    return mail_id


def _refused(answer: Answer) -> Ended:
    if answer.status not in (400, 401, 403):
        return refusal(answer)
    errors = answer.json().get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    if first.get("message") == _NO_CREDITS:
        return Ended(Certainty.REFUSED, ProviderReason.PROVIDER_BUSY)
    reason = _BY_FIELD.get(str(first.get("field")).partition(".")[0])
    return refusal(answer) if reason is None else Ended(Certainty.REFUSED, reason)


def _check_signature(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime, window_s: float) -> None:
    """WebhookRefused unless the signature holds and its time is near ``now``."""
    signature, sent_at = headers.get(_SIGNATURE, ""), headers.get(_TIMESTAMP, "")
    if not signature or not sent_at:
        raise WebhookRefused("SIGNATURE_MISSING")
    try:
        key = load_der_public_key(b64decode(secret, validate=True))
        if not isinstance(key, EllipticCurvePublicKey):
            raise WebhookRefused("SIGNATURE_INVALID")
        key.verify(b64decode(signature, validate=True), sent_at.encode() + body, ECDSA(SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, Base64Error, ValueError, TypeError):
        raise WebhookRefused("SIGNATURE_INVALID") from None
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        raise WebhookRefused("MALFORMED")
    if abs(now.timestamp() - int(sent_at)) > window_s:
        raise WebhookRefused("TOO_OLD")


def _hash(event: Mapping[str, Any]) -> str:
    return sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()
