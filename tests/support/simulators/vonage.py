"""Vonage's Messages API v1 over HTTP: sending an SMS, status webhooks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import jwt
from aiohttp import web

from tests.support.simulators.messaging import Accepted, Hook, MessagingSimulator


class VonageSimulator(MessagingSimulator):
    """``signature_secret`` signs the webhooks."""

    def __init__(self, secrets: set[str], *, signature_secret: bytes = b"") -> None:
        super().__init__(secrets)
        self.signature_secret = signature_secret

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages", self._create)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        return await self._posted(request, await request.json())

    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        sound = (body.get("channel"), body.get("message_type")) == ("sms", "text") and body.get("text")
        if not sound or not body.get("from") or not str(body.get("to", "")).isdigit():
            return self.error(422, 1150)
        callback = str(body.get("webhook_url", ""))
        return Accepted(str(UUID(int=len(self.accepted) + 1)), body["to"], body.get("client_ref", ""), body, callback)

    def _answer(self, taken: Accepted) -> web.Response:
        return web.json_response({"message_uuid": taken.message_id}, status=202)

    def error(self, status: int, code: int | str) -> web.Response:
        """See `MessagingSimulator`. What the caller said is quoted."""
        said = self.asked[-1]
        problem = {
            "type": f"https://developer.vonage.com/api-errors/messages#{code}",
            "title": "As scripted",
            "detail": f"{said.body.get('to')}, {self.secret_of(said.headers)}",
            "instance": "bf0ca0bf927b3b52e3cb03217e1a1ddf",
        }
        return web.json_response(problem, status=status, content_type="application/problem+json")

    def hook(
        self,
        taken: Accepted,
        status: str,
        *,
        at: datetime | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> Hook:
        """See `MessagingSimulator`. Made and signed at ``at``."""
        made = at or datetime.now(UTC)
        said = {
            "message_uuid": taken.message_id,
            "to": taken.to,
            "from": taken.body["from"],
            "timestamp": made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "status": status,
            "client_ref": taken.reference,
            "channel": "sms",
            "usage": {"currency": "EUR", "price": "0.0333"},
            **({"error": error} if error is not None else {}),
        }
        body = json.dumps(said).encode()
        claims = {
            "iat": int(made.timestamp()),
            "jti": str(uuid4()),
            "iss": "Vonage",
            "payload_hash": hashlib.sha256(body).hexdigest(),
            "api_key": "a1b2c3d4",
            "application_id": "00000000-0000-4000-8000-000000000001",
        }
        token = jwt.encode(claims, self.signature_secret, algorithm="HS256")
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        return Hook(taken.callback, headers, body)
