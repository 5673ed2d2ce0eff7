"""Why a provider's call ended as it did, in codes that every domain shares (§23), and what that says of its health."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_OK, ProviderResultV1

from servers.routing.envelope import Refusal
from servers.routing.windows import Outcome


class ProviderReason(StrEnum):
    """``reason_code`` where a provider failed; a vendor's own codes are translated to these.

    What lies in the request is the domain's own to name: each has a CALLER_FAULTS of its own.
    """

    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """It did not answer in time."""
    PROVIDER_BUSY = "PROVIDER_BUSY"
    """It said that it has no room now, such as HTTP 429."""
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    """It could not be reached, or failed on its side, such as HTTP 5xx."""
    PROVIDER_CRASHED = "PROVIDER_CRASHED"
    """What runs beside the owner has died."""
    CREDENTIAL_UNAVAILABLE = "CREDENTIAL_UNAVAILABLE"
    """No lease of its secret could be had, so it was not called."""
    CREDENTIAL_REFUSED = "CREDENTIAL_REFUSED"
    """It did not accept the secret, such as HTTP 401 and 403."""
    REQUEST_REFUSED = "REQUEST_REFUSED"
    """It refused a request that the domain holds for sound, such as HTTP 400."""
    CONTENT_REFUSED = "CONTENT_REFUSED"
    """It refused what was asked by a policy of its own, which lies in the request; another may not refuse it."""
    RESPONSE_MALFORMED = "RESPONSE_MALFORMED"
    """What it answered is not what it documents."""
    RESPONSE_TRUNCATED = "RESPONSE_TRUNCATED"
    """Its answer broke off."""


TERMINAL: Final = frozenset(
    {
        ProviderReason.CREDENTIAL_UNAVAILABLE,
        ProviderReason.CREDENTIAL_REFUSED,
        ProviderReason.REQUEST_REFUSED,
        ProviderReason.CONTENT_REFUSED,
    }
)
"""Asking the same provider again does not help; another may."""

# What keeps the schema and tells a secret, or of another tenant's payload, is against policy; no caller can provoke it.
_OUTCOMES: Final[Mapping[str, Outcome]] = {
    ProviderReason.DEADLINE_EXCEEDED: Outcome.TIMEOUT,
    ProviderReason.CREDENTIAL_REFUSED: Outcome.AUTH_FAIL,
    ProviderReason.RESPONSE_MALFORMED: Outcome.SCHEMA_INVALID,
    **dict.fromkeys(Refusal, Outcome.SCHEMA_INVALID),
    Refusal.FOREIGN_PAYLOAD: Outcome.POLICY_CONFLICT,
    Refusal.SECRET_EXPOSED: Outcome.POLICY_CONFLICT,
}


def outcome_of(result: ProviderResultV1, caller_faults: Collection[str]) -> Outcome | None:
    """What a checked result says of the provider's health; None where it says nothing: the caller asked for what cannot
    be done, or the provider was never asked.
    """
    if result.status == PROVIDER_STATUS_OK:
        return Outcome.OK
    if result.reason_code in caller_faults or result.reason_code == ProviderReason.CREDENTIAL_UNAVAILABLE:
        return None
    return _OUTCOMES.get(result.reason_code, Outcome.ERROR)
