"""The receipt of an erasure (§21), checked by whoever holds it: no server and no store is believed.

Pure. What is believed is one Ed25519 key.
"""

from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from selene.governance.v1 import consent_pb2 as wire
from selene_messages.selene.governance import v1

from clients.wire import to_message

PAYLOAD_TYPE: Final = "application/vnd.selene.governance.v1.ErasureReceipt+protobuf"


class Fault(StrEnum):
    """Why a receipt proves nothing."""

    NOT_SIGNED = "NOT_SIGNED"
    """There is none yet: it is signed once nothing serves any more what was revoked."""
    OTHER_STATEMENT = "OTHER_STATEMENT"
    """A statement of another kind."""
    SIGNATURE_BROKEN = "SIGNATURE_BROKEN"
    """The key that is believed did not sign it."""
    UNREADABLE = "UNREADABLE"
    """What was signed is no receipt."""


class ReceiptBroken(Exception):
    """A receipt that proves nothing, and the ``fault`` that says why."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.value)


def opened(statement: v1.SignedStatement | None, *, key: bytes) -> v1.ErasureReceipt:
    """What the holder of ``key`` (an Ed25519 public key, 32 bytes) signed to have erased. ReceiptBroken."""
    if statement is None or not statement.payload:
        raise ReceiptBroken(Fault.NOT_SIGNED)
    if statement.payload_type != PAYLOAD_TYPE:
        raise ReceiptBroken(Fault.OTHER_STATEMENT)
    name = PAYLOAD_TYPE.encode()
    # The pre-authentication encoding of DSSE: the kind of the payload is signed with it.
    signed = b"DSSEv1 %d %b %d %b" % (len(name), name, len(statement.payload), statement.payload)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(statement.signature, signed)
    except (InvalidSignature, ValueError):
        raise ReceiptBroken(Fault.SIGNATURE_BROKEN) from None
    try:
        return to_message(wire.ErasureReceipt.FromString(statement.payload), v1.ErasureReceipt)
    except DecodeError:
        raise ReceiptBroken(Fault.UNREADABLE) from None
