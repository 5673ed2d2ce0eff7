"""What Google's adapters share; how calls end is tested with the adapters, against the simulator."""

from __future__ import annotations

import asyncio
import logging
import math

import grpc
import pytest

from servers.routing.google import CallFailed, Interrupted, Stream, answer, open_channel, wire_timeout, without_metadata
from servers.routing.reasons import ProviderReason


class Opened:
    """A call that has just been opened, as Google's client hands it out."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True


@pytest.mark.parametrize(
    "endpoint",
    [
        "speech.googleapis.com:443",
        "10.0.0.1:443",
        "127.0.0.1.example.com:443",
        "localhost:443",
        "[2001:db8::1]:443",
        "",
    ],
)
async def test_plaintext_leaves_this_machine_never(endpoint: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        open_channel(endpoint, plaintext=True, max_response_bytes=1)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1"])
async def test_plaintext_is_for_loopback_addresses(endpoint: str) -> None:
    channel = open_channel(endpoint, plaintext=True, max_response_bytes=1)
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()


@pytest.mark.parametrize(("left", "timeout"), [(1.5, 1.5), (0.0, 0.0), (-1.0, 0.0), (math.inf, None)])
def test_no_end_is_no_timeout(left: float, timeout: float | None) -> None:
    assert wire_timeout(left) == timeout


def test_only_records_that_hold_metadata_are_kept_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    name = "test.google.transport"
    without_metadata(name)
    without_metadata(name)
    with caplog.at_level(logging.DEBUG, name):
        logging.getLogger(name).debug("sent", extra={"metadata": {"x-goog-api-key": "k"}})
        logging.getLogger(name).debug("created")
    assert [record.message for record in caplog.records] == ["created"]


async def test_a_call_that_opens_after_it_was_given_up_is_cancelled() -> None:
    opening: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    with pytest.raises(CallFailed) as failed:
        await Stream.open(opening, 0.0)
    assert failed.value.reason is ProviderReason.DEADLINE_EXCEEDED
    late = Opened()
    opening.set_result(late)
    await asyncio.sleep(0)
    assert late.cancelled


async def test_a_call_that_fails_to_open_after_it_was_given_up_is_forgotten() -> None:
    opening: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
    interrupt = asyncio.Event()
    interrupt.set()
    with pytest.raises(Interrupted):
        await Stream.open(opening, math.inf, interrupt)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    opening.set_exception(ConnectionResetError())
    await asyncio.sleep(0)
    del opening
    assert complaints == []


async def test_what_is_waited_for_no_more_is_cancelled() -> None:
    hanging = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(CallFailed) as failed:
        await answer(hanging, 0.0)
    assert failed.value.reason is ProviderReason.DEADLINE_EXCEEDED
    assert hanging.cancelled()


async def test_whatever_googles_client_stumbles_over_is_a_malformed_response_without_its_text() -> None:
    async def stumble() -> None:
        raise ValueError("the whole request, quoted")

    with pytest.raises(CallFailed) as failed:
        await answer(stumble(), 1.0)
    assert failed.value.reason is ProviderReason.RESPONSE_MALFORMED
    assert "quoted" not in str(failed.value)
