"""Room for what lies open in memory: never more than there is, first come first served, none lost to a cancellation."""

from __future__ import annotations

import asyncio

from servers.delivery.room import Room


async def waiting(room: Room, size: int) -> asyncio.Task[None]:
    task = asyncio.ensure_future(room.entered(size))
    await asyncio.sleep(0)
    return task


async def test_whoever_came_first_enters_first_however_small_the_next_is() -> None:
    room = Room(10)
    assert room.enter(8)
    large, small = await waiting(room, 6), await waiting(room, 1)
    assert not room.enter(1)
    room.leave(8)
    await asyncio.gather(large, small)
    assert room.enter(3) and not room.enter(1)


async def test_what_is_larger_than_all_of_it_has_it_alone() -> None:
    room = Room(10)
    assert room.enter(99)
    assert not room.enter(1) and room.enter(0)
    room.leave(99)
    assert room.enter(10)


async def test_who_stops_waiting_keeps_nobody_waiting() -> None:
    room = Room(10)
    assert room.enter(5)
    large, small = await waiting(room, 6), await waiting(room, 5)
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    await small
    assert not room.enter(1)


async def test_who_was_let_in_and_leaves_at_the_same_moment_gives_its_room_back() -> None:
    room = Room(10)
    assert room.enter(10)
    one, other = await waiting(room, 10), await waiting(room, 10)
    room.leave(10)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    await other
    room.leave(10)
    assert room.enter(10)
    room.leave(10)
    assert room.enter(10)
