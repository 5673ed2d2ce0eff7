"""(b) A provider goes dark under 50 calls a second: how long calls still go to it, and what becomes of them.

The LLM owner, a process of its own, with the shipped profile: its primary is an OpenAI-compatible backend over a real
socket, its fallback Selene's own. The backend keeps the ledger of what reached it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import uvloop
from selene.llm.v1 import service_pb2 as wire
from selene.llm.v1 import service_pb2_grpc as rpc
from selene.routing.v1.route_pb2 import RouteScope
from selene.routing.v1.routing_pb2 import DOMAIN_LLM

from bench.parts import Say
from bench.process import Server
from bench.report import Cell, Report, Table, Target
from bench.routing.backend import Mode
from bench.routing.owner import served
from bench.stats import Spread
from clients.channel import connect
from servers.llm.settings import LLAMA
from servers.routing.profile import section_of
from servers.routing.shipped import shipped_profile

RATE: Final = 50.0
WELL_S: Final = 5.0
DARK_S: Final = {Mode.REFUSING: 5.0, Mode.HANGING: 25.0}
QUICK_WELL_S, QUICK_DARK_S = 1.0, 2.0
PATIENCE_S: Final = 45.0
"""What a caller waits: more than two whole time-outs of the dark provider."""
LAST_SENT_S: Final = 1.0
UTTERANCE: Final = "what time is it"


@dataclass(frozen=True, slots=True)
class Answered:
    """One call: when it was made, how long it took, who answered ("" where nobody did) and why not, and whether that
    was after another had been tried.
    """

    at: float
    took_s: float
    by: str
    error: str = ""
    switched: bool = False


@dataclass(slots=True)
class Fall:
    """What one darkness came to. `dark_at` is on the clock of `calls`, as is every entry of the backend's `ledger`."""

    dark_at: float
    calls: list[Answered] = field(default_factory=list)
    ledger: list[float] = field(default_factory=list)

    @property
    def last_sent_s(self) -> float:
        """From going dark to the last call that reached the provider, 0 where none did."""
        return max((at - self.dark_at for at in self.ledger), default=0.0)

    @property
    def last_made_s(self) -> float:
        """From going dark to the last call that went on to another provider, 0 where none did."""
        return max((call.at - self.dark_at for call in self.after if call.switched), default=0.0)

    @property
    def after(self) -> list[Answered]:
        """The calls made since."""
        return [call for call in self.calls if call.at >= self.dark_at]

    @property
    def lost(self) -> list[Answered]:
        """The calls, from the beginning, that nobody answered: the fallback was well all the time."""
        return [call for call in self.calls if not call.by]


def measure(say: Say, *, quick: bool = False, seed: int | None = None) -> Report:
    """Both kinds of darkness, each against an owner of its own. `seed` is of the simulation alone."""
    report = Report("b", f"A provider goes dark under {RATE:.0f} calls a second")
    falls: dict[Mode, Fall] = {}
    for mode, dark_s in DARK_S.items():
        say(f"{mode} for {QUICK_DARK_S if quick else dark_s:g} s")
        with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
            times = (QUICK_WELL_S, QUICK_DARK_S) if quick else (WELL_S, dark_s)
            falls[mode] = uvloop.run(_fall(Path(folder), mode, *times))
    timeout_s = _timeout_s()
    report.notes += [
        f"The LLM owner with the shipped profile ({LLAMA} first, with a time-out of {timeout_s:g} s and one retry, "
        "then Selene's own), SQLite, one tenant, over gRPC; calls are made on time whatever became of those before. A "
        "call is lost when no final answer came, although Selene's own was well all the time.",
        "Refusing answers 500 at once, hanging reads the request and says nothing. Who hangs is found out by nothing "
        f"but the time-out: the first call to time out does so {timeout_s:g} s after the darkness began. Calls that "
        "waited meanwhile for one of the adapter's 200 connections are sent as these become free, after the circuit "
        "has opened too.",
    ]
    report.tables.append(where(falls))
    report.tables.append(_latencies(falls))
    refusing, hanging = falls[Mode.REFUSING], falls[Mode.HANGING]
    report.targets += [
        Target("last call sent to a refusing provider", LAST_SENT_S, refusing.last_sent_s, "s"),
        Target("last call sent to a hanging provider", LAST_SENT_S, None if quick else hanging.last_sent_s, "s"),
        Target("calls lost, refusing", 0, len(refusing.lost), ""),
        Target("calls lost, hanging", 0, len(hanging.lost), ""),
    ]
    report.data["falls"] = {mode.value: _data(fall) for mode, fall in falls.items()}
    return report


