"""Refusals that only this owner gives."""

from __future__ import annotations

from selene.common.v1 import error_reason_pb2 as reasons

from servers.runtime.errors import Refusal


def not_sealed_here(sealing_key_id: str) -> Refusal:
    """SECRET_NOT_SEALED_HERE; the id is that of the key to seal to."""
    return Refusal(
        reasons.ERROR_REASON_SECRET_NOT_SEALED_HERE,
        "the secret was sealed to another key, or for another handle; ask for the sealing key again",
        sealing_key_id=sealing_key_id,
    )


def backend_unavailable(backend: str) -> Refusal:
    """SECRET_BACKEND_UNAVAILABLE."""
    return Refusal(
        reasons.ERROR_REASON_SECRET_BACKEND_UNAVAILABLE,
        "the backend that holds the secrets does not answer; nothing was changed",
        backend=backend,
    )


def access_denied(handle: str, owner: str, cause: str) -> Refusal:
    """SECRET_ACCESS_DENIED; `cause` names an AccessReason."""
    return Refusal(
        reasons.ERROR_REASON_SECRET_ACCESS_DENIED,
        "no lease for this owner and this handle",
        handle=handle,
        owner=owner,
        cause=cause,
    )
