"""Webhooks over real sockets: who is believed, what is taken once, and what a stranger can do, which is nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from selene.audit.v1.audit_pb2 import AuditEvent
from selene.delivery.v1.delivery_pb2 import (
    DELIVERY_CHANNEL_SMS,
    DELIVERY_PRIORITY_NORMAL,
    DELIVERY_RECEIPT_DELIVERED,
    DELIVERY_RECEIPT_READ,
    DELIVERY_STATE_SENT_ACKED,
)
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, ProviderResultV1
from yarl import URL

from servers.delivery.adapter import Certainty, Declares, Report, ReportKind, Sent, WebhookRefused
from servers.delivery.keeping import Known, changed
from servers.delivery.kept import delivery_of, kept
from servers.delivery.machine import Begin, Delivery, Learned, Lease, Refused, Rules, accepted, apply
from servers.delivery.reports import Reports, Taken
from servers.delivery.settings import WebhookSettings
from servers.delivery.webhooks import Limits, Source, WebhookServer, serve_webhooks
from servers.delivery.wechat import WeChatWebhook
from servers.routing.credentials import CredentialUnavailable
from servers.runtime.storage import SYSTEM_TENANT
from servers.runtime.tls import ListenError, TlsFiles
from store import Store
from store.delivery import NewDelivery, ProviderId
from tests.support.identity import certificates
from tests.support.simulators.messaging import Accepted
from tests.support.simulators.wechat import APP_ID, WeChatSimulator
from tests.support.stores import audit, open_store
from tests.support.time import FakeClock

REF = "acme/sms"
PATH = f"/webhooks/{REF}"
SECRET = "swordfish-of-the-account"
DELIVERY_ID = hashlib.sha256(b"m1").hexdigest()
WINDOW = timedelta(minutes=5)


class AcmeWebhook:
    """A vendor's scheme as most have it: HMAC-SHA256 over URL, time and body."""

    provider_ref = REF

    def __init__(self) -> None:
        self.fails: Exception | None = None

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        if self.fails is not None:
            raise self.fails
        if "x-acme-signature" not in headers:
            raise WebhookRefused("SIGNATURE_MISSING")
        signed_at = headers.get("x-acme-time", "")
        expected = signature(url, signed_at, body, secret)
        if not hmac.compare_digest(expected.encode(), headers["x-acme-signature"].encode()):
            raise WebhookRefused("SIGNATURE_INVALID")
        if now - datetime.fromtimestamp(int(signed_at), UTC) > WINDOW:
            raise WebhookRefused("TOO_OLD")
        try:
            return tuple(self._report(each) for each in json.loads(body))
        except (ValueError, KeyError, TypeError):
            raise WebhookRefused("MALFORMED") from None

    def _report(self, event: dict[str, Any]) -> Report:
        return Report(
            provider_ref=event.get("ref", REF),
            event_id=event["id"],
            kind=ReportKind[event["kind"]],
            at=datetime.fromtimestamp(event["at"], UTC),
            provider_message_id=event.get("message", ""),
            idempotency_key=event.get("key", ""),
        )


class AskingWebhook(AcmeWebhook):
    """One that asks first whether the address is ours."""

    def challenge(self, *, url: str, secret: bytes, now: datetime) -> str:
        if not url.endswith(f"?token={secret.decode()}"):
            raise WebhookRefused("SIGNATURE_INVALID")
        return "<42>"


def signature(url: str, signed_at: str, body: bytes, secret: bytes) -> str:
    return hmac.digest(secret, f"{url}\n{signed_at}\n".encode() + body, "sha256").hex()


@dataclass
class Vault:
    """The secret, as long as there is one."""

    secret: str | None = SECRET
    asked: int = 0
    before: str | None = None

    async def was_asked(self) -> bool:
        return self.asked > 0

    async def reveal(self) -> str:
        self.asked += 1
        if self.secret is None:
            raise CredentialUnavailable("there is no lease of it")
        return self.secret

    async def reveal_before(self) -> str | None:
        return self.before


