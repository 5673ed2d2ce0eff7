"""A provider to measure with: OpenAI's chat completions on a loopback port, that takes as long as it is told.

    python -m bench.routing.backend

An utterance with `wait 175 ms` in it is answered after 175 ms. The answer is a decision packet whose slot `own_us` says
how long the backend itself had the call, so that whatever is in between can be told from it. `POST /mode/<mode>` makes
it well, refusing or hanging; `GET /ledger` gives the mode, since when, and when each call has come since, in seconds of
the machine's monotonic clock, which all processes share. Prints the line that `selene up --json` prints.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import uvloop
from aiohttp import web

OWN: Final = "own_us"
_WAIT: Final = re.compile(r"wait (\d+) ms")


class Mode(StrEnum):
    """What it does with a call."""

    WELL = "well"
    REFUSING = "refusing"
    HANGING = "hanging"


def asked(wait_ms: int) -> str:
    """An utterance that is answered after so long."""
    return f"what time is it, wait {wait_ms} ms"


def wait_s(text: str) -> float:
    """How long an utterance is to be waited for; 0 where it does not say."""
    found = _WAIT.search(text)
    return int(found.group(1)) / 1000 if found else 0.0


def packet(own_us: int) -> str:
    """The answer, as a model writes it."""
    return json.dumps(
        {
            "intent": "time.query",
            "reply": "It is noon, and the sun is out.",
            "confidence_bp": 9_100,
            "needs_clarification": False,
            "slots": [{"name": OWN, "value": str(own_us)}],
        }
    )


def events(content: str) -> bytes:
    """A whole answer as server-sent events, in pieces of 20 characters."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": content[at : at + 20]} for at in range(0, len(content), 20)]
    chunks = [_chunk(delta, None) for delta in deltas] + [_chunk({}, "stop")]
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


def whole(content: str) -> dict[str, Any]:
    """An answer that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [choice],
    }


def content_of(answer: bytes) -> str:
    """What the model wrote, of an answer in either form. KeyError and ValueError for what is none."""
    if not answer.startswith(b"data:"):
        return str(json.loads(answer)["choices"][0]["message"]["content"])
    lines = (line.removeprefix(b"data:").strip() for line in answer.splitlines() if line.startswith(b"data:"))
    chunks = [json.loads(line) for line in lines if line != b"[DONE]"]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


def own_s(slots: Mapping[str, str]) -> float:
    """How long the backend had a call, by the slots of its answer. KeyError for an answer that is not its own."""
    return int(slots[OWN]) / 1e6


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench",
        "choices": [choice],
    }


class Backend:
    """The handlers, and what they know."""

    def __init__(self) -> None:
        self._mode = Mode.WELL
        self._since = time.monotonic()
        self._calls: list[float] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/mode/{mode}", self._become)
        app.router.add_get("/ledger", self._ledger)
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        self._calls.append(began)
        if self._mode is Mode.REFUSING:
            error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=500)
        if self._mode is Mode.HANGING:
            await asyncio.Event().wait()
        body = await request.json()
        await asyncio.sleep(wait_s(body["messages"][-1]["content"]))
        content = packet(round(1e6 * (time.monotonic() - began)))
        if body.get("stream"):
            return web.Response(body=events(content), headers={"Content-Type": "text/event-stream"})
        return web.json_response(whole(content))

    async def _become(self, request: web.Request) -> web.StreamResponse:
        self._mode = Mode(request.match_info["mode"])
        self._since = time.monotonic()
        self._calls = []
        return web.json_response({"since": self._since})

    async def _ledger(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"mode": self._mode, "since": self._since, "calls": self._calls})


async def _serve() -> None:
    runner = web.AppRunner(Backend().app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    host, port = runner.addresses[0][:2]
    print(json.dumps({"targets": {"backend": f"{host}:{port}"}}), flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
