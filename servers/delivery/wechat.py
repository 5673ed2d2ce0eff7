"""WeChat official accounts (§25, DLV-3): template messages, and the events that say whether they arrived.

Of one OpenID and one ``client_msg_id`` WeChat sends one message within ten minutes; later nothing is promised. Nobody
can be asked about a message. The secret is the account's AppSecret.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pydantic import BaseModel, ConfigDict, Field, field_validator
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
from servers.delivery.http import Answer, HttpVendor, refusal
from servers.delivery.outcome import Ended
from servers.delivery.phone import Taken, concluded, expect_signature, secret_by, statement_id, untold
from servers.delivery.tokens import Token, Tokens, not_taken
from servers.routing.credentials import Credential
from servers.routing.endpoints import check_base_url
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import Clock, SystemClock

OFFICIAL: Final = "wechat/official"
BASE_URL: Final = "https://api.weixin.qq.com"
STANDBY_URL: Final = "https://api2.weixin.qq.com"
"""WeChat's own, for when the first cannot be reached."""
KEY_WINDOW_S: Final = 600.0
MARGIN_S: Final = 300.0
"""How long before its end a token is no longer used."""
RETRY_TOO_FAST: Final = 45066
ALREADY_SENT: Final = 45065
LEAST_ERROR: Final = 40_000
"""Codes below are of WeChat's own state, and say nothing for certain."""

_OF_TOKEN: Final = frozenset({40001, 40014, 41001, 42001})
_REASONS: Final[Mapping[int, StrEnum]] = {
    40003: DeliveryReason.RECIPIENT_INVALID,
    40013: ProviderReason.CREDENTIAL_REFUSED,
    40037: DeliveryReason.TEMPLATE_UNKNOWN,
    40125: ProviderReason.CREDENTIAL_REFUSED,
    40164: ProviderReason.CREDENTIAL_REFUSED,
    43004: DeliveryReason.RECIPIENT_UNREACHABLE,
    43019: DeliveryReason.RECIPIENT_OPTED_OUT,
    43101: DeliveryReason.RECIPIENT_OPTED_OUT,
    45002: DeliveryReason.CONTENT_TOO_LONG,
    45009: ProviderReason.PROVIDER_BUSY,
    45011: ProviderReason.PROVIDER_BUSY,
    45015: DeliveryReason.WINDOW_CLOSED,
    47003: DeliveryReason.CONTENT_REFUSED,
    48001: DeliveryReason.SENDER_REFUSED,
    48002: DeliveryReason.RECIPIENT_OPTED_OUT,
    48004: DeliveryReason.SENDER_REFUSED,
    50001: DeliveryReason.SENDER_REFUSED,
    50002: DeliveryReason.SENDER_REFUSED,
    61024: ProviderReason.CREDENTIAL_REFUSED,
    87014: DeliveryReason.CONTENT_REFUSED,
}
_ELEMENT: Final = re.compile(r"<(\w{1,32})>(?:<!\[CDATA\[([^\]<>]{0,65536})\]\]>|([^<>]{0,256}))</\1>")
_MESSAGE_ID: Final = re.compile(r"[0-9]{1,20}")
_EPOCH: Final = re.compile(r"[0-9]{1,11}")
_ECHO: Final = re.compile(r"[\x21-\x7e]{1,256}")


class WeChatSettings(BaseModel):
    """An official account. ``reports``: its events lead here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    app_id: str = Field(pattern=r"^wx[0-9a-z]{8,32}$")
    base_url: str = BASE_URL
    reports: bool = False
    max_connections: int = Field(default=100, ge=1, le=1000)

    @field_validator("base_url")
    @classmethod
    def _sound(cls, url: str) -> str:
        check_base_url(url, keyed=True)
        return url


class StandbySettings(WeChatSettings):
    """The account again, asked at WeChat's second site."""

    base_url: str = STANDBY_URL

    @field_validator("reports")
    @classmethod
    def _elsewhere(cls, reports: bool) -> bool:
        if reports:
            raise ValueError("an account's events lead to one place, which is wechat/official's")
        return reports


def make(provider_ref: str, settings: Mapping[str, Any], credential: Credential, clock: Clock) -> WeChat:
    """The adapter of an account. ValidationError."""
    return WeChat(WeChatSettings.model_validate(settings), credential, provider_ref=provider_ref, clock=clock)


