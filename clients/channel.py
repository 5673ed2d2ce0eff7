"""A connection to a Selene server: the channel, its credentials and the metadata of each call."""

import ipaddress
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc

from clients.credentials import Claims, TokenSource, read_claims

CORRELATION_KEY: Final = "x-correlation-id"
MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""The largest of any contract, a mail with its files; an owner that needs less refuses sooner."""

# Matches the server's side: keepalive, message caps, and windows small enough that a slow reader is felt by the sender
# within tens of milliseconds of audio. gRPC's own retries are off, because `clients.retry` is the one retry loop.
OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16_384),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class InsecureToken(ValueError):
    """A token would have left this machine in the clear."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for TLS. Without ``ca`` gRPC's roots are trusted; ``certificate`` and ``key`` together make it mutual.

    ``server_name`` is the name to expect in the server's certificate, where it is not the target's.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError for a file that cannot be read, ValueError for half a client certificate."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate needs both its certificate and its key")
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes() if self.ca else None,
            private_key=self.key.read_bytes() if self.key else None,
            certificate_chain=self.certificate.read_bytes() if self.certificate else None,
        )


class Connection:
    """One channel and the credentials of its calls; closed by leaving its `async with`."""

    def __init__(self, target: str, channel: grpc.aio.Channel, tokens: TokenSource) -> None:
        self.target = target
        self.channel = channel
        self._tokens = tokens

    def metadata(self, correlation_id: str = "") -> tuple[tuple[str, str], ...]:
        """Metadata of one call; a fresh correlation id unless one is given. Raises TokenUnreadable."""
        pairs = [(CORRELATION_KEY, correlation_id or str(uuid.uuid4()))]
        token = self._tokens.read()
        if token:
            pairs.append(("authorization", f"Bearer {token}"))
        return tuple(pairs)

    @property
    def carries_token(self) -> bool:
        """Whether its calls carry a token. Raises TokenUnreadable."""
        return bool(self._tokens.read())

    def claims(self) -> Claims:
        """What the token says, unverified; empty claims without a token. Raises TokenUnreadable."""
        token = self._tokens.read()
        return read_claims(token) if token else Claims()

    async def close(self) -> None:
        await self.channel.close()

    async def __aenter__(self) -> "Connection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def connect(
    target: str,
    *,
    token: str = "",
    token_file: Path | None = None,
    tls: Tls | None = None,
    options: tuple[tuple[str, Any], ...] = (),
) -> Connection:
    """A connection to ``target`` (`host:port`); it dials on the first call.

    Raises InsecureToken when a token is given for a target beyond loopback without ``tls``. ``options`` are channel
    arguments that take precedence over OPTIONS.
    """
    tokens = TokenSource(token, token_file)
    if tokens.given and tls is None and not is_loopback(target):
        raise InsecureToken(
            f"refusing to send a token to {target} in the clear: give TLS (--tls, --ca), or use loopback"
        )
    arguments = [*dict((*OPTIONS, *options)).items()]
    if tls is None:
        arguments.append(("grpc.enable_http_proxy", 0))  # a proxy from the environment would see the token
        return Connection(target, grpc.aio.insecure_channel(target, options=arguments), tokens)
    if tls.server_name:
        arguments.append(("grpc.ssl_target_name_override", tls.server_name))
    return Connection(target, grpc.aio.secure_channel(target, tls.credentials(), options=arguments), tokens)


def with_port(target: str, port: int) -> str:
    """``target`` with ``port`` where it names a host and nothing else."""
    host = target.strip("[]")
    try:
        bare = ipaddress.ip_address(host)
    except ValueError:
        return target if ":" in target else f"{target}:{port}"
    return f"[{bare}]:{port}" if bare.version == 6 else f"{bare}:{port}"


def is_loopback(target: str) -> bool:
    """The target cannot lie beyond this machine: a loopback address, `localhost`, or a Unix socket."""
    scheme, _, rest = target.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme in ("dns", "ipv4", "ipv6"):
        target = rest.removeprefix("///")
    host = target.rpartition(":")[0] if target.count(":") == 1 or "]:" in target else target
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
