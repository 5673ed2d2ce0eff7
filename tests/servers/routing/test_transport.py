"""HTTP under a vendor's client, against bare sockets: what comes back, and what each way to fail is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from servers.routing.transport import LARGE_BYTES, Transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: session=1\r\n\r\nok"


class Peer:
    """Answers each request with the same bytes and keeps the connection, unless it is told to hang up."""

    def __init__(self, answer: bytes, *, hangs_up: bool) -> None:
        self.answer = answer
        self.hangs_up = hangs_up
        self.base_url = ""
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length or 0)))
                writer.write(self.answer)
                await writer.drain()
                if self.hangs_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        finally:
            writer.close()


@asynccontextmanager
async def served(
    answer: bytes = OK, *, hangs_up: bool = False, max_answer_bytes: int = 1_000
) -> AsyncIterator[tuple[Peer, httpx2.AsyncClient]]:
    peer = Peer(answer, hangs_up=hangs_up)
    async with await asyncio.start_server(peer.handle, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        peer.base_url = f"http://{host}:{port}"
        transport = Transport(peer.base_url, max_connections=2, idle_s=60, max_answer_bytes=max_answer_bytes)
        async with httpx2.AsyncClient(transport=transport, timeout=5) as client:
            yield peer, client


async def test_calls_share_a_connection_and_no_cookie() -> None:
    async with served() as (peer, client):
        for _ in range(3):
            answer = await client.post(peer.base_url, content=b"body")
            assert (answer.status_code, answer.content) == (200, b"ok")
            client.cookies.clear()
        assert peer.connections == 1
        assert peer.bodies == [b"body"] * 3
        assert all(b"cookie" not in head.lower() for head in peer.heads)


async def test_the_request_is_sent_as_it_was_made() -> None:
    async with served() as (peer, client):
        headers = {"Authorization": "Bearer s", "X-Stainless-Lang": "python"}
        await client.post(f"{peer.base_url}/a%2Fb?c=%20d", content=b"x", headers=headers)
        (head,) = peer.heads
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /a%2Fb?c=%20d HTTP/1.1"
        assert {b"Authorization: Bearer s", b"X-Stainless-Lang: python"} <= set(lines)
        assert sum(line.lower().startswith(b"user-agent:") for line in lines) == 1


async def test_a_large_body_is_sent_whole() -> None:
    async with served() as (peer, client):
        body = bytes(range(256)) * (LARGE_BYTES // 64)
        await client.post(peer.base_url, content=body)
        assert peer.bodies == [body]


async def test_a_body_that_was_not_read_to_its_end_hangs_up() -> None:
    async with served(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as (peer, client):
        async with client.stream("POST", peer.base_url) as answer:
            assert await anext(answer.aiter_bytes()) == b"half"
        await asyncio.wait_for(peer.gone.wait(), 5)
        assert peer.connections == 1


FAILURES: list[tuple[bytes, bool, type[httpx2.HTTPError]]] = [
    (b"", True, httpx2.RemoteProtocolError),
    (b"no HTTP at all\r\n\r\n", True, httpx2.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", True, httpx2.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", False, httpx2.RemoteProtocolError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"a" * 2_000, False, httpx2.DecodingError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\nnot gzip!", False, httpx2.DecodingError),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", False, httpx2.ReadTimeout),
]


@pytest.mark.parametrize(("answer", "hangs_up", "failure"), FAILURES)
async def test_each_way_to_fail_is_called_what_httpx_calls_it(
    answer: bytes, hangs_up: bool, failure: type[httpx2.HTTPError]
) -> None:
    async with served(answer, hangs_up=hangs_up) as (peer, client):
        with pytest.raises(failure):
            await client.post(peer.base_url, timeout=0.2)
        assert len(peer.heads) == 1


async def test_an_address_that_nobody_serves_cannot_be_connected_to() -> None:
    async with served() as (peer, _):
        gone = peer.base_url
    transport = Transport(gone, max_connections=2, idle_s=60, max_answer_bytes=1_000)
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(gone)


async def test_the_environments_proxy_is_asked_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as (proxy, _):
        monkeypatch.setenv("http_proxy", proxy.base_url)
        for bypassed, asked in (("", 1), ("vendor.invalid", 0)):
            monkeypatch.setenv("no_proxy", bypassed)
            proxy.heads.clear()
            transport = Transport("http://vendor.invalid", max_connections=2, idle_s=60, max_answer_bytes=1_000)
            async with httpx2.AsyncClient(transport=transport, timeout=5) as client:
                if asked:
                    assert (await client.get("http://vendor.invalid/v1")).content == b"ok"
                else:
                    with pytest.raises(httpx2.ConnectError):
                        await client.get("http://vendor.invalid/v1")
            assert len(proxy.heads) == asked
            assert all(head.startswith(b"GET http://vendor.invalid/v1 ") for head in proxy.heads)
