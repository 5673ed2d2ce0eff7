"""Quota buckets outside of the store (§22): where many processes take of them, a store's row is too slow.

What a quota allows stays in the store; what its bucket holds is there only. All processes of a deployment need the same
setting. What the store's bucket holds when this one comes into use is moved here, once; else a bucket that is not known
here is empty: whoever loses what it held grants nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from selene.routing.v1.routing_pb2 import Domain

from servers.runtime.config import ConfigError

PLAINTEXT: Final = "valkey"
TLS: Final = "valkeys"


class ValkeySettings(BaseModel):
    """`owners.routing.valkey`: a server that keeps the buckets, in place of the store.

    Its user needs EVAL, HMGET and HSET on `selene:quota:*`. A cluster is not supported. One that comes back with an
    older state grants again what it granted since then: let it keep nothing, or everything (`appendfsync always`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="valkeys://host:port[/database]; valkey:// on loopback only")
    ca_file: Path | None = Field(default=None, description="PEM of who signed its certificate; unset: public ones")
    username: str = Field(default="default", min_length=1)
    password_file: Path | None = Field(default=None, description="read for every connection")
    timeout_s: float = Field(default=0.25, gt=0, le=5, description="for one exchange, its connection included")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        where = urlsplit(self.url)
        if where.scheme not in (PLAINTEXT, TLS) or not where.hostname or where.query or where.fragment:
            raise ValueError("`url` is valkeys://host:port[/database]")
        if where.username is not None or where.password is not None:
            raise ValueError("`url` holds no credential")
        if not where.path.strip("/").isdecimal() and where.path.strip("/"):
            raise ValueError("`url` names a database by its number")
        if where.scheme == PLAINTEXT and not _is_loopback(where.hostname):
            raise ValueError("`url` beyond loopback is valkeys")
        if where.scheme == PLAINTEXT and self.ca_file is not None:
            raise ValueError("`ca_file` is for valkeys")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Tokens that are put into a bucket, then taken out of it: all of them or none. `now` is seconds since the epoch.

    Of two shapes of a bucket the one of the higher `revision` holds. Tokens that are put with `once` are put the first
    time that this number, or a higher one, is seen.
    """

    tenant_id: str
    domain: Domain
    capacity: float
    refill_per_s: float
    revision: int
    now: float
    put: float = 0.0
    once: int = 0
    take: float = 0.0


@dataclass(frozen=True, slots=True)
class Changed:
    """What a bucket holds afterwards, and since when. `wait_s` is 0 where the tokens were taken, else the seconds until
    there will be enough; None where there never will be.
    """

    tokens: float
    at: float
    wait_s: float | None


class Buckets(Protocol):
    """Keeps buckets, each as `gates.take` has it, for all processes together."""

    async def change(self, changes: Sequence[Change]) -> list[Changed | None]:
        """Each in its turn and on its own. None where nobody answered: it happened once, or not at all. Never fails."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


def open_buckets(settings: ValkeySettings | None, monotonic: Callable[[], float]) -> Buckets | None:
    """The buckets that the settings name; None where the store keeps them. ConfigError."""
    if settings is None:
        return None
    for file in (settings.ca_file, settings.password_file):
        try:
            if file is not None:
                file.read_bytes()
        except OSError as error:
            raise ConfigError(f"owners.routing.valkey: {file} cannot be read: {error.strerror}") from None
    try:
        from servers.routing.valkey import ValkeyBuckets  # imported late: the extra `valkey` may not be installed
    except ImportError:
        raise ConfigError(
            "owners.routing.valkey: its client is not installed: pip install 'selene-platform[valkey]'"
        ) from None
    return ValkeyBuckets(settings, monotonic)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
