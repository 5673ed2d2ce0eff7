"""Meta's WhatsApp Cloud API over HTTP: sending texts and templates, status webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.support.simulators.messaging import Accepted, Hook, MessagingSimulator

PHONE_NUMBER_ID = "106540352242922"


class WhatsAppSimulator(MessagingSimulator):
    """``app_secret`` signs the webhooks, which go to ``webhook_url``."""

    def __init__(self, secrets: set[str], *, app_secret: bytes = b"", webhook_url: str = "") -> None:
        super().__init__(secrets)
        self.app_secret = app_secret
        self.webhook_url = webhook_url

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/v23.0/{PHONE_NUMBER_ID}/messages", self._create)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        return await self._posted(request, await request.json())

    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        kind = body.get("type")
        said = body.get(kind) if isinstance(kind, str) else None
        sound = isinstance(said, dict) and (
            said.get("body") if kind == "text" else said.get("language", {}).get("code")
        )
        if body.get("messaging_product") != "whatsapp" or not body.get("to") or not sound:
            return self.error(400, 100)
        number = str(body["to"]).removeprefix("+")
        wamid = base64.b64encode(b"\x1d\x0b" + number.encode() + len(self.accepted).to_bytes(16, "big")).decode()
        return Accepted(f"wamid.{wamid}", number, body.get("biz_opaque_callback_data", ""), body, self.webhook_url)

    def _answer(self, taken: Accepted) -> web.Response:
        said = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": taken.body["to"], "wa_id": taken.to}],
            "messages": [{"id": taken.message_id, "message_status": "accepted"}],
        }
        return web.json_response(said)

    def error(self, status: int, code: int | str) -> web.Response:
        """See `MessagingSimulator`. What the caller said is quoted."""
        said = self.asked[-1]
        error = {
            "message": f"(#{code}) As scripted: {said.body.get('to')}, {self.secret_of(said.headers)}",
            "type": "OAuthException",
            "code": 190 if code == "unauthorized" else code,
            "error_data": {"messaging_product": "whatsapp", "details": "As scripted."},
            "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam",
        }
        return web.json_response({"error": error}, status=status)

    def hook(
        self,
        taken: Accepted,
        status: str,
        *,
        at: datetime | None = None,
        code: int | None = None,
    ) -> Hook:
        """See `MessagingSimulator`. It happened at ``at``; ``code`` is of an error."""
        said = {
            "id": taken.message_id,
            "status": status,
            "timestamp": str(int((at or datetime.now(UTC)).timestamp())),
            "recipient_id": taken.to,
            "biz_opaque_callback_data": taken.reference,
            **({"errors": [{"code": code, "title": "As scripted"}]} if code is not None else {}),
        }
        return self.signed({"statuses": [said]})

    def signed(self, value: Mapping[str, Any], field: str = "messages") -> Hook:
        """The webhook of one change."""
        metadata = {"display_phone_number": "15550783881", "phone_number_id": PHONE_NUMBER_ID}
        change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": field}
        entry = {"id": "102290129340398", "changes": [change]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        mac = hmac.new(self.app_secret, body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={mac}"}
        return Hook(self.webhook_url, headers, body)
