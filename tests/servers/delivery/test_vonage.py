"""Vonage's SMS, against the simulator: bodies, refusals, and its status webhooks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import Certainty, Content, Declares, DeliveryReason, Report, ReportKind, WebhookRefused
from servers.delivery.vonage import VonageSettings, VonageSms, VonageWebhook
from servers.routing.reasons import ProviderReason
from servers.runtime.clock import ManualClock
from tests.support.keys import RotatingKey
from tests.support.messages import KEY, NUMBER, TEXT, message, send
from tests.support.simulators.messaging import Accepted, Hook, Trouble, Wrong
from tests.support.simulators.vonage import VonageSimulator

SIGNATURE_SECRET = b"a-signature-secret-of-more-than-32-bytes"
CALLBACK = "https://selene.example/webhooks/vonage/sms"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UUID = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"


@pytest.fixture
def key() -> RotatingKey:
    return RotatingKey()


@pytest.fixture
async def cloud(key: RotatingKey) -> AsyncIterator[VonageSimulator]:
    async with VonageSimulator({key.secret}, signature_secret=SIGNATURE_SECRET).serve() as simulator:
        yield simulator


def settings(base_url: str, more: Mapping[str, object] | None = None) -> VonageSettings:
    known = {"api_key": "a1b2c3d4", "base_url": base_url, "sender": "Selene"}
    return VonageSettings.model_validate({**known, **(more or {})})


@pytest.fixture
async def sms(cloud: VonageSimulator, key: RotatingKey) -> AsyncIterator[VonageSms]:
    adapter = VonageSms(settings(cloud.base_url, {"webhook_url": CALLBACK}), key)
    yield adapter
    await adapter.close()


async def test_an_sms_is_json_as_documented(sms: VonageSms, cloud: VonageSimulator, key: RotatingKey) -> None:
    sent = await send(sms)
    (asked,) = cloud.asked
    assert (asked.method, asked.path) == ("POST", "/v1/messages")
    assert asked.body == {
        "channel": "sms",
        "message_type": "text",
        "to": NUMBER[1:],
        "from": "Selene",
        "text": TEXT,
        "client_ref": KEY,
        "webhook_url": CALLBACK,
        "webhook_version": "v1",
    }
    basic = base64.b64decode(asked.headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == f"a1b2c3d4:{key.secret}"
    assert (sent.token_sent, sent.provider_message_id) == (KEY, cloud.accepted[0].message_id)


@pytest.mark.parametrize(
    ("more", "webhooks"), [({}, False), ({"reports": True}, True), ({"webhook_url": CALLBACK}, True)]
)
async def test_nothing_is_declared_but_webhooks_where_they_are_configured(
    key: RotatingKey, more: dict[str, object], webhooks: bool
) -> None:
    adapter = VonageSms(settings("http://127.0.0.1:9", more), key)
    await adapter.close()
    assert adapter.declares == Declares(webhooks=webhooks)


async def test_a_number_that_sends_goes_without_its_plus(sms: VonageSms, cloud: VonageSimulator) -> None:
    await send(sms, message(sender="+447700900001"))
    assert cloud.asked[0].body["from"] == "447700900001"


@pytest.mark.parametrize(("left", "wanted"), [(1, 20), (3600, 3600), (10_000_000, 604_800)])
async def test_vonage_gives_up_what_it_could_not_deliver_before_the_message_expired(
    cloud: VonageSimulator, key: RotatingKey, left: int, wanted: int
) -> None:
    clock = ManualClock(NOW)
    adapter = VonageSms(settings(cloud.base_url), key, clock=clock)
    await adapter.send(message(expires_at=NOW + timedelta(seconds=left)), deadline=10.0)
    await adapter.close()
    assert cloud.asked[0].body["ttl"] == wanted


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Content(text="ü" * 1001), DeliveryReason.CONTENT_TOO_LONG),
        (Content(template="booked", locale="de"), DeliveryReason.CONTENT_REFUSED),
    ],
)
async def test_what_vonage_would_not_take_is_refused_without_a_call(
    sms: VonageSms, cloud: VonageSimulator, content: Content, reason: str
) -> None:
    sent = await send(sms, message(content=content))
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, reason)
    assert cloud.asked == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (422, "1120", DeliveryReason.SENDER_REFUSED),
        (422, "1050", DeliveryReason.RECIPIENT_OPTED_OUT),
        (422, "1090", DeliveryReason.CONTENT_TOO_LONG),
        (422, "1150", ProviderReason.REQUEST_REFUSED),
        (422, "1160", DeliveryReason.SENDER_REFUSED),
        (422, "1170", DeliveryReason.RECIPIENT_INVALID),
        (400, "1040", DeliveryReason.RECIPIENT_INVALID),
        (401, "unauthorized", ProviderReason.CREDENTIAL_REFUSED),
        (402, "low-balance", DeliveryReason.SENDER_REFUSED),
        (403, "forbidden", ProviderReason.CREDENTIAL_REFUSED),
        (403, "account-suspended", DeliveryReason.SENDER_REFUSED),
        (429, "1010", ProviderReason.PROVIDER_BUSY),
        (429, "1170", ProviderReason.PROVIDER_BUSY),
    ],
)
async def test_every_documented_refusal_is_definite_and_has_its_reason(
    sms: VonageSms, cloud: VonageSimulator, status: int, code: str, reason: str
) -> None:
    cloud.plan(Wrong(Trouble.REFUSE, status=status, code=code))
    sent = await send(sms)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.REFUSED, reason)
    passing = reason == ProviderReason.PROVIDER_BUSY
    assert sent.result.status == (PROVIDER_STATUS_RETRYABLE_FAIL if passing else PROVIDER_STATUS_TERMINAL_FAIL)


@pytest.mark.parametrize("code", ["1000", "1030", "1170"])
async def test_no_code_makes_a_failure_of_vonages_own_a_refusal(
    sms: VonageSms, cloud: VonageSimulator, code: str
) -> None:
    cloud.plan(Wrong(Trouble.TAKE_AND_FAIL, status=500, code=code))
    sent = await send(sms)
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, ProviderReason.PROVIDER_UNAVAILABLE)
    assert len(cloud.accepted) == 1


async def test_a_lost_answer_is_told_by_the_webhook_of_that_very_message(
    sms: VonageSms, cloud: VonageSimulator
) -> None:
    cloud.before = ("delivered", "submitted", "submitted")
    cloud.plan(Trouble.LOSE_REPLY)
    assert (await send(sms)).certainty is Certainty.UNKNOWN
    reports = [read(hook, now=datetime.now(UTC)) for hook in cloud.hooks]
    (taken_by_vendor,) = cloud.accepted
    kinds = [report.kind for (report,) in reports]
    assert kinds == [ReportKind.DELIVERED, ReportKind.ACCEPTED, ReportKind.ACCEPTED]
    assert {(r.idempotency_key, r.provider_message_id) for (r,) in reports} == {(KEY, taken_by_vendor.message_id)}


VENDOR = VonageSimulator(set(), signature_secret=SIGNATURE_SECRET)
TAKEN = Accepted(UUID, NUMBER[1:], KEY, {"from": "Selene"}, CALLBACK)


def read(
    hook: Hook,
    *,
    now: datetime = NOW,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    secret: bytes = SIGNATURE_SECRET,
) -> tuple[Report, ...]:
    return VonageWebhook().read(
        url=CALLBACK,
        headers=hook.headers if headers is None else headers,
        body=hook.body if body is None else body,
        secret=secret,
        now=now,
    )


@pytest.mark.parametrize(
    ("status", "kind", "error", "reason"),
    [
        ("submitted", ReportKind.ACCEPTED, None, ""),
        ("delivered", ReportKind.DELIVERED, None, ""),
        ("read", ReportKind.READ, None, ""),
        ("undeliverable", ReportKind.FAILED, None, ""),
        ("rejected", ReportKind.FAILED, {"type": "https://x.example/messages#1170"}, "RECIPIENT_INVALID"),
        ("rejected", ReportKind.FAILED, {"title": "1260"}, "RECIPIENT_UNREACHABLE"),
        ("rejected", ReportKind.FAILED, {"title": 1260, "type": 5}, ""),
        ("rejected", ReportKind.FAILED, {"title": "9999"}, ""),
        ("delivered", ReportKind.DELIVERED, {"title": "1260"}, ""),
    ],
)
def test_a_webhook_says_what_became_of_a_message(
    status: str, kind: ReportKind, error: dict[str, Any] | None, reason: str
) -> None:
    (report,) = read(VENDOR.hook(TAKEN, status, at=NOW, error=error))
    assert (report.kind, report.reason_code, report.at) == (kind, reason, NOW)
    assert (report.provider_ref, report.provider_message_id, report.idempotency_key) == ("vonage/sms", UUID, KEY)
    assert NUMBER[1:] not in repr(report)


def test_the_same_statement_has_the_same_id_under_every_token() -> None:
    first, again = VENDOR.hook(TAKEN, "delivered", at=NOW), VENDOR.hook(TAKEN, "delivered", at=NOW)
    assert first.headers["authorization"] != again.headers["authorization"]
    later = VENDOR.hook(TAKEN, "read", at=NOW)
    assert read(first)[0].event_id == read(again)[0].event_id != read(later)[0].event_id


def signed(body: bytes, secret: bytes = SIGNATURE_SECRET, algorithm: str = "HS256", **claims: object) -> str:
    said = {"iat": int(NOW.timestamp()), "payload_hash": hashlib.sha256(body).hexdigest(), **claims}
    kept = {name: value for name, value in said.items() if value is not None}
    return f"Bearer {jwt.encode(kept, secret, algorithm=algorithm)}"


def unsigned(body: bytes) -> str:
    """As `signed`, of a token that says that it needs no signature."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"Bearer {header}.{signed(body).split('.')[1]}."


