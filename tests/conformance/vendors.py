"""Vendors for the cases: the simulator of OpenAI and a mail server, which fail those who ask them to.

A text that holds `FAIL` is answered with 503, one that holds `HANG` not at all; and so is speech in Danish (`da`),
which holds no text: 503. A mail that holds `FAIL` is refused for good; of one that holds `LOSE` nobody learns whether
it was taken.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller

from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import Call, OpenAiSimulator

VENDOR = "$vendor"
"""Its address, in settings."""
MAIL = "$mail"
"""The port of the mail server, in settings."""


def _fault(call: Call) -> Fault | None:
    asked = json.dumps(call.body)
    if "HANG" in asked:
        return Fault(FaultKind.HANG)
    return Fault(FaultKind.UNAVAILABLE) if "FAIL" in asked or call.body.get("language") == "da" else None


@contextmanager
def simulated() -> Iterator[str]:
    """Its address, until the block ends."""
    simulator = OpenAiSimulator()
    simulator.fault_of = _fault
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = simulator.serve()
    asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result()
    try:
        yield simulator.base_url
    finally:
        asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Mailbox:
    """Takes mails in, or does not, as they ask for."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if b"FAIL" in envelope.content:
            return "550 5.7.1 not wanted here"
        if b"LOSE" in envelope.content:
            server.transport.abort()
        return "250 2.0.0 queued as 4fA9xQ"


@contextmanager
def mail_server() -> Iterator[int]:
    """Its port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    controller = Controller(_Mailbox(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()
