"""Transport security: certificates that may be renewed while the server runs, and where it may listen (ALL-3)."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

import grpc

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


class ListenError(RuntimeError):
    """The server refuses to listen, or cannot; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With ``client_ca``, every client must show a certificate that it signed (mTLS)."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: a renewed certificate serves the next handshake. Raises ListenError."""
    first = _read(files)
    shown = [first]

    def current() -> grpc.ServerCertificateConfiguration | None:
        try:
            latest = _read(files)
        except ListenError:
            return None  # half-written or gone: the certificate in use stays
        if latest == shown[0]:
            return None
        shown[0] = latest
        return _configuration(latest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(first),
        current,  # type: ignore[arg-type]  # the stub forgets None, which grpc documents as "unchanged"
        require_client_authentication=files.client_ca is not None,
    )


def is_loopback(host: str) -> bool:
    """Whether a listening address can be reached from this machine only."""
    if host.lower() in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, *, has_tls: bool, has_authentication: bool, is_development: bool) -> None:
    """Raises ListenError unless the server may listen on ``host``: beyond loopback only with TLS and authentication."""
    if not is_loopback(host):
        missing = [
            what
            for what, present in (
                ("TLS (`tls.certificate`, `tls.private_key`)", has_tls),
                ("authentication (`auth.keys_file`)", has_authentication),
                ("`development.enabled = false`", not is_development),
            )
            if not present
        ]
        if missing:
            raise ListenError(
                f"refusing to listen on {host}: it can be reached from other machines, and this server lacks "
                f"{' and '.join(missing)}. Configure that, or listen on 127.0.0.1."
            )
    if not has_authentication and not is_development:
        raise ListenError(
            "refusing to start: no keys to verify tokens with. Set `auth.keys_file`, "
            "or `development.enabled = true` for a server on loopback that anyone on this machine may call."
        )


def _read(files: TlsFiles) -> tuple[bytes, bytes, bytes | None]:
    try:
        return (
            files.private_key.read_bytes(),
            files.certificate.read_bytes(),
            files.client_ca.read_bytes() if files.client_ca else None,
        )
    except OSError as defect:
        raise ListenError(f"cannot read the TLS files: {defect}") from None


def _configuration(content: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCertificateConfiguration:
    private_key, certificate, client_ca = content
    return grpc.ssl_server_certificate_configuration([(private_key, certificate)], root_certificates=client_ca)
