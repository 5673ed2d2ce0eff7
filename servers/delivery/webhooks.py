"""Where providers report to: one HTTP path for each provider's account, `/webhooks/<provider_ref>` (§25, DLV-2).

Nobody is believed but who signed: the raw body goes to the provider's reader before anything else looks at it. What is
answered follows what vendors do with it: 200 says that it is kept, 4xx that it never will be, 503 that it should come
again, for the store is away, the secret is not to be had, or the message is not known yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, TypeVar, runtime_checkable

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from servers.delivery import ENGINE_ID
from servers.delivery.adapter import Report, Webhook, WebhookRefused
from servers.delivery.reports import Taken
from servers.delivery.settings import WebhookSettings
from servers.routing.credentials import Credential, CredentialUnavailable, Overlapping
from servers.runtime.storage import SYSTEM_TENANT
from servers.runtime.tls import ListenError, TlsFiles, is_loopback
from store import Store, StoreError

PREFIX: Final = "/webhooks/"
MAX_EVENT_ID_CHARS: Final = 512
REFUSED: Final = "webhook.refused"

_STATUS: Final[Mapping[str, int]] = {
    "PATH_UNKNOWN": 404,
    "METHOD_REFUSED": 405,
    "BODY_TOO_SLOW": 408,
    "BODY_TOO_LARGE": 413,
    "BODY_BROKEN": 400,
    "BODY_ENCODED": 415,
    "SIGNATURE_MISSING": 401,
    "SIGNATURE_INVALID": 401,
    "TOO_OLD": 403,
    "MALFORMED": 400,
    "READER_FAILED": 500,
    "TAKING_FAILED": 500,
    "OVERLOADED": 503,
    "SECRET_UNAVAILABLE": 503,
    "STORE_UNAVAILABLE": 503,
    "MESSAGE_UNKNOWN_YET": 503,
    "REPEATED": 200,
    "MESSAGE_UNKNOWN": 200,
}
_OF_READERS: Final = frozenset({"SIGNATURE_MISSING", "SIGNATURE_INVALID", "TOO_OLD", "MALFORMED"})

_log = structlog.get_logger("selene.delivery")

T = TypeVar("T")

Take = Callable[[Sequence[Report]], Awaitable[Taken]]
"""`servers.delivery.reports.Reports.take`. StoreError."""


@runtime_checkable
class Challenged(Protocol):
    """A reader of a vendor that first asks by GET whether the address is ours (Meta, WeChat)."""

    def challenge(self, *, url: str, secret: bytes, now: datetime) -> str:
        """The text that the vendor wants back. WebhookRefused."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A provider's account that reports, and the secret that its signatures are made with."""

    reader: Webhook
    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may cost, and how many there may be at once; seconds where a name ends in `_s`."""

    body_bytes: int = 256 * 1024
    header_bytes: int = 8190
    headers: int = 64
    read_s: float = 10.0
    answer_s: float = 10.0
    idle_s: float = 15.0
    requests: int = 64
    connections: int = 512
    grace_s: float = 5.0
    count_every_s: float = 60.0


class Now(Protocol):
    """The wall clock, UTC."""

    def now(self) -> datetime: ...


class _Refused(Exception):
    def __init__(self, reason: str, provider_ref: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.provider_ref = provider_ref


async def serve_webhooks(
    settings: WebhookSettings,
    sources: Sequence[Source],
    take: Take,
    store: Store,
    clock: Now,
    *,
    tls: TlsFiles | None = None,
    shares_port: bool = False,
    limits: Limits | None = None,
) -> WebhookServer:
    """Listen. Beyond loopback only with TLS, or where `public_url` is of https: then a proxy ends it. With
    `shares_port` other workers listen there too. ListenError.
    """
    if not is_loopback(settings.host) and tls is None and not settings.public_url.startswith("https://"):
        raise ListenError(
            f"refusing to listen for webhooks on {settings.host}: it can be reached from other machines, and there is "
            "no TLS. Configure `tls`, or `owners.delivery.webhooks.public_url` with the https URL of the proxy before "
            "it, or listen on 127.0.0.1."
        )
    server = WebhookServer(settings, sources, take, store, clock, limits or Limits())
    await server.start(tls, shares_port=shares_port)
    return server


class WebhookServer:
    """See `serve_webhooks`. Refused requests are counted, and each count is one row of the deployment's own trail in a
    minute: whoever floods the endpoint cannot fill the disk.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        sources: Sequence[Source],
        take: Take,
        store: Store,
        clock: Now,
        limits: Limits,
    ) -> None:
        self.port = 0
        self._settings = settings
        self._sources = {f"{PREFIX}{source.reader.provider_ref}": source for source in sources}
        self._take = take
        self._store = store
        self._clock = clock
        self._limits = limits
        self._under_way = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._has_tls = False
        self._counting: asyncio.Task[None] | None = None
        self._listening: asyncio.Server | None = None
        # A body is signed as it came: what is compressed is refused, not unpacked.
        self._web = web.Server(
            self._handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=limits.idle_s,
            lingering_time=1.0,
            max_line_size=limits.header_bytes,
            max_field_size=limits.header_bytes,
            max_headers=limits.headers,
        )

    async def start(self, tls: TlsFiles | None, *, shares_port: bool) -> None:
        """Listen. ListenError."""
        self._has_tls = tls is not None
        loop = asyncio.get_running_loop()
        context = None if tls is None else _context(tls)
        handshake_s = None if tls is None else self._limits.read_s
        host, port = self._settings.host, self._settings.port
        try:
            self._listening = await loop.create_server(
                self._connection,
                host,
                port,
                reuse_port=shares_port or None,
                ssl=context,
                ssl_handshake_timeout=handshake_s,
            )
        except OSError as defect:
            raise ListenError(f"cannot listen for webhooks on {host}:{port}: {defect}") from None
        self.port = self._listening.sockets[0].getsockname()[1]
        self._counting = asyncio.ensure_future(self._count())

    async def stop(self) -> None:
        """Take nothing more, let what is under way end, and write what was counted."""
        if self._listening is not None:
            self._listening.close()
        self._web.pre_shutdown()  # connections that wait for a next request need no grace
        await self._web.shutdown(self._limits.grace_s)
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        await self._write_counts()

    def _connection(self) -> asyncio.Protocol:
        if len(self._web.connections) >= self._limits.connections:
            self._counts["", "OVERLOADED"] += 1
            return _Closing()
        return self._web()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._under_way >= self._limits.requests:
            return self._refuse(_Refused("OVERLOADED"))
        self._under_way += 1
        try:
            return await self._answer(request)
        except _Refused as refused:
            return self._refuse(refused)
        finally:
            self._under_way -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        source = self._sources.get(path)
        if source is None:
            raise _Refused("PATH_UNKNOWN")
        ref = source.reader.provider_ref
        if request.method == "GET" and isinstance(source.reader, Challenged):
            challenge = source.reader.challenge
            said = await self._read(
                source, lambda secret: challenge(url=self._url(request), secret=secret, now=self._clock.now())
            )
            return _text(200, said)
        if request.method != "POST":
            raise _Refused("METHOD_REFUSED", ref)
        body = await self._body(request, ref)
        url, headers = self._url(request), _headers(request)

        def read(secret: bytes) -> tuple[Report, ...]:
            reports = source.reader.read(url=url, headers=headers, body=body, secret=secret, now=self._clock.now())
            _check(ref, reports)
            return reports

        await self._keep(ref, await self._read(source, read))
        return _text(200, "")

    async def _body(self, request: web.BaseRequest, ref: str) -> bytes:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused("BODY_ENCODED", ref)
        if (request.content_length or 0) > self._limits.body_bytes:
            raise _Refused("BODY_TOO_LARGE", ref)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.read_s):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > self._limits.body_bytes:
                        raise _Refused("BODY_TOO_LARGE", ref)
        except TimeoutError:
            raise _Refused("BODY_TOO_SLOW", ref) from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise _Refused("BODY_BROKEN", ref) from None
        return bytes(body)

    async def _keep(self, ref: str, reports: Sequence[Report]) -> None:
        if not reports:
            return
        try:
            async with asyncio.timeout(self._limits.answer_s):
                taken = await self._take(reports)
        except (StoreError, TimeoutError):
            raise _Refused("STORE_UNAVAILABLE", ref) from None
        except Exception as defect:
            _log.error("reports could not be taken", provider_ref=ref, cause=type(defect).__name__)
            raise _Refused("TAKING_FAILED", ref) from None
        for reason, count in (("REPEATED", taken.repeated), ("MESSAGE_UNKNOWN", taken.stray)):
            if count:
                self._counts[ref, reason] += count
        if taken.early:
            raise _Refused("MESSAGE_UNKNOWN_YET", ref)

    async def _read(self, source: Source, read: Callable[[bytes], T]) -> T:
        """What is read with the secret, else with the one before it: the vendor may not sign with the new one yet."""
        ref = source.reader.provider_ref
        secret = await _secret(source)
        try:
            with self._reading(ref):
                return read(secret)
        except _Refused as refused:
            before = await _secret_before(source) if refused.reason == "SIGNATURE_INVALID" else None
            if before is None:
                raise
        with self._reading(ref):
            return read(before)

    @contextlib.contextmanager
    def _reading(self, ref: str) -> Iterator[None]:
        try:
            yield
        except WebhookRefused as refused:
            raise _Refused(refused.reason if refused.reason in _OF_READERS else "MALFORMED", ref) from None
        except Exception as defect:  # its text may quote the body
            _log.error("a webhook could not be read", provider_ref=ref, cause=type(defect).__name__)
            raise _Refused("READER_FAILED", ref) from None

    def _url(self, request: web.BaseRequest) -> str:
        """As the vendor called it, and signed it."""
        scheme = "https" if self._has_tls else "http"
        origin = self._settings.public_url.rstrip("/") or f"{scheme}://{request.host}"
        return f"{origin}{request.raw_path}"

    def _refuse(self, refused: _Refused) -> web.StreamResponse:
        self._counts[refused.provider_ref, refused.reason] += 1
        status = _STATUS[refused.reason]
        response = _text(status, refused.reason)
        if status == 405:
            response.headers["Allow"] = "POST"
        if status == 503:
            response.headers["Retry-After"] = "5"
        if not refused.reason.startswith(("SIGNATURE", "MESSAGE", "TOO_OLD", "MALFORMED")):
            response.force_close()  # a body may still be on its way
        return response

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(self._limits.count_every_s)
            await self._write_counts()

    async def _write_counts(self) -> None:
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            async with self._store.transaction() as tx:
                for (ref, reason), count in sorted(counts.items()):
                    tx.audit(
                        tenant_id=SYSTEM_TENANT,
                        owner=ENGINE_ID,
                        actor="unauthenticated",
                        transition=REFUSED,
                        reason_code=reason,
                        facts={"count": str(count), **({"provider_ref": ref} if ref else {})},
                    )
        except StoreError as error:
            self._counts.update(counts)
            _log.warning("refused webhooks are not audited yet", cause=type(error).__name__)
            return
        for (ref, reason), count in sorted(counts.items()):
            _log.info("webhooks refused", provider_ref=ref, reason=reason, count=count)


