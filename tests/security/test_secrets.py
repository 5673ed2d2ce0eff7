"""What must appear nowhere: planted names, tokens, consents and sound are looked for in all that a server leaves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clients.audio import Recording
from clients.channel import connect
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.voiceid import VoiceId
from servers.runtime.auth import Principal, issue_token
from servers.runtime.server import development_key
from servers.runtime.storage import DATABASE
from servers.voiceid.roster import to_blob
from tests.support.servers import serving
from tests.support.speech import Person

ROOT = Path(__file__).parents[2]
USER, SUBJECT, CONSENT = "canary-user-7f31", "canary-subject-52aa", "canary-consent-c0de"
TENANT, DEVICE = "dev", "kitchen"
START_S = 60.0
PROGRAM = (sys.executable, "-c", "from clients.cli import main; main()")
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}


@dataclass(frozen=True, slots=True)
class Left:
    """What a stopped server left behind, and what its callers were told."""

    log: str
    metrics: str
    trail: bytes
    errors: str
    tokens: tuple[str, ...]
    sound: bytes


@asynccontextmanager
async def up(data_dir: Path, metrics_port: int, log: Path) -> AsyncIterator[str]:
    """`selene up` with its log in a file; gives its target, ends it gracefully."""
    arguments = ["--data-dir", str(data_dir), "--metrics-port", str(metrics_port), "--json"]
    with log.open("wb") as stream:
        running = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *("up", "--port", "0", *arguments),
            cwd=ROOT,
            env={**ENVIRONMENT, "SELENE_LOG__LEVEL": "debug"},
            stdout=subprocess.PIPE,
            stderr=stream,
        )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            yield json.loads(await running.stdout.readline())["targets"]["voiceid"]
        running.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.wait(), 20.0) == 0
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def token(data_dir: Path, tenant: str = TENANT) -> str:
    principal = Principal(tenant, SUBJECT, DEVICE, frozenset({"user", "service", "operator", "auditor"}))
    return issue_token(development_key(data_dir), principal, now=datetime.now(UTC), lifetime=timedelta(minutes=5))


async def live(client: VoiceId, person: Person) -> list[str]:
    """A whole life: enrolled, asked, claimed, confirmed, refused, revoked; returns what was said of the refusal."""
    enrolled = await client.enroll(USER, person.clips, consent_ref=CONSENT)
    assert enrolled.profile is not None
    async with client.identify() as stream:
        for frame in person.ask.frames():
            await stream.send(frame)
        outcome = await stream.finish()
    assert outcome.user_id == USER
    async with client.verify(USER) as stream:
        await stream.finish()
    await client.confirm(outcome.stream_id, USER)
    broken = client.config(session_id="s" * 200)
    with pytest.raises(SeleneError) as refusal:
        async with client.identify(broken) as stream:
            await stream.finish()
    await client.revoke_profile(USER)
    return [str(refusal.value.document())]


@pytest.fixture(scope="module")
def left(models_dir: Path, mira: Person, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A real process in which everything happened, and which was stopped."""
    folder = tmp_path_factory.mktemp("secrets")
    data_dir, log, port = folder / "data", folder / "log.jsonl", free_port()
    data_dir.mkdir()
    tokens = (token(data_dir), token(data_dir, "elsewhere"), token(data_dir)[:-6] + "AAAAAA")
    errors: list[str] = []

    async def run() -> str:
        async with up(data_dir, port, log) as target:
            connections = [connect(target, token=one) for one in tokens]
            clients = [VoiceId(one, tenant_id=TENANT, device_id=DEVICE, policy=NO_RETRY) for one in connections]
            errors.extend(await live(clients[0], mira))
            for refused in clients[1:]:
                with pytest.raises(SeleneError) as refusal:
                    await refused.get_profile(USER)
                errors.append(str(refusal.value.document()))
            shown = await asyncio.to_thread(page, f"http://127.0.0.1:{port}/metrics")
            for one in connections:
                await one.close()
            return shown

    metrics = asyncio.run(run())
    with closing(sqlite3.connect(data_dir / DATABASE)) as database:
        rows = database.execute("SELECT * FROM audit_events").fetchall()
    trail = b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row)
    sound = mira.ask.samples.astype("<i2").tobytes()
    return Left(log.read_text(), metrics, trail, "\n".join(errors), tokens, sound)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body.decode()


