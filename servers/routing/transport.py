"""HTTP/1.1 under a vendor's official client by aiohttp, whose parser is compiled: a call costs a third of the CPU that
httpx's own transport takes, and what waits for bytes is no task of its own.
"""

from __future__ import annotations

import functools
import io
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

MAX_HEADER_BYTES: Final = 64 << 10
LARGE_BYTES: Final = 64 << 10
"""A greater body goes out in pieces, between which others have their turn."""

_ERRORS: Final = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (TimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),
    (aiohttp.ClientOSError, httpx2.ReadError),
    (aiohttp.ClientError, httpx2.RemoteProtocolError),
)
"""What aiohttp raises, as httpx calls it; the first that fits."""


class Transport(httpx2.AsyncBaseTransport):
    """Calls of `base_url`. At most `max_connections` are open; one that nobody uses is kept for `idle_s`.

    A body of more than `max_answer_bytes` ends in a DecodingError: whoever reads keeps a line or an error until it
    ends. Nothing is retried, no redirect followed, no cookie kept; proxies are the environment's.
    """

    def __init__(self, base_url: str, *, max_connections: int, idle_s: float, max_answer_bytes: int) -> None:
        self._proxy = _proxy(URL(base_url))
        self._max_connections = max_connections
        self._idle_s = idle_s
        self._max_answer_bytes = max_answer_bytes
        self._tls = _trusting()
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Up to the head of the answer; its body is read as it comes."""
        limits = request.extensions.get("timeout", {})
        body = await request.aread()
        with _translated():
            answer = await self._opened().request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=[(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=io.BytesIO(body) if len(body) > LARGE_BYTES else body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=limits.get("pool"), sock_connect=limits.get("connect"), sock_read=limits.get("read")
                ),
                proxy=self._proxy,
            )
        return httpx2.Response(
            answer.status,
            headers=answer.raw_headers,
            stream=_Body(answer, self._max_answer_bytes),
            request=request,
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close every connection; calls under way fail."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """The session, which belongs to the loop that first asks for it."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=self._idle_s, ssl=self._tls)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse, max_bytes: int) -> None:
        self._answer = answer
        self._left = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            with _translated():
                piece = await self._answer.content.readany()
            if not piece:
                return
            self._left -= len(piece)
            if self._left < 0:
                raise httpx2.DecodingError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        """Hangs up, unless all of it has come."""
        if self._answer.content.is_eof():
            self._answer.release()
        else:
            self._answer.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        known = next((to for of, to in _ERRORS if isinstance(error, of)), httpx2.NetworkError)
        raise known(type(error).__name__) from None


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Whom the environment trusts; it is read once, for reading it takes longer than anything else here."""
    return httpx2.create_ssl_context()


def _proxy(base_url: URL) -> URL | None:
    """The environment's proxy for it, if any."""
    proxies = getproxies()
    proxy = proxies.get(base_url.scheme) or proxies.get("all")
    return None if proxy is None or proxy_bypass(base_url.host or "") else URL(proxy)
