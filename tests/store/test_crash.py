"""Real processes, really killed: what was acknowledged is there, what is there is whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store import Store
from store.keys import SigningKey
from store.verify import verify_store
from tests.support.stores import SIGNING_KEY, audit, open_store

ROOT = Path(__file__).parents[2]
TRUSTED = {SigningKey(SIGNING_KEY).key_id: SigningKey(SIGNING_KEY).public}
ENDLESS = 10**9


@contextmanager
def writer(url: str, prefix: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.crash_writer", url, prefix, str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What else was printed before the process was gone; a line cut short was not printed."""
    assert process.stdout is not None
    return [line.strip() for line in process.stdout if line.endswith("\n")]


async def kept(store: Store) -> set[str]:
    """Names whose state change and audit row are both there; asserts that there is no half of either."""
    events = {chained.event.facts[0].value async for chained in store.audit.stream("t1")}
    owned = {name for name in events if await store.voiceid.devices.owner("t1", name) == "u1"}
    assert owned == events
    return events


@pytest.mark.parametrize("acknowledgements", [1, 7, 40])
async def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(store_url: str, acknowledgements: int) -> None:
    with writer(store_url, "w", ENDLESS) as process:
        names = acknowledged(process, acknowledgements)
        process.send_signal(signal.SIGKILL)
        names += rest(process)
    assert process.returncode == -signal.SIGKILL
    store = await open_store(store_url, prefix="after")
    assert set(names) <= await kept(store)
    async with store.transaction() as tx:
        audit(tx, name="w-0")
    await store.close()
    report = await verify_store(store_url, TRUSTED)
    assert report.ok, report.findings


async def test_two_processes_write_one_database(store_url: str) -> None:
    with writer(store_url, "a", 40) as one, writer(store_url, "b", 40) as other:
        names = {*acknowledged(one, 40), *acknowledged(other, 40)}
        assert (one.wait(), other.wait()) == (0, 0)
    store = await open_store(store_url, prefix="after")
    assert await kept(store) == names
    assert len(names) == 80
    await store.close()
    report = await verify_store(store_url, TRUSTED)
    assert report.ok, report.findings