BODY = VENDOR.hook(TAKEN, "delivered", at=NOW).body


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ("", "SIGNATURE_MISSING"),
        ("Bearer ", "SIGNATURE_MISSING"),
        ("Basic YTpi", "SIGNATURE_MISSING"),
        ("Bearer a.b.c", "SIGNATURE_INVALID"),
        ("Bearer \udcff", "SIGNATURE_INVALID"),
        (signed(BODY, b"another-secret-of-more-than-32-bytes"), "SIGNATURE_INVALID"),
        (signed(BODY)[:-2], "SIGNATURE_INVALID"),
        (signed(BODY, SIGNATURE_SECRET * 2, algorithm="HS384"), "SIGNATURE_INVALID"),
        (unsigned(BODY), "SIGNATURE_INVALID"),
        (signed(BODY, payload_hash=None), "SIGNATURE_INVALID"),
        (signed(BODY, payload_hash="00" * 32), "SIGNATURE_INVALID"),
        (signed(BODY, payload_hash=5), "MALFORMED"),
        (signed(BODY, iat=None), "SIGNATURE_INVALID"),
        (signed(BODY, iat="now"), "MALFORMED"),
        (signed(BODY, iat=10**400), "MALFORMED"),
        (signed(BODY, iat=-1), "MALFORMED"),
        (signed(BODY, iat=int(NOW.timestamp()) - 901), "TOO_OLD"),
        (signed(BODY, iat=int(NOW.timestamp()) + 61), "SIGNATURE_INVALID"),
    ],
)
def test_a_webhook_that_anybody_could_have_made_or_kept_is_refused(authorization: str, reason: str) -> None:
    hook = Hook(CALLBACK, {"authorization": authorization} if authorization else {}, BODY)
    with pytest.raises(WebhookRefused) as refused:
        read(hook)
    assert refused.value.reason == reason


