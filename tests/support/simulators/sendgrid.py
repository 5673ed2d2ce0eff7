"""SendGrid, v3, in the shapes that it documents: no keys, an id in a header, and an event webhook signed with ECDSA.

What it does wrong is in `tests.support.simulators.mail_vendor`.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.simulators.faults import FaultKind
from tests.support.simulators.mail_vendor import Call, Mail, MailVendor


@dataclass(slots=True)
class SendGridSimulator(MailVendor):
    """``refuses`` is a status, a field and a text instead of the next mails' acceptance."""

    refuses: tuple[int, str | None, str] | None = None

    def routes(self) -> dict[tuple[str, str], Callable[[web.Request, Call], web.Response]]:
        return {("POST", "/v3/mail/send"): self._send}

    def error(self, status: int, field: str | None = None, text: str = "something went wrong") -> web.Response:
        return web.json_response({"errors": [{"message": text, "field": field, "help": None}]}, status=status)

    def answered(self, kind: FaultKind, answer: web.Response) -> web.Response:
        match kind:
            case FaultKind.MALFORMED | FaultKind.EMPTY:
                return web.Response(status=202)
            case FaultKind.WRONG_SCHEMA:
                return web.Response(status=200, headers={"X-Message-Id": "of-another-answer"})
        return answer

    def _send(self, request: web.Request, call: Call) -> web.Response:
        if self.refuses is not None:
            return self.error(*self.refuses)
        body = call.json()
        if not body["personalizations"][0]["to"][0]["email"] or not body["content"]:
            return self.error(400, "personalizations.0.to", "The to array is required")
        mail = Mail(secrets.token_urlsafe(16), body)
        self.taken.append(mail)
        return web.Response(status=202, headers={"X-Message-Id": mail.id})


def event(kind: str, mail: Mail, *, at: datetime, **more: Any) -> dict[str, Any]:
    """An event of ``kind``, such as ``delivered``. Arguments of the mail stand beside its own fields."""
    to = mail.body["personalizations"][0]
    return {
        "email": to["to"][0]["email"],
        "timestamp": int(at.timestamp()),
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": kind,
        "sg_event_id": f"{kind}-event",
        "sg_message_id": f"{mail.id}.recvd-5bd4b7d9f-x.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F2F7C7B-3.0",
        **to.get("custom_args", {}),
        **more,
    }


class EventWebhook:
    """The signing side of SendGrid's event webhook. ``public_key`` is as it shows it: base 64 of DER."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = b64encode(der)

    def signed(self, events: object, *, at: datetime) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a request."""
        body = json.dumps(events).encode()
        stamp = str(int(at.timestamp()))
        signature = b64encode(self._key.sign(stamp.encode() + body, ec.ECDSA(SHA256()))).decode()
        return {
            "x-twilio-email-event-webhook-signature": signature,
            "x-twilio-email-event-webhook-timestamp": stamp,
        }, body
