"""What the adapters of OpenAI's API share: deadlines, statuses, languages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.routing.openai import CallEnded, Deadline, Endpoint, answering, asking, events, language_of
from servers.routing.reasons import ProviderReason
from tests.support.simulators.openai import OpenAiSimulator


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (302, None, ProviderReason.RESPONSE_MALFORMED),
        (400, None, ProviderReason.REQUEST_REFUSED),
        (400, "content_filter", ProviderReason.CONTENT_REFUSED),
        (400, "content_policy_violation", ProviderReason.CONTENT_REFUSED),
        (401, None, ProviderReason.CREDENTIAL_REFUSED),
        (403, None, ProviderReason.CREDENTIAL_REFUSED),
        (404, None, ProviderReason.REQUEST_REFUSED),
        (408, None, ProviderReason.DEADLINE_EXCEEDED),
        (409, None, ProviderReason.PROVIDER_UNAVAILABLE),
        (413, None, ProviderReason.REQUEST_REFUSED),
        (422, None, ProviderReason.REQUEST_REFUSED),
        (429, None, ProviderReason.PROVIDER_BUSY),
        (429, "insufficient_quota", ProviderReason.PROVIDER_BUSY),
        (500, None, ProviderReason.PROVIDER_UNAVAILABLE),
        (502, None, ProviderReason.PROVIDER_UNAVAILABLE),
        (504, None, ProviderReason.PROVIDER_UNAVAILABLE),
        (599, None, ProviderReason.PROVIDER_UNAVAILABLE),
    ],
)
async def test_each_status_has_its_reason_and_none_is_tried_again(
    status: int, code: str | None, reason: ProviderReason
) -> None:
    async with OpenAiSimulator().serve() as vendor:
        vendor.answers.error = (status, code)
        endpoint = Endpoint(vendor.base_url, None)
        with pytest.raises(CallEnded) as ended, asking():
            await endpoint.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert ended.value.reason is reason
        assert len(vendor.calls) == 1
        await endpoint.close()


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[Endpoint]:
    """An endpoint that answers with these bytes and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        endpoint = Endpoint(f"http://{host}:{port}/v1", None)
        yield endpoint
        await endpoint.close()


async def test_an_error_whose_body_breaks_off_is_an_error_all_the_same() -> None:
    async with saying(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 100\r\n\r\n{") as endpoint:
        with pytest.raises(CallEnded) as ended, asking():
            await endpoint.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert ended.value.reason is ProviderReason.PROVIDER_UNAVAILABLE


async def test_a_redirect_is_not_followed() -> None:
    async with OpenAiSimulator().serve() as elsewhere:
        target = f"{elsewhere.base_url}/chat/completions".encode()
        redirect = b"HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"
        async with saying(redirect) as endpoint:
            with pytest.raises(CallEnded) as ended, asking():
                await endpoint.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert ended.value.reason is ProviderReason.RESPONSE_MALFORMED
        assert elsewhere.ledger == []


class _Sent(httpx2.AsyncByteStream):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def streamed(*pieces: bytes, content_type: str = "text/event-stream; charset=utf-8") -> httpx2.Response:
    """An answer whose body comes in these pieces."""
    return httpx2.Response(200, headers={"Content-Type": content_type}, stream=_Sent(pieces))


async def said(response: httpx2.Response) -> list[object]:
    with answering():
        return [each async for together in events(response) for each in together]


async def test_what_came_together_is_said_together() -> None:
    pieces = [b"data: 1\n\ndata: 2\n\n", b"data: 3\n\ndata: 4", b"\n\ndata: [DONE]\n\n"]
    with answering():
        assert [each async for each in events(streamed(*pieces))] == [[1, 2], [3], [4]]


@given(
    values=st.lists(st.dictionaries(st.sampled_from("abc"), st.text()), max_size=5),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
async def test_events_are_the_same_however_the_stream_is_cut(
    values: list[dict[str, str]], end: str, cuts: list[int]
) -> None:
    sent = [f": a comment{end}id: 7{end}data: {json.dumps(value, ensure_ascii=False)}{end}{end}" for value in values]
    stream = "".join(sent).encode()
    at = sorted({0, *cuts, len(stream)})
    pieces = [stream[begin:until] for begin, until in pairwise(at)]
    assert await said(streamed(*pieces)) == values


async def test_an_event_of_several_lines_is_one() -> None:
    assert await said(streamed(b'data: {"a":\ndata:1}\n\nevent: ping\n\ndata\n\n')) == [{"a": 1}]


async def test_nothing_after_the_last_event_counts() -> None:
    sent = streamed(b'data: {"a": 1}\n\ndata: [DONE]\n\ndata: {"a": 2}\n\n', b"data: {not json\n\n")
    assert await said(sent) == [{"a": 1}]


async def test_an_event_that_breaks_off_is_none() -> None:
    assert await said(streamed(b'data: {"a": 1}\n\ndata: {"a": 2}\n')) == [{"a": 1}]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"data: {not json\n\n", ProviderReason.RESPONSE_MALFORMED),
        (b'data: "\xff"\n\n', ProviderReason.RESPONSE_MALFORMED),
        (b"data: " + b"[" * 100_000 + b"\n\n", ProviderReason.RESPONSE_MALFORMED),
        (b'data: {"error": "overloaded"}\n\n', ProviderReason.PROVIDER_UNAVAILABLE),
        (b'data: {"error": {"code": ["rate_limit_error"]}}\n\n', ProviderReason.PROVIDER_UNAVAILABLE),
        (b'data: {"error": {"type": "rate_limit_error"}}\n\n', ProviderReason.PROVIDER_BUSY),
    ],
)
async def test_what_is_no_event_of_an_answer_ends_the_call(sent: bytes, reason: ProviderReason) -> None:
    with pytest.raises(CallEnded) as ended:
        await said(streamed(sent))
    assert ended.value.reason is reason