@dataclass
class Bench:
    """A running endpoint, and the vendor that calls it."""

    server: WebhookServer
    store: Store
    clock: FakeClock
    vault: Vault
    reader: AcmeWebhook
    session: aiohttp.ClientSession
    answers: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}{PATH}"

    def event(self, event_id: str, kind: str = "DELIVERED", **fields: Any) -> dict[str, Any]:
        return {"id": event_id, "kind": kind, "at": self.clock.now().timestamp(), "message": "SM1", **fields}

    def signed(
        self, body: bytes, *, secret: str = SECRET, at: datetime | None = None, url: str | None = None
    ) -> dict[str, str]:
        signed_at = str(int((at or self.clock.now()).timestamp()))
        return {
            "X-Acme-Time": signed_at,
            "X-Acme-Signature": signature(url or self.url, signed_at, body, secret.encode()),
        }

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> int:
        sent = self.signed(body) if headers is None else headers
        async with self.session.post(self.url, data=body, headers=sent) as response:
            self.answers.append(await response.text())
            return response.status

    async def report(self, *events: dict[str, Any]) -> int:
        return await self.post(json.dumps(events).encode())

    async def is_full(self) -> bool:
        return await self.post(b"[]", {}) == 503

    async def delivery(self) -> Delivery:
        row = await self.store.delivery.get("t1", DELIVERY_ID)
        assert row is not None
        return delivery_of(row.body)

    async def refusals(self) -> dict[tuple[str, str], int]:
        """What the trail counts once the endpoint has stopped: by provider and reason."""
        await self.server.stop()
        rows = [event for event in await trail(self.store, SYSTEM_TENANT) if event.transition == "webhook.refused"]
        return {(facts(row).get("provider_ref", ""), row.reason_code): int(facts(row)["count"]) for row in rows}


async def trail(store: Store, tenant_id: str) -> list[AuditEvent]:
    return [each.event for each in await store.audit.page(tenant_id, limit=1000)]


def facts(event: AuditEvent) -> dict[str, str]:
    return {fact.name: fact.value for fact in event.facts}


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, in the order of the event loop."""
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  # what is waited for lies in a database or behind a socket
            await asyncio.sleep(0.001)


async def sent_once(store: Store, clock: FakeClock, *ids: ProviderId) -> None:
    """A delivery whose one call is under way, and what else is noted for it."""
    now = clock.now().timestamp()
    steps = (
        Lease("d1", 1, now + 60),
        Begin(fence=1, provider_ref=REF, declares=Declares(webhooks=True), token=""),
    )
    value = accepted(
        delivery_id=DELIVERY_ID,
        tenant_id="t1",
        message_id="m1",
        recipient_id="r1",
        channel=DELIVERY_CHANNEL_SMS,
        now=now,
    )
    for step in steps:
        after = apply(value, step, now, Rules())
        assert not isinstance(after, Refused)
        value = after
    row = NewDelivery(
        tenant_id="t1",
        delivery_id=DELIVERY_ID,
        message_id="m1",
        recipient_id="r1",
        channel=DELIVERY_CHANNEL_SMS,
        simulation_id="",
        payload_hash=bytes(32),
        state=value.state,
        priority=DELIVERY_PRIORITY_NORMAL,
        due_at=None,
        expires_at=clock.now() + timedelta(days=1),
        recipient_lock="r1/1",
        body=kept(value),
        intent=b"hello",
    )
    async with store.transaction() as tx:
        await tx.delivery.accept([row])
        await tx.delivery.note_ids({("t1", DELIVERY_ID): [ProviderId(REF, "key", DELIVERY_ID), *ids]})
        audit(tx)


async def learn(store: Store) -> None:
    """The answer to the call told the provider's id, and nothing certain."""
    row = await store.delivery.get("t1", DELIVERY_ID)
    assert row is not None
    attempt = delivery_of(row.body).attempts[0]
    result = ProviderResultV1(provider_ref=REF, status=PROVIDER_STATUS_RETRYABLE_FAIL, reason_code="ANSWER_LOST")
    sent = Sent(certainty=Certainty.UNKNOWN, result=result, provider_message_id="SM1")
    async with store.transaction() as tx:
        told = Learned(attempt.number, attempt.request_id, sent)
        assert isinstance(await changed(tx, "t1", DELIVERY_ID, told, Rules(), transition="test.learned"), Known)


