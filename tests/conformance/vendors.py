"""A vendor for the cases: the simulator of OpenAI, which fails those who ask it to.

A text that holds `FAIL` is answered with 503, one that holds `HANG` not at all; and so is speech in Danish (`da`),
which holds no text: 503.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.openai import Call, OpenAiSimulator

VENDOR = "$vendor"
"""Its address, in settings."""


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
