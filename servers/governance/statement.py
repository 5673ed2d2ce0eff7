"""Signed statements (§40.5): the bytes that are signed, and whether a signature holds.

The envelope is that of DSSE: what is signed names the kind of the payload, so that a signature of one kind of statement
never passes for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError, Message
from selene.governance.v1.decision_pb2 import SignedStatement

_TYPE: Final = "application/vnd.selene.governance.v1.{name}+protobuf"

Payload = TypeVar("Payload", bound=Message)


class StatementRefused(ValueError):
    """A statement that proves nothing. The text says why: PAYLOAD_TYPE, KEY_UNTRUSTED, SIGNATURE, PAYLOAD."""


def payload_type(kind: type[Message]) -> str:
    """What a payload of this message is called."""
    return _TYPE.format(name=kind.DESCRIPTOR.name)


def canonical(message: Message) -> bytes:
    """Deterministic protobuf: the same message gives the same bytes."""
    return message.SerializeToString(deterministic=True)


def digest(message: Message) -> bytes:
    """SHA-256 of the canonical bytes."""
    return hashlib.sha256(canonical(message)).digest()


def signed_bytes(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what the signature is over."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def opened(statement: SignedStatement, kind: type[Payload], trusted_keys: Mapping[str, bytes]) -> Payload:
    """The payload, where a trusted key (id → 32 public bytes) signed it as this kind. StatementRefused."""
    if statement.payload_type != payload_type(kind):
        raise StatementRefused("PAYLOAD_TYPE")
    public = trusted_keys.get(statement.signing_key_id)
    if public is None:
        raise StatementRefused("KEY_UNTRUSTED")
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(statement.signature, signed_bytes(statement.payload_type, statement.payload))
    except InvalidSignature:
        raise StatementRefused("SIGNATURE") from None
    try:
        return kind.FromString(statement.payload)
    except DecodeError:
        raise StatementRefused("PAYLOAD") from None
