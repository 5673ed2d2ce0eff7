"""(b) A backlog drained by four workers into a mail server: how fast, at what cost, and nothing twice."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from selene.delivery.v1 import delivery_pb2 as nouns
from selene.delivery.v1 import service_pb2 as messages
from selene.delivery.v1 import service_pb2_grpc as rpc

from bench.delivery import world
from bench.delivery.mailserver import Told
from bench.parts import Say
from bench.process import Server
from bench.report import Cell, Report, Table, Target

WORKERS: Final = 4
BACKLOG: Final = 15_000
QUICK_BACKLOG: Final = 3_000
BATCH: Final = 100
AT_ONCE: Final = 4
EVERY_S: Final = 1.0
QUICK_EVERY_S: Final = 0.2
STALLED_S: Final = 60.0
_OPEN: Final = frozenset({"ACCEPTED", "LEASED", "SENDING", "RETRYABLE"})


@dataclass(frozen=True, slots=True)
class Sample:
    """At so many seconds: mails that the provider had taken, MiB resident of the worker with most, and CPU seconds of
    all workers together.
    """

    at_s: float
    accepted: int
    resident_mib: float
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of a backlog: samples on the way, the provider's ledger, how many deliveries ended in each state."""

    store: str
    backlog: int
    samples: Sequence[Sample]
    told: Told
    states: Mapping[str, int]

    @property
    def targets(self) -> list[Target]:
        """The promise, judged by the provider's ledger."""
        told = self.told
        return [
            Target("left behind", 0.0, float(self.backlog - told.distinct), "mails"),
            Target("duplicates by the provider's ledger", 0.0, float(told.duplicates + told.anonymous), "mails"),
            Target("not final and not UNKNOWN at the end", 0.0, float(open_in(self.states)), "deliveries"),
        ]

    @property
    def data(self) -> dict[str, Any]:
        """For programs."""
        samples = [asdict(one) for one in self.samples]
        return {"samples": samples, "ledger": asdict(self.told), "states": dict(self.states)}

    def row(self) -> list[Cell]:
        """Under `COLUMNS`."""
        samples = self.samples
        rate, cost = throughput(samples), cpu_ms(samples)
        return [self.store, self.backlog, self.told.accepted, rate, samples[-1].at_s, cost, peak(samples)]


COLUMNS: Final = (
    "store",
    "backlog",
    "taken by the provider",
    "mails/s",
    "seconds",
    "worker CPU ms a mail",
    "largest RSS MiB",
)


def measure(say: Say, *, quick: bool) -> Report:
    """On PostgreSQL, or on SQLite where that is not installed: processes of one machine share either."""
    report = Report("b", "Draining a backlog")
    done = drained(report, say, QUICK_BACKLOG if quick else BACKLOG)
    report.targets += done.targets
    report.data |= done.data
    return report


def drained(report: Report, say: Say, backlog: int) -> Drained:
    """Accept so many mails and let the workers send them; the report says how, how fast and how it ended."""
    report.notes.append(
        f"{backlog:,} mails accepted first, then {WORKERS} processes with a dispatcher each send them over SMTP to a "
        f"server on this machine, which has {os.cpu_count()} cores for all of it and the database."
    )
    say(f"draining {backlog:,}")
    with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder, world.postgres(report) as url:
        samples, told, states = asyncio.run(_drained(Path(folder), url, backlog))
    done = Drained("PostgreSQL" if url else "SQLite", backlog, samples, told, states)
    report.tables.append(Table(f"{WORKERS} workers", COLUMNS, [done.row()]))
    report.tables.append(
        Table("Deliveries at the end, of each state 1,000 at most", ("state", "count"), sorted(states.items()))
    )
    return done


def throughput(samples: Sequence[Sample]) -> float:
    """Mails a second between the first and the last sample in which some were taken. NaN where none were."""
    moving = [one for index, one in enumerate(samples) if one.accepted and (not index or _moved(samples, index))]
    if len(moving) < 2 or moving[-1].at_s == moving[0].at_s:
        return float("nan")
    return (moving[-1].accepted - moving[0].accepted) / (moving[-1].at_s - moving[0].at_s)


def _moved(samples: Sequence[Sample], index: int) -> bool:
    return samples[index].accepted > samples[index - 1].accepted


