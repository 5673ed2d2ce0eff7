"""A dispatcher that is killed: what it acknowledged stays, what it held goes to the next, and nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selene.delivery.v1.delivery_pb2 import DELIVERY_STATE_ACCEPTED, DELIVERY_STATE_SENT_ACKED

from store import Store
from tests.store.delivery.deliveries import LEASE, accept, intent, lease, swap
from tests.support.stores import open_store
from tests.support.time import FakeClock

ROOT = Path(__file__).parents[3]
ROWS = 120


@contextmanager
def dispatcher(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.crash_dispatcher", url, name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def printed(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What else was printed before the process was gone; a line cut short was not printed."""
    assert process.stdout is not None
    return [line.strip() for line in process.stdout if line.endswith("\n")]


async def sent_in(store: Store) -> list[str]:
    """What the events say was sent, each as often as they say it."""
    events = await store.delivery.events("t1", limit=10 * ROWS)
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    return [event.delivery.message_id for event in events if event.delivery.state == DELIVERY_STATE_SENT_ACKED]


@pytest.mark.parametrize("acknowledged", [1, 13])
async def test_what_a_killed_dispatcher_held_is_sent_by_the_next_and_nothing_twice(
    store_url: str, clock: FakeClock, acknowledged: int
) -> None:
    store = await open_store(store_url, clock, prefix="before")
    await accept(store, *(intent(f"m{number}", clock.now()) for number in range(ROWS)))
    with dispatcher(store_url, "killed") as process:
        names = printed(process, acknowledged)
        process.send_signal(signal.SIGKILL)
        names += rest(process)
    assert process.returncode == -signal.SIGKILL
    assert len(names) < ROWS
    assert set(names) <= set(await sent_in(store))
    first_round = await lease(store, clock.now(), limit=ROWS)
    held = {row.message_id for row in await store.delivery.page("t1", limit=ROWS) if row.holder == "killed"}
    assert not held & {row.message_id for row in first_round}
    clock.advance(LEASE)
    everything = await lease(store, clock.now(), limit=ROWS)
    assert {row.message_id for row in everything} == {row.message_id for row in first_round} | held
    for row in everything:
        assert row.fence == 2
        assert row.state == DELIVERY_STATE_ACCEPTED
        assert await swap(store, row, DELIVERY_STATE_SENT_ACKED, releases=True)
    assert sorted(await sent_in(store)) == sorted(f"m{number}" for number in range(ROWS))
    await store.close()


async def test_two_dispatchers_share_one_queue_between_processes(store_url: str, clock: FakeClock) -> None:
    store = await open_store(store_url, clock, prefix="before")
    await accept(
        store, *(intent(f"m{number}", clock.now(), recipient_lock=f"r{number % 50}") for number in range(ROWS))
    )
    with dispatcher(store_url, "one") as one, dispatcher(store_url, "other") as other:
        names = rest(one) + rest(other)
        assert (one.wait(), other.wait()) == (0, 0)
    waiting = await store.delivery.page("t1", limit=ROWS, state=DELIVERY_STATE_ACCEPTED)
    assert len(names) == len(set(names))
    assert sorted(names) == sorted(await sent_in(store))
    # Whoever finds every recipient held by the other stops: what is left is not lost.
    assert sorted([*names, *(row.message_id for row in waiting)]) == sorted(f"m{number}" for number in range(ROWS))
    assert names
    await store.close()
