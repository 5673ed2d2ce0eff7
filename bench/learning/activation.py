"""(d) How soon a running server goes by a pointer that another process moved: threshold pack and routing profile."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from selene.routing.v1 import service_pb2 as routing
from selene.routing.v1 import service_pb2_grpc as routing_grpc
from selene.routing.v1.routing_pb2 import ProviderRoutingProfileV1, RoutingSubject
from selene.voiceid.v1 import service_pb2 as voiceid
from selene.voiceid.v1 import service_pb2_grpc as voiceid_grpc

from bench.delivery import world
from bench.parts import Say
from bench.report import Cell, Report, Table, Target
from bench.routing.owner import served
from bench.stats import Spread
from servers import packs
from servers.routing import directory
from servers.routing.profile import ARTIFACT_TYPE as ROUTING_PROFILE
from servers.runtime.clock import SystemClock
from servers.runtime.config import load_settings
from servers.runtime.ids import UuidV7Ids
from servers.runtime.storage import SYSTEM_TENANT, open_store
from servers.shipped import ARTIFACT_TYPE, DEPLOYMENT, register_pack
from servers.voiceid.calibration.pack import parse
from store import Store

TENANT: Final = world.TENANT
MOVES: Final = 20
QUICK_MOVES: Final = 3
LIMIT_MS: Final = 1000.0
LOOK_EVERY_S: Final = 0.005
APART_S: Final = 0.5
"""The longest pause before a move: moves are not to follow the beat at which a server looks."""
PATIENCE_S: Final = 30.0

Look = Callable[[], Awaitable[int]]
"""The version that a running server says it goes by."""
Move = Callable[[int], Awaitable[object]]
"""Returns when the pointer's move to this version is committed."""


@dataclass(frozen=True, slots=True)
class Activated:
    """Of one store and kind of artifact: milliseconds from the commit to the reply that shows the new version, those of
    one call while nothing moves, and how many calls were still answered by the old version on average.
    """

    store: str
    what: str
    seen_ms: Spread
    call_ms: Spread
    answered_by_the_old: float


def measure(say: Say, *, quick: bool) -> Report:
    """Both stores, one after the other."""
    report = Report("d", "Activation: from the commit of the pointer to the reply of a running server")
    moves = QUICK_MOVES if quick else MOVES
    report.notes += [
        "A process of voice identity, one of the language model's owner, and this process, which moves the pointers, "
        "on one store. Voice identity runs without models: GetThresholdPack resolves the pack as a decision does.",
        f"{moves} moves each, at random instants; then calls, {1000 * LOOK_EVERY_S:g} ms after each other's replies, "
        "until one shows the new version. The time includes that call. Seen at ResolveProfile for routing.",
        "The move is the store's own transaction with its audit row; what leads to it (gates, approvals) is not timed.",
    ]
    found: list[Activated] = []
    for name, url in world.stores(report):
        say(f"activating on {name}")
        with tempfile.TemporaryDirectory(prefix="selene-bench-") as folder:
            found += asyncio.run(_measured(name, Path(folder), url or f"sqlite:///{folder}/shared.db", moves))
    rows: list[list[Cell]] = [
        [
            one.store,
            one.what,
            one.seen_ms.count,
            one.seen_ms.p50,
            one.seen_ms.p95,
            one.seen_ms.largest,
            one.call_ms.p50,
            one.answered_by_the_old,
        ]
        for one in found
    ]
    columns = ("store", "pointer", "moves", "p50 ms", "p95 ms", "max ms", "a call p50 ms", "calls by the old version")
    report.tables.append(Table("From the commit to the first reply by the new version", columns, rows))
    report.targets += [
        Target(f"{one.store}: {one.what}, the slowest of {one.seen_ms.count}", LIMIT_MS, one.seen_ms.largest, "ms")
        for one in found
    ]
    report.data["activations"] = [asdict(one) for one in found]
    return report


async def _measured(name: str, folder: Path, url: str, moves: int) -> list[Activated]:
    data_dir, models = folder / "data", folder / "no-models"
    models.mkdir()
    flags: dict[str, Any] = {"store.url": url}
    voice = served(["voiceid"], data_dir, {**flags, "owners.voiceid": {"models_dir": str(models)}})
    with voice, served(["llm"], data_dir, flags) as language:
        clock = SystemClock()
        settings = load_settings(None, {**flags, "data_dir": data_dir, "development.enabled": True})
        store = await open_store(settings, clock, UuidV7Ids(clock))
        try:
            async with (
                grpc.aio.insecure_channel(voice.targets["voiceid"]) as to_voice,
                grpc.aio.insecure_channel(language.targets["llm"]) as to_language,
            ):
                chance = random.Random(moves)
                return [
                    await _pack(name, store, to_voice, moves, chance),
                    await _profile(name, store, to_language, moves, chance),
                ]
        finally:
            await store.close()


