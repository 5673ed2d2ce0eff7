"""Streams that wait for their caller: within the window, for the same ask, in bounded number."""

from __future__ import annotations

import pytest
from selene.voiceid.v1 import voiceid_pb2 as v1

from servers.runtime.auth import Principal
from servers.runtime.errors import Refusal
from servers.voiceid.engine import Ask, Hearing
from servers.voiceid.streams import MAX_WAITING, LiveStreams

ME = Principal("t-1", "mira", "d-1", frozenset({"user"}))


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def live(time: Time) -> LiveStreams:
    return LiveStreams(30.0, time)


def ask(stream_id: str, *, resume: str = "", claim: str = "", caller: Principal = ME, **fields: str) -> Ask:
    config = v1.StreamConfig(tenant_id="t-1", device_id="d-1", session_id="s-1", resume_stream_id=resume)
    for name, value in fields.items():
        setattr(config, name, value)
    return Ask(stream_id, config, claim, caller)


def hearing(stream_id: str) -> Hearing:
    return Hearing(ask(stream_id), None)


def test_a_dropped_stream_is_found_within_the_window(live: LiveStreams, time: Time) -> None:
    stream = live.open(hearing("a"))
    stream.next_sequence = 7
    live.detach(stream)
    time.now += 29.9
    assert live.resume(ask("a", resume="a")) is stream
    assert stream.attached and live.waiting == 0


def test_it_is_gone_after_the_window(live: LiveStreams, time: Time) -> None:
    live.detach(live.open(hearing("a")))
    time.now += 30.0
    with pytest.raises(Refusal):
        live.resume(ask("a", resume="a"))
    assert live.waiting == 0


def test_every_drop_gives_a_whole_window(live: LiveStreams, time: Time) -> None:
    stream = live.open(hearing("a"))
    for _ in range(5):
        live.detach(stream)
        time.now += 20.0
        assert live.resume(ask("a", resume="a")) is stream


@pytest.mark.parametrize(
    "other",
    [
        ask("a", resume="b"),
        ask("a", resume="a", claim="otto"),
        ask("a", resume="a", session_id="s-2"),
        ask("a", resume="a", caller=Principal("t-1", "mira", "d-1", frozenset({"user", "service"}))),
        ask("a", resume="a", caller=Principal("t-1", "otto", "d-1", frozenset({"user"}))),
    ],
)
def test_another_ask_does_not_take_it(live: LiveStreams, other: Ask) -> None:
    live.detach(live.open(hearing("a")))
    with pytest.raises(Refusal) as refusal:
        live.resume(other)
    assert refusal.value.reason_name == "SESSION_NOT_RESUMABLE"
    assert live.waiting == 1, "and it still waits for its own"


def test_another_call_of_the_same_caller_takes_it(live: LiveStreams) -> None:
    """Each call has ids of its own; they are no part of what was asked."""
    stream = live.open(hearing("a"))
    live.detach(stream)
    again = ask("a", resume="a")
    again.config.turn.correlation_id = "another call"
    assert live.resume(again) is stream


def test_a_refused_stream_does_not_wait(live: LiveStreams) -> None:
    live.end(live.open(hearing("a")))
    assert live.waiting == 0
    with pytest.raises(Refusal):
        live.resume(ask("a", resume="a"))


def test_the_oldest_gives_way_to_the_newest(live: LiveStreams) -> None:
    for number in range(MAX_WAITING + 1):
        live.detach(live.open(hearing(str(number))))
    assert live.waiting == MAX_WAITING
    with pytest.raises(Refusal):
        live.resume(ask("0", resume="0"))
    assert live.resume(ask("1", resume="1")).ask.stream_id == "1"


def test_a_server_that_stops_keeps_nobody_waiting(live: LiveStreams) -> None:
    live.detach(live.open(hearing("a")))
    live.close()
    assert live.waiting == 0
