"""Resend, in the shapes that it documents: keys that hold, mails by their id, errors by name, webhooks signed by Svix.

What it does wrong is in `tests.support.simulators.mail_vendor`.
"""

from __future__ import annotations

import hmac
import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from aiohttp import web

from tests.support.simulators.faults import FaultKind
from tests.support.simulators.mail_vendor import Call, Mail, MailVendor

WEBHOOK_SECRET = b"whsec_" + b64encode(b"a signing secret of the endpoint")
_NAMES = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    409: "invalid_idempotent_request",
    429: "rate_limit_exceeded",
    500: "application_error",
    503: "internal_server_error",
}


@dataclass(slots=True)
class ResendSimulator(MailVendor):
    """``refuses`` is a status, an error's name and its text instead of the next mails' acceptance.

    ``held`` are the keys: they last until `forget` plays the end of their day.
    """

    refuses: tuple[int, str, str] | None = None
    held: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def routes(self) -> dict[tuple[str, str], Callable[[web.Request, Call], web.Response]]:
        return {
            ("POST", "/emails"): self._send,
            ("GET", "/emails/{id}"): self._get,
        }

    def forget(self) -> None:
        """Let every key go, as a day does."""
        self.held.clear()

    def error(self, status: int, name: str | None = None, text: str = "something went wrong") -> web.Response:
        body = {"statusCode": status, "message": text, "name": name or _NAMES.get(status, "application_error")}
        return web.json_response(body, status=status)

    def answered(self, kind: FaultKind, answer: web.Response) -> web.Response:
        match kind:
            case FaultKind.MALFORMED:
                return web.Response(body=b"{not json", content_type="application/json")
            case FaultKind.WRONG_SCHEMA:
                return web.json_response({"email": {"id": 7}})
            case FaultKind.EMPTY:
                return web.Response(status=200)
        return answer

    def _send(self, request: web.Request, call: Call) -> web.Response:
        if self.refuses is not None:
            return self.error(*self.refuses)
        body = call.json()
        if not all(body.get(name) for name in ("from", "to", "subject")):
            return self.error(422, "missing_required_field", "Missing `to` field.")
        key = call.headers.get("Idempotency-Key", "")
        digest = sha256(call.body).digest()
        if key in self.held:
            email_id, known = self.held[key]
            return web.json_response({"id": email_id}) if known == digest else self.error(409)
        mail = Mail(str(uuid.uuid4()), body, key)
        self.taken.append(mail)
        if key:
            self.held[key] = (mail.id, digest)
        return web.json_response({"id": mail.id})

    def _get(self, request: web.Request, call: Call) -> web.Response:
        found = next((mail for mail in self.taken if mail.id == request.match_info["id"]), None)
        if found is None:
            return self.error(404, text="Email not found")
        return web.json_response(
            {
                "object": "email",
                "id": found.id,
                "to": found.body["to"],
                "from": found.body["from"],
                "created_at": "2026-04-03T22:13:42.674981+00:00",
                "subject": found.body["subject"],
                "html": found.body.get("html"),
                "text": found.body.get("text"),
                "bcc": [None],
                "cc": [None],
                "reply_to": [None],
                "last_event": found.event,
            }
        )


def webhook(
    kind: str, mail: Mail, *, at: datetime, event_id: str = "msg_1", secret: bytes = WEBHOOK_SECRET
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a webhook of ``kind``, such as ``email.delivered``, signed at ``at``."""
    data = {
        "email_id": mail.id,
        "created_at": at.isoformat(),
        "from": mail.body["from"],
        "to": mail.body["to"],
        "subject": mail.body["subject"],
        "tags": {each["name"]: each["value"] for each in mail.body.get("tags", [])},
    }
    body = json.dumps({"type": kind, "created_at": at.isoformat(), "data": data}).encode()
    return signed(body, at=at, event_id=event_id, secret=secret), body


def signed(body: bytes, *, at: datetime, event_id: str = "msg_1", secret: bytes = WEBHOOK_SECRET) -> dict[str, str]:
    """The headers that Svix puts over a body."""
    stamp = str(int(at.timestamp()))
    key = b64decode(secret.removeprefix(b"whsec_"))
    digest = hmac.new(key, f"{event_id}.{stamp}.".encode() + body, sha256).digest()
    return {"svix-id": event_id, "svix-timestamp": stamp, "svix-signature": f"v1,{b64encode(digest).decode()}"}
