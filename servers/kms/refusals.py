"""Refusals that only this owner gives, with the gRPC codes that `error_reason.proto` names for them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import grpc
from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.errors import Refusal

CODES: Final = MappingProxyType(
    {
        reasons.ERROR_REASON_SECRET_NOT_SEALED_HERE: grpc.StatusCode.INVALID_ARGUMENT,
        reasons.ERROR_REASON_SECRET_BACKEND_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        reasons.ERROR_REASON_SECRET_ACCESS_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    }
)


class SecretRefusal(Refusal):
    """A refusal for one of the reasons in `CODES`."""

    @property
    def code(self) -> grpc.StatusCode:
        return CODES[self.reason]


def not_sealed_here(sealing_key_id: str) -> SecretRefusal:
    """SECRET_NOT_SEALED_HERE; the id is that of the key to seal to."""
    return SecretRefusal(
        reasons.ERROR_REASON_SECRET_NOT_SEALED_HERE,
        "the secret was sealed to another key, or for another handle; ask for the sealing key again",
        sealing_key_id=sealing_key_id,
    )


def backend_unavailable(backend: str) -> SecretRefusal:
    """SECRET_BACKEND_UNAVAILABLE."""
    return SecretRefusal(
        reasons.ERROR_REASON_SECRET_BACKEND_UNAVAILABLE,
        "the backend that holds the secrets does not answer; nothing was changed",
        backend=backend,
    )


def access_denied(handle: str, owner: str, cause: str) -> SecretRefusal:
    """SECRET_ACCESS_DENIED; `cause` names an AccessReason."""
    return SecretRefusal(
        reasons.ERROR_REASON_SECRET_ACCESS_DENIED,
        "no lease for this owner and this handle",
        handle=handle,
        owner=owner,
        cause=cause,
    )
