"""WeChat's interface of official accounts: stable tokens, template messages, and the event when one has been sent."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support.simulators.messaging import Accepted, Hook, MessagingSimulator

APP_ID = "wx0123456789abcdef"


class WeChatSimulator(MessagingSimulator):
    """``app_secrets`` are those that it gives tokens for, ``followers`` whom it writes to.

    A ``client_msg_id`` that it knows for a follower sends nothing, and is answered with ``repeat_code`` and the first
    one's id: what the real one answers then is not documented. ``token`` and ``aes_key`` sign and encrypt its events.
    """

    def __init__(self, app_secrets: set[str]) -> None:
        super().__init__(set())
        self.app_secrets = app_secrets
        self.followers: set[str] = set()
        self.templates = {"tpl-1"}
        self.granted = 0
        self.token_code = 0
        self.repeat_code = 0
        self.token = "hook-token"
        self.aes_key = ""

    def expire(self) -> None:
        """Take none of the tokens any more that were given."""
        self.secrets.clear()

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post("/cgi-bin/stable_token", self._token)
        router.add_post("/cgi-bin/message/template/send", self._send)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if self.token_code:
            return web.json_response({"errcode": self.token_code, "errmsg": f"as scripted, {body['secret']}"})
        if body["appid"] != APP_ID or body["secret"] not in self.app_secrets:
            return web.json_response({"errcode": 40125, "errmsg": "invalid appsecret"})
        if not self.secrets:
            self.granted += 1
            self.secrets = {f"simulated-access-{self.granted}"}
        return web.json_response({"access_token": next(iter(self.secrets)), "expires_in": 7200})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = {**await request.json(), "access_token": request.query.get("access_token", "")}
        return await self._posted(request, body)

    def secret_of(self, headers: Mapping[str, str]) -> str:
        """The token of the query."""
        return str(self.asked[-1].body["access_token"])

    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        if body["touser"] not in self.followers:
            return self.error(200, 43004)
        if body["template_id"] not in self.templates:
            return self.error(200, 40037)
        reference = body.get("client_msg_id", "")
        for earlier in self.accepted:
            if reference and (earlier.reference, earlier.to) == (reference, body["touser"]):
                return self._said(self.repeat_code, earlier.message_id)
        return Accepted(str(200_228_332 + len(self.accepted)), body["touser"], reference, body)

    def _answer(self, taken: Accepted) -> web.Response:
        return self._said(0, taken.message_id)

    def _said(self, code: int, message_id: str) -> web.Response:
        return web.json_response({"errcode": code, "errmsg": "ok", "msgid": int(message_id)})

    def error(self, status: int, code: int | str) -> web.Response:
        """See `MessagingSimulator`. Of a token that is not taken it says so with 200, as always."""
        if code == "unauthorized":
            return web.json_response({"errcode": 40001, "errmsg": "invalid credential, access_token is invalid"})
        quoted = f"{self.asked[-1].body}"
        return web.json_response({"errcode": code, "errmsg": quoted}, status=status)

    def hook(self, taken: Accepted, status: str, *, at: datetime | None = None) -> Hook:
        """See `MessagingSimulator`. Its URL is the query alone."""
        made = int((at or datetime.now(UTC)).timestamp())
        event = (
            f"<xml><ToUserName><![CDATA[gh_7f083739789a]]></ToUserName><FromUserName><![CDATA[{taken.to}]]>"
            f"</FromUserName><CreateTime>{made}</CreateTime><MsgType><![CDATA[event]]></MsgType>"
            f"<Event><![CDATA[TEMPLATESENDJOBFINISH]]></Event><MsgID>{taken.message_id}</MsgID>"
            f"<Status><![CDATA[{status}]]></Status></xml>"
        )
        query = {"timestamp": str(made), "nonce": "486452656"}
        query["signature"] = _signed(self.token, *query.values())
        if self.aes_key:
            encrypted = self._encrypted(event.encode())
            signed = _signed(self.token, query["timestamp"], query["nonce"], encrypted)
            query |= {"encrypt_type": "aes", "msg_signature": signed}
            event = f"<xml><ToUserName><![CDATA[gh_7]]></ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        return Hook(f"?{urlencode(query)}", {"content-type": "text/xml"}, event.encode())

    def _encrypted(self, event: bytes) -> str:
        key = base64.b64decode(self.aes_key + "=")
        plain = os.urandom(16) + len(event).to_bytes(4) + event + APP_ID.encode()
        padding = 32 - len(plain) % 32
        encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
        return base64.b64encode(encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()).decode()


def _signed(*texts: str) -> str:
    return hashlib.sha1("".join(sorted(texts)).encode(), usedforsecurity=False).hexdigest()
