"""The mailbox of the demonstration: two servers over real sockets, and the ledger of what they took."""

from __future__ import annotations

import json
import smtplib
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest

from servers.mailbox import EMAILS, LEDGER, REFUSE, Mailbox, mailbox


@pytest.fixture
def mails() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


def asked(mails: Mailbox, path: str, body: bytes | None = None, key: str = "") -> Any:
    headers = {"idempotency-key": key} if key else {}
    with urllib.request.urlopen(urllib.request.Request(f"{mails.url}{path}", data=body, headers=headers)) as answer:
        return json.loads(answer.read())


def send(mails: Mailbox, subject: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "selene@example.org", "mira@example.org", subject
    mail.set_content("It is noon.")
    with smtplib.SMTP("127.0.0.1", mails.port, timeout=5) as client:
        client.send_message(mail)


def test_mail_over_smtp_stands_in_the_ledger(mails: Mailbox) -> None:
    send(mails, "first")
    send(mails, "first")
    assert asked(mails, LEDGER) == {"smtp": {"first": 2}, "resend": {}}


def test_once_it_refuses_no_sender_is_taken_over_smtp(mails: Mailbox) -> None:
    asked(mails, REFUSE, b"")
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        send(mails, "second")
    assert refused.value.smtp_code == 550
    assert asked(mails, LEDGER) == {"smtp": {}, "resend": {}}


def test_mail_over_http_is_taken_once_a_key_also_when_smtp_refuses(mails: Mailbox) -> None:
    asked(mails, REFUSE, b"")
    body = json.dumps({"subject": "second"}).encode()
    first, again = asked(mails, EMAILS, body, "k-1"), asked(mails, EMAILS, body, "k-1")
    other = asked(mails, EMAILS, body, "k-2")
    assert first["id"] == again["id"] != other["id"]
    assert asked(mails, LEDGER) == {"smtp": {}, "resend": {"second": 2}}


@pytest.mark.parametrize(("path", "status"), [(EMAILS, 422), ("/elsewhere", 404)])
def test_what_is_no_mail_is_refused_and_not_counted(mails: Mailbox, path: str, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(mails, path, b"not json")
    assert refused.value.code == status
    assert asked(mails, LEDGER) == {"smtp": {}, "resend": {}}


def test_its_settings_name_both_accounts(mails: Mailbox) -> None:
    accounts = tomllib.loads(mails.settings())["owners"]["delivery"]["accounts"]
    assert accounts["smtp/primary"]["port"] == mails.port
    assert accounts["resend/email"]["base_url"] == mails.url