async def test_an_answer_that_is_no_stream_of_events_is_malformed() -> None:
    with pytest.raises(CallEnded) as ended:
        await said(streamed(b"{}", content_type="application/json"))
    assert ended.value.reason is ProviderReason.RESPONSE_MALFORMED


async def _items(seconds: float, count: int) -> AsyncGenerator[int, None]:
    for number in range(count):
        await asyncio.sleep(seconds)
        yield number


async def test_items_in_time_are_handed_on() -> None:
    deadline = Deadline(float("inf"), time.monotonic)
    assert [item async for item in deadline.each(_items(0, 3))] == [0, 1, 2]


async def test_items_that_trickle_do_not_outlast_the_deadline() -> None:
    deadline = Deadline(time.monotonic() + 0.1, time.monotonic)
    with pytest.raises(CallEnded) as ended:
        _ = [item async for item in deadline.each(_items(0.02, 1_000))]
    assert ended.value.reason is ProviderReason.DEADLINE_EXCEEDED


async def test_a_step_that_does_not_end_is_cancelled_at_the_deadline() -> None:
    cancelled = asyncio.Event()

    async def step() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(CallEnded) as ended:
        await Deadline(0.05, lambda: 0.0).keep(step)
    assert ended.value.reason is ProviderReason.DEADLINE_EXCEEDED
    assert cancelled.is_set()


async def test_a_step_after_the_deadline_is_not_begun() -> None:
    begun: list[int] = []

    async def step() -> None:
        begun.append(1)

    with pytest.raises(CallEnded) as ended:
        await Deadline(5.0, lambda: 5.0).keep(step)
    assert ended.value.reason is ProviderReason.DEADLINE_EXCEEDED
    assert begun == []


async def test_a_timeout_of_the_step_itself_is_not_taken_for_the_deadline() -> None:
    async def step() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await Deadline(5.0, lambda: 0.0).keep(step)


@pytest.mark.parametrize(
    ("locale", "language"),
    [
        ("en", "en"),
        ("en-US", "en"),
        ("EN-us", "en"),
        ("zh-Hant-TW", "zh"),
        ("fil-PH", "tl"),
        ("nn-NO", "no"),
        ("tlh", None),
        ("e", None),
        ("", None),
    ],
)
def test_a_locale_is_one_of_the_languages_that_openai_lists_or_none(locale: str, language: str | None) -> None:
    assert language_of(locale) == language
