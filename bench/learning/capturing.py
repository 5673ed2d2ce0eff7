"""(a) Signals captured a second, durable, through gRPC, beside the bare commit rate of the same store."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from selene.gold.v1.gold_pb2 import GOLD_DOMAIN_VOICE_IDENTITY
from selene.learning.v1 import service_pb2 as messages
from selene.learning.v1 import service_pb2_grpc as rpc
from selene.learning.v1 import signal_pb2 as nouns

from bench.delivery import world
from bench.delivery.accepting import WRITERS, commits, repeated, share
from bench.parts import Say
from bench.process import Server
from bench.report import Cell, Report, Table, Target
from bench.routing.owner import served
from bench.stats import Spread

TENANT: Final = world.TENANT
CALLERS: Final = 64
STREAMS: Final = 2
PREPARED_A_SECOND: Final = 15_000
"""Signals of each stream: more than are taken in a second."""
IN_A_MESSAGE: Final = 250
"""Signals of one message of a stream; the typed client fills messages to about as many of this size."""
SECONDS: Final = 10.0
QUICK_SECONDS: Final = 1.5
UNARY_TARGET: Final = 0.5
STREAMED_TARGET: Final = 10.0


@dataclass(frozen=True, slots=True)
class Captured:
    """One store: bare commits a second, signals captured a second one by one and streamed, milliseconds of a Capture,
    signals that a reply acknowledged on average.
    """

    store: str
    commits_s: float
    captures_s: float
    streamed_s: float
    capture_ms: Spread
    signals_an_acknowledgement: float


def measure(say: Say, *, quick: bool) -> Report:
    """Both stores, one after the other."""
    report = Report("a", "Capturing: durable when it is acknowledged")
    seconds = QUICK_SECONDS if quick else SECONDS
    report.notes += [
        "A bare commit is the least that the store makes durable: one audit row in one transaction, by the better of "
        f"{WRITERS[0]} and {WRITERS[1]} writers at once, in a process of its own with nothing else to do.",
        f"Capture: {CALLERS} callers, each waits for its reply, an audit row each. CaptureStream: {STREAMS} streams of "
        f"messages of {IN_A_MESSAGE} signals, counted when acknowledged; an audit row a batch. Callers and server "
        "share the cores of this machine.",
    ]
    found: list[Captured] = []
    for name, url in world.stores(report):
        say(f"capturing on {name}")
        with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
            found.append(asyncio.run(_measured(name, Path(folder) / "data", url, seconds)))
    rows: list[list[Cell]] = [
        [
            one.store,
            one.commits_s,
            one.captures_s,
            one.streamed_s,
            one.capture_ms.p50,
            one.capture_ms.p99,
            one.signals_an_acknowledgement,
        ]
        for one in found
    ]
    columns = (
        "store",
        "bare commits/s",
        "Capture/s",
        "CaptureStream signals/s",
        "Capture p50 ms",
        "p99 ms",
        "signals a reply",
    )
    report.tables.append(Table("Captured signals", columns, rows))
    for one in found:
        report.targets += [
            Target(f"{one.store}: {how} of bare commits", target, share(rate, one.commits_s), "", at_least=True)
            for how, rate, target in (
                ("Capture", one.captures_s, UNARY_TARGET),
                ("CaptureStream", one.streamed_s, STREAMED_TARGET),
            )
        ]
    report.data["stores"] = [asdict(one) for one in found]
    return report


def signal(number: int, run: str) -> nouns.LearningSignal:
    """A signal of about 300 bytes that happened now, of one of a hundred users."""
    now = Timestamp()
    now.GetCurrentTime()
    return nouns.LearningSignal(
        signal_id=f"{run}-{number}",
        correlation_id=f"turn-{number}",
        turn_id=f"{number % 7}",
        occurred_at=now,
        tenant_id=TENANT,
        user_id=f"person-{number % 100}",
        device_id="kitchen",
        session_id=f"session-{number // 10}",
        source_engine_id="PH1.VOICE.ID",
        source_capability_id="identify",
        reason_code=("SCORE_LOW", "GRAY_ZONE_MARGIN", "QUALITY_LOW")[number % 3],
        input_ref=f"stream:{number}",
        output_ref=f"decision:{number}",
        outcome_label="CORRECTED",
        consent_asserted=True,
        privacy_scope=nouns.PRIVACY_SCOPE_TENANT,
        retention_class=nouns.RETENTION_CLASS_STANDARD,
        severity=nouns.SEVERITY_MEDIUM,
        confidence_bp=9_000,
        impact_estimate_bp=5_000,
        idempotency_key=f"{run}-{number}",
        domain=GOLD_DOMAIN_VOICE_IDENTITY,
        signal_class=nouns.SIGNAL_CLASS_FALSE_REJECT,
        capture_source=nouns.CAPTURE_SOURCE_RUNTIME_OUTCOME,
    )


def learning(data_dir: Path, url: str) -> Server:
    """A server of learning on a store."""
    return served(["learning"], data_dir, {"store.url": url} if url else {})


async def _measured(name: str, data_dir: Path, url: str, seconds: float) -> Captured:
    commits_s = await commits(data_dir, url, seconds / 2)
    with learning(data_dir, url) as server:
        async with grpc.aio.insecure_channel(server.targets["learning"]) as channel:
            stub = rpc.SignalServiceStub(channel)
            numbers = itertools.count()
            await repeated(lambda: _capture(stub, numbers, []), CALLERS, seconds / 10)
            taken: list[float] = []
            captures_s = await repeated(lambda: _capture(stub, numbers, taken), CALLERS, seconds)
            prepared = [_prepared(f"stream-{one}", seconds) for one in range(STREAMS)]
            streamed = await asyncio.gather(*(_streamed(channel, each, seconds) for each in prepared))
    acknowledged = sum(one[0] for one in streamed)
    replies = sum(one[1] for one in streamed)
    longest = max(one[2] for one in streamed)
    return Captured(
        name, commits_s, captures_s, acknowledged / longest, Spread.of(taken), acknowledged / max(1, replies)
    )


async def _capture(stub: Any, numbers: itertools.count[int], taken: list[float]) -> int:
    request = messages.CaptureRequest(signal=signal(next(numbers), "unary"))
    began = time.perf_counter()
    await stub.Capture(request)
    taken.append(1000 * (time.perf_counter() - began))
    return 1


def _prepared(name: str, seconds: float) -> list[bytes]:
    """The messages of a stream, made before they are sent: what making them costs is the producers' own."""
    config = messages.CaptureStreamConfig(tenant_id=TENANT, stream_id=name)
    streamed = (
        messages.StreamedSignals(
            first_sequence=first, signals=[signal(number, name) for number in range(first, first + IN_A_MESSAGE)]
        )
        for first in range(1, int(seconds * PREPARED_A_SECOND), IN_A_MESSAGE)
    )
    return [
        messages.CaptureStreamRequest(config=config).SerializeToString(),
        *(messages.CaptureStreamRequest(signals=some).SerializeToString() for some in streamed),
    ]


async def _streamed(channel: grpc.aio.Channel, prepared: list[bytes], seconds: float) -> tuple[int, int, float]:
    """Signals that a stream acknowledged as taken, in how many replies, and how long that took."""
    method: Any = channel.stream_stream(
        "/selene.learning.v1.SignalService/CaptureStream",
        response_deserializer=messages.CaptureStreamResponse.FromString,
    )
    began = time.perf_counter()

    async def told() -> AsyncIterator[bytes]:
        for message in prepared:
            if time.perf_counter() - began >= seconds:
                return
            yield message

    taken = replies = 0
    async for reply in method(told()):
        taken += reply.taken
        replies += bool(reply.taken)
    return taken, replies, time.perf_counter() - began
