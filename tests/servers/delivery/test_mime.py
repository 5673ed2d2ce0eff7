"""A mail says to its reader what the message said, whatever it said, and nothing of it becomes a header."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.delivery.adapter import Attachment, Content, DeliveryReason
from servers.delivery.mime import Mailbox, MailRefused, mail, mailbox, message_id
from tests.support.mails import KEY, RICH

DATE = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=8)))
SENDER = Mailbox("desk@example.com")
RECIPIENT = Mailbox("ada@example.com")

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\u2028\u2029")
LINES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=400)
NAMES = st.text(CHARACTERS, min_size=1, max_size=120)


def made(content: Content, *, sender: Mailbox = SENDER, recipient: Mailbox = RECIPIENT) -> bytes:
    return mail(content, sender=sender, recipient=recipient, idempotency_key=KEY, domain="example.com", date=DATE)


def read(content: bytes) -> EmailMessage:
    parsed = message_from_bytes(content, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def as_sent(text: str) -> bytes:
    """With CRLF for every line break, and one at the end."""
    ended = text if text.endswith(("\r", "\n")) else text + "\n"
    return re.sub(r"\r\n|\r|\n", "\r\n", ended).encode()


def payload(part: Message | None) -> bytes:
    assert part is not None
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


@given(subject=st.text(CHARACTERS, min_size=1, max_size=400), text=LINES, html=LINES)
def test_subject_text_and_html_are_read_as_they_were_given(subject: str, text: str, html: str) -> None:
    content = made(Content(subject=subject, text=text, html=html))
    parsed = read(content)
    assert parsed["Subject"] == subject
    assert payload(parsed.get_body(("plain",))) == as_sent(text)
    if html:
        assert payload(parsed.get_body(("html",))) == as_sent(html)
    else:
        assert parsed.get_content_type() == "text/plain"


@given(subject=st.text(CHARACTERS, min_size=1, max_size=400), text=LINES, html=LINES, name=NAMES, file=st.binary())
def test_a_mail_is_ascii_in_lines_that_every_server_takes(
    subject: str, text: str, html: str, name: str, file: bytes
) -> None:
    attachments = (Attachment(name, "application/pdf", file),)
    content = made(Content(subject=subject, text=text, html=html, attachments=attachments))
    assert content.isascii()
    assert content.endswith(b"\r\n")
    lines = content.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\r" in line or b"\n" in line for line in lines)


@given(names=st.lists(NAMES, max_size=3), file=st.binary(max_size=2_000))
def test_attachments_are_read_as_they_were_given(names: list[str], file: bytes) -> None:
    attachments = tuple(Attachment(name, "application/pdf", file + bytes([n])) for n, name in enumerate(names))
    parsed = read(made(Content(subject="s", text="t", attachments=attachments)))
    assert [payload(each) for each in parsed.iter_attachments()] == [each.content for each in attachments]


@pytest.mark.parametrize("name", ["a.pdf", "Rechnung März 2026.pdf", 'q"uo\\te.txt', "=?utf-8?q?x?=.txt", "名" * 80])
def test_filenames_are_read_as_they_were_given(name: str) -> None:
    parsed = read(made(Content(subject="s", text="t", attachments=(Attachment(name, "text/plain", b"x"),))))
    assert [each.get_filename() for each in parsed.iter_attachments()] == [name]


@given(name=st.text(CHARACTERS, min_size=1, max_size=12))
def test_a_senders_name_stands_before_its_address_and_is_no_second_one(name: str) -> None:
    parsed = read(made(Content(subject="s", text="t"), sender=Mailbox("desk@example.com", name)))
    (address,) = parsed["From"].addresses
    assert (address.username, address.domain) == ("desk", "example.com")
    assert address.display_name.strip() == name.strip()


def test_the_same_message_makes_the_same_bytes() -> None:
    assert made(RICH.content) == made(RICH.content)


def test_the_message_id_is_the_key_and_the_date_is_the_one_given() -> None:
    parsed = read(made(RICH.content))
    assert parsed["Message-ID"] == f"<{KEY}@example.com>"
    assert parsed["Date"].datetime == DATE
    assert parsed["To"].addresses[0].addr_spec == "ada@example.com"


@given(text=st.text("=_-.5f\n0123 ", max_size=300))
def test_no_text_can_end_the_part_that_it_is_in(text: str) -> None:
    told = f"--=_{KEY[:48]}.0--\n{text}\n--=_{KEY[:48]}.1\n"
    attachments = (Attachment("a", "a/b", told.encode()),)
    parsed = read(made(Content(subject="s", text=told, html=told, attachments=attachments)))
    assert payload(parsed.get_body(("plain",))) == as_sent(told)
    assert [part.get_content_type() for part in parsed.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "a/b",
    ]


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\x1b"])
def test_nothing_can_bring_a_header_of_its_own(break_: str) -> None:
    sound = Content(subject="s", text="t")
    injected = f"a{break_}Bcc: eve@example.com"
    with pytest.raises(MailRefused, match="subject"):
        made(replace(sound, subject=injected))
    with pytest.raises(MailRefused, match="attachments"):
        made(replace(sound, attachments=(Attachment(injected, "a/b", b""),)))
    with pytest.raises(MailRefused, match="attachments"):
        made(replace(sound, attachments=(Attachment("a", injected, b""),)))
    with pytest.raises(MailRefused, match="sender"):
        mailbox("desk@example.com", field="sender", name=injected)
    with pytest.raises(MailRefused, match="recipient"):
        mailbox(f"a{break_}b@example.com", field="recipient")
    with pytest.raises(MailRefused, match="message_id"):
        message_id(injected, "example.com")
    with pytest.raises(MailRefused, match="message_id"):
        message_id(KEY, injected)


def test_a_mail_within_a_mail_is_a_file_and_never_a_part() -> None:
    nested = Attachment("old.eml", "message/rfc822", b"Subject: not ours\r\n\r\nx")
    parsed = read(made(Content(subject="s", text="t", attachments=(nested,))))
    assert [each.get_content_type() for each in parsed.iter_attachments()] == ["application/octet-stream"]


def test_a_name_that_reads_as_an_encoded_word_stays_what_it_is() -> None:
    assert read(made(Content(subject="=?utf-8?q?Bcc=3A_eve?=", text="t")))["Subject"] == "=?utf-8?q?Bcc=3A_eve?="


@pytest.mark.parametrize(
    ("content", "field", "reason"),
    [
        (Content(subject="s", text="\x00"), "text", DeliveryReason.CONTENT_REFUSED),
        (Content(subject="s", text="t", html="\x00"), "html", DeliveryReason.CONTENT_REFUSED),
        (Content(subject="half \ud800", text="t"), "content", DeliveryReason.CONTENT_REFUSED),
        (Content(subject="s", text="half \ud800"), "content", DeliveryReason.CONTENT_REFUSED),
    ],
)
def test_what_no_mail_can_say_is_refused(content: Content, field: str, reason: DeliveryReason) -> None:
    with pytest.raises(MailRefused) as refused:
        made(content)
    assert (refused.value.field, refused.value.reason) == (field, reason)


def test_a_date_without_a_time_zone_is_refused() -> None:
    with pytest.raises(MailRefused, match="date"):
        mail(
            Content(subject="s", text="t"),
            sender=SENDER,
            recipient=RECIPIENT,
            idempotency_key=KEY,
            domain="example.com",
            date=datetime(2026, 1, 1),
        )


def test_a_domain_is_in_ascii_and_only_a_local_part_needs_smtputf8() -> None:
    assert mailbox("a@exämple.com", field="sender") == Mailbox("a@xn--exmple-cua.com")
    assert not mailbox("a@exämple.com", field="sender").needs_utf8
    assert mailbox("jörg@example.com", field="sender").needs_utf8
    assert mailbox("A.B@EXAMPLE.com", field="sender").domain == "example.com"
    assert DATE.astimezone(UTC).hour == 21