@asynccontextmanager
async def serving(
    store: Store,
    clock: FakeClock,
    *,
    reader: AcmeWebhook | None = None,
    limits: Limits | None = None,
    look_again_s: Sequence[float] = (),
    where: WebhookSettings | None = None,
) -> AsyncIterator[Bench]:
    vault, reader = Vault(), reader or AcmeWebhook()
    reports = Reports(store, clock, Rules(), look_again_s=look_again_s)
    server = await serve_webhooks(
        where or WebhookSettings(port=0), [Source(reader, vault)], reports.take, store, clock, limits=limits
    )
    try:
        async with aiohttp.ClientSession() as session:
            yield Bench(server, store, clock, vault, reader, session)
    finally:
        await server.stop()


@pytest.fixture
async def bench(sqlite_store: Store, clock: FakeClock) -> AsyncIterator[Bench]:
    await sent_once(sqlite_store, clock)
    await learn(sqlite_store)
    async with serving(sqlite_store, clock) as running:
        yield running


async def test_a_signed_report_settles_its_delivery_and_is_audited(store: Store, clock: FakeClock) -> None:
    await sent_once(store, clock)
    await learn(store)
    async with serving(store, clock) as bench:
        assert await bench.report(bench.event("e1")) == 200
        delivery = await bench.delivery()
        assert (delivery.state, delivery.receipt) == (DELIVERY_STATE_SENT_ACKED, DELIVERY_RECEIPT_DELIVERED)
        rows = [event for event in await trail(store, "t1") if event.transition == "webhook.taken"]
        assert [facts(row)["event_id"] for row in rows] == ["e1"]
        assert [(each.name, each.sha256) for each in rows[0].hashes] == [("delivery", bytes.fromhex(DELIVERY_ID))]


async def test_a_report_finds_its_delivery_by_our_own_key_before_the_provider_s_id_is_known(
    sqlite_store: Store, clock: FakeClock
) -> None:
    await sent_once(sqlite_store, clock)
    async with serving(sqlite_store, clock) as bench:
        assert await bench.report(bench.event("e1", key=DELIVERY_ID)) == 200
        assert (await bench.delivery()).attempts[0].provider_message_id == "SM1"


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({}, 401, "SIGNATURE_MISSING"),
        ({"X-Acme-Signature": "00", "X-Acme-Time": "1"}, 401, "SIGNATURE_INVALID"),
        ({"X-Acme-Signature": "é" * 64, "X-Acme-Time": "1"}, 401, "SIGNATURE_INVALID"),
    ],
)
async def test_who_did_not_sign_changes_nothing(
    bench: Bench, headers: dict[str, str], status: int, reason: str
) -> None:
    before = await bench.delivery()
    assert await bench.post(json.dumps([bench.event("e1")]).encode(), headers) == status
    assert bench.answers == [reason]
    assert await bench.delivery() == before
    assert await bench.refusals() == {(REF, reason): 1}


async def test_a_signature_is_of_one_body_one_secret_and_one_url(bench: Bench) -> None:
    body = json.dumps([bench.event("e1")]).encode()
    assert await bench.post(body + b" ", bench.signed(body)) == 401
    assert await bench.post(body, bench.signed(body, secret="another")) == 401
    assert await bench.post(body, bench.signed(body, url=bench.url + "?a=1")) == 401
    assert await bench.refusals() == {(REF, "SIGNATURE_INVALID"): 3}


async def test_a_signature_header_that_comes_twice_is_none(bench: Bench) -> None:
    body = b"[]"
    right = bench.signed(body)
    twice = [*right.items(), ("X-Acme-Signature", right["X-Acme-Signature"])]
    async with bench.session.post(bench.url, data=body, headers=twice) as response:
        assert response.status == 401


async def test_the_url_is_the_one_that_the_vendor_called(sqlite_store: Store, clock: FakeClock) -> None:
    await sent_once(sqlite_store, clock)
    await learn(sqlite_store)
    where = WebhookSettings(port=0, public_url="https://hooks.example.com/")
    async with serving(sqlite_store, clock, where=where) as bench:
        body = json.dumps([bench.event("e1")]).encode()
        assert await bench.post(body) == 401
        assert await bench.post(body, bench.signed(body, url=f"https://hooks.example.com{PATH}")) == 200


