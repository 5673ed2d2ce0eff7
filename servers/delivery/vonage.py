"""Vonage's Messages API v1 (§25, DLV-3): SMS, and its status webhooks.

Vonage knows no idempotency keys, and no message can be asked about in this API: ``client_ref`` carries our key, and
comes back in every status webhook. Where the answer to a request was lost, only a webhook tells.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import jwt
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
from servers.delivery.phone import Taken, concluded, intent_key, same, seconds_left, secret_by, statement_id, untold
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

SMS: Final = "vonage/sms"
BASE_URL: Final = "https://api.nexmo.com"
MAX_CHARS: Final = 1000
MIN_TTL_S: Final = 20
MAX_TTL_S: Final = 604_800
MAX_TIME_S: Final = 1e11

# The number at the end of a problem's ``type``, and of a webhook's error.
_REFUSALS: Final[Mapping[str, StrEnum]] = {
    "1000": ProviderReason.PROVIDER_BUSY,
    "1040": DeliveryReason.RECIPIENT_INVALID,
    "1050": DeliveryReason.RECIPIENT_OPTED_OUT,
    "1060": DeliveryReason.SENDER_REFUSED,
    "1070": DeliveryReason.SENDER_REFUSED,
    "1080": DeliveryReason.SENDER_REFUSED,
    "1090": DeliveryReason.CONTENT_TOO_LONG,
    "1120": DeliveryReason.SENDER_REFUSED,
    "1140": DeliveryReason.SENDER_REFUSED,
    "1160": DeliveryReason.SENDER_REFUSED,
    "1170": DeliveryReason.RECIPIENT_INVALID,
    "1180": DeliveryReason.RECIPIENT_UNREACHABLE,
    "1190": DeliveryReason.RECIPIENT_UNREACHABLE,
    "1210": DeliveryReason.CONTENT_REFUSED,
    "1240": DeliveryReason.RECIPIENT_INVALID,
    "1250": DeliveryReason.RECIPIENT_UNREACHABLE,
    "1260": DeliveryReason.RECIPIENT_UNREACHABLE,
    "low-balance": DeliveryReason.SENDER_REFUSED,
    "account-suspended": DeliveryReason.SENDER_REFUSED,
    "unprovisioned": DeliveryReason.SENDER_REFUSED,
}
_KINDS: Final[Mapping[str, ReportKind]] = {
    "submitted": ReportKind.ACCEPTED,
    "delivered": ReportKind.DELIVERED,
    "read": ReportKind.READ,
    "rejected": ReportKind.FAILED,
    "undeliverable": ReportKind.FAILED,
}


class VonageSettings(BaseModel):
    """An account. ``webhook_url`` is where Vonage reports to; with ``reports`` alone it is the one of the account."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: str = Field(pattern=r"^[0-9A-Za-z]{4,32}$", description="names the account; its secret is elsewhere")
    base_url: str = Field(default=BASE_URL, pattern=r"^https?://[^\s?#@]+$")
    sender: str = Field(min_length=1, max_length=64, description="where a message names none")
    webhook_url: str = Field(default="", pattern=r"^(https?://[^\s#@]+)?$", max_length=1024)
    reports: bool = Field(default=False, description="the account's own status URL leads here")
    max_connections: int = Field(default=100, ge=1, le=1000)


