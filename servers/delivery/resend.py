"""Mail over Resend's HTTP interface (§24, §25): native keys for a day, look-up by the mail's id, signed webhooks.

A request under a key that Resend holds is answered with the first one's id, so the same body must be made of the same
message every time: nothing of it depends on time or chance.
"""

from __future__ import annotations

import hmac
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

from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

from servers.delivery.adapter import (
    Certainty,
    Declares,
    DeliveryReason,
    Lookup,
    Message,
    Report,
    ReportKind,
    Sent,
    Trace,
    WebhookRefused,
)
from servers.delivery.http import Answer, HttpVendor, refusal
from servers.delivery.mail_settings import ResendSettings
from servers.delivery.mime import MailRefused, check, mailbox
from servers.delivery.outcome import Ended, accepted, ended, identifier, revealed
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason

KEY_WINDOW_S: Final = 86_400.0
TAG: Final = "delivery_idem"

_REASONS: Final[Mapping[str, StrEnum]] = MappingProxyType(
    {
        "missing_api_key": ProviderReason.CREDENTIAL_REFUSED,
        "restricted_api_key": ProviderReason.CREDENTIAL_REFUSED,
        "suspended_api_key": ProviderReason.CREDENTIAL_REFUSED,
        "invalid_api_key": ProviderReason.CREDENTIAL_REFUSED,
        "invalid_from_address": DeliveryReason.SENDER_REFUSED,
        "invalid_attachment": DeliveryReason.CONTENT_REFUSED,
        "security_error": DeliveryReason.CONTENT_REFUSED,
    }
)
_EVENTS: Final[Mapping[str, tuple[ReportKind, str]]] = MappingProxyType(
    {
        "email.sent": (ReportKind.ACCEPTED, ""),
        "email.scheduled": (ReportKind.ACCEPTED, ""),
        "email.delivery_delayed": (ReportKind.ACCEPTED, ""),
        "email.delivered": (ReportKind.DELIVERED, ""),
        "email.complained": (ReportKind.DELIVERED, ""),
        "email.opened": (ReportKind.READ, ""),
        "email.clicked": (ReportKind.READ, ""),
        "email.bounced": (ReportKind.FAILED, DeliveryReason.RECIPIENT_UNREACHABLE),
        "email.suppressed": (ReportKind.FAILED, DeliveryReason.RECIPIENT_OPTED_OUT),
        "email.failed": (ReportKind.FAILED, DeliveryReason.CONTENT_REFUSED),
    }
)


