"""Where another owner is: settings, tokens from a file, TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import ValidationError
from selene.kms.v1 import service_pb2 as kms
from selene.kms.v1 import service_pb2_grpc as kms_grpc

from servers.process import owner
from servers.routing.leases import NotIssued, SecretsOwner
from servers.runtime.auth import ROLE_SERVICE, ROLE_USER
from servers.runtime.clock import SystemClock
from servers.runtime.ids import UuidV7Ids
from servers.runtime.peers import SERVICE_TENANT, PeerSettings, TokenUnusable, configured_peer
from servers.runtime.server import Parts, RunningServer, serve
from servers.runtime.storage import LedgerSink, open_store
from tests.support.identity import Issuer, certificates
from tests.support.servers import settings_of

CANARY = "canary-Tk4vXo"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("one.two.three\n")
    return file


def test_settings_that_name_nobody_are_of_no_peer() -> None:
    assert configured_peer(PeerSettings()) is None


def test_the_token_is_read_for_every_call(token_file: Path) -> None:
    peer = configured_peer(PeerSettings(target="127.0.0.1:7406", token_file=token_file, plaintext=True))
    assert peer is not None
    assert peer.metadata() == (("authorization", "Bearer one.two.three"),)
    token_file.write_text("four.five.six")
    assert peer.metadata() == (("authorization", "Bearer four.five.six"),)


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"\xff\xfe", f"{CANARY} {CANARY}".encode(), f"{CANARY}\r\nx: y".encode(), b"a\x00b"]
)
def test_a_file_without_a_token_is_told_of_without_what_is_in_it(token_file: Path, content: bytes) -> None:
    token_file.write_bytes(content)
    peer = configured_peer(PeerSettings(target="127.0.0.1:7406", token_file=token_file, plaintext=True))
    assert peer is not None
    with pytest.raises(TokenUnusable) as caught:
        peer.metadata()
    assert str(caught.value) == "its token file holds no token"


def test_a_token_file_that_is_gone_is_told_of_and_used_once_it_is_there(token_file: Path) -> None:
    token_file.unlink()
    peer = configured_peer(PeerSettings(target="127.0.0.1:7406", token_file=token_file, plaintext=True))
    assert peer is not None
    with pytest.raises(TokenUnusable, match="FileNotFoundError"):
        peer.metadata()
    token_file.write_text("four.five.six")
    assert peer.metadata() == (("authorization", "Bearer four.five.six"),)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": "kms.internal:7406"}, "`target` needs `token_file`"),
        ({"token_file": "/t"}, "`target` says where it is"),
        ({"plaintext": True}, "`target` says where it is"),
        ({"target": "kms.internal:7406", "token_file": "/t", "plaintext": True}, "loopback only"),
        ({"target": "10.0.0.7:7406", "token_file": "/t", "plaintext": True}, "loopback only"),
        ({"target": "kms.internal:7406", "token_file": "/t", "key_file": "/k"}, "come together"),
        ({"target": "kms.internal:7406", "token_file": "/t", "certificate_file": "/c"}, "come together"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        PeerSettings(**fields)


@pytest.mark.parametrize("target", ["127.0.0.1:7406", "[::1]:7406", "localhost:7406"])
def test_plaintext_goes_to_loopback(token_file: Path, target: str) -> None:
    peer = configured_peer(PeerSettings(target=target, token_file=token_file, plaintext=True))
    assert peer is not None
    assert peer.credentials is None


def test_without_being_told_otherwise_a_peer_is_asked_over_tls(token_file: Path) -> None:
    peer = configured_peer(PeerSettings(target="127.0.0.1:7406", token_file=token_file))
    assert peer is not None
    assert peer.credentials is not None


def test_a_file_of_tls_that_cannot_be_read_is_an_error(token_file: Path, tmp_path: Path) -> None:
    settings = PeerSettings(target="kms.internal:7406", token_file=token_file, ca_file=tmp_path / "missing.pem")
    with pytest.raises(FileNotFoundError):
        configured_peer(settings)


class Served:
    """A secrets owner under TLS, with tokens."""

    def __init__(self, running: RunningServer, issuer: Issuer, folder: Path) -> None:
        self.running = running
        self.issuer = issuer
        self.token_file = folder / "service.token"
        self.ca_file = folder / "ca.pem"
        self.give(ROLE_SERVICE)

    def give(self, *roles: str) -> None:
        self.token_file.write_text(self.issuer.token("PH1.D", tenant=SERVICE_TENANT, roles=roles))

    def asking(self, **fields: Any) -> SecretsOwner:
        usual = {"target": self.running.target("kms"), "token_file": self.token_file, "ca_file": self.ca_file}
        settings = PeerSettings(**{**usual, **fields})
        return SecretsOwner(lambda: configured_peer(settings), UuidV7Ids(SystemClock()))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    issuer = Issuer(tmp_path)
    tls, _ = certificates(tmp_path)
    settings = settings_of(
        tmp_path,
        {
            **tls,
            "development.enabled": False,
            "auth.keys_file": issuer.keys_file,
            "master_key.value": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        },
    )
    clock = SystemClock()
    store = await open_store(settings, clock, UuidV7Ids(clock))
    parts = Parts(store=store, audit=LedgerSink(store), on_stop=(store.close,))
    running = await serve([owner("kms")], settings, parts)
    yield Served(running, issuer, tmp_path)
    await running.stop(0)


async def denied(asking: SecretsOwner) -> bool:
    """Whether no lease was given because it was denied; of a handle that there is not."""
    with pytest.raises(NotIssued) as caught:
        await asking.issue("kms://providers/openai/llm", "PH1.D")
    return caught.value.denied


async def test_a_peer_under_tls_is_asked_and_its_denial_is_known_for_one(served: Served) -> None:
    assert await denied(served.asking())


async def test_a_peer_whose_certificate_nobody_vouches_for_is_not_asked(served: Served, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificates(other)
    assert not await denied(served.asking(ca_file=other / "ca.pem"))


async def test_a_file_that_is_no_certificate_costs_the_lease_and_nothing_more(served: Served, tmp_path: Path) -> None:
    (tmp_path / "garbage.pem").write_bytes(b"no certificate")
    assert not await denied(served.asking(ca_file=tmp_path / "garbage.pem"))


async def test_a_token_that_was_replaced_is_used_without_a_restart(served: Served) -> None:
    served.token_file.write_text("not.a.token")
    asking = served.asking()
    assert not await denied(asking)
    served.give(ROLE_SERVICE)
    assert await denied(asking)


async def test_a_token_file_that_cannot_be_read_costs_the_lease_and_nothing_more(served: Served) -> None:
    served.token_file.unlink()
    assert not await denied(served.asking())


async def test_a_token_of_no_service_is_denied(served: Served) -> None:
    served.give(ROLE_USER)
    assert await denied(served.asking())


async def test_a_channel_of_a_peer_reaches_it(served: Served) -> None:
    settings = PeerSettings(target=served.running.target("kms"), token_file=served.token_file, ca_file=served.ca_file)
    peer = configured_peer(settings)
    assert peer is not None
    async with peer.channel() as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), metadata=peer.metadata(), timeout=5
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        key = await kms_grpc.SecretsServiceStub(channel).GetSealingKey(
            kms.GetSealingKeyRequest(), metadata=peer.metadata(), timeout=5
        )
        assert len(key.public_key) == 32
