"""Signed statements prove what they say, of the kind they say, by a key that is trusted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from selene.governance.v1.decision_pb2 import ApprovalStatement, DecisionStatement, SignedStatement

from servers.governance.statement import StatementRefused, canonical, opened, payload_type, signed_bytes
from store.keys import SigningKey

KEY = SigningKey(bytes(32))
TRUSTED = {KEY.key_id: KEY.public}
STATEMENT = DecisionStatement(decision_id="d-1", tenant_id="dev")


def signed(key: SigningKey = KEY) -> SignedStatement:
    kind, payload = payload_type(DecisionStatement), canonical(STATEMENT)
    signature = key.sign(signed_bytes(kind, payload))
    return SignedStatement(payload_type=kind, payload=payload, signature=signature, signing_key_id=key.key_id)


def refused(statement: SignedStatement, trusted: dict[str, bytes] = TRUSTED) -> str:
    with pytest.raises(StatementRefused) as caught:
        opened(statement, DecisionStatement, trusted)
    return str(caught.value)


def test_a_statement_opens_to_what_was_signed() -> None:
    assert opened(signed(), DecisionStatement, TRUSTED) == STATEMENT


def test_what_is_signed_is_the_encoding_of_dsse() -> None:
    assert signed_bytes("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"  # the example of DSSE's protocol.md
    )


@pytest.mark.parametrize("where", ["payload", "signature"])
def test_a_byte_that_was_flipped_shows(where: str) -> None:
    whole = signed()
    content = bytearray(getattr(whole, where))
    for position in (0, len(content) - 1):
        content[position] ^= 1
        setattr(whole, where, bytes(content))
        assert refused(whole) == "SIGNATURE"


def test_a_statement_of_one_kind_never_passes_for_another() -> None:
    with pytest.raises(StatementRefused, match="PAYLOAD_TYPE"):
        opened(signed(), ApprovalStatement, TRUSTED)
    renamed = signed()
    renamed.payload_type = payload_type(ApprovalStatement)
    with pytest.raises(StatementRefused, match="SIGNATURE"):
        opened(renamed, ApprovalStatement, TRUSTED)


def test_a_key_that_is_not_trusted_proves_nothing() -> None:
    other = SigningKey(Ed25519PrivateKey.generate().private_bytes_raw())
    assert refused(signed(other)) == "KEY_UNTRUSTED"
    forged = signed(other)
    forged.signing_key_id = KEY.key_id
    assert refused(forged) == "SIGNATURE"
