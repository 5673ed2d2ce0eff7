"""Meta's WhatsApp Cloud API, against the simulator: bodies, refusals, and its webhooks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import Certainty, Content, Declares, DeliveryReason, Report, ReportKind, WebhookRefused
from servers.delivery.whatsapp import (
    WhatsAppCloud,
    WhatsAppSettings,
    WhatsAppWebhook,
    message_ref,
    signature,
    verify_token,
)
from servers.routing.reasons import ProviderReason
from tests.support.canaries import found
from tests.support.keys import RotatingKey
from tests.support.messages import KEY, NUMBER, TEXT, message, send
from tests.support.simulators.messaging import Accepted, Hook, Trouble, Wrong
from tests.support.simulators.whatsapp import PHONE_NUMBER_ID, WhatsAppSimulator

APP_SECRET = b"0123456789abcdef0123456789abcdef"
CALLBACK = "https://selene.example/webhooks/meta/whatsapp"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WAMID = "wamid.HQs0NDc3MDA5MDAxMjMAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def cloud(key: RotatingKey) -> AsyncIterator[WhatsAppSimulator]:
    async with WhatsAppSimulator({key.secret}, app_secret=APP_SECRET, webhook_url=CALLBACK).serve() as simulator:
        yield simulator


@pytest.fixture
async def whatsapp(cloud: WhatsAppSimulator, key: RotatingKey) -> AsyncIterator[WhatsAppCloud]:
    adapter = WhatsAppCloud(WhatsAppSettings(phone_number_id=PHONE_NUMBER_ID, base_url=cloud.base_url), key)
    yield adapter
    await adapter.close()


async def test_a_text_is_json_as_documented(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator, key: RotatingKey
) -> None:
    sent = await send(whatsapp)
    (asked,) = cloud.asked
    assert (asked.method, asked.path) == ("POST", f"/v23.0/{PHONE_NUMBER_ID}/messages")
    assert asked.headers["Authorization"] == f"Bearer {key.secret}"
    assert asked.body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": NUMBER,
        "type": "text",
        "text": {"preview_url": False, "body": TEXT},
        "biz_opaque_callback_data": KEY,
    }
    assert sent.token_sent == KEY


async def test_a_message_id_which_holds_the_number_is_kept_as_a_hash_that_webhooks_match(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator
) -> None:
    sent = await send(whatsapp)
    (taken,) = cloud.accepted
    assert found(taken.message_id.encode(), [NUMBER[1:].encode()]) != []
    assert found(repr(sent).encode(), [NUMBER[1:].encode()]) == []
    (report,) = read(cloud.hook(taken, "delivered", at=NOW))
    assert report.provider_message_id == sent.provider_message_id == message_ref(taken.message_id)


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({}, None),
        ({"2": "19:30", "1": "Zürich"}, [{"text": "Zürich"}, {"text": "19:30"}]),
        (
            {"time": "19:30", "place": "Zürich"},
            [{"parameter_name": "place", "text": "Zürich"}, {"parameter_name": "time", "text": "19:30"}],
        ),
        ({"1": "a", "3": "b"}, [{"parameter_name": "1", "text": "a"}, {"parameter_name": "3", "text": "b"}]),
    ],
)
async def test_a_template_goes_by_name_language_and_parameters(
    whatsapp: WhatsAppCloud,
    cloud: WhatsAppSimulator,
    parameters: dict[str, str],
    wanted: list[dict[str, str]] | None,
) -> None:
    content = Content(template="table_booked", locale="en-US", parameters=parameters)
    await send(whatsapp, message(channel="whatsapp", content=content))
    body = cloud.asked[0].body
    template: dict[str, Any] = {"name": "table_booked", "language": {"code": "en_US"}}
    if wanted is not None:
        parts = [{"type": "text", **part} for part in wanted]
        template["components"] = [{"type": "body", "parameters": parts}]
    assert (body["type"], body["template"], "text" in body) == ("template", template, False)


@pytest.mark.parametrize("reports", [False, True])
async def test_nothing_is_declared_but_webhooks_where_they_are_configured(key: RotatingKey, reports: bool) -> None:
    adapter = WhatsAppCloud(WhatsAppSettings(phone_number_id=PHONE_NUMBER_ID, reports=reports), key)
    await adapter.close()
    assert adapter.declares == Declares(webhooks=reports)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, 131026, DeliveryReason.RECIPIENT_UNREACHABLE),
        (400, 131047, DeliveryReason.WINDOW_CLOSED),
        (400, 131050, DeliveryReason.RECIPIENT_OPTED_OUT),
        (400, 131056, ProviderReason.PROVIDER_BUSY),
        (400, 130429, ProviderReason.PROVIDER_BUSY),
        (429, 130429, ProviderReason.PROVIDER_BUSY),
        (400, 80007, ProviderReason.PROVIDER_BUSY),
        (404, 132001, DeliveryReason.TEMPLATE_UNKNOWN),
        (400, 132000, DeliveryReason.CONTENT_REFUSED),
        (400, 132005, DeliveryReason.CONTENT_TOO_LONG),
        (403, 130497, DeliveryReason.REGION_BLOCKED),
        (403, 131031, DeliveryReason.SENDER_REFUSED),
        (403, 368, DeliveryReason.SENDER_REFUSED),
        (400, 190, ProviderReason.CREDENTIAL_REFUSED),
        (401, 0, ProviderReason.CREDENTIAL_REFUSED),
        (403, 10, ProviderReason.CREDENTIAL_REFUSED),
        (403, 200, ProviderReason.CREDENTIAL_REFUSED),
        (500, 131057, ProviderReason.PROVIDER_UNAVAILABLE),
        (400, 100, ProviderReason.REQUEST_REFUSED),
    ],
)
async def test_every_documented_refusal_is_definite_and_has_its_reason(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator, status: int, code: int, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=code))
    sent = await send(whatsapp)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, reason)
    passing = reason in (ProviderReason.PROVIDER_BUSY, ProviderReason.PROVIDER_UNAVAILABLE)
    assert sent.result.status == (PROVIDER_STATUS_RETRYABLE_FAIL if passing else PROVIDER_STATUS_TERMINAL_FAIL)


@pytest.mark.parametrize(("status", "code"), [(400, 1), (503, 2), (500, 131000), (400, 131000), (503, 131016)])
async def test_what_meta_calls_a_possible_failure_of_its_own_is_unknown_whatever_the_status(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator, status: int, code: int
) -> None:
    cloud.plan(Wrong(Trouble.TAKE_AND_FAIL, status=status, code=code))
    sent = await send(whatsapp)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE)
    assert sent.provider_request_id == "Az8or2yhqkZfEZ-_4Qn_Bam"
    assert len(cloud.accepted) == 1


async def test_an_error_in_an_answer_of_success_leaves_it_unknown(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator
) -> None:
    cloud.plan(Wrong(Trouble.TAKE_AND_FAIL, status=200, code=131026))
    sent = await send(whatsapp)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, ProviderReason.RESPONSE_MALFORMED)


async def test_a_lost_answer_is_told_by_the_webhook_of_that_very_message(
    whatsapp: WhatsAppCloud, cloud: WhatsAppSimulator
) -> None:
    cloud.before = ("read", "sent", "sent")
    cloud.plan(Trouble.LOSE_REPLY)
    assert (await send(whatsapp)).certainty is Certainty.UNKNOWN
    reports = [read(hook, now=datetime.now(UTC))[0] for hook in cloud.hooks]
    assert [report.kind for report in reports] == [ReportKind.READ, ReportKind.ACCEPTED, ReportKind.ACCEPTED]
    ref = message_ref(cloud.accepted[0].message_id)
    assert {(report.idempotency_key, report.provider_message_id) for report in reports} == {(KEY, ref)}
    assert reports[1].event_id == reports[2].event_id != reports[0].event_id


VENDOR = WhatsAppSimulator(set(), app_secret=APP_SECRET, webhook_url=CALLBACK)
TAKEN = Accepted(WAMID, NUMBER[1:], KEY, {}, CALLBACK)
READER = WhatsAppWebhook()


def read(hook: Hook, now: datetime = NOW) -> tuple[Report, ...]:
    return READER.read(url=CALLBACK, headers=hook.headers, body=hook.body, secret=APP_SECRET, now=now)


def signed(body: bytes) -> Hook:
    mac = hmac.new(APP_SECRET, body, hashlib.sha256).hexdigest()
    return Hook(CALLBACK, {"x-hub-signature-256": f"sha256={mac}"}, body)


@pytest.mark.parametrize(
    ("status", "kind", "code", "reason"),
    [
        ("sent", ReportKind.ACCEPTED, None, ""),
        ("delivered", ReportKind.DELIVERED, None, ""),
        ("read", ReportKind.READ, None, ""),
        ("failed", ReportKind.FAILED, 131026, "RECIPIENT_UNREACHABLE"),
        ("failed", ReportKind.FAILED, 131047, "WINDOW_CLOSED"),
        ("failed", ReportKind.FAILED, 131000, ""),
        ("failed", ReportKind.FAILED, None, ""),
    ],
)
def test_a_webhook_says_what_became_of_a_message(status: str, kind: ReportKind, code: int | None, reason: str) -> None:
    (report,) = read(VENDOR.hook(TAKEN, status, at=NOW, code=code))
    assert (report.kind, report.reason_code, report.at) == (kind, reason, NOW)
    assert (report.provider_ref, report.idempotency_key) == ("meta/whatsapp", KEY)
    assert report.provider_message_id == message_ref(WAMID)
    assert found(repr(report).encode(), [NUMBER[1:].encode()]) == []


def test_the_signature_is_hmac_sha256_of_the_raw_body() -> None:
    # RFC 4231, test case 2.
    assert signature(b"what do ya want for nothing?", b"Jefe") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_webhook_that_anybody_could_have_made_is_refused() -> None:
    hook = VENDOR.hook(TAKEN, "failed", at=NOW)
    mac = hook.headers["x-hub-signature-256"]
    bad: list[tuple[bytes, dict[str, str], bytes, str]] = [
        (hook.body, {}, APP_SECRET, "SIGNATURE_MISSING"),
        (hook.body, {"x-hub-signature": mac}, APP_SECRET, "SIGNATURE_MISSING"),
        (hook.body, {"x-hub-signature-256": ""}, APP_SECRET, "SIGNATURE_MISSING"),
        (hook.body, {"x-hub-signature-256": mac.removeprefix("sha256=")}, APP_SECRET, "SIGNATURE_INVALID"),
        (hook.body, {"x-hub-signature-256": mac[:-1]}, APP_SECRET, "SIGNATURE_INVALID"),
        (hook.body, {"x-hub-signature-256": "sha256=\udcff"}, APP_SECRET, "SIGNATURE_INVALID"),
        (hook.body, {"x-hub-signature-256": mac}, b"another", "SIGNATURE_INVALID"),
        (hook.body, {"x-hub-signature-256": signature(hook.body, b"")}, b"", "SIGNATURE_INVALID"),
        (hook.body.replace(b"failed", b"read"), {"x-hub-signature-256": mac}, APP_SECRET, "SIGNATURE_INVALID"),
        (hook.body + b"\n", {"x-hub-signature-256": mac}, APP_SECRET, "SIGNATURE_INVALID"),
    ]
    for body, headers, secret, reason in bad:
        with pytest.raises(WebhookRefused) as refused:
            READER.read(url=CALLBACK, headers=headers, body=body, secret=secret, now=NOW)
        assert refused.value.reason == reason


def test_a_status_that_is_too_old_is_refused_and_left_out_of_several() -> None:
    old, edge = NOW - timedelta(days=8, seconds=1), NOW - timedelta(days=8)
    assert len(read(VENDOR.hook(TAKEN, "sent", at=edge))) == 1
    with pytest.raises(WebhookRefused, match="TOO_OLD"):
        read(VENDOR.hook(TAKEN, "sent", at=old))
    both = [
        {"id": WAMID, "status": status, "timestamp": str(int(at.timestamp()))}
        for status, at in (("sent", old), ("read", NOW))
    ]
    (report,) = read(VENDOR.signed({"statuses": both}))
    assert report.kind is ReportKind.READ


@pytest.mark.parametrize(
    "said",
    [
        {"id": WAMID, "status": "played", "timestamp": "1750857384"},
        {"id": WAMID, "status": ["read"], "timestamp": "1750857384"},
        {"id": WAMID, "status": "read", "timestamp": "soon"},
        {"id": WAMID, "status": "read", "timestamp": "9" * 30},
        {"id": WAMID, "status": "read", "timestamp": 1750857384},
        {"id": "", "status": "read", "timestamp": "1750857384"},
        {"id": None, "status": "read", "timestamp": "1750857384"},
        "read",
        None,
    ],
)
def test_a_status_that_tells_nothing_is_left_out(said: object) -> None:
    fresh = {"id": WAMID, "status": "read", "timestamp": str(int(NOW.timestamp()))}
    assert read(VENDOR.signed({"statuses": [said]})) == ()
    (report,) = read(VENDOR.signed({"statuses": [said, fresh]}))
    assert (report.kind, report.idempotency_key) == (ReportKind.READ, "")


def test_what_is_no_status_of_a_message_says_nothing() -> None:
    inbound = {"messages": [{"from": "16315551181", "id": "wamid.x", "type": "text", "text": {"body": "STOP"}}]}
    status = {"statuses": [{"id": WAMID, "status": "read", "timestamp": str(int(NOW.timestamp()))}]}
    assert read(VENDOR.signed(inbound)) == ()
    assert read(VENDOR.signed(status, field="account_update")) == ()
    assert read(signed(b'{"object": "page", "entry": []}')) == ()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff",
        b"[]",
        b"5",
        b"[" * 100_000,
        b'{"object": "whatsapp_business_account"}',
        b'{"object": "whatsapp_business_account", "entry": 5}',
        b'{"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": 5}]}]}',
        b'{"object": "whatsapp_business_account", "entry": [{"changes": ["messages"]}]}',
        b'{"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", '
        b'"value": {"statuses": 5}}]}]}',
    ],
)
def test_a_signed_body_that_is_not_metas_is_malformed(said: bytes) -> None:
    with pytest.raises(WebhookRefused, match="MALFORMED"):
        read(signed(said))


def challenged(changed: Mapping[str, str], secret: bytes = APP_SECRET) -> str:
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": "1158201444",
        "hub.verify_token": verify_token(APP_SECRET),
        **changed,
    }
    return READER.challenge(url=f"{CALLBACK}?{urlencode(query)}", secret=secret, now=NOW)


def test_meta_gets_its_challenge_back() -> None:
    assert challenged({}) == "1158201444"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hub.verify_token": ""}, "SIGNATURE_MISSING"),
        ({"hub.verify_token": "guessed"}, "SIGNATURE_INVALID"),
        ({"hub.verify_token": APP_SECRET.decode()}, "SIGNATURE_INVALID"),
        ({"hub.mode": "unsubscribe"}, "MALFORMED"),
        ({"hub.challenge": ""}, "MALFORMED"),
        ({"hub.challenge": "<script>alert(1)</script>"}, "MALFORMED"),
        ({"hub.challenge": "1" * 129}, "MALFORMED"),
    ],
)
def test_nobody_else_gets_a_challenge_back(changed: dict[str, str], reason: str) -> None:
    with pytest.raises(WebhookRefused) as refused:
        challenged(changed)
    assert refused.value.reason == reason


def test_without_a_secret_nobody_gets_a_challenge_back() -> None:
    with pytest.raises(WebhookRefused, match="SIGNATURE_INVALID"):
        challenged({"hub.verify_token": verify_token(b"")}, b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"phone_number_id": "1/../2"},
        {"phone_number_id": ""},
        {"version": "latest"},
        {"base_url": "https://user:pass@graph.facebook.com"},
        {"access_token": "never in settings"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WhatsAppSettings.model_validate({"phone_number_id": PHONE_NUMBER_ID, **wrong})