def make_standby(provider_ref: str, settings: Mapping[str, Any], credential: Credential, clock: Clock) -> WeChat:
    """The same account over WeChat's second site: an OpenID is of one account, so no other could stand in for it.
    ValidationError.
    """
    return WeChat(StandbySettings.model_validate(settings), credential, provider_ref=provider_ref, clock=clock)


class WeChat:
    """Sends templates to followers. Close it when done."""

    def __init__(
        self,
        settings: WeChatSettings,
        credential: Credential,
        *,
        provider_ref: str = OFFICIAL,
        clock: Clock | None = None,
    ) -> None:
        self.provider_ref = provider_ref
        self.declares = Declares(key_window_s=KEY_WINDOW_S, webhooks=settings.reports)
        self._settings = settings
        self._credential = credential
        self._clock = clock or SystemClock()
        self._tokens = Tokens(self._clock.monotonic)
        self._vendor = HttpVendor(
            settings.base_url, max_connections=settings.max_connections, monotonic=self._clock.monotonic
        )

    def token(self, idempotency_key: str) -> str:
        """``client_msg_id``: the key itself."""
        return idempotency_key

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
        """See `DeliveryAdapter`: UNKNOWN without a call; WeChat takes no template back."""
        return untold(message, provider_ref=self.provider_ref, capability=CAPABILITY_DELIVERY_CANCEL)

    async def close(self) -> None:
        """See `DeliveryAdapter`."""
        await self._vendor.close()

    async def _posted(self, message: Message, deadline: float) -> Taken:
        body = self._body(message)
        secret = await secret_by(self._credential, deadline, self._clock.monotonic)
        token = await self._tokens.of(secret, lambda: self._minted(secret, deadline), deadline=deadline)
        answer = await self._asked("/cgi-bin/message/template/send", body, deadline, {"access_token": token.value})
        said = answer.json()
        code, message_id = _code(said), said.get("msgid")
        taken = isinstance(message_id, int) and not isinstance(message_id, bool) and 0 < message_id < 1 << 64
        if code not in (0, ALREADY_SENT):
            raise self._refused(code, token)
        if not taken:
            raise Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
        return Taken(str(message_id))

    async def _asked(self, path: str, body: Mapping[str, Any], deadline: float, query: Mapping[str, str]) -> Answer:
        answer = await self._vendor.ask(
            "POST",
            path,
            headers={"content-type": "application/json"},
            deadline=deadline,
            query=query,
            content=json.dumps(body).encode(),
        )
        if not answer.done:
            raise refusal(answer)
        return answer

    def _body(self, message: Message) -> dict[str, Any]:
        content = message.content
        if not content.template:
            raise Ended(Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)  # an account may write templates only
        return {
            "touser": message.recipient.address,
            "template_id": content.template,
            "client_msg_id": self.token(message.idempotency_key),
            "data": {name: {"value": value} for name, value in content.parameters.items()},
        }

    async def _minted(self, secret: str, deadline: float) -> tuple[str, float]:
        """By the interface under which a second process that asks does not end the first one's token."""
        body = {"grant_type": "client_credential", "appid": self._settings.app_id, "secret": secret}
        said = (await self._asked("/cgi-bin/stable_token", body, deadline, {})).json()
        token, lives_s = said.get("access_token"), said.get("expires_in")
        if "errcode" in said and _code(said) != 0:
            reason = _REASONS.get(_code(said) or 0, ProviderReason.PROVIDER_UNAVAILABLE)
            refused = _code(said) in _OF_TOKEN
            raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED if refused else reason)
        if not isinstance(token, str) or not token or isinstance(lives_s, bool) or not isinstance(lives_s, int):
            raise Ended(Certainty.REFUSED, ProviderReason.RESPONSE_MALFORMED)
        return token, lives_s - MARGIN_S

    def _refused(self, code: int | None, token: Token) -> Ended:
        if code is None:
            return Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)
        if code in _OF_TOKEN:
            self._tokens.drop(token)
            return not_taken(token)
        if code == RETRY_TOO_FAST:
            return Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN, retry_after_s=60.0)
        if code < LEAST_ERROR:
            return Ended(Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE)
        return Ended(Certainty.REFUSED, _REASONS.get(code, ProviderReason.REQUEST_REFUSED))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeChatWebhook:
    """The events of an account. The secret is the token of its server configuration, and after a space its
    EncodingAESKey where the account encrypts (安全模式).

    Without encryption WeChat signs only the time and a nonce, never the body: who has read one request could then write
    another within ``max_age``. With an EncodingAESKey whatever is not encrypted is refused.
    """

    app_id: str
    provider_ref: str = OFFICIAL
    max_age: timedelta = timedelta(minutes=5)

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """See `Webhook`."""
        query = _query(url)
        token, key = _secrets(secret)
        said = _elements(body)
        if key:
            encrypted = said.get("Encrypt", "")
            self._check(query, "msg_signature", token, now, encrypted)
            said = _elements(_decrypted(encrypted, key, self.app_id))
        else:
            self._check(query, "signature", token, now)
        return self._reports(said)

    def challenge(self, *, url: str, secret: bytes, now: datetime) -> str:
        """What a GET with which WeChat verifies the address is answered with, as plain text. WebhookRefused."""
        query = _query(url)
        self._check(query, "signature", _secrets(secret)[0], now)
        if not _ECHO.fullmatch(query.get("echostr", "")):
            raise WebhookRefused("MALFORMED")
        return query["echostr"]

    def _check(self, query: Mapping[str, str], name: str, token: str, now: datetime, *signed: str) -> None:
        at, nonce = query.get("timestamp", ""), query.get("nonce", "")
        expect_signature(query.get(name, ""), signature(token, at, nonce, *signed), token.encode())
        if not _EPOCH.fullmatch(at):
            raise WebhookRefused("MALFORMED")
        if abs(now.timestamp() - int(at)) > self.max_age.total_seconds():
            raise WebhookRefused("TOO_OLD")

    def _reports(self, said: Mapping[str, str]) -> tuple[Report, ...]:
        if said.get("Event") != "TEMPLATESENDJOBFINISH":
            return ()
        message_id, status, at = (said.get(name, "") for name in ("MsgID", "Status", "CreateTime"))
        if not _MESSAGE_ID.fullmatch(message_id) or not _EPOCH.fullmatch(at):
            raise WebhookRefused("MALFORMED")
        blocked = "block" in status
        return (
            Report(
                provider_ref=self.provider_ref,
                event_id=statement_id(message_id, status),
                kind=ReportKind.DELIVERED if status == "success" else ReportKind.FAILED,
                at=datetime.fromtimestamp(int(at), UTC),
                provider_message_id=message_id,
                reason_code=DeliveryReason.RECIPIENT_OPTED_OUT if blocked else "",
            ),
        )


