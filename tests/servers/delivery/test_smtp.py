"""Mail to a real server: what arrives is what was sent, and every way to fail says what is certain."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from selene.provider.v1.provider_pb2 import PROVIDER_STATUS_RETRYABLE_FAIL, PROVIDER_STATUS_TERMINAL_FAIL

from servers.delivery.adapter import (
    Attachment,
    Certainty,
    Content,
    Declares,
    DeliveryReason,
    Message,
    Recipient,
    Sent,
    Trace,
)
from servers.delivery.mail_settings import SmtpSettings
from servers.delivery.smtp import Smtp
from servers.routing.envelope import Asked, refused
from servers.routing.reasons import ProviderReason
from tests.support.canaries import everything_logged, found
from tests.support.mails import KEY, PLAIN, RICH, SECRET, Secret, soon
from tests.support.simulators.faults import Fault, FaultKind
from tests.support.simulators.mailbox import Mailbox, certified

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MESSAGE_ID = f"<{KEY}@clinic.example.com>"
SETTINGS: dict[str, Any] = {
    "host": "127.0.0.1",
    "security": "none",
    "sender": "desk@clinic.example.com",
    "needs_secret": False,
}


@asynccontextmanager
async def sending(mailbox: Mailbox, credential: Secret | None = None, **settings: Any) -> AsyncIterator[Smtp]:
    smtp = Smtp(
        "smtp/primary", SmtpSettings(**{**SETTINGS, "port": mailbox.port, **settings}), credential, now=lambda: NOW
    )
    try:
        yield smtp
    finally:
        await smtp.close()


def is_no(sent: Sent, reason: str, status: int) -> bool:
    return (sent.certainty, sent.result.reason_code, sent.result.status, sent.provider_ack_ref) == (
        Certainty.REFUSED,
        reason,
        status,
        "",
    )


async def test_a_mail_arrives_as_it_was_sent_and_is_acknowledged_by_its_queue_id() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox, sender_name="Praxis Köln") as smtp:
        sent = await smtp.send(RICH, deadline=soon())
    assert sent.certainty is Certainty.ACCEPTED
    assert (sent.provider_ack_ref, sent.provider_message_id, sent.token_sent) == ("Q0000000", "Q0000000", MESSAGE_ID)
    (mail,) = mailbox.received
    assert (mail.sender, mail.recipients) == ("desk@clinic.example.com", ("ada@example.com",))
    assert mail.content.isascii()
    assert max(len(line) for line in mail.content.split(b"\r\n")) <= 998
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    parsed = mail.parsed
    assert parsed["Subject"] == RICH.content.subject
    assert parsed["Message-ID"] == MESSAGE_ID
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Date"].datetime == NOW
    assert parsed["From"].addresses[0].display_name == "Praxis Köln"
    text, html = parsed.get_body(("plain",)), parsed.get_body(("html",))
    assert text is not None and html is not None
    assert text.get_content() == RICH.content.text.replace("\n", "\r\n") + "\r\n"
    assert html.get_content() == RICH.content.html.replace("\n", "\r\n")
    received = [
        (each.get_filename(), each.get_content_type(), each.get_payload(decode=True))
        for each in parsed.iter_attachments()
    ]
    assert received == [(each.filename, each.media_type, each.content) for each in RICH.content.attachments]


async def test_a_result_is_one_that_routing_takes() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        sent = await smtp.send(PLAIN, deadline=soon())
    asked = Asked(
        tenant_id="acme",
        provider_ref="smtp/primary",
        capability=sent.result.capability,
        request_id="attempt-1",
        idempotency_key=KEY,
    )
    assert refused(sent.result, asked) is None


async def test_a_connection_is_used_again_and_replaced_when_the_server_has_closed_it() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        assert [(await smtp.send(PLAIN, deadline=soon())).certainty for _ in range(3)] == [Certainty.ACCEPTED] * 3
        assert mailbox.connections == 1
        mailbox.hang_up()
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        assert mailbox.connections == 2
    assert len(mailbox.received) == 4


async def test_calls_at_once_have_connections_of_their_own_up_to_the_limit() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox, max_connections=3) as smtp:
        sent = await asyncio.gather(*(smtp.send(PLAIN, deadline=soon()) for _ in range(12)))
        assert {each.certainty for each in sent} == {Certainty.ACCEPTED}
        assert len({each.provider_ack_ref for each in sent}) == 12
        assert mailbox.connections <= 3


@pytest.mark.parametrize(
    ("step", "reply", "reason", "status"),
    [
        ("MAIL", "550 5.7.1 Sender not allowed", DeliveryReason.SENDER_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        ("MAIL", "530 5.7.0 Log in first", ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        ("MAIL", "552 5.3.4 Too big", DeliveryReason.CONTENT_TOO_LONG, PROVIDER_STATUS_TERMINAL_FAIL),
        ("MAIL", "421 4.3.2 Going down", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
        ("RCPT", "550 5.1.1 No such user", DeliveryReason.RECIPIENT_UNREACHABLE, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "550 no such user", DeliveryReason.RECIPIENT_UNREACHABLE, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "552 5.2.2 Mailbox full", DeliveryReason.RECIPIENT_UNREACHABLE, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "501 5.1.3 Bad address", DeliveryReason.RECIPIENT_INVALID, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "553 what is this", DeliveryReason.RECIPIENT_INVALID, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "554 5.7.1 Relay access denied", DeliveryReason.SENDER_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        ("RCPT", "450 4.2.0 Greylisted", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
        ("DATA", "554 5.5.1 No valid recipients", DeliveryReason.CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        ("DATA", "451 4.3.0 Later", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
        ("DOT", "554 5.7.1 Spam", DeliveryReason.CONTENT_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL),
        ("DOT", "552 5.3.4 Too big", DeliveryReason.CONTENT_TOO_LONG, PROVIDER_STATUS_TERMINAL_FAIL),
        ("DOT", "550 5.1.1 No such user", DeliveryReason.RECIPIENT_UNREACHABLE, PROVIDER_STATUS_TERMINAL_FAIL),
        ("DOT", "452 4.3.1 Disk full", ProviderReason.PROVIDER_BUSY, PROVIDER_STATUS_RETRYABLE_FAIL),
    ],
)
async def test_a_refusal_at_any_step_is_a_definite_no_and_the_next_mail_goes(
    step: str, reply: str, reason: str, status: int
) -> None:
    async with Mailbox(refuses={step: reply}).serve() as mailbox, sending(mailbox) as smtp:
        assert is_no(await smtp.send(PLAIN, deadline=soon()), reason, status)
        assert mailbox.received == []
        mailbox.refuses.clear()
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
    assert len(mailbox.received) == 1


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.MALFORMED, FaultKind.WRONG_SCHEMA])
async def test_a_lost_answer_to_the_dot_leaves_it_unknown(kind: FaultKind) -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(Fault(kind, after=1))
        sent = await smtp.send(PLAIN, deadline=soon())
        assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
        assert (sent.result.status, sent.provider_ack_ref) == (PROVIDER_STATUS_RETRYABLE_FAIL, "")
        assert sent.token_sent == MESSAGE_ID
        assert len(mailbox.received) == 1
        assert (
            await smtp.send(PLAIN, deadline=soon())
        ).certainty is Certainty.ACCEPTED  # on a connection that is sound
        assert mailbox.connections == 2


async def test_an_answer_to_the_dot_that_comes_after_the_deadline_leaves_it_unknown() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(Fault(FaultKind.HANG, after=1))
        sent = await smtp.send(PLAIN, deadline=soon(0.3))
    assert (sent.certainty, sent.result.reason_code) == (Certainty.UNKNOWN, DeliveryReason.ANSWER_LOST)
    assert len(mailbox.received) == 1


async def test_a_late_answer_to_the_dot_before_the_deadline_is_an_acceptance() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(Fault(FaultKind.LATENCY, seconds=0.2))
        sent = await smtp.send(PLAIN, deadline=soon())
    assert sent.certainty is Certainty.ACCEPTED
    assert sent.result.latency.nanos >= 200_000_000


BIG = replace(PLAIN, content=Content(subject="big", text="x", attachments=(Attachment("a", "a/b", bytes(8 << 20)),)))


async def test_a_connection_that_breaks_before_the_dot_is_a_definite_no() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(FaultKind.RESET)
        sent = await smtp.send(BIG, deadline=soon())
    assert is_no(sent, ProviderReason.PROVIDER_UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL)
    assert mailbox.received == []


async def test_a_deadline_that_comes_before_the_dot_is_a_definite_no() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(FaultKind.HANG)
        sent = await smtp.send(BIG, deadline=soon(1.5))
        assert is_no(sent, ProviderReason.DEADLINE_EXCEEDED, PROVIDER_STATUS_RETRYABLE_FAIL)
        assert mailbox.received == []
        sent = await smtp.send(PLAIN, deadline=soon(-1))
        assert is_no(sent, ProviderReason.DEADLINE_EXCEEDED, PROVIDER_STATUS_RETRYABLE_FAIL)
        assert mailbox.connections == 1


async def test_a_call_that_is_cancelled_breaks_its_connection() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        mailbox.faults.plan(Fault(FaultKind.HANG, after=1))
        call = asyncio.create_task(smtp.send(PLAIN, deadline=soon()))
        await mailbox.hung.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(mailbox.gone.wait(), 5)
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        assert mailbox.connections == 2


async def test_nobody_at_the_port_is_a_definite_no() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        smtp = Smtp("smtp/primary", SmtpSettings(**SETTINGS, port=taken.getsockname()[1]), None)
        sent = await smtp.send(PLAIN, deadline=soon())
    assert is_no(sent, ProviderReason.PROVIDER_UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL)
    await smtp.close()


@pytest.mark.parametrize("greeting", [b"554 5.3.2 not here\r\n", b"", b"hello?\r\n", b"9" * 100_000])
async def test_a_server_that_does_not_greet_is_a_definite_no(greeting: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        smtp = Smtp("smtp/primary", SmtpSettings(**SETTINGS, port=server.sockets[0].getsockname()[1]), None)
        sent = await smtp.send(PLAIN, deadline=soon())
        assert sent.certainty is Certainty.REFUSED
        assert sent.result.status == PROVIDER_STATUS_RETRYABLE_FAIL
        await smtp.close()


async def test_a_login_is_asked_for_in_every_call_and_a_new_one_takes_a_new_connection() -> None:
    secret = Secret("desk:first-password")
    async with (
        Mailbox(logins={"desk": "first-password"}).serve() as mailbox,
        sending(mailbox, secret, needs_secret=True) as smtp,
    ):
        for _ in range(2):
            assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        assert (secret.asked, mailbox.connections) == (2, 1)
        secret.value = "desk:second-password"
        sent = await smtp.send(PLAIN, deadline=soon())
        assert is_no(sent, ProviderReason.CREDENTIAL_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL)
        mailbox.logins = {"desk": "second-password"}
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        # A wrong password is tried once, by one method.
        assert [password for _, password in mailbox.attempts] == ["first-password"] + ["second-password"] * 2


async def test_the_user_may_stand_in_the_settings_and_the_password_hold_a_colon() -> None:
    async with (
        Mailbox(logins={"desk@clinic": "pass:wörd"}).serve() as mailbox,
        sending(mailbox, Secret("pass:wörd"), needs_secret=True, user="desk@clinic") as smtp,
    ):
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED


@pytest.mark.parametrize("value", [None, "", "no-colon", ":nobody", "user:", "user:line\r\nQUIT"])
async def test_without_a_usable_secret_nothing_is_called(value: str | None) -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox, Secret(value), needs_secret=True) as smtp:
        sent = await smtp.send(PLAIN, deadline=soon())
        assert is_no(sent, ProviderReason.CREDENTIAL_UNAVAILABLE, PROVIDER_STATUS_TERMINAL_FAIL)
        assert mailbox.connections == 0


async def test_the_secret_is_in_no_log_result_or_repr() -> None:
    with everything_logged() as log:
        async with (
            Mailbox(logins={"desk": "another"}).serve() as mailbox,
            sending(mailbox, Secret(f"desk:{SECRET}"), needs_secret=True) as smtp,
        ):
            refusal = await smtp.send(PLAIN, deadline=soon())
            mailbox.logins = {"desk": SECRET}
            acceptance = await smtp.send(PLAIN, deadline=soon())
            told = f"{smtp!r}{vars(smtp)!r}{refusal!r}{acceptance!r}"
    assert (refusal.certainty, acceptance.certainty) == (Certainty.REFUSED, Certainty.ACCEPTED)
    ours = "\n".join(line for line in log.getvalue().splitlines() if "mail.log" not in line and "aiosmtpd" not in line)
    assert found((told + ours).encode(), [SECRET.encode()]) == []


async def test_starttls_and_tls_are_checked_against_the_certificates_that_are_trusted(tmp_path: Path) -> None:
    context, pem = certified(tmp_path, now=datetime.now(UTC))
    async with Mailbox(logins={"desk": SECRET}).serve(starttls=context) as mailbox:
        secret = Secret(f"desk:{SECRET}")
        async with sending(mailbox, secret, security="starttls", ca_file=str(pem), needs_secret=True) as smtp:
            assert (await smtp.send(RICH, deadline=soon())).certainty is Certainty.ACCEPTED
        async with sending(mailbox, secret, security="starttls", needs_secret=True) as smtp:
            sent = await smtp.send(PLAIN, deadline=soon())
            assert is_no(sent, ProviderReason.PROVIDER_UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL)
        assert len(mailbox.attempts) == 1  # no password went to a server that could not be trusted
    async with Mailbox().serve(tls=context) as mailbox, sending(mailbox, security="tls", ca_file=str(pem)) as smtp:
        assert (await smtp.send(RICH, deadline=soon())).certainty is Certainty.ACCEPTED


async def test_a_server_without_starttls_gets_neither_password_nor_mail() -> None:
    async with (
        Mailbox(logins={"desk": SECRET}).serve() as mailbox,
        sending(mailbox, Secret(f"desk:{SECRET}"), security="starttls", needs_secret=True) as smtp,
    ):
        sent = await smtp.send(PLAIN, deadline=soon())
        assert is_no(sent, ProviderReason.PROVIDER_UNAVAILABLE, PROVIDER_STATUS_RETRYABLE_FAIL)
        assert (mailbox.attempts, mailbox.received) == ([], [])


def to(address: str, sender: str = "") -> Message:
    return replace(PLAIN, recipient=Recipient("person-1", address), sender=sender)


async def test_smtputf8_is_used_only_where_an_address_needs_it() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        assert (await smtp.send(to("jörg@exämple.com"), deadline=soon())).certainty is Certainty.ACCEPTED
        assert (await smtp.send(to("joerg@exämple.com"), deadline=soon())).certainty is Certainty.ACCEPTED
    utf8, ascii_only = mailbox.received
    assert utf8.recipients == ("jörg@xn--exmple-cua.com",)
    assert "SMTPUTF8" in utf8.options
    assert ascii_only.recipients == ("joerg@xn--exmple-cua.com",)
    assert "SMTPUTF8" not in ascii_only.options


async def test_an_address_that_needs_smtputf8_is_refused_where_the_server_does_not_offer_it() -> None:
    async with Mailbox(smtputf8=False).serve() as mailbox, sending(mailbox) as smtp:
        sent = await smtp.send(to("jörg@example.com"), deadline=soon())
        assert is_no(sent, ProviderReason.REQUEST_REFUSED, PROVIDER_STATUS_TERMINAL_FAIL)
        assert mailbox.received == []


async def test_a_mail_larger_than_the_server_says_it_takes_is_not_sent() -> None:
    async with Mailbox(size_limit=5_000).serve() as mailbox, sending(mailbox) as smtp:
        sent = await smtp.send(RICH, deadline=soon())
        assert is_no(sent, DeliveryReason.CONTENT_TOO_LONG, PROVIDER_STATUS_TERMINAL_FAIL)
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (to("nobody"), DeliveryReason.RECIPIENT_INVALID),
        (to("a@example.com>\r\nRCPT TO:<b@example.com"), DeliveryReason.RECIPIENT_INVALID),
        (to("a@example.com", "no sender"), DeliveryReason.SENDER_REFUSED),
        (replace(PLAIN, content=Content(subject="a\r\nBcc: b@example.com", text="x")), DeliveryReason.CONTENT_REFUSED),
        (replace(PLAIN, content=Content(subject="a\x00b", text="x")), DeliveryReason.CONTENT_REFUSED),
        (replace(PLAIN, content=Content(subject="a", text="x\x00")), DeliveryReason.CONTENT_REFUSED),
    ],
)
async def test_what_would_inject_is_refused_before_anything_is_called(message: Message, reason: str) -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        assert is_no(await smtp.send(message, deadline=soon()), reason, PROVIDER_STATUS_TERMINAL_FAIL)
        assert mailbox.connections == 0


@pytest.mark.parametrize(
    ("answer", "ack"),
    [
        ("250 2.0.0 Ok: queued as 4XyZ12abc", "4XyZ12abc"),
        ("250 OK id=1rYzAB-000123-4c", "1rYzAB-000123-4c"),
        ("250 2.0.0 42K5b1Xh012345 Message accepted for delivery", "42K5b1Xh012345"),
        ("250 Ok 0102018f00aa-1234-5678-000000", "0102018f00aa-1234-5678-000000"),
        ("250 OK", MESSAGE_ID),
        ("250 queued as hvs.aaaaaaaaaaaaaaaaaaaaaaaa", MESSAGE_ID),
    ],
)
async def test_an_acknowledgement_names_the_servers_queue_id_or_else_the_message_id(answer: str, ack: str) -> None:
    async with Mailbox(answer=answer).serve() as mailbox, sending(mailbox) as smtp:
        assert (await smtp.send(PLAIN, deadline=soon())).provider_ack_ref == ack


async def test_smtp_declares_no_keys_no_look_up_and_no_recall_and_calls_nobody_for_them() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        assert smtp.declares == Declares()
        assert smtp.token(KEY) == MESSAGE_ID
        trace = Trace(idempotency_key=KEY, request_id="attempt-1", sent_at=NOW, token_sent=MESSAGE_ID)
        told = [await smtp.find(PLAIN, trace, deadline=soon()), await smtp.cancel(PLAIN, trace, deadline=soon())]
        assert [each.certainty for each in told] == [Certainty.UNKNOWN] * 2
        assert mailbox.connections == 0


async def test_after_close_nothing_is_sent_and_nothing_stays_open() -> None:
    async with Mailbox().serve() as mailbox, sending(mailbox) as smtp:
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.ACCEPTED
        await smtp.close()
        await asyncio.wait_for(mailbox.gone.wait(), 5)
        assert (await smtp.send(PLAIN, deadline=soon())).certainty is Certainty.REFUSED
        assert len(mailbox.received) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "mail.example.com", "security": "none"},
        {"host": "127.0.0.1\r\n"},
        {"sender": "a@b\r\nBcc: c@example.com"},
        {"sender_name": "a\r\nBcc: c@example.com"},
        {"message_id_domain": "a>b"},
        {"sender": "desk@-example.com-"},
        {"ehlo_name": "a b"},
        {"password": "no secrets here"},
    ],
)
def test_settings_that_would_leak_or_inject_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings(**{**SETTINGS, **wrong})


def test_a_context_of_the_client_asks_for_certificates() -> None:
    smtp = Smtp("smtp/primary", SmtpSettings(**{**SETTINGS, "security": "starttls"}), None)
    context = vars(smtp)["_tls"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
