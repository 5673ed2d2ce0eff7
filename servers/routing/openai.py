"""An endpoint that speaks OpenAI's API, as the adapters of three owners call it (§22, §23): one pool, no retries, and
no secret but during a call.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import quote

import anyio
import httpx2
import openai

from servers.routing.credentials import Credential, CredentialUnavailable
from servers.routing.envelope import Identified
from servers.routing.reasons import ProviderReason
from servers.routing.secrets import has_secret_shape

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
        limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_connections, keepalive_expiry=idle_s
        )

        async def bound(response: httpx2.Response) -> None:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream, max_answer_bytes)

        self._http = openai.DefaultAsyncHttpxClient(
            limits=limits, follow_redirects=False, event_hooks={"response": [bound]}
        )
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
                await self._http.head(self._base_url)
        except (httpx2.HTTPError, OSError, anyio.EndOfStream):
            return False
        return True

    async def close(self) -> None:
        """Close every connection; calls under way fail."""
        await self.client.close()


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in a DecodingError when it grows too long: the SDK keeps a line or an error until it ends."""

    def __init__(self, body: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._body = body
        self._left = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            self._left -= len(piece)
            if self._left < 0:
                raise httpx2.DecodingError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


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
    except (openai.OpenAIError, httpx2.HTTPError, OSError, anyio.EndOfStream) as error:
        raise CallEnded(_of_call(error)) from None


@contextmanager
def answering() -> Iterator[None]:
    """Around whatever reads the body of an answer: what that raises becomes CallEnded.

    Every exception, since the SDK builds its objects from what was sent without checking it.
    """
    try:
        yield
    except CallEnded:
        raise
    except Exception as error:
        raise CallEnded(_of_answer(error)) from None


def expect_events(content_type: str) -> None:
    """Raises CallEnded unless an answer says that it is a stream of server-sent events."""
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        raise CallEnded(ProviderReason.RESPONSE_MALFORMED)


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
        case openai.APITimeoutError() | httpx2.TimeoutException():
            return ProviderReason.DEADLINE_EXCEEDED
        case (
            openai.APIResponseValidationError()
            | httpx2.DecodingError()
            | openai.APIConnectionError(__cause__=httpx2.DecodingError())
        ):
            return ProviderReason.RESPONSE_MALFORMED
        case openai.APIConnectionError() | httpx2.HTTPError() | OSError() | anyio.EndOfStream():
            return ProviderReason.RESPONSE_TRUNCATED
        case openai.APIError():
            return _of_event(error)
        case _:
            return ProviderReason.RESPONSE_MALFORMED


def _of_event(error: openai.APIError) -> ProviderReason:
    """An error that came as an event, after a head that promised an answer."""
    said = {error.code, error.type}
    if said & _POLICY_CODES:
        return ProviderReason.CONTENT_REFUSED
    if said & _BUSY_CODES:
        return ProviderReason.PROVIDER_BUSY
    return ProviderReason.PROVIDER_UNAVAILABLE
