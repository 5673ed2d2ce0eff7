"""Meta's WhatsApp Cloud API (§25, DLV-3): texts, templates, and its webhooks.

The Cloud API knows no idempotency keys, and no message can be asked about: ``biz_opaque_callback_data`` carries our
key, and comes back in the webhook of every status. Where the answer to a request was lost, only a webhook tells.

Meta's message ids hold the recipient's number in base 64. A hash stands for them everywhere here, in results as in
reports: it serves to know a message again, which is all that such an id is good for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

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
from servers.delivery.http import Answer, HttpVendor, refusal, retry_after_s
from servers.delivery.outcome import Ended, identifier
from servers.delivery.phone import (
    Taken,
    concluded,
    expect_signature,
    intent_key,
    secret_by,
    statement_id,
    untold,
)
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

WHATSAPP: Final = "meta/whatsapp"
BASE_URL: Final = "https://graph.facebook.com"
MAX_CHARS: Final = 4096

# The codes that Meta documents as "possible server error", "temporarily down" and "something went wrong".
_UNCERTAIN: Final = frozenset({1, 2, 131000, 131016})
_REFUSALS: Final[Mapping[int, StrEnum]] = {
    0: ProviderReason.CREDENTIAL_REFUSED,
    3: ProviderReason.CREDENTIAL_REFUSED,
    4: ProviderReason.PROVIDER_BUSY,
    10: ProviderReason.CREDENTIAL_REFUSED,
    190: ProviderReason.CREDENTIAL_REFUSED,
    **dict.fromkeys(range(200, 300), ProviderReason.CREDENTIAL_REFUSED),
    368: DeliveryReason.SENDER_REFUSED,
    80007: ProviderReason.PROVIDER_BUSY,
    130429: ProviderReason.PROVIDER_BUSY,
    130472: DeliveryReason.RECIPIENT_UNREACHABLE,
    130497: DeliveryReason.REGION_BLOCKED,
    131005: ProviderReason.CREDENTIAL_REFUSED,
    131021: DeliveryReason.RECIPIENT_INVALID,
    131026: DeliveryReason.RECIPIENT_UNREACHABLE,
    131030: DeliveryReason.SENDER_REFUSED,
    131031: DeliveryReason.SENDER_REFUSED,
    131037: DeliveryReason.SENDER_REFUSED,
    131042: DeliveryReason.SENDER_REFUSED,
    131045: DeliveryReason.SENDER_REFUSED,
    131047: DeliveryReason.WINDOW_CLOSED,
    131048: ProviderReason.PROVIDER_BUSY,
    131049: DeliveryReason.CONTENT_REFUSED,
    131050: DeliveryReason.RECIPIENT_OPTED_OUT,
    131056: ProviderReason.PROVIDER_BUSY,
    131057: ProviderReason.PROVIDER_UNAVAILABLE,
    132000: DeliveryReason.CONTENT_REFUSED,
    132001: DeliveryReason.TEMPLATE_UNKNOWN,
    132005: DeliveryReason.CONTENT_TOO_LONG,
    132007: DeliveryReason.CONTENT_REFUSED,
    132012: DeliveryReason.CONTENT_REFUSED,
    132015: DeliveryReason.CONTENT_REFUSED,
    132016: DeliveryReason.CONTENT_REFUSED,
    133010: DeliveryReason.SENDER_REFUSED,
}
_KINDS: Final[Mapping[str, ReportKind]] = {
    "sent": ReportKind.ACCEPTED,
    "delivered": ReportKind.DELIVERED,
    "read": ReportKind.READ,
    "failed": ReportKind.FAILED,
}
_CHALLENGE: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")


class WhatsAppSettings(BaseModel):
    """A business's phone number. ``reports``: its app's webhook, subscribed to the field ``messages``, leads here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phone_number_id: str = Field(pattern=r"^[0-9]{1,32}$")
    version: str = Field(default="v23.0", pattern=r"^v[0-9]{1,3}\.[0-9]{1,2}$")
    base_url: str = Field(default=BASE_URL, pattern=r"^https?://[^\s?#@]+$")
    reports: bool = False
    max_connections: int = Field(default=100, ge=1, le=1000)


