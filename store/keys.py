"""The keys that a deployment brings: the Ed25519 key that signs, the AES-256 master keys that wrap. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from store.errors import WrongMasterKey

KEY_BYTES = 32


class SigningKey:
    """An Ed25519 key from its 32-byte seed. `key_id` is derived from the public half, so it cannot be mislabelled."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()
        self.key_id = signing_key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 over `message`."""
        return self._private.sign(message)


def signing_key_id(public: bytes) -> str:
    """First 16 hexadecimal digits of SHA-256 over the 32 public bytes."""
    return hashlib.sha256(b"selene.signing-key\x00" + public).hexdigest()[:16]


def signature_holds(trusted_keys: Mapping[str, bytes], key_id: str, message: bytes, signature: bytes) -> bool:
    """Whether a trusted key (id → 32 public bytes) of that id made `signature` over `message`."""
    public = trusted_keys.get(key_id)
    if public is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class MasterKeys:
    """The master key in use and those it replaced, each 32 bytes, found by an id derived from the key."""

    def __init__(self, active: bytes, retired: Sequence[bytes] = ()) -> None:
        for key in (active, *retired):
            if len(key) != KEY_BYTES:
                raise ValueError("a master key has 32 bytes")
        self._by_id = {master_key_id(key): key for key in (*retired, active)}
        self.active_id = master_key_id(active)

    def active(self) -> bytes:
        """The key that wraps from now on."""
        return self._by_id[self.active_id]

    def get(self, key_id: str) -> bytes:
        """The key of that id. WrongMasterKey."""
        if key_id not in self._by_id:
            raise WrongMasterKey(f"subject keys are wrapped by master key {key_id}, which was not given")
        return self._by_id[key_id]

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """32 bytes of HKDF-SHA256 for one purpose from every master key, the active one first."""
        newest_first = (
            self._by_id[self.active_id],
            *(key for name, key in self._by_id.items() if name != self.active_id),
        )
        return tuple(_hkdf(key, f"selene.{purpose}") for key in newest_first)


def _hkdf(key: bytes, info: str) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info.encode()).derive(key)


def master_key_id(key: bytes) -> str:
    """First 16 hexadecimal digits of SHA-256 over the key."""
    return hashlib.sha256(b"selene.master-key\x00" + key).hexdigest()[:16]
