"""How a call of a delivery provider ended, and the `Sent` that says so (§23, §25)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from selene.provider.v1.provider_pb2 import (
    CAPABILITY_DELIVERY_SEND,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
    Capability,
    ProviderStatus,
)

from servers.delivery.adapter import CALLER_FAULTS, Certainty, DeliveryReason, Message, Sent
from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.envelope import answered
from servers.routing.reasons import TERMINAL, ProviderReason
from servers.routing.secrets import has_secret_shape

MAX_ID_CHARS: Final = 256

_TERMINAL: Final = frozenset({*CALLER_FAULTS, *TERMINAL, DeliveryReason.SENDER_REFUSED, DeliveryReason.REGION_BLOCKED})


class Ended(Exception):
    """A call is over without an acceptance. ``certainty`` is REFUSED or UNKNOWN, ``reason`` a `DeliveryReason` or a
    `ProviderReason`, ``retry_after_s`` the provider's own word. The ids are what it told all the same.
    """

    def __init__(
        self,
        certainty: Certainty,
        reason: StrEnum,
        *,
        retry_after_s: float | None = None,
        provider_request_id: str = "",
        provider_message_id: str = "",
    ) -> None:
        super().__init__(certainty.name, str(reason))
        self.certainty = certainty
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.provider_request_id = provider_request_id
        self.provider_message_id = provider_message_id


def accepted(
    message: Message,
    *,
    provider_ref: str,
    ack_ref: str,
    latency_s: float,
    capability: Capability = CAPABILITY_DELIVERY_SEND,
    token_sent: str = "",
    provider_request_id: str = "",
    provider_message_id: str = "",
) -> Sent:
    """The provider has it, by its own word ``ack_ref``."""
    return Sent(
        certainty=Certainty.ACCEPTED,
        result=answered(
            message,
            provider_ref=provider_ref,
            capability=capability,
            status=PROVIDER_STATUS_OK,
            reason_code=DeliveryReason.ACCEPTED,
            latency_s=latency_s,
        ),
        token_sent=token_sent,
        provider_request_id=provider_request_id,
        provider_message_id=provider_message_id,
        provider_ack_ref=ack_ref,
    )


def ended(
    message: Message,
    end: Ended,
    *,
    provider_ref: str,
    latency_s: float,
    capability: Capability = CAPABILITY_DELIVERY_SEND,
    token_sent: str = "",
) -> Sent:
    """What `end` says. Terminal where asking the same provider again cannot help, which no uncertainty is."""
    return Sent(
        certainty=end.certainty,
        result=answered(
            message,
            provider_ref=provider_ref,
            capability=capability,
            status=_status_of(end),
            reason_code=end.reason,
            latency_s=latency_s,
        ),
        token_sent=token_sent,
        provider_request_id=end.provider_request_id,
        provider_message_id=end.provider_message_id,
        retry_after_s=end.retry_after_s,
    )


def identifier(said: object) -> str:
    """An id that a provider gave, empty where it is none: text of 1 to `MAX_ID_CHARS` printable ASCII characters that
    looks like no secret.
    """
    if not isinstance(said, str) or not said or len(said) > MAX_ID_CHARS:
        return ""
    return said if said.isascii() and said.isprintable() and not has_secret_shape(said) else ""


async def revealed(credential: Credential) -> str:
    """The secret for this one call: printable ASCII without spaces at its ends. Ended."""
    try:
        secret = await credential.reveal()
    except CredentialUnavailable:
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE) from None
    if not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
        raise Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)  # no header can carry it
    return secret


def _status_of(end: Ended) -> ProviderStatus:
    terminal = end.certainty is Certainty.REFUSED and end.reason in _TERMINAL
    return PROVIDER_STATUS_TERMINAL_FAIL if terminal else PROVIDER_STATUS_RETRYABLE_FAIL
