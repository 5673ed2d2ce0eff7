"""A real server process, really killed: what it acknowledged is there, and the audit trail verifies offline."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clients.audio import Recording
from clients.channel import connect
from clients.errors import SeleneError
from clients.retry import NO_RETRY
from clients.voiceid import VoiceId
from servers.offline import verify_offline
from servers.runtime.config import load_settings
from servers.runtime.storage import DATABASE, SIGNING_SEED
from store.keys import SigningKey
from store.verify import verify_store
from tests.support.servers import CONSENT, DEVICE, TENANT, serving, stream_config, until
from tests.support.speech import Person

ROOT = Path(__file__).parents[2]
START_S = 60.0


class Process:
    """`selene up` as a process, and a client of it."""

    def __init__(self, running: asyncio.subprocess.Process, target: str) -> None:
        self.running = running
        self.connection = connect(target)
        self.client = VoiceId(self.connection, device_id=DEVICE, policy=NO_RETRY)

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.running.send_signal(signal.SIGKILL)
        assert await self.running.wait() == -signal.SIGKILL


@asynccontextmanager
async def up(data_dir: Path) -> AsyncIterator[Process]:
    program = "from clients.cli import main; main()"
    command = ["up", "--data-dir", str(data_dir), "--port", "0", "--json"]
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        *command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert running.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = await running.stdout.readline()
        process = Process(running, json.loads(line)["targets"]["voiceid"])
        yield process
        await process.connection.close()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def named(client: VoiceId, ask: Recording) -> tuple[str, str]:
    """The stream's id, and who it was."""
    async with client.identify() as stream:
        for frame in ask.frames():
            await stream.send(frame)
        outcome = await stream.finish()
    return outcome.stream_id, outcome.user_id


async def whole(data_dir: Path) -> bool:
    """Whether the trail verifies with nothing but the store and the public key."""
    report = await verify_offline(f"sqlite:///{data_dir / DATABASE}", load_settings(None, {"data_dir": data_dir}))
    return report.ok and report.rows > 0


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed_mid_write(
    models_dir: Path, tmp_path: Path, mira: Person, otto: Person
) -> None:
    created: list[str] = []
    async with up(tmp_path) as process:
        enrolled = await process.client.enroll("mira", mira.clips, consent_ref=CONSENT)
        assert enrolled.profile is not None
        stream_id, user_id = await named(process.client, mira.ask)
        assert user_id == "mira"

        async def write(worker: int) -> None:
            for number in range(10_000):
                enrollment = await process.client.create_enrollment(
                    f"user-{worker}-{number}", consent_ref=CONSENT, idempotency_key=f"{worker}-{number}"
                )
                created.append(enrollment.enrollment_id)

        writers = [asyncio.create_task(write(worker)) for worker in range(4)]
        await until(lambda: len(created) >= 40, 20.0)
        await process.kill()
        assert all(isinstance(end, SeleneError) for end in await asyncio.gather(*writers, return_exceptions=True))
    assert await whole(tmp_path)
    async with serving(tmp_path, {"owners.voiceid.replay_min_s": 600.0}) as house:
        client = house.client()
        assert (await client.get_profile("mira")).profile_version == 1
        for enrollment_id in created:
            assert (await client.get_enrollment(enrollment_id)).enrollment_id == enrollment_id
        assert (await house.store.voiceid.streams.get(TENANT, stream_id)).named_user_id == "mira"
        assert (await client.confirm(stream_id, "mira")).decision_was_right
        assert (await named(client, mira.ask))[1] == "mira"
        audited = {fact.value for event in await house.trail() for fact in event.facts}
        assert {stream_id, *created} <= audited


async def test_a_stream_cut_by_a_kill_fails_for_its_caller_and_leaves_no_decision(
    models_dir: Path, home: Path, mira: Person
) -> None:
    async with up(home) as process:
        async with process.client.identify(timeout=3.0) as stream:
            events = stream.events()
            for frame in mira.ask.frames():
                await stream.send(frame)
            async for event in events:
                if type(event).__name__ == "SpeechEvent":
                    break
            await process.kill()
            with pytest.raises(SeleneError):
                await stream.finish()
        stream_id = stream.stream_id
    assert await whole(home)
    async with serving(home) as house:
        assert not [event for event in await house.trail() if event.transition == "voiceid.decided"]
        line = house.line()
        await line.config(stream_config(resume_stream_id=stream_id))
        assert (await line.refusal()).reason == "SESSION_NOT_RESUMABLE"
        assert (await named(house.client(), mira.ask))[1] == "mira"


async def test_a_trail_cut_short_behind_the_servers_back_does_not_verify(home: Path) -> None:
    """What the offline check would say if acknowledged rows had been lost."""
    async with serving(home) as house:
        await house.store.checkpoint(TENANT, "audit_events")
    with sqlite3.connect(home / DATABASE) as database:
        for trigger in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{trigger[0]}"')
        database.execute(
            "DELETE FROM audit_events WHERE tenant_id = ? AND sequence = "
            "(SELECT max(sequence) FROM audit_events WHERE tenant_id = ?)",
            (TENANT, TENANT),
        )
    key = SigningKey((home / SIGNING_SEED).read_bytes())
    report = await verify_store(f"sqlite:///{home / DATABASE}", {key.key_id: key.public})
    assert not report.ok
