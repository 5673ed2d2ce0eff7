"""A message as a mail (RFC 5322, MIME), byte for byte what an SMTP server is given (DLV-3). Pure.

No text of a message becomes a header of its own: what holds a line break, a NUL or another control character where a
header goes is refused.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from email_validator import EmailNotValidError, validate_email

from servers.delivery.adapter import Attachment, Content, DeliveryReason

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_KEY: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
_LINE_CHARS: Final = 78
# An encoded word has 75 characters at most, of which `=?utf-8?b?` and `?=` take 12; 45 octets are 60 of base 64.
_WORD_OCTETS: Final = 45
_REASONS: Final = {"sender": DeliveryReason.SENDER_REFUSED, "recipient": DeliveryReason.RECIPIENT_INVALID}
_NESTED: Final = frozenset({"message", "multipart"})


class MailRefused(ValueError):
    """A message that no mail can be made of; ``field`` says where it lies, such as ``sender`` or ``subject``."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field

    @property
    def reason(self) -> DeliveryReason:
        """As a provider's result says it."""
        return _REASONS.get(self.field, DeliveryReason.CONTENT_REFUSED)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mail address, its domain in ASCII, and the name that stands before it."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """What stands behind the @, in lower case."""
        return self.address.rpartition("@")[2].lower()

    @property
    def needs_utf8(self) -> bool:
        """Whether only a server that offers SMTPUTF8 can be given it."""
        return not self.address.isascii()


def mailbox(address: str, *, field: str, name: str = "") -> Mailbox:
    """The mailbox of an address that is sound (nothing is looked up). MailRefused, naming ``field``."""
    if _CONTROL.search(name):
        raise MailRefused(field)
    try:
        found = validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        raise MailRefused(field) from None
    return Mailbox(f"{found.local_part}@{found.ascii_domain}", name)


def check(content: Content) -> None:
    """MailRefused, naming the field, where no mail may be made of it."""
    if _CONTROL.search(content.subject):
        raise MailRefused("subject")
    if "\x00" in content.text:
        raise MailRefused("text")
    if "\x00" in content.html:
        raise MailRefused("html")
    for attachment in content.attachments:
        name = attachment.filename
        if not name or _CONTROL.search(name) or not _MEDIA_TYPE.fullmatch(attachment.media_type):
            raise MailRefused("attachments")


def message_id(idempotency_key: str, domain: str) -> str:
    """``<key@domain>``, the same in every attempt, so that who gets the mail twice is shown it once. MailRefused."""
    if not _KEY.fullmatch(idempotency_key) or not _DOMAIN.fullmatch(domain):
        raise MailRefused("message_id")
    return f"<{idempotency_key}@{domain}>"


def mail(
    content: Content, *, sender: Mailbox, recipient: Mailbox, idempotency_key: str, domain: str, date: datetime
) -> bytes:
    """The mail, in lines that end in CRLF and have 998 octets at most; ASCII alone, unless an address needs more.

    Text and HTML are alternatives, attachments come after them. Every text ends in a line break, all line breaks are
    CRLF, and everything else of it arrives as it was given. ``date`` has a time zone. The same arguments make the same
    bytes. MailRefused.
    """
    if date.tzinfo is None:
        raise MailRefused("date")
    check(content)
    try:
        head = (
            f"From: {_address(sender)}",
            f"To: {_address(recipient)}",
            f"Subject: {_unstructured(content.subject)}",
            f"Date: {format_datetime(date)}",
            f"Message-ID: {message_id(idempotency_key, domain)}",
            "Auto-Submitted: auto-generated",
        )
        return "".join(f"{line}\r\n" for line in head).encode() + _body(content, idempotency_key).as_bytes()
    except (MessageError, ValueError, LookupError) as error:
        raise error if isinstance(error, MailRefused) else MailRefused("content") from None


def _body(content: Content, boundary: str) -> EmailMessage:
    """The body with the headers that describe it, all of them ASCII."""
    body = EmailMessage(policy=SMTP)
    body.set_content(_lines(content.text), cte="quoted-printable")
    if content.html:
        body.add_alternative(_lines(content.html), subtype="html", cte="quoted-printable")
    for attachment in content.attachments:
        _attach(body, attachment)
    for number, part in enumerate(part for part in body.walk() if part.is_multipart()):
        # Every part is in quoted-printable or base 64, in which `=_` cannot occur (RFC 2045, 6.7).
        part.set_boundary(f"=_{boundary[:48]}.{number}")
    return body


def _attach(body: EmailMessage, attachment: Attachment) -> None:
    main, sub = attachment.media_type.split("/")
    if main in _NESTED:
        main, sub = "application", "octet-stream"  # neither may be in base 64, and readers open them as mail
    body.add_attachment(attachment.content, maintype=main, subtype=sub, filename=attachment.filename)


def _lines(text: str) -> str:
    return _LINE_BREAK.sub("\n", text)


def _address(box: Mailbox) -> str:
    if not box.name:
        return box.address
    plain = _PLAIN_NAME.fullmatch(box.name) and "=?" not in box.name and len(box.name) < _LINE_CHARS // 2
    return f"{box.name if plain else _encoded(box.name)}\r\n <{box.address}>"


def _unstructured(text: str) -> str:
    """As it is where a reader would show just that; encoded words (RFC 2047) elsewhere."""
    plain = text.isascii() and "=?" not in text and text == text.strip() and len(text) <= _LINE_CHARS - len("Subject: ")
    return text if plain else _encoded(text)


def _encoded(text: str) -> str:
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode()}?=" for word in _words(text))


def _words(text: str) -> Iterator[bytes]:
    """UTF-8 in pieces of `_WORD_OCTETS` at most, none of which ends inside a character."""
    word = b""
    for character in text:
        octets = character.encode()
        if len(word) + len(octets) > _WORD_OCTETS:
            yield word
            word = b""
        word += octets
    yield word
