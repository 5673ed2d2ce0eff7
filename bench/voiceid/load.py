"""A server with people enrolled in it, and a load generator against it, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.process import Memory, Server, python
from bench.voiceid.caller import Decided, Plan
from bench.voiceid.material import Person, Utterance
from clients.audio import Recording
from clients.channel import connect
from clients.voiceid import VoiceId
from servers.runtime.audio.resample import MODEL_RATE_HZ

AT_ONCE = 2
"""Enrolments at a time: one a core is what the models can use."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator brought, with what both sides cost meanwhile."""

    decided: tuple[Decided, ...]
    failures: tuple[str, ...]
    late_ms: dict[str, float]
    frames: int
    repeats: int
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    memory: Memory

    @property
    def audio_s(self) -> float:
        """Audio that was sent while it was measured."""
        return self.frames * 0.02


def enrol(target: str, people: Sequence[Person]) -> list[str]:
    """Enrol everyone, on devices of their own; returns the names of those whose profile was locked."""

    async def run() -> list[str]:
        turnstile = asyncio.Semaphore(AT_ONCE)
        async with connect(target) as connection:
            voice = VoiceId(connection, tenant_id="dev", device_id="bench-enrolment", timeout=60.0)

            async def one(person: Person) -> str:
                clips = [
                    Recording(f"{person.name}-{index}", MODEL_RATE_HZ, pcm) for index, pcm in enumerate(person.clips)
                ]
                async with turnstile:
                    enrolled = await voice.enroll(person.name, clips, consent_ref="benchmark")
                return person.name if enrolled.profile is not None else ""

            return [name for name in await asyncio.gather(*map(one, people)) if name]

    return asyncio.run(run())


def write_pool(path: Path, utterances: Sequence[Utterance], enrolled: Sequence[str]) -> None:
    """Utterances for the load generator; who is not enrolled has no name."""
    bounds = np.concatenate(([0], np.cumsum([len(one.pcm) for one in utterances])))
    speakers = [one.speaker if one.speaker in enrolled else "" for one in utterances]
    np.savez(path, pcm=np.concatenate([one.pcm for one in utterances]), bounds=bounds, speakers=np.array(speakers))


@contextmanager
def copy_of(template: Path, name: str) -> Iterator[Server]:
    """A server that runs on a copy of a data folder, so that one run leaves nothing behind for the next."""
    data_dir = template.with_name(name)
    shutil.copytree(template, data_dir)
    try:
        with Server.up(data_dir) as server:
            yield server
    finally:
        shutil.rmtree(data_dir)


def drive(server: Server, plan: Plan) -> Load:
    """Run the load generator; both sides' CPU time is that of the measured time."""
    path = Path(plan.pool).with_name(f"plan-{os.getpid()}-{time.monotonic_ns()}.json")
    path.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    process = python("bench.voiceid.caller", [str(path)])
    try:
        _await(process, "steady")
        before = server.cpu_seconds()
        _await(process, "over")
        spent = server.cpu_seconds() - before
        held = server.memory()
        outcome = json.loads(_line(process))
    finally:
        _end(process)
    return Load(
        decided=tuple(Decided(**one) for one in outcome["decided"]),
        failures=tuple(outcome["failures"]),
        late_ms=outcome["late_ms"],
        frames=outcome["frames"],
        repeats=outcome["repeats"],
        wall_s=outcome["wall_s"],
        client_cpu_s=outcome["cpu_s"],
        server_cpu_s=spent,
        memory=held,
    )


def _await(process: subprocess.Popen[str], word: str) -> None:
    line = _line(process)
    if line != word:
        raise RuntimeError(f"the load generator said {line!r} instead of {word!r}")


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # it was opened as a pipe
    return process.stdout.readline().strip()


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
