"""Where the command calls and as whom: flags, then SELENE_* in the environment, then client.toml, then loopback."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from clients.channel import Connection, Tls, connect, with_port

DEFAULT_TARGET: Final = "127.0.0.1"

PORTS: Final[Mapping[str, int]] = {
    "voiceid": 7401,
    "audit": 7402,
    "stt": 7403,
    "tts": 7404,
    "llm": 7405,
    "kms": 7406,
    "delivery": 7407,
    "learning": 7408,
    "governance": 7409,
}
"""Each owner listens on its own port; these are the well-known ones, for a target that is only a host."""


class SettingsUnusable(ValueError):
    """Settings that contradict each other or cannot be read; the text names them."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one command; the names are those of the keys in client.toml."""

    target: str = ""
    audit_target: str = ""
    targets: str = ""
    token: str = ""
    token_file: Path | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""
    tenant: str = ""
    device: str = ""
    timeout: float = 0.0

    def connect(self, owner: str) -> Connection:
        """A connection to an owner of PORTS. Raises InsecureToken, SettingsUnusable, and OSError for TLS files."""
        if bool(self.cert) != bool(self.key):
            raise SettingsUnusable("a client certificate needs both --cert and --key")
        secure = self.tls or self.ca or self.cert or self.key
        tls = Tls(self.ca, self.cert, self.key, self.server_name) if secure else None
        target = self._single().get(owner) or (self.audit_target if owner == "audit" else "") or self.target
        where = with_port(target, PORTS[owner])
        # gRPC takes a port modulo 65536.
        port = where.rpartition(":")[2]
        if port.isdecimal() and not where.startswith("unix") and not 0 < int(port) < 65_536:
            raise SettingsUnusable(f"{where} is no target: a port is a number from 1 to 65535")
        return connect(where, token=self.token, token_file=self.token_file, tls=tls)

    def _single(self) -> dict[str, str]:
        """Where single owners are. Raises SettingsUnusable."""
        pairs = [item.partition("=") for item in self.targets.replace(",", " ").split()]
        for owner, _, target in pairs:
            if owner not in PORTS or not target:
                raise SettingsUnusable(
                    f"targets read `owner=host:port,…`, not `{self.targets}`; owners: {', '.join(PORTS)}"
                )
        return {owner: target for owner, _, target in pairs}


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CONFIG_HOME/selene/client.toml`, or the same under ~/.config."""
    home = environment.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "selene" / "client.toml"


def resolve(given: Settings, path: Path) -> Settings:
    """``given`` (flags and environment) over the file over the defaults. Raises SettingsUnusable."""
    if given.token and given.token_file:
        raise SettingsUnusable("both a token and a token file are given; choose one")
    filed = _read(path)
    if given.token or given.token_file:
        filed = replace(filed, token="", token_file=None)
    if filed.token and filed.token_file:
        raise SettingsUnusable(f"{path}: both token and token_file; choose one")
    chosen = {item.name: getattr(given, item.name) or getattr(filed, item.name) for item in fields(Settings)}
    merged = Settings(**chosen)
    return replace(merged, target=merged.target or DEFAULT_TARGET, timeout=merged.timeout or 15.0)


_KINDS: Final[Mapping[str, type]] = {"tls": bool, "timeout": float}
_PATHS: Final = frozenset({"token_file", "ca", "cert", "key"})


def _read(path: Path) -> Settings:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsUnusable(f"{path}: {error}") from None
    return Settings(**{name: _value(path, name, value) for name, value in document.items()})


def _value(path: Path, name: str, value: Any) -> Any:
    known = {item.name for item in fields(Settings)}
    if name not in known:
        raise SettingsUnusable(f"{path}: unknown key `{name}`; known: {', '.join(sorted(known))}")
    kind = _KINDS.get(name, str)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise SettingsUnusable(f"{path}: `{name}` must be a {kind.__name__}")
    return Path(str(value)).expanduser() if name in _PATHS else value
