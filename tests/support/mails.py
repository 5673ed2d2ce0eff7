"""Mails to send, and the secret to send them with."""

from __future__ import annotations

import time
from dataclasses import replace

from selene.delivery.v1.delivery_pb2 import DELIVERY_CHANNEL_EMAIL

from servers.delivery.adapter import Attachment, Content, Message, Recipient
from servers.routing.credentials import CredentialUnavailable

KEY = "5f" * 32
SECRET = "planted-canary-7Qx9"

PLAIN = Message(
    tenant_id="acme",
    request_id="attempt-1",
    idempotency_key=KEY,
    channel=DELIVERY_CHANNEL_EMAIL,
    recipient=Recipient("person-1", "ada@example.com"),
    content=Content(subject="Your appointment", text="Tomorrow at nine.\n"),
)
RICH = replace(
    PLAIN,
    content=Content(
        subject="Grüße aus Köln, 你好, " + "eine lange Betreffzeile " * 6,
        text="Straße\n.\n..two dots\n.leading dot\nFrom the start\n" + "x" * 3_000 + "\ntrailing space \nend",
        html="<p>Straße &amp; 你好</p>\n<p>" + "y" * 2_000 + "</p>\n",
        attachments=(
            Attachment("Rechnung März.pdf", "application/pdf", bytes(range(256)) * 40),
            Attachment("dots.txt", "text/plain", b".\r\n..\r\n.\n"),
        ),
    ),
)


class Secret:
    """A credential that is ``value`` whenever it is asked for, and cannot be had where that is None."""

    def __init__(self, value: str | None = SECRET) -> None:
        self.value = value
        self.asked = 0

    async def reveal(self) -> str:
        self.asked += 1
        if self.value is None:
            raise CredentialUnavailable("there is no lease")
        return self.value


def soon(seconds: float = 5.0) -> float:
    """A deadline so far from now."""
    return time.monotonic() + seconds
