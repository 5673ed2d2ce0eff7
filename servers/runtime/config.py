"""Settings of a server: flags over environment (``SELENE_…``) over file (TOML) over defaults, unknown names refused."""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from servers.runtime.redaction import REDACTED, clean_text, is_secret_name

ENV_PREFIX: Final = "SELENE_"
CONFIG_VARIABLE: Final = "SELENE_CONFIG"
SET: Final = "(set)"
_NESTED = "__"

_NOISE: Final = "Value error, "
"""What pydantic puts before the words of a model's own check."""

OwnerModel = TypeVar("OwnerModel", bound=BaseModel)


class ConfigError(ValueError):
    """Settings that cannot be used; the text names each one, and for an unknown name the nearest known."""


@dataclass(frozen=True, slots=True)
class _Origins:
    """The layers that settings came from, by name and uppermost first: an error says where it is to be corrected."""

    layers: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=(), compare=False)

    def of(self, location: Sequence[str]) -> str:
        """The layer that set what is there; empty where none did."""
        return next((name for name, values in self.layers if _is_set(values, location)), "")


def _is_set(values: Any, location: Sequence[str]) -> bool:
    for part in location:
        if not isinstance(values, Mapping):
            return True
        if part not in values:
            return False
        values = values[part]
    return True


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListenSettings(_Section):
    """Where owners listen. Beyond loopback only with TLS and authentication."""

    host: str = "127.0.0.1"
    hosts: dict[str, str] = Field(default_factory=dict, description="host by owner, where it differs")
    ports: dict[str, int] = Field(default_factory=dict, description="port by owner; 0 lets the system choose")


class StoreSettings(_Section):
    """The database."""

    url: str = Field(default="", description="SQLAlchemy URL; empty is SQLite in `data_dir`")
    idempotency_days: float = Field(
        default=7.0, ge=1.0, le=3650.0, description="how long a repeated request gets its first reply"
    )
    delivery_days: float = Field(
        default=90.0,
        ge=1.0,
        le=3650.0,
        description="how long what was sent, and what happened to it, is kept of a final delivery",
    )
    signal_stream_days: float = Field(
        default=30.0, ge=1.0, le=3650.0, description="how long a stream of signals can be resumed since it last went on"
    )


