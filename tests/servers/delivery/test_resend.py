"""Resend: one mail a key for a day, what became of it by its id, and webhooks that cannot be forged or replayed."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import (
    Certainty,
    Content,
    DeliveryReason,
    Lookup,
    Message,
    Recipient,
    Report,
    ReportKind,
    Sent,
    Trace,
    WebhookRefused,
)
from servers.delivery.mail_settings import ResendSettings
from servers.delivery.resend import Resend, ResendWebhook
from servers.routing.reasons import ProviderReason
from tests.support.canaries import everything_logged, found
from tests.support.mails import KEY, PLAIN, RICH, SECRET, Secret, soon
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.mail_vendor import Mail
from tests.support.simulators.resend import WEBHOOK_SECRET, ResendSimulator, signed, webhook

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MAIL = Mail(
    "4ef9a417-02e9-4d39-ad75-9611e0fcc33c",
    {"from": "a", "to": ["b"], "subject": "s", "tags": [{"name": "delivery_idem", "value": KEY}]},
)


@asynccontextmanager
async def sending(vendor: ResendSimulator, secret: Secret | None = None, *, name: str = "") -> AsyncIterator[Resend]:
    settings = ResendSettings(sender="desk@example.com", sender_name=name, base_url=vendor.base_url)
    resend = Resend("resend/primary", settings, secret or Secret())
    try:
        yield resend
    finally:
        await resend.close()


def trace(message_id: str = "") -> Trace:
    return Trace(
        idempotency_key=KEY, request_id="attempt-1", sent_at=NOW, token_sent=KEY, provider_message_id=message_id
    )


def outcome(sent: Sent) -> tuple[Certainty, str]:
    assert bool(sent.provider_ack_ref) is (sent.certainty is Certainty.ACCEPTED)
    return sent.certainty, sent.result.reason_code


async def test_a_mail_is_taken_as_it_was_sent_under_its_key() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor, name='Praxis "Köln"') as resend:
        sent = await resend.send(RICH, deadline=soon())
    (mail,) = vendor.taken
    assert outcome(sent) == (Certainty.ACCEPTED, DeliveryReason.ACCEPTED)
    assert (sent.provider_ack_ref, sent.provider_message_id, sent.token_sent) == (mail.id, mail.id, KEY)
    assert (mail.key, resend.token(KEY)) == (KEY, KEY)
    assert mail.body["from"] == '"Praxis \\"Köln\\"" <desk@example.com>'
    assert mail.body["to"] == ["ada@example.com"]
    content = RICH.content
    assert (mail.body["subject"], mail.body["text"], mail.body["html"]) == (content.subject, content.text, content.html)
    assert [(each["filename"], b64decode(each["content"])) for each in mail.body["attachments"]] == [
        (each.filename, each.content) for each in content.attachments
    ]


async def test_the_same_message_again_is_answered_with_the_first_mail() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        first = await resend.send(RICH, deadline=soon())
        again = await resend.send(replace(RICH, request_id="attempt-2"), deadline=soon())
    assert first.provider_ack_ref == again.provider_ack_ref
    assert len(vendor.taken) == 1


async def test_another_message_under_a_held_key_is_no_acceptance() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        await resend.send(PLAIN, deadline=soon())
        other = await resend.send(replace(PLAIN, content=Content(subject="s", text="other")), deadline=soon())
        assert outcome(other) == (Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        assert len(vendor.taken) == 1


async def test_a_key_whose_day_is_over_no_longer_guards() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        assert resend.declares.key_window_s == 86_400.0
        await resend.send(PLAIN, deadline=soon())
        vendor.forget()
        await resend.send(PLAIN, deadline=soon())
    assert len(vendor.taken) == 2


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        (Fault(FaultKind.RESET, after=1), 1),
        (Fault(FaultKind.RESET), 0),
        (Fault(FaultKind.INTERNAL, after=1), 1),
        (Fault(FaultKind.INTERNAL), 0),
        (Fault(FaultKind.UNAVAILABLE), 0),
        (Fault(FaultKind.HANG, after=1), 1),
        (Fault(FaultKind.HANG), 0),
        (Fault(FaultKind.MALFORMED), 1),
        (Fault(FaultKind.WRONG_SCHEMA), 1),
        (Fault(FaultKind.EMPTY), 1),
    ],
)
async def test_whatever_may_have_been_taken_is_unknown_and_the_key_settles_it(fault: Fault, taken: int) -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        vendor.faults.plan(fault)
        sent = await resend.send(PLAIN, deadline=soon(0.5 if fault.kind is FaultKind.HANG else 5.0))
        assert sent.certainty is Certainty.UNKNOWN
        assert (sent.result.status, sent.token_sent) == (PROVIDER_STATUS_RETRYABLE_FAIL, KEY)
        assert (len(vendor.taken), len(vendor.calls)) == (taken, 1)
        assert (await resend.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        assert len(vendor.taken) == 1


async def test_a_late_answer_before_the_deadline_is_an_acceptance() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        vendor.faults.plan(Fault(FaultKind.LATENCY, seconds=0.2, after=1))
        assert (await resend.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED


async def test_too_many_requests_is_a_definite_no_with_the_vendors_own_patience() -> None:
    async with ResendSimulator({SECRET}, retry_after="3").serve() as vendor, sending(vendor) as resend:
        vendor.faults.plan(FaultKind.BUSY)
        sent = await resend.send(PLAIN, deadline=soon())
    assert outcome(sent) == (Certainty.REFUSED, ProviderReason.PROVIDER_BUSY)
    assert sent.retry_after_s == 3.0
    assert vendor.taken == []


async def test_a_secret_that_is_taken_away_in_the_middle_is_a_definite_no() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        assert (await resend.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        vendor.keys = {"another"}
        sent = await resend.send(replace(PLAIN, idempotency_key="60" * 32), deadline=soon())
        assert outcome(sent) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
        assert len({call.connection for call in vendor.calls}) == 1


@pytest.mark.parametrize(
    ("status", "name", "text", "reason", "result"),
    [
        (
            400,
            "validation_error",
            "API key is invalid",
            ProviderReason.CREDENTIAL_REFUSED,
            PROVIDER_STATUS_TERMINAL_FAIL,
        ),
        (403, "invalid_api_key", "", ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (401, "restricted_api_key", "", ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (
            403,
            "validation_error",
            "The domain is not verified",
            DeliveryReason.SENDER_REFUSED,
            PROVIDER_STATUS_TERMINAL_FAIL,
        ),
        (422, "invalid_from_address", "", DeliveryReason.SENDER_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (
            422,
            "validation_error",
            "Invalid `to` field.",
            DeliveryReason.RECIPIENT_INVALID,
            PROVIDER_STATUS_TERMINAL_FAIL,
        ),
        (
            422,
            "validation_error",
            "Invalid `from` field.",
            DeliveryReason.SENDER_REFUSED,
            PROVIDER_STATUS_TERMINAL_FAIL,
        ),
        (422, "invalid_attachment", "", DeliveryReason.CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (451, "security_error", "", DeliveryReason.CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (422, "missing_required_field", "", ProviderReason.REQUEST_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (413, "too_large", "", DeliveryReason.CONTENT_TOO_LONG, PROVIDER_STATUS_TERMINAL_FAIL),
        (429, "daily_quota_exceeded", "", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
    ],
)
async def test_a_refusal_is_a_definite_no_by_its_name(
    status: int, name: str, text: str, reason: str, result: int
) -> None:
    async with ResendSimulator({SECRET}, refuses=(status, name, text)).serve() as vendor, sending(vendor) as resend:
        sent = await resend.send(PLAIN, deadline=soon())
    assert (*outcome(sent), sent.result.status) == (Certainty.REFUSED, reason, result)


@pytest.mark.parametrize("name", ["invalid_idempotent_request", "concurrent_idempotent_requests"])
async def test_a_conflict_of_keys_is_unknown(name: str) -> None:
    async with ResendSimulator({SECRET}, refuses=(409, name, "")).serve() as vendor, sending(vendor) as resend:
        assert outcome(await resend.send(PLAIN, deadline=soon())) == (Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (replace(PLAIN, recipient=Recipient("p", "a@example.com, b@example.com")), DeliveryReason.RECIPIENT_INVALID),
        (replace(PLAIN, sender="x\r\ny@example.com"), DeliveryReason.SENDER_REFUSED),
        (replace(PLAIN, content=Content(subject="a\nBcc: b@example.com", text="x")), DeliveryReason.CONTENT_REFUSED),
    ],
)
async def test_what_would_inject_is_refused_before_anything_is_called(message: Message, reason: str) -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        assert outcome(await resend.send(message, deadline=soon())) == (Certainty.REFUSED, reason)
        assert vendor.calls == []


async def test_without_a_secret_nothing_is_called() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor, Secret(None)) as resend:
        sent = await resend.send(PLAIN, deadline=soon())
        assert outcome(sent) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_UNAVAILABLE)
        assert vendor.calls == []


async def test_the_secret_is_asked_for_in_every_call_and_is_nowhere_else() -> None:
    secret = Secret()
    with everything_logged() as log:
        async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor, secret) as resend:
            taken = await resend.send(PLAIN, deadline=soon())
            vendor.keys = set()
            refused = await resend.send(PLAIN, deadline=soon())
            told = f"{taken!r}{refused!r}{resend!r}{vars(resend)!r}{log.getvalue()}"
    assert secret.asked == 2
    assert [call.secret for call in vendor.calls] == [SECRET] * 2
    assert found(told.encode(), [SECRET.encode()]) == []


async def test_a_call_that_is_cancelled_is_broken_off() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        vendor.faults.plan(Fault(FaultKind.HANG, after=1))
        call = asyncio.create_task(resend.send(PLAIN, deadline=soon()))
        await vendor.hung.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(vendor.gone.wait(), 5)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("delivered", (Certainty.ACCEPTED, DeliveryReason.ACCEPTED)),
        ("bounced", (Certainty.ACCEPTED, DeliveryReason.ACCEPTED)),
        ("queued", (Certainty.ACCEPTED, DeliveryReason.ACCEPTED)),
        ("canceled", (Certainty.REFUSED, DeliveryReason.CANCELLED)),
    ],
)
async def test_what_became_of_a_mail_is_asked_by_its_id(event: str, expected: tuple[Certainty, str]) -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        assert resend.declares.lookups == {Lookup.MESSAGE_ID}
        sent = await resend.send(PLAIN, deadline=soon())
        vendor.taken[0].event = event
        assert outcome(await resend.find(PLAIN, trace(sent.provider_message_id), deadline=soon())) == expected


async def test_a_mail_whose_id_is_not_known_cannot_be_asked_for() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        for message_id in ("", "../emails", "a?b"):
            found_ = await resend.find(PLAIN, trace(message_id), deadline=soon())
            assert outcome(found_) == (Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        assert vendor.calls == []


@pytest.mark.parametrize(
    "kind", [FaultKind.BUSY, FaultKind.INTERNAL, FaultKind.FORBIDDEN, FaultKind.RESET, FaultKind.MALFORMED]
)
async def test_a_look_up_that_fails_says_nothing_of_the_mail(kind: FaultKind) -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        sent = await resend.send(PLAIN, deadline=soon())
        vendor.faults.plan(kind)
        told = await resend.find(PLAIN, trace(sent.provider_message_id), deadline=soon())
        assert told.certainty is Certainty.UNKNOWN
        gone = await resend.find(PLAIN, trace("00000000-02e9-4d39-ad75-9611e0fcc33c"), deadline=soon())
        assert outcome(gone) == (Certainty.UNKNOWN, DeliveryReason.NOT_FOUND)


async def test_nothing_is_taken_back() -> None:
    async with ResendSimulator({SECRET}).serve() as vendor, sending(vendor) as resend:
        assert not resend.declares.cancels
        cancelled = await resend.cancel(PLAIN, trace(MAIL.id), deadline=soon())
        assert cancelled.certainty is Certainty.UNKNOWN
        assert vendor.calls == []


READER = ResendWebhook("resend/primary")


def read(
    headers: dict[str, str], body: bytes, *, now: datetime = NOW, secret: bytes = WEBHOOK_SECRET
) -> tuple[Report, ...]:
    return READER.read(url="https://here/webhooks/resend", headers=headers, body=body, secret=secret, now=now)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("email.sent", ReportKind.ACCEPTED, ""),
        ("email.delivery_delayed", ReportKind.ACCEPTED, ""),
        ("email.delivered", ReportKind.DELIVERED, ""),
        ("email.opened", ReportKind.READ, ""),
        ("email.bounced", ReportKind.FAILED, DeliveryReason.RECIPIENT_UNREACHABLE),
        ("email.suppressed", ReportKind.FAILED, DeliveryReason.RECIPIENT_OPTED_OUT),
    ],
)
def test_a_webhook_says_what_became_of_the_mail_and_under_which_key(name: str, kind: ReportKind, reason: str) -> None:
    assert read(*webhook(name, MAIL, at=NOW, event_id="msg_7")) == (
        Report(
            provider_ref="resend/primary",
            event_id="msg_7",
            kind=kind,
            at=NOW,
            provider_message_id=MAIL.id,
            idempotency_key=KEY,
            reason_code=reason,
        ),
    )


def test_a_webhook_that_comes_twice_has_the_same_id() -> None:
    first, again = (read(*webhook("email.delivered", MAIL, at=at)) for at in (NOW, NOW))
    assert first == again


def test_an_event_that_is_not_known_is_no_report() -> None:
    assert read(*webhook("email.received", MAIL, at=NOW)) == ()


def refusal_of(headers: dict[str, str], body: bytes, *, now: datetime = NOW, secret: bytes = WEBHOOK_SECRET) -> str:
    with pytest.raises(WebhookRefused) as refused:
        read(headers, body, now=now, secret=secret)
    return refused.value.reason


def test_a_webhook_is_taken_within_its_time_only() -> None:
    headers, body = webhook("email.delivered", MAIL, at=NOW)
    for seconds in (-300, 0, 300):
        assert len(read(headers, body, now=NOW + timedelta(seconds=seconds))) == 1
    for seconds in (-302, 302):
        assert refusal_of(headers, body, now=NOW + timedelta(seconds=seconds)) == "TOO_OLD"


def test_a_webhook_without_a_signature_that_holds_is_refused() -> None:
    headers, body = webhook("email.delivered", MAIL, at=NOW)
    for name in headers:
        assert refusal_of({key: value for key, value in headers.items() if key != name}, body) == "SIGNATURE_MISSING"
        assert refusal_of({**headers, name: ""}, body) == "SIGNATURE_MISSING"
    assert refusal_of(headers, body + b" ") == "SIGNATURE_INVALID"
    assert refusal_of(headers, body[:-1]) == "SIGNATURE_INVALID"
    assert refusal_of({**headers, "svix-id": "msg_2"}, body) == "SIGNATURE_INVALID"
    later = str(int(NOW.timestamp()) + 1)
    assert refusal_of({**headers, "svix-timestamp": later}, body) == "SIGNATURE_INVALID"
    for signature in (
        "v1,",
        "v1,AAAA",
        "v2" + headers["svix-signature"][2:],
        headers["svix-signature"][3:],
        "v1,\udcff",
    ):
        assert refusal_of({**headers, "svix-signature": signature}, body) == "SIGNATURE_INVALID"
    for secret in (b"", b"whsec_", b"\xff", b"whsec_" + b64encode(b"another"), b"whsec_!!"):
        assert refusal_of(headers, body, secret=secret) == "SIGNATURE_INVALID"


def test_a_secret_may_be_exchanged_while_webhooks_come() -> None:
    headers, body = webhook("email.delivered", MAIL, at=NOW)
    old = b"whsec_" + b64encode(b"the one before")
    assert len(read(headers, body, secret=old + b" " + WEBHOOK_SECRET)) == 1
    both = {**headers, "svix-signature": f"v1,{b64encode(b'x' * 32).decode()} {headers['svix-signature']}"}
    assert len(read(both, body)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"type": "email.sent"}',
        json.dumps({"type": "email.sent", "created_at": "yesterday", "data": {"email_id": "a"}}).encode(),
        json.dumps({"type": "email.sent", "created_at": NOW.isoformat(), "data": {}}).encode(),
        json.dumps({"type": "email.sent", "created_at": NOW.isoformat(), "data": None}).encode(),
        json.dumps({"type": ["email.sent"], "created_at": NOW.isoformat(), "data": {"email_id": "a"}}).encode(),
        b"[" * 100_000,
    ],
    ids=range(10),
)
def test_a_signed_webhook_that_is_not_what_is_documented_is_refused(body: bytes) -> None:
    assert refusal_of(signed(body, at=NOW), body) == "MALFORMED"


@pytest.mark.parametrize("url", ["http://api.example.com", "https://user:secret@api.example.com", "ftp://x", ""])
def test_a_base_url_that_would_leak_the_key_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ResendSettings(sender="desk@example.com", base_url=url)
