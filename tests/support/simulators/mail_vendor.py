"""What Resend's and SendGrid's simulators share: a server that notes what it took, and goes wrong by script.

A call has one piece, the acceptance: a fault with ``after=0`` comes before the vendor takes the mail, one with
``after=1`` when it has taken it, and only the answer is lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDictProxy

from tests.support.simulators.faults import Fault, FaultKind, FaultScript

_STATUS = {
    FaultKind.BUSY: 429,
    FaultKind.INTERNAL: 500,
    FaultKind.UNAVAILABLE: 503,
    FaultKind.UNAUTHENTICATED: 401,
    FaultKind.FORBIDDEN: 403,
    FaultKind.BAD_REQUEST: 400,
}


@dataclass(slots=True)
class Call:
    """A request as it came, and the connection that it came by."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    connection: int

    @property
    def secret(self) -> str:
        """The key that it was made with."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(slots=True)
class Mail:
    """A mail that the vendor took."""

    id: str
    body: dict[str, Any]
    key: str = ""
    event: str = "sent"


@dataclass(slots=True)
class MailVendor:
    """Served by `serve`. ``keys`` are the secrets that it accepts. ``taken`` is the ledger of what it accepted."""

    keys: set[str]
    faults: FaultScript = field(default_factory=FaultScript)
    calls: list[Call] = field(default_factory=list)
    taken: list[Mail] = field(default_factory=list)
    base_url: str = ""
    retry_after: str | None = None
    hung: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: dict[object, int] = field(default_factory=dict)

    def routes(self) -> dict[tuple[str, str], Callable[[web.Request, Call], web.Response]]:
        """What is served: method and path, and what answers."""
        raise NotImplementedError

    def error(self, status: int) -> web.Response:
        """An error in the vendor's shape."""
        raise NotImplementedError

    def answered(self, kind: FaultKind, answer: web.Response) -> web.Response:
        """An answer that is well but for its content."""
        raise NotImplementedError

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """On a port of its own, until left."""
        app = web.Application(client_max_size=1 << 26)
        for (method, path), answer in self.routes().items():
            app.router.add_route(method, path, self._handler(answer))
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _handler(
        self, answer: Callable[[web.Request, Call], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            number = self._connections.setdefault(request.transport, len(self._connections))
            call = Call(request.method, request.path, request.headers, await request.read(), number)
            self.calls.append(call)
            fault = self.faults.take()
            try:
                return await self._answered(request, call, answer, fault)
            except asyncio.CancelledError:
                self.gone.set()
                raise

        return handle

    async def _answered(
        self,
        request: web.Request,
        call: Call,
        answer: Callable[[web.Request, Call], web.Response],
        fault: Fault | None,
    ) -> web.Response:
        if fault is not None and fault.after == 0:
            await self._interfere(request, fault)
            if fault.kind in _STATUS:
                return self._failed(_STATUS[fault.kind])
        if call.secret not in self.keys:
            return self._failed(401)
        response = answer(request, call)
        if fault is None:
            return response
        if fault.after > 0:
            await self._interfere(request, fault)
        if fault.after > 0 and fault.kind in _STATUS:
            return self._failed(_STATUS[fault.kind])
        return self.answered(fault.kind, response)

    async def _interfere(self, request: web.Request, fault: Fault) -> None:
        if fault.kind is FaultKind.LATENCY:
            await asyncio.sleep(fault.seconds)
        if fault.kind is FaultKind.HANG:
            self.hung.set()
            await asyncio.Event().wait()
        if fault.kind is FaultKind.RESET:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError

    def _failed(self, status: int) -> web.Response:
        response = self.error(status)
        if self.retry_after is not None:
            response.headers["Retry-After"] = self.retry_after
        return response
