"""How the vendors of messages are asked over HTTP (§23, §25): one pool, no retries, no redirects, no proxy, and always
certain whether a request may have left.

Nothing here is logged: paths of vendors hold device tokens, and queries hold secrets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import httpx2

from servers.delivery.adapter import Certainty, DeliveryReason
from servers.delivery.outcome import Ended
from servers.routing.reasons import ProviderReason
from servers.routing.secrets import has_secret_shape

MAX_RETRY_AFTER_S: Final = 86_400.0
MAX_JSON_DEPTH: Final = 64

_REDIRECTS_UNDONE: Final = frozenset({301, 302, 307, 308})
_HEADERS_LEAVE: Final = re.compile(r"http(11|2)\.send_request_headers\.started")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FAILURES: Final = (httpx2.HTTPError, httpx2.InvalidURL, OSError, anyio.EndOfStream, anyio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came. ``headers`` have lower-case names; ``body`` is empty where that of an error broke off."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def done(self) -> bool:
        """Whether it is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The JSON object that the body is, empty where it is none."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) and _shallow(value, MAX_JSON_DEPTH) else {}


class HttpVendor:
    """One vendor's base URL. At most ``max_connections`` are open, one that nobody uses is kept for ``idle_s``; an
    answer of more than ``max_answer_bytes`` is broken off. ``http2`` speaks HTTP/2 alone. ``monotonic`` gives seconds
    and is the clock of every deadline. Close it when done.
    """

    def __init__(
        self,
        base_url: str,
        *,
        http2: bool = False,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 100,
        idle_s: float = 60.0,
        max_answer_bytes: int = 1 << 20,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if has_secret_shape(base_url):
            raise ValueError("the base URL carries a secret")
        if http2:
            # At DEBUG it writes whole header blocks into the log: keys, and the device tokens of paths.
            logging.getLogger("hpack").setLevel(logging.INFO)
        self._base_url = base_url.rstrip("/")
        self._max_answer_bytes = max_answer_bytes
        self._monotonic = monotonic
        # The transport and not a client: a client logs every URL, and takes proxies from the environment.
        self._transport = httpx2.AsyncHTTPTransport(
            verify=True if tls is None else tls,
            http1=not http2,
            http2=http2,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=idle_s
            ),
        )

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        deadline: float,
        query: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Answer:
        """The whole answer, whatever its status. Ended otherwise: REFUSED where nothing left, UNKNOWN where something
        may have. ``path`` begins with a slash and is quoted; ``query`` is not.
        """
        request, left = self._request(method, path, headers, query, content)
        remaining = deadline - self._monotonic()
        if remaining <= 0:
            raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
        try:
            async with asyncio.timeout(None if remaining == float("inf") else remaining):
                response = await self._transport.handle_async_request(request)
                return await self._read(response)
        except TimeoutError:
            if left.is_set():
                raise Ended(Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST) from None
            raise Ended(Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED) from None
        except httpx2.LocalProtocolError:
            raise Ended(
                Certainty.UNKNOWN if left.is_set() else Certainty.REFUSED, ProviderReason.REQUEST_REFUSED
            ) from None
        except _FAILURES:
            if left.is_set():
                raise Ended(Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST) from None
            raise Ended(Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE) from None

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call, without any secret; whether anything answered in that time."""
        try:
            await self.ask("HEAD", "/", headers={}, deadline=self._monotonic() + within_s)
        except Ended:
            return False
        return True

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self._transport.aclose()

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str] | None, content: bytes
    ) -> tuple[httpx2.Request, asyncio.Event]:
        """A request, and an event that is set when its first byte may leave."""
        sound = all(
            _TOKEN.fullmatch(name) and value.isascii() and value.isprintable() for name, value in headers.items()
        )
        if (
            not sound
            or not path.startswith("/")
            or not path.isascii()
            or not path.isprintable()
            or set(path) & set(" ?#")
        ):
            raise Ended(Certainty.REFUSED, ProviderReason.REQUEST_REFUSED)
        left = asyncio.Event()

        async def trace(step: str, info: Mapping[str, Any]) -> None:
            if _HEADERS_LEAVE.fullmatch(step):
                left.set()

        url = f"{self._base_url}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "selene", **headers}
        return httpx2.Request(method, url, headers=sent, content=content, extensions={"trace": trace}), left

    async def _read(self, response: httpx2.Response) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answer = Answer(response.status_code, headers, b"")
        body = bytearray()
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        try:
            async for piece in response.stream:
                body += piece
                if len(body) > self._max_answer_bytes:
                    raise httpx2.DecodingError("the answer is too long")
        except _FAILURES:
            if answer.status < 400:
                raise
            return answer  # an error is what its status says, whatever else it wanted to tell
        finally:
            await response.stream.aclose()
        return Answer(answer.status, headers, bytes(body))


def refusal(answer: Answer, *, not_processed: Collection[int] = ()) -> Ended:
    """What an answer other than 2xx says by its status alone; a vendor's own codes come first.

    ``not_processed`` are the 5xx after which the vendor documents that nothing was done; after every other 5xx it may
    have been, as after a 408, a 409 and an answer that is no error.
    """
    status = answer.status
    if status in (401, 403):
        return Ended(Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    if status == 413:
        return Ended(Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG)
    if status == 429:
        return Ended(Certainty.REFUSED, ProviderReason.PROVIDER_BUSY, retry_after_s=retry_after_s(answer))
    if status >= 500:
        certainty = Certainty.REFUSED if status in not_processed else Certainty.UNKNOWN
        return Ended(certainty, ProviderReason.PROVIDER_UNAVAILABLE, retry_after_s=retry_after_s(answer))
    if status in (408, 409):
        return Ended(Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE)
    if status >= 400 or status in _REDIRECTS_UNDONE:
        return Ended(Certainty.REFUSED, ProviderReason.REQUEST_REFUSED)
    return Ended(Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)


def retry_after_s(answer: Answer) -> float | None:
    """``Retry-After`` in seconds, at most a day; a date counts from the answer's own ``Date``. None without one."""
    said = answer.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return min(float(said[:12]), MAX_RETRY_AFTER_S)
    try:
        wait = parsedate_to_datetime(said) - parsedate_to_datetime(answer.headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _shallow(value: object, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    members = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_shallow(member, depth - 1) for member in members)
