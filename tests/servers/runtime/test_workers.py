"""Workers, as processes of their own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selene.audit.v1 import service_pb2 as audit
from selene.audit.v1 import service_pb2_grpc as audit_grpc

from servers.runtime.tls import ListenError
from servers.runtime.workers import Backoff, reserved

PROGRAM = """
import asyncio, functools, os, sys
from servers.runtime.config import load_settings
from servers.runtime.logging import configure_logging
from servers.runtime.server import Owner, Parts, run, Service
from servers.runtime.workers import Backoff, run_workers
from selene.audit.v1 import service_pb2, service_pb2_grpc

class Servicer(service_pb2_grpc.AuditServiceServicer):
    async def ListEvents(self, request, context):
        context.set_trailing_metadata((("pid", str(os.getpid())),))
        return service_pb2.ListEventsResponse()

async def build(runtime):
    return [Service(service_pb2_grpc.add_AuditServiceServicer_to_server, Servicer(), "selene.audit.v1.AuditService")]

def work(data_dir, slot):
    settings = load_settings(flags={"data_dir": data_dir, "development.enabled": True})
    parts = Parts(shared_ports=slot.shared_ports, worker_index=slot.index)
    asyncio.run(run([Owner("audit", "TEST", build)], settings, parts))

if __name__ == "__main__":
    configure_logging("info")
    run_workers(functools.partial(work, sys.argv[1]), 2, {"audit": ("127.0.0.1", 0)}, Backoff(first_s=0.1))
"""


class Workers:
    """The parent process, and who answers on its port."""

    def __init__(self, folder: Path) -> None:
        script = folder / "workers_program.py"
        script.write_text(PROGRAM)
        self.parent = psutil.Popen(
            [sys.executable, str(script), str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.port = 0

    async def start(self) -> None:
        line = await asyncio.wait_for(asyncio.to_thread(self.parent.stderr.readline), 30)
        self.port = json.loads(line)["ports"]["audit"]

    async def answering(self) -> int:
        """The process that a new connection reaches."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options) as channel:
            call = audit_grpc.AuditServiceStub(channel).ListEvents(
                audit.ListEventsRequest(tenant_id="dev"), timeout=20, wait_for_ready=True
            )
            await call
            return int(dict(await call.trailing_metadata())["pid"])

    async def until_answering(self, *, other_than: set[int], count: int) -> set[int]:
        """The first ``count`` processes that answer and are not among those."""
        seen: set[int] = set()
        async with asyncio.timeout(40):
            while len(seen) < count:
                seen |= {await self.answering()} - other_than
        return seen

    def close(self) -> None:
        for process in [*self.parent.children(recursive=True), self.parent] if self.parent.is_running() else []:
            process.kill()
        self.parent.communicate()


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    started = Workers(tmp_path)
    try:
        await started.start()
        yield started
    finally:
        started.close()


async def test_workers_share_a_port_replace_their_dead_and_stop_together(workers: Workers) -> None:
    both = await workers.until_answering(other_than=set(), count=2)
    assert workers.parent.pid not in both

    victim = min(both)
    os.kill(victim, signal.SIGKILL)
    [successor] = await workers.until_answering(other_than=both, count=1)
    living = [successor, *(both - {victim})]

    os.kill(workers.parent.pid, signal.SIGTERM)
    assert await asyncio.to_thread(workers.parent.wait, 20) == 0
    assert not any(psutil.pid_exists(pid) for pid in living)


def test_workers_that_can_never_start_are_not_started_for_ever(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        options = ["--workers", "2", "--data-dir", str(tmp_path), "--port", "audit=0"]
        taken = other.getsockname()[1]
        options += ["--metrics-port", str(taken)]
        settings = {"SELENE_DEVELOPMENT__ENABLED": "true"}
        ended = subprocess.run(
            [sys.executable, "-c", "from clients.cli import main; main()", "serve", "audit", *options],
            env=os.environ | settings | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    reasons = [json.loads(line)["cause"] for line in ended.stderr.splitlines() if '"worker cannot start"' in line]
    first, second = (f"cannot show metrics on 127.0.0.1:{port}: Address already in use" for port in (taken, taken + 1))
    # The port of the second worker may be somebody's too; each tries once.
    assert sorted(reasons) in ([first], [first, second])
    assert "a worker cannot start" in ended.stderr.splitlines()[-1]


async def test_workers_do_not_outlive_a_killed_parent(workers: Workers) -> None:
    both = await workers.until_answering(other_than=set(), count=2)
    processes = [psutil.Process(pid) for pid in both]
    os.kill(workers.parent.pid, signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 20)
    assert alive == []


def test_a_reserved_port_is_free_for_workers_and_for_nobody_else() -> None:
    with reserved("127.0.0.1", 0) as port:
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))


def test_a_port_that_others_share_cannot_be_reserved() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"), reserved("127.0.0.1", port):
            raise AssertionError("reserved a port that another server shares")


@given(lives=st.lists(st.floats(min_value=0, max_value=59.9), min_size=1, max_size=30))
def test_restarts_of_a_worker_that_keeps_dying_wait_ever_longer_up_to_the_most(lives: list[float]) -> None:
    backoff, waits = Backoff(), [0.0]
    for lived in lives:
        waits.append(backoff.after(waits[-1], lived))
    assert waits[1:] == sorted(waits[1:])
    assert max(waits) <= backoff.most_s


def test_a_healthy_life_forgets_earlier_deaths() -> None:
    assert Backoff().after(30.0, 60.0) == Backoff().first_s
