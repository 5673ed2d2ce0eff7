"""An endpoint that speaks OpenAI's API, as the adapters of three owners call it (§22, §23): one pool, no retries, and
no secret but during a call.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx2
import openai

from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.envelope import Identified
from servers.routing.reasons import ProviderReason
from servers.routing.secrets import has_secret_shape
from servers.routing.transport import Transport

BASE_URL: Final = "https://api.openai.com/v1"

_LISTED: Final = (
    "af ar az be bg bs ca cs cy da de el en es et fa fi fr gl he hi hr hu hy id is it ja kk kn ko lt lv mi mk mr ms ne "
    "nl no pl pt ro ru sk sl sr sv sw ta th tl tr uk ur vi zh"
)
LANGUAGES: Final = frozenset(_LISTED.split())
"""The languages that OpenAI documents for its speech models, ISO 639-1."""

_ALIASES: Final[Mapping[str, str]] = {"nb": "no", "nn": "no", "cmn": "zh", "fil": "tl", "iw": "he", "in": "id"}

_BY_STATUS: Final[Mapping[int, ProviderReason]] = {
    401: ProviderReason.CREDENTIAL_REFUSED,
    403: ProviderReason.CREDENTIAL_REFUSED,
    408: ProviderReason.DEADLINE_EXCEEDED,
    409: ProviderReason.PROVIDER_UNAVAILABLE,
    429: ProviderReason.PROVIDER_BUSY,
}
_POLICY_CODES: Final = frozenset({"content_filter", "content_policy_violation"})
_BUSY_CODES: Final = frozenset({"rate_limit_exceeded", "rate_limit_error", "insufficient_quota"})

# The SDK wants a key when it is made, or else takes one from the environment; every call brings its own.
_NO_KEY: Final = "given-with-each-call"

DRAIN_S: Final = 0.1
"""How long the end of a body is waited for after the last event."""

_T = TypeVar("_T")


class CallEnded(Exception):
    """A call is over, for ``reason``: a `ProviderReason`, or one of the domain's own."""

    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Deadline:
    """``at``, in the seconds of ``monotonic``."""

    at: float
    monotonic: Callable[[], float]

    def left(self) -> float | None:
        """Seconds that are left, None for ever; raises CallEnded where none are."""
        left = self.at - self.monotonic()
        if left <= 0:
            raise CallEnded(ProviderReason.DEADLINE_EXCEEDED)
        return None if left == float("inf") else left

    async def keep(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """What the step returns or raises; cancels it and raises CallEnded when the deadline comes first."""
        left = self.left()
        try:
            async with asyncio.timeout(left) as scope:
                return await step()
        except TimeoutError:
            if scope.expired():
                raise CallEnded(ProviderReason.DEADLINE_EXCEEDED) from None
            raise

    async def each(self, items: AsyncGenerator[_T, None]) -> AsyncGenerator[_T, None]:
        """The items, as they come; raises CallEnded when the deadline comes first, however steadily they trickle."""
        async with aclosing(items):
            while (item := await self.keep(lambda: anext(items, None))) is not None:
                yield item


class Endpoint:
    """One base URL with the credential that it wants, None where it wants none.

    At most ``max_connections`` are open; one that nobody uses is kept for ``idle_s``. An answer of more than
    ``max_answer_bytes`` is broken off. Nothing is retried, no redirect is followed. Close it when done.
    """

    def __init__(
        self,
        base_url: str,
        credential: Credential | None,
        *,
        max_connections: int = 200,
        idle_s: float = 60.0,
        max_answer_bytes: int = 8 << 20,
    ) -> None:
        if has_secret_shape(base_url):
            raise ValueError("the base URL carries a secret")
        self._credential = credential
        transport = Transport(
            base_url, max_connections=max_connections, idle_s=idle_s, max_answer_bytes=max_answer_bytes
        )
        self._http = openai.DefaultAsyncHttpxClient(transport=transport, follow_redirects=False)
        self._base_url = base_url
        self.client = openai.AsyncOpenAI(
            base_url=base_url,
            api_key=_NO_KEY,
            admin_api_key="",
            webhook_secret="",
            max_retries=0,
            http_client=self._http,
        )
        # What the SDK took from the environment belongs to another account than the credential's.
        self.client.organization = None
        self.client.project = None

    @asynccontextmanager
    async def asked(
        self,
        path: str,
        request: Identified,
        until: Deadline,
        body: Mapping[str, object],
        *,
        file: tuple[str, bytes, str] | None = None,
        accept: str = "application/json",
    ) -> AsyncIterator[httpx2.Response]:
        """The answer to a POST, of which only the head has come. ``file`` is a name, what it holds and its type, and
        makes a form of the body.

        Raises CallEnded where no answer comes, and for whatever goes wrong with its body. The client's own methods
        are passed by: what they do for requests and answers of every kind costs more than all that is done here.
        """
        headers = {**await self.headers(request), "Accept": accept}
        if file is not None:
            headers["Content-Type"] = "multipart/form-data"
        streamed: bool = True
        with asking():
            response = await self.client.post(
                path,
                cast_to=httpx2.Response,
                body=body,
                files=None if file is None else {"file": file},
                options={"headers": headers, "timeout": until.left()},
                stream=streamed,
                stream_cls=openai.AsyncStream[Any],
            )
        assert isinstance(response, httpx2.Response)
        try:
            with answering():
                yield response
        finally:
            await response.aclose()

    async def headers(self, request: Identified) -> Mapping[str, str | openai.Omit]:
        """The headers of one call, with its secret; raises CallEnded where no usable secret can be had."""
        authorization: str | openai.Omit = openai.Omit()
        if self._credential is not None:
            authorization = f"Bearer {await _revealed(self._credential)}"
        tenant_and_key = f"{quote(request.tenant_id, safe='')}/{quote(request.idempotency_key, safe='')}"
        return {
            "Authorization": authorization,
            "X-Client-Request-Id": quote(request.request_id, safe=""),
            # A key is unique within its tenant, and all tenants share the account.
            "Idempotency-Key": hashlib.sha256(tenant_and_key.encode()).hexdigest(),
        }

    async def prewarm(self, within_s: float = 5.0) -> bool:
        """Open a connection for the next call, without the secret; whether anything answered in that time."""
        try:
            async with asyncio.timeout(within_s):
                await self._http.get(self._base_url)
        except (httpx2.HTTPError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self.client.close()


class _Events:
    """The data of server-sent events, of bytes that are cut anywhere (HTML Standard, 9.2.6)."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that are whole with this piece."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r")
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
        if not end:
            self._rest += piece
            return []
        lines = (bytes(self._rest) + piece[:end]).splitlines()
        self._rest = bytearray(piece[end:])
        return [data for line in lines if (data := self._line(line))]

    def _line(self, line: bytes) -> bytes:
        """The data of the event that a line ends, empty where it ends none."""
        if not line:
            data, self._data = b"\n".join(self._data), []
            return data
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        return b""


async def events(response: httpx2.Response) -> AsyncGenerator[list[Any], None]:
    """What the server-sent events of an answer say, of JSON, up to ``[DONE]`` or the end of the body.

    What came together is said together, so that it can be passed on at once.

    Raises CallEnded for an answer that is no such stream and for an event that says an error, ValueError for what is
    no JSON.
    """
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/event-stream":
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)
    sent = _Events()
    async with aclosing(response.aiter_bytes()) as pieces:
        async for piece in pieces:
            together: list[Any] = []
            for data in sent.feed(piece):
                if data.startswith(b"[DONE]"):
                    yield together
                    await _drain(pieces)
                    return
                said = json.loads(data.decode())
                if isinstance(said, dict) and said.get("error"):
                    yield together
                    raise CallEnded(_of_event(said["error"]))
                together.append(said)
            yield together


async def _drain(pieces: AsyncGenerator[bytes, None]) -> None:
    """The connection serves another call once the end has come; all that matters has come already."""
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass


async def _revealed(credential: Credential) -> str:
    try:
        secret = await credential.reveal()
    except CredentialUnavailable:
        raise CallEnded(ProviderReason.CREDENTIAL_UNAVAILABLE) from None
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise CallEnded(ProviderReason.CREDENTIAL_UNAVAILABLE)  # no header can carry it
    return secret


@contextmanager
def asking() -> Iterator[None]:
    """Around a call up to the head of its answer: what the SDK raises becomes CallEnded.

    Of an answer that is an error the SDK reads the body too, and does not translate what goes wrong there.
    """
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError, OSError) as error:
        raise CallEnded(_of_call(error)) from None


@contextmanager
def answering() -> Iterator[None]:
    """Around whatever reads the body of an answer: what that raises becomes CallEnded.

    Every exception, since whatever was sent may be of any shape.
    """
    try:
        yield
    except CallEnded:
        raise
    except Exception as error:
        raise CallEnded(_of_answer(error)) from None


def language_of(locale: str) -> str | None:
    """The ISO 639-1 language of a BCP 47 locale, None where OpenAI's speech models do not list it."""
    primary = locale.partition("-")[0].lower()
    language = _ALIASES.get(primary, primary)
    return language if language in LANGUAGES else None


def _of_call(error: Exception) -> ProviderReason:
    match error:
        case openai.APITimeoutError() | httpx2.TimeoutException():
            return ProviderReason.DEADLINE_EXCEEDED
        case openai.APIStatusError():
            return _of_status(error)
        case openai.APIResponseValidationError() | httpx2.DecodingError():
            return ProviderReason.RESPONSE_MALFORMED
        case _:
            return ProviderReason.PROVIDER_UNAVAILABLE


def _of_status(error: openai.APIStatusError) -> ProviderReason:
    status = error.status_code
    if status in (400, 422) and error.code in _POLICY_CODES:
        return ProviderReason.CONTENT_REFUSED
    if status >= 500:
        return ProviderReason.PROVIDER_UNAVAILABLE
    if status < 400:
        return ProviderReason.RESPONSE_MALFORMED
    return _BY_STATUS.get(status, ProviderReason.REQUEST_REFUSED)


def _of_answer(error: Exception) -> ProviderReason:
    match error:
        case httpx2.TimeoutException():
            return ProviderReason.DEADLINE_EXCEEDED
        case httpx2.DecodingError():
            return ProviderReason.RESPONSE_MALFORMED
        case httpx2.HTTPError() | OSError():
            return ProviderReason.RESPONSE_TRUNCATED
        case _:
            return ProviderReason.RESPONSE_MALFORMED


def _of_event(error: object) -> ProviderReason:
    """An error that came as an event, after a head that promised an answer."""
    fields = error if isinstance(error, dict) else {}
    said = {field for name in ("code", "type") if isinstance(field := fields.get(name), str)}
    if said & _POLICY_CODES:
        return ProviderReason.CONTENT_REFUSED
    if said & _BUSY_CODES:
        return ProviderReason.PROVIDER_BUSY
    return ProviderReason.PROVIDER_UNAVAILABLE
