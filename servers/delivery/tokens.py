"""Access tokens that a vendor gives for a secret, kept for as long as they live and never longer than their secret."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from servers.delivery.adapter import Certainty, DeliveryReason
from servers.delivery.outcome import Ended
from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.reasons import ProviderReason

Mint = Callable[[], Awaitable[tuple[str, float]]]
"""A new token, and for how many seconds it holds. Ended."""


@dataclass(frozen=True, slots=True)
class Token:
    """`fresh`: it was made for this very call, so that its refusal is the secret's."""

    value: str = field(repr=False)
    fresh: bool


@dataclass(frozen=True, slots=True)
class _Held:
    value: str = field(repr=False)
    secret_hash: bytes = field(repr=False)
    until: float


class Tokens:
    """The token of one account. The secret itself is not kept: another one makes another token. Of several calls at
    once one asks, and the others wait for it.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._held: _Held | None = None
        self._asking = asyncio.Lock()

    async def of(self, secret: str, mint: Mint, *, deadline: float) -> Token:
        """The token. Ended, always REFUSED: nothing of the message has left."""
        secret_hash = hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
        try:
            async with asyncio.timeout(_left(deadline, self._monotonic)), self._asking:
                held = self._held
                if held is not None and held.secret_hash == secret_hash and self._monotonic() < held.until:
                    return Token(held.value, fresh=False)
                value, lives_s = await mint()
                self._held = _Held(value, secret_hash, self._monotonic() + lives_s)
                return Token(value, fresh=True)
        except TimeoutError:
            raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED) from None
        except Ended as end:
            lost = end.reason == DeliveryReason.ANSWER_LOST
            reason = ProviderReason.PROVIDER_UNAVAILABLE if lost else end.reason
            raise Ended(Certainty.REFUSED, reason, retry_after_s=end.retry_after_s) from None

    def drop(self, token: Token) -> None:
        """The vendor no longer takes it."""
        if self._held is not None and self._held.value == token.value:
            self._held = None


def not_taken(token: Token) -> Ended:
    """What it means that the vendor refused a token: of one from before, that a new one is needed."""
    if token.fresh:
        return Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    return Ended(Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE, retry_after_s=0.0)


async def key_by(credential: Credential, deadline: float, monotonic: Callable[[], float]) -> str:
    """A secret that is no header's, such as a key over several lines, for this one call and in time. Ended."""
    try:
        async with asyncio.timeout(_left(deadline, monotonic)):
            secret = await credential.reveal()
    except (CredentialUnavailable, TimeoutError):
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None
    if not secret.strip():
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    return secret


def _left(deadline: float, monotonic: Callable[[], float]) -> float | None:
    left = deadline - monotonic()
    if left <= 0:
        raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    return None if left == float("inf") else left
