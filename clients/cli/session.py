"""What every command over gRPC shares: the connection options, the exit codes and how errors read."""

import asyncio
import functools
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clients.audio import AudioUnusable
from clients.audit import Audit
from clients.channel import Connection, InsecureToken
from clients.cli.output import Output
from clients.cli.settings import Settings, SettingsUnusable, config_path, resolve
from clients.cli.whose import naming_tenant
from clients.credentials import TokenUnreadable
from clients.errors import SeleneError
from clients.voiceid import Generation, VoiceId

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
BELOW_REQUIRED: Final = 3
UNREACHABLE: Final = 4
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "Exit codes: 0 done, whatever was decided · 1 the server refused · 2 wrong usage or unusable file · "
    "3 below --require · 4 the server cannot be reached · 130 Ctrl-C"
)

_PANEL: Final = "Connection"


def _option(*names: str, env: str = "", text: str) -> Any:
    return typer.Option(*names, envvar=env or None, help=text, rich_help_panel=_PANEL, show_default=False)


_Target = Annotated[str, _option("--target", env="SELENE_TARGET", text="host or host:port (127.0.0.1)")]
_AuditTarget = Annotated[str, _option("--audit-target", env="SELENE_AUDIT_TARGET", text="The same for the audit owner")]
_Targets = Annotated[str, _option("--targets", env="SELENE_TARGETS", text="Single owners elsewhere: stt=host:port,…")]
_Token = Annotated[str, _option("--token", env="SELENE_TOKEN", text="Bearer token; better kept in a file")]
_TokenFile = Annotated[Path | None, _option("--token-file", env="SELENE_TOKEN_FILE", text="File that holds the token")]
_UseTls = Annotated[bool, _option("--tls", env="SELENE_TLS", text="TLS with the roots that gRPC trusts")]
_Ca = Annotated[Path | None, _option("--ca", env="SELENE_CA", text="TLS with this CA (PEM)")]
_Cert = Annotated[Path | None, _option("--cert", env="SELENE_CERT", text="Client certificate (PEM)")]
_Key = Annotated[Path | None, _option("--key", env="SELENE_KEY", text="Client key (PEM)")]
_Name = Annotated[str, _option("--server-name", env="SELENE_SERVER_NAME", text="Name in the server's certificate")]
_Tenant = Annotated[str, _option("--tenant", env="SELENE_TENANT", text="Tenant (the token's)")]
_Device = Annotated[str, _option("--device", env="SELENE_DEVICE", text="Device (the token's)")]
_Timeout = Annotated[float, _option("--timeout", env="SELENE_TIMEOUT", text="Seconds for a call (15)")]
_Json = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else", show_default=False)]

_CONNECTION: Final[dict[str, tuple[Any, Any]]] = {
    "target": (_Target, ""),
    "audit_target": (_AuditTarget, ""),
    "targets": (_Targets, ""),
    "token": (_Token, ""),
    "token_file": (_TokenFile, None),
    "tls": (_UseTls, False),
    "ca": (_Ca, None),
    "cert": (_Cert, None),
    "key": (_Key, None),
    "server_name": (_Name, ""),
    "tenant": (_Tenant, ""),
    "device": (_Device, ""),
    "timeout": (_Timeout, 0.0),
}


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command."""

    settings: Settings
    output: Output
    connection: Connection

    def told(self, error: SeleneError) -> SeleneError:
        """The error, naming whom the calls speak for where that is what was refused."""
        return naming_tenant(error, self.connection, self.settings.tenant)

    def voice(self, generation: Generation = "v2") -> VoiceId:
        settings = self.settings
        return VoiceId(
            self.connection,
            tenant_id=settings.tenant,
            device_id=settings.device,
            generation=generation,
            timeout=settings.timeout,
        )

    def audit(self) -> Audit:
        return Audit(self.connection, tenant_id=self.settings.tenant, timeout=self.settings.timeout)


LOOKED_ON: Final = "ended; looking on changed nothing"
"""What a command that only shows how things go tells on Ctrl-C."""
ASKED_NO_MORE: Final = "interrupted: nothing more is asked; what was asked for before may still be done"


def local(function: Callable[..., int | None]) -> Callable[..., None]:
    """A command that needs settings but no server: adds the connection options and `--json`."""

    def run(settings: Settings, output: Output, values: dict[str, Any]) -> int:
        return function(settings, output, **values) or OK

    return _command(function, run, leading=2)


def remote(
    function: Callable[..., Awaitable[int | None]], *, owner: str = "voiceid", interrupted: str = ASKED_NO_MORE
) -> Callable[..., None]:
    """A command over gRPC to ``owner``: the coroutine's options plus the connection's; it returns its exit code.

    ``interrupted`` is told on Ctrl-C: what becomes of the work.
    """

    async def converse(settings: Settings, output: Output, values: dict[str, Any]) -> int:
        async with settings.connect(owner) as connection:
            session = Session(settings, output, connection)
            try:
                return await function(session, **values) or OK
            except SeleneError as error:
                raise session.told(error) from error

    def run(settings: Settings, output: Output, values: dict[str, Any]) -> int:
        return asyncio.run(converse(settings, output, values))

    return _command(function, run, leading=1, interrupted=interrupted)


def _command(
    function: Callable[..., Any],
    run: Callable[[Settings, Output, dict[str, Any]], int],
    *,
    leading: int,
    interrupted: str = ASKED_NO_MORE,
) -> Callable[..., None]:
    @functools.wraps(function)
    def command(**values: Any) -> None:
        output = Output(as_json=values.pop("json"))
        given = Settings(**{name: values.pop(name) for name in _CONNECTION})
        raise typer.Exit(_guarded(lambda: run(resolve(given, config_path()), output, values), output, interrupted))

    own = list(inspect.signature(function).parameters.values())[leading:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in {**_CONNECTION, "json": (_Json, False)}.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + added
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # how inspect finds it
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = flowing(function.__doc__ or "")
    del command.__wrapped__  # or typer would read the coroutine's own signature
    return command


def flowing(help_text: str) -> str:
    """The text with each paragraph on one line, to be folded at the terminal's width; examples stay as they are."""
    paragraphs = inspect.cleandoc(help_text).split("\n\n")
    return "\n\n".join(each if each.startswith("\b") else each.replace("\n", " ") for each in paragraphs)


def _guarded(run: Callable[[], int], output: Output, interrupted: str) -> int:
    try:
        return run()
    except SeleneError as error:
        output.fail(error)
        return UNREACHABLE if error.unreachable else REFUSED
    except (AudioUnusable, InsecureToken, SettingsUnusable, TokenUnreadable) as error:
        output.misuse(str(error))
        return USAGE
    except KeyboardInterrupt:
        output.note(interrupted)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read it, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        output.misuse(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
        return USAGE
