"""A language owner in a process of its own, for a test to kill."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from selene.routing.v1.routing_pb2 import DOMAIN_LLM, ProviderRoutingProfileV1

from servers.llm.assembly import assemble
from servers.routing.defaults import ProviderSeed, default_profile
from servers.runtime.server import Runtime, Service
from tests.support.keys import RotatingKey
from tests.support.owners import Owners, serving
from tests.support.servers import SteppedClock

PROVIDER: Final = "openai/llm"
PRICE: Final = 1_000_000
"""Micros of a thousand characters."""


def profile() -> ProviderRoutingProfileV1:
    """One provider of language, and nobody to fall back on."""
    seeds = [ProviderSeed(provider_ref=PROVIDER, region="us", timeout_s=20.0, max_retries=0)]
    return default_profile(
        {DOMAIN_LLM: seeds}, effective_from=datetime(2026, 1, 1, tzinfo=UTC), judge_threshold_set_id="test-1"
    )


def owner(data_dir: Path, store_url: str, base_url: str, clock: SteppedClock | None = None) -> Any:
    """The owner over this store and this vendor, until the block ends."""

    async def build(runtime: Runtime) -> Sequence[Service]:
        return await assemble(runtime, credential_of=lambda provider_ref: RotatingKey())

    flags: Mapping[str, Any] = {
        "store.url": store_url,
        "owners.llm.openai.base_url": base_url,
        "owners.routing.prices": {PROVIDER: PRICE},
    }
    return serving(["llm"], data_dir, flags, profile=profile(), builds={"llm": build}, clock=clock)


async def main(tells: Connection, data_dir: Path, store_url: str, base_url: str) -> None:
    """Serve until it is killed; tells where."""
    owners: Owners
    async with owner(data_dir, store_url, base_url) as owners:
        tells.send(owners.running.target("llm"))
        await asyncio.Event().wait()