class WhatsAppCloud:
    """WhatsApp: a text within the window of a conversation, or a template by its name and language.

    A template's parameters are filled in by their place where they are named 1, 2, 3…, else by their names. A message's
    own ``sender`` is not heard: the phone number's id says who sends. Close it when done.
    """

    provider_ref = WHATSAPP

    def __init__(self, settings: WhatsAppSettings, credential: Credential, *, clock: Clock | None = None) -> None:
        self.declares = Declares(webhooks=settings.reports)
        self._credential = credential
        self._clock = clock or SystemClock()
        self._vendor = HttpVendor(
            settings.base_url, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )
        self._path = f"/{settings.version}/{settings.phone_number_id}/messages"

    def token(self, idempotency_key: str) -> str:
        """``biz_opaque_callback_data``: a reference, under which nothing is taken for the same."""
        return idempotency_key

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`."""
        return await concluded(
            message,
            lambda: self._posted(message, deadline),
            provider_ref=WHATSAPP,
            monotonic=self._clock.monotonic,
            token_sent=self.token(message.idempotency_key),
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call."""
        return untold(message, provider_ref=WHATSAPP, capability=CAPABILITY_DELIVERY_STATUS)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call."""
        return untold(message, provider_ref=WHATSAPP, capability=CAPABILITY_DELIVERY_CANCEL)

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call; whether anything answered in that time."""
        return await self._vendor.prewarm(within_s)

    async def close(self) -> None:
        """See `DeliveryAdapter`."""
        await self._vendor.close()

    async def _posted(self, message: Message, deadline: float) -> Taken:
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": message.recipient.address,
            **_said(message),
            "biz_opaque_callback_data": self.token(message.idempotency_key),
        }
        secret = await secret_by(self._credential, deadline, self._clock.monotonic)
        answer = await self._vendor.ask(
            "POST",
            self._path,
            headers={"authorization": f"Bearer {secret}", "content-type": "application/json"},
            deadline=deadline,
            content=json.dumps(body).encode(),
        )
        wamid = _wamid(answer.json().get("messages"))
        if not answer.done or not wamid:
            raise _refused(answer)
        return Taken(message_ref(wamid))


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatsAppWebhook:
    """Status webhooks. The secret is the app's. Meta repeats a webhook for days, so a status is ``max_age`` old at most
    by its own time, which the signature covers.
    """

    provider_ref: str = WHATSAPP
    max_age: timedelta = timedelta(days=8)

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `Webhook`. Of several statuses those that are too old are left out; TOO_OLD where that leaves none."""
        expect_signature(headers.get("x-hub-signature-256", ""), signature(body, secret), secret)
        reports = [report for status in _statuses(body) if (report := self._report(status)) is not None]
        recent = tuple(report for report in reports if now - report.at <= self.max_age)
        if reports and not recent:
            raise WebhookRefused("TOO_OLD")
        return recent

    def challenge(self, *, url: str, secret: bytes, now: datetime) -> str:
        """What the GET with which Meta verifies a webhook is answered with, as plain text. WebhookRefused."""
        query = parse_qs(urlsplit(url).query)
        expect_signature(query.get("hub.verify_token", [""])[0], verify_token(secret), secret)
        value = query.get("hub.challenge", [""])[0]
        if query.get("hub.mode") != ["subscribe"] or not _CHALLENGE.fullmatch(value):
            raise WebhookRefused("MALFORMED")
        return value

    def _report(self, status: object) -> Report | None:
        if not isinstance(status, dict):
            return None
        word, wamid, at = status.get("status"), identifier(status.get("id")), _at(status.get("timestamp"))
        kind = _KINDS.get(word) if isinstance(word, str) else None
        if kind is None or not wamid or at is None:
            return None
        ref = message_ref(wamid)
        return Report(
            provider_ref=self.provider_ref,
            event_id=statement_id(ref, str(word), at.isoformat()),
            kind=kind,
            at=at,
            provider_message_id=ref,
            idempotency_key=intent_key(status.get("biz_opaque_callback_data")),
            reason_code=_reason_of(status.get("errors")) if kind is ReportKind.FAILED else "",
        )


def message_ref(wamid: str) -> str:
    """What stands for one of Meta's message ids, 64 hexadecimal digits."""
    return hashlib.sha256(wamid.encode()).hexdigest()


def signature(body: bytes, secret: bytes) -> str:
    """``X-Hub-Signature-256``: HMAC-SHA256 of the raw body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def verify_token(secret: bytes) -> str:
    """What to enter at Meta as the webhook's verify token, 64 hexadecimal digits: the HMAC-SHA256 of
    ``hub.verify_token`` under the app's secret, so that there is one secret only.
    """
    return hmac.new(secret, b"hub.verify_token", hashlib.sha256).hexdigest()


def _said(message: Message) -> dict[str, Any]:
    """Ended where there is nothing to say, or too much."""
    content = message.content
    if content.template:
        template: dict[str, Any] = {
            "name": content.template,
            "language": {"code": content.locale.replace("-", "_")},
        }
        if content.parameters:
            template["components"] = [{"type": "body", "parameters": _parameters(content.parameters)}]
        return {"type": "template", "template": template}
    if not content.text:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
    if len(content.text) > MAX_CHARS:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
    return {"type": "text", "text": {"preview_url": False, "body": content.text}}


def _parameters(named: Mapping[str, str]) -> list[dict[str, str]]:
    places = [str(place) for place in range(1, len(named) + 1)]
    if set(places) == set(named):
        return [{"type": "text", "text": named[place]} for place in places]
    return [{"type": "text", "parameter_name": name, "text": text} for name, text in sorted(named.items())]


def _wamid(messages: object) -> str:
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], dict):
        return ""
    return identifier(messages[0].get("id"))


def _statuses(body: bytes) -> list[object]:
    """The statuses of every change to the field ``messages``; other fields say nothing here."""
    try:
        said = json.loads(body)
        if said["object"] != "whatsapp_business_account":
            return []
        changes = [change for entry in said["entry"] for change in entry["changes"] if change["field"] == "messages"]
        return [status for change in changes for status in change["value"].get("statuses", ())]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise WebhookRefused("MALFORMED") from None


def _at(said: object) -> datetime | None:
    """Seconds since the epoch, as text; None where it is none."""
    text = said if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) <= 11 else None
    return None if text is None else datetime.fromtimestamp(int(text), UTC)


def _reason_of(errors: object) -> str:
    first = errors[0] if isinstance(errors, list) and errors else None
    code = first.get("code") if isinstance(first, dict) else None
    return str(_REFUSALS.get(code, "")) if isinstance(code, int) else ""


def _refused(answer: Answer) -> Ended:
    """By Meta's own code, which it says to go by before the status; else no 5xx says that nothing was taken."""
    error = answer.json().get("error")
    said = error if isinstance(error, dict) and not answer.done else {}
    code, request_id = said.get("code"), identifier(said.get("fbtrace_id"))
    if isinstance(code, int) and code in _UNCERTAIN:
        return Ended(Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE, provider_request_id=request_id)
    reason = _REFUSALS.get(code) if isinstance(code, int) else None
    if reason is not None:
        return Ended(Certainty.REFUSED, reason, retry_after_s=retry_after_s(answer), provider_request_id=request_id)
    end = refusal(answer, not_processed=())
    return Ended(end.certainty, end.reason, retry_after_s=end.retry_after_s, provider_request_id=request_id)
