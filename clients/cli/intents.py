"""What is to be sent, put together from what was typed: content by its channel, the person, the times."""

import hashlib
import mimetypes
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from selene_messages.selene.delivery import v1

ChannelName = Literal["sms", "email", "whatsapp", "wechat", "push"]
PriorityName = Literal["bulk", "normal", "urgent"]

CHANNELS: Final[Mapping[ChannelName, v1.DeliveryChannel]] = {
    "sms": v1.DeliveryChannel.SMS,
    "email": v1.DeliveryChannel.EMAIL,
    "whatsapp": v1.DeliveryChannel.WHATSAPP,
    "wechat": v1.DeliveryChannel.WECHAT,
    "push": v1.DeliveryChannel.PUSH,
}
PRIORITIES: Final[Mapping[PriorityName, v1.DeliveryPriority]] = {
    "bulk": v1.DeliveryPriority.BULK,
    "normal": v1.DeliveryPriority.NORMAL,
    "urgent": v1.DeliveryPriority.URGENT,
}
_DURATION: Final = re.compile(r"(\d{1,9})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TAKES: Final[Mapping[ChannelName, frozenset[str]]] = {
    "sms": frozenset({"text"}),
    "email": frozenset({"subject", "text", "html", "attach"}),
    "whatsapp": frozenset({"text", "template", "param"}),
    "wechat": frozenset({"template", "param"}),
    "push": frozenset({"title", "text", "data"}),
}


class IntentUnusable(ValueError):
    """What was typed makes no message; the text says what is missing or too much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said, as it was typed. ``params`` and ``data`` are `name=value`."""

    subject: str = ""
    text: str = ""
    html: Path | None = None
    attach: Sequence[Path] = ()
    title: str = ""
    data: Sequence[str] = ()
    template: str = ""
    locale: str = ""
    param: Sequence[str] = ()

    def with_text(self, text: str) -> "Said":
        """The same, saying this."""
        return replace(self, text=text)


def content(channel: ChannelName, said: Said) -> v1.Content:
    """What is said over a channel. IntentUnusable; OSError for a file that cannot be read."""
    given = {each.name for each in fields(Said) if each.name != "locale" and getattr(said, each.name)}
    surplus = given - _TAKES[channel]
    if surplus:
        raise IntentUnusable(f"{channel} has no {_options(surplus)}; it takes {_options(_TAKES[channel])}")
    if said.template:
        return _template(channel, said)
    if said.param:
        raise IntentUnusable("--param fills in a template: give --template")
    if channel == "wechat":
        raise IntentUnusable("wechat says a template: give --template, --locale and --param")
    if not said.text:
        raise IntentUnusable("nothing is said: give --text or --file")
    if channel == "email":
        return v1.Content(email=_email(said))
    if channel == "push":
        return v1.Content(push=v1.PushContent(title=said.title, text=said.text, data=_pairs("--data", said.data)))
    return v1.Content(text=v1.TextContent(said.text))


def text_of(text: str, file: Path | None) -> str:
    """The text, from a file where one is named; `-` is stdin. IntentUnusable, OSError."""
    if file is None:
        return text
    if text:
        raise IntentUnusable("give --text or --file, not both")
    raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    return _decoded(raw, file)


def person(address: str, recipient_id: str, time_zone: str) -> v1.Recipient:
    """To whom. Without an id of the tenant's own the person is known by a digest of the address."""
    digest = hashlib.sha256(address.encode()).hexdigest()
    return v1.Recipient(recipient_id=recipient_id or f"address-{digest[:32]}", address=address, time_zone=time_zone)


def new_message_id() -> str:
    """A message id that nobody else has."""
    return f"cli-{uuid.uuid4()}"


def instant(local: datetime | None) -> datetime | None:
    """A time of this machine's zone as one that means the same everywhere."""
    return None if local is None else local.astimezone(UTC)


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h` or `1d`. IntentUnusable."""
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise IntentUnusable(f"`{text}` is no duration; they read 90s, 30m, 2h or 1d")
    try:
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except OverflowError:
        raise IntentUnusable(f"`{text}` is longer than any calendar") from None


def _template(channel: ChannelName, said: Said) -> v1.Content:
    if said.text:
        raise IntentUnusable(f"{channel} says a text or a template, not both")
    if not said.locale:
        raise IntentUnusable("a template has a language: give --locale")
    parameters = _pairs("--param", said.param)
    return v1.Content(template=v1.TemplateContent(template=said.template, locale=said.locale, parameters=parameters))


def _email(said: Said) -> v1.EmailContent:
    if not said.subject:
        raise IntentUnusable("a mail has a subject: give --subject")
    html = "" if said.html is None else _decoded(said.html.read_bytes(), said.html)
    files = [v1.Attachment(path.name, _media_type(path), path.read_bytes()) for path in said.attach]
    return v1.EmailContent(subject=said.subject, text=said.text, html=html, attachments=files)


def _media_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise IntentUnusable(f"{path}: not UTF-8") from None


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not equals:
            raise IntentUnusable(f"{option} reads name=value, not `{item}`")
        if name in pairs:
            raise IntentUnusable(f"{option} names {name} twice")
        pairs[name] = value
    return pairs


def _options(names: set[str] | frozenset[str]) -> str:
    return ", ".join(f"--{name}" for name in sorted(names))
