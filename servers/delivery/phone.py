"""What the vendors of SMS and WhatsApp have in common: how a call is concluded, how a webhook is known for theirs."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from selene.provider.v1.provider_pb2 import CAPABILITY_DELIVERY_SEND, Capability

from servers.delivery.adapter import Certainty, DeliveryReason, Message, Sent, WebhookRefused
from servers.delivery.outcome import Ended, accepted, ended, revealed
from servers.framing import framed_digest
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason

_KEY: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Taken:
    """The provider has it: its id of the message, and of the request where it gives one."""

    message_id: str
    request_id: str = ""


async def concluded(
    message: Message,
    call: Callable[[], Awaitable[Taken]],
    *,
    provider_ref: str,
    monotonic: Callable[[], float],
    capability: Capability = CAPABILITY_DELIVERY_SEND,
    token_sent: str = "",
) -> Sent:
    """What came of a call that returns what was taken, or raises Ended."""
    started = monotonic()
    try:
        taken = await call()
    except Ended as end:
        return ended(
            message,
            end,
            provider_ref=provider_ref,
            latency_s=monotonic() - started,
            capability=capability,
            token_sent=token_sent,
        )
    return accepted(
        message,
        provider_ref=provider_ref,
        ack_ref=taken.message_id,
        latency_s=monotonic() - started,
        capability=capability,
        token_sent=token_sent,
        provider_request_id=taken.request_id,
        provider_message_id=taken.message_id,
    )


def untold(message: Message, *, provider_ref: str, capability: Capability) -> Sent:
    """Nobody was asked, because this provider cannot tell."""
    end = Ended(Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
    return ended(message, end, provider_ref=provider_ref, latency_s=0.0, capability=capability)


async def secret_by(credential: Credential, deadline: float, monotonic: Callable[[], float]) -> str:
    """The secret for this one call, in time. Ended, and nothing left."""
    left = deadline - monotonic()
    if left <= 0:
        raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    try:
        async with asyncio.timeout(None if left == float("inf") else left):
            return await revealed(credential)
    except TimeoutError:
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None


def seconds_left(expires_at: datetime, now: datetime, *, least: int, most: int) -> int:
    """For how long a vendor may try, in whole seconds within what it allows."""
    return min(max(int((expires_at - now).total_seconds()), least), most)


def intent_key(said: object) -> str:
    """The ``delivery_idem`` that a vendor hands back, empty where it is none of ours."""
    return said if isinstance(said, str) and _KEY.fullmatch(said) else ""


def same(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that does not tell where they differ."""
    return hmac.compare_digest(utf8(one), utf8(other))


def expect_signature(said: str, expected: str, secret: bytes) -> None:
    """WebhookRefused unless they are the same. Without a secret no signature holds: anybody could have made it."""
    if not said:
        raise WebhookRefused("SIGNATURE_MISSING")
    if not secret or not same(said, expected):
        raise WebhookRefused("SIGNATURE_INVALID")


def utf8(text: str) -> bytes:
    """In UTF-8, also where it was made from bytes or escapes that are none."""
    return text.encode(errors="surrogatepass")


def statement_id(*statement: str) -> str:
    """The id of what a webhook says, 64 hexadecimal digits: the same for the same statement, however often it comes."""
    return framed_digest(*map(utf8, statement)).hex()
