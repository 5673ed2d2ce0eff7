"""Who signs a test's tokens and certificates."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clients.channel import Tls
from servers.runtime.auth import ROLE_USER, Principal, generate_signing_key, issue_token


class Issuer:
    """A token issuer with its key file, as `auth.keys_file` wants it."""

    def __init__(self, folder: Path) -> None:
        self.key = generate_signing_key()
        self.keys_file = folder / "keys.json"
        self.keys_file.write_text(json.dumps({"keys": [self.key.jwk()]}))

    def token(
        self,
        subject: str = "mira",
        *,
        tenant: str = "t-1",
        device: str = "",
        roles: tuple[str, ...] = (ROLE_USER,),
        **options: Any,
    ) -> str:
        """A token of two hours, as tests may skip minutes; `options` go to `issue_token`."""
        usual = {"now": datetime.now(UTC), "lifetime": timedelta(hours=2)}
        return issue_token(self.key, Principal(tenant, subject, device, frozenset(roles)), **{**usual, **options})


def certificates(folder: Path) -> tuple[dict[str, Path], Tls]:
    """A certificate for loopback: the settings of a server that shows it, and what a client trusts."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("authority", authority_key, "authority", authority_key)
    server = _certificate("server", server_key, "authority", authority_key)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    flags = {"tls.certificate": folder / "server.pem", "tls.private_key": folder / "server.key"}
    return flags, Tls(ca=folder / "ca.pem")


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=name == issuer, path_length=None), critical=True)
    )
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return builder.add_extension(loopback, critical=False).sign(issuer_key, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
