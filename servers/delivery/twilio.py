"""Twilio's Programmable Messaging, API 2010-04-01 (§25, DLV-3): SMS and WhatsApp, and its status callbacks.

Twilio knows no idempotency keys, and what it lists of messages holds no reference of ours: two messages of the same
words to the same person look alike there. So a message can be asked about by its SID alone, and where the answer with
the SID was lost only a status callback tells: its URL carries our key, and Twilio signs the URL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
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
from servers.delivery.http import Answer, HttpVendor, refusal, retry_after_s
from servers.delivery.outcome import Ended, identifier
from servers.delivery.phone import (
    Taken,
    concluded,
    expect_signature,
    intent_key,
    seconds_left,
    secret_by,
    statement_id,
    untold,
    utf8,
)
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

SMS: Final = "twilio/sms"
WHATSAPP: Final = "twilio/whatsapp"
BASE_URL: Final = "https://api.twilio.com"
MAX_CHARS: Final = 1600
MAX_VALIDITY_S: Final = 36_000
MAX_FORM_FIELDS: Final = 200

_SID: Final = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
_CONTENT_SID: Final = re.compile(r"HX[0-9a-fA-F]{32}")

_REFUSALS: Final[Mapping[int, StrEnum]] = {
    14107: ProviderReason.PROVIDER_BUSY,
    20003: ProviderReason.CREDENTIAL_REFUSED,
    20005: DeliveryReason.SENDER_REFUSED,
    20429: ProviderReason.PROVIDER_BUSY,
    21211: DeliveryReason.RECIPIENT_INVALID,
    21214: DeliveryReason.RECIPIENT_UNREACHABLE,
    21217: DeliveryReason.RECIPIENT_INVALID,
    21408: DeliveryReason.REGION_BLOCKED,
    21601: DeliveryReason.SENDER_REFUSED,
    21602: DeliveryReason.CONTENT_REFUSED,
    21603: DeliveryReason.SENDER_REFUSED,
    21604: DeliveryReason.RECIPIENT_INVALID,
    21605: DeliveryReason.CONTENT_TOO_LONG,
    21606: DeliveryReason.SENDER_REFUSED,
    21608: DeliveryReason.SENDER_REFUSED,
    21610: DeliveryReason.RECIPIENT_OPTED_OUT,
    21611: ProviderReason.PROVIDER_BUSY,
    21612: DeliveryReason.RECIPIENT_UNREACHABLE,
    21614: DeliveryReason.RECIPIENT_INVALID,
    21617: DeliveryReason.CONTENT_TOO_LONG,
    21635: DeliveryReason.RECIPIENT_UNREACHABLE,
    21655: DeliveryReason.TEMPLATE_UNKNOWN,
    21656: DeliveryReason.CONTENT_REFUSED,
    21659: DeliveryReason.SENDER_REFUSED,
    21660: DeliveryReason.SENDER_REFUSED,
    21661: DeliveryReason.SENDER_REFUSED,
    21703: DeliveryReason.SENDER_REFUSED,
    30001: ProviderReason.PROVIDER_BUSY,
    30002: DeliveryReason.SENDER_REFUSED,
    30003: DeliveryReason.RECIPIENT_UNREACHABLE,
    30004: DeliveryReason.RECIPIENT_UNREACHABLE,
    30005: DeliveryReason.RECIPIENT_UNREACHABLE,
    30006: DeliveryReason.RECIPIENT_UNREACHABLE,
    30007: DeliveryReason.CONTENT_REFUSED,
    30032: DeliveryReason.SENDER_REFUSED,
    30034: DeliveryReason.SENDER_REFUSED,
    63001: DeliveryReason.SENDER_REFUSED,
    63003: DeliveryReason.RECIPIENT_INVALID,
    63005: DeliveryReason.CONTENT_REFUSED,
    63007: DeliveryReason.SENDER_REFUSED,
    63013: DeliveryReason.CONTENT_REFUSED,
    63016: DeliveryReason.WINDOW_CLOSED,
    63018: ProviderReason.PROVIDER_BUSY,
    63024: DeliveryReason.RECIPIENT_INVALID,
    63027: DeliveryReason.TEMPLATE_UNKNOWN,
    63028: DeliveryReason.CONTENT_REFUSED,
    63032: DeliveryReason.RECIPIENT_UNREACHABLE,
    63049: DeliveryReason.CONTENT_REFUSED,
    63051: DeliveryReason.SENDER_REFUSED,
}
# "Unknown error": says why a message failed, and never that a request was not taken.
_FAILURES: Final[Mapping[int, StrEnum]] = {**_REFUSALS, 30008: ProviderReason.PROVIDER_UNAVAILABLE}

_KINDS: Final[Mapping[str, ReportKind]] = {
    "accepted": ReportKind.ACCEPTED,
    "scheduled": ReportKind.ACCEPTED,
    "queued": ReportKind.ACCEPTED,
    "sending": ReportKind.ACCEPTED,
    "sent": ReportKind.ACCEPTED,
    "partially_delivered": ReportKind.DELIVERED,
    "delivered": ReportKind.DELIVERED,
    "read": ReportKind.READ,
    "undelivered": ReportKind.FAILED,
    "failed": ReportKind.FAILED,
    "canceled": ReportKind.NOT_TAKEN,
}


class TwilioSettings(BaseModel):
    """An account. ``status_callback`` is where Twilio reports to, as it calls it; empty: it does not. ``templates`` are
    content SIDs by ``name/locale`` or by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_sid: str = Field(pattern=r"^AC[0-9a-fA-F]{32}$")
    api_key_sid: str = Field(
        default="", pattern=r"^(SK[0-9a-fA-F]{32})?$", description="empty: the secret is the account's auth token"
    )
    base_url: str = Field(default=BASE_URL, pattern=r"^https?://[^\s?#@]+$")
    sender: str = Field(default="", max_length=64, description="where a message names none")
    messaging_service_sid: str = Field(default="", pattern=r"^(MG[0-9a-fA-F]{32})?$", description="chooses the sender")
    status_callback: str = Field(default="", pattern=r"^(https?://[^\s?#@]+)?$", max_length=1024)
    templates: dict[str, str] = Field(default_factory=dict)
    max_connections: int = Field(default=100, ge=1, le=1000)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not self.sender and not self.messaging_service_sid:
            raise ValueError("`sender` or `messaging_service_sid` says who sends")
        if any(not _CONTENT_SID.fullmatch(sid) for sid in self.templates.values()):
            raise ValueError("`templates` holds content SIDs (`HX…`)")
        return self


