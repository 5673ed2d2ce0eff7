"""(a) Accepted intents a second, through gRPC, beside the bare commit rate of the same store; how long one takes."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from selene.delivery.v1 import service_pb2 as messages
from selene.delivery.v1 import service_pb2_grpc as rpc

from bench.delivery import world
from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.stats import Spread
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import open_store, turn
from store import Transaction

CALLERS: Final = 64
BATCH: Final = 100
BATCH_CALLERS: Final = 4
WRITERS: Final = (1, 16)
SECONDS: Final = 10.0
QUICK_SECONDS: Final = 1.5
SHARE_TARGET: Final = 0.5

Work = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """One store: bare commits a second, intents accepted a second one by one and in batches, milliseconds of a Send."""

    store: str
    commits_s: float
    sends_s: float
    batched_s: float
    send_ms: Spread
    p99_one_caller_ms: float


def measure(say: Say, *, quick: bool) -> Report:
    """Both stores, one after the other."""
    report = Report("a", "Accepting: durable when the reply leaves")
    seconds = QUICK_SECONDS if quick else SECONDS
    report.notes += [
        "A bare commit is the least that the store makes durable: one audit row in one transaction, by the better of "
        f"{WRITERS[0]} and {WRITERS[1]} writers at once, in a process of its own with nothing else to do.",
        f"Send: {CALLERS} callers, each waits for its reply. SendBatch: {BATCH_CALLERS} callers with {BATCH} intents a "
        "call. Callers and server share the cores of this machine; nothing is sent meanwhile.",
    ]
    found: list[Accepted] = []
    for name, url in world.stores(report):
        say(f"accepting on {name}")
        with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
            found.append(asyncio.run(_measured(name, Path(folder) / "data", url, seconds)))
    rows: list[list[Cell]] = [
        [one.store, one.commits_s, one.sends_s, one.batched_s, one.send_ms.p50, one.send_ms.p99, one.p99_one_caller_ms]
        for one in found
    ]
    columns = ("store", "bare commits/s", "Send/s", "SendBatch intents/s", "Send p50 ms", "p99 ms", "p99 ms, 1 caller")
    report.tables.append(Table("Accepted intents", columns, rows))
    for one in found:
        told = (("Send", one.sends_s), ("SendBatch", one.batched_s))
        report.targets += [
            Target(f"{one.store}: {how} of bare commits", SHARE_TARGET, share(rate, one.commits_s), "", at_least=True)
            for how, rate in told
        ]
    report.data["stores"] = [asdict(one) for one in found]
    return report


def share(rate: float, of: float) -> float | None:
    """How much of another rate one is; None where that cannot be said."""
    return rate / of if of > 0 else None


async def _measured(name: str, data_dir: Path, url: str, seconds: float) -> Accepted:
    commits_s = await commits(data_dir, url, seconds / 2)
    with world.delivery(data_dir, url) as server:
        async with grpc.aio.insecure_channel(server.targets["delivery"]) as channel:
            stub = rpc.DeliveryServiceStub(channel)
            numbers = itertools.count()
            await repeated(lambda: _send(stub, numbers, []), CALLERS, seconds / 10)
            taken: list[float] = []
            sends_s = await repeated(lambda: _send(stub, numbers, taken), CALLERS, seconds)
            alone: list[float] = []
            await repeated(lambda: _send(stub, numbers, alone), 1, seconds / 4)
            batched_s = await repeated(lambda: _send_batch(stub, numbers), BATCH_CALLERS, seconds)
    return Accepted(name, commits_s, sends_s, batched_s, Spread.of(taken), Spread.of(alone).p99)


async def commits(data_dir: Path, url: str, seconds: float) -> float:
    """Bare commits a second: one audit row in one transaction, by the better of `WRITERS` at once."""
    flags = {"data_dir": data_dir, "development.enabled": True, **({"store.url": url} if url else {})}
    clock = SystemClock()
    store = await open_store(load_settings(None, flags), clock, UuidV7Ids(clock))

    async def work(tx: Transaction) -> None:
        tx.audit(
            tenant_id=world.TENANT,
            owner="bench",
            actor="bench",
            transition="bench.committed",
            reason_code="BENCH",
            turn=turn(),
        )

    async def commit() -> int:
        await store.perform(work)
        return 1

    try:
        return max([await repeated(commit, writers, seconds) for writers in WRITERS])
    finally:
        await store.close()


async def _send(stub: Any, numbers: itertools.count[int], taken: list[float]) -> int:
    request = messages.SendRequest(intent=world.intent(next(numbers), "send"))
    began = time.perf_counter()
    await stub.Send(request)
    taken.append(1000 * (time.perf_counter() - began))
    return 1


async def _send_batch(stub: Any, numbers: itertools.count[int]) -> int:
    intents = [world.intent(next(numbers), "batch") for _ in range(BATCH)]
    reply = await stub.SendBatch(messages.SendBatchRequest(tenant_id=world.TENANT, intents=intents))
    return sum(not item.refusal and not item.repeated for item in reply.items)


async def repeated(work: Work, callers: int, seconds: float) -> float:
    """What so many callers get done in a second, each again and again."""
    began = time.perf_counter()
    until = began + seconds

    async def caller() -> int:
        done = 0
        while time.perf_counter() < until:
            done += await work()
        return done

    done = sum(await asyncio.gather(*(caller() for _ in range(callers))))
    return done / (time.perf_counter() - began)