async def test_what_was_signed_too_long_ago_is_refused(bench: Bench) -> None:
    body = json.dumps([bench.event("e1")]).encode()
    signed = bench.signed(body)
    bench.clock.advance(WINDOW + timedelta(seconds=1))
    assert await bench.post(body, signed) == 403
    assert bench.answers == ["TOO_OLD"]


async def test_a_replay_within_the_window_is_answered_and_changes_nothing(bench: Bench) -> None:
    body = json.dumps([bench.event("e1")]).encode()
    signed = bench.signed(body)
    assert await bench.post(body, signed) == 200
    rows = len(await trail(bench.store, "t1"))
    assert [await bench.post(body, signed) for _ in range(3)] == [200] * 3
    assert len(await trail(bench.store, "t1")) == rows
    assert await bench.refusals() == {(REF, "REPEATED"): 3}


async def test_the_same_event_at_the_same_moment_is_taken_once(store: Store, clock: FakeClock) -> None:
    await sent_once(store, clock)
    await learn(store)
    async with serving(store, clock) as bench:
        events = [bench.event(f"e{number}") for number in range(4)]
        answers = await asyncio.gather(
            *(bench.report(*(events if turn % 2 else reversed(events))) for turn in range(8)),
        )
        assert set(answers) <= {200, 503}  # PostgreSQL may have let one of them wait too long: it comes again
        assert await bench.report(*events) == 200
        taken = [event for event in await trail(store, "t1") if event.transition == "webhook.taken"]
        assert sorted(facts(row)["event_id"] for row in taken) == ["e0", "e1", "e2", "e3"]


async def test_reports_out_of_order_end_in_the_later_one(bench: Bench) -> None:
    assert await bench.report(bench.event("e2", "READ")) == 200
    assert await bench.report(bench.event("e1", "DELIVERED")) == 200
    assert (await bench.delivery()).receipt == DELIVERY_RECEIPT_READ


async def test_a_report_of_an_unknown_message_is_asked_for_again_and_then_taken(
    sqlite_store: Store, clock: FakeClock
) -> None:
    await sent_once(sqlite_store, clock)
    async with serving(sqlite_store, clock) as bench:
        assert await bench.report(bench.event("e1")) == 503
        assert bench.answers == ["MESSAGE_UNKNOWN_YET"]
        await learn(sqlite_store)
        assert await bench.report(bench.event("e1", key=DELIVERY_ID)) == 200
        assert (await bench.delivery()).state == DELIVERY_STATE_SENT_ACKED


async def test_a_report_that_is_faster_than_the_answer_waits_for_it(sqlite_store: Store, clock: FakeClock) -> None:
    await sent_once(sqlite_store, clock)
    async with serving(sqlite_store, clock, look_again_s=[0.01] * 500) as bench:
        reporting = asyncio.ensure_future(bench.report(bench.event("e1")))
        await until(bench.vault.was_asked)
        await learn(sqlite_store)
        assert await reporting == 200


async def test_what_is_known_is_taken_though_its_neighbour_is_not(bench: Bench) -> None:
    both = (bench.event("e1"), bench.event("e2", message="SM-of-nobody"))
    assert await bench.report(*both) == 503
    assert (await bench.delivery()).state == DELIVERY_STATE_SENT_ACKED
    bench.clock.advance(timedelta(hours=1, seconds=1))
    assert await bench.report(*both) == 200
    counted = await bench.refusals()
    assert counted == {(REF, "MESSAGE_UNKNOWN_YET"): 1, (REF, "REPEATED"): 1, (REF, "MESSAGE_UNKNOWN"): 1}


async def test_another_provider_s_message_of_the_same_name_is_not_touched(
    sqlite_store: Store, clock: FakeClock
) -> None:
    await sent_once(sqlite_store, clock, ProviderId("other/sms", "message", "SM1"))
    async with serving(sqlite_store, clock) as bench:
        before = await bench.delivery()
        assert await bench.report(bench.event("e1")) == 503
        assert await bench.report(bench.event("e1", ref="other/sms")) == 500
        assert await bench.delivery() == before


