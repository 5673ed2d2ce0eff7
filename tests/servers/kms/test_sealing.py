"""Secrets travel sealed: only this deployment opens them, only for their handle."""

from __future__ import annotations

import pytest
from selene.kms.v1 import kms_pb2 as kms

from clients.secrets import seal
from clients.wire import to_wire
from servers.kms.sealing import NotSealedHere, SealingKey, sealing_key, unseal

HANDLE = "kms://providers/openai/stt"
SECRET = b"canary-Zk9qT4"
KEY, RETIRED, FOREIGN = (sealing_key(bytes([number]) * 32) for number in (1, 2, 3))


def sealed(key: SealingKey = KEY, handle: str = HANDLE, secret: bytes = SECRET) -> kms.SealedSecret:
    message = seal(secret, handle, sealing_key_id=key.key_id, public_key=key.public)
    return to_wire(message, kms.SealedSecret)


@pytest.mark.parametrize("secret", [b"x", SECRET, bytes(16_384)])
def test_what_a_client_seals_the_server_opens(secret: bytes) -> None:
    assert unseal([KEY, RETIRED], HANDLE, sealed(secret=secret)) == secret


def test_the_key_of_a_retired_master_key_still_opens() -> None:
    assert unseal([KEY, RETIRED], HANDLE, sealed(RETIRED)) == SECRET


def test_sealing_twice_gives_different_bytes() -> None:
    assert sealed().ciphertext != sealed().ciphertext


def test_the_sealed_secret_shows_nothing_of_the_secret() -> None:
    assert SECRET not in sealed().SerializeToString()


def broken(**fields: object) -> kms.SealedSecret:
    message = sealed()
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    "message",
    [
        sealed(FOREIGN),
        broken(sealing_key_id=RETIRED.key_id),
        broken(ephemeral_public_key=KEY.public),
        broken(ephemeral_public_key=bytes(32)),
        broken(ephemeral_public_key=b"short"),
        broken(ciphertext=sealed().ciphertext),
        broken(ciphertext=b""),
        sealed(handle="kms://providers/openai/tts"),
    ],
)
def test_what_was_sealed_elsewhere_or_altered_does_not_open(message: kms.SealedSecret) -> None:
    with pytest.raises(NotSealedHere) as caught:
        unseal([KEY, RETIRED], HANDLE, message)
    assert SECRET.decode() not in str(caught.value)


def test_the_private_key_is_not_printed() -> None:
    assert "private" not in repr(KEY).lower()


def test_the_id_of_a_key_is_derived_from_it() -> None:
    assert KEY.key_id == sealing_key(bytes([1]) * 32).key_id != RETIRED.key_id
