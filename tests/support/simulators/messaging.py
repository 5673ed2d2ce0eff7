"""What the simulated vendors of messages have in common: a ledger that judges, faults call by call, and webhooks."""

from __future__ import annotations

import asyncio
import base64
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

import aiohttp
from aiohttp import web


class Trouble(Enum):
    """A way for one request to go wrong."""

    LOSE_REPLY = auto()
    """Takes it, and breaks the connection instead of answering."""
    HALF_REPLY = auto()
    """Takes it, and breaks off in the middle of the answer."""
    REPLY_TWICE = auto()
    """Takes it once, and answers twice on the same connection."""
    LATE_REPLY = auto()
    """Takes it, and answers `seconds` late."""
    TAKE_LATE = auto()
    """Takes it `seconds` late, whether or not the caller is still there."""
    HANG = auto()
    """Takes it, and never answers."""
    RESET = auto()
    """Breaks the connection after the body, and takes nothing."""
    REFUSE = auto()
    """Answers `status` with the vendor's `code`, and takes nothing."""
    TAKE_AND_FAIL = auto()
    """Takes it, and answers `status` all the same."""
    MALFORMED = auto()
    """Takes it, and answers with what is not of its format."""
    WRONG_SCHEMA = auto()
    """Takes it, and answers in its format without an id."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """What goes wrong with one request."""

    trouble: Trouble
    seconds: float = 0.0
    status: int = 500
    code: int | str = ""
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message in the ledger. ``reference`` is what the caller sent along; ``callback`` where to report to."""

    message_id: str
    to: str
    reference: str
    body: Mapping[str, Any]
    callback: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook, signed."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class MessagingSimulator(ABC):
    """Served by `serve`. ``secrets`` are those that it takes. ``accepted`` is the ledger.

    ``before`` and ``after`` are the statuses that it reports before and after its answer to the requests to come, in
    that order; twice where they are named twice. ``hooks`` are those that it made, and posted where it has a URL.
    """

    def __init__(self, secrets: set[str]) -> None:
        self.secrets = secrets
        self.asked: list[Asked] = []
        self.accepted: list[Accepted] = []
        self.refused: list[int] = []
        self.hooks: list[Hook] = []
        self.before: tuple[str, ...] = ()
        self.after: tuple[str, ...] = ()
        self.base_url = ""
        self.hung = asyncio.Event()
        self.left = asyncio.Event()
        self._wrong: deque[Wrong | None] = deque()
        self._released = asyncio.Event()
        self._late: set[asyncio.Task[None]] = set()

    def plan(self, *wrongs: Wrong | Trouble | None) -> None:
        """What goes wrong with the next requests, in order; None is one that goes well, as is every one after."""
        self._wrong.extend(Wrong(each) if isinstance(each, Trouble) else each for each in wrongs)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """On a port of its own, until left."""
        app = web.Application()
        self._route(app.router)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            self._released.set()
            await asyncio.gather(*self._late)
            await runner.cleanup()

    @abstractmethod
    def _route(self, router: web.UrlDispatcher) -> None:
        """Its paths."""

    @abstractmethod
    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        """A message for the ledger, or the answer to what is not one."""

    @abstractmethod
    def _answer(self, taken: Accepted) -> web.Response:
        """That it was taken."""

    @abstractmethod
    def error(self, status: int, code: int | str) -> web.Response:
        """An error in the vendor's format."""

    @abstractmethod
    def hook(self, taken: Accepted, status: str) -> Hook:
        """The webhook that reports a status."""

    def secret_of(self, headers: Mapping[str, str]) -> str:
        """What a request shows as its secret."""
        scheme, _, said = headers.get("Authorization", "").partition(" ")
        return base64.b64decode(said).decode().partition(":")[2] if scheme == "Basic" else said

    async def _posted(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        headers = dict(request.headers)
        self.asked.append(Asked(request.method, request.path, dict(request.query), headers, body))
        if self.secret_of(headers) not in self.secrets:
            return self._no(self.error(401, "unauthorized"))
        wrong = self._wrong.popleft() if self._wrong else None
        if wrong is not None and wrong.trouble is Trouble.RESET:
            return self._break(request)
        if wrong is not None and wrong.trouble is Trouble.REFUSE:
            answer = self.error(wrong.status, wrong.code)
            if wrong.retry_after:
                answer.headers["Retry-After"] = wrong.retry_after
            return self._no(answer)
        if wrong is not None and wrong.trouble is Trouble.TAKE_LATE:
            task = asyncio.create_task(self._taken_late(body, wrong.seconds))
            self._late.add(task)
            await self._released.wait()
            return self._break(request)
        taken = self._take(body)
        if isinstance(taken, web.Response):
            return self._no(taken)
        self.accepted.append(taken)
        await self._report(taken, self.before)
        response = await self._replied(request, taken, wrong)
        await self._report(taken, self.after)
        return response

    async def _replied(self, request: web.Request, taken: Accepted, wrong: Wrong | None) -> web.StreamResponse:
        answer = self._answer(taken)
        match wrong.trouble if wrong is not None else None:
            case Trouble.LOSE_REPLY:
                return self._break(request)
            case Trouble.HALF_REPLY:
                return self._break(request, _raw(answer)[:-5])
            case Trouble.REPLY_TWICE:
                return self._break(request, _raw(answer) * 2, gently=True)
            case Trouble.HANG:
                self.hung.set()
                await self._released.wait()
            case Trouble.LATE_REPLY if wrong is not None:
                await asyncio.sleep(wrong.seconds)
            case Trouble.TAKE_AND_FAIL if wrong is not None:
                return self.error(wrong.status, wrong.code)
            case Trouble.MALFORMED:
                return web.Response(status=answer.status, text="<html>Log in to this network</html>")
            case Trouble.WRONG_SCHEMA:
                return web.json_response({"id": 5, "messages": {}, "sid": None}, status=answer.status)
        return answer

    async def _taken_late(self, body: Mapping[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        taken = self._take(body)
        assert isinstance(taken, Accepted)
        self.accepted.append(taken)
        await self._report(taken, (*self.before, *self.after))
        self.left.set()

    async def _report(self, taken: Accepted, statuses: tuple[str, ...]) -> None:
        for status in statuses:
            hook = self.hook(taken, status)
            self.hooks.append(hook)
            if hook.url.startswith("http://127.0.0.1"):
                async with aiohttp.ClientSession() as session:
                    await session.post(hook.url, data=hook.body, headers=hook.headers)

    def _no(self, answer: web.Response) -> web.Response:
        self.refused.append(answer.status)
        return answer

    def _break(self, request: web.Request, first: bytes = b"", *, gently: bool = False) -> web.StreamResponse:
        assert request.transport is not None
        if first:
            assert isinstance(request.transport, asyncio.WriteTransport)
            request.transport.write(first)
        if gently or first:
            request.transport.close()
        else:
            request.transport.abort()
        raise ConnectionResetError


def _raw(answer: web.Response) -> bytes:
    body = answer.body
    assert isinstance(body, bytes)
    head = f"HTTP/1.1 {answer.status} As-It-Is\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
