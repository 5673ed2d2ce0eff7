"""What every provider of SMS and WhatsApp has to keep to, whatever goes wrong; the vendors' ledgers judge."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import jwt
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_DELIVERY_CANCEL,
    CAPABILITY_DELIVERY_STATUS,
    PROVIDER_STATUS_OK,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
)

from servers.delivery.adapter import (
    Certainty,
    Content,
    DeliveryAdapter,
    DeliveryReason,
    Report,
    ReportKind,
    Webhook,
    WebhookRefused,
)
from servers.delivery.phone import expect_signature, intent_key, seconds_left, statement_id
from servers.delivery.twilio import TwilioSettings, TwilioSms, TwilioWebhook, TwilioWhatsApp
from servers.delivery.vonage import VonageSettings, VonageSms, VonageWebhook
from servers.delivery.whatsapp import WhatsAppCloud, WhatsAppSettings, WhatsAppWebhook
from servers.routing.credentials import Credential
from servers.routing.reasons import ProviderReason
from tests.support.canaries import everything_logged, found
from tests.support.keys import RotatingKey, keeps
from tests.support.messages import KEY, NUMBER, TEXT, checked, find, message, send, trace
from tests.support.simulators.messaging import MessagingSimulator, Trouble, Wrong
from tests.support.simulators.twilio import ACCOUNT, TwilioSimulator
from tests.support.simulators.vonage import VonageSimulator
from tests.support.simulators.whatsapp import PHONE_NUMBER_ID, WhatsAppSimulator


def twilio_sms(base_url: str, credential: Credential) -> DeliveryAdapter:
    return TwilioSms(TwilioSettings(account_sid=ACCOUNT, base_url=base_url, sender="+15005550006"), credential)


def twilio_whatsapp(base_url: str, credential: Credential) -> DeliveryAdapter:
    return TwilioWhatsApp(TwilioSettings(account_sid=ACCOUNT, base_url=base_url, sender="+15005550006"), credential)


def vonage_sms(base_url: str, credential: Credential) -> DeliveryAdapter:
    return VonageSms(VonageSettings(api_key="a1b2c3d4", base_url=base_url, sender="Selene"), credential)


def whatsapp_cloud(base_url: str, credential: Credential) -> DeliveryAdapter:
    return WhatsAppCloud(WhatsAppSettings(phone_number_id=PHONE_NUMBER_ID, base_url=base_url), credential)


@dataclass(frozen=True)
class Vendor:
    adapter: Callable[[str, Credential], DeliveryAdapter]
    simulator: Callable[[set[str]], MessagingSimulator]


VENDORS = {
    "twilio/sms": Vendor(twilio_sms, TwilioSimulator),
    "twilio/whatsapp": Vendor(twilio_whatsapp, TwilioSimulator),
    "vonage/sms": Vendor(vonage_sms, VonageSimulator),
    "meta/whatsapp": Vendor(whatsapp_cloud, WhatsAppSimulator),
}


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def cloud(vendor: Vendor, key: RotatingKey) -> AsyncIterator[MessagingSimulator]:
    async with vendor.simulator({key.secret}).serve() as simulator:
        yield simulator


@pytest.fixture
async def adapter(vendor: Vendor, cloud: MessagingSimulator, key: RotatingKey) -> AsyncIterator[DeliveryAdapter]:
    made = vendor.adapter(cloud.base_url, key)
    yield made
    await made.close()


async def test_an_accepted_message_is_in_the_ledger_once_and_known_by_an_id(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    sent = await send(adapter)
    (taken,) = cloud.accepted
    assert taken.to.endswith(NUMBER[1:])
    assert (sent.certainty, sent.result.status) == (Certainty.ACCEPTED, PROVIDER_STATUS_OK)
    assert sent.result.reason_code == "ACCEPTED"
    assert sent.provider_ack_ref == sent.provider_message_id != ""
    assert 0 < sent.result.latency.ToMilliseconds() < 10_000


async def test_no_provider_claims_a_key_window_and_the_key_travels_as_a_reference_only(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    assert adapter.declares.key_window_s is None
    assert adapter.declares.absent_after_s is None
    for _ in range(2):
        await send(adapter)
    assert len(cloud.accepted) == 2
    assert {taken.reference for taken in cloud.accepted} == {adapter.token(KEY)}


UNKNOWN: list[tuple[Wrong, str, int]] = [
    (Wrong(Trouble.LOSE_REPLY), DeliveryReason.ANSWER_LOST, 1),
    (Wrong(Trouble.HALF_REPLY), DeliveryReason.ANSWER_LOST, 1),
    (Wrong(Trouble.RESET), DeliveryReason.ANSWER_LOST, 0),
    (Wrong(Trouble.MALFORMED), ProviderReason.RESPONSE_MALFORMED, 1),
    (Wrong(Trouble.WRONG_SCHEMA), ProviderReason.RESPONSE_MALFORMED, 1),
    (Wrong(Trouble.TAKE_AND_FAIL, status=408), ProviderReason.PROVIDER_UNAVAILABLE, 1),
    *(
        (Wrong(Trouble.TAKE_AND_FAIL, status=status), ProviderReason.PROVIDER_UNAVAILABLE, 1)
        for status in (500, 502, 503, 504)
    ),
]


@pytest.mark.parametrize(("wrong", "reason", "taken"), UNKNOWN)
async def test_whatever_may_have_been_taken_is_unknown(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, wrong: Wrong, reason: str, taken: int
) -> None:
    cloud.plan(wrong)
    sent = await send(adapter)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, reason)
    assert sent.result.status == PROVIDER_STATUS_RETRYABLE_FAIL
    assert len(cloud.accepted) == taken
    assert len(cloud.asked) == 1


@pytest.mark.parametrize(
    "wrong", [Wrong(Trouble.HANG), Wrong(Trouble.LATE_REPLY, seconds=5.0)], ids=lambda wrong: wrong.trouble.name
)
async def test_an_answer_that_comes_after_the_deadline_is_unknown(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, wrong: Wrong
) -> None:
    cloud.plan(wrong)
    started = time.monotonic()
    sent = await send(adapter, within_s=0.3)
    assert time.monotonic() - started < 3.0
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
    assert len(cloud.accepted) == 1


async def test_a_message_that_is_taken_after_we_gave_up_was_never_called_refused(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    cloud.plan(Wrong(Trouble.TAKE_LATE, seconds=0.5))
    sent = await send(adapter, within_s=0.2)
    assert (sent.certainty, cloud.accepted) == (Certainty.UNKNOWN, [])
    await asyncio.wait_for(cloud.left.wait(), 5.0)
    assert len(cloud.accepted) == 1


async def test_an_answer_that_comes_twice_is_of_one_message_and_no_other(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    cloud.plan(Trouble.REPLY_TWICE)
    first, second = await send(adapter), await send(adapter)
    assert (first.certainty, second.certainty) == (Certainty.ACCEPTED, Certainty.ACCEPTED)
    assert first.provider_message_id != second.provider_message_id
    assert len(cloud.accepted) == 2


async def test_a_busy_provider_refuses_and_its_own_word_on_when_is_kept(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=429, code=999_999, retry_after="7"))
    sent = await send(adapter)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.PROVIDER_BUSY)
    assert (sent.retry_after_s, sent.result.status) == (7.0, PROVIDER_STATUS_RETRYABLE_FAIL)
    assert cloud.accepted == []


@pytest.mark.parametrize("status", [400, 404, 405, 422])
async def test_a_refusal_without_a_known_code_is_definite(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, status: int
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=999_999))
    sent = await send(adapter)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.REQUEST_REFUSED)
    assert sent.result.status == PROVIDER_STATUS_TERMINAL_FAIL


async def test_a_secret_that_is_rotated_in_the_middle_is_refused_and_the_next_call_brings_the_new_one(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, key: RotatingKey
) -> None:
    assert (await send(adapter)).certainty is Certainty.ACCEPTED
    cloud.secrets = {"sk-canary-2-0123456789abcdef"}
    refused = await send(adapter)
    assert (refused.certainty, refused.result.reason_code) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    key.rotate()
    assert (await send(adapter)).certainty is Certainty.ACCEPTED
    assert key.revealed == 3


async def test_nothing_is_asked_without_a_secret(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, key: RotatingKey
) -> None:
    key.available = False
    sent = await send(adapter)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert cloud.asked == []


async def test_a_lease_that_does_not_come_in_time_ends_the_call_before_anything_left(
    vendor: Vendor, cloud: MessagingSimulator
) -> None:
    class Stuck:
        async def reveal(self) -> str:
            await asyncio.Event().wait()
            return "never"

    adapter = vendor.adapter(cloud.base_url, Stuck())
    sent = await send(adapter, within_s=0.1)
    await adapter.close()
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
    assert cloud.asked == []


async def test_a_deadline_that_is_over_refuses_without_a_call(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    sent = await send(adapter, within_s=0.0)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.DEADLINE_EXCEEDED)
    assert cloud.asked == []


async def test_a_connection_that_was_never_made_refuses(vendor: Vendor, key: RotatingKey) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        adapter = vendor.adapter(f"http://127.0.0.1:{taken.getsockname()[1]}", key)
        sent = await send(adapter)
        await adapter.close()
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, ProviderReason.PROVIDER_UNAVAILABLE)


async def test_a_cancelled_call_ends_at_once_and_the_next_one_goes_well(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    cloud.plan(Trouble.HANG)
    call = asyncio.create_task(adapter.send(message(), deadline=time.monotonic() + 60))
    await asyncio.wait_for(cloud.hung.wait(), 5.0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await send(adapter)).certainty is Certainty.ACCEPTED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Content(), DeliveryReason.CONTENT_REFUSED),
        (Content(text="x" * 4097), DeliveryReason.CONTENT_TOO_LONG),
    ],
)
async def test_what_cannot_be_said_is_refused_without_a_call(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, content: Content, reason: str
) -> None:
    sent = await send(adapter, message(content=content))
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, reason)
    assert sent.result.status == PROVIDER_STATUS_TERMINAL_FAIL
    assert cloud.asked == []


async def test_nothing_that_is_said_can_become_a_header_or_another_field(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    attack = 'Hello"}\r\nX-Injected: yes\r\n\r\n&To=%2B15550000000&client_ref=forged'
    sent = await send(adapter, message(content=Content(text=attack)))
    (asked,) = cloud.asked
    (taken,) = cloud.accepted
    assert sent.certainty is Certainty.ACCEPTED
    assert "X-Injected" not in asked.headers
    assert taken.to.endswith(NUMBER[1:]) and taken.reference == adapter.token(KEY)


async def test_without_an_id_nobody_is_asked_and_the_outcome_stays_unknown(
    adapter: DeliveryAdapter, cloud: MessagingSimulator
) -> None:
    cloud.plan(Trouble.LOSE_REPLY)
    await send(adapter)
    found_out = await find(adapter, trace(token_sent=adapter.token(KEY)), CAPABILITY_DELIVERY_STATUS)
    assert (found_out.certainty, found_out.result.reason_code) == (Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
    assert len(cloud.asked) == 1


async def test_nothing_is_taken_back_and_nobody_says_so(adapter: DeliveryAdapter, cloud: MessagingSimulator) -> None:
    sent = await send(adapter)
    deadline = time.monotonic() + 5
    known = trace(provider_message_id=sent.provider_message_id)
    kept = checked(
        adapter, message(), await adapter.cancel(message(), known, deadline=deadline), CAPABILITY_DELIVERY_CANCEL
    )
    assert kept.certainty is Certainty.UNKNOWN
    assert not adapter.declares.cancels
    assert len(cloud.asked) == 1


SIGNING = b"signs-every-webhook-of-this-very-test"


@asynccontextmanager
async def endpoint(reader: Webhook) -> AsyncIterator[tuple[str, list[Report]]]:
    """Where a vendor reports to, and what its reader made of that."""
    reports: list[Report] = []

    async def take(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        url, body = f"{base_url}{request.raw_path}", await request.read()
        reports.extend(reader.read(url=url, headers=headers, body=body, secret=SIGNING, now=datetime.now(UTC)))
        return web.Response()

    app = web.Application()
    app.router.add_post("/webhooks/{vendor}/{channel}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    base_url = f"http://{host}:{port}"
    yield f"{base_url}/webhooks/{reader.provider_ref}", reports
    await runner.cleanup()


def reporting(ref: str, url: str, secrets: set[str]) -> MessagingSimulator:
    if ref.startswith("twilio/"):
        return TwilioSimulator(secrets, auth_token=SIGNING)
    if ref == "vonage/sms":
        return VonageSimulator(secrets, signature_secret=SIGNING)
    return WhatsAppSimulator(secrets, app_secret=SIGNING, webhook_url=url)


def reported(ref: str, base_url: str, url: str, credential: Credential) -> DeliveryAdapter:
    twilio = {"account_sid": ACCOUNT, "base_url": base_url, "sender": "+15005550006", "status_callback": url}
    if ref == "twilio/sms":
        return TwilioSms(TwilioSettings.model_validate(twilio), credential)
    if ref == "twilio/whatsapp":
        return TwilioWhatsApp(TwilioSettings.model_validate(twilio), credential)
    if ref == "vonage/sms":
        vonage = VonageSettings(api_key="a1b2c3d4", base_url=base_url, sender="Selene", webhook_url=url)
        return VonageSms(vonage, credential)
    meta = WhatsAppSettings(phone_number_id=PHONE_NUMBER_ID, base_url=base_url, reports=True)
    return WhatsAppCloud(meta, credential)


READERS: list[Webhook] = [
    TwilioWebhook(),
    TwilioWebhook(provider_ref="twilio/whatsapp"),
    VonageWebhook(),
    WhatsAppWebhook(),
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.provider_ref)
async def test_webhooks_that_come_before_the_answer_twice_and_out_of_order_are_of_the_same_message(
    reader: Webhook, key: RotatingKey
) -> None:
    first = "submitted" if reader.provider_ref == "vonage/sms" else "sent"
    async with endpoint(reader) as (url, reports):
        cloud = reporting(reader.provider_ref, url, {key.secret})
        cloud.before = ("delivered", first, first)
        async with cloud.serve():
            adapter = reported(reader.provider_ref, cloud.base_url, url, key)
            cloud.plan(Trouble.LOSE_REPLY, None)
            lost, known = await send(adapter), await send(adapter)
            await adapter.close()
    assert (lost.certainty, known.certainty) == (Certainty.UNKNOWN, Certainty.ACCEPTED)
    assert [report.kind for report in reports] == [ReportKind.DELIVERED, ReportKind.ACCEPTED, ReportKind.ACCEPTED] * 2
    assert {report.idempotency_key for report in reports} == {KEY}
    assert {report.provider_message_id for report in reports[3:]} == {known.provider_message_id}
    assert {report.provider_message_id for report in reports[:3]}.isdisjoint({known.provider_message_id})
    assert adapter.declares.webhooks


def signed(ref: str, url: str, body: bytes) -> dict[str, str]:
    """The headers of a body that the vendor signed, whatever is in it."""
    if ref.startswith("twilio/"):
        form = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        text = url + "".join(name + value for name, value in sorted(form))
        mac = hmac.new(SIGNING, text.encode(errors="surrogatepass"), hashlib.sha1).digest()
        return {"x-twilio-signature": base64.b64encode(mac).decode()}
    if ref == "vonage/sms":
        claims = {"iat": int(NOW.timestamp()), "payload_hash": hashlib.sha256(body).hexdigest()}
        return {"authorization": f"Bearer {jwt.encode(claims, SIGNING, algorithm='HS256')}"}
    return {"x-hub-signature-256": "sha256=" + hmac.new(SIGNING, body, hashlib.sha256).hexdigest()}


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
NAMES = st.sampled_from(
    [
        "object",
        "entry",
        "changes",
        "field",
        "value",
        "statuses",
        "id",
        "status",
        "timestamp",
        "errors",
        "code",
        "biz_opaque_callback_data",
        "message_uuid",
        "error",
        "title",
        "type",
        "client_ref",
    ]
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner), max_leaves=12)
STATUS = st.fixed_dictionaries(
    {"id": VALUES, "status": VALUES, "timestamp": VALUES, "errors": VALUES, "biz_opaque_callback_data": VALUES}
) | st.fixed_dictionaries(
    {"id": st.just("wamid.x"), "status": st.just("failed"), "timestamp": st.just("1772366400"), "errors": VALUES}
)
META = st.builds(
    lambda statuses: {
        "object": "whatsapp_business_account",
        "entry": [{"changes": [{"field": "messages", "value": {"statuses": statuses}}]}],
    },
    VALUES | st.lists(STATUS, max_size=3),
)
VONAGE = st.fixed_dictionaries(
    {
        "message_uuid": st.just("aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab") | VALUES,
        "status": st.just("rejected") | VALUES,
        "timestamp": VALUES,
        "error": VALUES,
        "client_ref": VALUES,
    }
)
JSON = st.builds(lambda value: json.dumps(value).encode(), VALUES | META | VONAGE)
FORM = st.builds(
    lambda fields: urlencode(fields).encode(),
    st.dictionaries(
        st.sampled_from(["MessageSid", "MessageStatus", "ErrorCode", "To"]),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["failed", "SM" + "0" * 32]),
    ),
)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.provider_ref)
@given(body=st.binary(max_size=200) | JSON | FORM)
def test_whatever_a_vendor_signs_is_read_or_refused(reader: Webhook, body: bytes) -> None:
    url = f"https://selene.example/webhooks/{reader.provider_ref}?intent={KEY}&at={int(NOW.timestamp())}"
    headers = signed(reader.provider_ref, url, body)
    try:
        reports = reader.read(url=url, headers=headers, body=body, secret=SIGNING, now=NOW)
    except WebhookRefused as refused:
        assert refused.reason in ("MALFORMED", "TOO_OLD", "SIGNATURE_INVALID")
        return
    for report in reports:
        assert report.provider_message_id and report.event_id and report.at.tzinfo is not None
        assert report.idempotency_key in ("", KEY)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.provider_ref)
@given(body=st.binary(max_size=200) | JSON | FORM, said=st.text(max_size=80))
def test_nothing_that_a_stranger_says_is_believed(reader: Webhook, body: bytes, said: str) -> None:
    names = ("x-twilio-signature", "x-hub-signature-256", "authorization")
    for value in (said, f"Bearer {said}", f"sha256={said}"):
        with pytest.raises(WebhookRefused):
            reader.read(url="https://h/?x", headers=dict.fromkeys(names, value), body=body, secret=SIGNING, now=NOW)


async def test_a_connection_is_opened_ahead_without_the_secret(
    adapter: DeliveryAdapter, cloud: MessagingSimulator, key: RotatingKey
) -> None:
    assert isinstance(adapter, TwilioSms | TwilioWhatsApp | VonageSms | WhatsAppCloud)
    assert await adapter.prewarm()
    assert (key.revealed, cloud.asked) == (0, [])


@asynccontextmanager
async def troubled(vendor: Vendor, key: RotatingKey) -> AsyncIterator[tuple[DeliveryAdapter, MessagingSimulator]]:
    async with vendor.simulator({key.secret}).serve() as cloud:
        adapter = vendor.adapter(cloud.base_url, key)
        yield adapter, cloud
        await adapter.close()


async def test_neither_secret_nor_number_nor_text_is_in_a_log_a_result_or_what_is_kept(
    vendor: Vendor, key: RotatingKey
) -> None:
    results: list[str] = []
    with everything_logged() as log:
        async with troubled(vendor, key) as (adapter, cloud):
            cloud.plan(None, Trouble.LOSE_REPLY, Wrong(Trouble.REFUSE, status=400, code=1), Trouble.MALFORMED)
            for _ in range(4):
                sent = await send(adapter)
                results.append(f"{sent!r} {sent.result}")
            cloud.secrets = set()
            sent = await send(adapter)
            results.append(f"{sent!r} {sent.result} {adapter!r} {adapter.declares!r} {message()!r}")
            assert len(cloud.asked) == 5
            assert not keeps(adapter, key.secret)
    left = (log.getvalue() + "".join(results)).encode()
    assert found(left, [key.secret.encode(), NUMBER[1:].encode(), TEXT.encode()]) == []


def test_a_webhook_of_an_account_without_secret_is_never_signed() -> None:
    with pytest.raises(WebhookRefused, match="SIGNATURE_INVALID"):
        expect_signature("said", "said", b"")


def test_a_signature_of_no_characters_at_all_is_just_invalid() -> None:
    with pytest.raises(WebhookRefused, match="SIGNATURE_INVALID"):
        expect_signature("\udcff", "said", b"secret")


@pytest.mark.parametrize("said", [None, 5, "", "5E" * 32, "5e" * 31, f"{KEY}\n", f"{KEY}0"])
def test_a_reference_that_is_none_of_our_keys_names_nothing(said: object) -> None:
    assert intent_key(said) == ""
    assert intent_key(KEY) == KEY


def test_statements_with_shifted_boundaries_are_others() -> None:
    assert statement_id("ab", "c") != statement_id("a", "bc")
    assert statement_id("ab", "c") == statement_id("ab", "c")


@pytest.mark.parametrize(("second", "wanted"), [(0, 20), (59, 59), (30, 30)])
def test_what_a_vendor_may_still_take_is_what_is_left(second: int, wanted: int) -> None:
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert seconds_left(at.replace(second=second), at, least=20, most=60) == wanted
    assert seconds_left(at.replace(hour=15), at, least=20, most=60) == 60
