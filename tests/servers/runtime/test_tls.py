"""TLS and mTLS with certificates made here."""

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servers.runtime.tls import ListenError, TlsFiles, check_exposure, is_loopback, server_credentials


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def certify(name: str, issuer: Pair | None = None) -> Pair:
    """A certificate for loopback signed by the issuer; without one, a certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        addresses = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@pytest.fixture(scope="module")
def authority() -> Pair:
    return certify("test authority")


@pytest.fixture
def flags(tmp_path: Path, authority: Pair) -> dict[str, Any]:
    """Settings of a server with a certificate of the authority."""
    server = certify("server", authority)
    (tmp_path / "server.pem").write_bytes(server.pem)
    (tmp_path / "server.key").write_bytes(server.key_pem)
    return {"tls.certificate": tmp_path / "server.pem", "tls.private_key": tmp_path / "server.key"}


Check = Callable[..., Any]


@pytest.fixture
def check(house: Any) -> Check:
    """Asks the server's health over a new connection with these credentials; None is plain text."""

    async def ask(running: Any, credentials: grpc.ChannelCredentials | None) -> Any:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        target = running.target("voiceid")
        if credentials is None:
            channel = grpc.aio.insecure_channel(target, options=options)
        else:
            channel = grpc.aio.secure_channel(target, credentials, options=options)
        house.channels.append(channel)
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        return answer.status

    return ask


async def refused(attempt: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await attempt
    return caught.value.code()


async def test_a_client_that_trusts_the_authority_is_served(
    house: Any, flags: dict[str, Any], authority: Pair, check: Check
) -> None:
    running = await house.start(flags=flags)
    trusted = grpc.ssl_channel_credentials(authority.pem)
    assert await check(running, trusted) == health_pb2.HealthCheckResponse.SERVING


async def test_plain_text_and_another_authority_fail(house: Any, flags: dict[str, Any], check: Check) -> None:
    running = await house.start(flags=flags)
    assert await refused(check(running, None)) == grpc.StatusCode.UNAVAILABLE
    stranger = grpc.ssl_channel_credentials(certify("stranger").pem)
    assert await refused(check(running, stranger)) == grpc.StatusCode.UNAVAILABLE


async def test_with_tls_and_authentication_a_server_may_listen_everywhere(
    house: Any, flags: dict[str, Any], authority: Pair
) -> None:
    running = await house.start(flags=flags | {"listen.host": "0.0.0.0"})
    channel = grpc.aio.secure_channel(
        f"127.0.0.1:{running.ports['voiceid']}", grpc.ssl_channel_credentials(authority.pem)
    )
    house.channels.append(channel)
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_mtls_serves_only_clients_of_its_authority(
    house: Any, flags: dict[str, Any], authority: Pair, tmp_path: Path, check: Check
) -> None:
    clients, strangers = certify("clients"), certify("strangers")
    (tmp_path / "clients.pem").write_bytes(clients.pem)
    running = await house.start(flags=flags | {"tls.client_ca": tmp_path / "clients.pem"})
    known, stranger = certify("phone", clients), certify("phone", strangers)

    def credentials(client: Pair | None) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            authority.pem, client.key_pem if client else None, client.pem if client else None
        )

    assert await check(running, credentials(known)) == health_pb2.HealthCheckResponse.SERVING
    assert await refused(check(running, credentials(None))) == grpc.StatusCode.UNAVAILABLE
    assert await refused(check(running, credentials(stranger))) == grpc.StatusCode.UNAVAILABLE


async def test_a_renewed_certificate_serves_the_next_connection(
    house: Any, flags: dict[str, Any], authority: Pair, check: Check
) -> None:
    running = await house.start(flags=flags)
    successor = certify("next authority")
    renewed = certify("server", successor)
    flags["tls.private_key"].write_bytes(renewed.key_pem)
    flags["tls.certificate"].write_bytes(renewed.pem)
    new_trust = grpc.ssl_channel_credentials(successor.pem)
    assert await check(running, new_trust) == health_pb2.HealthCheckResponse.SERVING
    old_trust = grpc.ssl_channel_credentials(authority.pem)
    assert await refused(check(running, old_trust)) == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_vanishes_leaves_the_one_in_use(
    house: Any, flags: dict[str, Any], authority: Pair, check: Check
) -> None:
    running = await house.start(flags=flags)
    await asyncio.to_thread(flags["tls.certificate"].unlink)
    trusted = grpc.ssl_channel_credentials(authority.pem)
    assert await check(running, trusted) == health_pb2.HealthCheckResponse.SERVING


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"absent\.key"):
        server_credentials(TlsFiles(tmp_path / "absent.pem", tmp_path / "absent.key"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("[::]", False),
        ("", False),
        ("*", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_what_counts_as_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("host", "tls", "authentication", "development", "allowed"),
    [
        ("127.0.0.1", False, True, False, True),
        ("127.0.0.1", False, False, True, True),
        ("127.0.0.1", False, False, False, False),
        ("0.0.0.0", True, True, False, True),
        ("0.0.0.0", False, True, False, False),
        ("0.0.0.0", True, False, False, False),
        ("0.0.0.0", True, True, True, False),
    ],
)
def test_where_a_server_may_listen(
    host: str, tls: bool, authentication: bool, development: bool, allowed: bool
) -> None:
    try:
        check_exposure(host, has_tls=tls, has_authentication=authentication, is_development=development)
    except ListenError:
        assert not allowed
    else:
        assert allowed
