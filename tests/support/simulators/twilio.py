"""Twilio's Programmable Messaging over HTTP, API 2010-04-01: sending, fetching one message, status callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web

from tests.support.simulators.messaging import Accepted, Asked, Hook, MessagingSimulator

ACCOUNT = "AC" + "0123456789abcdef" * 2


class TwilioSimulator(MessagingSimulator):
    """``auth_token`` signs the callbacks. ``statuses`` are what a fetched message says, by SID; ``queued`` else."""

    def __init__(self, secrets: set[str], *, auth_token: bytes = b"") -> None:
        super().__init__(secrets)
        self.auth_token = auth_token
        self.statuses: dict[str, str] = {}
        self.fetches: list[web.Response | None] = []

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json", self._create)
        router.add_get(f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{{sid}}.json", self._fetch)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        assert request.content_type == "application/x-www-form-urlencoded"
        return await self._posted(request, {name: str(value) for name, value in (await request.post()).items()})

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        headers = dict(request.headers)
        self.asked.append(Asked("GET", request.path, {}, headers))
        if self.secret_of(headers) not in self.secrets:
            return self.error(401, 20003)
        if self.fetches and (planned := self.fetches.pop(0)) is not None:
            return planned
        taken = next((each for each in self.accepted if each.message_id == request.match_info["sid"]), None)
        return self.error(404, 20404) if taken is None else self._resource(taken, 200)

    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        if not body.get("To"):
            return self.error(400, 21604)
        if not body.get("From") and not body.get("MessagingServiceSid"):
            return self.error(400, 21603)
        if not body.get("Body") and not body.get("ContentSid"):
            return self.error(400, 21602)
        callback = str(body.get("StatusCallback", ""))
        reference = parse_qs(urlsplit(callback).query).get("intent", [""])[0]
        return Accepted(f"SM{len(self.accepted):032x}", str(body["To"]), reference, body, callback)

    def _answer(self, taken: Accepted) -> web.Response:
        return self._resource(taken, 201)

    def _resource(self, taken: Accepted, status: int) -> web.Response:
        resource = {
            "sid": taken.message_id,
            "account_sid": ACCOUNT,
            "api_version": "2010-04-01",
            "body": taken.body.get("Body"),
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": taken.body.get("From"),
            "messaging_service_sid": taken.body.get("MessagingServiceSid"),
            "status": self.statuses.get(taken.message_id, "queued"),
            "to": taken.to,
            "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{taken.message_id}.json",
        }
        return web.json_response(resource, status=status, headers={"Twilio-Request-Id": "RQ" + "5" * 32})

    def error(self, status: int, code: int | str) -> web.Response:
        """See `MessagingSimulator`. What the caller said is quoted, as Twilio does."""
        said = self.asked[-1]
        problem = {
            "code": 20003 if code == "unauthorized" else code,
            "message": f"As scripted: {said.body.get('To')}, {self.secret_of(said.headers)}",
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        }
        return web.json_response(problem, status=status, headers={"Twilio-Request-Id": "RQ" + "4" * 32})

    def hook(self, taken: Accepted, status: str, **more: str) -> Hook:
        """See `MessagingSimulator`. ``more`` are further parameters."""
        form = {
            "AccountSid": ACCOUNT,
            "ApiVersion": "2010-04-01",
            "From": str(taken.body.get("From", "")),
            "MessageSid": taken.message_id,
            "MessageStatus": status,
            "SmsSid": taken.message_id,
            "SmsStatus": status,
            "To": taken.to,
            **more,
        }
        signed = taken.callback + "".join(f"{name}{form[name]}" for name in sorted(form))
        mac = base64.b64encode(hmac.new(self.auth_token, signed.encode(), hashlib.sha1).digest()).decode()
        headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": mac}
        return Hook(taken.callback, headers, urlencode(form).encode())