@pytest.mark.parametrize("iat_s", [-900, 0, 60])
def test_a_webhook_within_the_window_is_taken(iat_s: int) -> None:
    authorization = signed(BODY, iat=int(NOW.timestamp()) + iat_s, exp=1)
    assert len(read(Hook(CALLBACK, {"authorization": authorization}, BODY))) == 1


def test_a_body_that_was_changed_on_the_way_is_refused() -> None:
    hook = VENDOR.hook(TAKEN, "rejected", at=NOW)
    for body in (hook.body.replace(b"rejected", b"delivered"), hook.body + b" ", b""):
        with pytest.raises(WebhookRefused, match="SIGNATURE_INVALID"):
            read(hook, body=body)


@pytest.mark.parametrize("secret", [b"", b"another-secret-of-more-than-32-bytes"])
def test_another_secret_or_none_makes_nothing_true(secret: bytes) -> None:
    with pytest.raises(WebhookRefused, match="SIGNATURE_INVALID"):
        read(VENDOR.hook(TAKEN, "delivered", at=NOW), secret=secret)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'"submitted"'])
def test_a_signed_body_that_is_no_object_is_malformed(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="MALFORMED"):
        read(Hook(CALLBACK, {"authorization": signed(body)}, body))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"message_uuid": UUID},
        {"message_uuid": UUID, "status": "teleported"},
        {"message_uuid": UUID, "status": ["delivered"]},
        {"message_uuid": "../other", "status": "delivered"},
        {"message_uuid": 5, "status": "delivered"},
        {"channel": "sms", "message_type": "text", "message_uuid": UUID, "from": "447700900123", "text": "STOP"},
    ],
)
def test_a_signed_body_that_tells_no_status_says_nothing(said: dict[str, Any]) -> None:
    body = json.dumps(said).encode()
    assert read(Hook(CALLBACK, {"authorization": signed(body)}, body)) == ()


@pytest.mark.parametrize("timestamp", [None, 5, "yesterday", "0001-01-01T00:00:00+23:59", "\ud800"])
def test_a_status_that_tells_no_time_was_when_it_came(timestamp: object) -> None:
    body = json.dumps({"message_uuid": UUID, "status": "read", "timestamp": timestamp, "client_ref": 5}).encode()
    (report,) = read(Hook(CALLBACK, {"authorization": signed(body)}, body))
    assert (report.at, report.idempotency_key) == (NOW, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "a:b"},
        {"sender": ""},
        {"base_url": "https://key:secret@api.nexmo.com"},
        {"webhook_url": "https://user:pass@selene.example/"},
        {"api_secret": "never in settings"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings("https://api.nexmo.com", wrong)