async def test_a_store_that_is_down_lets_the_vendor_come_again(sqlite_url: str, clock: FakeClock) -> None:
    store = await open_store(sqlite_url, clock)
    await sent_once(store, clock)
    await learn(store)
    async with serving(store, clock) as bench:
        await store.close()
        async with bench.session.post(
            bench.url, data=(body := json.dumps([bench.event("e1")]).encode()), headers=bench.signed(body)
        ) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")


async def test_without_the_secret_nobody_is_believed_and_it_is_asked_for_each_time(bench: Bench) -> None:
    bench.vault.secret = None
    assert await bench.report(bench.event("e1")) == 503
    bench.vault.secret = SECRET
    assert await bench.report(bench.event("e1")) == 200
    assert bench.vault.asked == 2


async def test_a_rotated_secret_holds_at_once(bench: Bench) -> None:
    bench.vault.secret = "the-next-one"
    body = json.dumps([bench.event("e1")]).encode()
    assert await bench.post(body) == 401
    assert await bench.post(body, bench.signed(body, secret="the-next-one")) == 200


async def test_while_two_secrets_overlap_both_sign_and_no_other(bench: Bench) -> None:
    bench.vault.secret, bench.vault.before = "the-next-one", SECRET
    for number, (secret, status) in enumerate(((SECRET, 200), ("the-next-one", 200), ("another", 401))):
        body = json.dumps([bench.event(f"e{number}")]).encode()
        assert await bench.post(body, bench.signed(body, secret=secret)) == status
    bench.vault.before = None
    body = json.dumps([bench.event("e9")]).encode()
    assert await bench.post(body, bench.signed(body, secret=SECRET)) == 401


async def test_the_secret_before_believes_no_more_than_the_present_one(bench: Bench) -> None:
    bench.vault.secret, bench.vault.before = "the-next-one", SECRET
    body = json.dumps([bench.event("e1")]).encode()
    headers = bench.signed(body, secret=SECRET)
    bench.clock.advance(WINDOW + timedelta(seconds=1))
    assert await bench.post(body, headers) == 403
    assert bench.answers == ["TOO_OLD"]


@pytest.mark.parametrize("path", ["/", "/webhooks", "/webhooks/", f"{PATH}/", "/webhooks/acme%2Fsms", "/webhooks/x/y"])
async def test_every_other_path_is_refused(bench: Bench, path: str) -> None:
    url = f"http://127.0.0.1:{bench.server.port}{path}"
    async with bench.session.post(URL(url, encoded=True), data=b"[]") as response:
        assert response.status == 404
    assert bench.vault.asked == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_every_other_method_is_refused(bench: Bench, method: str) -> None:
    async with bench.session.request(method, bench.url) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert bench.vault.asked == 0


async def test_a_vendor_that_asks_first_gets_its_answer_only_with_our_token(
    sqlite_store: Store, clock: FakeClock
) -> None:
    async with serving(sqlite_store, clock, reader=AskingWebhook()) as bench:
        async with bench.session.get(f"{bench.url}?token={SECRET}") as response:
            assert (response.status, await response.text()) == (200, "<42>")
            assert (response.content_type, response.headers["X-Content-Type-Options"]) == ("text/plain", "nosniff")
        async with bench.session.get(f"{bench.url}?token=guess") as response:
            assert (response.status, await response.text()) == (401, "SIGNATURE_INVALID")


async def test_a_body_over_the_limit_is_refused_whether_or_not_it_says_so(bench: Bench) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 65_536

    assert await bench.post(b" " * (256 * 1024 + 1)) == 413
    async with bench.session.post(bench.url, data=pieces()) as response:
        assert response.status == 413
    assert bench.vault.asked == 0
    assert await bench.post(b" " * (256 * 1024)) == 400


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_packed_body_is_not_unpacked(bench: Bench) -> None:
    assert await bench.post(b"\x1f\x8b", {"Content-Encoding": "gzip"}) == 415