class VonageSms:
    """SMS. What has not been delivered when a message expires is given up by Vonage. Close it when done."""

    provider_ref = SMS

    def __init__(self, settings: VonageSettings, credential: Credential, *, clock: Clock | None = None) -> None:
        self.declares = Declares(webhooks=settings.reports or bool(settings.webhook_url))
        self._settings = settings
        self._credential = credential
        self._clock = clock or SystemClock()
        self._vendor = HttpVendor(
            settings.base_url, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )

    def token(self, idempotency_key: str) -> str:
        """``client_ref``: a reference, under which nothing is taken for the same."""
        return idempotency_key

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`."""
        return await concluded(
            message,
            lambda: self._posted(message, deadline),
            provider_ref=SMS,
            monotonic=self._clock.monotonic,
            token_sent=self.token(message.idempotency_key),
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call."""
        return untold(message, provider_ref=SMS, capability=CAPABILITY_DELIVERY_STATUS)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call; Vonage takes no SMS back."""
        return untold(message, provider_ref=SMS, capability=CAPABILITY_DELIVERY_CANCEL)

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call; whether anything answered in that time."""
        return await self._vendor.prewarm(within_s)

    async def close(self) -> None:
        """See `DeliveryAdapter`."""
        await self._vendor.close()

    async def _posted(self, message: Message, deadline: float) -> Taken:
        body = json.dumps(self._body(message)).encode()
        secret = await secret_by(self._credential, deadline, self._clock.monotonic)
        basic = base64.b64encode(f"{self._settings.api_key}:{secret}".encode()).decode()
        answer = await self._vendor.ask(
            "POST",
            "/v1/messages",
            headers={"authorization": f"Basic {basic}", "content-type": "application/json"},
            deadline=deadline,
            content=body,
        )
        uuid = _uuid(answer.json().get("message_uuid"))
        if not answer.done or not uuid:
            raise _refused(answer)
        return Taken(uuid)

    def _body(self, message: Message) -> dict[str, Any]:
        content = message.content
        if content.template or not content.text:
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
        if len(content.text) > MAX_CHARS:
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
        body: dict[str, Any] = {
            "channel": "sms",
            "message_type": "text",
            "to": message.recipient.address.removeprefix("+"),
            "from": (message.sender or self._settings.sender).removeprefix("+"),
            "text": content.text,
            "client_ref": self.token(message.idempotency_key),
        }
        if message.expires_at is not None:
            body["ttl"] = seconds_left(message.expires_at, self._clock.now(), least=MIN_TTL_S, most=MAX_TTL_S)
        if self._settings.webhook_url:
            body |= {"webhook_url": self._settings.webhook_url, "webhook_version": "v1"}
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class VonageWebhook:
    """Status webhooks. The secret is the account's signature secret.

    A JSON Web Token (HS256) signs the hash of the body and when it was made, which is ``max_age`` ago at most, and
    ``skew`` ahead of us at most.
    """

    provider_ref: str = SMS
    max_age: timedelta = timedelta(minutes=15)
    skew: timedelta = timedelta(minutes=1)

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `Webhook`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise WebhookRefused("SIGNATURE_MISSING")
        claims = _claims(token.strip(), secret)
        if not same(claims["payload_hash"].lower(), hashlib.sha256(body).hexdigest()):
            raise WebhookRefused("SIGNATURE_INVALID")
        age_s = now.timestamp() - claims["iat"]
        if age_s < -self.skew.total_seconds():
            raise WebhookRefused("SIGNATURE_INVALID")
        if age_s > self.max_age.total_seconds():
            raise WebhookRefused("TOO_OLD")
        return self._reports(_object(body), now)

    def _reports(self, said: Mapping[str, Any], now: datetime) -> tuple[Report, ...]:
        uuid, status = _uuid(said.get("message_uuid")), said.get("status")
        kind = _KINDS.get(status) if isinstance(status, str) else None
        if kind is None or not uuid:
            return ()
        error = said.get("error")
        report = Report(
            provider_ref=self.provider_ref,
            event_id=statement_id(uuid, str(status), str(said.get("timestamp", ""))),
            kind=kind,
            at=_at(said.get("timestamp"), now),
            provider_message_id=uuid,
            idempotency_key=intent_key(said.get("client_ref")),
            reason_code=str(_REFUSALS.get(_code(error), "")) if kind is ReportKind.FAILED else "",
        )
        return (report,)


def _claims(token: str, secret: bytes) -> dict[str, Any]:
    """The claims of a token whose signature holds; its time is judged by the caller's clock."""
    if not secret:
        raise WebhookRefused("SIGNATURE_INVALID")  # anybody could have made it
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            options={
                "require": ["iat", "payload_hash"],
                "verify_iat": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_aud": False,
            },
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise WebhookRefused("SIGNATURE_INVALID") from None
    issued = claims["iat"]
    timely = isinstance(issued, int | float) and 0 <= issued < MAX_TIME_S
    if not timely or not isinstance(claims["payload_hash"], str):
        raise WebhookRefused("MALFORMED")
    return claims


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise WebhookRefused("MALFORMED") from None
    if not isinstance(said, dict):
        raise WebhookRefused("MALFORMED")
    return said


def _at(said: object, now: datetime) -> datetime:
    """When it happened by Vonage's clock, ``now`` where it does not say."""
    try:
        at = datetime.fromisoformat(said) if isinstance(said, str) else now
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return now


def _uuid(said: object) -> str:
    """The id of a message, empty where it is none."""
    text = identifier(said)
    try:
        return text if text and str(UUID(text)) == text.lower() else ""
    except ValueError:
        return ""


def _code(problem: object) -> str:
    """What a problem's ``type`` ends in, or in webhooks its ``title``; empty where it names none."""
    if not isinstance(problem, dict):
        return ""
    kind, title = problem.get("type"), problem.get("title")
    ending = kind.rpartition("#")[2] if isinstance(kind, str) and "#" in kind else title
    return ending if isinstance(ending, str) else ""


def _refused(answer: Answer) -> Ended:
    """By Vonage's own code where it documents a refusal, else by the status: no 5xx says that nothing was taken."""
    status, reason = answer.status, _REFUSALS.get(_code(answer.json()))
    if status == 402:
        return Ended(Certainty.REFUSED, DeliveryReason.SENDER_REFUSED)
    if reason is not None and status in (400, 403, 422):
        return Ended(Certainty.REFUSED, reason, retry_after_s=retry_after_s(answer))
    return refusal(answer, not_processed=())
