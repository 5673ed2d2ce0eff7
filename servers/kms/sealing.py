"""Opening secrets that clients sealed to this deployment (`selene.kms.v1.SealedSecret`). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from selene.kms.v1 import kms_pb2 as kms

INFO: Final = b"selene.kms.v1.SealedSecret"
NONCE: Final = bytes(12)
"""Every message has a key of its own, from an ephemeral key: no nonce is ever used twice."""


class NotSealedHere(ValueError):
    """Sealed to another key or for another handle, or altered. Says no more."""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """A key to seal secrets to; its id is derived from its public half."""

    key_id: str
    public: bytes
    private: X25519PrivateKey = field(repr=False)


def sealing_key(seed: bytes) -> SealingKey:
    """The key of a 32-byte seed."""
    private = X25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    key_id = hashlib.sha256(b"selene.sealing-key\x00" + public).hexdigest()[:16]
    return SealingKey(key_id, public, private)


def unseal(keys: Sequence[SealingKey], handle: str, sealed: kms.SealedSecret) -> bytes:
    """The secret, 1 to 16,384 bytes. NotSealedHere."""
    for key in keys:
        if key.key_id == sealed.sealing_key_id:
            return _opened(key, handle, sealed)
    raise NotSealedHere("sealed to another key")


def _opened(key: SealingKey, handle: str, sealed: kms.SealedSecret) -> bytes:
    ephemeral = sealed.ephemeral_public_key
    try:
        shared = key.private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        derived = HKDF(hashes.SHA256(), length=32, salt=ephemeral + key.public, info=INFO).derive(shared)
        return AESGCM(derived).decrypt(NONCE, sealed.ciphertext, handle.encode())
    except (InvalidTag, ValueError):
        # ValueError: not 32 bytes, or a point of small order, which would make the shared secret known to anyone.
        raise NotSealedHere("sealed for another handle, or altered") from None
