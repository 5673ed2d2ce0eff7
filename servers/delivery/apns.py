"""Apple Push Notification service over HTTP/2 (§25, DLV-3): push to apps.

``apns-id`` names a notification by our key, and Apple hands it back: a name, under which a second request is not taken
for the first. APNs cannot be asked about a notification and reports nothing: where the answer to a request was lost,
only a person can tell. The secret is the signing key of the team, a PKCS #8 file (``.p8``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid5

import jwt
from pydantic import BaseModel, ConfigDict, Field, field_validator
from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_CANCEL, CAPABILITY_DELIVERY_STATUS

from servers.delivery.adapter import Certainty, Declares, DeliveryReason, Message, Sent, Trace
from servers.delivery.http import Answer, HttpVendor, refusal, retry_after_s
from servers.delivery.outcome import Ended
from servers.delivery.phone import Taken, concluded, untold
from servers.delivery.tokens import Token, Tokens, key_by, not_taken
from servers.routing.credentials import Credential
from servers.routing.endpoints import check_base_url
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

PUSH: Final = "apns/push"
BASE_URL: Final = "https://api.push.apple.com"
NAMESPACE: Final = UUID("3c1f5d0e-3a64-5b0c-9d0e-6f7f3f0f4c11")
MAX_PAYLOAD_BYTES: Final = 4096
TOKEN_LIVES_S: Final = 2400.0
"""Apple takes a token for an hour, and not more than one new one in twenty minutes."""

_REASONS: Final[Mapping[str, StrEnum]] = {
    "BadDeviceToken": DeliveryReason.RECIPIENT_INVALID,
    "DeviceTokenNotForTopic": DeliveryReason.RECIPIENT_INVALID,
    "MissingDeviceToken": DeliveryReason.RECIPIENT_INVALID,
    "Unregistered": DeliveryReason.RECIPIENT_UNREACHABLE,
    "ExpiredToken": DeliveryReason.RECIPIENT_UNREACHABLE,
    "PayloadTooLarge": DeliveryReason.CONTENT_TOO_LONG,
    "PayloadEmpty": DeliveryReason.CONTENT_REFUSED,
    "BadTopic": DeliveryReason.SENDER_REFUSED,
    "MissingTopic": DeliveryReason.SENDER_REFUSED,
    "TopicDisallowed": DeliveryReason.SENDER_REFUSED,
    "BadEnvironmentKeyInToken": ProviderReason.CREDENTIAL_REFUSED,
    "InvalidProviderToken": ProviderReason.CREDENTIAL_REFUSED,
    "MissingProviderToken": ProviderReason.CREDENTIAL_REFUSED,
    "Forbidden": ProviderReason.CREDENTIAL_REFUSED,
    "TooManyProviderTokenUpdates": ProviderReason.PROVIDER_BUSY,
    "TooManyRequests": ProviderReason.PROVIDER_BUSY,
    "ServiceUnavailable": ProviderReason.PROVIDER_UNAVAILABLE,
    "Shutdown": ProviderReason.PROVIDER_UNAVAILABLE,
}


class ApnsSettings(BaseModel):
    """An app of a team. ``topic`` is the app's bundle id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    team_id: str = Field(pattern=r"^[0-9A-Z]{10}$")
    key_id: str = Field(pattern=r"^[0-9A-Z]{10}$")
    topic: str = Field(pattern=r"^[A-Za-z0-9.-]{1,155}$")
    base_url: str = BASE_URL
    max_connections: int = Field(default=10, ge=1, le=1000)

    @field_validator("base_url")
    @classmethod
    def _sound(cls, url: str) -> str:
        check_base_url(url, keyed=True)
        return url


def make(provider_ref: str, settings: Mapping[str, Any], credential: Credential, clock: Clock) -> Apns:
    """The adapter of an account. ValidationError."""
    return Apns(ApnsSettings.model_validate(settings), credential, provider_ref=provider_ref, clock=clock)


class Apns:
    """Sends to one device. What has not been delivered when a message expires is given up by Apple. Close it when
    done.
    """

    declares = Declares()

    def __init__(
        self,
        settings: ApnsSettings,
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
            settings.base_url, http2=True, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )

    def token(self, idempotency_key: str) -> str:
        """``apns-id``: the same for the same key."""
        return str(uuid5(NAMESPACE, idempotency_key))

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
            token_sent=self.token(message.idempotency_key),
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

    async def _posted(self, message: Message, deadline: float) -> Taken:
        device, payload = message.recipient.address, _payload(message)
        if not (device.isascii() and device.isalnum()):
            raise Ended(Certainty.REFUSED, DeliveryReason.RECIPIENT_INVALID)
        apns_id = self.token(message.idempotency_key)
        secret = await key_by(self._credential, deadline, self._clock.monotonic)

        async def made() -> tuple[str, float]:
            return self._provider_token(secret), TOKEN_LIVES_S

        token = await self._tokens.of(secret, made, deadline=deadline)
        headers = {
            "authorization": f"bearer {token.value}",
            "apns-id": apns_id,
            "apns-topic": self._settings.topic,
            "apns-push-type": "alert",
            "apns-priority": "10",
            "content-type": "application/json",
        }
        if message.expires_at is not None:
            headers["apns-expiration"] = str(int(message.expires_at.timestamp()))
        answer = await self._vendor.ask(
            "POST", f"/3/device/{device}", headers=headers, deadline=deadline, content=payload
        )
        if answer.status != 200:
            raise self._refused(answer, token)
        if answer.headers.get("apns-id", "").lower() != apns_id:
            raise Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
        return Taken(apns_id)

    def _provider_token(self, secret: str) -> str:
        """Ended where the secret is no key of a team."""
        claims = {"iss": self._settings.team_id, "iat": int(self._clock.now().timestamp())}
        try:
            return jwt.encode(claims, secret, algorithm="ES256", headers={"kid": self._settings.key_id})
        except (ValueError, TypeError, jwt.PyJWTError):
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None

    def _refused(self, answer: Answer, token: Token) -> Ended:
        """By Apple's own reason where it documents a refusal, else by the status."""
        said = answer.json().get("reason")
        if said == "ExpiredProviderToken":
            self._tokens.drop(token)
            return not_taken(token)
        reason = _REASONS.get(said) if isinstance(said, str) else None
        if reason is None or answer.status < 400:
            return refusal(answer)
        return Ended(Certainty.REFUSED, reason, retry_after_s=retry_after_s(answer))


def _payload(message: Message) -> bytes:
    content = message.content
    if content.template or not (content.text or content.title) or "aps" in content.data:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
    alert = {name: value for name, value in (("title", content.title), ("body", content.text)) if value}
    said = json.dumps({**content.data, "aps": {"alert": alert, "sound": "default"}}, ensure_ascii=False)
    payload = said.encode(errors="replace")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
    return payload
