"""A message as a mail (RFC 5322, MIME), byte for byte what an SMTP server is given (DLV-3). Pure.

No text of a message becomes a header of its own: what holds a line break, a NUL or another control character where a
header goes is refused.
"""

from __future__ import annotations

import re
from base64 import b64encode, encodebytes
from binascii import b2a_qp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote

from email_validator import EmailNotValidError, validate_email

from servers.delivery.adapter import Attachment, Content, DeliveryReason

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_KEY: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_DOMAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PLAIN_FILENAME: Final = re.compile(r"[A-Za-z0-9 ._()-]{1,60}")
_PIECE: Final = re.compile(r"(?:%[0-9A-F]{2}|[^%]){1,20}")
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
            "MIME-Version: 1.0",
        )
        return "".join(f"{line}\r\n" for line in head).encode() + _body(content, idempotency_key[:48])
    except UnicodeError:
        raise MailRefused("content") from None  # half a character


def _body(content: Content, boundary: str) -> bytes:
    """The body with the headers that describe it, all of it ASCII."""
    body = _text(content.text, "plain")
    if content.html:
        body = _multipart("alternative", f"{boundary}.1", [body, _text(content.html, "html")])
    if content.attachments:
        body = _multipart("mixed", f"{boundary}.0", [body, *(_attached(each) for each in content.attachments)])
    return body


def _multipart(kind: str, name: str, parts: Sequence[bytes]) -> bytes:
    # Every part is in quoted-printable or base 64, in which `=_` cannot occur (RFC 2045, 6.7).
    boundary = f"=_{name}".encode()
    head = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n' % (kind.encode(), boundary)
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def _text(text: str, subtype: str) -> bytes:
    ended = text if text.endswith(("\r", "\n")) else f"{text}\n"
    quoted = b2a_qp(_LINE_BREAK.sub("\n", ended).encode(), istext=True).replace(b"\n", b"\r\n")
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode() + quoted


def _attached(attachment: Attachment) -> bytes:
    main = attachment.media_type.partition("/")[0]
    # Neither a mail nor a multipart may be in base 64, and readers open them as parts of the mail.
    media_type = "application/octet-stream" if main in _NESTED else attachment.media_type
    head = (
        f"Content-Type: {media_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: attachment;\r\n {_filename(attachment.filename)}",
    )
    content = encodebytes(attachment.content).replace(b"\n", b"\r\n")
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + content


def _filename(name: str) -> str:
    """As a parameter: in quotes, or percent-encoded in pieces (RFC 2231)."""
    if _PLAIN_FILENAME.fullmatch(name):
        return f'filename="{name}"'
    first, *others = _PIECE.findall(quote(name, safe=""))
    if not others:
        return f"filename*=utf-8''{first}"
    return ";\r\n ".join(f"filename*{n}*={piece}" for n, piece in enumerate([f"utf-8''{first}", *others]))


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