def cpu_ms(samples: Sequence[Sample]) -> float:
    """CPU milliseconds of the workers a mail, from the first sample in which some were taken to the last. NaN where
    none were.
    """
    moving = [one for one in samples if one.accepted]
    if len(moving) < 2 or moving[-1].accepted == moving[0].accepted:
        return float("nan")
    return 1000 * (moving[-1].cpu_s - moving[0].cpu_s) / (moving[-1].accepted - moving[0].accepted)


def grown(samples: Sequence[Sample]) -> float:
    """MiB by which the median memory of the last quarter is above that of the second; the first is warming up.

    What was sampled before anybody served does not count. NaN where there is too little.
    """
    samples = [one for one in samples if one.resident_mib]
    quarter = len(samples) // 4
    if quarter == 0:
        return float("nan")
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    return _median(last) - _median(second)


def _median(samples: Sequence[Sample]) -> float:
    return sorted(one.resident_mib for one in samples)[len(samples) // 2]


def peak(samples: Sequence[Sample]) -> float:
    """MiB of the worker that had most, when it had most."""
    return max(one.resident_mib for one in samples)


async def _drained(folder: Path, url: str, backlog: int) -> tuple[list[Sample], Told, dict[str, int]]:
    data_dir = folder / "data"
    with world.delivery(data_dir, url) as server:
        await _accepted(server.targets["delivery"], backlog)
    with ExitStack() as stack:
        mails = stack.enter_context(world.mail_server())
        workers = [world.delivery(data_dir, url, mail_port=mails.port) for _ in range(WORKERS)]
        for one in workers:
            stack.callback(one.stop)
        starting = [asyncio.ensure_future(asyncio.to_thread(one.start)) for one in workers]
        samples = await _watched(workers, mails, backlog)
        await asyncio.gather(*starting)
        states = await _settled(workers[0].targets["delivery"])
        # What would come twice comes after a lost answer or a lost lease: a while is waited for it.
        await asyncio.sleep(EVERY_S)
        return samples, mails.ledger(), states


async def _accepted(target: str, backlog: int) -> None:
    turn = asyncio.Semaphore(AT_ONCE)
    async with grpc.aio.insecure_channel(target) as channel:
        stub = rpc.DeliveryServiceStub(channel)

        async def batch(begin: int) -> None:
            intents = [world.intent(number, "drain") for number in range(begin, min(begin + BATCH, backlog))]
            async with turn:
                reply = await stub.SendBatch(messages.SendBatchRequest(tenant_id=world.TENANT, intents=intents))
            assert not any(item.refusal for item in reply.items)

        for begin in range(0, backlog, 10 * BATCH):
            await asyncio.gather(*(batch(at) for at in range(begin, min(begin + 10 * BATCH, backlog), BATCH)))


async def _watched(workers: Sequence[Server], mails: world.MailServer, backlog: int) -> list[Sample]:
    """Until everything was taken, or nothing more has been for STALLED_S."""
    began = moved_at = time.perf_counter()
    samples: list[Sample] = []
    while True:
        accepted = mails.ledger().accepted
        now = time.perf_counter()
        if samples and accepted > samples[-1].accepted:
            moved_at = now
        up = [one for one in workers if one.targets]
        resident = max((one.memory().resident for one in up), default=0.0)
        samples.append(Sample(now - began, accepted, resident, sum(one.cpu_seconds() for one in up)))
        if accepted >= backlog or now - moved_at > STALLED_S:
            return samples
        await asyncio.sleep(EVERY_S if backlog > QUICK_BACKLOG else QUICK_EVERY_S)


async def _settled(target: str) -> dict[str, int]:
    """The states once nothing is under way any more, or has been for STALLED_S."""
    until = time.perf_counter() + STALLED_S
    while True:
        states = await _states(target)
        if not open_in(states) or time.perf_counter() > until:
            return states
        await asyncio.sleep(EVERY_S)


def open_in(states: Mapping[str, int]) -> int:
    """How many are in a state from which something is still to happen by itself."""
    return sum(count for state, count in states.items() if state in _OPEN)


async def _states(target: str) -> dict[str, int]:
    """How many deliveries are in each state; of each, 1,000 are counted at most."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = rpc.DeliveryServiceStub(channel)
        counts: dict[str, int] = {}
        for name in nouns.DeliveryState.keys()[1:]:
            request = messages.ListRequest(tenant_id=world.TENANT, state=name)
            request.page.page_size = 1000
            found = len((await stub.List(request)).deliveries)
            if found:
                counts[name.removeprefix("DELIVERY_STATE_")] = found
        return counts
