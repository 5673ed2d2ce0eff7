"""Firebase Cloud Messaging, HTTP v1 (§25, DLV-3): push to apps.

FCM knows no idempotency keys, cannot be asked about a message, and reports nothing: where the answer to a request was
lost, only a person can tell. The secret is the JSON key of a service account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import jwt
from pydantic import BaseModel, ConfigDict, Field, field_validator
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Message, Sent, Trace
from servers.delivery.http import Answer, HttpVendor, refusal, retry_after_s
from servers.delivery.outcome import Ended, identifier
from servers.delivery.phone import Taken, concluded, seconds_left, untold
from servers.delivery.tokens import Token, Tokens, key_by, not_taken
from servers.routing.credentials import Credential
from servers.routing.endpoints import check_base_url
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

PUSH: Final = "fcm/push"
BASE_URL: Final = "https://fcm.googleapis.com"
TOKEN_URL: Final = "https://oauth2.googleapis.com/token"
SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_PAYLOAD_BYTES: Final = 4096
MAX_TTL_S: Final = 2_419_200
ASSERTION_S: Final = 3600
MARGIN_S: Final = 300.0
"""How long before its end a token is no longer used."""

_REASONS: Final[Mapping[str, StrEnum]] = {
    "UNREGISTERED": DeliveryReason.RECIPIENT_UNREACHABLE,
    "SENDER_ID_MISMATCH": DeliveryReason.RECIPIENT_INVALID,
    "THIRD_PARTY_AUTH_ERROR": DeliveryReason.SENDER_REFUSED,
}
_FIELDS: Final[Mapping[str, StrEnum]] = {
    "message.token": DeliveryReason.RECIPIENT_INVALID,
    "message.data": DeliveryReason.CONTENT_REFUSED,
    "message.notification": DeliveryReason.CONTENT_REFUSED,
}


class FcmSettings(BaseModel):
    """A project. Access tokens are had from ``token_url``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project_id: str = Field(pattern=r"^[a-z0-9-]{4,64}$")
    base_url: str = BASE_URL
    token_url: str = TOKEN_URL
    max_connections: int = Field(default=100, ge=1, le=1000)

    @field_validator("base_url", "token_url")
    @classmethod
    def _sound(cls, url: str) -> str:
        check_base_url(url, keyed=True)
        return url


def make(provider_ref: str, settings: Mapping[str, Any], credential: Credential, clock: Clock) -> Fcm:
    """The adapter of an account. ValidationError."""
    return Fcm(FcmSettings.model_validate(settings), credential, provider_ref=provider_ref, clock=clock)