class TlsSettings(_Section):
    """PEM files; renewed ones are picked up while the server runs."""

    certificate: Path | None = None
    private_key: Path | None = None
    client_ca: Path | None = Field(default=None, description="clients must show a certificate signed by it (mTLS)")

    @model_validator(mode="after")
    def _complete(self) -> "TlsSettings":
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` come together")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("`client_ca` needs `certificate` and `private_key`")
        return self


class AuthSettings(_Section):
    """Whose tokens are accepted."""

    keys_file: Path | None = Field(default=None, description="JWKS of public keys; re-read when it changes")
    issuer: str = "selene"
    audience: str = "selene"


class MasterKeySettings(_Section):
    """The key that wraps the keys of subjects and of secrets: 32 bytes, base64. At most one of `file` and `value`.

    To replace it: give every process the new key among `retired_files`; then the new one as `file` and the old one
    among `retired_files`; an hour after the trail tells of the last key wrapped anew, give the old one no more.
    """

    file: Path | None = None
    value: SecretStr | None = None
    retired_files: tuple[Path, ...] = Field(default=(), description="keys that still open what they wrapped")

    @model_validator(mode="after")
    def _one(self) -> "MasterKeySettings":
        if self.file is not None and self.value is not None:
            raise ValueError("`file` or `value`, not both")
        return self


class LimitSettings(_Section):
    """What a server grants its callers. Times in seconds."""

    receive_bytes: int = Field(
        default=64 * 1024, ge=1024, description="largest inbound message, where an owner's contract needs no more"
    )
    receive_bytes_of: dict[str, Annotated[int, Field(ge=1024)]] = Field(
        default_factory=dict, description="largest inbound message by owner, where it differs"
    )
    answering_bytes: int = Field(
        default=128 * 1024 * 1024, ge=1024, description="of requests that are answered at once, per owner"
    )
    send_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="largest outbound message")
    concurrent_calls: int = Field(default=512, ge=1, description="calls in flight per owner")
    unary_s: float = Field(default=30.0, gt=0)
    stream_s: float = Field(default=600.0, gt=0)
    idle_s: float = Field(default=30.0, gt=0, description="an open stream must send within it")
    require_deadline: bool = Field(default=False, description="refuse calls without a deadline instead of capping them")
    keepalive_s: float = Field(default=30.0, ge=10, description="ping an idle connection this often")
    keepalive_timeout_s: float = Field(default=10.0, gt=0)
    connection_age_s: float = Field(default=0.0, ge=0, description="move clients to another server after it; 0 never")
    grace_s: float = Field(default=10.0, ge=0, description="how long running calls may finish when the server stops")
    half_close_settle_ms: float = Field(
        default=5.0, ge=0, le=1000, description="how long an end of stream is held back to tell half-close from loss"
    )


class TelemetrySettings(_Section):
    """Metrics over HTTP and traces."""

    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(
        default=None, ge=0, le=65535, description="unset exposes none; 0 lets the system choose"
    )
    traces: Literal["none", "console", "otlp"] = "none"
    otlp_endpoint: str = ""


class LogSettings(_Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class DevelopmentSettings(_Section):
    """The loopback mode for a laptop: no TLS, a signing key made on first start, calls without a token accepted."""

    enabled: bool = False
    anonymous: bool = Field(default=True, description="calls without a token act as tenant `dev`")


class Settings(BaseSettings):
    """Everything that is configured, whichever owner runs. Owners validate their own part of ``owners``."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED, extra="forbid", frozen=True)

    data_dir: Path = Field(default=Path(".selene"), description="embedded store, models, development keys")
    listen: ListenSettings = ListenSettings()
    store: StoreSettings = StoreSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    master_key: MasterKeySettings = MasterKeySettings()
    limits: LimitSettings = LimitSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    log: LogSettings = LogSettings()
    development: DevelopmentSettings = DevelopmentSettings()
    workers: int = Field(default=1, ge=1, le=256)
    owners: dict[str, dict[str, Any]] = Field(default_factory=dict, description="settings of each owner, by its name")
    _origins: _Origins = _Origins()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # load_settings merges the layers; constructing Settings reads nothing from the surroundings.
        return (init_settings,)

    def owner_settings(self, owner: str, model: type[OwnerModel]) -> OwnerModel:
        """The owner's own part, validated by its own model; raises ConfigError."""
        return _validated(model, self.owners.get(owner, {}), f"owners.{owner}", self._origins)

    def effective(self) -> dict[str, Any]:
        """The settings in force as plain data, without secrets: what is secret reads ``(set)``."""
        return _shown(self.model_dump(mode="python"))


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings from the four layers; raises ConfigError.

    ``config`` is a TOML file, else the one named by SELENE_CONFIG, else none. ``flags`` have dotted names
    (``{"listen.host": "::1"}``); a flag that is None was not given.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    path = config or (Path(named) if named else None)
    _check_environment(os.environ)
    try:
        from_environment = EnvSettingsSource(Settings, env_prefix=ENV_PREFIX, env_nested_delimiter=_NESTED)()
    except SettingsError as defect:
        raise ConfigError(f"{defect}; a setting inside a section is named {ENV_PREFIX}SECTION__NAME") from None
    merged: dict[str, Any] = _read_toml(path) if path else {}
    origins = _Origins((("the environment", from_environment), (str(path), merged)))
    merged = _over(merged, from_environment)
    for name, value in (flags or {}).items():
        if value is not None:
            merged = _over(merged, _nested(name.split("."), value))
    settings = _validated(Settings, merged, "", origins)
    settings._origins = origins
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as defect:
        raise ConfigError(f"{path}: {defect}") from None


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _over(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return dict(value)


def _check_environment(environment: Mapping[str, str]) -> None:
    """Refuses a variable that is nearly one of ours. Others belong to clients, which share the prefix."""
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    for variable in environment:
        section = variable.partition(_NESTED)[0]
        if not variable.startswith(ENV_PREFIX) or section in known or variable == CONFIG_VARIABLE:
            continue
        near = difflib.get_close_matches(section, known, n=1, cutoff=0.85)
        if near or _NESTED in variable:
            raise ConfigError(f"unknown variable {variable}{_suggestion(section, known)}")


def _validated(model: type[OwnerModel], values: Mapping[str, Any], at: str, origins: _Origins) -> OwnerModel:
    try:
        return model(**values)
    except ValidationError as defect:
        raise ConfigError("\n".join(_explained(model, error, at, origins) for error in defect.errors())) from None


def _explained(model: type[BaseModel], error: Any, at: str, origins: _Origins) -> str:
    """One line for one error. It never shows the value, which may be a secret."""
    location = [str(part) for part in error["loc"]]
    name = ".".join(filter(None, [at, *location]))
    origin = origins.of(name.split("."))
    where = f"{origin}: " if origin else ""
    if error["type"] != "extra_forbidden":
        return f"{where}{name or 'settings'}: {error['msg'].removeprefix(_NOISE)}"
    return f"{where}unknown setting {name}{_suggestion(location[-1], _names_beside(model, location))}"


def _names_beside(model: type[BaseModel], location: list[str]) -> set[str]:
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        if not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
            return set()
        model = annotation
    return set(model.model_fields)


def _suggestion(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest known one is {near[0]}" if near else ""


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _shown_value(name, value) for name, value in values.items()}


def _shown_value(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return SET if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return _shown(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str):
        return SET if value and is_secret_name(name) else clean_text(value).replace(REDACTED, SET)
    return value
