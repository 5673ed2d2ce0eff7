"""SendGrid: no keys, so whatever may have been taken stays unknown until a signed event tells of it."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import (
    Certainty,
    Content,
    Declares,
    DeliveryReason,
    Recipient,
    Report,
    ReportKind,
    Sent,
    Trace,
    WebhookRefused,
)
from servers.delivery.mail_settings import SendGridSettings
from servers.delivery.sendgrid import SendGrid, SendGridWebhook
from servers.routing.reasons import ProviderReason
from tests.support.canaries import everything_logged, found
from tests.support.mails import KEY, PLAIN, RICH, SECRET, Secret, soon
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.mail_vendor import Mail
from tests.support.simulators.sendgrid import EventWebhook, SendGridSimulator, event

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MAIL = Mail(
    "14c5d75ce93-dfd_64b469",
    {"personalizations": [{"to": [{"email": "ada@example.com"}], "custom_args": {"delivery_idem": KEY}}]},
)


@asynccontextmanager
async def sending(vendor: SendGridSimulator, secret: Secret | None = None) -> AsyncIterator[SendGrid]:
    settings = SendGridSettings(sender="desk@example.com", sender_name="Praxis Köln", base_url=vendor.base_url)
    sendgrid = SendGrid("sendgrid/primary", settings, secret or Secret())
    try:
        yield sendgrid
    finally:
        await sendgrid.close()


def outcome(sent: Sent) -> tuple[Certainty, str]:
    assert bool(sent.provider_ack_ref) is (sent.certainty is Certainty.ACCEPTED)
    return sent.certainty, sent.result.reason_code


async def test_a_mail_is_taken_as_it_was_sent_and_known_by_its_id() -> None:
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        sent = await sendgrid.send(RICH, deadline=soon())
    (mail,) = vendor.taken
    assert outcome(sent) == (Certainty.ACCEPTED, DeliveryReason.ACCEPTED)
    assert (sent.provider_ack_ref, sent.provider_message_id, sent.token_sent) == (mail.id, mail.id, "")
    content, body = RICH.content, mail.body
    assert body["from"] == {"email": "desk@example.com", "name": "Praxis Köln"}
    assert body["personalizations"] == [{"to": [{"email": "ada@example.com"}], "custom_args": {"delivery_idem": KEY}}]
    assert body["subject"] == content.subject
    assert body["content"] == [
        {"type": "text/plain", "value": content.text},
        {"type": "text/html", "value": content.html},
    ]
    assert [(each["filename"], each["type"], b64decode(each["content"])) for each in body["attachments"]] == [
        (each.filename, each.media_type, each.content) for each in content.attachments
    ]


async def test_it_declares_no_keys_and_no_look_up_and_calls_nobody_for_them() -> None:
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        assert (sendgrid.declares, sendgrid.token(KEY)) == (Declares(webhooks=True), "")
        trace = Trace(idempotency_key=KEY, request_id="attempt-1", sent_at=NOW, provider_message_id=MAIL.id)
        for told in (
            await sendgrid.find(PLAIN, trace, deadline=soon()),
            await sendgrid.cancel(PLAIN, trace, deadline=soon()),
        ):
            assert outcome(told) == (Certainty.UNKNOWN, DeliveryReason.STILL_UNKNOWN)
        assert vendor.calls == []


@pytest.mark.parametrize(
    ("fault", "taken"),
    [
        (Fault(FaultKind.RESET, after=1), 1),
        (Fault(FaultKind.RESET), 0),
        (Fault(FaultKind.INTERNAL, after=1), 1),
        (Fault(FaultKind.INTERNAL), 0),
        (Fault(FaultKind.UNAVAILABLE), 0),
        (Fault(FaultKind.HANG, after=1), 1),
        (Fault(FaultKind.MALFORMED), 1),
        (Fault(FaultKind.WRONG_SCHEMA), 1),
    ],
)
async def test_whatever_may_have_been_taken_is_unknown(fault: Fault, taken: int) -> None:
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        vendor.faults.plan(fault)
        sent = await sendgrid.send(PLAIN, deadline=soon(0.5 if fault.kind is FaultKind.HANG else 5.0))
        assert (sent.certainty, sent.result.status) == (Certainty.UNKNOWN, PROVIDER_STATUS_RETRYABLE_FAIL)
        assert (len(vendor.taken), len(vendor.calls)) == (taken, 1)


@pytest.mark.parametrize(
    ("status", "field", "text", "reason", "result"),
    [
        (400, "personalizations.0.to.0.email", "", DeliveryReason.RECIPIENT_INVALID, PROVIDER_STATUS_TERMINAL_FAIL),
        (400, "from.email", "", DeliveryReason.SENDER_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (403, "from", "not a verified Sender Identity", DeliveryReason.SENDER_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (400, "content.0.value", "", DeliveryReason.CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (400, None, "", ProviderReason.REQUEST_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (401, None, "", ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (401, None, "Maximum credits exceeded", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
        (403, None, "access forbidden", ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        (413, None, "", DeliveryReason.CONTENT_TOO_LONG, PROVIDER_STATUS_TERMINAL_FAIL),
        (429, None, "", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
    ],
)
async def test_a_refusal_is_a_definite_no_by_its_field(
    status: int, field: str | None, text: str, reason: str, result: int
) -> None:
    async with (
        SendGridSimulator({SECRET}, refuses=(status, field, text)).serve() as vendor,
        sending(vendor) as sendgrid,
    ):
        sent = await sendgrid.send(PLAIN, deadline=soon())
    assert (*outcome(sent), sent.result.status) == (Certainty.REFUSED, reason, result)


async def test_a_secret_that_is_taken_away_in_the_middle_is_a_definite_no_and_is_nowhere_else() -> None:
    with everything_logged() as log:
        async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
            taken = await sendgrid.send(PLAIN, deadline=soon())
            vendor.keys = set()
            refused = await sendgrid.send(PLAIN, deadline=soon())
            told = f"{taken!r}{refused!r}{vars(sendgrid)!r}{log.getvalue()}"
    assert outcome(refused) == (Certainty.REFUSED, ProviderReason.CREDENTIAL_REFUSED)
    assert found(told.encode(), [SECRET.encode()]) == []
    assert len({call.connection for call in vendor.calls}) == 1


async def test_what_would_inject_is_refused_before_anything_is_called() -> None:
    wrong = {
        DeliveryReason.RECIPIENT_INVALID: replace(PLAIN, recipient=Recipient("p", "a@example.com\nb")),
        DeliveryReason.SENDER_REFUSED: replace(PLAIN, sender="nobody"),
        DeliveryReason.CONTENT_REFUSED: replace(PLAIN, content=Content(subject="a\r\nb: c", text="x")),
    }
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        for reason, message in wrong.items():
            assert outcome(await sendgrid.send(message, deadline=soon())) == (Certainty.REFUSED, reason)
        assert vendor.calls == []


async def test_a_call_that_is_cancelled_is_broken_off() -> None:
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        vendor.faults.plan(FaultKind.HANG)
        call = asyncio.create_task(sendgrid.send(PLAIN, deadline=soon()))
        await vendor.hung.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(vendor.gone.wait(), 5)


SIGNER = EventWebhook()
READER = SendGridWebhook("sendgrid/primary")


def read(
    headers: dict[str, str], body: bytes, *, now: datetime = NOW, secret: bytes = SIGNER.public_key
) -> tuple[Report, ...]:
    return READER.read(url="https://here/webhooks/sendgrid", headers=headers, body=body, secret=secret, now=now)


def refusal_of(headers: dict[str, str], body: bytes, *, now: datetime = NOW, secret: bytes = SIGNER.public_key) -> str:
    with pytest.raises(WebhookRefused) as refused:
        read(headers, body, now=now, secret=secret)
    return refused.value.reason


@pytest.mark.parametrize(
    ("name", "more", "kind", "reason"),
    [
        ("processed", {}, ReportKind.ACCEPTED, ""),
        ("deferred", {"response": "400 try again later"}, ReportKind.ACCEPTED, ""),
        ("delivered", {}, ReportKind.DELIVERED, ""),
        ("open", {}, ReportKind.READ, ""),
        ("open", {"sg_machine_open": True}, ReportKind.DELIVERED, ""),
        ("bounce", {"status": "5.0.0"}, ReportKind.FAILED, DeliveryReason.RECIPIENT_UNREACHABLE),
        ("dropped", {"reason": "Bounced Address"}, ReportKind.FAILED, DeliveryReason.RECIPIENT_UNREACHABLE),
        ("dropped", {"reason": "Unsubscribed Address"}, ReportKind.FAILED, DeliveryReason.RECIPIENT_OPTED_OUT),
        ("dropped", {"reason": "Spam Content"}, ReportKind.FAILED, DeliveryReason.CONTENT_REFUSED),
    ],
)
def test_an_event_says_what_became_of_the_mail_and_under_which_key(
    name: str, more: dict[str, Any], kind: ReportKind, reason: str
) -> None:
    assert read(*SIGNER.signed([event(name, MAIL, at=NOW, **more)], at=NOW)) == (
        Report(
            provider_ref="sendgrid/primary",
            event_id=f"{name}-event",
            kind=kind,
            at=NOW,
            provider_message_id=MAIL.id,
            idempotency_key=KEY,
            reason_code=reason,
        ),
    )


async def test_the_events_of_a_mail_whose_answer_was_lost_name_its_key() -> None:
    async with SendGridSimulator({SECRET}).serve() as vendor, sending(vendor) as sendgrid:
        vendor.faults.plan(Fault(FaultKind.RESET, after=1))
        assert (await sendgrid.send(PLAIN, deadline=soon())).certainty is Certainty.UNKNOWN
    (report,) = read(*SIGNER.signed([event("processed", vendor.taken[0], at=NOW)], at=NOW))
    assert (report.idempotency_key, report.kind) == (KEY, ReportKind.ACCEPTED)
    assert report.provider_message_id == vendor.taken[0].id


def test_events_come_many_at_once_in_any_order_and_unknown_ones_are_none() -> None:
    names = ["delivered", "unsubscribe", "processed", "group_resubscribe", "delivered"]
    reports = read(*SIGNER.signed([event(name, MAIL, at=NOW) for name in names], at=NOW))
    assert [report.kind for report in reports] == [ReportKind.DELIVERED, ReportKind.ACCEPTED, ReportKind.DELIVERED]
    assert reports[0].event_id == reports[2].event_id


def test_an_event_without_an_id_has_that_of_what_it_says() -> None:
    bare = event("delivered", MAIL, at=NOW)
    del bare["sg_event_id"]
    (first,), (again,) = (read(*SIGNER.signed([each], at=NOW)) for each in (bare, dict(reversed(bare.items()))))
    (other,) = read(*SIGNER.signed([{**bare, "timestamp": bare["timestamp"] + 1}], at=NOW))
    assert first.event_id == again.event_id != other.event_id


def test_a_webhook_is_taken_within_its_time_only() -> None:
    headers, body = SIGNER.signed([event("delivered", MAIL, at=NOW)], at=NOW)
    assert len(read(headers, body, now=NOW + timedelta(hours=24))) == 1
    assert refusal_of(headers, body, now=NOW + timedelta(hours=24, seconds=2)) == "TOO_OLD"
    assert refusal_of(headers, body, now=NOW - timedelta(hours=24, seconds=2)) == "TOO_OLD"


def test_a_webhook_without_a_signature_that_holds_is_refused() -> None:
    headers, body = SIGNER.signed([event("delivered", MAIL, at=NOW)], at=NOW)
    signature, stamp = headers
    for name in headers:
        assert refusal_of({key: value for key, value in headers.items() if key != name}, body) == "SIGNATURE_MISSING"
    assert refusal_of(headers, body + b" ") == "SIGNATURE_INVALID"
    assert refusal_of({**headers, stamp: str(int(headers[stamp]) + 1)}, body) == "SIGNATURE_INVALID"
    for wrong in ("AAAA", "not base 64", "\udcff", b64encode(b"\x30\x06\x02\x01\x01\x02\x01\x01").decode()):
        assert refusal_of({**headers, signature: wrong}, body) == "SIGNATURE_INVALID"
    for secret in (b"", b"nonsense", b"\xff", EventWebhook().public_key):
        assert refusal_of(headers, body, secret=secret) == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "events", [{}, 7, None, "x", [7], [None], [{"event": "delivered", "sg_message_id": "a", "timestamp": "now"}]]
)
def test_a_signed_webhook_that_is_not_what_is_documented_is_refused(events: object) -> None:
    assert refusal_of(*SIGNER.signed(events, at=NOW)) == "MALFORMED"