async def test_a_slow_body_is_given_up(sqlite_store: Store, clock: FakeClock) -> None:
    async with serving(sqlite_store, clock, limits=Limits(read_s=0.05)) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[".encode())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b"BODY_TOO_SLOW")
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"POST /webhooks/acme/sms HTTP/1.1\r\nHost:"])
async def test_a_connection_that_asks_nothing_is_closed(sqlite_store: Store, clock: FakeClock, begun: bytes) -> None:
    async with serving(sqlite_store, clock, limits=Limits(idle_s=0.05)) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
        writer.write(begun)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /webhooks/acme/sms HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 9000 + b"\r\n\r\n",
        b"POST /webhooks/acme/sms HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(70)) + b"\r\n",
        b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"POST /webhooks/acme/sms HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"POST /webhooks/acme/sms HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_what_is_not_sound_http_is_400(bench: Bench, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
    writer.write(request_bytes)
    assert (await reader.readline()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    writer.close()
    assert bench.vault.asked == 0


async def test_a_vendor_that_leaves_in_the_middle_leaves_nothing(bench: Bench) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await bench.report(bench.event("e1")) == 200


async def test_a_flood_is_turned_away_and_costs_one_row(sqlite_store: Store, clock: FakeClock) -> None:
    async with serving(sqlite_store, clock, limits=Limits(requests=2, read_s=5.0)) as bench:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n".encode()
        held = [await asyncio.open_connection("127.0.0.1", bench.server.port) for _ in range(2)]
        for _, writer in held:
            writer.write(head)
        await until(bench.is_full)
        assert {await bench.post(b"[]", {}) for _ in range(100)} == {503}
        for reader, writer in held:
            writer.write(b"[]")
            assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
            writer.close()
        assert await bench.post(b"[]", {}) == 401
        counted = await bench.refusals()
        assert counted["", "OVERLOADED"] == 101
        assert len(await trail(sqlite_store, SYSTEM_TENANT)) == len(counted) == 2


async def test_connections_beyond_the_limit_are_closed_at_once(sqlite_store: Store, clock: FakeClock) -> None:
    async with serving(sqlite_store, clock, limits=Limits(connections=1)) as bench:
        assert await bench.post(b"[]") == 200  # its connection stays
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.server.port)
        with pytest.raises(ConnectionError):
            writer.write(b"POST / HTTP/1.1\r\n\r\n")
            if await reader.read() == b"":
                raise ConnectionResetError
        writer.close()
        assert await bench.post(b"[]") == 200


async def test_refusals_are_written_each_minute(sqlite_url: str, clock: FakeClock) -> None:
    store = await open_store(sqlite_url, clock)
    async with serving(store, clock, limits=Limits(count_every_s=0.01)) as bench:
        for _ in range(3):
            assert await bench.post(b"[]", {}) == 401

        async def all_written() -> bool:
            return sum(int(facts(row)["count"]) for row in await trail(store, SYSTEM_TENANT)) == 3

        await until(all_written)
        rows = await trail(store, SYSTEM_TENANT)
        assert {row.reason_code for row in rows} == {"SIGNATURE_MISSING"}
        assert "swordfish" not in str(rows)
    await store.close()


@pytest.mark.parametrize(
    ("failure", "status", "answer"),
    [
        (RecursionError("the body: secret"), 500, "READER_FAILED"),
        (WebhookRefused("WHATEVER THE BODY SAYS"), 400, "MALFORMED"),
    ],
)
async def test_a_reader_that_fails_says_nothing_of_the_body(
    bench: Bench, failure: Exception, status: int, answer: str
) -> None:
    bench.reader.fails = failure
    assert await bench.post(b"[]") == status
    assert bench.answers == [answer]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), min_size=1, max_size=3))
def test_garbage_is_4xx_and_changes_nothing(
    sqlite_url: str, clock: FakeClock, bodies: list[tuple[bytes, bool]]
) -> None:
    async def send() -> None:
        store = await open_store(sqlite_url, clock)
        try:
            async with serving(store, clock) as bench:
                for body, is_signed in bodies:
                    status = await bench.post(body, bench.signed(body) if is_signed else {})
                    assert status == 401 if not is_signed else status in (200, 400)
            assert not await trail(store, "t1")
        finally:
            await store.close()

    asyncio.run(send())