class _Twilio(ABC):
    """One channel of an account. Close it when done."""

    provider_ref: str

    def __init__(self, settings: TwilioSettings, credential: Credential, *, clock: Clock | None = None) -> None:
        self.declares = Declares(lookups=frozenset({Lookup.MESSAGE_ID}), webhooks=bool(settings.status_callback))
        self._settings = settings
        self._credential = credential
        self._clock = clock or SystemClock()
        self._vendor = HttpVendor(
            settings.base_url, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )
        self._path = f"/2010-04-01/Accounts/{settings.account_sid}/Messages"

    def token(self, idempotency_key: str) -> str:
        """What the URL of the status callback carries: a reference, under which nothing is taken for the same."""
        return idempotency_key if self._settings.status_callback else ""

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`."""
        return await concluded(
            message,
            lambda: self._posted(message, deadline),
            provider_ref=self.provider_ref,
            monotonic=self._clock.monotonic,
            token_sent=self.token(message.idempotency_key),
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: by the SID alone."""
        sid = trace.provider_message_id
        if not _SID.fullmatch(sid):
            return untold(message, provider_ref=self.provider_ref, capability=CAPABILITY_DELIVERY_STATUS)
        return await concluded(
            message,
            lambda: self._found(sid, deadline),
            provider_ref=self.provider_ref,
            monotonic=self._clock.monotonic,
            capability=CAPABILITY_DELIVERY_STATUS,
            token_sent=trace.token_sent,
        )

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: Twilio takes back scheduled messages only, and nothing here is scheduled there."""
        return untold(message, provider_ref=self.provider_ref, capability=CAPABILITY_DELIVERY_CANCEL)

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call; whether anything answered in that time."""
        return await self._vendor.prewarm(within_s)

    async def close(self) -> None:
        """See `DeliveryAdapter`."""
        await self._vendor.close()

    @abstractmethod
    def _form(self, message: Message) -> dict[str, str]:
        """What is said, by whom and to whom, as form fields. Ended."""

    async def _posted(self, message: Message, deadline: float) -> Taken:
        form = self._form(message)
        if token := self.token(message.idempotency_key):
            query = urlencode({"intent": token, "at": int(self._clock.now().timestamp())})
            form["StatusCallback"] = f"{self._settings.status_callback}?{query}"
        answer = await self._vendor.ask(
            "POST",
            f"{self._path}.json",
            headers={**await self._authorization(deadline), "content-type": "application/x-www-form-urlencoded"},
            deadline=deadline,
            content=urlencode(form).encode(),
        )
        sid = identifier(answer.json().get("sid"))
        if not answer.done or not _SID.fullmatch(sid):
            raise _refused(answer)
        return Taken(sid, _request_id(answer))

    async def _found(self, sid: str, deadline: float) -> Taken:
        try:
            headers = await self._authorization(deadline)
            answer = await self._vendor.ask("GET", f"{self._path}/{sid}.json", headers=headers, deadline=deadline)
            if answer.status == 404:
                raise Ended(Certainty.UNKNOWN, DeliveryReason.NOT_FOUND)  # it may have been deleted since
            said = answer.json()
            if not answer.done or said.get("sid") != sid or not isinstance(said.get("status"), str):
                raise _refused(answer)
        except Ended as end:
            # That the question failed says nothing of the message.
            raise Ended(Certainty.UNKNOWN, end.reason, retry_after_s=end.retry_after_s) from None
        if said["status"] == "canceled":
            raise Ended(Certainty.REFUSED, DeliveryReason.CANCELLED, provider_message_id=sid)
        return Taken(sid)

    async def _authorization(self, deadline: float) -> dict[str, str]:
        secret = await secret_by(self._credential, deadline, self._clock.monotonic)
        user = self._settings.api_key_sid or self._settings.account_sid
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}

    def _sender(self, message: Message, prefix: str = "") -> dict[str, str]:
        if not message.sender and self._settings.messaging_service_sid:
            return {"MessagingServiceSid": self._settings.messaging_service_sid}
        return {"From": prefix + (message.sender or self._settings.sender)}


class TwilioSms(_Twilio):
    """SMS. What has not left Twilio when a message expires is dropped there."""

    provider_ref = SMS

    def _form(self, message: Message) -> dict[str, str]:
        form = {"To": message.recipient.address, **self._sender(message), "Body": _text(message)}
        if message.expires_at is not None:
            left = seconds_left(message.expires_at, self._clock.now(), least=1, most=MAX_VALIDITY_S)
            form["ValidityPeriod"] = str(left)
        return form


class TwilioWhatsApp(_Twilio):
    """WhatsApp: a text within the window of a conversation, or a content template."""

    provider_ref = WHATSAPP

    def _form(self, message: Message) -> dict[str, str]:
        form = {"To": f"whatsapp:{message.recipient.address}", **self._sender(message, "whatsapp:")}
        if not message.content.template:
            return {**form, "Body": _text(message)}
        variables = dict(sorted(message.content.parameters.items()))
        sid = self._content_sid(message.content.template, message.content.locale)
        return {**form, "ContentSid": sid, **({"ContentVariables": json.dumps(variables)} if variables else {})}

    def _content_sid(self, template: str, locale: str) -> str:
        templates = self._settings.templates
        sid = templates.get(f"{template}/{locale}") or templates.get(template) or template
        if not _CONTENT_SID.fullmatch(sid):
            raise Ended(Certainty.REFUSED, DeliveryReason.TEMPLATE_UNKNOWN)
        return sid


@dataclass(frozen=True, slots=True, kw_only=True)
class TwilioWebhook:
    """Status callbacks, of ``twilio/sms`` or ``twilio/whatsapp``. The secret is the account's auth token.

    Twilio's signature has no time. The signed URL has: when the message was sent, which is ``max_age`` ago at most; by
    then a message of WhatsApp that waited for its recipient is gone. A callback whose URL names none of our messages
    says nothing.
    """

    provider_ref: str = SMS
    max_age: timedelta = timedelta(days=31)

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `Webhook`. ``url`` is the whole URL, as Twilio calls it."""
        form = _form_of(body)
        expect_signature(headers.get("x-twilio-signature", ""), signature(url, form, secret), secret)
        query = dict(_pairs(urlsplit(url).query))
        key = intent_key(query.get("intent"))
        if not key:
            return ()
        _expect_recent(query.get("at", ""), now, self.max_age)
        return self._reports(dict(form), key, now)

    def _reports(self, fields: Mapping[str, str], key: str, now: datetime) -> tuple[Report, ...]:
        sid, status = fields.get("MessageSid", ""), fields.get("MessageStatus", "")
        kind = _KINDS.get(status)
        if kind is None or not _SID.fullmatch(sid):
            return ()
        code = fields.get("ErrorCode", "")
        report = Report(
            provider_ref=self.provider_ref,
            event_id=statement_id(sid, status, code),
            kind=kind,
            at=now,
            provider_message_id=sid,
            idempotency_key=key,
            reason_code=_reason_of(kind, code),
        )
        return (report,)


def signature(url: str, form: list[tuple[str, str]], secret: bytes) -> str:
    """``X-Twilio-Signature``: HMAC-SHA1, in base 64, of the URL and of every parameter's name and value, sorted."""
    signed = url + "".join(name + value for name, value in sorted(set(form)))
    return base64.b64encode(hmac.new(secret, utf8(signed), hashlib.sha1).digest()).decode()


def _form_of(body: bytes) -> list[tuple[str, str]]:
    try:
        return _pairs(body.decode())
    except UnicodeDecodeError:
        raise WebhookRefused("MALFORMED") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise WebhookRefused("MALFORMED") from None


def _expect_recent(at: str, now: datetime, max_age: timedelta) -> None:
    if not at.isascii() or not at.isdigit() or len(at) > 12:
        raise WebhookRefused("MALFORMED")
    if now.timestamp() - int(at) > max_age.total_seconds():
        raise WebhookRefused("TOO_OLD")


def _reason_of(kind: ReportKind, code: str) -> str:
    if kind is ReportKind.NOT_TAKEN:
        return DeliveryReason.CANCELLED
    if kind is not ReportKind.FAILED:
        return ""
    known = code.isascii() and code.isdigit() and len(code) <= 6
    return str(_FAILURES.get(int(code), "")) if known else ""


def _text(message: Message) -> str:
    """Ended where there is nothing to say, or too much."""
    content = message.content
    if content.template or not content.text:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
    if len(content.text) > MAX_CHARS:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
    return content.text


def _refused(answer: Answer) -> Ended:
    """By Twilio's own code where it documents a refusal, else by the status: no 5xx says that nothing was taken."""
    code = answer.json().get("code")
    request_id = _request_id(answer)
    reason = _REFUSALS.get(code) if isinstance(code, int) and 400 <= answer.status < 500 else None
    if reason is not None:
        return Ended(Certainty.REFUSED, reason, retry_after_s=retry_after_s(answer), provider_request_id=request_id)
    end = refusal(answer, not_processed=())
    return Ended(end.certainty, end.reason, retry_after_s=end.retry_after_s, provider_request_id=request_id)


def _request_id(answer: Answer) -> str:
    return identifier(answer.headers.get("twilio-request-id"))
