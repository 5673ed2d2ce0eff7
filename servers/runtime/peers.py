"""Where another owner is, for the few parts of a server that speak to one: over its contract, as anybody would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from pydantic import BaseModel, ConfigDict, Field

SERVICE_TENANT: Final = "system"
"""The tenant of the servers themselves."""


class PeerSettings(BaseModel):
    """Where an owner is, and who asks. In the development mode all of it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = Field(default="", description="host:port; unset: the same process, in the development mode")
    token_file: Path | None = Field(default=None, description="a token with role `service`; read for every call")
    ca_file: Path | None = Field(default=None, description="PEM of who signed its certificate; unset: public ones")
    certificate_file: Path | None = Field(default=None, description="mTLS, with `key_file`")
    key_file: Path | None = None
    plaintext: bool = Field(default=False, description="no TLS; for loopback only")


@dataclass(frozen=True, slots=True)
class Peer:
    """An owner, and the token to ask it with."""

    target: str
    token: Callable[[], str]
    credentials: grpc.ChannelCredentials | None = None

    def channel(self) -> grpc.aio.Channel:
        """A connection."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target)
        return grpc.aio.secure_channel(self.target, self.credentials)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call carries."""
        return (("authorization", f"Bearer {self.token()}"),)


def configured_peer(settings: PeerSettings) -> Peer | None:
    """The peer that the settings name; None where they name none. OSError for files that cannot be read."""
    token_file = settings.token_file
    if not settings.target or token_file is None:
        return None
    credentials = None if settings.plaintext else _credentials(settings)
    return Peer(settings.target, lambda: token_file.read_text(encoding="ascii").strip(), credentials)


def _credentials(settings: PeerSettings) -> grpc.ChannelCredentials:
    def content(file: Path | None) -> bytes | None:
        return None if file is None else file.read_bytes()

    return grpc.ssl_channel_credentials(
        content(settings.ca_file), content(settings.key_file), content(settings.certificate_file)
    )
