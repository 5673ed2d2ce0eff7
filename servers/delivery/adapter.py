"""What the delivery owner asks of a provider, and the only things that a provider may answer (§23, §25)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Protocol

from selene.delivery.v1.delivery_pb2 import DeliveryChannel
from selene.provider.v1.provider_pb2 import ProviderResultV1


class DeliveryReason(StrEnum):
    """``reason_code`` of a delivery provider's result, where it is not a `ProviderReason` of routing."""

    ACCEPTED = "ACCEPTED"
    """The provider took it: it will not be sent again."""
    NOT_FOUND = "NOT_FOUND"
    """The provider knows of no such message."""
    STILL_UNKNOWN = "STILL_UNKNOWN"
    """The provider cannot tell yet."""
    ANSWER_LOST = "ANSWER_LOST"
    """The request left and no whole answer came: it may have been taken."""
    CANCELLED = "CANCELLED"
    """The provider took it back before it was sent."""
    RECIPIENT_INVALID = "RECIPIENT_INVALID"
    RECIPIENT_UNREACHABLE = "RECIPIENT_UNREACHABLE"
    """The address is sound, and nobody is there (any more): an unregistered device, an unknown mailbox."""
    RECIPIENT_OPTED_OUT = "RECIPIENT_OPTED_OUT"
    CONTENT_REFUSED = "CONTENT_REFUSED"
    CONTENT_TOO_LONG = "CONTENT_TOO_LONG"
    TEMPLATE_UNKNOWN = "TEMPLATE_UNKNOWN"
    SENDER_REFUSED = "SENDER_REFUSED"
    """The sender's own account, number or domain may not send this."""
    WINDOW_CLOSED = "WINDOW_CLOSED"
    """The recipient has not written lately, and only a template may open the conversation."""
    REGION_BLOCKED = "REGION_BLOCKED"


CALLER_FAULTS = frozenset(
    {
        DeliveryReason.RECIPIENT_INVALID,
        DeliveryReason.RECIPIENT_UNREACHABLE,
        DeliveryReason.RECIPIENT_OPTED_OUT,
        DeliveryReason.CONTENT_REFUSED,
        DeliveryReason.CONTENT_TOO_LONG,
        DeliveryReason.TEMPLATE_UNKNOWN,
        DeliveryReason.WINDOW_CLOSED,
    }
)
"""Reasons that lie in what was asked: they say nothing of the provider's health and must not open its circuit."""


class Certainty(Enum):
    """What is certain after a call."""

    ACCEPTED = auto()
    """The provider has it: terminal, whatever becomes of it."""
    REFUSED = auto()
    """The provider definitely does not have it."""
    UNKNOWN = auto()
    """It may or may not have it."""


class Lookup(Enum):
    """By what a provider can be asked what became of a message."""

    KEY = auto()
    REQUEST_ID = auto()
    MESSAGE_ID = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declares:
    """What a provider guarantees; the dispatcher relies on nothing else.

    ``key_window_s``: for how long the provider takes a second request under the same key for the first; None where it
    knows no keys. ``lookups``: by what it can be asked. ``absent_after_s``: how long after a request a "not found" is
    definite; None where it never is. ``webhooks``, ``cancels``: whether it reports by itself, and takes back.
    """

    key_window_s: float | None = None
    lookups: frozenset[Lookup] = frozenset()
    absent_after_s: float | None = None
    webhooks: bool = False
    cancels: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """To whom: an id of the tenant's own, and the address of the channel (E.164 number, mail address, device token,
    OpenID). The address is personal data: it is in no log, audit row or repr.
    """

    recipient_id: str
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a mail."""

    filename: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What to say. ``template`` names a template of the provider's with ``parameters``; else ``text`` is the message.

    ``subject`` and ``html`` are of mails, ``title`` and ``data`` of push. Personal data: never logged.
    """

    text: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    title: str = field(default="", repr=False)
    template: str = ""
    locale: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as any provider is asked to send it, and the ids that its result carries back.

    ``idempotency_key`` is ``delivery_idem`` (§25), 64 hexadecimal digits: an adapter maps it to the provider's own
    token, header or field. ``request_id`` is of this attempt. ``sender`` is the tenant's own (a number, an address).
    """

    tenant_id: str
    request_id: str
    idempotency_key: str
    channel: DeliveryChannel
    recipient: Recipient
    content: Content
    sender: str = ""
    expires_at: datetime | None = None
    simulation_context_ref: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of a call.

    ``token_sent`` is the provider-native idempotency token that left with the request, empty where there is none;
    ``provider_ack_ref`` is set where and only where ``certainty`` is ACCEPTED; ``retry_after_s`` is its own word.
    """

    certainty: Certainty
    result: ProviderResultV1
    token_sent: str = ""
    provider_request_id: str = ""
    provider_message_id: str = ""
    provider_ack_ref: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is known of an attempt whose outcome is not: by these a provider is asked."""

    idempotency_key: str
    request_id: str
    sent_at: datetime
    token_sent: str = ""
    provider_request_id: str = ""
    provider_message_id: str = ""
    recipient: Recipient | None = None


class DeliveryAdapter(Protocol):
    """A provider of one channel. Nothing that goes wrong with it is raised; it never tries anything twice."""

    @property
    def provider_ref(self) -> str: ...

    @property
    def declares(self) -> Declares: ...

    def token(self, idempotency_key: str) -> str:
        """The provider-native token of a key: known, and kept, before the call leaves. Pure."""
        ...

    async def send(self, message: Message, *, deadline: float) -> Sent:
        """Send it. ``deadline`` is in the seconds of the adapter's monotonic clock. Whenever the request may have
        reached the provider and no whole answer came back, the certainty is UNKNOWN (``ANSWER_LOST``); a connection
        that was never made is REFUSED. CancelledError passes through: the caller then knows nothing.
        """
        ...

    async def find(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """What became of an earlier attempt (DELIVERY_STATUS): ACCEPTED, REFUSED where the provider definitely does not
        have it, or UNKNOWN. A provider without look-up answers UNKNOWN without a call.
        """
        ...

    async def cancel(self, message: Message, trace: Trace, *, deadline: float) -> Sent:
        """Take it back (DELIVERY_CANCEL): REFUSED where it was taken back before it was sent; ACCEPTED, UNKNOWN."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class ReportKind(Enum):
    """What a webhook says of a message."""

    ACCEPTED = auto()
    DELIVERED = auto()
    READ = auto()
    FAILED = auto()
    """The provider had it and could not deliver it: it still has accepted it, and nobody sends it again."""
    NOT_TAKEN = auto()
    """The provider says that it never took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One statement of a webhook. ``event_id`` is the provider's, or a hash of the statement where it gives none."""

    provider_ref: str
    event_id: str
    kind: ReportKind
    at: datetime
    provider_message_id: str = ""
    provider_request_id: str = ""
    idempotency_key: str = ""
    reason_code: str = ""


class WebhookRefused(Exception):
    """A webhook that is not taken: ``reason`` is SIGNATURE_MISSING, SIGNATURE_INVALID, TOO_OLD or MALFORMED."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Webhook(Protocol):
    """Reads one vendor's webhooks. Pure: time and secret are given."""

    @property
    def provider_ref(self) -> str: ...

    def read(
        self, *, url: str, headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime
    ) -> tuple[Report, ...]:
        """The statements of a request whose signature holds and which is not too old; unknown events are none.
        ``headers`` have lower-case names. WebhookRefused.
        """
        ...
