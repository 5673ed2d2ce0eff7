"""What stands between a server and a real OpenBao: it passes everything on, notes it, and fails by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from tests.support.simulators.faults import Fault, FaultKind, FaultScript

_STATUSES = {
    FaultKind.BUSY: (429, '{"errors":["request limit exceeded"]}'),
    FaultKind.INTERNAL: (500, '{"errors":["internal error"]}'),
    FaultKind.UNAVAILABLE: (503, '{"errors":["Vault is sealed"]}'),
    FaultKind.FORBIDDEN: (403, '{"errors":["permission denied"]}'),
    FaultKind.BAD_REQUEST: (400, '{"errors":["invalid request"]}'),
    FaultKind.EMPTY: (200, "{}"),
    FaultKind.MALFORMED: (200, '{"data": {"data"'),
    FaultKind.WRONG_SCHEMA: (200, '{"data": {"data": {"base64": 7}, "metadata": {"version": "one"}, "version": true}}'),
}


@dataclass(frozen=True, slots=True)
class Passed:
    """One request that came in, and the status that went out; 0 where none did."""

    method: str
    path: str
    status: int


class Front:
    """Faults by script, everything else by the real server."""

    def __init__(self, behind: str) -> None:
        self.script = FaultScript()
        self.ledger: list[Passed] = []
        self.address = ""
        self._behind = behind
        self._over = asyncio.Event()

    def asked(self, method: str, part: str) -> list[Passed]:
        """Requests of a method whose path holds `part`."""
        return [one for one in self.ledger if one.method == method and part in one.path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        body = await request.read()
        fault = self.script.take()
        status = 0
        try:
            answer = await self._failed(request, fault) if fault else await self._passed_on(request, body)
            status = answer.status
            return answer
        finally:
            self.ledger.append(Passed(request.method, request.path, status))

    def over(self) -> None:
        """Let go of whoever is kept waiting."""
        self._over.set()

    async def _failed(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.kind is FaultKind.HANG:
            await self._over.wait()
        if fault.kind in (FaultKind.HANG, FaultKind.RESET):
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        status, text = _STATUSES[fault.kind]
        return web.Response(status=status, text=text, content_type="application/json")

    async def _passed_on(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower().startswith("x-vault-")}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self._behind + request.path_qs, data=body, headers=headers) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": "application/json"}
            )


@asynccontextmanager
async def fronting(behind: str) -> AsyncIterator[Front]:
    """A front before the server at `behind`, until the block ends."""
    front = Front(behind)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", front.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    front.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield front
    finally:
        front.over()
        await runner.cleanup()
