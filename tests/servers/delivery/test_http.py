"""What is certain after a request over HTTP, whatever becomes of it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

from servers.delivery.adapter import Certainty, DeliveryReason
from servers.delivery.http import Answer, HttpVendor, refusal, retry_after_s
from servers.delivery.outcome import MAX_ID_CHARS, Ended, identifier, revealed
from servers.routing.reasons import ProviderReason
from tests.support.canaries import everything_logged, found
from tests.support.mails import SECRET, Secret, soon


class Vendor:
    """Answers with these bytes and hangs up, or hangs where there are none."""

    def __init__(self, answer: bytes | None, *, closes: bool = True) -> None:
        self.answer = answer
        self.closes = closes
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()
        self.called = asyncio.Event()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[HttpVendor]:
        async with await asyncio.start_server(self._handle, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            http = HttpVendor(f"http://{host}:{port}/base", max_answer_bytes=1000)
            try:
                yield http
            finally:
                await http.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            self.called.set()
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        finally:
            self.gone.set()
            writer.close()


def said(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def ending(vendor: Vendor, seconds: float = 5.0) -> Ended:
    async with vendor.serve() as http:
        with pytest.raises(Ended) as end:
            await http.ask("POST", "/x", headers={}, content=b"{}", deadline=soon(seconds))
    return end.value


async def test_a_whole_answer_is_handed_on_whatever_its_status() -> None:
    for status in (200, 202, 302, 404, 500):
        vendor = Vendor(said(status, b'{"id": "a"}', "X-Id: 7"))
        async with vendor.serve() as http:
            answer = await http.ask(
                "POST",
                "/x%2Fy",
                headers={"authorization": "Bearer k"},
                query={"a": "b c"},
                content=b"hi",
                deadline=soon(),
            )
        assert (answer.status, answer.headers["x-id"], answer.json()) == (status, "7", {"id": "a"})
        (request,) = vendor.requests
        assert request.startswith(b"POST /base/x%2Fy?a=b+c HTTP/1.1\r\n")
        assert request.endswith(b"\r\n\r\nhi")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        said(200, b"x" * 2000),
    ],
    ids=["nothing", "half a status", "no http", "half a body", "half a chunk", "too long"],
)
async def test_a_request_without_a_whole_answer_may_have_been_taken(answer: bytes) -> None:
    end = await ending(Vendor(answer))
    assert (end.certainty, end.reason) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)


async def test_a_deadline_after_the_request_left_leaves_it_unknown_and_breaks_the_connection() -> None:
    vendor = Vendor(None)
    end = await ending(vendor, 1.5)
    assert (end.certainty, end.reason) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
    await asyncio.wait_for(vendor.gone.wait(), 5)


async def test_a_deadline_that_is_over_calls_nobody() -> None:
    vendor = Vendor(said(200))
    end = await ending(vendor, 0)
    assert (end.certainty, end.reason) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    assert vendor.requests == []


async def test_a_connection_that_is_not_made_is_a_definite_no() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        http = HttpVendor(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Ended) as end:
            await http.ask("POST", "/x", headers={}, deadline=soon())
    assert (end.value.certainty, end.value.reason) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)
    await http.close()


async def test_a_tls_handshake_that_does_not_end_is_a_definite_no() -> None:
    vendor = Vendor(None)
    async with await asyncio.start_server(vendor._handle, "127.0.0.1", 0) as server:
        http = HttpVendor(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Ended) as end:
            await http.ask("POST", "/x", headers={}, deadline=soon(0.3))
        await http.close()
    assert (end.value.certainty, end.value.reason) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)


async def test_a_wait_for_a_free_connection_that_is_too_long_is_a_definite_no() -> None:
    vendor = Vendor(None)
    async with await asyncio.start_server(vendor._handle, "127.0.0.1", 0) as server:
        http = HttpVendor(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", max_connections=1)
        first = asyncio.create_task(http.ask("POST", "/x", headers={}, deadline=soon()))
        await vendor.called.wait()
        with pytest.raises(Ended) as end:
            await http.ask("POST", "/x", headers={}, deadline=soon(0.2))
        assert (end.value.certainty, end.value.reason) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await asyncio.wait_for(vendor.gone.wait(), 5)
        await http.close()
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/x", {"a": "b\r\nc: d"}),
        ("/x", {"a\r\nb": "c"}),
        ("/x", {"a": "ü"}),
        ("x", {}),
        ("/x y", {}),
        ("/x?y", {}),
        ("/x#y", {}),
        ("/x\r\n", {}),
    ],
)
async def test_what_would_inject_into_a_request_is_refused_before_anything_leaves(
    path: str, headers: dict[str, str]
) -> None:
    vendor = Vendor(said(200))
    async with vendor.serve() as http:
        with pytest.raises(Ended) as end:
            await http.ask("POST", path, headers=headers, deadline=soon())
    assert (end.value.certainty, end.value.reason) == (Certainty.REFUSED, ProviderReason.REQUEST_REFUSED)
    assert vendor.requests == []


async def test_an_error_whose_body_breaks_off_is_that_error_all_the_same() -> None:
    vendor = Vendor(b"HTTP/1.1 401 X\r\nContent-Length: 100\r\n\r\n{")
    async with vendor.serve() as http:
        answer = await http.ask("POST", "/x", headers={}, deadline=soon())
    assert (answer.status, answer.body, answer.json()) == (401, b"", {})


async def test_a_body_that_is_packed_unasked_is_no_json() -> None:
    vendor = Vendor(said(200, gzip.compress(b'{"id": "a"}'), "Content-Encoding: gzip"))
    async with vendor.serve() as http:
        assert (await http.ask("POST", "/x", headers={}, deadline=soon())).json() == {}


async def test_neither_secret_nor_path_is_logged() -> None:
    vendor = Vendor(said(200))
    with everything_logged() as log:
        async with vendor.serve() as http:
            answer = await http.ask(
                "POST",
                "/device/planted-device-token",
                headers={"authorization": f"Bearer {SECRET}"},
                query={"access_token": SECRET},
                content=b"planted-content",
                deadline=soon(),
            )
            told = f"{http!r}{vars(http)!r}{answer!r}{log.getvalue()}".encode()
    assert len(vendor.requests) == 1
    assert found(told, [SECRET.encode(), b"planted-device-token", b"planted-content"]) == []


@pytest.mark.parametrize("url", ["http://user:password@127.0.0.1:1", "https://x/?api_key=abcdefgh"])
def test_a_base_url_with_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="secret") as refused:
        HttpVendor(url)
    assert "abcdefgh" not in str(refused.value) and "password" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "certainty", "reason"),
    [
        (200, Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED),
        (303, Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED),
        (302, Certainty.REFUSED, ProviderReason.REQUEST_REFUSED),
        (307, Certainty.REFUSED, ProviderReason.REQUEST_REFUSED),
        (400, Certainty.REFUSED, ProviderReason.REQUEST_REFUSED),
        (401, Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED),
        (403, Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED),
        (404, Certainty.REFUSED, ProviderReason.REQUEST_REFUSED),
        (408, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE),
        (409, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE),
        (413, Certainty.REFUSED, DeliveryReason.CONTENT_TOO_LONG),
        (429, Certainty.REFUSED, ProviderReason.PROVIDER_BUSY),
        (500, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE),
        (503, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE),
        (599, Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE),
    ],
)
def test_each_status_says_what_is_certain(status: int, certainty: Certainty, reason: str) -> None:
    end = refusal(Answer(status, {}, b""))
    assert (end.certainty, end.reason) == (certainty, reason)


def test_a_5xx_that_the_vendor_documents_as_undone_is_a_definite_no() -> None:
    assert refusal(Answer(503, {}, b""), not_processed={503}).certainty is Certainty.REFUSED
    assert refusal(Answer(500, {}, b""), not_processed={503}).certainty is Certainty.UNKNOWN


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("7", "", 7.0),
        ("999999999999999999", "", 86_400.0),
        ("Wed, 04 Mar 2026 05:07:00 GMT", "Wed, 04 Mar 2026 05:06:00 GMT", 60.0),
        ("Wed, 04 Mar 2026 05:05:00 GMT", "Wed, 04 Mar 2026 05:06:00 GMT", 0.0),
        ("Wed, 04 Mar 2026 05:07:00 GMT", "", None),
        ("Wed, 04 Mar 2026 05:07:00", "Wed, 04 Mar 2026 05:06:00 GMT", None),
        ("-1", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, date: str, expected: float | None) -> None:
    assert retry_after_s(Answer(429, {"retry-after": value, "date": date}, b"")) == expected


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"7", b"{", b"\xff", b'{"a":' * 5_000, b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"]
)
def test_what_is_no_json_object_is_an_empty_one(body: bytes) -> None:
    assert Answer(200, {}, body).json() == {}


@pytest.mark.parametrize("wrong", [None, 7, "", "a\nb", "ü", "x" * (MAX_ID_CHARS + 1), "sk-abcdefghijklmnop"])
def test_what_is_no_id_is_none(wrong: object) -> None:
    assert identifier(wrong) == ""
    assert identifier("SM0123-abc.d") == "SM0123-abc.d"


@pytest.mark.parametrize("value", [None, "", "line\nbreak", "schlüssel", " padded "])
async def test_a_secret_that_no_header_can_carry_is_none(value: str | None) -> None:
    with pytest.raises(Ended) as end:
        await revealed(Secret(value))
    assert (end.value.certainty, end.value.reason) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert await revealed(Secret("key")) == "key"


class Http2Vendor:
    """Speaks HTTP/2 without TLS: answers a request with 200, or resets its stream."""

    def __init__(self, does: str) -> None:
        self.does = does
        self.requests: list[dict[bytes, bytes]] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server = H2Connection(H2Configuration(client_side=False))
        server.initiate_connection()
        writer.write(server.data_to_send())
        while received := await reader.read(65_536):
            for event in server.receive_data(received):
                if isinstance(event, RequestReceived):
                    self.requests.append({bytes(name): bytes(value) for name, value in event.headers})
                if isinstance(event, StreamEnded):
                    self._answer(server, event.stream_id)
            writer.write(server.data_to_send())
            await writer.drain()
        writer.close()

    def _answer(self, server: H2Connection, stream: int) -> None:
        if self.does == "reset":
            server.reset_stream(stream)
        else:
            server.send_headers(stream, [(":status", "200")])
            server.send_data(stream, b'{"id": "a"}', end_stream=True)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[HttpVendor]:
        async with await asyncio.start_server(self.handle, "127.0.0.1", 0) as server:
            http = HttpVendor(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", http2=True)
            try:
                yield http
            finally:
                await http.close()


async def test_over_http2_calls_share_a_connection_and_nothing_of_them_is_logged() -> None:
    vendor = Http2Vendor("answers")
    headers = {"authorization": f"bearer {SECRET}", "apns-topic": "planted-topic"}
    with everything_logged() as log:
        async with vendor.serve() as http:
            await http.ask("POST", "/3/device/planted-token", headers=headers, content=b"{}", deadline=soon())
            answers = await asyncio.gather(
                *(http.ask("POST", "/3/device/planted-token", headers=headers, deadline=soon()) for _ in range(5))
            )
    assert [answer.json() for answer in answers] == [{"id": "a"}] * 5
    assert (len(vendor.requests), vendor.connections) == (6, 1)
    assert vendor.requests[0][b"authorization"] == f"bearer {SECRET}".encode()
    assert found(log.getvalue().encode(), [SECRET.encode(), b"planted-token", b"planted-topic"]) == []
    assert "header block" not in log.getvalue()


async def test_over_http2_a_stream_that_is_reset_leaves_it_unknown() -> None:
    vendor = Http2Vendor("reset")
    async with vendor.serve() as http:
        with pytest.raises(Ended) as end:
            await http.ask("POST", "/x", headers={}, content=b"{}", deadline=soon())
    assert (end.value.certainty, end.value.reason) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
    assert len(vendor.requests) == 1


async def test_a_connection_is_opened_ahead_without_any_secret() -> None:
    vendor = Vendor(said(404))
    async with vendor.serve() as http:
        assert await http.prewarm()
    assert b"authorization" not in vendor.requests[0].lower()
    began = time.monotonic()
    hanging = Vendor(None)
    async with hanging.serve() as http:
        assert not await http.prewarm(0.1)
    assert time.monotonic() - began < 5
