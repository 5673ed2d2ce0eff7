"""Twilio's SMS and WhatsApp, against the simulator: forms, refusals, look-ups, and its status callbacks."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from aiohttp import web
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import (
    CAPABILITY_DELIVERY_STATUS,
    PROVIDER_STATUS_RETRYABLE_FAIL,
    PROVIDER_STATUS_TERMINAL_FAIL,
)

from servers.delivery.adapter import (
    CALLER_FAULTS,
    Certainty,
    Content,
    DeliveryReason,
    Lookup,
    ReportKind,
    WebhookRefused,
)
from servers.delivery.twilio import TwilioSettings, TwilioSms, TwilioWebhook, TwilioWhatsApp, signature
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import ManualClock
from tests.support.keys import RotatingKey
from tests.support.messages import KEY, NUMBER, TEXT, find, message, send, trace
from tests.support.simulators.messaging import Accepted, Trouble, Wrong
from tests.support.simulators.twilio import ACCOUNT, TwilioSimulator

AUTH_TOKEN = b"12345678901234567890123456789012"
CALLBACK = "https://selene.example/webhooks/twilio/sms"
SENDER = "+15005550006"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TEMPLATE = "HX" + "ab" * 16


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def cloud(key: RotatingKey) -> AsyncIterator[TwilioSimulator]:
    async with TwilioSimulator({key.secret}, auth_token=AUTH_TOKEN).serve() as simulator:
        yield simulator


def settings(cloud: TwilioSimulator, **more: object) -> TwilioSettings:
    return TwilioSettings.model_validate(
        {
            "account_sid": ACCOUNT,
            "base_url": cloud.base_url,
            "sender": SENDER,
            "status_callback": CALLBACK,
            "templates": {"booked/de-DE": TEMPLATE},
            **more,
        }
    )


@pytest.fixture
async def sms(cloud: TwilioSimulator, key: RotatingKey) -> AsyncIterator[TwilioSms]:
    adapter = TwilioSms(settings(cloud), key, clock=None)
    yield adapter
    await adapter.close()


@pytest.fixture
async def whatsapp(cloud: TwilioSimulator, key: RotatingKey) -> AsyncIterator[TwilioWhatsApp]:
    adapter = TwilioWhatsApp(settings(cloud), key)
    yield adapter
    await adapter.close()


async def test_an_sms_is_a_form_as_documented(sms: TwilioSms, cloud: TwilioSimulator, key: RotatingKey) -> None:
    sent = await send(sms)
    (asked,) = cloud.asked
    assert (asked.method, asked.path) == ("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
    callback = asked.body["StatusCallback"]
    assert asked.body == {"To": NUMBER, "From": SENDER, "Body": TEXT, "StatusCallback": callback}
    assert callback.startswith(f"{CALLBACK}?intent={KEY}&at=")
    assert sent.provider_message_id == cloud.accepted[0].message_id
    assert (sent.token_sent, sent.provider_request_id) == (KEY, "RQ" + "5" * 32)


async def test_what_is_declared_is_a_look_up_by_message_id_and_callbacks_where_they_are_configured(
    cloud: TwilioSimulator, key: RotatingKey
) -> None:
    for callback in (CALLBACK, ""):
        adapter = TwilioSms(settings(cloud, status_callback=callback), key)
        declares = adapter.declares
        assert (declares.key_window_s, declares.lookups) == (None, frozenset({Lookup.MESSAGE_ID}))
        assert (declares.webhooks, adapter.token(KEY)) == (bool(callback), KEY if callback else "")
        await send(adapter)
        await adapter.close()
    assert "StatusCallback" not in cloud.asked[-1].body


async def test_a_messaging_service_chooses_the_sender_unless_the_message_names_one(
    cloud: TwilioSimulator, key: RotatingKey
) -> None:
    service = "MG" + "cd" * 16
    adapter = TwilioSms(settings(cloud, sender="", messaging_service_sid=service), key)
    await send(adapter)
    await send(adapter, message(sender="Selene"))
    await adapter.close()
    chosen, named = (asked.body for asked in cloud.asked)
    assert (chosen.get("MessagingServiceSid"), chosen.get("From")) == (service, None)
    assert (named.get("MessagingServiceSid"), named.get("From")) == (None, "Selene")


@pytest.mark.parametrize(("left", "wanted"), [(timedelta(minutes=5), "300"), (timedelta(days=1), "36000")])
async def test_twilio_drops_what_it_could_not_send_before_the_message_expired(
    cloud: TwilioSimulator, key: RotatingKey, left: timedelta, wanted: str
) -> None:
    clock = ManualClock(NOW)
    adapter = TwilioSms(settings(cloud), key, clock=clock)
    asked = message(expires_at=NOW + left)
    sent = await adapter.send(asked, deadline=clock.monotonic() + 10)
    await adapter.close()
    assert sent.certainty is Certainty.ACCEPTED
    assert cloud.asked[0].body["ValidityPeriod"] == wanted
    assert cloud.asked[0].body["StatusCallback"].endswith(f"&at={int(NOW.timestamp())}")


async def test_an_api_key_stands_for_the_account(cloud: TwilioSimulator, key: RotatingKey) -> None:
    api_key = "SK" + "ef" * 16
    for name, user in (("", ACCOUNT), (api_key, api_key)):
        adapter = TwilioSms(settings(cloud, api_key_sid=name), key)
        await send(adapter)
        await adapter.close()
        basic = cloud.asked[-1].headers["Authorization"].removeprefix("Basic ")
        assert b64decode(basic).decode() == f"{user}:{key.secret}"


async def test_a_whatsapp_text_goes_between_whatsapp_addresses(
    whatsapp: TwilioWhatsApp, cloud: TwilioSimulator
) -> None:
    await send(whatsapp, message(channel="whatsapp"))
    body = cloud.asked[0].body
    assert (body["To"], body["From"], body["Body"]) == (f"whatsapp:{NUMBER}", f"whatsapp:{SENDER}", TEXT)


async def test_a_template_goes_by_its_content_sid_and_its_variables(
    whatsapp: TwilioWhatsApp, cloud: TwilioSimulator
) -> None:
    content = Content(template="booked", locale="de-DE", parameters={"2": "19:30", "1": 'Zürich "Mitte"'})
    await send(whatsapp, message(channel="whatsapp", content=content))
    await send(whatsapp, message(channel="whatsapp", content=Content(template=TEMPLATE, locale="en")))
    named, by_sid = (asked.body for asked in cloud.asked)
    assert (named["ContentSid"], "Body" in named) == (TEMPLATE, False)
    assert json.loads(named["ContentVariables"]) == {"1": 'Zürich "Mitte"', "2": "19:30"}
    assert (by_sid["ContentSid"], "ContentVariables" in by_sid) == (TEMPLATE, False)


async def test_a_template_that_nobody_configured_is_refused_without_a_call(
    whatsapp: TwilioWhatsApp, cloud: TwilioSimulator
) -> None:
    content = Content(template="booked", locale="fr-FR")
    sent = await send(whatsapp, message(channel="whatsapp", content=content))
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, DeliveryReason.TEMPLATE_UNKNOWN)
    assert cloud.asked == []


async def test_an_sms_of_a_template_is_refused_without_a_call(sms: TwilioSms, cloud: TwilioSimulator) -> None:
    sent = await send(sms, message(content=Content(template="booked", locale="de-DE")))
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, DeliveryReason.CONTENT_REFUSED)
    assert cloud.asked == []


CODES: list[tuple[int, int, str]] = [
    (400, 21211, DeliveryReason.RECIPIENT_INVALID),
    (400, 21610, DeliveryReason.RECIPIENT_OPTED_OUT),
    (403, 21408, DeliveryReason.REGION_BLOCKED),
    (400, 21606, DeliveryReason.SENDER_REFUSED),
    (400, 21611, ProviderReason.PROVIDER_BUSY),
    (400, 21614, DeliveryReason.RECIPIENT_INVALID),
    (400, 21617, DeliveryReason.CONTENT_TOO_LONG),
    (400, 30003, DeliveryReason.RECIPIENT_UNREACHABLE),
    (400, 30007, DeliveryReason.CONTENT_REFUSED),
    (400, 63016, DeliveryReason.WINDOW_CLOSED),
    (400, 63027, DeliveryReason.TEMPLATE_UNKNOWN),
    (401, 20003, ProviderReason.CREDENTIAL_REFUSED),
    (403, 20005, DeliveryReason.SENDER_REFUSED),
    (429, 20429, ProviderReason.PROVIDER_BUSY),
    (429, 14107, ProviderReason.PROVIDER_BUSY),
]


@pytest.mark.parametrize(("status", "code", "reason"), CODES)
async def test_every_documented_refusal_is_definite_and_has_its_reason(
    sms: TwilioSms, cloud: TwilioSimulator, status: int, code: int, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=code))
    sent = await send(sms)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, reason)
    passing = reason == ProviderReason.PROVIDER_BUSY
    assert sent.result.status == (PROVIDER_STATUS_RETRYABLE_FAIL if passing else PROVIDER_STATUS_TERMINAL_FAIL)
    assert sent.provider_request_id == "RQ" + "4" * 32


def test_only_what_lies_in_the_message_is_the_callers_fault() -> None:
    faults = {code for _, code, reason in CODES if reason in CALLER_FAULTS}
    assert faults == {21211, 21610, 21614, 21617, 30003, 30007, 63016, 63027}


@pytest.mark.parametrize("code", [21610, 30008, 20500])
async def test_no_code_makes_a_failure_of_twilios_own_a_refusal(
    sms: TwilioSms, cloud: TwilioSimulator, code: int
) -> None:
    cloud.plan(Wrong(Trouble.TAKE_AND_FAIL, status=500, code=code))
    sent = await send(sms)
    assert sent.certainty is Certainty.UNKNOWN
    assert len(cloud.accepted) == 1


@pytest.mark.parametrize("status", ["queued", "sent", "delivered", "undelivered", "failed", "read", "scheduled"])
async def test_a_message_that_twilio_shows_was_accepted_whatever_became_of_it(
    sms: TwilioSms, cloud: TwilioSimulator, status: str
) -> None:
    sid = (await send(sms)).provider_message_id
    cloud.statuses[sid] = status
    told = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    assert (told.certainty, told.provider_ack_ref) == (Certainty.ACCEPTED, sid)
    assert cloud.asked[-1].path.endswith(f"/Messages/{sid}.json")


async def test_a_message_that_was_taken_back_before_it_was_sent_is_refused(
    sms: TwilioSms, cloud: TwilioSimulator
) -> None:
    sid = (await send(sms)).provider_message_id
    cloud.statuses[sid] = "canceled"
    told = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    assert (told.certainty, told.result.reason_code) == (Certainty.REFUSED, DeliveryReason.CANCELLED)


async def test_a_message_that_is_not_there_any_more_may_have_been_deleted(sms: TwilioSms) -> None:
    told = await find(sms, trace(provider_message_id="SM" + "9" * 32), CAPABILITY_DELIVERY_STATUS)
    assert (told.certainty, told.result.reason_code) == (Certainty.UNKNOWN, DeliveryReason.NOT_FOUND)


@pytest.mark.parametrize("sid", ["../Calls", "SM" + "9" * 31, "SM" + "9" * 32 + "/Media", "SM" + "g" * 32])
async def test_what_is_no_sid_is_never_asked_about(sms: TwilioSms, cloud: TwilioSimulator, sid: str) -> None:
    told = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    assert (told.certainty, cloud.asked) == (Certainty.UNKNOWN, [])


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (429, {"code": 20429}, ProviderReason.PROVIDER_BUSY),
        (400, {"code": 21211}, DeliveryReason.RECIPIENT_INVALID),
        (500, {}, ProviderReason.PROVIDER_UNAVAILABLE),
        (200, {"sid": "SM" + "8" * 32, "status": "sent"}, ProviderReason.RESPONSE_MALFORMED),
        (200, {"sid": "SM" + "0" * 32, "status": None}, ProviderReason.RESPONSE_MALFORMED),
    ],
)
async def test_a_look_up_that_fails_says_nothing_of_the_message(
    sms: TwilioSms, cloud: TwilioSimulator, status: int, body: dict[str, object], reason: str
) -> None:
    sid = (await send(sms)).provider_message_id
    cloud.fetches.append(web.json_response(body, status=status))
    told = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    assert (told.certainty, told.result.reason_code) == (Certainty.UNKNOWN, reason)
    assert told.provider_ack_ref == ""


async def test_a_look_up_without_a_usable_secret_says_nothing_of_the_message(
    sms: TwilioSms, cloud: TwilioSimulator, key: RotatingKey
) -> None:
    sid = (await send(sms)).provider_message_id
    cloud.secrets = set()
    refused = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    key.available = False
    unasked = await find(sms, trace(provider_message_id=sid), CAPABILITY_DELIVERY_STATUS)
    assert (refused.certainty, refused.result.reason_code) == (Certainty.UNKNOWN, ProviderReason.CREDENTIAL_REFUSED)
    assert (unasked.certainty, unasked.result.reason_code) == (
        Certainty.UNKNOWN,
        ProviderReason.CREDENTIAL_UNAVAILABLE,
    )


async def test_a_lost_answer_is_told_by_the_callback_of_that_very_message(
    sms: TwilioSms, cloud: TwilioSimulator
) -> None:
    cloud.after = ("queued", "sent", "delivered")
    cloud.before = ("queued",)
    cloud.plan(Trouble.LOSE_REPLY)
    sent = await send(sms)
    assert (sent.certainty, sent.provider_message_id) == (Certainty.UNKNOWN, "")
    (hook,) = cloud.hooks
    (report,) = TwilioWebhook().read(
        url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=datetime.now(UTC)
    )
    (taken,) = cloud.accepted
    assert (report.kind, report.idempotency_key) == (ReportKind.ACCEPTED, KEY)
    assert report.provider_message_id == taken.message_id


async def test_a_message_taken_late_is_told_by_its_callback(sms: TwilioSms, cloud: TwilioSimulator) -> None:
    cloud.after = ("sent",)
    cloud.plan(Wrong(Trouble.TAKE_LATE, seconds=0.3))
    assert (await send(sms, within_s=0.1)).certainty is Certainty.UNKNOWN
    await asyncio.wait_for(cloud.left.wait(), 5.0)
    (hook,) = cloud.hooks
    (report,) = TwilioWebhook().read(
        url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=datetime.now(UTC)
    )
    assert report.idempotency_key == KEY


# The example of Twilio's own documentation of its signatures.
EXAMPLE_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
EXAMPLE_FORM = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675310"),
    ("Digits", "1234"),
    ("From", "+14158675310"),
    ("To", "+18005551212"),
]


def test_the_signature_is_that_of_twilios_own_example() -> None:
    assert signature(EXAMPLE_URL, EXAMPLE_FORM, b"12345") == "GvWf1cFY/Q7PnoempGyD5oXAezc="
    assert signature(EXAMPLE_URL, EXAMPLE_FORM[::-1], b"12345") == "GvWf1cFY/Q7PnoempGyD5oXAezc="


def taken(*, at: datetime = NOW, key: str = KEY) -> Accepted:
    url = f"{CALLBACK}?{urlencode({'intent': key, 'at': int(at.timestamp())})}"
    return Accepted("SM" + "7" * 32, NUMBER, key, {"From": SENDER}, url)


READER = TwilioWebhook()
VENDOR = TwilioSimulator(set(), auth_token=AUTH_TOKEN)


@pytest.mark.parametrize(
    ("status", "kind", "code", "reason"),
    [
        ("queued", ReportKind.ACCEPTED, "", ""),
        ("sent", ReportKind.ACCEPTED, "", ""),
        ("delivered", ReportKind.DELIVERED, "", ""),
        ("read", ReportKind.READ, "", ""),
        ("undelivered", ReportKind.FAILED, "30003", "RECIPIENT_UNREACHABLE"),
        ("undelivered", ReportKind.FAILED, "30005", "RECIPIENT_UNREACHABLE"),
        ("failed", ReportKind.FAILED, "30007", "CONTENT_REFUSED"),
        ("failed", ReportKind.FAILED, "30008", "PROVIDER_UNAVAILABLE"),
        ("failed", ReportKind.FAILED, "63016", "WINDOW_CLOSED"),
        ("failed", ReportKind.FAILED, "99999", ""),
        ("failed", ReportKind.FAILED, "²", ""),
        ("canceled", ReportKind.NOT_TAKEN, "", "CANCELLED"),
    ],
)
def test_a_callback_says_what_became_of_a_message(status: str, kind: ReportKind, code: str, reason: str) -> None:
    hook = VENDOR.hook(taken(), status, **({"ErrorCode": code} if code else {}))
    (report,) = READER.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW)
    assert (report.kind, report.reason_code, report.idempotency_key) == (kind, reason, KEY)
    assert (report.provider_ref, report.provider_message_id) == ("twilio/sms", "SM" + "7" * 32)
    assert NUMBER[1:] not in repr(report)


def test_the_same_statement_has_the_same_id_however_often_it_comes_and_another_has_another() -> None:
    hooks = [VENDOR.hook(taken(), status) for status in ("sent", "sent", "delivered")]
    ids = [
        READER.read(url=h.url, headers=h.headers, body=h.body, secret=AUTH_TOKEN, now=NOW)[0].event_id for h in hooks
    ]
    assert ids[0] == ids[1] != ids[2]


def test_parameters_that_twilio_adds_some_day_are_signed_too() -> None:
    hook = VENDOR.hook(taken(), "delivered", NewParameter="", ChannelPrefix="whatsapp", Ünicode="Zürich +")
    reader = TwilioWebhook(provider_ref="twilio/whatsapp")
    (report,) = reader.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW)
    assert report.provider_ref == "twilio/whatsapp"


def test_a_callback_that_anybody_could_have_made_is_refused() -> None:
    hook = VENDOR.hook(taken(), "delivered")
    other = hook.url.replace(KEY, "6f" * 32)
    forged = hook.body.replace(b"delivered", b"undelivered")
    mac = hook.headers["x-twilio-signature"]
    bad: list[tuple[str, bytes, str, bytes, str]] = [
        (hook.url, hook.body, "", AUTH_TOKEN, "SIGNATURE_MISSING"),
        (hook.url, hook.body, mac, b"another", "SIGNATURE_INVALID"),
        (hook.url, hook.body, mac, b"", "SIGNATURE_INVALID"),
        (hook.url, hook.body, mac.swapcase(), AUTH_TOKEN, "SIGNATURE_INVALID"),
        (hook.url, hook.body, "\udcff\udcfe", AUTH_TOKEN, "SIGNATURE_INVALID"),
        (hook.url, forged, mac, AUTH_TOKEN, "SIGNATURE_INVALID"),
        (hook.url, hook.body + b"&More=1", mac, AUTH_TOKEN, "SIGNATURE_INVALID"),
        (other, hook.body, mac, AUTH_TOKEN, "SIGNATURE_INVALID"),
        (hook.url, b"MessageStatus=%FF", mac, AUTH_TOKEN, "MALFORMED"),
        (hook.url, b"\xff\xfe", mac, AUTH_TOKEN, "MALFORMED"),
        (hook.url, b"&".join([b"a=1"] * 300), mac, AUTH_TOKEN, "MALFORMED"),
    ]
    for url, body, said, secret, reason in bad:
        with pytest.raises(WebhookRefused) as refused:
            READER.read(url=url, headers={"x-twilio-signature": said}, body=body, secret=secret, now=NOW)
        assert refused.value.reason == reason


@pytest.mark.parametrize(("age", "old"), [(timedelta(days=31), False), (timedelta(days=31, seconds=1), True)])
def test_a_callback_of_a_message_long_gone_is_too_old(age: timedelta, old: bool) -> None:
    hook = VENDOR.hook(taken(at=NOW - age), "delivered")
    if not old:
        assert READER.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW)
        return
    with pytest.raises(WebhookRefused) as refused:
        READER.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW)
    assert refused.value.reason == "TOO_OLD"


def test_a_signed_callback_about_nothing_of_ours_says_nothing() -> None:
    at = urlencode({"at": int(NOW.timestamp())})
    stranger = Accepted("SM" + "7" * 32, NUMBER, "", {"From": SENDER}, f"{CALLBACK}?{at}")
    strange_sid = Accepted("CA" + "7" * 32, NUMBER, KEY, {"From": SENDER}, taken().callback)
    hooks = (
        VENDOR.hook(stranger, "delivered"),
        VENDOR.hook(strange_sid, "delivered"),
        VENDOR.hook(taken(), "receiving"),
        VENDOR.hook(taken(), "teleported"),
    )
    for hook in hooks:
        assert READER.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW) == ()


def test_a_signed_callback_without_a_time_is_malformed() -> None:
    for at in ("", "soon", "9" * 20, "-5"):
        url = f"{CALLBACK}?{urlencode({'intent': KEY, 'at': at})}"
        hook = VENDOR.hook(Accepted("SM" + "7" * 32, NUMBER, KEY, {}, url), "sent")
        with pytest.raises(WebhookRefused, match="MALFORMED"):
            READER.read(url=hook.url, headers=hook.headers, body=hook.body, secret=AUTH_TOKEN, now=NOW)


def test_the_signed_url_is_the_one_that_was_sent() -> None:
    assert dict(parse_qsl(urlsplit(taken().callback).query)) == {"intent": KEY, "at": str(int(NOW.timestamp()))}


@pytest.mark.parametrize(
    "wrong",
    [
        {"account_sid": "AC1"},
        {"sender": ""},
        {"status_callback": "https://selene.example/webhooks?x=1"},
        {"status_callback": "https://user:pass@selene.example/"},
        {"base_url": "https://user:pass@api.twilio.com"},
        {"base_url": "ftp://api.twilio.com"},
        {"templates": {"booked": "SM1"}},
        {"auth_token": "never in settings"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(cloud: TwilioSimulator, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(cloud, **wrong)