async def _pack(name: str, store: Store, channel: grpc.aio.Channel, moves: int, chance: random.Random) -> Activated:
    """The tenant's threshold packs: the shipped one under names of their own, so that each is another content."""
    scope = packs.scope_of(TENANT)
    pointer = await store.artifacts.pointer(ARTIFACT_TYPE, "", DEPLOYMENT)
    if pointer is None:
        raise RuntimeError("the server did not register the shipped threshold pack")
    shipped = parse(await store.artifacts.payload(pointer.active_package_hash))
    versions = []
    for number in range(moves + 1):
        payload = shipped.model_copy(update={"cohort": f"bench-{number}"}).canonical()
        row = await register_pack(store, payload, scope=scope, tenant_id=TENANT, provenance_ref="bench", activate=False)
        versions.append(row.artifact_version)
    stub = voiceid_grpc.PolicyServiceStub(channel)

    async def look() -> int:
        reply = await stub.GetThresholdPack(voiceid.GetThresholdPackRequest(tenant_id=TENANT))
        # Until the first move it is the deployment's, whose versions are another line.
        return int(reply.pack.pack_ref.rpartition("@")[2]) if reply.pack.cohort.startswith("bench-") else 0

    async def move(version: int) -> object:
        return await packs.activate(store, version, TENANT, accept_provisional=True)

    return await _activated(name, "threshold pack at voice identity", versions, look, move, chance)


async def _profile(name: str, store: Store, channel: grpc.aio.Channel, moves: int, chance: random.Random) -> Activated:
    """The deployment's routing profile: the shipped content under later versions."""
    pointer = await store.artifacts.pointer(ROUTING_PROFILE, "", DEPLOYMENT)
    if pointer is None:
        raise RuntimeError("the server did not register the shipped routing profile")
    profile = ProviderRoutingProfileV1.FromString(await store.artifacts.payload(pointer.active_package_hash))
    versions = [pointer.active_version + number for number in range(1, moves + 2)]
    for version in versions:
        profile.profile_version = version
        profile.artifact_id = f"{ROUTING_PROFILE}@{version}"
        profile.rollback_pointer_ref = f"{ROUTING_PROFILE}@{version - 1}"
        async with store.transaction() as tx:
            await directory.register(tx, profile, idempotency_key=f"bench-{version}", created_by="PH1.GOV")
            _audit(tx, "routing_profile.registered")
    stub = routing_grpc.RoutingServiceStub(channel)
    request = routing.ResolveProfileRequest(subject=RoutingSubject(tenant_id=TENANT, locale="en-GB"))

    async def look() -> int:
        return int((await stub.ResolveProfile(request)).profile_version)

    async def move(version: int) -> object:
        async with store.transaction() as tx:
            moved = await tx.artifacts.activate(ROUTING_PROFILE, "", DEPLOYMENT, version)
            _audit(tx, "routing_profile.activated")
        return moved

    return await _activated(name, "routing profile at the language model's", versions, look, move, chance)


def _audit(tx: Any, transition: str) -> None:
    tx.audit(
        tenant_id=SYSTEM_TENANT,
        owner="PH1.GOV",
        actor="system",
        transition=transition,
        reason_code="BENCH",
        scope=DEPLOYMENT,
    )


async def _activated(
    name: str, what: str, versions: list[int], look: Look, move: Move, chance: random.Random
) -> Activated:
    """The first move is made for warmth and not counted."""
    seen: list[float] = []
    calm: list[float] = []
    old = 0
    for number, version in enumerate(versions):
        await asyncio.sleep(chance.uniform(0.0, APART_S))
        began = time.perf_counter()
        await look()
        looked = time.perf_counter() - began
        await move(version)
        spent, missed = await until_seen(look, version)
        if number:
            calm.append(1000 * looked)
            seen.append(1000 * spent)
            old += missed
    return Activated(name, what, Spread.of(seen), Spread.of(calm), old / len(seen))


async def until_seen(look: Look, version: int) -> tuple[float, int]:
    """Seconds from now to the end of the first look that shows the version, and how many before did not.

    TimeoutError after `PATIENCE_S`.
    """
    began, missed = time.perf_counter(), 0
    async with asyncio.timeout(PATIENCE_S):
        while await look() != version:
            missed += 1
            await asyncio.sleep(LOOK_EVERY_S)
    return time.perf_counter() - began, missed