def signature(*signed: str) -> str:
    """SHA-1 over the sorted texts: WeChat's own, and nothing that is kept."""
    text = "".join(sorted(signed)).encode(errors="surrogatepass")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _code(said: Mapping[str, Any]) -> int | None:
    code = said.get("errcode")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _query(url: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=16))
    except ValueError:
        raise WebhookRefused("MALFORMED") from None


def _secrets(secret: bytes) -> tuple[str, str]:
    """The token and the EncodingAESKey, empty where there is none."""
    token, _, key = secret.decode(errors="replace").strip().partition(" ")
    return token, key.strip()


def _elements(body: bytes) -> Mapping[str, str]:
    """The elements of WeChat's flat XML. What else XML can do is not read."""
    text = body.decode(errors="replace")
    return {name: written or plain for name, written, plain in _ELEMENT.findall(text)}


def _decrypted(encrypted: str, key: str, app_id: str) -> bytes:
    """AES-256-CBC, of 16 random bytes, the length, the message and the account. WebhookRefused."""
    try:
        aes = base64.b64decode(key + "=", validate=True)
        decryptor = Cipher(algorithms.AES(aes), modes.CBC(aes[:16])).decryptor()
        padded = decryptor.update(base64.b64decode(encrypted, validate=True)) + decryptor.finalize()
    except ValueError:
        raise WebhookRefused("MALFORMED") from None
    plain = padded[: -padded[-1]] if padded else b""
    ends = 20 + int.from_bytes(plain[16:20])
    if plain[ends:] != app_id.encode():
        raise WebhookRefused("MALFORMED")
    return plain[20:ends]
