from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from servers.runtime.loops import repeat
from store import StoreUnavailable, Unavailability


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable(Unavailability.LOCKED, "busy"), {"cause": "StoreUnavailable"}),
        (KeyError("mira"), {"cause": "KeyError", "place": __file__}),
    ],
)
async def test_whatever_a_round_raises_the_next_one_comes(error: Exception, told: dict[str, str]) -> None:
    rounds, enough = 0, asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds >= 3:
            enough.set()
        raise error

    with capture_logs() as logs:
        loop = asyncio.ensure_future(repeat(work, 0.0, "the work was not done"))
        await asyncio.wait_for(enough.wait(), 5)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert rounds >= 3
    assert logs[0]["event"] == "the work was not done"
    assert {name: _file(name, logs[0][name]) for name in told} == told
    assert "mira" not in str(logs)


async def test_a_loop_ends_when_it_is_cancelled() -> None:
    waiting = asyncio.Event()

    async def work() -> None:
        waiting.set()
        await asyncio.Event().wait()

    loop = asyncio.ensure_future(repeat(work, 0.0, "the work was not done"))
    await waiting.wait()
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


def _file(name: str, value: Any) -> str:
    """A place without its line."""
    return str(value).rsplit(":", 1)[0] if name == "place" else str(value)