class Fcm:
    """Sends to one device. What has not been delivered when a message expires is given up by FCM. Close it when
    done.
    """

    declares = Declares()

    def __init__(
        self,
        settings: FcmSettings,
        credential: Credential,
        *,
        provider_ref: str = PUSH,
        clock: Clock | None = None,
    ) -> None:
        self.provider_ref = provider_ref
        self._settings = settings
        self._credential = credential
        self._clock = clock or SystemClock()
        self._tokens = Tokens(self._clock.monotonic)
        self._vendor = HttpVendor(
            settings.base_url, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )
        url = urlsplit(settings.token_url)
        self._token_path = url.path or "/"
        self._token_vendor = HttpVendor(f"{url.scheme}://{url.netloc}", monotonic=self._clock.monotonic)

    def token(self, idempotency_key: str) -> str:
        """None: FCM knows no keys."""
        return ""

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call; whether anything answered in that time."""
        return await self._vendor.prewarm(within_s)

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`."""
        return await concluded(
            message,
            lambda: self._posted(message, deadline),
            provider_ref=self.provider_ref,
            monotonic=self._clock.monotonic,
        )

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call."""
        return untold(message, provider_ref=self.provider_ref, capability=CAPABILITY_DELIVERY_STATUS)

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """See `DeliveryAdapter`: UNKNOWN without a call."""
        return untold(message, provider_ref=self.provider_ref, capability=CAPABILITY_DELIVERY_CANCEL)

    async def close(self) -> None:
        """See `DeliveryAdapter`."""
        await self._vendor.close()
        await self._token_vendor.close()

    async def _posted(self, message: Message, deadline: float) -> Taken:
        content = self._content(message)
        secret = await key_by(self._credential, deadline, self._clock.monotonic)
        token = await self._tokens.of(secret, lambda: self._minted(secret, deadline), deadline=deadline)
        answer = await self._vendor.ask(
            "POST",
            f"/v1/projects/{self._settings.project_id}/messages:send",
            headers={"authorization": f"Bearer {token.value}", "content-type": "application/json"},
            deadline=deadline,
            content=content,
        )
        name = identifier(answer.json().get("name"))
        if not answer.done or not name:
            raise self._refused(answer, token)
        return Taken(name)

    def _content(self, message: Message) -> bytes:
        content = message.content
        if content.template or not (content.text or content.title or content.data):
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
        notification = {"title": content.title, "body": content.text}
        said: dict[str, Any] = {"data": dict(content.data)}
        if content.text or content.title:
            said["notification"] = {name: value for name, value in notification.items() if value}
        if len(json.dumps(said, ensure_ascii=False).encode(errors="replace")) > MAX_PAYLOAD_BYTES:
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
        said["token"] = message.recipient.address
        if message.expires_at is not None:
            ttl_s = seconds_left(message.expires_at, self._clock.now(), least=0, most=MAX_TTL_S)
            ends_at = int(self._clock.now().timestamp()) + ttl_s
            said["android"] = {"ttl": f"{ttl_s}s"}
            said["apns"] = {"headers": {"apns-expiration": str(ends_at)}}
            said["webpush"] = {"headers": {"TTL": str(ttl_s)}}
        return json.dumps({"message": said}).encode()

    async def _minted(self, secret: str, deadline: float) -> tuple[str, float]:
        form = urlencode({"grant_type": GRANT, "assertion": self._assertion(secret)}).encode()
        answer = await self._token_vendor.ask(
            "POST",
            self._token_path,
            headers={"content-type": "application/x-www-form-urlencoded"},
            deadline=deadline,
            content=form,
        )
        if answer.status in (400, 401, 403):
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
        if not answer.done:
            raise refusal(answer)
        said = answer.json()
        token, lives_s = said.get("access_token"), said.get("expires_in")
        sound = isinstance(token, str) and token.isascii() and token.isprintable() and token
        if not sound or isinstance(lives_s, bool) or not isinstance(lives_s, int | float):
            raise Ended(Certainty.REFUSED, ProviderReason.RESPONSE_MALFORMED)
        return str(token), float(lives_s) - MARGIN_S

    def _assertion(self, secret: str) -> str:
        """Ended where the secret is no key of a service account."""
        now = int(self._clock.now().timestamp())
        try:
            account = json.loads(secret)
            claims = {
                "iss": account["client_email"],
                "scope": SCOPE,
                "aud": self._settings.token_url,
                "iat": now,
                "exp": now + ASSERTION_S,
            }
            headers = {"kid": account["private_key_id"]}
            return jwt.encode(claims, account["private_key"], algorithm="RS256", headers=headers)
        except (ValueError, KeyError, TypeError, RecursionError, jwt.PyJWTError):
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None

    def _refused(self, answer: Answer, token: Token) -> Ended:
        """By FCM's own code where it documents a refusal, else by the status: no 5xx says that nothing was taken."""
        code, fields = _error(answer)
        if answer.status < 400 or answer.status >= 500:
            return refusal(answer)
        if code in _REASONS:
            return Ended(Certainty.REFUSED, _REASONS[code])
        if answer.status == 401:
            self._tokens.drop(token)
            return not_taken(token)
        if answer.status == 400:
            named = (reason for name, reason in _FIELDS.items() for field in fields if field.startswith(name))
            return Ended(Certainty.REFUSED, next(named, _unnamed(code, fields)))
        return refusal(answer) if answer.status != 429 else _busy(answer)


def _unnamed(code: str, fields: list[str]) -> StrEnum:
    """FCM names no field where it is the device's token that it cannot read."""
    at_token = code == "INVALID_ARGUMENT" and not fields
    return DeliveryReason.RECIPIENT_INVALID if at_token else ProviderReason.REQUEST_REFUSED


def _busy(answer: Answer) -> Ended:
    wait_s = retry_after_s(answer)
    return Ended(Certainty.REFUSED, ProviderReason.PROVIDER_BUSY, retry_after_s=60.0 if wait_s is None else wait_s)


def _error(answer: Answer) -> tuple[str, list[str]]:
    """FCM's own code and the fields that it names, empty where there are none."""
    error = answer.json().get("error")
    details = error.get("details") if isinstance(error, dict) else None
    code, fields = "", []
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict):
            continue
        if str(detail.get("@type", "")).endswith("/google.firebase.fcm.v1.FcmError"):
            code = str(detail.get("errorCode", ""))
        violations = detail.get("fieldViolations")
        for each in violations if isinstance(violations, list) else []:
            if isinstance(each, dict) and isinstance(each.get("field"), str):
                fields.append(each["field"])
    return code, fields
