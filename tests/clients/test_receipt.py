"""Receipts of erasures, checked by whoever holds them: by one key, and nothing else is believed."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from selene_messages.selene.governance import v1

from clients.receipt import PAYLOAD_TYPE, Fault, ReceiptBroken, opened
from servers.runtime.auth import Principal, issue_token
from tests.servers.governance.house import ROLES, Governed, governing
from tests.servers.governance.test_consent_service import learn
from tests.support.talking import Run, command

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()


def statement(payload: bytes, kind: str = PAYLOAD_TYPE) -> v1.SignedStatement:
    """As the specification of DSSE spells what is signed, not as the code does."""
    signed = " ".join(["DSSEv1", str(len(kind)), kind, str(len(payload)), ""]).encode() + payload
    return v1.SignedStatement(payload_type=kind, payload=payload, signature=KEY.sign(signed), signing_key_id="k")


def test_a_receipt_that_the_key_signed_is_read() -> None:
    receipt = v1.ErasureReceipt(revocation_id="r-1", erasure=v1.Erasure(keys=2, key_ids=["a", "b"]))
    assert opened(statement(bytes(receipt)), key=PUBLIC) == receipt


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (None, Fault.NOT_SIGNED),
        (v1.SignedStatement(), Fault.NOT_SIGNED),
        (statement(b"\x0a\x01r", PAYLOAD_TYPE.replace("ErasureReceipt", "Revocation")), Fault.OTHER_STATEMENT),
        (statement(b"\x0a\x09r"), Fault.UNREADABLE),
        (v1.SignedStatement(payload_type=PAYLOAD_TYPE, payload=b"\x0a\x01r", signature=b"no"), Fault.SIGNATURE_BROKEN),
    ],
)
def test_what_proves_nothing_says_why(broken: v1.SignedStatement | None, fault: Fault) -> None:
    with pytest.raises(ReceiptBroken) as caught:
        opened(broken, key=PUBLIC)
    assert caught.value.fault is fault


@pytest.mark.parametrize("part", ["payload", "signature"])
def test_no_bit_of_a_receipt_can_be_changed(part: str) -> None:
    good = statement(bytes(v1.ErasureReceipt(revocation_id="r-1", signals=7)))
    value = bytearray(getattr(good, part))
    for at in range(len(value)):
        value[at] ^= 1
        changed = v1.SignedStatement.parse(bytes(good))
        setattr(changed, part, bytes(value))
        with pytest.raises(ReceiptBroken):
            opened(changed, key=PUBLIC)
        value[at] ^= 1


def test_a_key_that_signed_something_else_is_not_believed() -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes_raw()
    with pytest.raises(ReceiptBroken):
        opened(statement(b"\x0a\x01r"), key=other)


@pytest.fixture
async def house(quiet_log: None, tmp_path: Path) -> AsyncIterator[Governed]:
    async with governing(tmp_path / "data") as governed:
        yield governed


@pytest.fixture
def run(house: Governed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return command(house.owners, tmp_path, monkeypatch)


async def test_commands_erase_show_what_is_gone_and_check_the_receipt_offline(
    run: Run, house: Governed, tmp_path: Path
) -> None:
    def token(who: str) -> str:
        key = house.owners.running.development_key
        assert key is not None
        principal = Principal("dev", who, "", frozenset(ROLES[who]))
        return issue_token(key, principal, now=house.now(), lifetime=timedelta(hours=1))

    await learn(house, await house.candidate(), "g-1", {"s-1": "ula", "s-2": "other"})
    revoked = await run("consent", "revoke", "ula", "--json", "--token", token("ula"))
    which = json.loads(revoked.stdout)["revocation"]["revocation_id"]
    file = tmp_path / "gone.json"
    [(_, public)] = house.store.trusted_keys().items()

    early = await run("consent", "revocation", which, "--json", "--token", token("ann"))
    file.write_text(early.stdout)
    unsigned = await run("consent", "check", file, "--public-key", public.hex(), "--json")
    assert (unsigned.exit_code, json.loads(unsigned.stdout)["fault"]) == (1, "NOT_SIGNED")

    await house.controller.tick()
    shown = await run("consent", "revocation", which, "--token", token("ann"))
    assert "1 signals" in shown.stdout and "keys destroyed" in shown.stdout
    file.write_text((await run("consent", "revocation", which, "--json", "--token", token("ann"))).stdout)
    assert (await run("consent", "check", file)).exit_code == 2
    good = await run("consent", "check", file, "--public-key", public.hex(), "--json")
    told = json.loads(good.stdout)
    assert (good.exit_code, told["holds"], int(told["receipt"]["erasure"]["signals"])) == (0, True, 1)
    assert "ula" not in good.stdout
    erasure = told["receipt"]["erasure"]
    key_ids = b"".join(sorted(bytes.fromhex(each) for each in erasure["key_ids"]))
    assert base64.b64decode(erasure["key_ids_sha256"]) == hashlib.sha256(key_ids).digest()
    other = await run("consent", "check", file, "--public-key", "00" * 32, "--json")
    assert (other.exit_code, json.loads(other.stdout)["holds"]) == (1, False)
    file.write_text("{}")
    assert (await run("consent", "check", file, "--public-key", public.hex())).exit_code == 2
