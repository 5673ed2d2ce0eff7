"""Firebase Cloud Messaging's HTTP v1 interface, and Google's exchange of a service account's assertion for a token."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.simulators.messaging import Accepted, Hook, MessagingSimulator

PROJECT = "selene-test"
_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}


@functools.cache
def _key(owner: str) -> rsa.RSAPrivateKey:
    """Made once: to make one takes longer than most tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class FcmSimulator(MessagingSimulator):
    """``devices`` are those that are registered. ``granted`` are the tokens that it gave, ``assertions`` what for.

    ``token_status`` is what it answers to an exchange instead of a token. Projects of one owner have one key.
    """

    def __init__(self, owner: str = "selene") -> None:
        super().__init__(set())
        self.devices: set[str] = set()
        self.granted: list[str] = []
        self.assertions: list[Mapping[str, Any]] = []
        self.expires_in: object = 3599
        self.token_status = 200
        self._key = _key(owner)

    @property
    def token_url(self) -> str:
        return f"{self.base_url}/token"

    def service_account(self) -> str:
        """The JSON key that Google gives to a project."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": f"sender@{PROJECT}.iam.gserviceaccount.com",
            "token_uri": self.token_url,
        }
        return json.dumps(account, indent=2)

    def revoke(self) -> None:
        """Take none of the tokens any more that were given."""
        self.secrets.clear()

    def _route(self, router: web.UrlDispatcher) -> None:
        router.add_post(f"/v1/projects/{PROJECT}/messages:send", self._send)
        router.add_post("/token", self._token)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if self.token_status != 200:
            return web.json_response({"error": "unavailable"}, status=self.token_status)
        try:
            claims = jwt.decode(
                str(form["assertion"]),
                self._key.public_key(),
                algorithms=["RS256"],
                audience=self.token_url,
                options={"verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError:
            return web.json_response({"error": "invalid_grant", "error_description": "Invalid JWT."}, status=400)
        self.assertions.append(claims)
        token = f"ya29.simulated-access-{len(self.granted) + 1}"
        self.granted.append(token)
        self.secrets.add(token)
        return web.json_response({"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        return await self._posted(request, await request.json())

    def _take(self, body: Mapping[str, Any]) -> Accepted | web.Response:
        message = body.get("message", {})
        token = message.get("token", "")
        if token not in self.devices:
            return self.error(404, "UNREGISTERED")
        if any(not isinstance(value, str) for value in message.get("data", {}).values()):
            return self.error(400, "message.data")
        number = len(self.accepted) + 1
        return Accepted(f"projects/{PROJECT}/messages/0:17{number:014d}%31bd1c96", token, "", message)

    def _answer(self, taken: Accepted) -> web.Response:
        return web.json_response({"name": taken.message_id})

    def error(self, status: int, code: int | str) -> web.Response:
        """See `MessagingSimulator`. A code with a dot is a field that is wrong."""
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        detail: dict[str, Any] = {"@type": kind, "errorCode": code}
        if "." in str(code):
            violation = {"field": code, "description": "Invalid value"}
            detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
        said = str(self.asked[-1].body)
        error = {"code": status, "message": said, "status": _CODES.get(status, "UNKNOWN"), "details": [detail]}
        return web.json_response({"error": error}, status=status)

    def hook(self, taken: Accepted, status: str) -> Hook:
        """FCM reports nothing."""
        raise NotImplementedError