def test_the_server_left_enough_to_look_at(left: Left) -> None:
    """A search in nothing finds nothing."""
    lines = [json.loads(line) for line in left.log.splitlines() if line.startswith("{")]
    assert {"TENANT_MISMATCH", "TOKEN_INVALID", "FIELD_INVALID"} <= {line.get("reason") for line in lines}
    assert "selene_voiceid_decisions_total" in left.metrics
    for transition in (b"enrollment.locked", b"voiceid.decided", b"voiceid.confirmed", b"profile.revoked"):
        assert transition in left.trail
    assert "TENANT_MISMATCH" in left.errors and "TOKEN_INVALID" in left.errors


@pytest.mark.parametrize("canary", [USER, SUBJECT, CONSENT])
def test_no_person_and_no_consent_is_named(left: Left, canary: str) -> None:
    assert canary not in left.log
    assert canary not in left.metrics
    assert canary.encode() not in left.trail
    assert canary not in left.errors


def test_no_token_is_shown_anywhere(left: Left) -> None:
    for shown in left.tokens:
        for part in shown.split(".")[1:]:
            assert part not in left.log
            assert part not in left.metrics
            assert part.encode() not in left.trail
            assert part not in left.errors


def test_no_sound_is_kept_or_logged(left: Left) -> None:
    middle = len(left.sound) // 2
    for start in range(middle, middle + 6400, 640):
        piece = left.sound[start : start + 48]
        assert piece not in left.trail
        for written in (base64.b64encode(piece).decode(), piece.hex(), str(list(piece))[1:-1]):
            assert written not in left.log
            assert written not in left.metrics


def holds(files: Iterable[Path], needle: bytes) -> bool:
    return any(needle in file.read_bytes() for file in files)


def database_files(home: Path) -> list[Path]:
    return [file for file in home.iterdir() if file.name.startswith(DATABASE)]


async def test_the_database_holds_no_readable_voice(home: Path, mira: Person) -> None:
    """Neither embeddings, nor fingerprints, nor sound, in whole or in part; what is looked for is what is compared."""
    async with serving(home) as house:
        roster = await house.engine.rosters.of(TENANT, house.clock.now())
        row = roster.index["mira"]
        embedding = to_blob([roster.first.embeddings[row], *(other[row] for other in roster.others)])
        fingerprints = await house.store.voiceid.fingerprints.all(TENANT, "mira")
        assert len(fingerprints) == len(mira.clips)
        files = database_files(home)
        assert holds(files, b"mira"), "the right files are looked at"
        for secret in (embedding, *fingerprints, *map(spoken, mira.clips)):
            for start in (0, 64, len(secret) // 2, len(secret) - 16):
                assert not holds(files, secret[start : start + 16])


def spoken(clip: Recording) -> bytes:
    """The second half of a clip, which is not silent."""
    raw = clip.samples.astype("<i2").tobytes()
    return raw[len(raw) // 4 * 2 :]


async def test_a_withdrawn_voice_cannot_be_opened_again(home: Path) -> None:
    """The key that opened it is gone from the files too, so the sealed bytes that may remain say nothing."""
    with closing(sqlite3.connect(home / DATABASE)) as database:
        (wrapped,) = database.execute("SELECT wrapped FROM subject_keys WHERE subject_id = 'mira'").fetchone()
    assert holds(database_files(home), wrapped)
    async with serving(home) as house:
        await house.client().revoke_profile("mira")
        roster = await house.engine.rosters.of(TENANT, house.clock.now())
        assert "mira" not in roster.index
    assert not holds(database_files(home), wrapped)


def test_files_with_keys_are_for_their_owner_only(home: Path) -> None:
    modes = {file.name: file.stat().st_mode & 0o077 for file in home.iterdir() if file.is_file()}
    assert modes.keys() >= {DATABASE, "ledger_signing_seed", "development_master_key", "actor_salt"}
    assert set(modes.values()) == {0}, modes


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["--host", "0.0.0.0"], ("TLS", "authentication")),
        (["--host", "::"], ("TLS", "authentication")),
        ([], ("auth.keys_file",)),
    ],
)
def test_a_server_refuses_to_start_bare(tmp_path: Path, arguments: list[str], missing: tuple[str, ...]) -> None:
    key = base64.b64encode(bytes(32)).decode()
    ended = subprocess.run(
        [*PROGRAM, "serve", "voiceid", "--data-dir", str(tmp_path), "--port", "voiceid=0", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, "SELENE_MASTER_KEY__VALUE": key, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "refusing to" in ended.stderr
    assert all(one in ended.stderr for one in missing)
    assert key not in ended.stderr + ended.stdout
