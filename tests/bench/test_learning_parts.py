"""What the benchmark of capturing is made of; nothing here is timed."""

from __future__ import annotations

from datetime import UTC, datetime

from bench.learning import capturing
from bench.learning.__main__ import ROOM
from bench.parts import import_module
from servers.learning.capturing import Rules, nanoseconds
from servers.learning.settings import IntakeSettings

RULES = Rules(IntakeSettings().limits())


def test_signals_of_a_run_are_sound_and_all_different() -> None:
    made = [capturing.signal(number, "run") for number in range(100)]
    assert [RULES.broken(one) for one in made] == [None] * 100
    assert {RULES.sound(one, nanoseconds(datetime.now(UTC))).late for one in made} == {None}
    assert len({(one.signal_id, one.idempotency_key) for one in made}) == 100
    assert capturing.signal(1, "other").idempotency_key not in {one.idempotency_key for one in made}


def test_every_part_of_the_room_can_be_measured() -> None:
    for module in ROOM.parts.values():
        assert callable(import_module(f"bench.learning.{module}").measure)