async def _fall(folder: Path, mode: Mode, well_s: float, dark_s: float) -> Fall:
    with Server((sys.executable, "-m", "bench.routing.backend"), folder / "backend.log") as backend:
        host = backend.targets["backend"]
        flags = {"owners.llm.llama.base_url": f"http://{host}/v1"}
        with served(["llm"], folder / "owner", flags) as owner:
            async with connect(owner.targets["llm"]) as connection, aiohttp.ClientSession(f"http://{host}") as control:
                stub = rpc.LanguageServiceStub(connection.channel)
                for number in range(50):
                    await _call(stub, f"warm-{number}")
                calls = asyncio.ensure_future(_at_rate(stub, RATE, well_s + dark_s))
                await asyncio.sleep(well_s)
                async with control.post(f"/mode/{mode}") as changed:
                    since = (await changed.json())["since"]
                fall = Fall(since, await calls)
                async with control.get("/ledger") as ledger:
                    fall.ledger = (await ledger.json())["calls"]
    return fall


async def _at_rate(stub: Any, rate: float, seconds: float) -> list[Answered]:
    began = time.monotonic()
    calls = []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        calls.append(asyncio.ensure_future(_call(stub, f"call-{number}")))
    return await asyncio.gather(*calls)


async def _call(stub: Any, key: str) -> Answered:
    request = wire.RespondRequest(
        text=UTTERANCE, locale="en-US", scope=RouteScope(tenant_id="dev"), idempotency_key=key
    )
    began = time.monotonic()
    by, switched = "", False
    try:
        async for response in stub.Respond(request, timeout=PATIENCE_S):
            switched = switched or response.WhichOneof("event") == "switched"
            if response.WhichOneof("event") == "final":
                by = response.final.result.provider_ref
    except grpc.aio.AioRpcError as error:
        return Answered(began, time.monotonic() - began, "", f"{error.code().name}: {error.details()}")
    return Answered(began, time.monotonic() - began, by, "" if by else "no final", switched)


def _timeout_s() -> float:
    section = section_of(shipped_profile(), DOMAIN_LLM)
    provider = next(each for each in section.providers if each.provider_ref == LLAMA)
    return provider.timeout.ToMilliseconds() / 1000


def where(falls: Mapping[Mode, Fall]) -> Table:
    """A row a darkness: the calls made, those that reached the provider, and who answered."""
    rows: list[list[Cell]] = []
    for mode, fall in falls.items():
        counted = Counter(call.by for call in fall.after)
        row: list[Cell] = [mode.value, len(fall.calls), len(fall.after), fall.last_made_s, fall.last_sent_s]
        row.append(len(fall.ledger))
        others = sum(number for by, number in counted.items() if by not in ("", LLAMA))
        rows.append([*row, counted[LLAMA], others, len(fall.lost), _why(fall.lost)])
    numbers = ("calls", "since dark", "last made s", "last sent s", "sent since", "answered by it", "by the other")
    columns = ("dark", *numbers, "lost", "why")
    return Table("Where calls went", columns, rows)


def _why(lost: Sequence[Answered]) -> str:
    return ", ".join(f"{number} times {error}" for error, number in Counter(call.error for call in lost).most_common(3))


def _latencies(falls: Mapping[Mode, Fall]) -> Table:
    rows: list[list[Cell]] = []
    for mode, fall in falls.items():
        for name, calls in (
            (f"{mode.value}, before", [call for call in fall.calls if call.at < fall.dark_at]),
            (f"{mode.value}, first second", [call for call in fall.after if call.at < fall.dark_at + 1]),
            (f"{mode.value}, after it", [call for call in fall.after if call.at >= fall.dark_at + 1]),
            (
                f"{mode.value}, made since the last was sent",
                [call for call in fall.after if call.at > fall.dark_at + fall.last_sent_s],
            ),
        ):
            spread = Spread.of([1000 * call.took_s for call in calls if call.by])
            rows.append([name, spread.count, spread.p50, spread.p95, spread.p99, spread.largest])
    return Table(
        "How long callers waited for their answer, ms", ("calls", "answered", "p50", "p95", "p99", "max"), rows
    )


def _data(fall: Fall) -> dict[str, Any]:
    return {
        "last_sent_s": fall.last_sent_s,
        "sent": [at - fall.dark_at for at in fall.ledger],
        "calls": [{**asdict(call), "at": call.at - fall.dark_at} for call in fall.calls],
    }