async def test_beyond_loopback_it_listens_with_tls_or_behind_a_proxy_only(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    async def listen(public_url: str = "", tls: TlsFiles | None = None) -> None:
        take = Reports(sqlite_store, clock, Rules()).take
        where = WebhookSettings(host="0.0.0.0", port=0, public_url=public_url)
        server = await serve_webhooks(where, [], take, sqlite_store, clock, tls=tls)
        await server.stop()

    flags, _ = certificates(tmp_path)
    for public_url in ("", "http://hooks.example.com"):
        with pytest.raises(ListenError, match="no TLS"):
            await listen(public_url)
    with pytest.raises(ListenError, match="cannot read the TLS files"):
        await listen(tls=TlsFiles(tmp_path / "none.pem", tmp_path / "none.key"))
    await listen("https://hooks.example.com")
    await listen(tls=TlsFiles(flags["tls.certificate"], flags["tls.private_key"]))


async def test_workers_share_a_port_and_strangers_do_not(sqlite_store: Store, clock: FakeClock) -> None:
    take = Reports(sqlite_store, clock, Rules()).take

    async def listen(port: int, *, shares_port: bool) -> WebhookServer:
        where = WebhookSettings(port=port)
        return await serve_webhooks(where, [], take, sqlite_store, clock, shares_port=shares_port)

    first = await listen(0, shares_port=True)
    second = await listen(first.port, shares_port=True)
    with pytest.raises(ListenError, match="cannot listen"):
        await listen(first.port, shares_port=False)
    await first.stop()
    await second.stop()


async def test_what_cannot_be_taken_is_asked_for_again_and_says_nothing(sqlite_store: Store, clock: FakeClock) -> None:
    async def take(reports: Sequence[Report]) -> Taken:
        raise KeyError(f"the row of {reports}")

    reader = AcmeWebhook()
    server = await serve_webhooks(WebhookSettings(port=0), [Source(reader, Vault())], take, sqlite_store, clock)
    async with aiohttp.ClientSession() as session:
        bench = Bench(server, sqlite_store, clock, Vault(), reader, session)
        assert await bench.report(bench.event("e1")) == 500
        assert bench.answers == ["TAKING_FAILED"]
        assert await bench.refusals() == {(REF, "TAKING_FAILED"): 1}


async def test_a_vendor_s_own_event_settles_its_delivery_and_is_answered_with_nothing(
    sqlite_store: Store, clock: FakeClock
) -> None:
    wechat = WeChatSimulator(set())
    hook = wechat.hook(Accepted("200228332", "openid", "", {}), "success", at=clock.now())
    taken: list[Report] = []

    async def take(reports: Sequence[Report]) -> Taken:
        taken.extend(reports)
        return Taken(new=len(reports))

    source = Source(WeChatWebhook(app_id=APP_ID), Vault(wechat.token))
    server = await serve_webhooks(WebhookSettings(port=0), [source], take, sqlite_store, clock)
    url = f"http://127.0.0.1:{server.port}/webhooks/wechat/official{hook.url}"
    try:
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=hook.body, headers=hook.headers) as response:
                assert (response.status, await response.read()) == (200, b"")
            async with session.get(f"{url}&echostr=5276998") as response:
                assert (response.status, await response.text()) == (200, "5276998")
    finally:
        await server.stop()
    assert [(report.provider_message_id, report.kind) for report in taken] == [("200228332", ReportKind.DELIVERED)]


async def test_a_renewed_certificate_serves_the_next_connection(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    flags, trusted = certificates(tmp_path)
    tls = TlsFiles(flags["tls.certificate"], flags["tls.private_key"])
    take = Reports(sqlite_store, clock, Rules()).take
    source = Source(AcmeWebhook(), Vault())
    server = await serve_webhooks(WebhookSettings(port=0), [source], take, sqlite_store, clock, tls=tls)

    async def status() -> int:
        context = ssl.create_default_context(cafile=str(trusted.ca))
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"https://127.0.0.1:{server.port}{PATH}", data=b"[]", ssl=context) as response,
        ):
            return response.status

    try:
        assert await status() == 401
        before = tls.private_key.read_bytes()
        certificates(tmp_path)  # of another authority: who trusts only that one still gets through
        assert await status() == 401
        tls.private_key.write_bytes(before)  # half of a renewal: what was in use stays
        assert await status() == 401
    finally:
        await server.stop()
