"""What an adapter is given of an intent. Pure."""

from __future__ import annotations

from selene.delivery.v1.delivery_pb2 import Content as ContentMessage
from selene.delivery.v1.delivery_pb2 import Intent

from servers.delivery.adapter import Attachment, Content, Message, Recipient
from servers.delivery.machine import Delivery
from servers.delivery.schedule import instant
from servers.routing.envelope import NO_SIMULATION


def message_of(delivery: Delivery, intent: Intent | None, request_id: str) -> Message:
    """The message of an attempt; without address and content where the recipient was erased, for it can still be
    asked what became of it.
    """
    said = Intent() if intent is None else intent
    return Message(
        tenant_id=delivery.tenant_id,
        request_id=request_id,
        idempotency_key=delivery.delivery_id,
        channel=delivery.channel,
        recipient=Recipient(delivery.recipient_id, said.recipient.address),
        content=content_of(said.content),
        sender=said.sender,
        expires_at=instant(delivery.expires_at),
        simulation_context_ref=said.simulation_id or NO_SIMULATION,
    )


def content_of(content: ContentMessage) -> Content:
    """As adapters take it."""
    match content.WhichOneof("content"):
        case "text":
            return Content(text=content.text.text)
        case "template":
            named = content.template
            return Content(template=named.template, locale=named.locale, parameters=dict(named.parameters))
        case "email":
            mail = content.email
            files = tuple(Attachment(each.filename, each.media_type, each.content) for each in mail.attachments)
            return Content(text=mail.text, subject=mail.subject, html=mail.html, attachments=files)
        case "push":
            return Content(text=content.push.text, title=content.push.title, data=dict(content.push.data))
    return Content()