class _Closing(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _check(ref: str, reports: Sequence[Report]) -> None:
    """ValueError for what no reader may say."""
    for report in reports:
        if report.provider_ref != ref or not 0 < len(report.event_id) <= MAX_EVENT_ID_CHARS:
            raise ValueError("a report of somebody else's, or without a name")
        if report.at.utcoffset() is None:
            raise ValueError("a report without a time zone")


async def _secret(source: Source) -> bytes:
    try:
        return (await source.credential.reveal()).encode()
    except CredentialUnavailable:
        raise _Refused("SECRET_UNAVAILABLE", source.reader.provider_ref) from None


async def _secret_before(source: Source) -> bytes | None:
    if not isinstance(source.credential, Overlapping):
        return None
    before = await source.credential.reveal_before()
    return None if before is None else before.encode()


def _headers(request: web.BaseRequest) -> Mapping[str, str]:
    """Lower-case names; a header that came twice has both values, as one that no signature is."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        text = value.encode(errors="replace").decode()  # what is no text came as half of a surrogate pair
        headers[name.lower()] = f"{headers[name.lower()]}, {text}" if name.lower() in headers else text
    return headers


def _text(status: int, text: str) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return web.Response(status=status, text=text, content_type="text/plain", headers=headers)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Follows the files: a renewed certificate serves the next handshake. ListenError."""
    shown = [_content(files)]
    context = _loaded(files)
    latest = [context]

    def follow(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        with contextlib.suppress(ListenError):  # half-written or gone: the certificate in use stays
            content = _content(files)
            if content != shown[0]:
                latest[0] = _loaded(files)
                shown[0] = content
        connection.context = latest[0]

    context.sni_callback = follow
    return context


def _loaded(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.private_key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as defect:
        raise ListenError(f"cannot use the TLS files: {defect}") from None
    return context


def _content(files: TlsFiles) -> tuple[bytes, bytes]:
    try:
        return files.private_key.read_bytes(), files.certificate.read_bytes()
    except OSError as defect:
        raise ListenError(f"cannot read the TLS files: {defect}") from None
