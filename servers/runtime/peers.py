"""Where another owner is, for the few parts of a server that speak to one: over its contract, as anybody would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import grpc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from servers.runtime.tls import is_loopback

SERVICE_TENANT: Final = "system"
"""The tenant of the servers themselves."""


class TokenUnusable(Exception):
    """There is no token to ask with. The text says why and nothing of what was found in its place."""


class PeerSettings(BaseModel):
    """Where an owner is, and who asks. In the development mode all of it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: str = Field(default="", description="host:port; unset: the same process, in the development mode")
    token_file: Path | None = Field(default=None, description="a token with role `service`; read for every call")
    ca_file: Path | None = Field(default=None, description="PEM of who signed its certificate; unset: public ones")
    certificate_file: Path | None = Field(default=None, description="mTLS, with `key_file`")
    key_file: Path | None = None
    plaintext: bool = Field(default=False, description="no TLS; for loopback only")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        files = (self.token_file, self.ca_file, self.certificate_file, self.key_file)
        if not self.target and (self.plaintext or any(file is not None for file in files)):
            raise ValueError("`target` says where it is")
        if self.target and self.token_file is None:
            raise ValueError("`target` needs `token_file`")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("`certificate_file` and `key_file` come together")
        if self.plaintext and not is_loopback(_host(self.target)):
            raise ValueError("`plaintext` is for loopback only")
        return self


@dataclass(frozen=True, slots=True)
class Peer:
    """An owner, and the token to ask it with."""

    target: str
    token: Callable[[], str]
    credentials: grpc.ChannelCredentials | None = None

    def channel(self) -> grpc.aio.Channel:
        """A connection of its own."""
        alone = (("grpc.use_local_subchannel_pool", 1),)
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options=alone)
        return grpc.aio.secure_channel(self.target, self.credentials, options=alone)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call carries. TokenUnusable."""
        return (("authorization", f"Bearer {self.token()}"),)


def configured_peer(settings: PeerSettings) -> Peer | None:
    """The peer that the settings name; None where they name none. OSError for files that cannot be read."""
    token_file = settings.token_file
    if not settings.target or token_file is None:
        return None
    credentials = None if settings.plaintext else _credentials(settings)
    return Peer(settings.target, lambda: _token(token_file), credentials)


def _token(file: Path) -> str:
    try:
        token = file.read_bytes().decode("ascii").strip()
    except OSError as error:
        raise TokenUnusable(f"its token file cannot be read: {type(error).__name__}") from None
    except UnicodeDecodeError:
        raise TokenUnusable("its token file holds no token") from None
    if not token or not token.isprintable() or " " in token:
        # gRPC would quote it in what it raises.
        raise TokenUnusable("its token file holds no token")
    return token


def _credentials(settings: PeerSettings) -> grpc.ChannelCredentials:
    def content(file: Path | None) -> bytes | None:
        return None if file is None else file.read_bytes()

    return grpc.ssl_channel_credentials(
        content(settings.ca_file), content(settings.key_file), content(settings.certificate_file)
    )


def _host(target: str) -> str:
    return target.rpartition(":")[0].strip("[]")