class Resend:
    """Sends as the account of ``credential``. ``monotonic`` gives seconds and is the clock of every deadline. Close it
    when done.
    """

    declares: Final = Declares(key_window_s=KEY_WINDOW_S, lookups=frozenset({Lookup.MESSAGE_ID}), webhooks=True)

    def __init__(
        self,
        provider_ref: str,
        settings: ResendSettings,
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
        """The key itself, as ``Idempotency-Key``."""
        return idempotency_key

    async def prewarm(self) -> bool:
        """Open a connection, so that the first call need not; whether something answered."""
        return await self._http.prewarm()

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `servers.delivery.adapter.DeliveryAdapter`."""
        began_at = self._monotonic()
        token = ""
        try:
            content = json.dumps(self._body(message)).encode()
            headers = {**await self._headers(), "content-type": "application/json"}
            token = self.token(message.idempotency_key)
            headers["idempotency-key"] = token
            answer = await self._http.ask("POST", "/emails", headers=headers, content=content, deadline=deadline)
            email_id = _email_id(answer)
        except Ended as end:
            latency_s = self._monotonic() - began_at
            return ended(message, end, provider_ref=self.provider_ref, latency_s=latency_s, token_sent=token)
        return accepted(
            message,
            provider_ref=self.provider_ref,
            ack_ref=email_id,
            latency_s=self._monotonic() - began_at,
            token_sent=token,
            provider_message_id=email_id,
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """What became of a mail whose id is known; UNKNOWN, without a call, of any other."""
        began_at = self._monotonic()
        email_id = identifier(trace.provider_message_id)
        try:
            await self._look_up(email_id, deadline)
        except Ended as end:
            return ended(
                message,
                end,
                provider_ref=self.provider_ref,
                latency_s=self._monotonic() - began_at,
                capability=CAPABILITY_DELIVERY_STATUS,
            )
        return accepted(
            message,
            provider_ref=self.provider_ref,
            ack_ref=email_id,
            latency_s=self._monotonic() - began_at,
            capability=CAPABILITY_DELIVERY_STATUS,
            provider_message_id=email_id,
        )

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """UNKNOWN, without a call: Resend takes back only what it was told to send later."""
        return ended(
            message,
            Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN),
            provider_ref=self.provider_ref,
            latency_s=0.0,
            capability=CAPABILITY_DELIVERY_CANCEL,
        )

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self._http.close()

    async def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {await revealed(self._credential)}"}

    def _body(self, message: Message) -> dict[str, Any]:
        settings, content = self._settings, message.content
        try:
            name = "" if message.sender else settings.sender_name
            sender = mailbox(message.sender or settings.sender, field="sender", name=name)
            recipient = mailbox(message.recipient.address, field="recipient")
            check(content)
        except MailRefused as refused:
            raise Ended(Certainty.REFUSED, refused.reason) from None
        quoted = sender.name.replace("\\", "\\\\").replace('"', '\\"')
        body: dict[str, Any] = {
            "from": f'"{quoted}" <{sender.address}>' if quoted else sender.address,
            "to": [recipient.address],
            "subject": content.subject,
            "text": content.text,
            "headers": {"Auto-Submitted": "auto-generated"},
            "tags": [{"name": TAG, "value": message.idempotency_key}],
        }
        if content.html:
            body["html"] = content.html
        if content.attachments:
            body["attachments"] = [
                {
                    "filename": each.filename,
                    "content_type": each.media_type,
                    "content": b64encode(each.content).decode(),
                }
                for each in content.attachments
            ]
        return body

    async def _look_up(self, email_id: str, deadline: float) -> None:
        """Returns where Resend has the mail. Ended."""
        if not email_id or not email_id.replace("-", "").isalnum():
            raise Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        try:
            answer = await self._http.ask(
                "GET", f"/emails/{email_id}", headers=await self._headers(), deadline=deadline
            )
        except Ended as end:
            raise Ended(Certainty.UNKNOWN, end.reason) from None  # that it was not asked says nothing of the mail
        if answer.status == 404:
            raise Ended(Certainty.UNKNOWN, DeliveryReason.NOT_FOUND)  # it gave the id, and may keep mails for less long
        if not answer.done:
            said_no = refusal(answer)
            raise Ended(Certainty.UNKNOWN, said_no.reason, retry_after_s=said_no.retry_after_s)
        said = answer.json()
        if said.get("id") != email_id:
            raise Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
        if said.get("last_event") == "canceled":
            raise Ended(Certainty.REFUSED, DeliveryReason.CANCELLED, provider_message_id=email_id)


class ResendWebhook:
    """Reads Resend's webhooks, which Svix signs. ``window_s`` is how far its time and ours may lie apart."""

    def __init__(self, provider_ref: str, *, window_s: float = 300.0) -> None:
        self.provider_ref = provider_ref
        self._window_s = window_s

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `servers.delivery.adapter.Webhook`. ``secret`` is the ``whsec_…`` of the endpoint, or several of
        them with spaces between while they are exchanged.
        """
        event_id = _signed(headers, body, secret, now, self._window_s)
        try:
            said = json.loads(body)
            data = said["data"]
            found = _EVENTS.get(said["type"])
            at = datetime.fromisoformat(said["created_at"])
            email_id = identifier(data.get("email_id"))
            tags = data.get("tags")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise WebhookRefused("MALFORMED") from None
        if found is None:
            return ()
        if not email_id:
            raise WebhookRefused("MALFORMED")
        kind, reason = found
        return (
            Report(
                provider_ref=self.provider_ref,
                event_id=event_id,
                kind=kind,
                at=at if at.tzinfo is not None else at.replace(tzinfo=UTC),
                provider_message_id=email_id,
                idempotency_key=_tagged(tags),
                reason_code=reason,
            ),
        )


def _email_id(answer: Answer) -> str:
    """The id of a mail that was taken. Ended."""
    if not answer.done:
        raise _refused(answer)
    email_id = identifier(answer.json().get("id"))
    if not email_id:
        raise Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
    return email_id


def _refused(answer: Answer) -> Ended:
    said = answer.json()
    name, text = said.get("name"), said.get("message")
    if answer.status == 409:
        # Something is, or was, taken under this key; whether it is this very mail only its id would tell.
        return Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
    if answer.status == 429 or answer.status >= 500 or not isinstance(name, str):
        return refusal(answer)
    if name == "validation_error":
        return Ended(Certainty.REFUSED, _invalid(answer.status, text if isinstance(text, str) else ""))
    reason = _REASONS.get(name)
    return refusal(answer) if reason is None else Ended(Certainty.REFUSED, reason)


def _invalid(status: int, text: str) -> StrEnum:
    """What a validation error is about, of which only the text tells."""
    if "API key" in text:
        return ProviderReason.CREDENTIAL_REFUSED
    if "`to`" in text:
        return DeliveryReason.RECIPIENT_INVALID
    if status == 403 or "`from`" in text:
        return DeliveryReason.SENDER_REFUSED  # its domain is not verified, or the account may only write to itself
    return ProviderReason.REQUEST_REFUSED


def _signed(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime, window_s: float) -> str:
    """The id of a webhook whose signature holds and which is not too old. WebhookRefused."""
    event_id, sent_at, signatures = (headers.get(f"svix-{name}", "") for name in ("id", "timestamp", "signature"))
    if not event_id or not sent_at or not signatures:
        raise WebhookRefused("SIGNATURE_MISSING")
    signed = b".".join((*(each.encode("utf-8", "surrogateescape") for each in (event_id, sent_at)), body))
    expected = [hmac.new(key, signed, sha256).digest() for key in _keys(secret)]
    given = [value for version, _, value in (each.partition(",") for each in signatures.split(" ")) if version == "v1"]
    if not any(hmac.compare_digest(own, _decoded(each)) for own in expected for each in given):
        raise WebhookRefused("SIGNATURE_INVALID")
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12) or not identifier(event_id):
        raise WebhookRefused("MALFORMED")
    if abs(now.timestamp() - int(sent_at)) > window_s:
        raise WebhookRefused("TOO_OLD")
    return event_id


def _keys(secret: bytes) -> list[bytes]:
    """The keys of a secret; one that is none matches nothing."""
    keys = [_decoded(each.removeprefix("whsec_")) for each in secret.decode("ascii", "replace").split()]
    return [key for key in keys if key]


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return b""


def _tagged(tags: object) -> str:
    """The key of the mail, as its tag tells it: a webhook has tags as an object, older ones as a list."""
    if isinstance(tags, list):
        tags = {each.get("name"): each.get("value") for each in tags if isinstance(each, dict)}
    return identifier(tags.get(TAG)) if isinstance(tags, dict) else ""
